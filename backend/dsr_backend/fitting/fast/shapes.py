"""The node values of all states: exact distances, corrected by points of the surface.

The nodes near a surface get their exact distance to it. Trilinear interpolation between exact distances is off where
the surface curves; a few steps of least squares on points of the surface, whose distance is 0, put the level set where
it belongs. The coarse lattice carries the distances everywhere else: exact ones up to the preset's clearance from the
surface, and beyond it exact ones at every second node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields

import torch

from ...fields.fast import BasisBuilder, LowRankBasis, NarrowBand
from ...geometry.lattice import CHUNK, Lattice, gather
from ...geometry.triangle_mesh import TriangleMesh
from ...motion.warp import Warp
from ...runtime import distributed
from ...runtime.parallel import ordered_parallel_map
from ...surfaces.surface import Surface
from ..config import Preset
from ..job import FitJob
from .band import BAND_END, cells_of, distinct_cells, nodes_near
from .least_squares import Observations, Smoothing, solve
from .state_warps import StateWarps
from .widths import ValidationPoints

# Fraction of a fit at which all states are solved; measured on two cores.
SHAPES_END = 0.9
# Points of each state to choose widths with, and the side in Å of the cells around its surface that they lie in.
VALIDATION_POINTS, VALIDATION_CELL = 8_000, 1.0
# Triangles tried for the distance of a node: the one with the nearest centre. Points on the surface correct the
# distances, and with four triangles no score of AdK changes by 0.0001.
TRIANGLES_TRIED = 1
# Å; where the warp folds, its inverse misses a node by more.
MAX_MISS = 0.1
# Å from the surface, of the points off it.
OFFSET = 0.3
# Passes that continue values over missed nodes; a gap of some ten nodes takes as many.
CONTINUATION_STEPS = 60
# Weight of the squared differences between a missed node and its neighbours. Without it, shards of surface appear
# there; 1 closes contacts and opens others (AdK: IoU of the fitted states 0.9927, 0.9930 and 0.9886 for 0, 0.03 and 1).
MISSED_SMOOTHNESS = 0.03
# Å; deviation from the surface of points that stand in for nodes that the inverse misses.
STAND_IN_WIDTH = 1.0
# Å from a missed node, in material coordinates; surface farther away has practically no points that stand in for it.
STAND_IN_REACH = 4.0
# Least number of points at a surface.
MIN_SURFACE_POINTS = 2_000
# Least number of modes; beyond it, the memory limits them.
MIN_MODES = 32


@dataclass(frozen=True, eq=False)
class StateShape:
    """One state. coarse f4[coarse nodes] and fine f4[band.count]: node values in Å, the fine ones as the difference to
    the coarse lattice; points f4[N,3] and distance f4[N]: validation points in Å, in the reference's frame; error f4[]:
    mean |f| on the surface in Å.
    """

    coarse: torch.Tensor
    fine: torch.Tensor
    points: torch.Tensor
    distance: torch.Tensor
    error: torch.Tensor

    @classmethod
    def broadcast(cls, shape: StateShape | None, owner: int, device: torch.device) -> StateShape:
        """Return the shape of the rank `owner` on every rank; the others pass None."""
        names = [field.name for field in fields(cls)]
        tensors = (None if shape is None else getattr(shape, name) for name in names)
        return cls(*(distributed.broadcast(tensor, owner, device) for tensor in tensors))


@dataclass(frozen=True, eq=False)
class Shapes:
    """Node values of all states on both lattices, validation points of each, and the mean |f| (Å) on the surfaces."""

    coarse: LowRankBasis
    fine: LowRankBasis
    validation: list[ValidationPoints]
    error: float


def solve_shapes(job: FitJob[Preset], surfaces: Sequence[Surface], warps: StateWarps, band: NarrowBand) -> Shapes:
    """Solve the node values of all states, several at a time. Raises Cancelled."""
    count, values = len(surfaces), job.preset.max_values
    state_indices = distributed.own_states(count)
    coarse_lattice = band.lattice.coarser(job.preset.coarse_factor)
    every_node = torch.ones(coarse_lattice.size, dtype=torch.bool, device=job.device)
    coarse_neighbours = NarrowBand(coarse_lattice, every_node).neighbour_rows()
    inner = torch.arange(band.count, dtype=torch.int32, device=job.device)[:, None]
    band_neighbours = band.neighbour_rows()[: band.count]
    band_neighbours = torch.where(band_neighbours < band.count, band_neighbours, inner)
    coarse, fine = (
        BasisBuilder(max(MIN_MODES, values // coarse_lattice.size)),
        BasisBuilder(max(MIN_MODES, values // band.count)),
    )
    validation: list[ValidationPoints] = []
    error = 0.0

    def solve_own(index: int) -> StateShape:
        k = state_indices[index]
        # The mesh, points and nodes of a large molecule take hundreds of MB, and are given back before the solution.
        warp = warps(k)
        measured = measure_state(job, surfaces[k], warp, band, coarse_neighbours, band_neighbours)
        return solve_state(job, warp, band_neighbours, measured)

    job.report_progress("fit", BAND_END, step=0, steps=count)
    with closing(ordered_parallel_map(solve_own, len(state_indices), job.parallel_states)) as solved:
        for k in range(count):
            owner = distributed.state_owner(k)
            shape = next(solved) if owner == distributed.rank() else None
            shape = StateShape.broadcast(shape, owner, job.device)
            coarse.add(shape.coarse)
            fine.add(shape.fine)
            validation.append(ValidationPoints(shape.points, shape.distance))
            error += float(shape.error) / count
            fraction = BAND_END + (SHAPES_END - BAND_END) * (k + 1) / count
            job.report_progress("fit", fraction, step=k + 1, steps=count, loss=error * count / (k + 1))
    return Shapes(coarse.basis(), fine.basis(), validation, error)


@dataclass(frozen=True, eq=False)
class Measured:
    """Distances around the surface of one state, in Å, of which its fine node values are solved.

    coarse f4[coarse nodes]; start f4[band.count]: exact differences to the coarse lattice; missed bool[band.count]:
    nodes without one; observed: points of the surface; held_out f4[N,3] (Å), held_out_distance f4[N]: further points.
    """

    coarse: torch.Tensor
    start: torch.Tensor
    missed: torch.Tensor
    observed: Observations
    held_out: torch.Tensor
    held_out_distance: torch.Tensor


def measure_state(
    job: FitJob[Preset],
    surface: Surface,
    warp: Warp,
    band: NarrowBand,
    coarse_neighbours: torch.Tensor,
    band_neighbours: torch.Tensor,
) -> Measured:
    """Measure distances around the surface of a state, whose warp is given.

    coarse_neighbours i4[coarse nodes,6], band_neighbours i4[band.count,6]: as of `NarrowBand`, within either lattice.
    """
    preset = job.preset
    generator = torch.Generator().manual_seed(_seed(job.options.seed, surface.state))
    mesh = TriangleMesh(surface.points, surface.faces, job.device)
    state = _State(surface, mesh, warp, preset, job.raise_if_cancelled)
    coarse_lattice = band.lattice.coarser(preset.coarse_factor)
    coarse = _coarse_distances(state, coarse_lattice, coarse_neighbours)
    start, missed = _band_residuals(state, band, coarse_lattice, coarse, band_neighbours)
    observed = _surface_observations(state, band, coarse_lattice, coarse, missed, generator)
    held_out = validation_points(surface, job.device, generator)
    distance = mesh.signed_distance(held_out, job.raise_if_cancelled, TRIANGLES_TRIED)
    return Measured(coarse, start, missed, observed, held_out, distance)


@dataclass(frozen=True, eq=False)
class _State:
    """The surface of one state, its triangles, the warp of its time, and a check that raises Cancelled."""

    surface: Surface
    mesh: TriangleMesh
    warp: Warp
    preset: Preset
    check: Callable[[], None]

    def distances(self, lattice: Lattice, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distances f4[M] (Å) of the nodes `numbers` i8[M], and bool[M]: whether the inverse misses them."""
        x, miss = self.warp.inverse(lattice.nodes(numbers))
        return self.mesh.signed_distance(x, self.check, TRIANGLES_TRIED), miss > MAX_MISS


def _coarse_distances(state: _State, lattice: Lattice, neighbours: torch.Tensor) -> torch.Tensor:
    """Return the distances f4[nodes] (Å) at the nodes of the coarse lattice. neighbours: i4[nodes,6]."""
    cells = cells_of(state.surface, state.warp, lattice.spacing)
    numbers = measured_nodes(lattice, math.ceil(state.preset.clearance / lattice.spacing), cells)
    distance, is_missed = state.distances(lattice, numbers)
    coarse = between_measured_nodes(lattice, numbers, distance)
    missed = torch.zeros(lattice.size, dtype=torch.bool, device=coarse.device)
    missed[numbers] = is_missed
    return continued(coarse, missed, neighbours)


def _band_residuals(
    state: _State, band: NarrowBand, coarse_lattice: Lattice, coarse: torch.Tensor, neighbours: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the differences f4[band.count] (Å) to the coarse lattice, and bool[band.count]: nodes without one.

    coarse: f4[coarse nodes]; neighbours: i4[band.count,6].
    """
    lattice = band.lattice
    numbers = nodes_near(lattice, state.preset.own_margin, cells_of(state.surface, state.warp, state.preset.spacing))
    distance, is_missed = state.distances(lattice, numbers)
    residual = distance - coarse_lattice.interpolate_columns(coarse, lattice.nodes(numbers))
    rows = band.rows(numbers).long()
    start = torch.zeros(band.count, device=coarse.device)
    start[rows[~is_missed]] = residual[~is_missed]
    missed = torch.zeros(band.count, dtype=torch.bool, device=coarse.device)
    missed[rows[is_missed]] = True
    return continued(_extended(start, rows, neighbours), missed, neighbours), missed


def _surface_observations(
    state: _State,
    band: NarrowBand,
    coarse_lattice: Lattice,
    coarse: torch.Tensor,
    missed: torch.Tensor,
    generator: torch.Generator,
) -> Observations:
    """Return observations of the fine lattice at random points of the surface.

    coarse: f4[coarse nodes] (Å); missed: bool[band.count], nodes that other points stand in for.
    """
    points, distances = _draw(state.mesh, state.surface, state.preset, generator)
    if bool(missed.any()):
        stand_ins, their_distance = _stand_ins(state, band, missed, generator)
        points, distances = torch.cat([points, stand_ins]), torch.cat([distances, their_distance])
    xi = state.warp(points)
    return _observe(band, xi, distances - coarse_lattice.interpolate_columns(coarse, xi))


def solve_state(job: FitJob[Preset], warp: Warp, band_neighbours: torch.Tensor, measured: Measured) -> StateShape:
    """Solve the node values of a state, whose warp is given.

    band_neighbours i4[band.count,6]: as of `NarrowBand`, within the fine lattice.
    """
    preset, observed = job.preset, measured.observed
    missed_indices = torch.nonzero(measured.missed)[:, 0]
    smoothing = Smoothing(missed_indices, band_neighbours[missed_indices], MISSED_SMOOTHNESS)
    fine = solve(observed, measured.start, preset.ridge, preset.iterations, job.raise_if_cancelled, smoothing)
    error = (observed.predict(fine) - observed.target).abs().mean()
    return StateShape(measured.coarse, fine, warp.turned(measured.held_out), measured.held_out_distance, error)


def measured_nodes(lattice: Lattice, margin: int, cells: torch.Tensor) -> torch.Tensor:
    """Return the numbers i8[M] of nodes whose distance is measured: those up to `margin` steps beyond the corners of
    cells i4[N,3], and every second node along each axis elsewhere, where distances take the longest to measure.
    """
    measured = torch.zeros(lattice.shape, dtype=torch.bool, device=cells.device)
    measured[::2, ::2, ::2] = True
    for axis, count in enumerate(lattice.shape):
        last = measured.narrow(axis, count - 1, 1)
        last |= measured.narrow(axis, (count - 1) // 2 * 2, 1)
    flat = measured.view(-1)
    flat[nodes_near(lattice, margin, cells)] = True
    return torch.nonzero(flat)[:, 0]


def between_measured_nodes(lattice: Lattice, numbers: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return f4[nodes]: values f4[M] at the nodes `numbers` i8[M], and between every second node their means.

    numbers: at least every second node along each axis, and the last one.
    """
    grid = torch.zeros(lattice.size, device=values.device)
    grid[numbers] = values
    for axis, count in enumerate(lattice.shape):
        along = grid.view(lattice.shape).movedim(axis, 0)
        along[1 : count - 1 : 2] = 0.5 * (along[0 : count - 2 : 2] + along[2:count:2])
        grid[numbers] = values
    return grid


def continued(values: torch.Tensor, missed: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """Return values f4[nodes] (Å) in which missed nodes bool[nodes] continue those around them.

    Each becomes the mean of its neighbours i4[nodes,6], over and over: a harmonic function between the other nodes.
    """
    missed_indices = torch.nonzero(missed)[:, 0]
    if not len(missed_indices):
        return values
    around, values = neighbours.index_select(0, missed_indices).view(-1), values.clone()
    for _ in range(CONTINUATION_STEPS):
        values[missed_indices] = values.index_select(0, around).view(-1, 6).mean(1)
    return values


def _extended(values: torch.Tensor, rows: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """Return values f4[nodes] (Å) in which nodes next to the nodes `rows` i8[M] have the mean of their values.

    neighbours: i4[nodes,6].
    """
    sums, counts = torch.zeros_like(values), torch.zeros_like(values)
    for chunk in torch.split(rows, CHUNK):
        around = neighbours.index_select(0, chunk).view(-1)
        sums.index_add_(0, around, values.index_select(0, chunk).repeat_interleave(6))
        counts.index_add_(0, around, torch.ones_like(around, dtype=values.dtype))
    extended = sums / counts.clamp_min(1.0)
    extended[rows] = values[rows]
    return extended


def _draw(
    mesh: TriangleMesh, surface: Surface, preset: Preset, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random points f4[N,3] (Å) and their distances f4[N] (Å): half on the surface, half off along its normals.

    The surface's own normals are smoother than its triangles, and so is a field that follows them.
    """
    count = max(MIN_SURFACE_POINTS, int(preset.density * float(mesh.areas.sum())))
    points, face, weight = mesh.sample(count, generator)
    normals = torch.as_tensor(surface.normals, device=mesh.device)
    normal = torch.nn.functional.normalize(gather(normals, mesh.faces.index_select(0, face), weight), dim=1)
    distance = OFFSET * torch.tensor([0.0, 1.0, 0.0, -1.0], device=mesh.device).repeat(count // 4 + 1)[:count]
    return points + distance[:, None] * normal, distance


def _stand_ins(
    state: _State, band: NarrowBand, missed: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points f4[N,3] (Å) in cells of nodes that the inverse misses, and their distances f4[N] (Å).

    missed: bool[band.count]. The preset's density of points is drawn around the surface, and those in such cells are
    taken.
    """
    mesh, warp, lattice = state.mesh, state.warp, band.lattice
    missed_nodes = lattice.nodes(band.node_numbers[: band.count][missed])
    near = torch.zeros(lattice.size, dtype=torch.bool, device=mesh.device)
    cells = torch.round(missed_nodes / lattice.spacing).int()
    near[nodes_near(lattice, math.ceil(STAND_IN_REACH / lattice.spacing), cells)] = True
    faces = torch.nonzero(near[lattice.corners(warp(mesh.centres))[0][:, 0].long()])[:, 0]
    if not len(faces):
        return mesh.centres[:0], mesh.areas[:0]
    count = math.ceil(state.preset.density * float(mesh.areas[faces].sum()))
    points = mesh.sample(count, generator, faces)[0]
    points = points + STAND_IN_WIDTH * torch.randn(count, 3, generator=generator).to(points.device)

    def is_missed(chunk: torch.Tensor) -> torch.Tensor:
        """Return bool[N]: whether a node of the cell around each point f4[N,3] is missed."""
        rows = band.rows(lattice.corners(warp(chunk))[0])
        in_band = (rows >= 0) & (rows < band.count)
        return (in_band & missed[rows.clamp(0, band.count - 1).long()]).any(1)

    points = torch.cat([chunk[is_missed(chunk)] for chunk in torch.split(points, CHUNK)])
    return points, mesh.signed_distance(points, state.check, TRIANGLES_TRIED)


def validation_points(surface: Surface, device: torch.device, generator: torch.Generator) -> torch.Tensor:
    """Return validation points f4[VALIDATION_POINTS,3] (Å), equally dense in cells of vertices and next to them."""
    cells = distinct_cells(torch.floor(torch.as_tensor(surface.points, device=device) / VALIDATION_CELL).int())
    for step in torch.eye(3, dtype=torch.int32, device=device):
        cells = distinct_cells(torch.cat([cells - step, cells, cells + step]))
    # The CPU draws the random numbers, so that every device gets the same points from the same seed.
    drawn = torch.randint(len(cells), (VALIDATION_POINTS,), generator=generator).to(device)
    within = torch.rand(VALIDATION_POINTS, 3, generator=generator).to(device)
    return (cells[drawn] + within) * VALIDATION_CELL


def _observe(band: NarrowBand, xi: torch.Tensor, target: torch.Tensor) -> Observations:
    """Return observations of the fine lattice at material coordinates ξ f4[N,3] (Å), whose values are target f4[N]."""
    indices, weights = torch.empty(len(xi), 8, dtype=torch.int32, device=xi.device), xi.new_empty(len(xi), 8)
    for start in range(0, len(xi), CHUNK):
        chunk = slice(start, start + CHUNK)
        index, weight = band.lattice.corners(xi[chunk])
        index = band.rows(index)
        # Corners outside the band keep the coarse lattice's value.
        weights[chunk] = torch.where((index >= 0) & (index < band.count), weight, 0.0)
        indices[chunk] = index.clamp(0, band.count - 1)
    return Observations(indices, weights, target)


def _seed(seed: int, state: float) -> int:
    """Return the seed of one state, so that its points do not depend on the other states of the fit."""
    return int((seed * 1_000_003 + round(1024.0 * state)) % 2**63)
