"""Draws points on and near a surface, with their signed distances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...geometry.triangle_mesh import TriangleMesh
from ...surfaces.surface import Surface

# Fewest samples at the surface, and in the box.
MIN_SURFACE_SAMPLES, MIN_UNIFORM_SAMPLES = 2_000, 1_000


@dataclass(frozen=True)
class Samples:
    """Training samples of one state.

    points: f4[N,3] Å; distance: f4[N] Å, positive outside; area: of the surface in Å².
    """

    points: torch.Tensor
    distance: torch.Tensor
    area: float


def draw_samples(
    surface: Surface,
    *,
    density: float,
    sigmas: tuple[float, float],
    uniform_share: float,
    clearance: float,
    seed: int,
    device: torch.device,
    check: Callable[[], None] = lambda: None,
) -> Samples:
    """Draw the samples of one state: two halves offset from the surface by Gaussians, and some uniform in the box.

    density: samples per Å² of surface; sigmas: widths of both Gaussians in Å; uniform_share: uniform samples per sample
    at the surface; clearance: margin of the box around the surface in Å; check: called between chunks, may raise to
    stop.
    """
    generator = torch.Generator().manual_seed(seed)
    mesh = TriangleMesh(surface.points, surface.faces, device)
    area = float(mesh.areas.sum())
    count = max(MIN_SURFACE_SAMPLES, int(density * area))
    offset = torch.randn(count, 3, generator=generator).to(device)
    offset[: count // 2] *= sigmas[0]
    offset[count // 2 :] *= sigmas[1]
    low = surface.points.min(0) - clearance
    high = surface.points.max(0) + clearance
    uniform_count = max(MIN_UNIFORM_SAMPLES, int(uniform_share * count))
    fraction = torch.rand(uniform_count, 3, generator=generator).to(device)
    uniform = torch.as_tensor(low, device=device) + fraction * torch.as_tensor(high - low, device=device)
    points = torch.cat([mesh.sample(count, generator) + offset, uniform])
    return Samples(points, mesh.signed_distance(points, check), area)
