"""Extracts triangle meshes and distance grids of a field at one time."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.options import TRIANGLES_PER_CELL, GridOptions, MeshOptions, mesh_resolution

from ..fields.base import Field, FieldAtTime
from ..geometry.connected_components import connected_components
from ..geometry.nearest_points import NearestPoints
from ..runtime.errors import Cancelled
from .level_set import MESH_LIMIT, box_lattice, cross, evaluate_nodes, face_corners, level_set

# Candidates for the atom whose sphere is nearest to a point of the surface; radii differ by less than 1 Å.
CANDIDATE_ATOMS = 8
# Three candidates suffice for 93 % of the points.
FIRST_CANDIDATE_ATOMS = 3
# Å³; less than half a water molecule: no cavity of a molecule is smaller, and no body but that of a small ion.
MIN_VOLUME = 5.0
# Å; a sphere of MIN_VOLUME. An atom so near to a smaller body is in it.
SMALL_RADIUS = (0.75 * MIN_VOLUME / np.pi) ** (1.0 / 3.0)
# Å; fits see points up to this far outside.
MAX_LEVEL = 8.0
# Å around the surface's box.
GRID_CLEARANCE = 1.0


@dataclass(frozen=True, eq=False)
class Mesh:
    """The level set at one time, in Å in the scene's coordinates.

    points f4[N,3]; normals f4[N,3], outward, unit; faces i4[M,3]; nearest i4[N], the
    nearest atom of each point, and atoms f4[A,3] at this time (both empty for a field without atoms); area Å², volume
    Å³; islands_dropped: closed components that were removed; expected_error Å (0 inside the training range); seconds:
    time to make it.
    """

    time: float
    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    faces: NDArray[np.int32]
    nearest: NDArray[np.int32]
    atoms: NDArray[np.float32]
    area: float
    volume: float
    islands_dropped: int
    expected_error: float
    extrapolated: bool
    seconds: float


@dataclass(frozen=True, eq=False)
class Grid:
    """f on a lattice at one time: values f4[X,Y,Z] Å, positive outside.

    origin f8[3] Å: position of the first node, a multiple of spacing (Å) along each axis; expected_error as in `Mesh`.
    """

    values: NDArray[np.float32]
    origin: NDArray[np.float64]
    spacing: float
    extrapolated: bool
    expected_error: float


def extract_mesh(
    field: Field,
    time: float,
    level: float = MeshOptions.level,
    resolution: float | None = MeshOptions.resolution,
    triangles: int | None = MeshOptions.triangles,
    smooth: float | None = None,
    radii: NDArray[np.float32] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Mesh:
    """Return the surface f(·, time) = level (Å) on a lattice of `resolution` Å, coarser for at most `triangles`.

    resolution: None for that of the fit's preset; smooth (states) replaces the field's own temporal width. With the
    atoms' van der Waals radii f4[A] (Å), `nearest` is the atom whose sphere is nearest, as PyMOL colours a surface. An
    empty level set gives an empty mesh. Raises ValueError for a time, level, resolution or number of triangles that is
    out of range, and Cancelled once `cancelled()` is true.
    """
    resolution = float(mesh_resolution(field.report.get("preset")) if resolution is None else resolution)
    MeshOptions(float(level), resolution, triangles, smooth)
    if level > MAX_LEVEL:
        raise ValueError(
            f"level {level:g} Å lies outside the box that a field knows, {MAX_LEVEL:g} Å around the surface; "
            "give a lower one"
        )
    started = clock.perf_counter()
    snapshot = _snapshot(field, time, smooth)
    if triangles is not None:
        expected = TRIANGLES_PER_CELL * field.report.get("area", 0.0)
        resolution = max(resolution, float(np.sqrt(expected / triangles)))
    arrays = level_set(snapshot, level, resolution, cancelled)
    while triangles is not None and len(arrays[2]) > triangles:
        resolution *= 1.02 * float(np.sqrt(len(arrays[2]) / triangles))
        arrays = level_set(snapshot, level, resolution, cancelled)
    body = _without_islands(snapshot, level, *arrays)
    nearest = torch.zeros(0)
    if snapshot.atoms is not None and len(body.points):
        # Beyond the reach of its atoms the field has no surface.
        farthest = snapshot.reach + max(0.0, level) + resolution
        nearest, atom_distance = nearest_atoms(body.points, snapshot.atoms, radii, farthest)
        if atom_distance.max() > farthest:
            arrays = level_set(snapshot, level, resolution, cancelled, near_atoms_only=True)
            body = _without_islands(snapshot, level, *arrays)
            nearest, _ = nearest_atoms(body.points, snapshot.atoms, radii)
    if cancelled():
        raise Cancelled("cancelled while meshing")
    return Mesh(
        time=float(time),
        points=body.points.cpu().numpy(),
        normals=body.normals.cpu().numpy(),
        faces=body.faces.int().cpu().numpy(),
        nearest=nearest.int().cpu().numpy(),
        atoms=snapshot.atoms if snapshot.atoms is not None else np.zeros((0, 3), np.float32),
        area=body.area,
        volume=body.volume,
        islands_dropped=body.dropped,
        expected_error=snapshot.expected_error,
        extrapolated=snapshot.extrapolated,
        seconds=clock.perf_counter() - started,
    )


def distance_grid(
    field: Field,
    time: float,
    resolution: float = 1.0,
    cancelled: Callable[[], bool] = lambda: False,
) -> Grid:
    """Return f at `time` on every node of a lattice of `resolution` Å, GRID_CLEARANCE around the surface's box.

    The smoothing is the fit's own. Raises ValueError for a time or resolution out of range, and Cancelled once
    `cancelled()` is true.
    """
    GridOptions(float(resolution))
    snapshot = _snapshot(field, time, None)
    lattice = box_lattice(snapshot, GRID_CLEARANCE, resolution, nested=False)
    lattice.ensure_allocatable(MESH_LIMIT, snapshot.device, cancelled)
    values = torch.empty(lattice.size, device=snapshot.device)
    evaluate_nodes(snapshot, lattice, None, 0.0, values, cancelled, near_atoms_only=True)
    return Grid(
        values.reshape(lattice.shape).cpu().numpy(),
        np.asarray(lattice.origin),
        resolution,
        snapshot.extrapolated,
        snapshot.expected_error,
    )


def _snapshot(field: Field, time: float, smooth: float | None) -> FieldAtTime:
    if not np.isfinite(time):
        raise ValueError(f"time {time} must be a finite number")
    return field.at(time, smooth)


@dataclass(frozen=True, eq=False)
class _Body:
    """A mesh without islands: points and normals f4[N,3], faces i8[M,3]; area Å², volume Å³, components dropped."""

    points: torch.Tensor
    normals: torch.Tensor
    faces: torch.Tensor
    area: float
    volume: float
    dropped: int


def _without_islands(
    snapshot: FieldAtTime, level: float, points: torch.Tensor, normals: torch.Tensor, faces: torch.Tensor
) -> _Body:
    areas, volumes = areas_and_volumes(points, faces)
    # Inside the molecule a level set may enclose no atom; the surface and the level sets around it always do.
    vertex_mask, dropped = kept_points(points, faces, volumes, snapshot.atoms if level >= 0.0 else None)
    if dropped:
        kept_faces = vertex_mask[faces[:, 0]]
        areas, volumes = areas[kept_faces], volumes[kept_faces]
        number = vertex_mask.cumsum(0) - 1
        points, normals, faces = points[vertex_mask], normals[vertex_mask], number[faces[kept_faces]]
    area, volume = (float(values.sum(dtype=torch.float64)) for values in (areas, volumes))
    return _Body(points, normals, faces, area, volume, dropped)


def areas_and_volumes(points: torch.Tensor, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the area f4[M] in Å² of each triangle and its term f4[M] in Å³ of the enclosed volume (Gauss)."""
    # Relative to the mean, so that coordinates far from the origin lose no digits.
    centred = points - points.mean(0, dtype=torch.float64).to(points.dtype)
    a, b, c = face_corners(centred, faces.T.contiguous()).unbind(1)
    normals = cross(b - a, c - a)
    return 0.5 * normals.square().sum(0).sqrt_(), (a * normals).sum(0) / 6.0


def kept_points(
    points: torch.Tensor, faces: torch.Tensor, volumes: torch.Tensor, atoms: NDArray[np.float32] | None
) -> tuple[torch.Tensor, int]:
    """Return bool[N], the points to keep, and the number of components dropped: bodies around no atom of f4[A,3], and
    cavities below MIN_VOLUME. Without atoms, all bodies below it are dropped.

    Where two parts of a molecule have separated, between states or past them, a fragment of their contact can remain in
    the gap.
    """
    if not len(faces):
        return torch.ones(len(points), dtype=torch.bool, device=points.device), 0
    count, component = connected_components(len(points), faces)
    enclosed = volumes.new_zeros(count, dtype=torch.float64)
    enclosed.index_add_(0, component.index_select(0, faces[:, 0]), volumes.double())
    component_mask = enclosed.abs() >= MIN_VOLUME
    small = (enclosed > 0.0) & ~component_mask
    if atoms is not None and bool(small.any()):
        rows = torch.nonzero(small[component])[:, 0]
        centres = torch.as_tensor(atoms, device=points.device)
        distance, nearest = NearestPoints(points[rows])(centres, within=SMALL_RADIUS)
        component_mask[component[rows[nearest[distance <= SMALL_RADIUS]]]] = True
    if atoms is not None and (enclosed >= MIN_VOLUME).sum() > 1:
        has_atom = torch.zeros_like(component_mask)
        has_atom[component[NearestPoints(points)(torch.as_tensor(atoms, device=points.device))[1][:, 0]]] = True
        component_mask &= has_atom | (enclosed < 0.0)
    return component_mask[component], int((~component_mask).sum())


def nearest_atoms(
    points: torch.Tensor, atoms: NDArray[np.float32], radii: NDArray[np.float32] | None, within: float = np.inf
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the index i8[N] of the atom nearest to each point, and the distance f[N] in Å to the nearest centre.

    points f4[N,3] and atoms f4[A,3] in Å. With radii f4[A] in Å the nearest sphere decides, else the nearest centre.
    within: Å; for a point without a centre so near, the distance is greater than this, inf too, and the index
    undefined: the search takes less time. Raises ValueError for another number of radii.
    """
    centres = NearestPoints(torch.as_tensor(atoms, device=points.device))
    if radii is None:
        distance, nearest = centres(points, within=within)
        return nearest[:, 0], distance[:, 0]
    if radii.shape != (len(atoms),):
        raise ValueError(f"radii have shape {list(radii.shape)}, the fit has {len(atoms)} atoms")
    # No atom, which stands for the last one's successor, has no radius.
    radius = torch.nn.functional.pad(torch.as_tensor(radii, device=points.device), (0, 1))
    # The sphere of an atom farther than this is not the nearest one of a point with a centre `within`.
    reached = within + float(radii.max() - radii.min())

    def nearest_spheres(count: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the nearest sphere's atom, the nearest centre's distance, and whether an atom beyond the `count`
        candidates may have a nearer sphere.
        """
        distance, index = centres(x, count, within=reached)
        gap, column = (distance - radius[index]).min(1)
        nearest = index.gather(1, column[:, None])[:, 0]
        return nearest, distance[:, 0], distance[:, -1] - radius.max() < gap

    nearest, distance, undecided = nearest_spheres(FIRST_CANDIDATE_ATOMS, points)
    remaining = torch.nonzero(undecided)[:, 0]
    nearest[remaining] = nearest_spheres(CANDIDATE_ATOMS, points[remaining])[0]
    return nearest, distance
