"""Marching cubes in torch: it runs on the device that holds the values, and only on the cells that the surface cuts.

One rule gives the table of the 256 cases: if a face has two inside corners across from each other, these corners stay
apart. Neighbouring cells apply the rule to the same face and so agree, and every surface is closed.
"""

from __future__ import annotations

from functools import lru_cache

import torch

# Corner c of a cell is the node (c >> 2, c >> 1 & 1, c & 1) steps from the cell's first node. Edge 3·c + axis leads
# from corner c to the next corner along that axis.
AXIS_BIT = (4, 2, 1)
# Least distance of a vertex from a node, in cells: a vertex on a node would leave triangles without area.
NODE_MARGIN = 1e-3


def _loops(inside: int) -> list[list[int]]:
    """Return the closed polygons along which the surface cuts a cell's faces, each as a list of edges.

    Bit c of `inside` says whether corner c is inside.
    """
    next_edge = {}
    for axis, bit in enumerate(AXIS_BIT):
        u, v = AXIS_BIT[(axis + 1) % 3], AXIS_BIT[(axis + 2) % 3]
        for far in (0, bit):
            # Counter-clockwise, seen from outside the cell.
            ring = [far, far + u, far + u + v, far + v] if far else [0, v, u + v, u]
            is_in = [inside >> corner & 1 for corner in ring]
            for k in range(4):
                if is_in[k] and not is_in[k - 1]:
                    entered = _edge(ring[k - 1], ring[k])
                    while is_in[(k + 1) % 4]:
                        k += 1
                    next_edge[entered] = _edge(ring[k % 4], ring[(k + 1) % 4])
    loops = []
    while next_edge:
        first, edge = next_edge.popitem()
        loop = [first]
        while edge != first:
            loop.append(edge)
            edge = next_edge.pop(edge)
        loops.append(loop)
    return loops


def _edge(a: int, b: int) -> int:
    """Return the number of the edge between two corners."""
    return 3 * min(a, b) + AXIS_BIT.index(a ^ b)


def _in_one_face(e: int, f: int) -> bool:
    """Return whether two edges of a cell lie in the same face."""
    ends = [(edge // 3, edge // 3 + AXIS_BIT[edge % 3]) for edge in (e, f)]
    corners = [corner for pair in ends for corner in pair]
    return any(len({corner & bit for corner in corners}) == 1 for bit in AXIS_BIT)


def _triangles(loop: list[int]) -> list[int]:
    """Return the edges of a triangle fan over the loop, three for each triangle.

    The fan starts where the fewest of its inner lines lie in a face, because the next cell may draw those lines too.
    """
    fans = [loop[k:] + loop[:k] for k in range(len(loop))]
    fan = min(fans, key=lambda edges: sum(_in_one_face(edges[0], edge) for edge in edges[2:-1]))
    return [edge for k in range(1, len(fan) - 1) for edge in (fan[0], fan[k], fan[k + 1])]


@lru_cache(maxsize=8)
def _table(device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the table of the 256 cases: (corner i8[E], axis i8[E], first i8[256], count i8[256]).

    `corner` and `axis` list the edges of all triangles, one case after another; `first` and `count` give the range of
    each case in that list.
    """
    cases = [[edge for loop in _loops(inside) for edge in _triangles(loop)] for inside in range(256)]
    count = torch.tensor([len(case) for case in cases])
    edges = torch.tensor([edge for case in cases for edge in case])
    corner, axis, first = edges // 3, edges % 3, count.cumsum(0) - count
    return corner.to(device), axis.to(device), first.to(device), count.to(device)


def marching_cubes(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Extract the level set 0 of values f4[X,Y,Z] on a lattice; values below 0 are inside (Lorensen and Cline 1987).

    Returns points f4[N,3], in units of cells from the first node, and faces i8[M,3], outward by the right-hand rule.
    The surface is closed unless it leaves the lattice.
    """
    device = values.device
    _, y_count, z_count = values.shape
    stride = (y_count * z_count, z_count, 1)
    # Number of inside corners of the cell that starts at each node; the last layer of nodes is repeated.
    inside = (values < 0.0).view(torch.uint8)
    for axis in range(3):
        last = inside.narrow(axis, inside.shape[axis] - 1, 1)
        inside = inside + torch.cat([inside.narrow(axis, 1, inside.shape[axis] - 1), last], axis)
    # Numbers of 4 bytes take half of the time.
    number_type = torch.int32 if values.numel() < 2**31 else torch.int64
    cut = torch.nonzero(((inside - 1) < 7).view(-1))[:, 0].to(number_type)
    ijk = [cut // stride[0], cut // z_count % y_count, cut % z_count]
    has_next = [ijk[axis] < values.shape[axis] - 1 for axis in range(3)]
    step = [has_next[axis] * stride[axis] for axis in range(3)]
    corner = torch.stack([cut + (c >> 2) * step[0] + (c >> 1 & 1) * step[1] + (c & 1) * step[2] for c in range(8)])
    corner_values = _take(values, corner)  # [8, cells]
    is_in = corner_values < 0.0

    # Vertices: where one of the three edges that start at a node is cut.
    crossed = torch.stack([is_in[bit] != is_in[0] for bit in AXIS_BIT], 1)
    fraction = torch.stack([corner_values[0] / (corner_values[0] - corner_values[bit]) for bit in AXIS_BIT], 1)
    fraction = fraction.clamp(NODE_MARGIN, 1.0 - NODE_MARGIN)
    edge = torch.nonzero(crossed.view(-1))[:, 0].to(number_type)
    points = _take_rows(torch.stack(ijk, 1).to(values.dtype), edge // 3)
    points.view(-1)[torch.arange(0, 3 * len(edge), 3, device=device) + edge % 3] += _take(fraction, edge)
    number = crossed.view(-1).cumsum(0, dtype=number_type) - 1

    # Faces: the triangles of each whole cell's case. The node at the start of an edge identifies the edge.
    row_of = torch.empty(values.numel(), dtype=number_type, device=device)
    row_of[cut] = torch.arange(len(cut), dtype=number_type, device=device)
    bits = is_in.view(torch.uint8)
    case = sum((bits[c] << c for c in range(1, 8)), bits[0]).to(number_type)
    corner_of, axis_of, first, count = (column.to(number_type) for column in _table(device))
    count = _take(count, case) * (has_next[0] & has_next[1] & has_next[2])
    ends = count.cumsum(0, dtype=number_type)
    cell = torch.repeat_interleave(count)
    entry = torch.arange(len(cell), dtype=number_type, device=device) + _take(_take(first, case) - ends + count, cell)
    start = _take(row_of, _take(corner, _take(corner_of * len(cut), entry) + cell))
    return points, _take(number, 3 * start + _take(axis_of, entry)).view(-1, 3).long()


def _take(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return values.flatten()[index], several times faster than indexing does on the CPU."""
    return values.reshape(-1).index_select(0, index.reshape(-1)).view(index.shape)


def _take_rows(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return the rows values[index]."""
    return values.index_select(0, index.reshape(-1))
