"""The closed-form model that the net starts from: ridge regression of the next increment, and normal innovations.

Forward: the next increment depends linearly on the last four and on features of the state. Fill: a share of the way to
the end (a Brownian bridge). Sample: normal increments from the mean structure. All in the coordinates of a chart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .charts import Chart
from .frames import Frames, superposed

MEMORY = 4
"""Increments before a state that the regression knows."""
FEATURES = 240
"""Principal components of the features that the regression uses at most; a quarter of the windows at most, too."""
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge penalties to choose from, in units of the mean variance of a feature component."""
FIT_NUMBERS, AXES_NUMBERS = 10**8, 4 * 10**6
"""Numbers of features that the regression and the components are taken from, about: memory and time have a limit."""
LEAST_ROWS = 1000
HELD_OUT = 0.2
FLOOR = 1e-4
"""Å². Least variance of an increment."""


@dataclass(frozen=True)
class Normal:
    """A normal distribution of increments about 0: the symmetric root f[D,D] of its covariance, and its inverse."""

    root: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, samples: Tensor) -> Normal:
        """Return the distribution of samples f[N,D] about 0, its covariance shrunk towards its diagonal."""
        count, size = samples.shape
        covariance = samples.T @ samples / count
        shrink = min(0.9, size / (size + 4.0 * count))
        covariance = (1.0 - shrink) * covariance + shrink * torch.diag(covariance.diagonal())
        covariance.diagonal().add_(FLOOR)
        values, vectors = torch.linalg.eigh(covariance.double())
        root = (vectors * values.clamp_min(FLOOR).sqrt()) @ vectors.T
        inverse = (vectors / values.clamp_min(FLOOR).sqrt()) @ vectors.T
        return cls(root.float(), inverse.float())

    @classmethod
    def of_root(cls, root: Tensor) -> Normal:
        """Return the distribution of the symmetric root f[D,D] of a covariance."""
        values, vectors = torch.linalg.eigh(root.double())
        return cls(root, ((vectors / values.clamp_min(FLOOR**0.5)) @ vectors.T).float())

    def to(self, device: torch.device) -> Normal:
        """Return the distribution on a device."""
        return Normal(self.root.to(device), self.inverse.to(device))


@dataclass(frozen=True)
class Prior:
    """The closed-form model of one molecule.

    chart: of its increments. mean: frames of the mean structure. centre, axes: features f[D2] and their components
    f[D2,K]. weights: f[K+1,D]. step: innovations of the increments; whole: increments from the mean structure, with
    mean shift f[D].
    """

    chart: Chart
    mean: Frames
    centre: Tensor
    axes: Tensor
    weights: Tensor
    step: Normal
    whole: Normal
    shift: Tensor

    def to(self, device: torch.device) -> Prior:
        """Return the model on a device."""
        return Prior(
            self.chart.to(device),
            self.mean.map(lambda tensor: tensor.to(device)),
            self.centre.to(device),
            self.axes.to(device),
            self.weights.to(device),
            self.step.to(device),
            self.whole.to(device),
            self.shift.to(device),
        )

    @classmethod
    def fit(cls, trajectories: Sequence[Frames], chart: Chart) -> Prior:
        """Return the model of trajectories of frames [S,R], evenly spaced in time."""
        mean = _mean_frames(trajectories)
        inputs, targets = [], []
        for states in trajectories:
            x, y = _windows(states, mean, chart)
            inputs.append(x)
            targets.append(y)
        x, y = torch.cat(inputs), torch.cat(targets)
        rows = _evenly(len(x), max(LEAST_ROWS, FIT_NUMBERS // x.shape[1]))
        x, y = x[rows], y[rows]
        centre = x.mean(0)
        # Features of all kinds count as much.
        scale = x.std(0).clamp_min(FLOOR**0.5)
        rank = min(FEATURES, max(1, len(x) // 4), x.shape[1])
        rows = _evenly(len(x), max(LEAST_ROWS, AXES_NUMBERS // x.shape[1]))
        _, _, vt = torch.linalg.svd((x[rows] - centre) / scale, full_matrices=False)
        axes = (vt[:rank] / scale).T.contiguous()
        held = max(1, round(HELD_OUT * len(x)))
        design = torch.cat([(x - centre) @ axes, torch.ones(len(x), 1)], 1)

        def error(ridge: float) -> float:
            weights = _ridge(design[:-held], y[:-held], ridge)
            return float(((design[-held:] @ weights - y[-held:]) ** 2).mean())

        best = min(RIDGES, key=error)
        weights = _ridge(design, y, best)
        residual = y - design @ weights
        # Innovations of states that the weights have seen are too small.
        training_error = float(((y[:-held] - design[:-held] @ _ridge(design[:-held], y[:-held], best)) ** 2).mean())
        residual = residual * max(1.0, error(best) / max(training_error, FLOOR)) ** 0.5
        displacements = torch.cat(
            [chart.increments(mean.expand(len(states.origins)), states).flatten(1) for states in trajectories]
        )
        shift = displacements.mean(0)
        return cls(chart, mean, centre, axes, weights, Normal.of(residual), Normal.of(displacements - shift), shift)

    def forward_mean(self, past: Tensor, current: Frames) -> Tensor:
        """Return the mean f[B,R,6] of the next increment of frames [B,R].

        past: increments f[B,4,R,6] before it, the newest first; 0 where they are not known.
        """
        x = torch.cat([past.flatten(1), self.chart.features(current, self.mean)], 1)
        design = torch.cat([(x - self.centre) @ self.axes, x.new_ones(len(x), 1)], 1)
        return (design @ self.weights).reshape(len(design), -1, 6)

    def drawn(self, past: Tensor, current: Frames, generator: torch.Generator) -> Frames:
        """Return frames [B,R] of a next state, drawn without a net; past: as for `forward_mean`."""
        mean = self.forward_mean(past, current)
        noise = torch.randn(mean.flatten(1).shape, generator=generator, device=mean.device) @ self.step.root
        return self.chart.moved(current, mean + noise.reshape(mean.shape))


def past_increments(chart: Chart, states: Sequence[Frames]) -> Tensor:
    """Return the increments f[B,4,R,6] of a history of frames [B,R], the newest state last, as `forward_mean` takes it.

    They are seen from the later state of each pair.
    """
    newest = states[-1].origins
    past = newest.new_zeros(len(newest), MEMORY, newest.shape[1], 6)
    for lag in range(min(MEMORY, len(states) - 1)):
        past[:, lag] = -chart.increments(states[-1 - lag], states[-2 - lag])
    return past


def _evenly(count: int, limit: int) -> Tensor:
    """Return the indices i8[N] of at most `limit` of `count` rows, evenly spaced."""
    return torch.linspace(0, count - 1, min(count, limit)).round().long()


def bridge_mean(chart: Chart, current: Frames, end: Frames, left: Tensor) -> Tensor:
    """Return the mean f[B,R,6] of the next increment where `left` f[B] steps remain to the end: an equal share."""
    return chart.increments(current, end) / left[:, None, None]


def _windows(states: Frames, mean: Frames, chart: Chart) -> tuple[Tensor, Tensor]:
    """Return features f[W,D2] and increments f[W,D] of consecutive states."""
    count = len(states.origins)
    known = [states[lag : count - 1 - MEMORY + lag] for lag in range(MEMORY + 1)]
    current, following = known[-1], states[MEMORY + 1 :]
    past = past_increments(chart, known).flatten(1)
    return torch.cat([past, chart.features(current, mean)], 1), chart.increments(current, following).flatten(1)


def _ridge(design: Tensor, targets: Tensor, ridge: float) -> Tensor:
    size = design.shape[1]
    penalty = ridge * float((design[:, :-1] ** 2).mean()) * len(design) * torch.eye(size)
    penalty[-1, -1] = 0.0
    weights: Tensor = torch.linalg.solve(design.T @ design + penalty, design.T @ targets)
    return weights


def _mean_frames(trajectories: Sequence[Frames]) -> Frames:
    """Return frames that stand for the mean structure: the state nearest to the mean of all origins."""
    pooled = Frames.cat(trajectories)
    pooled = pooled[:: max(1, len(pooled.origins) // 2000)]
    reference = pooled[len(pooled.origins) // 2]
    for _ in range(3):
        aligned = superposed(pooled, reference.expand(len(pooled.origins)))
        centre = aligned.origins.mean(0)
        nearest = int(((aligned.origins - centre) ** 2).sum((1, 2)).argmin())
        reference = aligned[nearest]
    return reference
