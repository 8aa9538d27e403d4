"""The field `fast`: modal narrow-band lattices in material coordinates, and a tiny MLP.

f(x, t) = g(ξ) + m(ξ) · MLP(g, ∇g, Δg, s, z)(ξ), ξ = ξ(x, t) the material coordinates of `motion.py`.

g is trilinear on a fine lattice whose nodes exist only in the band that some state's surface comes near, on
top of a coarse lattice that fills the box. Its node values at time t are Σ_k c_k(t) · mode_k, and c(t) mixes
the training states' coefficients by the weights of `Motion.weights`. The MLP decodes what a trilinear
function cannot show, from smooth features of g around the point (and static ones, s), and mostly mends
normals. m fades it out at the band's rim. Trajectories fitted together share the MLP and differ in their lattices
and in their latent code z, which a single one does without.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..geometry.lattice import Lattice, gather
from ..geometry.unit_cube import UnitCube
from ..motion.motion import Motion
from ..motion.superpose import superpose
from ..motion.warp import Warp
from .base import Field, FieldAtTime, scene_box

# Nodes of a fine lattice, band or not: 4 GiB of tables while a band is laid out. A box of 640 Å at 1 Å.
MOST_NODES = 2**28
# Steps to the Å of what is stored.
STEPS = 256


def quantize(values: torch.Tensor) -> torch.Tensor:
    """The values f4 in steps of 1/STEPS: finer ones cost room in a file and change no surface by 0.001 Å."""
    return (values * STEPS).round() / STEPS


@dataclass(frozen=True)
class LowRankBasis:
    """Node values of all training states as modes f4[K,nodes] (Å) times coefficients f4[S,K]."""

    modes: torch.Tensor
    coefficients: torch.Tensor

    @classmethod
    def of(cls, values: Iterable[torch.Tensor], most: int) -> LowRankBasis:
        """Of values f4[nodes], one state after another: the states themselves, or about the best `most` modes.

        No more than twice as many values as modes are held at a time. They go in steps from here on, so that a field
        and its checkpoint are the same function.
        """
        rows: list[torch.Tensor] = []
        coefficients = torch.zeros(0, 0)
        for value in values:
            if len(rows) == 2 * most:
                rows, coefficients = _compressed(rows, coefficients, most)
            rows.append(value)
            coefficients = nn.functional.pad(coefficients, (0, 1, 0, 1))
            coefficients[-1, -1] = 1.0
        if len(rows) > most:
            rows, coefficients = _compressed(rows, coefficients, most)
        return cls(quantize(torch.stack(rows)), coefficients.to(rows[0].device))

    def mix(self, weights: torch.Tensor) -> torch.Tensor:
        """Node values f4[nodes] for weights f4[S] of the states."""
        return (weights @ self.coefficients) @ self.modes


def _compressed(
    rows: list[torch.Tensor], coefficients: torch.Tensor, most: int
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The best `most` modes of rows f4[nodes] that stand for states by coefficients f4[S,rows]."""
    stacked = torch.stack(rows)
    # The eigenvectors of the products of rows give the singular vectors; nodes are many and rows are few.
    _, vectors = torch.linalg.eigh((stacked @ stacked.T).double().cpu())
    # Contiguous, as after loading: rounding differs by layout.
    leading = vectors[:, -most:].float().contiguous()
    return list(leading.T.to(stacked.device) @ stacked), (coefficients @ leading).contiguous()


class NarrowBand:
    """The fine lattice's nodes that exist, as rows: first the band's own, then a halo one node wide.

    Halo nodes take the coarse lattice's value, so that f is continuous where the band ends.
    """

    def __init__(self, lattice: Lattice, inside: torch.Tensor) -> None:
        """inside: bool[nodes] of the fine lattice."""
        self.lattice = lattice
        self.inside = inside
        volume = inside.reshape(1, 1, *lattice.shape).float()
        reached = nn.functional.max_pool3d(volume, 3, stride=1, padding=1).reshape(-1) > 0.0
        own = torch.nonzero(inside)[:, 0]
        halo = torch.nonzero(reached & ~inside)[:, 0]
        self.count = len(own)
        self.numbers = torch.cat([own, halo])
        self._row_of = torch.full((lattice.size,), -1, dtype=torch.int32, device=inside.device)
        self._row_of[self.numbers] = torch.arange(len(self.numbers), dtype=torch.int32, device=inside.device)
        self.neighbours = self._neighbours()

    def rows(self, numbers: torch.Tensor) -> torch.Tensor:
        """Row i4[…] of each node by number, of any shape; −1 where there is none."""
        return self._row_of.index_select(0, numbers.reshape(-1)).view(numbers.shape)

    def _neighbours(self) -> torch.Tensor:
        """Row i8[rows,6] of the neighbour at −x, +x, −y, +y, −z, +z; the row itself where there is none."""
        x_count, y_count, z_count = self.lattice.shape
        own = torch.arange(len(self.numbers), device=self.numbers.device)
        columns = []
        for stride, size, along in (
            (y_count * z_count, x_count, self.numbers // (y_count * z_count)),
            (z_count, y_count, self.numbers // z_count % y_count),
            (1, z_count, self.numbers % z_count),
        ):
            for step, possible in ((-stride, along > 0), (stride, along < size - 1)):
                row = self.rows((self.numbers + step).clamp(0, self.lattice.size - 1))
                columns.append(torch.where(possible & (row >= 0), row, own))
        return torch.stack(columns, 1)


class Decoder(nn.Module):
    """The tiny MLP: features of g at a point → correction in Å; zero before training."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        first, second, last = nn.Linear(channels, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """features f4[N,channels] → f4[N] Å."""
        return self.layers(features)[:, 0]


# Columns of the feature table: g, its gradient, its Laplacian, the band's own share; static channels follow.
VALUE, SHARE, FIXED = 0, 5, 6


class FastField(Field):
    """f(x, t) of preset `fast`; see the module's text."""

    kind = "fast"

    def __init__(
        self,
        motion: Motion,
        band: NarrowBand,
        factor: int,
        coarse: LowRankBasis,
        fine: LowRankBasis,
        static: torch.Tensor,
        decoder: Decoder,
        latent: torch.Tensor,
        frame: UnitCube,
        extent: NDArray[np.float32],
        clearance: float,
        report: dict[str, Any],
    ) -> None:
        """factor: fine spacings per coarse one; static: f4[band.count,C]; latent: z f4[D]; the rest as `Field` says.

        `smooth` and `smooth_beyond`, the modes' temporal widths in states inside and outside the training range,
        and `lift`, how far in Å the surface is moved outwards where it is an average of states, are 0 until they are
        set; `missed` is the share of points near held-out surfaces that the other states put on the wrong side, where
        that was looked at.
        """
        self.motion, self.band, self.factor = motion, band, factor
        self.coarse_lattice = band.lattice.coarser(factor)
        self.coarse, self.fine, self.static, self.decoder, self.latent = coarse, fine, static, decoder, latent
        self.frame, self.extent, self.clearance, self.report = frame, extent, clearance, report
        self.smooth = 0.0
        self.smooth_beyond = 0.0
        self.lift = 0.0
        self.missed: float | None = None
        self.device = static.device
        nodes = band.lattice.nodes(band.numbers)
        self._coarse_index, self._coarse_weight = self.coarse_lattice.corners(nodes)

    def _at(self, time: float, smooth: float | None) -> FastFieldAtTime:
        motion = self.motion
        aligned, pose = motion.aligned_atoms(time, smooth), motion.pose(time)
        atoms = motion.placed(aligned, *pose)
        own = self.smooth if motion.lead(time) == 0.0 else self.smooth_beyond
        width = own if smooth is None else smooth
        # Chosen for a mean over many states, it is not for straight lines; a state that is held is as it was.
        averaged = width > 0.0 or (self.smooth == 0.0 and motion.lead(time) == 0.0)
        weights = torch.as_tensor(motion.weights(time, width), dtype=torch.float32, device=self.device)
        coarse, table = self.table(weights)
        return FastFieldAtTime(
            time=time,
            extrapolated=motion.lead(time) != 0.0,
            expected_error=motion.expected_error(time),
            atoms=atoms,
            box=scene_box(atoms, self.clearance, self.extent),
            device=self.device,
            field=self,
            warp=motion.warp_of(aligned, *pose, self.device),
            coarse=coarse,
            table=torch.cat([table, self.padded_static()], 1),
            lift=self.lift * motion.away(time) if averaged else 0.0,
        )

    def table(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Coarse values f4[coarse nodes,1] and fine features f4[rows,FIXED], of states weighted f4[S]."""
        coarse = self.coarse.mix(weights)[:, None]
        value = gather(coarse, self._coarse_index, self._coarse_weight)[:, 0]
        value[: self.band.count] += self.fine.mix(weights)
        around = value.index_select(0, self.band.neighbours.view(-1)).view(-1, 6)
        spacing = self.band.lattice.spacing
        gradient = (around[:, 1::2] - around[:, 0::2]) / (2.0 * spacing)
        laplacian = (around.sum(1) - 6.0 * value) / spacing
        share = torch.zeros_like(value)
        share[: self.band.count] = 1.0
        return coarse, torch.cat([value[:, None], gradient, laplacian[:, None], share[:, None]], 1)

    def padded_static(self) -> torch.Tensor:
        """The static channels for all rows, zero in the halo: f4[rows,C]."""
        return nn.functional.pad(self.static, (0, 0, 0, len(self.band.numbers) - self.band.count))

    def decode(self, features: torch.Tensor) -> torch.Tensor:
        """Features f4[N,FIXED+C] at points → f f4[N] in Å."""
        inputs = torch.cat([features[:, :SHARE], features[:, FIXED:], self.latent.expand(len(features), -1)], 1)
        return features[:, VALUE] + features[:, SHARE] * self.decoder(inputs)

    def material_distance(self, coarse: torch.Tensor, table: torch.Tensor, xi: torch.Tensor) -> torch.Tensor:
        """f at material coordinates ξ f4[N,3] Å → f4[N] Å, for what `table` gives, with or without static channels."""
        if table.shape[1] == FIXED:
            table = torch.cat([table, self.padded_static()], 1)
        band, lattice = self.band, self.coarse_lattice
        index, weight = band.lattice.corners(xi)
        rows = band.rows(index)
        beyond = torch.linalg.norm(xi - lattice.clamp(xi), dim=1)
        fine = (rows.amin(1) >= 0) & (beyond == 0.0)
        picked, rest = torch.nonzero(fine)[:, 0], torch.nonzero(~fine)[:, 0]
        if not len(rest):
            return self.decode(gather(table, rows, weight))
        near = self.decode(gather(table, rows.index_select(0, picked), weight.index_select(0, picked)))
        # Beyond the box the distance grows by the way to the box.
        far = lattice.interpolate(coarse, xi.index_select(0, rest))[:, 0] + beyond.index_select(0, rest)
        found = xi.new_empty(len(xi))
        found[picked], found[rest] = near, far
        return found

    def steadied(self) -> FastField:
        gap = self.motion.gap
        steady = copy.copy(self)
        # Where straight lines do best between the states, there is a width all the same.
        steady.motion = dataclasses.replace(self.motion, steady=True, smooth=max(self.motion.smooth, gap))
        steady.smooth = max(self.smooth, gap)
        return steady

    def toward(self, other: Field, share: float) -> Field:
        if not isinstance(other, FastField) or other.decoder is not self.decoder:
            return super().toward(other, share)
        return Morph(self, other, share)

    def tensors(self) -> dict[str, torch.Tensor]:
        tensors = {
            "coarse_modes": self.coarse.modes,
            "coarse_coefficients": self.coarse.coefficients,
            "fine_modes": self.fine.modes,
            "fine_coefficients": self.fine.coefficients,
            "static": self.static,
            "latent": self.latent,
            "band": torch.as_tensor(np.packbits(self.band.inside.cpu().numpy())),
        }
        return tensors | {f"decoder.{name}": value for name, value in self.decoder.state_dict().items()}


@dataclass(eq=False)
class FastFieldAtTime(FieldAtTime):
    """One time of a FastField. coarse: f4[coarse nodes,1] Å; table: f4[rows,FIXED+C]; lift: Å."""

    field: FastField
    warp: Warp
    coarse: torch.Tensor
    table: torch.Tensor
    lift: float

    def _distance(self, x: torch.Tensor) -> torch.Tensor:
        return self.field.material_distance(self.coarse, self.table, self.warp(x)) - self.lift


class Morph(Field):
    """The way from one trajectory of a family to another, `share` of it done.

    Both lattices are looked up in material coordinates of atoms mixed between the two, and their values are mixed.
    Where the atoms are not the same number, which tells molecules apart, nothing can be carried over: the distances
    are mixed in place, with the trajectories' centres on one another and turned as they are in the scene.
    """

    kind = "morph"

    def __init__(self, first: FastField, second: FastField, share: float) -> None:
        self.first, self.second, self.share = first, second, share
        self.motion, self.clock, self.smooth, self.device = first.motion, first.clock, first.smooth, first.device
        self.frame, self.clearance = first.frame, max(first.clearance, second.clearance)
        self.report = first.report
        shift = second.motion.origin - first.motion.origin
        self.extent = np.stack(
            [
                np.minimum(first.extent[0], second.extent[0] - shift),
                np.maximum(first.extent[1], second.extent[1] - shift),
            ]
        ).astype(np.float32)

    def steadied(self) -> Morph:
        return Morph(self.first.steadied(), self.second.steadied(), self.share)

    def _at(self, time: float, smooth: float | None) -> MorphAtTime:
        first, second, share = self.first, self.second, self.share
        (low, high), (other_low, other_high) = (one.motion.states[[0, -1]] for one in (first, second))
        other_time = other_low + (time - low) * ((other_high - other_low) / (high - low) if high > low else 0.0)
        here, there = first._at(time, smooth), second._at(other_time, smooth)
        rotation, translation = first.motion.pose(time)
        own, others = first.motion.aligned_atoms(time, smooth), second.motion.aligned_atoms(other_time, smooth)
        turn, shift = np.eye(3), np.zeros(3)
        atoms = None
        if own is not None and others is not None and own.shape == others.shape:
            if len(own) >= 3:
                turn, shift = superpose(others.astype(np.float64), own.astype(np.float64))
            own = ((1.0 - share) * own + share * (others @ turn.T + shift)).astype(np.float32)
            others = ((own - shift) @ turn).astype(np.float32)
            atoms = ((own.astype(np.float64) - translation) @ rotation).astype(np.float32)
        there.warp = second.motion.warp_of(others, turn.T @ rotation, (translation - shift) @ turn, self.device)
        here.warp = first.motion.warp_of(own, rotation, translation, self.device)
        return MorphAtTime(
            time=time,
            extrapolated=here.extrapolated,
            expected_error=here.expected_error,
            atoms=atoms,
            box=scene_box(atoms, self.clearance, self.extent),
            device=self.device,
            parts=((1.0 - share, here), (share, there)),
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        raise TypeError("the way between two trajectories is not saved: save their family")


@dataclass(eq=False)
class MorphAtTime(FieldAtTime):
    """One time of a Morph: parts are slices with their shares, which sum to 1."""

    parts: tuple[tuple[float, FastFieldAtTime], ...]

    def _distance(self, x: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(x), device=x.device)
        for share, part in self.parts:
            if share > 0.0:
                found += share * part._distance(x)
        return found
