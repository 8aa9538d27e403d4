"""Field at one time → triangle mesh or grid.

f is evaluated only near the surface: on a coarse lattice, then on ever finer ones where the values interpolated from the
one before, distances all, are small. Edges that cross the level set have both ends within one spacing of it, so these are
exact. Marching cubes does the rest (scikit-image).
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from .errors import Cancelled
from .field import Field, Slice
from .lattice import Lattice

__all__ = ["Grid", "Mesh", "grid", "mesh"]

# Å; no atom, groove or cavity hides between nodes this near.
FIRST_SPACING = 2.0
# Triangles that marching cubes makes per spacing² of surface.
TRIANGLES_PER_CELL = 2.35
# Å. PyMOL's normals are averages over its dots; the gradient of f over a step as wide agrees with them best (NC 0.978 for
# the gradient at the point, 0.986 at 0.2 Å, 0.990 at 0.4, 0.992 at 0.6, 0.991 at 0.8; AdK, training states).
NORMAL_STEP = 0.6
# Å³; less than half a water molecule: nothing that small is a body or a cavity of a molecule.
SMALLEST = 5.0
# Nodes of one lattice, 1 GiB in float32 with its companions.
MOST_NODES = 150_000_000


@dataclass(frozen=True, eq=False)
class Mesh:
    """The level set of one time, in Å in the scene's coordinates.

    points f4[N,3]; normals f4[N,3], outward, unit, from the field's gradient over NORMAL_STEP; faces i4[M,3]; nearest i4[N], the nearest
    atom of each point, and atoms f4[A,3] at this time (both empty where no atoms are known); area Å², volume Å³;
    expected_error Å (0 inside the training range).
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
    """f on a lattice at one time: values f4[X,Y,Z] Å, positive outside; origin f8[3] Å, a multiple of spacing Å."""

    values: NDArray[np.float32]
    origin: NDArray[np.float64]
    spacing: float
    extrapolated: bool
    expected_error: float


def mesh(
    field: Field,
    time: float,
    level: float = 0.0,
    resolution: float = 0.5,
    triangles: int | None = None,
    smooth: float | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Mesh:
    """The surface f(·, time) = level (Å) on a lattice of `resolution` Å, coarser where `triangles` would be exceeded.

    An empty level set gives an empty mesh. Raises ValueError for a time, level or resolution that cannot be meshed.
    """
    if not (np.isfinite(time) and np.isfinite(level)):
        raise ValueError(f"time {time} and level {level} must be finite numbers")
    if not 0.05 <= resolution <= 10.0:
        raise ValueError(f"resolution {resolution} Å must lie between 0.05 and 10 Å")
    if triangles is not None and triangles < 100:
        raise ValueError(f"a budget of {triangles} triangles is below 100")
    started = clock.perf_counter()
    part = field.at(time, smooth)
    if triangles is not None:
        resolution = max(resolution, float(np.sqrt(TRIANGLES_PER_CELL * field.report["area"] / triangles)))
    points, faces = _march(part, level, resolution, cancelled)
    while triangles is not None and len(faces) > triangles:
        resolution *= 1.02 * float(np.sqrt(len(faces) / triangles))
        points, faces = _march(part, level, resolution, cancelled)
    points, faces, dropped = _without_islands(points, faces)
    if cancelled():
        raise Cancelled("cancelled while meshing")
    points, normals = _settle(part, points, level, resolution)
    nearest = np.zeros(0, np.int32)
    if part.atoms is not None and len(points):
        nearest = cKDTree(part.atoms).query(points)[1].astype(np.int32)
    area, volume = _area_and_volume(points, faces)
    return Mesh(
        time=float(time),
        points=points,
        normals=normals,
        faces=faces,
        nearest=nearest,
        atoms=part.atoms if part.atoms is not None else np.zeros((0, 3), np.float32),
        area=area,
        volume=volume,
        islands_dropped=dropped,
        expected_error=part.expected_error,
        extrapolated=part.extrapolated,
        seconds=clock.perf_counter() - started,
    )


def grid(field: Field, time: float, resolution: float = 1.0, smooth: float | None = None, clearance: float = 2.0) -> Grid:
    """f at `time` on every node of a lattice of `resolution` Å that reaches `clearance` Å around the surface's box."""
    if not 0.2 <= resolution <= 10.0:
        raise ValueError(f"resolution {resolution} Å must lie between 0.2 and 10 Å")
    part = field.at(time, smooth)
    lattice = Lattice.around(part.box[0] - clearance, part.box[1] + clearance, resolution)
    _check_size(lattice)
    values = part.distance(lattice.nodes(torch.arange(lattice.size, device=part.device)))
    return Grid(
        values.reshape(lattice.shape).cpu().numpy(),
        np.asarray(lattice.origin),
        resolution,
        part.extrapolated,
        part.expected_error,
    )


def _check_size(lattice: Lattice) -> None:
    if lattice.size > MOST_NODES:
        raise ValueError(
            f"a lattice of {'×'.join(map(str, lattice.shape))} nodes at {lattice.spacing:.3g} Å is more than the "
            f"{MOST_NODES} that fit; use a resolution of {lattice.spacing * (lattice.size / MOST_NODES) ** (1 / 3):.2f} Å"
        )


def _march(
    part: Slice, level: float, resolution: float, cancelled: Callable[[], bool]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Points f4[N,3] in Å and faces i4[M,3] of the level set, outward by the right-hand rule."""
    steps = [1]
    while 2 * steps[0] * resolution <= FIRST_SPACING:
        steps.insert(0, 2 * steps[0])
    room = max(0.0, level) + resolution
    fine = Lattice.around(part.box[0] - room, part.box[1] + room, resolution, even=steps[0])
    _check_size(fine)
    values = torch.empty(0)
    for step in steps:
        if cancelled():
            raise Cancelled("cancelled while meshing")
        lattice = fine.coarser(step)
        if step == steps[0]:
            numbers = torch.arange(lattice.size, device=part.device)
            values = torch.empty(lattice.shape, device=part.device)
        else:
            finer = torch.nn.functional.interpolate(
                values[None, None], size=lattice.shape, mode="trilinear", align_corners=True
            )
            values = finer[0, 0]
            reach = (1.25 if step == 1 else 1.5 * step) * resolution
            numbers = torch.nonzero(values.reshape(-1).abs() < reach)[:, 0]
        values.view(-1)[numbers] = part.distance(lattice.nodes(numbers)) - level
    volume = values.cpu().numpy()
    if not (volume.min() < 0.0 < volume.max()):
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
    points, faces, _, _ = marching_cubes(volume, 0.0, gradient_direction="descent", allow_degenerate=False)
    points = points.astype(np.float32) * np.float32(resolution) + np.asarray(fine.origin, np.float32)
    return points, np.ascontiguousarray(faces, np.int32)


def _without_islands(
    points: NDArray[np.float32], faces: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.int32], int]:
    """The mesh without closed pieces smaller than SMALLEST, and how many went."""
    if not len(faces):
        return points, faces, 0
    links = coo_matrix((np.ones(2 * len(faces), bool), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())), (len(points),) * 2)
    count, piece = connected_components(links, directed=False)
    a, b, c = (points[faces[:, k]].astype(np.float64) - points.mean(0) for k in range(3))
    volumes = np.bincount(piece[faces[:, 0]], np.einsum("ij,ij->i", a, np.cross(b, c)) / 6.0, count)
    kept = np.abs(volumes) >= SMALLEST
    if kept.all():
        return points, faces, 0
    used = kept[piece]
    number = np.cumsum(used) - 1
    return points[used], number[faces[used[faces[:, 0]]]].astype(np.int32), int((~kept).sum())


def _settle(
    part: Slice, points: NDArray[np.float32], level: float, resolution: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points after one Newton step onto the level set, and unit normals, both f4[N,3]."""
    if not len(points):
        return points, points.copy()
    x = torch.as_tensor(points, device=part.device)
    gradient = part.gradient(x, NORMAL_STEP)
    step = ((part.distance(x) - level) / (gradient**2).sum(1).clamp_min(0.25))[:, None] * gradient
    limit = 0.25 * resolution
    step *= (limit / torch.linalg.norm(step, dim=1, keepdim=True).clamp_min(1e-9)).clamp_max(1.0)
    normals = torch.nn.functional.normalize(gradient, dim=1)
    return (x - step).cpu().numpy(), normals.cpu().numpy()


def _area_and_volume(points: NDArray[np.float32], faces: NDArray[np.int32]) -> tuple[float, float]:
    """Area in Å² and enclosed volume in Å³ (divergence theorem)."""
    if not len(faces):
        return 0.0, 0.0
    a, b, c = (points[faces[:, k]].astype(np.float64) - points.mean(0) for k in range(3))
    cross = np.cross(b - a, c - a)
    return float(0.5 * np.linalg.norm(cross, axis=1).sum()), float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)
