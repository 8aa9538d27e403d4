"""The closed-form model that the net starts from: ridge regression of the next increment, and normal innovations.

Forward: the next increment depends linearly on the one before and on the way to the mean structure. Fill: a share of
the way to the end (a Brownian bridge). Sample: normal increments from the mean structure. All in local frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .frames import Frames, increments, superposed

FEATURES = 120
"""Principal components of the features that the regression uses at most; a quarter of the windows at most, too."""
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge penalties to choose from, in units of the mean variance of a feature component."""
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

    mean: frames of the mean structure. centre, axes: features f[D2] and their components f[D2,K]. weights: f[K+1,D].
    step: innovations of the increments; whole: increments from the mean structure, with mean shift f[D].
    """

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
            self.mean.map(lambda tensor: tensor.to(device)),
            self.centre.to(device),
            self.axes.to(device),
            self.weights.to(device),
            self.step.to(device),
            self.whole.to(device),
            self.shift.to(device),
        )

    @classmethod
    def fit(cls, trajectories: Sequence[Frames]) -> Prior:
        """Return the model of trajectories of frames [S,R], evenly spaced in time."""
        mean = _mean_frames(trajectories)
        inputs, targets = [], []
        for states in trajectories:
            x, y = _windows(states, mean)
            inputs.append(x)
            targets.append(y)
        x, y = torch.cat(inputs), torch.cat(targets)
        centre = x.mean(0)
        rank = min(FEATURES, max(1, len(x) // 4), x.shape[1])
        _, _, vt = torch.linalg.svd(x - centre, full_matrices=False)
        axes = vt[:rank].T.contiguous()
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
            [
                increments(
                    mean.expand(len(states.origins)), superposed(states, mean.expand(len(states.origins)))
                ).flatten(1)
                for states in trajectories
            ]
        )
        shift = displacements.mean(0)
        return cls(mean, centre, axes, weights, Normal.of(residual), Normal.of(displacements - shift), shift)

    def forward_mean(self, previous: Frames | None, current: Frames) -> Tensor:
        """Return the mean f[B,R,6] of the next increment of frames [B,R] after the previous ones."""
        x = _features(previous, current, self.mean)
        design = torch.cat([(x - self.centre) @ self.axes, x.new_ones(len(x), 1)], 1)
        return (design @ self.weights).reshape(len(design), -1, 6)


def bridge_mean(current: Frames, end: Frames, left: Tensor) -> Tensor:
    """Return the mean f[B,R,6] of the next increment where `left` f[B] steps remain to the end: an equal share."""
    return increments(current, superposed(end, current)) / left[:, None, None]


def _features(previous: Frames | None, current: Frames, mean: Frames) -> Tensor:
    """Return the features f[B,D2]: the last increment, seen from the current frames, and the way to the mean."""
    to_mean = increments(current, superposed(mean.expand(len(current.origins)), current))
    last = torch.zeros_like(to_mean) if previous is None else -increments(current, superposed(previous, current))
    return torch.cat([last.flatten(1), to_mean.flatten(1)], 1)


def _windows(states: Frames, mean: Frames) -> tuple[Tensor, Tensor]:
    """Return features f[S-2,D2] and increments f[S-2,D] of consecutive states."""
    current = states[1:-1]
    following = superposed(states[2:], current)
    return _features(states[:-2], current, mean), increments(current, following).flatten(1)


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
