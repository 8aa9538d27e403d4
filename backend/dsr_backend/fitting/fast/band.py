"""The band of nodes near the surfaces of all states, in material coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ...fields.fast import BAND_LIMIT, MAX_NODES, NarrowBand, spread
from ...geometry.lattice import Lattice
from ...geometry.triangle_mesh import face_areas
from ...motion.warp import Warp
from ...runtime import distributed
from ...runtime.parallel import ordered_parallel_map
from ...surfaces.surface import Surface
from ..config import Preset
from ..extents import MIN_CLEARANCE, clearance_of, reach_of
from ..job import FitJob
from .state_warps import StateWarps

# Fraction of a fit at which the band is there; measured on two cores.
BAND_END = 0.15


@dataclass(frozen=True)
class SurfaceSummary:
    """All surfaces of a trajectory: corners f8[3] of their box, greatest clearance and reach (Å), mean area (Å²)."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    clearance: float
    reach: float
    area: float


def narrow_band(
    job: FitJob[Preset], surfaces: Sequence[Surface], warps: StateWarps
) -> tuple[NarrowBand, SurfaceSummary]:
    """Return the nodes of the fine lattice within the preset's band of some state's surface, and the summary.

    The lattice covers all surfaces and the preset's clearance around them. Raises ValueError for a lattice of too many
    nodes.
    """
    preset, count = job.preset, len(surfaces)
    state_indices = distributed.own_states(count)
    low, high, clearance, reach, area = np.full(3, np.inf), np.full(3, -np.inf), MIN_CLEARANCE, 0.0, 0.0
    cells = torch.zeros(0, 3, dtype=torch.int32, device=job.device)

    def measure(index: int) -> tuple[Surface, torch.Tensor, float, float]:
        k = state_indices[index]
        surface = surfaces[k]
        areas = face_areas(surface.points.astype(np.float64), surface.faces.astype(np.int64))
        cut = cells_of(surface, warps(k), preset.spacing)
        return surface, cut, reach_of(surface, job.device), float(areas.sum())

    job.report_progress("fit", 0.0, step=0, steps=count)
    with closing(ordered_parallel_map(measure, len(state_indices), job.parallel_states)) as measured:
        for k, (surface, cut, state_reach, state_area) in zip(state_indices, measured, strict=True):
            low, high = np.minimum(low, surface.points.min(0)), np.maximum(high, surface.points.max(0))
            clearance, reach = max(clearance, clearance_of(surface)), max(reach, state_reach)
            area += state_area
            cells = distinct_cells(torch.cat([cells, cut]))
            job.report_progress("fit", BAND_END * (k + 1) / count, step=k + 1, steps=count)
    low = np.array(distributed.all_reduce(low.tolist(), job.device, "min"))
    high = np.array(distributed.all_reduce(high.tolist(), job.device, "max"))
    clearance, reach = distributed.all_reduce([clearance, reach], job.device, "max")
    [area] = distributed.all_reduce([area], job.device)
    lattice = _covering(job, cells)
    inside = torch.zeros(lattice.size, dtype=torch.bool, device=job.device)
    inside[nodes_near(lattice, preset.margin, cells)] = True
    return NarrowBand(lattice, distributed.any_rank(inside)), SurfaceSummary(low, high, clearance, reach, area / count)


def cells_of(surface: Surface, warp: Warp, spacing: float) -> torch.Tensor:
    """Return the cells i4[N,3], numbered from the origin, that hold points of a surface in material coordinates.

    warp: that of the surface's state; spacing: edge of a cell in Å.
    """
    xi = warp(torch.as_tensor(surface.points, device=warp.origin.device))
    return distinct_cells(torch.floor(xi / spacing).int())


def distinct_cells(cells: torch.Tensor) -> torch.Tensor:
    """Return the distinct ones of cells i4[N,3], in rising order: i4[M,3]."""
    if not len(cells):
        return cells
    first = cells.amin(0)
    shape: list[int] = (cells.amax(0) - first + 1).tolist()
    _, y_count, z_count = shape
    if math.prod(shape) > MAX_NODES:
        unique_cells: torch.Tensor = torch.unique(cells, dim=0)
        return unique_cells
    i, j, k = (cells - first).long().T
    occupied = torch.zeros(math.prod(shape), dtype=torch.bool, device=cells.device)
    occupied[(i * y_count + j) * z_count + k] = True
    keys = torch.nonzero(occupied)[:, 0]
    cell = torch.stack([keys // (y_count * z_count), keys // z_count % y_count, keys % z_count], 1)
    distinct: torch.Tensor = cell.int() + first
    return distinct


def _covering(job: FitJob[Preset], cells: torch.Tensor) -> Lattice:
    """Return the lattice over all cells i4[N,3] of all ranks and the clearance around them."""
    preset = job.preset
    # A rank may own no states.
    inf = torch.full((1, 3), torch.inf)
    own_low = torch.cat([inf, cells.cpu().float()]).amin(0) * preset.spacing
    own_high = (torch.cat([-inf, cells.cpu().float()]).amax(0) + 1.0) * preset.spacing
    low = np.array(distributed.all_reduce(own_low.tolist(), job.device, "min"))
    high = np.array(distributed.all_reduce(own_high.tolist(), job.device, "max"))
    lattice = Lattice.around(
        low - preset.clearance, high + preset.clearance, preset.spacing, multiple=preset.coarse_factor
    )
    lattice.ensure_allocatable(BAND_LIMIT, job.device, job.cancelled)
    return lattice


def nodes_near(lattice: Lattice, margin: int, cells: torch.Tensor) -> torch.Tensor:
    """Return the numbers i8[M] of the corners of cells i4[N,3], and of the nodes up to `margin` steps beyond them, as
    far as the lattice reaches.

    Cells are numbered from the origin; the lattice's own origin is a multiple of its spacing.
    """
    if not len(cells):
        return torch.zeros(0, dtype=torch.int64, device=cells.device)
    origin = torch.tensor([round(c / lattice.spacing) for c in lattice.origin], device=cells.device)
    first = cells.amin(0) - margin
    shape = (cells.amax(0) - first + margin + 2).tolist()
    near = torch.zeros(shape, dtype=torch.bool, device=cells.device)
    i, j, k = (cells - first).long().T
    near[i, j, k] = True
    for axis in range(3):
        # The first node of each cell, the one after it, and `margin` more on either side.
        for _ in range(margin):
            spread(near, axis, -1)
        for _ in range(margin + 1):
            spread(near, axis, 1)
    inside = torch.zeros(lattice.shape, dtype=torch.bool, device=cells.device)
    starts = (first - origin).tolist()
    ends = [min(count, start + size) for count, start, size in zip(lattice.shape, starts, shape, strict=True)]
    common = tuple(slice(max(0, start), max(0, end)) for start, end in zip(starts, ends, strict=True))
    in_near = tuple(slice(max(0, -start), max(0, end - start)) for start, end in zip(starts, ends, strict=True))
    inside[common] = near[in_near]
    numbers: torch.Tensor = torch.nonzero(inside.view(-1))[:, 0]
    return numbers
