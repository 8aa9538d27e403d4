"""Losses of the generator: denoising in the metric of the prior, and distances along the backbone."""

from __future__ import annotations

import torch
from torch import Tensor

from .decoder import denoised
from .frames import Frames, atoms_of
from .model import Context, Generator

GEOMETRY = 0.02
"""Weight of the distances at no noise; it falls as 1 / (1 + 10 a²)."""


def noise_levels(count: int, generator: torch.Generator) -> Tensor:
    """Draw noise levels f[count] of training: log-normal about 0.8."""
    return (torch.randn(count, generator=generator, device=generator.device) - 0.2).exp().clamp(0.05, 15.0)


def network_target(white: Tensor, noisy: Tensor, level: Tensor) -> Tensor:
    """Return what F should be, f[B,R,6]: of size 1 for whitened increments of a normal distribution."""
    a = level[:, None, None]
    return (white - noisy / (1.0 + a**2)) * (1.0 + a**2).sqrt() / a


def denoising(network: Tensor, white: Tensor, noisy: Tensor, level: Tensor) -> Tensor:
    """Return the weighted denoising loss f[B]; its value for F = 0 is that of the prior."""
    return ((network - network_target(white, noisy, level)) ** 2).mean((1, 2))


def geometry(model: Generator, context: Context, predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the mean squared error f[B] (Å²) of distances between linked residues: C–N, CA–N, C–CA and CA–CA.

    predicted, truth: increments f[B,R,6].
    """

    def distances(by: Tensor) -> Tensor:
        atoms = atoms_of(model.prior.chart.moved(context.anchor, by), model.residues.local)
        first, second = atoms[:, :-1], atoms[:, 1:]
        pairs = ((2, 0), (1, 0), (2, 1), (1, 1))
        return torch.stack([(first[:, :, i] - second[:, :, j]).norm(dim=-1) for i, j in pairs], -1)

    squared = (distances(predicted) - distances(truth)) ** 2
    return (squared * model.residues.linked[:, None]).mean((1, 2))


def training_loss(model: Generator, context: Context, by: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the loss to minimise and the denoising loss alone, means f[] over a batch of increments f[B,R,6]."""
    white = model.whitened(by, context)
    level = noise_levels(len(white), generator)
    noisy = white + level[:, None, None] * torch.randn(white.shape, generator=generator, device=white.device)
    vectors, index = model.encode(context)
    network = model.network(noisy, level, context, vectors, index)
    main = denoising(network, white, noisy, level).mean()
    if not model.prior.chart.turns:
        # Its increments keep bonds as they are.
        return main, main
    clean = context.mean + model.coloured(denoised(noisy, level, network), context)
    weight = GEOMETRY / (1.0 + 10.0 * level**2)
    shape = (weight * geometry(model, context, clean, by)).mean()
    return main + shape, main


def baseline_loss(model: Generator, context: Context, by: Tensor, generator: torch.Generator) -> Tensor:
    """Return the denoising loss f[] of the prior alone (F = 0) on increments f[B,R,6]."""
    white = model.whitened(by, context)
    level = noise_levels(len(white), generator)
    noisy = white + level[:, None, None] * torch.randn(white.shape, generator=generator, device=white.device)
    return denoising(torch.zeros_like(white), white, noisy, level).mean()


def noisy_frames(frames: Frames, noise: float, generator: torch.Generator) -> Frames:
    """Return frames with noise (Å) on their origins, as generated states have."""
    return Frames(
        frames.rotations,
        frames.origins + noise * torch.randn(frames.origins.shape, generator=generator, device=frames.origins.device),
    )
