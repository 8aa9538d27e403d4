"""The whole generator: what is known goes through encoder and temporal module to the decoder of the next state."""

from __future__ import annotations

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
SIZE = 48
LARGE = 128
"""Width of the vectors on a CPU, and of the preset for GPUs."""


class Context(NamedTuple):
    """What is known about the states to predict, of B examples.

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


class Generator(nn.Module):
    """The net of one molecule on top of its prior. kinds, places: i8[R], residue kinds and places along the chain."""

    def __init__(self, prior: Prior, kinds: Tensor, places: Tensor, size: int = SIZE) -> None:
        super().__init__()
        self.prior = prior
        self.encoder = Encoder(kinds, places, int(kinds.max()) + 1, size)
        self.temporal = Temporal(size)
        self.decoder = Decoder(size, POSE)

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
        index = neighbors(context.anchor)
        batch, length = context.present.shape
        flat = context.known.map(lambda part: part.flatten(0, 1))
        encoded = self.encoder(flat, index.repeat_interleave(length, 0))
        encoded = encoded.reshape(batch, length, *encoded.shape[1:])
        return self.temporal(encoded, context.times, context.present), index

    def network(self, noisy: Tensor, level: Tensor, context: Context, vectors: Tensor, index: Tensor) -> Tensor:
        """Return F f[B,R,6] of noisy whitened increments f[B,R,6] at noise levels f[B]."""
        scaled = noisy / (1.0 + level**2).sqrt()[:, None, None]
        physical = self.coloured(scaled, context)
        network: Tensor = self.decoder(scaled, physical, level, vectors, context.anchor, index, self.encoder)
        return network

    @torch.no_grad()
    def draw(self, context: Context, generator: torch.Generator, steps: int = sampler.STEPS) -> Frames:
        """Return frames [B,R] drawn after a context."""
        vectors, index = self.encode(context)

        def denoise(x: Tensor, level: Tensor) -> Tensor:
            return denoised(x, level, self.network(x, level, context, vectors, index))

        white = sampler.sample(denoise, tuple(context.mean.shape), generator, steps)
        return moved(context.anchor, context.mean + self.coloured(white, context))

    def after(self, history: list[Frames], end: Frames | None = None, left: int = 0) -> Context:
        """Return the context of the state after a history of frames [B,R], the newest last, one gap apart.

        end: frames [B,R] that are reached after `left` gaps. Without a history the mean structure is the anchor: a
        state of the ensemble is drawn.
        """
        if not history:
            raise ValueError("a history of no states has no batch: use `alone`")
        recent = [superposed(state, history[-1]) for state in history[-HISTORY:]]
        known = list(recent)
        times = [float(-len(recent) + k) for k in range(len(recent))]
        if end is not None:
            known.insert(0, superposed(end, history[-1]))
            times.insert(0, float(left - 1))
        batch = len(history[-1].origins)
        stacked = Frames.stack(known, 1)
        previous = recent[-2] if len(recent) > 1 else None
        count = torch.full((batch,), float(max(left, 1)))
        mean = (
            self.prior.forward_mean(previous, recent[-1]) if end is None else bridge_mean(recent[-1], known[0], count)
        )
        spread = torch.ones(batch) if end is None else ((count - 1.0) / count).sqrt()
        return Context(
            stacked,
            torch.tensor(times).expand(batch, -1),
            torch.ones(batch, len(known), dtype=torch.bool),
            history[-1],
            mean,
            spread,
            False,
        )

    def alone(self, batch: int) -> Context:
        """Return the context of `batch` states about which nothing is known."""
        anchor = self.prior.mean.expand(batch)
        known = anchor.map(lambda part: part[:, None])
        mean = self.prior.shift.reshape(-1, 6).expand(batch, -1, -1)
        nothing = torch.zeros(batch, 1, dtype=torch.bool)
        return Context(known, torch.zeros(batch, 1), nothing, anchor, mean, torch.ones(batch), True)


def target(context: Context, following: Frames) -> Tensor:
    """Return the increments f[B,R,6] from the anchor of a context to the state that follows, superposed."""
    return increments(context.anchor, superposed(following, context.anchor))
