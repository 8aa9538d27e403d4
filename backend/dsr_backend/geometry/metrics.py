"""IoU, Chamfer distance and normal consistency between two meshes (DSR paper, section 3.3, Eq. 5-9).

The ground truth is PyMOL's own surface of a state. Public functions take ångström and a `UnitCube` unless a docstring
says "normalised": the coordinates in which the training surfaces lie in [-1, 1]³.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from pymol_dsr.shared.cores import usable_cores

from .mesh_arrays import face_indices, rows_of_three
from .triangle_mesh import face_areas
from .unit_cube import Floats, UnitCube

GRID_NODES = 128
SAMPLES = 300_000
# Half the time of scipy's default leafsize of 10, measured with 300 000 samples of each of two surfaces. Splits at the
# sliding midpoint build twice as fast as splits at the median, and the samples are evenly spread anyway.
_LEAFSIZE = 48


@dataclass(frozen=True)
class Scores:
    """Scores of a predicted mesh against the ground truth.

    iou: 0 to 1 (Eq. 5). chamfer_l1: normalised units (Eq. 6-7). chamfer_sq: normalised units squared, as the paper's
    released code computes it and its tables print it. nc: 0 to 1 (Eq. 8-9).
    """

    iou: float
    chamfer_l1: float
    chamfer_sq: float
    nc: float


NOTHING_PREDICTED = Scores(iou=0.0, chamfer_l1=float("inf"), chamfer_sq=float("inf"), nc=0.0)


class GroundTruth:
    """The true surface of one state, with all data that do not depend on the prediction (about 13 MB)."""

    def __init__(self, points: ArrayLike, normals: ArrayLike, faces: ArrayLike, frame: UnitCube, seed: int = 0) -> None:
        """points: [N,3] Å; normals: [N,3], outward unit vectors; faces: [M,3] integers.

        Raises ValueError when the surface is empty, without area or malformed.
        """
        self.frame = frame
        self.seed = seed
        self.points, self.normals, faces = _mesh(points, normals, faces, frame)
        if not _has_area(self.points, faces):
            raise ValueError(f"the true surface has no area: {len(self.points)} points, {len(faces)} faces")
        self.occupancy = occupancy(self.points, faces)
        self.samples = build_tree(sample(self.points, faces, np.random.default_rng([seed, 0])))

    def score(self, points: ArrayLike, normals: ArrayLike, faces: ArrayLike) -> Scores:
        """Return the scores of a predicted mesh: points [N,3] Å, normals [N,3], faces [M,3].

        A mesh without area scores IoU 0, NC 0 and infinite Chamfer. Prediction and truth are sampled independently, so
        a mesh against itself has the Chamfer distance of two samplings, not 0. Raises ValueError when the mesh is
        malformed.
        """
        unit, normals, faces = _mesh(points, normals, faces, self.frame)
        if not _has_area(unit, faces):
            return NOTHING_PREDICTED
        predicted = build_tree(sample(unit, faces, np.random.default_rng([self.seed, 1])))
        l1, squared = chamfer(self.samples, predicted)
        return Scores(
            iou=iou(self.occupancy, occupancy(unit, faces)),
            chamfer_l1=l1,
            chamfer_sq=squared,
            nc=normal_consistency(self.points, self.normals, unit, normals),
        )


def occupancy(points: ArrayLike, faces: ArrayLike, n: int = GRID_NODES) -> NDArray[np.bool_]:
    """Decide by ray parity which nodes of a regular grid lie inside a mesh: bool[n,n,n], indexed [x,y,z].

    points: [N,3], normalised. faces: [M,3]. The nodes are `np.linspace(-1, 1, n)` along each axis, corners
    included, as in the grids of the occupancy-network and IGR codes; they are not the centres of n cells.

    Parity is exact on a surface in which every edge has an even number of triangles (see `_parity`). PyMOL's
    surfaces have a few other edges. A ray through such a hole crosses an odd number of triangles, which shows; the
    majority of the rays along x, y and z then decides every node. On eight such surfaces 2 to 11 of 198 000 inner
    nodes differed from libigl's winding number; with one axis alone 50 to 114 did.
    """
    points = rows_of_three(points, "points")
    faces = face_indices(faces, len(points))
    grid = (points + 1.0) * ((n - 1) / 2.0)
    inside, open_rays = _parity(grid, faces, n, axis=2)
    if open_rays == 0:
        return inside
    votes = inside.astype(np.uint8)
    for axis in (0, 1):
        votes += _parity(grid, faces, n, axis)[0]
    return votes >= 2


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the intersection over union of two occupancy grids (Eq. 5); 0 where both are empty."""
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 0.0


def sample(points: ArrayLike, faces: ArrayLike, rng: np.random.Generator, count: int = SAMPLES) -> Floats:
    """Draw `count` independent points, uniform over a mesh's area: f8[count,3], in the unit of `points`.

    They come in the order of the faces, which makes nearest-neighbour queries twice as fast as random order does.
    Raises ValueError when the mesh has no area.
    """
    points = np.asarray(points, dtype=np.float64)
    corners = points[np.asarray(faces)]
    area = face_areas(points, np.asarray(faces))
    total = area.sum()
    if not total > 0:
        raise ValueError(f"cannot sample a mesh without area ({len(area)} faces)")
    # Counts by face have the same distribution as a random face for each point, and need no sort.
    chosen = np.repeat(corners, rng.multinomial(count, area / total), axis=0)
    along = rng.random((count, 2))
    beyond = along.sum(axis=1) > 1
    along[beyond] = 1 - along[beyond]
    origin = chosen[:, 0]
    first, second = chosen[:, 1] - origin, chosen[:, 2] - origin
    samples: Floats = origin + along[:, :1] * first + along[:, 1:] * second
    return samples


def build_tree(points: ArrayLike) -> cKDTree:
    """Build the k-d tree of points [N,3] for `chamfer` and `normal_consistency`."""
    return cKDTree(points, leafsize=_LEAFSIZE, balanced_tree=False, compact_nodes=False)


def chamfer(a: cKDTree, b: cKDTree) -> tuple[float, float]:
    """Return the Chamfer distances (l1, squared) between two sets of points, given as trees.

    l1: half the sum of both mean nearest distances (Eq. 6-7), in the unit of the points.
    squared: the sum of both mean squared nearest distances, as in the paper's released code.
    """
    workers = usable_cores()
    a_to_b = b.query(a.data, workers=workers)[0]
    b_to_a = a.query(b.data, workers=workers)[0]
    return (
        float((a_to_b.mean() + b_to_a.mean()) / 2),
        float(np.mean(a_to_b**2) + np.mean(b_to_a**2)),
    )


def normal_consistency(
    truth_points: ArrayLike, truth_normals: ArrayLike, pred_points: ArrayLike, pred_normals: ArrayLike
) -> float:
    """Return the mean of |m·n| over the true vertices, n the normal of the nearest predicted vertex (Eq. 8-9).

    All arrays are [N,3], both sets of points in the same unit. Normals are scaled to length 1; a zero normal agrees
    with nothing. The result is 0 where nothing is predicted.
    """
    pred_points = np.asarray(pred_points, dtype=np.float64)
    if len(pred_points) == 0:
        return 0.0
    nearest = build_tree(pred_points).query(truth_points, workers=usable_cores())[1]
    chosen = _unit_vectors(pred_normals)[nearest]
    return float(np.abs(np.einsum("ij,ij->i", _unit_vectors(truth_normals), chosen)).mean())


def _parity(grid: Floats, faces: NDArray[np.int64], n: int, axis: int) -> tuple[NDArray[np.bool_], int]:
    """Return whether an odd number of faces lies below each grid node along `axis`, and the number of open rays.

    grid: f8[N,3], points in units of grid nodes, so that node numbers are coordinates. An open ray crosses an odd
    number of faces in all. Each triangle, projected along the rays, is filled as in a scanline rasteriser: rows of
    rays, then columns between two edges.

    Each edge counts once. An edge meets a row, and a row's span meets a column, in half-open intervals. The point
    where an edge meets a row is computed from the edge's lower to its upper end, so it is the same to the last bit in
    all triangles of that edge. The triangles of an edge therefore meet without gap or overlap whatever the rounding,
    and a ray through a vertex, an edge or a triangle seen edge-on needs no special case.
    """
    row_axis, column_axis = (axis + 1) % 3, (axis + 2) % 3
    corners = grid[:, (row_axis, column_axis, axis)][faces]
    by_row = np.argsort(corners[:, :, 0], axis=1)
    low, middle, high = np.take_along_axis(corners, by_row[:, :, None], axis=1).transpose(1, 0, 2)

    face, row = _spans(_first_node(low[:, 0], n), _first_node(high[:, 0], n))
    above = (row >= middle[face, 0])[:, None]
    long_edge = _at_row(low[face], high[face], row)
    short_edge = _at_row(np.where(above, middle[face], low[face]), np.where(above, high[face], middle[face]), row)
    swapped = (long_edge[:, 0] > short_edge[:, 0])[:, None]
    left = np.where(swapped, short_edge, long_edge)
    right = np.where(swapped, long_edge, short_edge)

    span, column = _spans(_first_node(left[:, 0], n), _first_node(right[:, 0], n))
    left, right, row = left[span], right[span], row[span]
    fraction = (column - left[:, 0]) / (right[:, 0] - left[:, 0])
    height = _first_node(left[:, 1] + fraction * (right[:, 1] - left[:, 1]), n)

    # The layer after the last node collects the crossings beyond the grid and so gets the parity of the whole ray.
    crossings = np.zeros((n + 1, n, n), dtype=np.uint8)
    np.bitwise_xor.at(crossings, (height, row, column), 1)
    parity = np.bitwise_xor.accumulate(crossings, axis=0)
    inside = np.moveaxis(parity[:n].view(np.bool_), (0, 1, 2), (axis, row_axis, column_axis))
    return np.ascontiguousarray(inside), int(np.count_nonzero(parity[n]))


def _at_row(lower: Floats, upper: Floats, row: NDArray[np.int64]) -> Floats:
    """Return (column, height) f8[K,2] where edges from lower to upper, f8[K,3] of (row, column, height), meet rows."""
    fraction = (row - lower[:, 0]) / (upper[:, 0] - lower[:, 0])
    return lower[:, 1:] + fraction[:, None] * (upper[:, 1:] - lower[:, 1:])


def _first_node(coordinate: Floats, n: int) -> NDArray[np.int64]:
    """Return the number of the first grid node at or after each coordinate, n where there is none."""
    return np.clip(np.ceil(coordinate), 0, n).astype(np.int64)


def _spans(start: NDArray[np.int64], stop: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the integers of the half-open ranges [start, stop): (number of the range, integer), both [K]."""
    length = stop - start
    number = np.repeat(np.arange(len(start)), length)
    before = np.cumsum(length) - length
    return number, np.arange(len(number)) + (start - before)[number]


def _has_area(points: Floats, faces: NDArray[np.int64]) -> bool:
    return float(face_areas(points, faces).sum()) != 0.0


def _unit_vectors(vectors: ArrayLike) -> Floats:
    vectors = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.where(length > 0, length, 1.0)
    return unit


def _mesh(
    points: ArrayLike, normals: ArrayLike, faces: ArrayLike, frame: UnitCube
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return the mesh with normalised points; raises ValueError when it is malformed."""
    points = rows_of_three(points, "points")
    normals = rows_of_three(normals, "normals")
    if len(normals) != len(points):
        raise ValueError(f"a mesh needs one normal per point, got {len(normals)} for {len(points)} points")
    return frame.to_unit(points), normals, face_indices(faces, len(points))
