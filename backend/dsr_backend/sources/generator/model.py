"""The whole generator: what is known goes through encoder and temporal module to the decoder of the next state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import sampler
from .decoder import Decoder, denoised
from .encoder import POSE, Encoder, neighbors
from .frames import Frames, increments, moved, superposed
from .prior import Normal, Prior, bridge_mean
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


@dataclass(frozen=True, eq=False)
class Residues:
    """Residues of one protein.

    kinds: i8[R], of the vocabulary of the net. places: i8[R], rising by 1 along a chain. linked: bool[R-1], bonded to
    the next one. local: f[R,3,3] in Å, atoms N, CA and C in the frames of their residues.
    """

    kinds: Tensor
    places: Tensor
    linked: Tensor
    local: Tensor

    def to(self, device: torch.device) -> Residues:
        """Return them on a device."""
        return Residues(*(tensor.to(device) for tensor in (self.kinds, self.places, self.linked, self.local)))


class Context(NamedTuple):
    """Known facts about the states to predict, of B examples.

    known: frames [B,T,R], the end of a fill first, then the history; times: f[B,T] in gaps from the state to predict;
    present: bool[B,T]. anchor: frames [B,R] that the increment starts from; mean: f[B,R,6], its prior mean; spread:
    f[B], the factor of the prior's spread. Where nothing is known (sampling), `whole` is true: the spread is that of
    the ensemble.
    """

    known: Frames
    times: Tensor
    present: Tensor
    anchor: Frames
    mean: Tensor
    spread: Tensor
    whole: bool


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
    """The generator of one protein: a network on top of the closed-form model of that protein."""

    net: Network
    prior: Prior
    residues: Residues

    @property
    def device(self) -> torch.device:
        """Its device."""
        return self.prior.shift.device

    def to(self, device: torch.device) -> Generator:
        """Return the generator on a device. Its network goes there, too."""
        return Generator(self.net.to(device), self.prior.to(device), self.residues.to(device))

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
        encoded = self.net.encoder(flat, repeated, self.residues.kinds, self.residues.places)
        encoded = encoded.reshape(batch, length, *encoded.shape[1:])
        vectors: Tensor = self.net.temporal(encoded, context.times, context.present)
        return vectors, index

    def network(self, noisy: Tensor, level: Tensor, context: Context, vectors: Tensor, index: Tensor) -> Tensor:
        """Return F f[B,R,6] of noisy whitened increments f[B,R,6] at noise levels f[B]."""
        scaled = noisy / (1.0 + level**2).sqrt()[:, None, None]
        physical = self.coloured(scaled, context)
        separations = self.net.encoder.separations(index, self.residues.places)
        network: Tensor = self.net.decoder(scaled, physical, level, vectors, context.anchor, index, separations)
        return network

    @torch.no_grad()
    def draw(self, context: Context, generator: torch.Generator, steps: int = sampler.STEPS) -> Frames:
        """Return frames [B,R] drawn after a context."""
        vectors, index = self.encode(context)

        def denoise(x: Tensor, level: Tensor) -> Tensor:
            return denoised(x, level, self.network(x, level, context, vectors, index))

        white = sampler.sample(denoise, tuple(context.mean.shape), generator, steps)
        return moved(context.anchor, context.mean + self.coloured(white, context))

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
        recent = [superposed(state, history[-1]) for state in history[-HISTORY:]]
        known = list(recent)
        before = [moment - moments[-1] - 1.0 for moment in moments[-HISTORY:]]
        if end is not None:
            known.insert(0, superposed(end, history[-1]))
            before.insert(0, float(left - 1))
        batch = len(history[-1].origins)
        stacked = Frames.stack(known, 1)
        # The prior knows the last increment over one gap, and of no other.
        even = len(recent) > 1 and abs(moments[-1] - moments[-2] - 1.0) <= UNEVEN
        previous = recent[-2] if even else None
        device = history[-1].origins.device
        count = torch.full((batch,), float(max(left, 1)), device=device)
        mean = (
            self.prior.forward_mean(previous, recent[-1]) if end is None else bridge_mean(recent[-1], known[0], count)
        )
        spread = torch.ones(batch, device=device) if end is None else ((count - 1.0) / count).sqrt()
        return Context(
            stacked,
            torch.tensor(before, device=device).expand(batch, -1),
            torch.ones(batch, len(known), dtype=torch.bool, device=device),
            history[-1],
            mean,
            spread,
            False,
        )

    def alone(self, batch: int) -> Context:
        """Return the context of `batch` states about which nothing is known."""
        anchor = self.prior.mean.expand(batch)
        known = anchor.map(lambda tensor: tensor[:, None])
        mean = self.prior.shift.reshape(-1, 6).expand(batch, -1, -1)
        at = torch.zeros(batch, 1, device=mean.device)
        return Context(known, at, at.bool(), anchor, mean, torch.ones(batch, device=mean.device), True)


def target(context: Context, following: Frames) -> Tensor:
    """Return the increments f[B,R,6] from the anchor of a context to the state that follows, superposed."""
    return increments(context.anchor, superposed(following, context.anchor))
