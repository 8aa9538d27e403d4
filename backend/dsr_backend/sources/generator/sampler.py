"""The sampler: from pure noise to an increment in a few steps, exact for normal distributions."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 6
HIGHEST, LOWEST = 12.0, 0.15
"""Noise levels of the first and the last step."""


def levels() -> list[float]:
    """Return the noise levels of the STEPS steps, falling, with 0 at the end."""
    ratio = float((LOWEST / HIGHEST) ** (1.0 / (STEPS - 1)))
    return [*(HIGHEST * ratio**k for k in range(STEPS)), 0.0]


def sample(denoise: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return samples f[shape] in the metric of the covariance.

    denoise: D(x, a), of x f[shape] and levels f[B]. Each step draws from the exact distribution of x at level b given x
    at level a where D is that of a normal distribution: D + r (x − D), r = b²/a², with the variance
    b² (1 − r) + (1 − r)² a² / (1 + a²).
    """
    schedule = levels()
    x: Tensor = (1.0 + schedule[0] ** 2) ** 0.5 * torch.randn(shape, generator=generator, device=generator.device)
    for a, b in itertools.pairwise(schedule):
        clean = denoise(x, x.new_full((shape[0],), a))
        r = (b / a) ** 2
        variance = b**2 * (1.0 - r) + (1.0 - r) ** 2 * a**2 / (1.0 + a**2)
        x = clean + r * (x - clean) + variance**0.5 * torch.randn(shape, generator=generator, device=x.device)
    return x
