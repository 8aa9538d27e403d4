"""The occupancy of an ensemble: at each place, the fraction of its states whose surface encloses it.

A node of a lattice of spacing h counts for a state by clip(½ − f/h, 0, 1), f being the state's signed distance. The sum
over the states, each times its weight, is the occupancy. Nested surfaces show it: around the space that at least 10 of
100 states fill, that half of them fill, and so on. On such a surface the f of one rank is 0, counted from the deepest
state. States that are more than h/2 inside or outside a node have certain ranks there. The f of the others are taken as
evenly spread, with their mean and standard deviation. The spread of the ensemble is the standard deviation of f over
the states at the surface of 50 %.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.ensemble_options import OccupancyOptions
from pymol_dsr.shared.superpose import raw_rmsd, rmsd
from pymol_dsr.shared.weights import check_weights

from ..fields.base import Field, FieldAtTime
from ..geometry.lattice import Lattice
from ..geometry.marching_cubes import marching_cubes
from ..geometry.nearest_points import NearestPoints
from ..geometry.triangle_mesh import TriangleMesh
from ..runtime.errors import Cancelled
from ..runtime.parallel import ordered_parallel_map
from ..surfaces.surface import Surface
from .level_set import MESH_LIMIT, box_lattice, bulge, lattice_normals, nested_values
from .mesh import areas_and_volumes, kept_points

MIDDLE = 50.0
"""Level in % whose surface the spread is measured on."""
# No point of a triangle lies farther from its corners and the middles of its sides than this fraction of its longest
# side, unless its angles are very blunt.
TO_SAMPLES = 0.3
# Triangles tried for each node near a surface: of AdK's, one in 700 is 0.02 to 0.16 Å off, and none has the wrong sign.
TRIANGLES_TRIED = 4
# Steps that the weights of all states are rounded to for their sums, about.
WEIGHT_STEPS = 1_000_000
# Normals are differences over so many spacings.
NORMAL_SPACINGS = 1.5
# The moments of all states, four numbers a node, and those of one state while they are added.
SUM_LIMIT = replace(MESH_LIMIT, bytes_per_node=48)
Progress = Callable[[float], None]


class Shape(ABC):
    """One state of an ensemble.

    box: f4[2,3] Å around its surface. atoms: f4[A,3] Å, or None.
    """

    box: NDArray[np.float32]
    atoms: NDArray[np.float32] | None

    @abstractmethod
    def lattice_values(self, spacing: float, cancelled: Callable[[], bool]) -> tuple[Lattice, torch.Tensor]:
        """Return a lattice around the surface and f f4[X,Y,Z] (Å) on it, exact within half a spacing of the surface.

        Elsewhere f has the right sign and at least that size. The nodes lie at multiples of the spacing.
        """

    @abstractmethod
    def distance(self, x: torch.Tensor) -> torch.Tensor:
        """Return the signed distance f4[N] (Å) at points x f4[N,3] (Å)."""


OpenShape = Callable[[], Shape]


class FieldShape(Shape):
    """A field at one of its times."""

    def __init__(self, snapshot: FieldAtTime) -> None:
        self._snapshot, self.box, self.atoms = snapshot, snapshot.box, snapshot.atoms

    def lattice_values(self, spacing: float, cancelled: Callable[[], bool]) -> tuple[Lattice, torch.Tensor]:
        """Evaluate the field on nested lattices, away from atoms never below 0."""
        lattice = box_lattice(self._snapshot, 0.0, spacing, nested=True)
        lattice.ensure_allocatable(MESH_LIMIT, self._snapshot.device, cancelled)
        return lattice, nested_values(self._snapshot, lattice, 0.0, cancelled, near_atoms_only=True)

    def distance(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the field."""
        return self._snapshot.distance(x.to(self._snapshot.device))


class SurfaceShape(Shape):
    """PyMOL's surface of one state."""

    def __init__(self, surface: Surface) -> None:
        self.points, self.faces, self.atoms = surface.points, surface.faces.astype(np.int64), surface.atoms
        self.box = np.stack([surface.points.min(0), surface.points.max(0)])
        self._mesh = TriangleMesh(surface.points, surface.faces, torch.device("cpu"))

    def lattice_values(self, spacing: float, cancelled: Callable[[], bool]) -> tuple[Lattice, torch.Tensor]:
        """Compute exact distances in a band around the triangles; beyond it only the side of the surface is known."""
        sides = self.points[self.faces] - self.points[np.roll(self.faces, -1, 1)]
        # A node within half a spacing of a triangle is so many cells from the node nearest to one of its samples.
        cells = int(1.0 + TO_SAMPLES * float(np.linalg.norm(sides, axis=2).max()) / spacing)
        reach = (cells + 1) * spacing
        lattice = Lattice.around(self.box[0] - reach, self.box[1] + reach, spacing)
        lattice.ensure_allocatable(MESH_LIMIT, torch.device("cpu"), cancelled)
        band = self._band(lattice, cells)
        nodes = torch.nonzero(band.view(-1))[:, 0]

        def check() -> None:
            if cancelled():
                raise Cancelled("cancelled while an occupancy was computed")

        values = torch.full((lattice.size,), math.nan)
        values[nodes] = self._mesh.signed_distance(lattice.nodes(nodes), check, TRIANGLES_TRIED)
        return lattice, _with_sides(values.view(lattice.shape), spacing)

    def _band(self, lattice: Lattice, cells: int) -> torch.Tensor:
        """Return bool[X,Y,Z], the nodes within so many cells of a triangle's corners or the middles of its sides."""
        corners = torch.as_tensor(self.points)[torch.as_tensor(self.faces)]
        samples = torch.cat([corners, 0.5 * (corners + corners.roll(-1, 1))], 1).view(-1, 3)
        ijk = torch.round((samples - torch.tensor(lattice.origin, dtype=torch.float32)) / lattice.spacing).long()
        _, y_count, z_count = lattice.shape
        near = torch.zeros(lattice.size)
        near[(ijk[:, 0] * y_count + ijk[:, 1]) * z_count + ijk[:, 2]] = 1.0
        width = 2 * cells + 1
        spread = torch.nn.functional.max_pool3d(near.view(1, 1, *lattice.shape), width, stride=1, padding=cells)
        return spread[0, 0] > 0.0

    def distance(self, x: torch.Tensor) -> torch.Tensor:
        """Compute exact distances."""
        return self._mesh.signed_distance(x.cpu())


def _with_sides(values: torch.Tensor, spacing: float) -> torch.Tensor:
    """Fill the unknown nodes (NaN) of f4[X,Y,Z] with ±`spacing`: the side of the last known node before them along z.

    No line of nodes gets from one side of a surface to the other without a known node; each begins outside.
    """
    known = ~torch.isnan(values)
    last_known = torch.where(known, torch.arange(values.shape[2]), -1).cummax(2).values
    before = torch.gather(values, 2, last_known.clamp_min(0))
    side = torch.where((last_known >= 0) & (before < 0.0), -spacing, spacing)
    return torch.where(known, values, side)


@dataclass(frozen=True, eq=False)
class LevelSurface:
    """The surface around the space that at least `level` % of the states fill.

    points f4[N,3] Å; normals f4[N,3], outward, unit; faces i4[M,3]; spread f4[N]: standard deviation of f over the
    states, in Å, at the nearest point of the surface of 50 %; volume Å³. value: the occupancy at this surface.
    """

    level: float
    value: float
    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    faces: NDArray[np.int32]
    spread: NDArray[np.float32]
    volume: float


@dataclass(frozen=True, eq=False)
class Occupancy:
    """The occupancy of an ensemble.

    surfaces: by level, rising; a level that no place reaches has none. values: f4[X,Y,Z], 0 to 1, on nodes from
    origin f8[3] Å, `spacing` Å apart. volume: mean of the states' volumes, Å³. states: their number. rmsd,
    rmsd_superposed: mean over the states of the atoms' RMSD (Å) from the first state, as they lie and superposed; None
    where no atoms are known.
    """

    surfaces: tuple[LevelSurface, ...]
    values: NDArray[np.float32]
    origin: NDArray[np.float64]
    spacing: float
    volume: float
    states: int
    rmsd: float | None
    rmsd_superposed: float | None


def field_shapes(field: Field, times: Sequence[float]) -> list[OpenShape]:
    """Return a field's shapes at these times."""

    def opening(time: float) -> OpenShape:
        return lambda: FieldShape(field.at(time))

    return [opening(time) for time in times]


def surface_shapes(surfaces: Sequence[Surface]) -> list[OpenShape]:
    """Return the shapes of surfaces, each read when it is opened."""

    def opening(index: int) -> OpenShape:
        return lambda: SurfaceShape(surfaces[index])

    return [opening(index) for index in range(len(surfaces))]


def iso_value(level: float, weights: NDArray[np.float64]) -> float:
    """Return the occupancy on the boundary of the space that states of at least `level` % of the weight fill.

    weights: f8[S], 0 or more. It is half-way between two sums of weights: the largest that states can have below the
    level, and the smallest that reaches it. With equal weights that is the surface of the k-th state from outside,
    which is passed where k − 1 states count whole and this one half.
    """
    # The heaviest state weighs whole steps; with equal weights all do.
    steps = weights * (max(1, round(WEIGHT_STEPS * weights.max() / weights.sum())) / weights.max())
    rounded = np.rint(steps).astype(np.int64)
    # Bit k says whether some of the states weigh k steps.
    sums = 1
    for weight in rounded.tolist():
        sums |= sums << weight
    # A sum that is the level may be rounded to less. Errors of many states cancel out.
    tolerance = 3.0 * float(np.linalg.norm(steps - rounded)) + 1e-6 * float(steps.max())
    reached = max(1, math.ceil(0.01 * level * float(rounded.sum()) - tolerance))
    below = (sums & ((1 << reached) - 1)).bit_length() - 1
    at_least = sums >> reached
    smallest = reached + (at_least & -at_least).bit_length() - 1
    return 0.5 * (below + smallest) / float(rounded.sum())


def occupancy(
    shapes: Sequence[OpenShape],
    options: OccupancyOptions,
    weights: Sequence[float] | None = None,
    threads: int = 1,
    progress: Progress = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Occupancy:
    """Return the occupancy of the states `shapes`, each of which is opened twice, `threads` at a time.

    weights: one for each state, None for equal ones; progress is told the fraction done. Raises ValueError for no
    states, for weights that do not fit, or where no place is filled in half of the states, and Cancelled.
    """
    fractions = _fractions(len(shapes), weights)
    total = _Sum(options.resolution)
    reference: NDArray[np.float32] | None = None
    deviations: list[tuple[float, float]] = []

    def fill(index: int) -> tuple[Lattice, torch.Tensor, NDArray[np.float32] | None]:
        shape = shapes[index]()
        lattice, values = shape.lattice_values(options.resolution, cancelled)
        return lattice, _moments(values.cpu(), options.resolution), shape.atoms

    with closing(ordered_parallel_map(fill, len(shapes), threads)) as filled:
        for index, (lattice, moments, atoms) in enumerate(filled):
            total.add(lattice, moments * float(fractions[index]))
            reference = atoms if reference is None else reference
            if atoms is not None and reference is not None and atoms.shape == reference.shape and len(atoms) >= 3:
                deviations.append((raw_rmsd(atoms, reference), rmsd(atoms, reference)))
            _step(progress, cancelled, 0.75 * (index + 1) / len(shapes))
    middle = _level_surface(total, MIDDLE, fractions)
    if not len(middle.points):
        raise ValueError(
            f"no place is filled in half of the {len(shapes)} states: superpose them first, or choose states alike"
        )
    spread = _spread(middle.points, shapes, fractions, threads, progress, cancelled)
    nearest = NearestPoints(torch.from_numpy(middle.points))
    surfaces = []
    for level in options.levels:
        surface = _level_surface(total, level, fractions)
        if len(surface.points):
            vertex = nearest(torch.from_numpy(surface.points))[1][:, 0].numpy()
            surface = replace(surface, spread=spread[vertex])
        surfaces.append(surface)
    raw, superposed = np.mean(deviations, 0).tolist() if len(deviations) > 1 else (None, None)
    values = total.occupancy()
    return Occupancy(
        tuple(surfaces),
        values.numpy(),
        np.array(total.lattice.origin),
        options.resolution,
        float(values.sum(dtype=torch.float64)) * options.resolution**3,
        len(shapes),
        raw,
        superposed,
    )


def _fractions(count: int, weights: Sequence[float] | None) -> NDArray[np.float64]:
    """Return the weights of the states as fractions f8[S] of 1."""
    if not count:
        raise ValueError("an occupancy needs one state at least, got none")
    if weights is None:
        return np.full(count, 1.0 / count)
    if len(weights) != count:
        raise ValueError(f"weights: {len(weights)} are given for {count} states; give one for each")
    check_weights(weights, "weights")
    array = np.asarray(weights, np.float64)
    return np.asarray(array / array.sum())


def _moments(values: torch.Tensor, spacing: float) -> torch.Tensor:
    """Return f4[4,X,Y,Z] of f f4[X,Y,Z] (Å): whether a node is more than half a spacing inside, whether it is within
    half a spacing of the surface, and there f and f².
    """
    near = values.abs() <= 0.5 * spacing
    f = torch.where(near, values, 0.0)
    return torch.stack([(values < -0.5 * spacing).float(), near.float(), f, f**2])


class _Sum:
    """Moments of states added up on a lattice that grows with what is added. moments: f4[4,X,Y,Z], as `_moments`."""

    def __init__(self, spacing: float) -> None:
        self.lattice = Lattice((0.0, 0.0, 0.0), spacing, (0, 0, 0))
        self.moments = torch.zeros(4, 0, 0, 0)

    def add(self, lattice: Lattice, moments: torch.Tensor) -> None:
        """Add moments f4[4,X,Y,Z] on a lattice whose nodes lie at multiples of the same spacing."""
        first, size = _first_index(lattice), moments.shape[1:]
        if not self.moments.numel():
            self.lattice, self.moments = lattice, moments.clone()
            return
        present_size = self.moments.shape[1:]
        low = np.minimum(_first_index(self.lattice), first)
        high = np.maximum(_first_index(self.lattice) + present_size, first + size)
        if (high - low > present_size).any():
            self._grow(low, high - low)
        x, y, z = first - _first_index(self.lattice)
        self.moments[:, x : x + size[0], y : y + size[1], z : z + size[2]] += moments

    def occupancy(self) -> torch.Tensor:
        """Return the occupancy f4[X,Y,Z]: the sum of clip(½ − f/h, 0, 1)."""
        inside, near, first, _ = self.moments
        occupied: torch.Tensor = (inside + 0.5 * near - first / self.lattice.spacing).clamp(0.0, 1.0)
        return occupied

    def distance_of_rank(self, value: float) -> torch.Tensor:
        """Return f4[X,Y,Z] (Å), at most half a spacing: the f that states of the summed weight `value` are below."""
        inside, near, first, second = self.moments
        weight = near.clamp_min(1e-9)
        mean = first / weight
        deviation = (second / weight - mean**2).clamp_min(0.0).sqrt()
        rank = (value - inside) / weight
        half = 0.5 * self.lattice.spacing
        # The f of states that are evenly spread reach √3 deviations to either side of their mean.
        f = (mean + math.sqrt(3.0) * deviation * (2.0 * rank - 1.0)).clamp(-half, half)
        f = torch.where(rank <= 0.0, -half, f)
        return torch.where(rank >= 1.0, half, f)

    def _grow(self, first: NDArray[np.int64], shape: NDArray[np.int64]) -> None:
        spacing = self.lattice.spacing
        x_count, y_count, z_count = (int(length) for length in shape)
        x, y, z = (float(index) * spacing for index in first)
        grown = Lattice((x, y, z), spacing, (x_count, y_count, z_count))
        grown.ensure_allocatable(SUM_LIMIT, self.moments.device)
        before = _padded(self.moments, _first_index(self.lattice) - first, shape)
        self.lattice, self.moments = grown, before


def _padded(moments: torch.Tensor, before: NDArray[np.int64], shape: NDArray[np.int64]) -> torch.Tensor:
    """Return moments f4[4,X,Y,Z] within zeros of `shape`, `before` nodes from its first one."""
    after = shape - before - np.array(moments.shape[1:])
    widths = [int(width) for axis in (2, 1, 0) for width in (before[axis], after[axis])]
    return torch.nn.functional.pad(moments, widths)


def _first_index(lattice: Lattice) -> NDArray[np.int64]:
    """Return the first node's place i8[3] in spacings from the origin of space."""
    index: NDArray[np.int64] = np.round(np.array(lattice.origin) / lattice.spacing).astype(np.int64)
    return index


def _level_surface(total: _Sum, level: float, fractions: NDArray[np.float64]) -> LevelSurface:
    """Return the surface of one level without spread; without points where no place reaches the level.

    fractions: f8[S], the weights of the states.
    """
    spacing = total.lattice.spacing
    value = iso_value(level, fractions)
    values = total.distance_of_rank(value)
    points, faces = marching_cubes(values)
    if len(points):
        # Distances known within one spacing have no smooth gradient of their own.
        smooth = torch.nn.functional.avg_pool3d(values[None], 3, stride=1, padding=1, count_include_pad=False)[0]
        normals = lattice_normals(smooth, points * spacing, spacing, NORMAL_SPACINGS * spacing)
        points = points * spacing + bulge(points * spacing, normals, faces.T.contiguous())
        vertex_mask, _ = kept_points(points, faces, areas_and_volumes(points, faces)[1], None)
        faces = (vertex_mask.cumsum(0) - 1)[faces[vertex_mask[faces[:, 0]]]]
        points, normals = points[vertex_mask], normals[vertex_mask]
    else:
        normals = points
    volume = float(areas_and_volumes(points, faces)[1].sum(dtype=torch.float64)) if len(points) else 0.0
    placed = points + torch.tensor(total.lattice.origin, dtype=torch.float32)
    no_spread = np.zeros(0, np.float32)
    return LevelSurface(level, value, placed.numpy(), normals.numpy(), faces.int().numpy(), no_spread, volume)


def _spread(
    points: NDArray[np.float32],
    shapes: Sequence[OpenShape],
    fractions: NDArray[np.float64],
    threads: int,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> NDArray[np.float32]:
    """Return the standard deviation f4[N] (Å) over the states of the distance at points f4[N,3] (Å)."""
    x = torch.from_numpy(points)
    first, second = np.zeros(len(points)), np.zeros(len(points))
    with closing(ordered_parallel_map(lambda index: shapes[index]().distance(x), len(shapes), threads)) as distances:
        for index, distance in enumerate(distances):
            f = distance.double().cpu().numpy()
            first += fractions[index] * f
            second += fractions[index] * f**2
            _step(progress, cancelled, 0.75 + 0.25 * (index + 1) / len(shapes))
    deviation: NDArray[np.float32] = np.sqrt(np.maximum(0.0, second - first**2)).astype(np.float32)
    return deviation


def _step(progress: Progress, cancelled: Callable[[], bool], fraction: float) -> None:
    if cancelled():
        raise Cancelled("cancelled while an occupancy was computed")
    progress(fraction)
