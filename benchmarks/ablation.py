"""The value of each part of preset `fast`: fits that lack one, or have a plainer one in its place.

Nothing in the package is switchable for this: each variant puts a preset of its own beside the others, or another
function in the place of one, while it is fitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from dsr_backend.fields.fast import BasisBuilder, FastField, LowRankBasis
from dsr_backend.fitting import run
from dsr_backend.fitting.config import PRESETS, Preset
from dsr_backend.fitting.fast import shapes
from dsr_backend.fitting.paper.points import neighbour_distance
from dsr_backend.geometry.lattice import gather
from dsr_backend.geometry.triangle_mesh import TriangleMesh
from dsr_backend.surfaces.surface import Surface
from scipy.spatial import cKDTree

from pymol_dsr.shared.options import FitOptions


@dataclass(frozen=True)
class Task:
    """Data and numbers that every variant is fitted with. seconds: of training, for those that are trained."""

    surfaces: Sequence[Surface]
    device: str
    seconds: float
    preset: Preset = PRESETS["fast"]


def fit(task: Task, **config: Any) -> FastField:
    with mock.patch.dict(PRESETS, {"fast": task.preset}):
        field = run.fit_trajectory(task.surfaces, FitOptions(device=task.device, **config))
    assert isinstance(field, FastField)
    return field


def without_motion(task: Task) -> FastField:
    bare = [Surface(s.state, s.points, s.normals, s.faces) for s in task.surfaces]
    return fit(replace(task, surfaces=bare))


def uncorrected(task: Task) -> FastField:
    return fit(replace(task, preset=replace(task.preset, iterations=0)))


def few_modes(task: Task, count: int) -> FastField:
    """The best `count` modes in place of one for each state: those that leave least of the node values' squares."""
    full_basis = BasisBuilder.basis

    def truncated_basis(builder: BasisBuilder) -> LowRankBasis:
        full = full_basis(builder)
        u, size, vt = torch.linalg.svd(full.coefficients @ full.modes, full_matrices=False)
        # Modes as large as states are: half precision holds no smaller ones.
        factor = len(u) ** 0.5
        return LowRankBasis((size[:count, None] * vt[:count] / factor).half().float(), factor * u[:, :count])

    with mock.patch.object(BasisBuilder, "basis", truncated_basis):
        return fit(task)


def nearest_vertex(task: Task) -> FastField:
    """Distances to the nearest vertex, on the side that its normal says, in place of exact ones to the triangles."""

    class Vertices(TriangleMesh):
        def __init__(self, points: Any, faces: Any, device: torch.device) -> None:
            super().__init__(points, faces, device)
            [surface] = [surface for surface in task.surfaces if surface.points is points]
            self.tree, self.surface = cKDTree(points), surface

        def signed_distance(self, x: torch.Tensor, *_: Any) -> torch.Tensor:
            distance, vertex = self.tree.query(x.cpu().numpy(), workers=torch.get_num_threads())
            beside = x.cpu().numpy() - self.surface.points[vertex]
            outside = (beside * self.surface.normals[vertex]).sum(1) >= 0.0
            return torch.as_tensor(np.where(outside, distance, -distance), dtype=torch.float32, device=x.device)

    with mock.patch.object(shapes, "TriangleMesh", Vertices):
        return fit(task)


# Eikonal loss -----------------------------------------------------------------------------------------------

# Å: half of the central differences that gradients are taken by; trilinear functions have kinks at the nodes.
STEP = 0.5
EIKONAL, NEIGHBOURS, UNIFORM = 0.1, 50, 0.125
BATCH = 4096
RATE = 0.05


@dataclass(frozen=True)
class Pool:
    """Points of one state and the six around each: f4[7,N,3] Å in material coordinates; the first `count` of the N are
    points of the surface, with normals f4[count,3] in the scene.
    """

    points: torch.Tensor
    normals: torch.Tensor

    @property
    def count(self) -> int:
        return len(self.normals)


def eikonal(task: Task) -> FastField:
    """The same lattices in the same material coordinates, with node values by Adam on the loss of IGR (Eq. 2 and 3 of
    the paper) in place of exact distances.

    |f| and |∇f − n| at the surface, (‖∇f‖ − 1)² around it. A state's values are the mean's and its own, trained
    together, so that every step serves all states. f starts as the distance to a sphere.
    """
    field = fit(task)
    device, count = field.device, len(task.surfaces)
    rng = np.random.default_rng(0)
    pools = [_pool(field, surface, task.preset.clearance, rng) for surface in task.surfaces]
    lattice, band = field.coarse_lattice, field.band
    nodes = lattice.nodes(torch.arange(lattice.size, device=device))
    on_surface = torch.cat([pool.points[0, : pool.count] for pool in pools])
    middle = on_surface.mean(0)
    radius = torch.linalg.norm(on_surface - middle, dim=1).mean()

    def zeros(size: int) -> torch.Tensor:
        return torch.zeros(size, device=device, requires_grad=True)

    mean = ((torch.linalg.norm(nodes - middle, dim=1) - radius).requires_grad_(True), zeros(band.count))
    offsets = [(zeros(lattice.size), zeros(band.count)) for _ in pools]
    parameters = [tensor for pair in (mean, *offsets) for tensor in pair]
    optimiser = torch.optim.Adam(parameters, lr=RATE)
    started = time.perf_counter()
    while (progress := (time.perf_counter() - started) / task.seconds) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = RATE * 0.5 * (1.0 + np.cos(np.pi * progress))
        k = int(rng.integers(count))
        coarse, fine = (a + b for a, b in zip(mean, offsets[k], strict=True))
        optimiser.zero_grad(set_to_none=True)
        _loss(field, pools[k], coarse, fine, rng).backward()
        optimiser.step()
    with torch.no_grad():
        one_each = torch.eye(count, device=device)
        for name, index in (("coarse", 0), ("fine", 1)):
            values = torch.stack([mean[index] + pair[index] for pair in offsets])
            setattr(field, name, LowRankBasis(values.half().float(), one_each))
    return field


def _pool(field: FastField, surface: Surface, room: float, rng: np.random.Generator) -> Pool:
    """All vertices of a state's surface, IGR's points around them, and its points in the box that has `room` Å more."""
    points = surface.points.astype(np.float64)
    near_surface = points + neighbour_distance(points, NEIGHBOURS)[:, None] * rng.normal(size=points.shape)
    spread = rng.uniform(points.min(0) - room, points.max(0) + room, (int(UNIFORM * len(points)), 3))
    x = np.concatenate([points, near_surface, spread])
    steps = STEP * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    around = torch.as_tensor((x + steps[:, None]).reshape(-1, 3), dtype=torch.float32, device=field.device)
    xi = field.motion.warp(surface.state, field.device)(around)
    return Pool(xi.reshape(7, -1, 3), torch.as_tensor(surface.normals, device=field.device))


def _loss(
    field: FastField, pool: Pool, coarse: torch.Tensor, fine: torch.Tensor, rng: np.random.Generator
) -> torch.Tensor:
    """IGR's loss at a batch of points of one state with node values coarse f4[coarse nodes] and fine f4[band]."""
    total = pool.points.shape[1]
    surface = rng.integers(pool.count, size=BATCH)
    space = rng.integers(pool.count, total, size=BATCH)
    picked = torch.as_tensor(np.concatenate([surface, space]), device=field.device)
    xi = pool.points[:, picked].reshape(-1, 3)
    index, weight = field.band.lattice.corners(xi)
    rows = field.band.rows(index)
    # The halo and what lies beyond has no fine value: the last, which is 0.
    rows = torch.where((rows >= 0) & (rows < field.band.count), rows, field.band.count)
    padded = torch.nn.functional.pad(fine, (0, 1))
    value = (field.coarse_lattice.interpolate(coarse[:, None], xi) + gather(padded[:, None], rows, weight))[:, 0]
    value = value.reshape(7, -1)
    gradient = ((value[1:4] - value[4:7]) / (2.0 * STEP)).T
    normals = pool.normals[picked[:BATCH]]
    steepness = torch.linalg.norm(gradient[BATCH:], dim=1)
    return (
        value[0, :BATCH].abs().mean()
        + torch.linalg.norm(gradient[:BATCH] - normals, dim=1).mean()
        + EIKONAL * ((steepness - 1.0) ** 2).mean()
    )


VARIANTS: dict[str, Callable[[Task], FastField]] = {
    "`fast`": fit,
    "without motion (no atoms)": without_motion,
    "8 modes instead of one per state": lambda task: few_modes(task, 8),
    "1 mode: one shape that only moves": lambda task: few_modes(task, 1),
    "without smoothing in time (`smooth=0`)": lambda task: fit(task, smooth=0.0),
    "exact distances alone, not corrected by points": uncorrected,
    "nearest vertex instead of exact distances": nearest_vertex,
    "eikonal loss instead of distances": eikonal,
}
