"""The field `fast`: modal narrow-band lattices in material coordinates, and a tiny MLP.

f(x, t) = g(ξ) + m(ξ) · MLP(g, ∇g, Δg, s)(ξ), ξ = ξ(x, t) the material coordinates of `motion.py`.

g is trilinear on a fine lattice whose nodes exist only in the band that some state's surface comes near, on
top of a coarse lattice that fills the box. Its node values at time t are Σ_k c_k(t) · mode_k, and c(t) mixes
the training states' coefficients by the weights of `Motion.weights`. The MLP decodes what a trilinear
function cannot show, from smooth features of g around the point (and static ones, s), and mostly mends
normals. m fades it out at the band's rim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..field import Field, Slice, scene_box
from ..lattice import Lattice, gather
from ..metrics import Frame
from ..motion import Motion, Warp

__all__ = ["FIXED", "MOST_NODES", "Band", "Decoder", "FastField", "FastSlice", "Modes"]

# Nodes of a fine lattice, band or not: 5 GiB of tables while a band is laid out. A box of 640 Å at 1 Å.
MOST_NODES = 2**28


@dataclass(frozen=True)
class Modes:
    """Node values of all training states as modes f4[K,nodes] (Å) times coefficients f4[S,K]."""

    modes: torch.Tensor
    coefficients: torch.Tensor

    @classmethod
    def of(cls, values: torch.Tensor, most: int) -> Modes:
        """Of values f4[S,nodes]: the states themselves, or the best `most` modes where these are fewer.

        Stored in half precision from here on, so that a field and its checkpoint are the same function.
        """
        count = len(values)
        if count <= most:
            modes, coefficients = values, torch.eye(count, device=values.device)
        else:
            # The eigenvectors of the S × S products give the singular vectors; nodes are many and states are
            # few.
            _, vectors = torch.linalg.eigh((values @ values.T).double())
            # Contiguous, as after loading: rounding differs by layout.
            coefficients = vectors[:, -most:].float().contiguous()
            modes = coefficients.T @ values
        return cls(modes.half().float(), coefficients)

    def mix(self, weights: torch.Tensor) -> torch.Tensor:
        """Node values f4[nodes] for weights f4[S] of the states."""
        return (weights @ self.coefficients) @ self.modes


class Band:
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
        self.row_of = torch.full((lattice.size,), -1, dtype=torch.int64, device=inside.device)
        self.row_of[self.numbers] = torch.arange(len(self.numbers), device=inside.device)
        self.neighbours = self._neighbours()

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
                row = self.row_of[(self.numbers + step).clamp(0, self.lattice.size - 1)]
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
        band: Band,
        factor: int,
        coarse: Modes,
        fine: Modes,
        static: torch.Tensor,
        decoder: Decoder,
        frame: Frame,
        extent: NDArray[np.float32],
        clearance: float,
        report: dict[str, Any],
    ) -> None:
        """factor: fine spacings per coarse one; static: f4[band.count,C]; the rest as `Field` says.

        `smooth` and `smooth_beyond`, the modes' temporal widths in states inside and outside the training range,
        are 0 until they are set.
        """
        self.motion, self.band, self.factor = motion, band, factor
        self.coarse_lattice = band.lattice.coarser(factor)
        self.coarse, self.fine, self.static, self.decoder = coarse, fine, static, decoder
        self.frame, self.extent, self.clearance, self.report = frame, extent, clearance, report
        self.smooth = 0.0
        self.smooth_beyond = 0.0
        self.device = static.device
        nodes = band.lattice.nodes(band.numbers)
        self._coarse_index, self._coarse_weight = self.coarse_lattice.corners(nodes)

    def at(self, time: float, smooth: float | None = None) -> FastSlice:
        motion = self.motion
        atoms = motion.scene_atoms(time, smooth)
        own = self.smooth if motion.lead(time) == 0.0 else self.smooth_beyond
        width = own if smooth is None else smooth
        weights = torch.as_tensor(motion.weights(time, width), dtype=torch.float32, device=self.device)
        coarse, table = self.table(weights)
        return FastSlice(
            time=time,
            extrapolated=motion.lead(time) != 0.0,
            expected_error=motion.expected_error(time),
            atoms=atoms,
            box=scene_box(atoms, self.clearance, self.extent),
            device=self.device,
            field=self,
            warp=motion.warp(time, self.device, smooth),
            coarse=coarse,
            table=torch.cat([table, self.padded_static()], 1),
        )

    def table(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Coarse values f4[coarse nodes,1] and fine features f4[rows,FIXED], of states weighted f4[S]."""
        coarse = self.coarse.mix(weights)[:, None]
        value = gather(coarse, self._coarse_index, self._coarse_weight)[:, 0]
        value[: self.band.count] += self.fine.mix(weights)
        around = value[self.band.neighbours]
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
        inputs = torch.cat([features[:, :SHARE], features[:, FIXED:]], 1)
        return features[:, VALUE] + features[:, SHARE] * self.decoder(inputs)

    def material_distance(self, coarse: torch.Tensor, table: torch.Tensor, xi: torch.Tensor) -> torch.Tensor:
        """f at material coordinates ξ f4[N,3] Å → f4[N] Å, for what `table` gives, with or without static channels."""
        if table.shape[1] == FIXED:
            table = torch.cat([table, self.padded_static()], 1)
        band, lattice = self.band, self.coarse_lattice
        index, weight = band.lattice.corners(xi)
        rows = band.row_of[index]
        beyond = torch.linalg.norm(xi - lattice.clamp(xi), dim=1)
        fine = (rows >= 0).all(1) & (beyond == 0.0)
        picked, rest = torch.nonzero(fine)[:, 0], torch.nonzero(~fine)[:, 0]
        near = self.decode(gather(table, rows[picked], weight[picked]))
        # Beyond the box the distance grows by the way to the box.
        far = lattice.interpolate(coarse, xi[rest])[:, 0] + beyond[rest]
        found = xi.new_empty(len(xi))
        found[picked], found[rest] = near, far
        return found

    def tensors(self) -> dict[str, torch.Tensor]:
        tensors = {
            "coarse_modes": self.coarse.modes.half(),
            "coarse_coefficients": self.coarse.coefficients,
            "fine_modes": self.fine.modes.half(),
            "fine_coefficients": self.fine.coefficients,
            "static": self.static,
            "band": torch.as_tensor(np.packbits(self.band.inside.cpu().numpy())),
        }
        return tensors | {f"decoder.{name}": value for name, value in self.decoder.state_dict().items()}


@dataclass(eq=False)
class FastSlice(Slice):
    """One time of a FastField. coarse: f4[coarse nodes,1] Å; table: f4[rows,FIXED+C]."""

    field: FastField
    warp: Warp
    coarse: torch.Tensor
    table: torch.Tensor

    def _distance(self, x: torch.Tensor) -> torch.Tensor:
        return self.field.material_distance(self.coarse, self.table, self.warp(x))
