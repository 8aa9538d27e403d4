"""Extracts the level set of a field at one time as a triangle mesh.

f is evaluated only near the surface: on all nodes of a coarse lattice, then on ever finer lattices at the nodes where
the values interpolated from the coarser lattice, which are distances, are small. Edges that cross the level set have
both ends within one spacing of it, so the values at their ends are exact. Marching cubes makes the triangles.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..fields.base import TETRAHEDRON, FieldAtTime
from ..geometry.lattice import Lattice, LatticeLimit, refined
from ..geometry.marching_cubes import marching_cubes
from ..geometry.nearest_points import NearestPoints
from ..runtime.device import constant
from ..runtime.errors import Cancelled

# Å; no atom, groove or cavity fits between nodes of this spacing.
COARSEST_SPACING = 2.0
# Å; meshes of wider spacing get their normals from differences of f itself.
MAX_LATTICE_NORMALS = 0.6
# Nodes of one lattice: 2.2 GiB while it is meshed; 512 along the longest side of any box.
MAX_NODES = 180_000_000
MESH_LIMIT = LatticeLimit(MAX_NODES, 13, "the surface and what is around it", "use a coarser resolution")
# Nodes evaluated between two checks for cancellation.
CHUNK = 2**20


def box_lattice(snapshot: FieldAtTime, margin: float, resolution: float, *, nested: bool) -> Lattice:
    """Return the lattice that covers the surface's box and `margin` Å around it.

    nested: add one cell at each side and align the lattice with the coarser ones of `level_set`. Raises ValueError,
    naming a resolution that fits, where the lattice would have more than MAX_NODES nodes.
    """

    def covering(spacing: float) -> Lattice:
        reach, multiple = (margin + spacing, _spacing_multiples(spacing)[0]) if nested else (margin, 1)
        return Lattice.around(snapshot.box[0] - reach, snapshot.box[1] + reach, spacing, multiple=multiple)

    lattice = covering(resolution)
    if lattice.size <= MAX_NODES:
        return lattice
    fitting = np.ceil(100.0 * resolution) / 100.0
    while covering(fitting).size > MAX_NODES:
        fitting = np.ceil(102.0 * fitting) / 100.0
    raise ValueError(
        f"a lattice of {'×'.join(map(str, lattice.shape))} nodes at {resolution:.3g} Å is more than the "
        f"{MAX_NODES} that fit; use a resolution of {fitting:.2f} Å"
    )


def _spacing_multiples(resolution: float) -> list[int]:
    """Return the spacings of the nested lattices, coarsest first, in multiples of `resolution`; the last is 1."""
    multiples = [1]
    while 2 * multiples[0] * resolution <= COARSEST_SPACING:
        multiples.insert(0, 2 * multiples[0])
    return multiples


def evaluate_nodes(
    snapshot: FieldAtTime,
    lattice: Lattice,
    nodes: torch.Tensor | None,
    level: float,
    values: torch.Tensor,
    cancelled: Callable[[], bool],
    *,
    near_atoms_only: bool = False,
) -> None:
    """Write f − level (Å) at the nodes with these numbers i8[N] (None: all nodes) into values f4[lattice.size].

    near_atoms_only: raise f as `_raised_away_from_atoms` does. Raises Cancelled once `cancelled()` is true.
    """
    count = lattice.size if nodes is None else len(nodes)
    for start in range(0, count, CHUNK):
        if cancelled():
            raise Cancelled("cancelled while meshing")
        end = min(start + CHUNK, count)
        chunk = torch.arange(start, end, device=snapshot.device) if nodes is None else nodes[start:end]
        x = lattice.nodes(chunk)
        distance = snapshot.distance(x)
        if near_atoms_only:
            distance = _raised_away_from_atoms(snapshot, x, distance, max(0.0, level))
        values.index_copy_(0, chunk, distance - level)


def _raised_away_from_atoms(
    snapshot: FieldAtTime, x: torch.Tensor, distance: torch.Tensor, level: float
) -> torch.Tensor:
    """Return f f4[N] at x f4[N,3] Å, raised where it is below `level` although no atom is within the field's reach.

    Where the warp to material coordinates is not injective, a spurious second surface appears in the empty space beside
    the molecule. There f becomes the distance to the region within reach of an atom.
    """
    if snapshot.atoms is None or snapshot.reach == np.inf:
        return distance
    below = torch.nonzero(distance < level)[:, 0]
    atom_distance = NearestPoints(torch.as_tensor(snapshot.atoms, device=x.device))(x[below])[0][:, 0]
    beyond = (atom_distance - snapshot.reach).to(distance.dtype)
    # Within reach of an atom f stays as it is.
    raised = torch.where(beyond > 0.0, torch.maximum(distance[below], beyond), distance[below])
    return distance.index_put((below,), raised)


def nested_values(
    snapshot: FieldAtTime,
    finest: Lattice,
    level: float,
    cancelled: Callable[[], bool],
    *,
    near_atoms_only: bool = False,
) -> torch.Tensor:
    """Return f − level f4[X,Y,Z] (Å) on a nested lattice of `box_lattice`: exact near the level set.

    Nodes more than 1.1 spacings from it have the right sign and a value interpolated from coarser lattices.
    near_atoms_only: as of `evaluate_nodes`. Raises Cancelled.
    """
    resolution = finest.spacing
    coarsest, *finer = _spacing_multiples(resolution)
    lattice = finest.coarser(coarsest)
    values = torch.empty(lattice.shape, device=snapshot.device)
    evaluate_nodes(snapshot, lattice, None, level, values.view(-1), cancelled, near_atoms_only=near_atoms_only)
    for multiple in finer:
        lattice = finest.coarser(multiple)
        values = refined(values, 2)
        band = (1.1 if multiple == 1 else 1.5 * multiple) * resolution
        flat = values.view(-1)
        nodes = torch.nonzero(flat.abs() < band)[:, 0]
        evaluate_nodes(snapshot, lattice, nodes, level, flat, cancelled, near_atoms_only=near_atoms_only)
    return values


def level_set(
    snapshot: FieldAtTime,
    level: float,
    resolution: float,
    cancelled: Callable[[], bool],
    *,
    near_atoms_only: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return points f4[N,3] in Å, unit normals f4[N,3] and faces i8[M,3] of the set f = level (Å).

    Normals and faces are outward by the right-hand rule. near_atoms_only: as of `evaluate_nodes`. Raises ValueError
    for too many nodes, and Cancelled.
    """
    finest = box_lattice(snapshot, max(0.0, level), resolution, nested=True)
    finest.ensure_allocatable(MESH_LIMIT, snapshot.device, cancelled)
    values = nested_values(snapshot, finest, level, cancelled, near_atoms_only=near_atoms_only)
    points, faces = marching_cubes(values)
    points *= resolution
    origin = constant(finest.origin, torch.float32, points.device)
    if resolution <= MAX_LATTICE_NORMALS:
        normals = lattice_normals(values, points, resolution, snapshot.normal_width)
        points += origin
    else:
        points, normals = newton_step(snapshot, points + origin, level, resolution)
    columns = faces.T.contiguous()
    return points + bulge(points, normals, columns), smoothed_normals(normals, columns), faces


def smoothed_normals(normals: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Return unit normals f4[N,3], each half its own and half the mean of its neighbours', for faces i8[3,M].

    A mean along the surface takes off the noise of the lattice, and keeps creases better than wider differences of f
    do: normals agree better with PyMOL's, at the states and between them (docs/experiments.md).
    """
    corners = face_corners(normals, faces)
    totals, sums = corners.sum(1), torch.zeros_like(normals.T)
    for corner, column in enumerate(faces):
        # Each neighbour is in two triangles of a vertex.
        sums.index_add_(1, column, totals + corners[:, corner])
    return torch.nn.functional.normalize(sums.T, dim=1)


def bulge(points: torch.Tensor, normals: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Return shifts f4[N,3] (Å) along the normals, after which flat triangles enclose the volume of the curved surface.

    On a sphere of radius R, a triangle with the edges a, b, c lies (a² + b² + c²)/(24 R) too deep on average, and the
    product (nⱼ − nᵢ)·(pⱼ − pᵢ) over an edge is its length squared over R. Each point gets the mean over its triangles,
    weighted by their areas. faces: i8[3,M].
    """
    corners, directions = face_corners(points, faces), face_corners(normals, faces)
    sides, turns = corners.roll(-1, 1) - corners, directions.roll(-1, 1) - directions
    depth = (turns * sides).sum((0, 1)) / 24.0
    area = cross(sides[:, 0], sides[:, 1]).square_().sum(0).sqrt_()
    sums = points.new_zeros(2, len(points))
    for column in faces:
        sums[0].index_add_(0, column, area * depth)
        sums[1].index_add_(0, column, area)
    return (sums[0] / sums[1].clamp_min(1e-12))[:, None] * normals


def face_corners(vectors: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Return the vectors f4[N,3] at the corners of faces i8[3,M], contiguous columns: f4[3 axes,3 corners,M]."""
    # Columns are several times faster than rows of three.
    return vectors.T.contiguous().index_select(1, faces.view(-1)).view(3, 3, -1)


def cross(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the cross products f4[3,M] of columns f4[3,M]."""
    return torch.stack([a[k - 2] * b[k - 1] - a[k - 1] * b[k - 2] for k in range(3)])


def lattice_normals(values: torch.Tensor, x: torch.Tensor, resolution: float, width: float) -> torch.Tensor:
    """Return unit normals f4[N,3] at points x f4[N,3] (Å from the first node) on a lattice of values f4[X,Y,Z].

    They are differences over a tetrahedron around each point. Its width and the lattice's interpolation add up to
    `width` (Å).
    """
    x_count, y_count, z_count = values.shape
    lattice = Lattice((0.0, 0.0, 0.0), resolution, (x_count, y_count, z_count))
    step = float(np.sqrt(max((0.25 * resolution) ** 2, width**2 - resolution**2)))
    corners = constant(TETRAHEDRON, torch.float32, x.device)
    differences = [lattice.interpolate_columns(values.view(-1), x + step * corner) for corner in corners]
    return torch.nn.functional.normalize(torch.stack(differences, 1) @ corners, dim=1)


def newton_step(
    snapshot: FieldAtTime, x: torch.Tensor, level: float, resolution: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points x f4[N,3] Å after a Newton step onto the level set (a quarter cell at most), and unit normals.

    A coarse lattice gives neither precisely enough.
    """
    gradient = snapshot.gradient(x, snapshot.normal_width)
    step = ((snapshot.distance(x) - level) / (gradient**2).sum(1).clamp_min(0.25))[:, None] * gradient
    limit = 0.25 * resolution
    step *= (limit / torch.linalg.norm(step, dim=1, keepdim=True).clamp_min(1e-9)).clamp_max(1.0)
    return x - step, torch.nn.functional.normalize(gradient, dim=1)
