"""The whole generator: what is known goes through encoder and temporal module to the decoder of the next state."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import sampler
from .decoder import Decoder, denoised
from .encoder import POSE, Encoder, neighbors
from .frames import ROTATION_LENGTH, Frames, superposed
from .internal import dihedral_features
from .prior import Normal, Prior, bridge_mean, past_increments
from .residues import Residues
from .selection import CANDIDATES, StepRatio, log_steps
from .temporal import Temporal

HISTORY = 6
"""Known states before the one to predict, at most."""
UNEVEN = 0.01
"""Fraction of a gap by which the last known state may be off one gap after that before it."""


@dataclass(frozen=True)
class Preset:
    """Size of a net, and of a step of its training.

    width: of vectors. layers: exchanges of messages in the decoder. blocks: of the temporal module. neighbors: residues
    that send messages. batch: examples of a step.
    """

    width: int
    layers: int
    blocks: int
    neighbors: int
    batch: int


PRESETS = {"small": Preset(48, 3, 2, 9, 48), "large": Preset(128, 6, 4, 16, 128)}
"""small is for a CPU, large for a GPU."""


class Context(NamedTuple):
    """Known facts about the states to predict, of B examples.

    known: frames [B,T,R], the end of a fill first, then the history; times: f[B,T] in gaps from the state to predict;
    present: bool[B,T]. anchor: frames [B,R] that the increment starts from; mean: f[B,R,6], its prior mean; spread:
    f[B], the factor of the prior's spread. forward: a step of one gap with an open end. whole: nothing is known
    (sampling), and the spread is that of the ensemble.
    """

    known: Frames
    times: Tensor
    present: Tensor
    anchor: Frames
    mean: Tensor
    spread: Tensor
    forward: bool
    whole: bool

    def repeated(self, count: int) -> Context:
        """Return the context with each example `count` times in a row."""

        def repeat(tensor: Tensor) -> Tensor:
            return tensor.repeat_interleave(count, 0)

        return Context(
            self.known.map(repeat),
            repeat(self.times),
            repeat(self.present),
            self.anchor.map(repeat),
            repeat(self.mean),
            repeat(self.spread),
            self.forward,
            self.whole,
        )


class Network(nn.Module):
    """The trained part of a generator. It knows kinds of residues and no protein, so several proteins may have one."""

    def __init__(self, kind_count: int, preset: Preset) -> None:
        super().__init__()
        self.kind_count, self.preset = kind_count, preset
        self.encoder = Encoder(kind_count, preset.width)
        self.temporal = Temporal(preset.width, preset.blocks)
        self.decoder = Decoder(preset.width, POSE, preset.layers)


@dataclass(frozen=True, eq=False)
class Generator:
    """The generator of one protein: a network on top of the closed-form model of that protein.

    steps: the lengths of its forward steps, and of true ones.
    """

    net: Network
    prior: Prior
    residues: Residues
    steps: StepRatio = StepRatio()  # noqa: RUF009, a frozen value

    @property
    def device(self) -> torch.device:
        """Its device."""
        return self.prior.shift.device

    def to(self, device: torch.device) -> Generator:
        """Return the generator on a device. Its network goes there, too."""
        return Generator(self.net.to(device), self.prior.to(device), self.residues.to(device), self.steps)

    def metric(self, context: Context) -> Normal:
        """Return the distribution whose spread the increments of a context have."""
        return self.prior.whole if context.whole else self.prior.step

    def whitened(self, by: Tensor, context: Context) -> Tensor:
        """Return increments f[B,R,6] in the metric of the prior's covariance."""
        centred = (by - context.mean).flatten(1) / context.spread[:, None]
        return (centred @ self.metric(context).inverse).reshape(by.shape)

    def coloured(self, white: Tensor, context: Context) -> Tensor:
        """Return the increments f[B,R,6] of whitened ones, without the mean."""
        return ((white.flatten(1) @ self.metric(context).root) * context.spread[:, None]).reshape(white.shape)

    def encode(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return the context vectors f[B,R,H] and the neighbours i8[B,R,N] of the anchor."""
        index = neighbors(context.anchor, self.net.preset.neighbors)
        batch, length = context.present.shape
        flat = context.known.map(lambda tensor: tensor.flatten(0, 1))
        repeated = index.repeat_interleave(length, 0)
        anchor = context.anchor.map(lambda tensor: tensor.repeat_interleave(length, 0))
        increments = self.prior.chart.increments(anchor, flat) / ROTATION_LENGTH
        features = torch.cat([increments, dihedral_features(flat, self.residues)], -1)
        encoded = self.net.encoder(flat, features, repeated, self.residues.kinds, self.residues.places)
        encoded = encoded.reshape(batch, length, *encoded.shape[1:])
        vectors: Tensor = self.net.temporal(encoded, context.times, context.present)
        return vectors, index

    def network(self, noisy: Tensor, level: Tensor, context: Context, vectors: Tensor, index: Tensor) -> Tensor:
        """Return F f[B,R,6] of noisy whitened increments f[B,R,6] at noise levels f[B]."""
        scaled = noisy / (1.0 + level**2).sqrt()[:, None, None]
        physical = self.coloured(scaled, context)
        separations = self.net.encoder.separations(index, self.residues.places)
        network: Tensor = self.net.decoder(
            scaled, physical, level, vectors, context.anchor, index, separations, self.prior.chart.turns
        )
        return network

    @torch.no_grad()
    def draw(self, context: Context, generator: torch.Generator) -> Frames:
        """Return frames [B,R] drawn after a context. A forward step takes the best candidates by `steps`."""
        vectors, index = self.encode(context)
        if not (context.forward and self.steps.selects):
            return self._drawn(context, vectors, index, generator)
        repeated = context.repeated(CANDIDATES)
        vectors, index = vectors.repeat_interleave(CANDIDATES, 0), index.repeat_interleave(CANDIDATES, 0)
        candidates = self._drawn(repeated, vectors, index, generator)
        lengths = log_steps(repeated.anchor, candidates).reshape(-1, CANDIDATES)
        chosen = self.steps.choose(lengths, generator)
        rows = torch.arange(len(chosen), device=chosen.device) * CANDIDATES + chosen
        return candidates[rows]

    def _drawn(self, context: Context, vectors: Tensor, index: Tensor, generator: torch.Generator) -> Frames:
        """Return one state [B,R] for each example, from its context vectors f[B,R,H] and neighbours i8[B,R,N]."""

        def denoise(x: Tensor, level: Tensor) -> Tensor:
            return denoised(x, level, self.network(x, level, context, vectors, index))

        white = sampler.sample(denoise, tuple(context.mean.shape), generator)
        return self.prior.chart.moved(context.anchor, context.mean + self.coloured(white, context))

    def step_ratio(self, context: Context, following: Tensor, generator: torch.Generator) -> StepRatio:
        """Return the lengths of true steps, increments f[B,R,6], and of those that it draws without a selection."""
        true = self.prior.chart.moved(context.anchor, following)
        drawn = replace(self, steps=StepRatio()).draw(context, generator)
        return StepRatio.of(log_steps(context.anchor, true), log_steps(context.anchor, drawn))

    def after(
        self, history: list[Frames], end: Frames | None = None, left: int = 0, times: Sequence[float] = ()
    ) -> Context:
        """Return the context of the state one gap after a history of frames [B,R], the newest last.

        times: of the history, in gaps; without them its states are one gap apart. end: frames [B,R] that are reached
        after `left` gaps.
        """
        if not history:
            raise ValueError("a history of no states has no batch: use `alone`")
        moments = list(times) or [float(k) for k in range(len(history))]
        if len(moments) != len(history):
            raise ValueError(f"{len(history)} states of a history have {len(moments)} times")
        recent = history[-HISTORY:]
        known = [superposed(state, history[-1]) for state in recent]
        before = [moment - moments[-1] - 1.0 for moment in moments[-HISTORY:]]
        if end is not None:
            known.insert(0, superposed(end, history[-1]))
            before.insert(0, float(left - 1))
        batch = len(history[-1].origins)
        stacked = Frames.stack(known, 1)
        # The prior knows increments over one gap, and no others.
        gaps = [later - earlier for earlier, later in itertools.pairwise(moments[-HISTORY:])]
        even = len(list(itertools.takewhile(lambda gap: abs(gap - 1.0) <= UNEVEN, reversed(gaps))))
        device = history[-1].origins.device
        count = torch.full((batch,), float(max(left, 1)), device=device)
        chart = self.prior.chart
        if end is None:
            mean = self.prior.forward_mean(past_increments(chart, recent[-1 - even :]), recent[-1])
        else:
            mean = bridge_mean(chart, recent[-1], known[0], count)
        spread = torch.ones(batch, device=device) if end is None else ((count - 1.0) / count).sqrt()
        return Context(
            stacked,
            torch.tensor(before, device=device).expand(batch, -1),
            torch.ones(batch, len(known), dtype=torch.bool, device=device),
            history[-1],
            mean,
            spread,
            end is None,
            False,
        )

    def alone(self, batch: int) -> Context:
        """Return the context of `batch` states about which nothing is known."""
        anchor = self.prior.mean.expand(batch)
        known = anchor.map(lambda tensor: tensor[:, None])
        mean = self.prior.shift.reshape(-1, 6).expand(batch, -1, -1)
        at = torch.zeros(batch, 1, device=mean.device)
        return Context(known, at, at.bool(), anchor, mean, torch.ones(batch, device=mean.device), False, True)
