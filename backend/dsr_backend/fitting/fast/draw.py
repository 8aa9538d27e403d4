"""Draws points on and near a surface, with their signed distances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...geometry.triangle_mesh import TriangleMesh
from ...surfaces.surface import Surface


@dataclass(frozen=True)
class Samples:
    """Training samples of one state: `points` f4[N,3] in Å and `distance` f4[N] in Å, positive outside.

    `area` is that of the surface, in Å².
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
    """Samples of one state: half offset from the surface by either Gaussian, and some uniform in the box.

    density: samples per Å² of surface; sigmas and clearance (of the box around the surface) in Å;
    uniform_share: uniform samples per sample at the surface; check: called now and then, may raise to stop.
    """
    generator = torch.Generator().manual_seed(seed)
    mesh = TriangleMesh(surface.points, surface.faces, device)
    area = float(mesh.areas.sum())
    count = max(2_000, int(density * area))
    offset = torch.randn(count, 3, generator=generator).to(device)
    offset[: count // 2] *= sigmas[0]
    offset[count // 2 :] *= sigmas[1]
    low = surface.points.min(0) - clearance
    high = surface.points.max(0) + clearance
    spread = torch.rand(max(1_000, int(uniform_share * count)), 3, generator=generator).to(device)
    uniform = torch.as_tensor(low, device=device) + spread * torch.as_tensor(high - low, device=device)
    points = torch.cat([mesh.sample(count, generator) + offset, uniform])
    return Samples(points, mesh.signed_distance(points, check), area)
