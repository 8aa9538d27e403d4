"""The field `fast`: low-rank narrow-band lattices in material coordinates.

f(x, t) = g(ξ), with the material coordinates ξ = ξ(x, t) of `Motion.warp`.

g is the sum of trilinear functions on two lattices: a coarse one that fills the box, and a fine one whose nodes exist
only in a band near the states' surfaces. Its node values at time t are Σ_k c_k(t) · mode_k, where c(t) mixes the
training states' coefficients by `TemporalKernel.weights`.

Fields of file formats 1 and 2 have a learned correction too: f = g(ξ) + m(ξ) · MLP(g, ∇g, Δg, s, z)(ξ).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..geometry.lattice import Lattice, LatticeLimit, gather, refined, smooth_nodes
from ..geometry.unit_cube import UnitCube
from ..motion.motion import Motion
from ..motion.warp import Warp
from .base import NORMAL_WIDTH, Field, FieldAtTime, scene_box

# Nodes of a fine lattice, in the band or not: they take 4 GiB while a band is laid out. A box of 640 Å at 1 Å.
MAX_NODES = 2**28
BAND_LIMIT = LatticeLimit(
    MAX_NODES,
    16,
    "all states together",
    "fit fewer atoms, remove what drifts away, or unwrap jumps through the periodic box (unwrap=1 of dsr_fit, --unwrap "
    "of dsr-backend)",
)
# Up to so many nodes, f at one time is laid out on the whole fine lattice: 128 MiB, and one interpolation for a point.
MAX_WHOLE_NODES = 2**25
# Node values are multiples of 1/VALUE_STEPS Å.
VALUE_STEPS = 256
# Width of the differences that normals are, at most, per spacing of the fine lattice.
NORMAL_WIDTH_PER_SPACING = 0.8
MaterialDistance = Callable[[torch.Tensor], torch.Tensor]
"""ξ f4[N,3] (Å) → f f4[N] (Å)."""
# Columns of a correction's features: g, its gradient (3), its Laplacian, 1 in the band; static channels follow.
VALUE, BAND_MASK, TABLE_COLUMNS = 0, 5, 6


def quantize(values: torch.Tensor) -> torch.Tensor:
    """Round values f4 (Å) to 1/VALUE_STEPS Å: finer steps enlarge files and change no surface by 0.001 Å."""
    return (values * VALUE_STEPS).round_().div_(VALUE_STEPS)


def spread(mask: torch.Tensor, axis: int, step: int) -> None:
    """Set the neighbour of every true element of a mask bool[X,Y,Z] in place, one step up or down an axis."""
    size = mask.shape[axis]
    target = mask.narrow(axis, 1 if step > 0 else 0, size - 1)
    source = mask.narrow(axis, 0 if step > 0 else 1, size - 1)
    target |= source.clone()


@dataclass(frozen=True)
class LowRankBasis:
    """Node values of all training states: coefficients f4[S,K] times modes f4[K,nodes] (Å)."""

    modes: torch.Tensor
    coefficients: torch.Tensor

    def mix(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the node values f4[…,nodes] for weights f4[…,S] of the states."""
        return (weights @ self.coefficients) @ self.modes


class BasisBuilder:
    """Makes a basis from the states' values, one after another.

    Up to `max_modes` states are their own modes; more are approximated by about the best `max_modes` modes. At most
    twice as many states as modes are in memory at a time.
    """

    def __init__(self, max_modes: int) -> None:
        self.max_modes = max_modes
        self._rows: list[torch.Tensor] = []
        self._coefficients = torch.zeros(0, 0)

    def add(self, values: torch.Tensor) -> None:
        """Add the values f4[nodes] of the next state."""
        if len(self._rows) == 2 * self.max_modes:
            self._compress()
        self._rows.append(values)
        self._coefficients = nn.functional.pad(self._coefficients, (0, 1, 0, 1))
        self._coefficients[-1, -1] = 1.0

    def basis(self) -> LowRankBasis:
        """Return the basis; its modes are quantised, so that a field and its file are the same function."""
        if len(self._rows) > self.max_modes:
            self._compress()
        return LowRankBasis(quantize(torch.stack(self._rows)), self._coefficients.to(self._rows[0].device))

    def _compress(self) -> None:
        """Keep the best `max_modes` modes."""
        stacked = torch.stack(self._rows)
        # The eigenvectors of the rows' products are the singular vectors; there are many nodes and few rows.
        _, vectors = torch.linalg.eigh((stacked @ stacked.T).double().cpu())
        # Contiguous, as after loading a file: rounding depends on the layout.
        leading = vectors[:, -self.max_modes :].float().contiguous()
        self._rows = list(leading.T.to(stacked.device) @ stacked)
        self._coefficients = (self._coefficients @ leading).contiguous()


class NarrowBand:
    """The nodes of the fine lattice that exist, as rows: first the band's own, then a halo one node wide.

    Halo nodes have the coarse lattice's value, so that f is continuous where the band ends. count: number of the band's
    own rows; node_numbers: i8[rows].
    """

    def __init__(self, lattice: Lattice, inside: torch.Tensor) -> None:
        """inside: bool[nodes], the band's own nodes of the fine lattice."""
        self.lattice = lattice
        self.inside = inside
        dilated = inside.reshape(lattice.shape).clone()
        for axis in range(3):
            for step in (-1, 1):
                spread(dilated, axis, step)
        inside_nodes = torch.nonzero(inside)[:, 0]
        halo = torch.nonzero(dilated.view(-1) & ~inside)[:, 0]
        self.count = len(inside_nodes)
        self.node_numbers = torch.cat([inside_nodes, halo])
        self._row_of = torch.full((lattice.size,), -1, dtype=torch.int32, device=inside.device)
        self._row_of[self.node_numbers] = torch.arange(len(self), dtype=torch.int32, device=inside.device)

    def __len__(self) -> int:
        return len(self.node_numbers)

    def rows(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return the row i4[…] of each node number, for any shape; −1 for a node that does not exist."""
        return self._row_of.index_select(0, numbers.reshape(-1)).view(numbers.shape)

    @functools.cached_property
    def neighbours(self) -> torch.Tensor:
        """The neighbours, as of `neighbour_rows`; kept for corrections, which need them at every time."""
        return self.neighbour_rows()

    def neighbour_rows(self) -> torch.Tensor:
        """Return the rows i4[rows,6] of the neighbours at −x, +x, −y, +y, −z, +z; the row itself where there is none.

        Of a large band they take as much memory as all else.
        """
        x_count, y_count, z_count = self.lattice.shape
        numbers = self.node_numbers
        identity = torch.arange(len(self), dtype=torch.int32, device=numbers.device)
        columns = []
        for stride, size, along in (
            (y_count * z_count, x_count, numbers // (y_count * z_count)),
            (z_count, y_count, numbers // z_count % y_count),
            (1, z_count, numbers % z_count),
        ):
            for step, in_lattice in ((-stride, along > 0), (stride, along < size - 1)):
                row = self.rows((numbers + step).clamp(0, self.lattice.size - 1))
                columns.append(torch.where(in_lattice & (row >= 0), row, identity))
        return torch.stack(columns, 1)


class Decoder(nn.Module):
    """The tiny MLP from features of g at a point to a correction in Å."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        first, second, last = nn.Linear(channels, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 1)
        self.layers = nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return corrections f4[N] (Å) for features f4[N,channels]."""
        corrections: torch.Tensor = self.layers(features)[:, 0]
        return corrections


@dataclass(frozen=True, eq=False)
class Correction:
    """The learned correction of file formats 1 and 2, which adds shape that a coarse trilinear function cannot have.

    decoder: the MLP, the same for a whole family; static: channels s f4[band.count,C]; latent: z f4[D], which tells the
    trajectories of a family apart. The mask m fades it out at the band's rim.
    """

    decoder: Decoder
    static: torch.Tensor
    latent: torch.Tensor


class FastField(Field):
    """f(x, t) of preset `fast`, as the module's docstring defines it.

    smooth, smooth_beyond: temporal widths of the modes in states, inside and outside the training range; level_offset:
    distance in Å by which the surface is moved outwards where it is an average of states; spatial_width: width in Å of
    the Gaussian that smooths g in space there; held_out_iou: IoU, near their surfaces, of held-out states and what
    every second state predicts, None where it was not measured. All are 0 or None until they are set.
    """

    kind = "fast"

    def __init__(
        self,
        motion: Motion,
        band: NarrowBand,
        factor: int,
        coarse: LowRankBasis,
        fine: LowRankBasis,
        frame: UnitCube,
        extent: NDArray[np.float32],
        clearance: float,
        report: dict[str, Any],
        correction: Correction | None = None,
    ) -> None:
        """factor: fine spacings per coarse spacing; coarse, fine: node values of both lattices, the fine ones as the
        difference to the coarse lattice; correction: that of an older file; the others as in `Field`."""
        self.motion, self.band, self.factor = motion, band, factor
        self.coarse_lattice = band.lattice.coarser(factor)
        self.coarse, self.fine, self.correction = coarse, fine, correction
        self.frame, self.extent, self.clearance, self.report = frame, extent, clearance, report
        self.smooth = 0.0
        self.smooth_beyond = 0.0
        self.level_offset = 0.0
        self.spatial_width = 0.0
        self.held_out_iou: float | None = None
        self.device = fine.modes.device

    def at_motion_time(self, time: float, smooth: float | None) -> FastFieldAtTime:
        """Return the field at one time of its motion."""
        motion, kernel = self.motion, self.motion.kernel
        aligned, pose = motion.aligned_atoms(time, smooth), motion.pose(time)
        atoms = pose.to_scene(aligned)
        extrapolated = kernel.lead(time) != 0.0
        width = smooth
        if width is None:
            width = self.smooth_beyond if extrapolated else self.smooth
        # Offset and spatial width are chosen for averages over many states. They do not hold for straight lines, nor
        # for a state held past the ends.
        averaged = width > 0.0 or (self.smooth == 0.0 and not extrapolated)
        blend = kernel.smoothing_blend(time) if averaged else 0.0
        weights = torch.as_tensor(kernel.weights(time, width), dtype=torch.float32, device=self.device)
        # The variance grows with the blend, as the average's part does.
        spatial_width = self.spatial_width * math.sqrt(blend)
        return FastFieldAtTime(
            time=time,
            extrapolated=extrapolated,
            expected_error=motion.expected_error(time),
            atoms=atoms,
            box=scene_box(atoms, self.clearance, self.extent),
            device=self.device,
            warp=motion.warp_from(aligned, pose, time, self.device),
            material_distance=self._whole(weights, spatial_width) if self.is_whole else self._banded(weights),
            level_offset=self.level_offset * blend,
            normal_width=min(NORMAL_WIDTH, NORMAL_WIDTH_PER_SPACING * self.band.lattice.spacing),
        )

    @property
    def is_whole(self) -> bool:
        """Whether f at one time is laid out on the whole fine lattice, where it can be smoothed in space."""
        return self.correction is None and self.band.lattice.size <= MAX_WHOLE_NODES

    def whole_values(self, weights: torch.Tensor) -> torch.Tensor:
        """Return g f4[X,Y,Z] (Å) at all nodes of the fine lattice for state weights f4[S].

        Beyond the band it is the coarse lattice's, which one trilinear function in a coarse cell and in each of its
        fine ones is.
        """
        values = refined(self.coarse.mix(weights).view(self.coarse_lattice.shape), self.factor)
        values.view(-1)[self.band.node_numbers[: self.band.count]] += self.fine.mix(weights)
        return values

    def _whole(self, weights: torch.Tensor, spatial_width: float) -> MaterialDistance:
        """Return g as a function of ξ, from values on the whole fine lattice, smoothed in space by a width in Å."""
        lattice, values = self.band.lattice, self.whole_values(weights)
        smooth_nodes(values, spatial_width / lattice.spacing)
        return lambda xi: lattice.extrapolate_columns(values.view(-1), xi)

    def _banded(self, weights: torch.Tensor) -> MaterialDistance:
        """Return f as a function of ξ, from values in the band and on the coarse lattice, for state weights f4[S]."""
        coarse, table = self.table(weights)
        return lambda xi: self.material_distance(coarse, table, xi)

    def mixtures(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return W mixtures of the states: f4[coarse nodes,W] and f4[rows,W] (Å) for weights f4[W,S].

        The fine ones are differences to the coarse lattice, 0 in the halo.
        """
        coarse, fine = self.coarse.mix(weights), self.fine.mix(weights)
        halo = len(self.band) - self.band.count
        return coarse.T.contiguous(), nn.functional.pad(fine.T, (0, 0, 0, halo))

    def mixed_distances(self, coarse: torch.Tensor, fine: torch.Tensor, xi: torch.Tensor) -> torch.Tensor:
        """Return g f4[N,W] (Å) at material coordinates ξ f4[N,3] (Å) of W mixtures, the result of `mixtures`."""
        rows, weight, beyond, in_band = self._cells(xi)
        # Outside the box, f grows by the distance to the box.
        distance = self.coarse_lattice.interpolate(coarse, xi) + beyond[:, None]
        near = torch.nonzero(in_band)[:, 0]
        return distance.index_add_(0, near, gather(fine, rows.index_select(0, near), weight.index_select(0, near)))

    def table(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return coarse values f4[coarse nodes,1] and the features f4[rows,F] of the band for state weights f4[S].

        The first feature is g; a correction takes further ones.
        """
        coarse, values = self.mixtures(weights[None])
        values += self.coarse_lattice.interpolate(coarse, self.band.lattice.nodes(self.band.node_numbers))
        if self.correction is None:
            return coarse, values
        value = values[:, 0]
        neighbours = value.index_select(0, self.band.neighbours.view(-1)).view(-1, 6)
        spacing = self.band.lattice.spacing
        gradient = (neighbours[:, 1::2] - neighbours[:, 0::2]) / (2.0 * spacing)
        # Times the spacing, which gives it the unit of the gradient.
        laplacian = (neighbours.sum(1) - 6.0 * value) / spacing
        mask = torch.zeros_like(value)
        mask[: self.band.count] = 1.0
        static = nn.functional.pad(self.correction.static, (0, 0, 0, len(self.band) - self.band.count))
        return coarse, torch.cat([value[:, None], gradient, laplacian[:, None], mask[:, None], static], 1)

    def decode(self, features: torch.Tensor) -> torch.Tensor:
        """Return f f4[N] (Å) from features f4[N,F] at points."""
        if self.correction is None:
            return features[:, VALUE]
        latent = self.correction.latent.expand(len(features), -1)
        inputs = torch.cat([features[:, :BAND_MASK], features[:, TABLE_COLUMNS:], latent], 1)
        distance: torch.Tensor = features[:, VALUE] + features[:, BAND_MASK] * self.correction.decoder(inputs)
        return distance

    def material_distance(self, coarse: torch.Tensor, table: torch.Tensor, xi: torch.Tensor) -> torch.Tensor:
        """Return f f4[N] (Å) at material coordinates ξ f4[N,3] (Å).

        coarse, table: the result of `table`.
        """
        rows, weight, beyond, in_band = self._cells(xi)
        near, far = torch.nonzero(in_band)[:, 0], torch.nonzero(~in_band)[:, 0]
        distance = xi.new_empty(len(xi))
        distance[near] = self.decode(gather(table, rows.index_select(0, near), weight.index_select(0, near)))
        in_box = self.coarse_lattice.interpolate_columns(coarse[:, 0], xi.index_select(0, far))
        distance[far] = in_box + beyond.index_select(0, far)
        return distance

    def _cells(self, xi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the band's rows i4[N,8] and trilinear weights f4[N,8] around ξ f4[N,3] (Å), the distance f4[N] (Å)
        beyond the box, and bool[N]: whether ξ lies in the box, and all of its rows in the band and its halo.
        """
        index, weight = self.band.lattice.corners(xi)
        rows = self.band.rows(index)
        beyond = torch.linalg.norm(xi - self.coarse_lattice.clamp(xi), dim=1)
        return rows, weight, beyond, (rows.amin(1) >= 0) & (beyond == 0.0)

    def with_uniform_smoothing(self) -> FastField:
        """Return the field smoothed over time at the states as between them, by one gap at least."""
        gap = self.motion.kernel.gap
        smoothed = copy.copy(self)
        smoothed.motion = dataclasses.replace(
            self.motion,
            kernel=dataclasses.replace(self.motion.kernel, uniform=True),
            smooth=max(self.motion.smooth, gap),
        )
        smoothed.smooth = max(self.smooth, gap)
        return smoothed

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all tensors of the field by name, the band as packed bits u1."""
        tensors = {
            "coarse_modes": self.coarse.modes,
            "coarse_coefficients": self.coarse.coefficients,
            "fine_modes": self.fine.modes,
            "fine_coefficients": self.fine.coefficients,
            "band": torch.as_tensor(np.packbits(self.band.inside.cpu().numpy())),
        }
        if self.correction is None:
            return tensors
        tensors |= {"static": self.correction.static, "latent": self.correction.latent}
        return tensors | {f"decoder.{name}": value for name, value in self.correction.decoder.state_dict().items()}


@dataclass(eq=False)
class FastFieldAtTime(FieldAtTime):
    """One time of a FastField. material_distance: f in material coordinates; level_offset: Å."""

    warp: Warp
    material_distance: MaterialDistance
    level_offset: float

    def evaluate(self, x: torch.Tensor) -> torch.Tensor:
        """Return f f4[N] (Å) at scene points x f4[N,3] (Å)."""
        return self.material_distance(self.warp(x)) - self.level_offset
