"""Field at one time → triangle mesh or grid.

f is evaluated only near the surface: on a coarse lattice, then on ever finer ones where the values
interpolated from the one before, distances all, are small. Edges that cross the level set have both ends
within one spacing of it, so these are exact. Marching cubes does the rest.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..fields.base import TETRAHEDRON, Field, FieldAtTime
from ..geometry.lattice import Lattice
from ..geometry.marching_cubes import marching_cubes, pieces
from ..geometry.nearest_points import NearestPoints
from ..runtime.device import constant
from ..runtime.errors import Cancelled

# Å; no atom, groove or cavity hides between nodes this near.
FIRST_SPACING = 2.0
# Atoms by a point of the surface among which the one with the nearest sphere is; radii differ by less than 1
# Å.
SPHERES = 8
# As many tell for fourteen of fifteen points that no other is nearer.
FIRST_SPHERES = 3
# Triangles that marching cubes makes per spacing² of surface.
TRIANGLES_PER_CELL = 2.9
# Å. PyMOL's normals are averages over its dots: differences of f over about this width, of which the lattice's own
# spacing is a part, agree with them best (NC at 0.5 Å spacing 0.9899 and 0.9891 for steps of 0.2 and 0.4 Å; 0.985 for
# the gradient of f itself over 0.6 Å; AdK, training states).
NORMAL_WIDTH = 0.6
# Å³; less than half a water molecule: nothing that small is a body or a cavity of a molecule.
SMALLEST = 5.0
# Nodes of one lattice: 2.2 GiB while it is meshed; 512 along the longest side of any box.
MOST_NODES = 180_000_000
# Å; fits see points as far outside as this.
FARTHEST_LEVEL = 8.0
# Nodes between two looks at whether to stop.
CHUNK = 2**20


@dataclass(frozen=True, eq=False)
class Mesh:
    """The level set of one time, in Å in the scene's coordinates.

    points f4[N,3]; normals f4[N,3], outward, unit, from differences over NORMAL_WIDTH; faces i4[M,3];
    nearest i4[N], the nearest atom of each point, and atoms f4[A,3] at this time (both empty where no atoms
    are known); area Å², volume Å³; expected_error Å (0 inside the training range).
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

    origin f8[3] Å: the first node's place, a multiple of spacing (Å) along each axis; expected_error as in
    `Mesh`.
    """

    values: NDArray[np.float32]
    origin: NDArray[np.float64]
    spacing: float
    extrapolated: bool
    expected_error: float


def extract_mesh(
    field: Field,
    time: float,
    level: float = 0.0,
    resolution: float = 0.5,
    triangles: int | None = None,
    smooth: float | None = None,
    radii: NDArray[np.float32] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Mesh:
    """The surface f(·, time) = level (Å) on a lattice of `resolution` Å, coarser for at most `triangles`.

    smooth (states) replaces the field's own temporal width. With the atoms' van der Waals radii f4[A] (Å),
    `nearest` is the atom whose sphere is nearest, as where PyMOL takes a surface's colours from. An empty
    level set gives an empty mesh. Raises ValueError for a time, level, resolution or budget that cannot be
    meshed, and Cancelled once `cancelled()` is true.
    """
    if not np.isfinite(level):
        raise ValueError(f"level {level} must be a finite number")
    if level > FARTHEST_LEVEL:
        raise ValueError(
            f"level {level:g} Å lies outside the box that a field knows, {FARTHEST_LEVEL:g} Å around the surface; "
            "give a lower one"
        )
    if not 0.01 <= resolution <= 10.0:
        raise ValueError(f"resolution {resolution} Å must lie between 0.01 and 10 Å")
    if triangles is not None and triangles < 100:
        raise ValueError(f"a budget of {triangles} triangles is below 100")
    started = clock.perf_counter()
    part = _at(field, time, smooth)
    if triangles is not None:
        expected = TRIANGLES_PER_CELL * field.report.get("area", 0.0)
        resolution = max(resolution, float(np.sqrt(expected / triangles)))
    marched = _march(part, level, resolution, cancelled)
    while triangles is not None and len(marched[2]) > triangles:
        resolution *= 1.02 * float(np.sqrt(len(marched[2]) / triangles))
        marched = _march(part, level, resolution, cancelled)
    body = _body(part, level, *marched)
    nearest = torch.zeros(0)
    if part.atoms is not None and len(body.points):
        nearest, away = nearest_atoms(body.points, part.atoms, radii)
        if away.max() > part.reach + max(0.0, level) + resolution:
            body = _body(part, level, *_march(part, level, resolution, cancelled, held=True))
            nearest, _ = nearest_atoms(body.points, part.atoms, radii)
    if cancelled():
        raise Cancelled("cancelled while meshing")
    return Mesh(
        time=float(time),
        points=body.points.cpu().numpy(),
        normals=body.normals.cpu().numpy(),
        faces=body.faces.int().cpu().numpy(),
        nearest=nearest.int().cpu().numpy(),
        atoms=part.atoms if part.atoms is not None else np.zeros((0, 3), np.float32),
        area=body.area,
        volume=body.volume,
        islands_dropped=body.dropped,
        expected_error=part.expected_error,
        extrapolated=part.extrapolated,
        seconds=clock.perf_counter() - started,
    )


def distance_grid(
    field: Field,
    time: float,
    resolution: float = 1.0,
    smooth: float | None = None,
    clearance: float = 1.0,
    cancelled: Callable[[], bool] = lambda: False,
) -> Grid:
    """f at `time` on every node of a lattice of `resolution` Å, `clearance` Å around the surface's box.

    smooth as in `mesh`. Raises ValueError for a time or resolution that cannot be had, and Cancelled once
    `cancelled()` is true.
    """
    if not 0.2 <= resolution <= 10.0:
        raise ValueError(f"resolution {resolution} Å must lie between 0.2 and 10 Å")
    part = _at(field, time, smooth)
    lattice = _lattice(part, clearance, resolution, nested=False)
    values = torch.empty(lattice.size, device=part.device)
    _evaluate(part, lattice, None, 0.0, values, cancelled, held=True)
    return Grid(
        values.reshape(lattice.shape).cpu().numpy(),
        np.asarray(lattice.origin),
        resolution,
        part.extrapolated,
        part.expected_error,
    )


def _at(field: Field, time: float, smooth: float | None) -> FieldAtTime:
    if not np.isfinite(time):
        raise ValueError(f"time {time} must be a finite number")
    if smooth is not None and not 0.0 <= smooth < np.inf:
        raise ValueError(f"smooth {smooth} must be 0 states or more")
    return field.at(time, smooth)


def _steps(resolution: float) -> list[int]:
    """Spacings of the lattices one after another, in multiples of `resolution`; the last is 1."""
    steps = [1]
    while 2 * steps[0] * resolution <= FIRST_SPACING:
        steps.insert(0, 2 * steps[0])
    return steps


def _lattice(part: FieldAtTime, room: float, resolution: float, *, nested: bool) -> Lattice:
    """The lattice `room` Å around the surface's box; one cell more, and with those of `_steps`, where `nested`.

    Raises ValueError, naming a resolution that fits, where it would be too large.
    """

    def spaced(spacing: float) -> Lattice:
        reach, even = (room + spacing, _steps(spacing)[0]) if nested else (room, 1)
        return Lattice.around(part.box[0] - reach, part.box[1] + reach, spacing, even=even)

    lattice = spaced(resolution)
    if lattice.size <= MOST_NODES:
        return lattice
    fitting = np.ceil(100.0 * resolution) / 100.0
    while spaced(fitting).size > MOST_NODES:
        fitting = np.ceil(102.0 * fitting) / 100.0
    raise ValueError(
        f"a lattice of {'×'.join(map(str, lattice.shape))} nodes at {resolution:.3g} Å is more than the "
        f"{MOST_NODES} that fit; use a resolution of {fitting:.2f} Å"
    )


def _evaluate(
    part: FieldAtTime,
    lattice: Lattice,
    numbers: torch.Tensor | None,
    level: float,
    values: torch.Tensor,
    cancelled: Callable[[], bool],
    *,
    held: bool = False,
) -> None:
    """Put f − level (Å) at the nodes with these numbers i8[N], None for all, into values f4[nodes].

    held: as `_hold` says.
    """
    count = lattice.size if numbers is None else len(numbers)
    for start in range(0, count, CHUNK):
        if cancelled():
            raise Cancelled("cancelled while meshing")
        end = min(start + CHUNK, count)
        chunk = torch.arange(start, end, device=part.device) if numbers is None else numbers[start:end]
        nodes = lattice.nodes(chunk)
        found = part.distance(nodes)
        values[chunk] = (_hold(part, nodes, found, max(0.0, level)) if held else found) - level


def _hold(part: FieldAtTime, x: torch.Tensor, found: torch.Tensor, level: float) -> torch.Tensor:
    """f f4[N] at x f4[N,3] Å; where it is below `level` though no atom is within reach, what is missing to that.

    Where the way to material coordinates folds, matter shows twice: once where it is, once in the empty space beside.
    """
    if part.atoms is None or part.reach == np.inf:
        return found
    below = torch.nonzero(found < level)[:, 0]
    away = NearestPoints(torch.as_tensor(part.atoms, device=x.device))(x[below])[0][:, 0]
    beyond = (away - part.reach).to(found.dtype)
    # Within reach of an atom, f may be as low as it is.
    return found.index_put((below,), torch.where(beyond > 0.0, torch.maximum(found[below], beyond), found[below]))


@dataclass(frozen=True, eq=False)
class _Body:
    """A mesh without what is no body: points and normals f4[N,3], faces i8[M,3]; area Å², volume Å³, pieces dropped."""

    points: torch.Tensor
    normals: torch.Tensor
    faces: torch.Tensor
    area: float
    volume: float
    dropped: int


def _body(part: FieldAtTime, level: float, points: torch.Tensor, normals: torch.Tensor, faces: torch.Tensor) -> _Body:
    areas, volumes = _shares(points, faces)
    # Within the molecule a level set may well enclose no atom; the surface and what lies outside it may not.
    kept, dropped = _islands(points, faces, volumes, part.atoms if level >= 0.0 else None)
    if dropped:
        used = kept[faces[:, 0]]
        areas, volumes = areas[used], volumes[used]
        number = kept.cumsum(0) - 1
        points, normals, faces = points[kept], normals[kept], number[faces[used]]
    area, volume = (float(share.sum(dtype=torch.float64)) for share in (areas, volumes))
    return _Body(points, normals, faces, area, volume, dropped)


def _march(
    part: FieldAtTime, level: float, resolution: float, cancelled: Callable[[], bool], *, held: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points f4[N,3] in Å, unit normals f4[N,3] and faces i8[M,3] of the level set, outward by the right-hand rule.

    held: see `_hold`.
    """
    coarsest, *finer = _steps(resolution)
    fine = _lattice(part, max(0.0, level), resolution, nested=True)
    lattice = fine.coarser(coarsest)
    values = torch.empty(lattice.shape, device=part.device)
    _evaluate(part, lattice, None, level, values.view(-1), cancelled, held=held)
    for step in finer:
        lattice = fine.coarser(step)
        values = torch.nn.functional.interpolate(
            values[None, None], size=lattice.shape, mode="trilinear", align_corners=True
        )[0, 0]
        reach = (1.1 if step == 1 else 1.5 * step) * resolution
        flat = values.view(-1)
        near = torch.nonzero((flat < reach) & (flat > -reach))[:, 0]
        _evaluate(part, lattice, near, level, flat, cancelled, held=held)
    points, faces = marching_cubes(values)
    points *= resolution
    origin = constant(fine.origin, torch.float32, points.device)
    if resolution <= NORMAL_WIDTH:
        return points + origin, _normals(values, points, resolution), faces
    return *_settle(part, points + origin, level, resolution), faces


def _normals(values: torch.Tensor, x: torch.Tensor, resolution: float) -> torch.Tensor:
    """Unit normals f4[N,3] at points x f4[N,3] (Å from the first node) on a lattice of values f4[X,Y,Z].

    From differences over a tetrahedron around each point, as wide as makes NORMAL_WIDTH together with the lattice's
    interpolation.
    """
    x_count, y_count, z_count = values.shape
    lattice = Lattice((0.0, 0.0, 0.0), resolution, (x_count, y_count, z_count))
    step = float(np.sqrt(max((0.25 * resolution) ** 2, NORMAL_WIDTH**2 - resolution**2)))
    gradient = x.new_zeros(x.shape)
    for corner in constant(TETRAHEDRON, torch.float32, x.device):
        gradient += lattice.interpolate(values.view(-1, 1), x + step * corner) * corner
    return torch.nn.functional.normalize(gradient, dim=1)


def _settle(part: FieldAtTime, x: torch.Tensor, level: float, resolution: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Points x f4[N,3] Å after a Newton step onto the level set (a quarter cell at most), and unit normals.

    For lattices too coarse to tell either by themselves.
    """
    gradient = part.gradient(x, NORMAL_WIDTH)
    step = ((part.distance(x) - level) / (gradient**2).sum(1).clamp_min(0.25))[:, None] * gradient
    limit = 0.25 * resolution
    step *= (limit / torch.linalg.norm(step, dim=1, keepdim=True).clamp_min(1e-9)).clamp_max(1.0)
    return x - step, torch.nn.functional.normalize(gradient, dim=1)


def _shares(points: torch.Tensor, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Area f4[M] in Å² of each triangle, and volume f4[M] in Å³ that it adds to what is enclosed (Gauss)."""
    # About the middle, so that coordinates far from the origin lose no digits.
    centred = points - points.mean(0, dtype=torch.float64).to(points.dtype)
    a, b, c = (centred.index_select(0, faces[:, k]) for k in range(3))
    cross = torch.linalg.cross(b - a, c - a)
    return 0.5 * torch.linalg.norm(cross, dim=1), (a * cross).sum(1) / 6.0


def _islands(
    points: torch.Tensor, faces: torch.Tensor, volumes: torch.Tensor, atoms: NDArray[np.float32] | None
) -> tuple[torch.Tensor, int]:
    """Which points bool[N] stay, and how many closed pieces go: those below SMALLEST or around no atom of f4[A,3].

    Between states, or past them, parts that have come apart can leave a shred of their old contact in the
    gap.
    """
    if not len(faces):
        return torch.ones(len(points), dtype=torch.bool, device=points.device), 0
    count, piece = pieces(len(points), faces)
    enclosed = volumes.new_zeros(count, dtype=torch.float64)
    enclosed.index_add_(0, piece.index_select(0, faces[:, 0]), volumes.double())
    kept = enclosed.abs() >= SMALLEST
    if atoms is not None and (enclosed > 0.0).sum() > 1:
        peopled = torch.zeros_like(kept)
        peopled[piece[NearestPoints(points)(torch.as_tensor(atoms, device=points.device))[1][:, 0]]] = True
        kept &= peopled | (enclosed < 0.0)
    return kept[piece], int((~kept).sum())


def nearest_atoms(
    points: torch.Tensor, atoms: NDArray[np.float32], radii: NDArray[np.float32] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Index i8[N] of the atom f4[A,3] nearest to each point f4[N,3], with radii f4[A] of the nearest sphere.

    And how far f[N] the nearest atom's centre is. All Å.
    """
    among = NearestPoints(torch.as_tensor(atoms, device=points.device))
    if radii is None:
        away, nearest = among(points)
        return nearest[:, 0], away[:, 0]
    if radii.shape != (len(atoms),):
        raise ValueError(f"radii have shape {list(radii.shape)}, the fit has {len(atoms)} atoms")
    radius = torch.as_tensor(radii, device=points.device)

    def spheres(count: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The nearest sphere's atom, the nearest centre's distance, and whether a farther one may still be nearer."""
        distance, index = among(x, count)
        gap, place = (distance - radius[index]).min(1)
        nearest = index.gather(1, place[:, None])[:, 0]
        return nearest, distance[:, 0], distance[:, -1] - radius.max() < gap

    nearest, away, open_ = spheres(FIRST_SPHERES, points)
    # Mostly one point of fifteen.
    left = torch.nonzero(open_)[:, 0]
    nearest[left] = spheres(SPHERES, points[left])[0]
    return nearest, away
