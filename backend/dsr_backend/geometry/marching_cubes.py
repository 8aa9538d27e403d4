"""Marching cubes in torch, where the values already are: on the CPU or the GPU, and only on cells that are cut.

The table of the 256 cases is worked out here, by one rule: on a face with two inside corners across from each other
these stay apart. Neighbouring cells see the same face and so agree: every surface is closed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

# Corner c of a cell is the node (c >> 2, c >> 1 & 1, c & 1) on from its first; edge 3·c + axis leads from corner c to
# the next one along that axis.
AXIS_BIT = (4, 2, 1)
# Vertices keep this far from nodes, in cells: one that fell on a node would leave triangles without area.
CLEAR = 1e-3


def _loops(inside: int) -> list[list[int]]:
    """The closed lines along which the surface cuts a cell's faces, as edges, where bit c of `inside` is corner c."""
    following = {}
    for axis, bit in enumerate(AXIS_BIT):
        u, v = AXIS_BIT[(axis + 1) % 3], AXIS_BIT[(axis + 2) % 3]
        for far in (0, bit):
            # Counter-clockwise as seen from outside of the cell.
            ring = [far, far + u, far + u + v, far + v] if far else [0, v, u + v, u]
            is_in = [inside >> corner & 1 for corner in ring]
            for k in range(4):
                if is_in[k] and not is_in[k - 1]:
                    entered = _edge(ring[k - 1], ring[k])
                    while is_in[(k + 1) % 4]:
                        k += 1
                    following[entered] = _edge(ring[k % 4], ring[(k + 1) % 4])
    loops = []
    while following:
        first, edge = following.popitem()
        loop = [first]
        while edge != first:
            loop.append(edge)
            edge = following.pop(edge)
        loops.append(loop)
    return loops


def _edge(a: int, b: int) -> int:
    return 3 * min(a, b) + AXIS_BIT.index(a ^ b)


def _share_a_face(e: int, f: int) -> bool:
    """Whether two edges of a cell lie in one of its faces."""
    ends = [(edge // 3, edge // 3 + AXIS_BIT[edge % 3]) for edge in (e, f)]
    corners = [corner for pair in ends for corner in pair]
    return any(len({corner & bit for corner in corners}) == 1 for bit in AXIS_BIT)


def _triangles(loop: list[int]) -> list[int]:
    """A fan over the loop, from where the fewest of its inner lines lie in a face: the next cell may draw them too."""
    fans = [loop[k:] + loop[:k] for k in range(len(loop))]
    fan = min(fans, key=lambda one: sum(_share_a_face(one[0], other) for other in one[2:-1]))
    return [edge for k in range(1, len(fan) - 1) for edge in (fan[0], fan[k], fan[k + 1])]


@lru_cache(maxsize=8)
def _table(device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of the 256 cases: the edges of their triangles, one case after another, by corner i8[E] where the edge starts
    and by axis i8[E]; where each case begins i8[256], and how many it has i8[256]."""
    cases = [[edge for loop in _loops(inside) for edge in _triangles(loop)] for inside in range(256)]
    count = torch.tensor([len(case) for case in cases])
    edges = torch.tensor([edge for case in cases for edge in case])
    corner, axis, first = edges // 3, edges % 3, count.cumsum(0) - count
    return corner.to(device), axis.to(device), first.to(device), count.to(device)


def marching_cubes(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The surface where values f4[X,Y,Z] on a lattice pass 0; inside is what lies below it.

    Points f4[N,3] in cells from the first node, and faces i8[M,3], outward by the right-hand rule. It is closed where
    it does not leave the lattice. After Lorensen and Cline 1987.
    """
    device = values.device
    _, y_count, z_count = values.shape
    stride = (y_count * z_count, z_count, 1)
    # How many corners of the cell after each node are inside; past the last nodes they are repeated.
    inside = (values < 0.0).view(torch.uint8)
    for axis in range(3):
        last = inside.narrow(axis, inside.shape[axis] - 1, 1)
        inside = inside + torch.cat([inside.narrow(axis, 1, inside.shape[axis] - 1), last], axis)
    cut = torch.nonzero(((inside - 1) < 7).view(-1))[:, 0]
    ijk = [cut // stride[0], cut // z_count % y_count, cut % z_count]
    more = [ijk[axis] < values.shape[axis] - 1 for axis in range(3)]
    on = [more[axis] * stride[axis] for axis in range(3)]
    corner = torch.stack([cut + (c >> 2) * on[0] + (c >> 1 & 1) * on[1] + (c & 1) * on[2] for c in range(8)])
    at = _taken(values, corner)
    is_in = at < 0.0

    # Vertices: where one of the three edges that start at a node is cut.
    crossed = torch.stack([is_in[bit] != is_in[0] for bit in AXIS_BIT], 1)
    share = torch.stack([at[0] / (at[0] - at[bit]) for bit in AXIS_BIT], 1).clamp(CLEAR, 1.0 - CLEAR)
    edge = torch.nonzero(crossed.view(-1))[:, 0]
    points = _taken(torch.stack(ijk, 1).to(values.dtype), edge // 3, rows=True)
    points.view(-1)[torch.arange(0, 3 * len(edge), 3, device=device) + edge % 3] += _taken(share, edge)
    number = crossed.view(-1).cumsum(0) - 1

    # Faces: those of each whole cell's case, an edge known by the node at its start.
    row_of = torch.empty(values.numel(), dtype=torch.int32, device=device)
    row_of[cut] = torch.arange(len(cut), dtype=torch.int32, device=device)
    bits = is_in.view(torch.uint8)
    case = sum((bits[c] << c for c in range(1, 8)), bits[0]).long()
    corner_of, axis_of, first, count = _table(device)
    count = _taken(count, case) * (more[0] & more[1] & more[2])
    ends = count.cumsum(0)
    cell = torch.repeat_interleave(count)
    place = torch.arange(len(cell), device=device) + _taken(_taken(first, case) - ends + count, cell)
    start = _taken(row_of, _taken(corner, _taken(corner_of * len(cut), place) + cell))
    return points, _taken(number, 3 * start + _taken(axis_of, place)).view(-1, 3)


def _taken(values: torch.Tensor, index: torch.Tensor, *, rows: bool = False) -> torch.Tensor:
    """values[index], of the flattened values or their rows; several times faster than indexing on the CPU."""
    found = (values if rows else values.reshape(-1)).index_select(0, index.reshape(-1))
    return found if rows else found.view(index.shape)


def pieces(count: int, faces: torch.Tensor) -> tuple[int, torch.Tensor]:
    """How many pieces faces i8[M,3] make of `count` points, each in some face, and the piece i8[count] of each."""
    if faces.device.type == "cpu":
        # A face is a node too, linked to its points: so the rows of the matrix are in order as they are.
        ends = np.minimum(np.arange(0, 3 * (len(faces) + count) + 1, 3), 3 * len(faces)).astype(np.int32)
        links = (len(faces) + faces.reshape(-1)).numpy().astype(np.int32)
        graph = csr_matrix((np.ones(len(links), np.int8), links, ends), (len(faces) + count,) * 2)
        number, piece = connected_components(graph, directed=False)
        return number, torch.as_tensor(piece[len(faces) :]).long()
    lowest = _lowest(count, faces)
    first = lowest == torch.arange(count, device=faces.device)
    return int(first.sum()), (first.cumsum(0) - 1)[lowest]


def _lowest(count: int, faces: torch.Tensor) -> torch.Tensor:
    """The lowest number i8[count] of those that faces i8[M,3] connect each point with.

    By hooking and pointer jumping, all at once (Zhang, Azad and Buluç 2020, FastSV).
    """
    parent = torch.arange(count, device=faces.device)
    ends = faces[:, :2].reshape(-1), faces[:, 1:].reshape(-1)
    while True:
        grand = parent[parent]
        low = torch.minimum(grand[ends[0]], grand[ends[1]])
        following = grand.clone()
        for end in ends:
            following.scatter_reduce_(0, parent[end], low, "amin")
            following.scatter_reduce_(0, end, low, "amin")
        if torch.equal(following, parent):
            return parent
        parent = following
