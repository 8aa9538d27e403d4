"""Regular lattices of nodes in space, and trilinear interpolation on them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

from ..runtime.device import constant, free_memory
from ..runtime.errors import Cancelled

# Points interpolated at once.
CHUNK = 2**18


@dataclass(frozen=True)
class LatticeLimit:
    """Largest size of a kind of lattice: nodes in all and along one side, and the bytes that each takes at the peak;
    what such a lattice covers, and what to do where it is too large.
    """

    nodes: int
    bytes_per_node: int
    covers: str
    remedy: str
    nodes_per_side: int = 2**31


@dataclass(frozen=True)
class Lattice:
    """A regular lattice with nodes at origin + spacing · (i, j, k), 0 ≤ (i, j, k) < shape; lengths in Å.

    Node (i, j, k) of a lattice of shape (X, Y, Z) has the number (i·Y + j)·Z + k.
    """

    origin: tuple[float, float, float]
    spacing: float
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, low: ArrayLike, high: ArrayLike, spacing: float, *, multiple: int = 1) -> Lattice:
        """Return the lattice whose nodes cover the box low…high (Å), anchored at multiples of `spacing` · `multiple`.

        The number of cells along each axis is a multiple of `multiple`, so that a lattice `multiple` times coarser
        shares its nodes.
        """
        anchor = spacing * multiple
        first = np.floor(np.asarray(low, np.float64) / anchor)
        last = np.ceil(np.asarray(high, np.float64) / anchor)
        cells = np.maximum(1, last - first).astype(int) * multiple
        origin = first * anchor
        return cls(
            (float(origin[0]), float(origin[1]), float(origin[2])),
            spacing,
            (int(cells[0]) + 1, int(cells[1]) + 1, int(cells[2]) + 1),
        )

    @property
    def size(self) -> int:
        """The number of nodes."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def _last(self) -> tuple[int, int, int]:
        """The indices (i, j, k) of the last node."""
        x, y, z = self.shape
        return x - 1, y - 1, z - 1

    @property
    def sides(self) -> str:
        """The lengths of its sides in Å, in words."""
        return " × ".join(f"{(count - 1) * self.spacing:.0f}" for count in self.shape)

    def is_within(self, limit: LatticeLimit) -> bool:
        """Whether it has no more nodes than the limit."""
        return self.size <= limit.nodes and max(self.shape) <= limit.nodes_per_side

    def ensure_allocatable(
        self, limit: LatticeLimit, device: torch.device, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """Check size, cancellation and memory, before anything of this lattice is allocated.

        Raises ValueError for more nodes than the limit, MemoryError where the device has less memory free, and
        Cancelled once `cancelled()` is true.
        """
        if cancelled():
            raise Cancelled("cancelled before a lattice was laid out")
        if not self.is_within(limit):
            raise ValueError(
                f"{limit.covers} take a box of {self.sides} Å, more than {limit.nodes} nodes {self.spacing:g} Å apart: "
                f"{limit.remedy}"
            )
        needed, free = self.size * limit.bytes_per_node, free_memory(device)
        if free is not None and needed > free:
            raise MemoryError(
                f"a lattice of {self.sides} Å takes {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"
            )

    def coarser(self, factor: int) -> Lattice:
        """Return the lattice of every `factor`-th node."""
        x, y, z = ((n - 1) // factor + 1 for n in self.shape)
        return Lattice(self.origin, self.spacing * factor, (x, y, z))

    def clamp(self, x: torch.Tensor) -> torch.Tensor:
        """Return the points f4[N,3] of the lattice's box that are nearest to x f4[N,3], both in Å."""
        low = constant(self.origin, torch.float32, x.device)
        high = low + constant(self._last, torch.int64, x.device) * self.spacing
        return torch.minimum(torch.maximum(x, low), high)

    def corners(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the node numbers i4[N,8] of the cell around each point x f4[N,3] (Å) and trilinear weights f4[N,8].

        Points outside are clamped to the lattice. No gradients with respect to x.
        """
        # Whole columns axis by axis, and int32, halve the time on the CPU.
        last = constant(self._last, torch.int32, x.device)[:, None]
        q = (x.T - constant(self.origin, x.dtype, x.device)[:, None]) / self.spacing
        q = torch.minimum(q.clamp_min(0.0), last.to(x.dtype))
        cell = torch.minimum(q.int(), last - 1)
        f = q - cell
        _, y_count, z_count = self.shape
        base = (cell[0] * y_count + cell[1]) * z_count + cell[2]
        sides = torch.stack([1.0 - f, f])
        weight = x.new_empty(len(x), 8)
        steps: list[int] = []
        for i, j in itertools.product((0, 1), repeat=2):
            xy = sides[i, 0] * sides[j, 1]
            for k in (0, 1):
                torch.mul(xy, sides[k, 2], out=weight[:, len(steps)])
                steps.append((i * y_count + j) * z_count + k)
        return base[:, None] + constant(tuple(steps), torch.int32, x.device), weight

    def interpolate(self, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Interpolate node values f4[nodes,C] trilinearly at x f4[N,3] (Å): f4[N,C]."""
        # Corners and weights of all points at once would take 64 bytes a point.
        chunks = [gather(values, *self.corners(points)) for points in torch.split(x, CHUNK)]
        return chunks[0] if len(chunks) == 1 else torch.cat(chunks)

    def interpolate_columns(self, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Interpolate node values f4[…,nodes] trilinearly at x f4[N,3] (Å): f4[…,N], as `interpolate` up to rounding.

        For few columns it takes half of the time.
        """
        chunks = [self._trilinear(values, self._in_cells(points).clamp_min_(0.0)) for points in torch.split(x, CHUNK)]
        return chunks[0] if len(chunks) == 1 else torch.cat(chunks, -1)

    def extrapolate_columns(self, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Interpolate as `interpolate_columns`; beyond the lattice's box, values grow by the distance (Å) to it."""
        q = self._in_cells(x)
        inside = torch.minimum(q.clamp_min(0.0), constant(self._last, x.dtype, x.device)[:, None])
        beyond = (q - inside).square_().sum(0).sqrt_()
        return self._trilinear(values, inside).add_(beyond, alpha=self.spacing)

    def _in_cells(self, x: torch.Tensor) -> torch.Tensor:
        """Return the coordinates f4[3,N] of points x f4[N,3] (Å) in cells from the first node."""
        return (x.T.contiguous() - constant(self.origin, x.dtype, x.device)[:, None]) / self.spacing

    def _trilinear(self, values: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Interpolate node values f4[…,nodes] at q f4[3,N] in cells from the first node, none below 0: f4[…,N]."""
        last = constant(self._last, torch.int32, q.device)[:, None]
        q = torch.minimum(q, last.to(q.dtype))
        cell = torch.minimum(q.int(), last - 1)
        u, v, w = q - cell
        _, y_count, z_count = self.shape
        base = (cell[0] * y_count + cell[1]) * z_count + cell[2]

        def along_z(step: int) -> torch.Tensor:
            # A slice of several rows would be copied before.
            low, high = (values.index_select(-1, base + corner) for corner in (step, step + 1))
            return torch.lerp(low, high, w)

        def along_y(step: int) -> torch.Tensor:
            return torch.lerp(along_z(step), along_z(step + z_count), v)

        return torch.lerp(along_y(0), along_y(y_count * z_count), u)

    def nodes(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return the positions f4[N,3] (Å) of the nodes with the numbers i8[N]."""
        _, y_count, z_count = self.shape
        # Divisions of 4 bytes take half of the time.
        numbers = numbers.int() if self.size < 2**31 else numbers
        ijk = torch.stack([numbers // (y_count * z_count), numbers // z_count % y_count, numbers % z_count], 1)
        return ijk.float() * self.spacing + constant(self.origin, torch.float32, numbers.device)


def refined(values: torch.Tensor, factor: int) -> torch.Tensor:
    """Interpolate node values f4[X,Y,Z] trilinearly on the lattice that is `factor` times finer.

    One axis after another, it takes a fifth of the time of torch's `interpolate`. Where the factor is 2, the numbers
    are the same to the bit.
    """
    for axis in (2, 1, 0):
        cells = values.shape[axis] - 1
        shape = list(values.shape)
        shape[axis] = cells * factor + 1
        finer = values.new_empty(shape)
        low, high = values.narrow(axis, 0, cells), values.narrow(axis, 1, cells)
        # The node numbers of a lattice's axis come first here: a slice of it is a view.
        rows = finer.movedim(axis, 0)
        for step in range(factor):
            target = rows[step : cells * factor : factor].movedim(0, axis)
            fraction = step / factor
            torch.mul(low, 1.0 - fraction, out=target).add_(high, alpha=fraction)
        rows[-1] = values.select(axis, cells)
        values = finer
    return values


def smooth_nodes(values: torch.Tensor, width: float) -> None:
    """Smooth node values f4[X,Y,Z] in place by a Gaussian of `width` cells, as steps of heat conduction by axis.

    Nothing flows through the lattice's sides. Of a linear function, only the nodes near the sides change.
    """
    # A longer step would overshoot from node to node.
    steps = math.ceil(2.0 * width**2)
    for axis in [0, 1, 2] * steps:
        cells = values.shape[axis] - 1
        flow = values.diff(dim=axis).mul_(0.5 * width**2 / steps)
        values.narrow(axis, 0, cells).add_(flow)
        values.narrow(axis, 1, cells).sub_(flow)


def gather(values: torch.Tensor, index: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return f4[N,C]: the sum over K corners of weight f4[N,K] · values f4[rows,C][index i[N,K]]."""
    # On the CPU, `embedding_bag` is several times faster than indexing or `grid_sample`.
    return F.embedding_bag(index, values, per_sample_weights=weight, mode="sum")
