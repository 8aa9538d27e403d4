"""Measures a fitted surface at one time: areas, volumes, speeds, and the pocket between atoms."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError, cKDTree

from pymol_dsr.shared.options import MeasureOptions

from ..fields.base import Field, FieldAtTime
from ..geometry.lattice import Lattice
from ..runtime.errors import Cancelled
from .mesh import Mesh, extract_mesh, nearest_atoms
from .vertex_motion import normal_velocity

# Cells along the edge of a block: a block is tested as a whole, and its cells only where they can count.
BLOCK = 4
# f is a distance up to the error of the fit, so across a block it may change by this factor more than the block's size.
SLACK = 1.5
# Cells evaluated at a time.
CHUNK = 2**18

BlockTest = Callable[[NDArray[np.float32], float], NDArray[np.bool_]]
"""(x f4[N,3], reach) → bool[N]: whether a region may come within `reach` Å of x."""
CellWeight = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""x f4[N,3] → f4[N], 0 to 1: the fraction of a cell around x that a region covers."""


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of a surface at one time.

    area Å²; volume Å³; speed: mean of |normal velocity| over the area, Å per state; atom_area f4[A] Å²: area nearest to
    each atom's sphere, and atom_speed f4[A], the speed of that area (0 without area), both empty for a field without
    atoms; selection_area Å², selection_volume Å³ and pocket_volume Å³: None where not requested; expected_error Å.
    """

    time: float
    area: float
    volume: float
    speed: float
    atom_area: NDArray[np.float32]
    atom_speed: NDArray[np.float32]
    selection_area: float | None
    selection_volume: float | None
    pocket_volume: float | None
    expected_error: float
    extrapolated: bool
    seconds: float


def measure_surface(
    field: Field,
    time: float,
    *,
    selection: NDArray[np.bool_] | None = None,
    pocket: NDArray[np.bool_] | None = None,
    resolution: float = MeasureOptions.resolution,
    radii: NDArray[np.float32] | None = None,
    smooth: float | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Measures:
    """Measure the surface at `time`, on a mesh and on cells of `resolution` Å.

    selection bool[A]: atoms whose area and volume are measured: the parts of the surface and of the inside to which
    their spheres are nearest. pocket bool[A]: atoms that line a pocket; its volume is the space outside the surface
    within the convex hull of their centres at that time. radii f4[A] in Å (None: equal radii); smooth as in
    `extract_mesh`. Raises ValueError for arguments that don't fit the field, and Cancelled once `cancelled()` is true.
    """
    started = clock.perf_counter()
    mesh = extract_mesh(field, time, resolution=resolution, smooth=smooth, radii=radii, cancelled=cancelled)
    for name, mask in (("selection", selection), ("pocket", pocket)):
        if mask is not None:
            _check_mask(name, mask, len(mesh.atoms))
    if cancelled():
        raise Cancelled("cancelled while measuring")
    areas = _vertex_areas(mesh)
    swept = areas * np.abs(normal_velocity(field, time, mesh.points, smooth))
    count = len(mesh.atoms)
    atom_area = np.bincount(mesh.nearest, areas if count else None, count)
    atom_speed = np.bincount(mesh.nearest, swept if count else None, count) / np.maximum(atom_area, 1e-12)
    snapshot = field.at(time, smooth)
    return Measures(
        time=float(time),
        area=mesh.area,
        volume=mesh.volume,
        speed=float(swept.sum() / areas.sum()) if len(areas) else 0.0,
        atom_area=atom_area.astype(np.float32),
        atom_speed=atom_speed.astype(np.float32),
        selection_area=None if selection is None else float(atom_area[selection].sum()),
        selection_volume=None
        if selection is None
        else _selection_volume(snapshot, mesh.atoms, selection, radii, resolution, cancelled),
        pocket_volume=None if pocket is None else _pocket_volume(snapshot, mesh.atoms[pocket], resolution, cancelled),
        expected_error=mesh.expected_error,
        extrapolated=mesh.extrapolated,
        seconds=clock.perf_counter() - started,
    )


def _check_mask(name: str, mask: NDArray[np.bool_], count: int) -> None:
    if not count:
        raise ValueError(f"{name}: this fit has no atoms; fit surfaces that come with theirs")
    if mask.shape != (count,):
        raise ValueError(f"{name} has shape {list(mask.shape)}, the fit has {count} atoms")
    if not mask.any():
        raise ValueError(f"{name}: it holds none of the fit's {count} atoms")


def _vertex_areas(mesh: Mesh) -> NDArray[np.float64]:
    """Return the area f8[N] in Å² of each vertex: a third of the area of its triangles."""
    a, b, c = (mesh.points[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    thirds = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6.0
    return np.asarray(np.bincount(mesh.faces.ravel(), np.repeat(thirds, 3), len(mesh.points)), np.float64)


def _selection_volume(
    snapshot: FieldAtTime,
    atoms: NDArray[np.float32],
    selection: NDArray[np.bool_],
    radii: NDArray[np.float32] | None,
    resolution: float,
    cancelled: Callable[[], bool],
) -> float:
    """Return the volume in Å³ inside the surface whose nearest sphere belongs to a selected atom."""
    all_atoms, selected_atoms = cKDTree(atoms), cKDTree(atoms[selection])
    # The centres of two spheres at equal distance differ in distance by this much at most.
    spread = 0.0 if radii is None else float(np.ptp(radii))

    def near_selection(x: NDArray[np.float32], reach: float) -> NDArray[np.bool_]:
        return np.asarray(selected_atoms.query(x)[0] <= all_atoms.query(x)[0] + 2.0 * reach + spread)

    def weight(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(selection[nearest_atoms(torch.from_numpy(x), atoms, radii)[0].numpy()], np.float32)

    return _weighted_volume(snapshot, snapshot.box, resolution, -1.0, near_selection, weight, cancelled)


def _pocket_volume(
    snapshot: FieldAtTime, lining: NDArray[np.float32], resolution: float, cancelled: Callable[[], bool]
) -> float:
    """Return the volume in Å³ outside the surface within the convex hull of the atoms f4[K,3] Å."""
    try:
        hull = ConvexHull(lining.astype(np.float64))
    except (QhullError, ValueError) as error:
        raise ValueError(
            f"pocket: {len(lining)} {'atom encloses' if len(lining) == 1 else 'atoms enclose'} no space at state "
            f"{snapshot.time:g}; choose at least 4 that do not lie in a plane"
        ) from error
    planes = hull.equations.astype(np.float32)

    def depth(x: NDArray[np.float32]) -> NDArray[np.float32]:
        # Positive inside the hull; facet by facet, as a hull of many atoms has hundreds.
        inside = np.full(len(x), np.inf, np.float32)
        for plane in planes:
            np.minimum(inside, -(x @ plane[:3] + plane[3]), out=inside)
        return inside

    def near_hull(x: NDArray[np.float32], reach: float) -> NDArray[np.bool_]:
        return depth(x) > -reach

    def weight(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(0.5 + depth(x) / resolution, 0.0, 1.0)

    box = np.stack([lining.min(0), lining.max(0)])
    return _weighted_volume(snapshot, box, resolution, 1.0, near_hull, weight, cancelled)


def _weighted_volume(
    snapshot: FieldAtTime,
    box: NDArray[np.float32],
    resolution: float,
    sign: float,
    near_region: BlockTest,
    weight: CellWeight,
    cancelled: Callable[[], bool],
) -> float:
    """Return the volume in Å³ of the cells of `resolution` Å in the box f4[2,3] where f has that sign, each cell times
    its weight.

    A cell that the surface cuts counts by the distance of the surface from its centre.
    """
    blocks = Lattice.around(box[0], box[1], BLOCK * resolution)
    half_diagonal = 0.5 * 3.0**0.5 * blocks.spacing
    steps = (np.arange(BLOCK, dtype=np.float32) - 0.5 * (BLOCK - 1)) * np.float32(resolution)
    offsets = torch.as_tensor(np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3))
    offsets = offsets.to(snapshot.device)
    total = 0.0
    for start in range(0, blocks.size, CHUNK):
        if cancelled():
            raise Cancelled("cancelled while measuring")
        centres = blocks.nodes(torch.arange(start, min(start + CHUNK, blocks.size), device=snapshot.device))
        centres = centres[torch.as_tensor(near_region(centres.cpu().numpy(), half_diagonal), device=snapshot.device)]
        centres = centres[sign * snapshot.distance(centres) > -SLACK * half_diagonal]
        for batch in torch.split(centres, CHUNK // len(offsets)):
            if cancelled():
                raise Cancelled("cancelled while measuring")
            cells = (batch[:, None] + offsets).reshape(-1, 3)
            filled = (0.5 + sign * snapshot.distance(cells) / resolution).clamp(0.0, 1.0)
            counted = filled > 0.0
            weights = weight(cells[counted].cpu().numpy())
            total += float(weights.astype(np.float64) @ filled[counted].cpu().numpy())
    return total * resolution**3
