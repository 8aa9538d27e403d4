"""The field `paper`: the network of the DSR paper, f(x, t, z; θ) (Sun et al., NeurIPS 2023, section 3.2).

Inside, space is normalised: the middle of the trajectory's box is at 0, and one unit is the same number of Å for all
trajectories of a family. t runs from −1 to 1 over the training states. There are no material coordinates here: the
network alone says how the surface moves, between the states and past them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import linear, softplus

from ..geometry.unit_cube import UnitCube
from ..motion.motion import Motion
from .base import Field, FieldAtTime, scene_box

BETA = 100.0
# The input is (x, t) ⊕ z, and what is one for all points of a time, (t, z), is its code.
SPACE = 3


class Network(nn.Module):
    """f(x, t, z; θ): an MLP with softplus of β = 100 between its layers.

    The input (x, t) ⊕ z enters the first layer and, joined to the hidden units and divided by √2, the middle one.

    The start is that of IGR, f ≈ |x| − radius: weights N(0, 2 / outputs), biases 0, and √π / √width in the last layer.
    IGR's latent codes are 0 at the start, so that f does not see them; here z is not, so it is the weights of t and z
    that start at 0. z, which the paper draws from N(0, 1), enters divided by √latent, so that it is about as long as x:
    as it is, its 192 weights together would move a unit by the whole range of x in a step or two of Adam (loss after
    500 steps on AdK, 256 units, rate 10⁻³: 0.75 against 0.56). The released code draws z that short.
    """

    def __init__(self, width: int = 512, layers: int = 8, latent: int = 192, radius: float = 1.0) -> None:
        """width: hidden units; layers: hidden layers; latent: length of z; radius: of the first sphere, normalised.

        Raises ValueError where the input does not fit into the middle layer.
        """
        super().__init__()
        inputs = SPACE + 1 + latent
        if width <= inputs or layers < 2:
            raise ValueError(f"{layers} layers of {width} units take no input of {inputs} in the middle")
        self.latent, self.middle = latent, layers // 2
        outputs = [width] * layers + [1]
        outputs[self.middle - 1] -= inputs
        ins = [inputs] + [width] * layers
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(ins, outputs, strict=True))
        linears = self.linears()
        with torch.no_grad():
            for layer, count in zip(linears, outputs, strict=True):
                nn.init.normal_(layer.weight, 0.0, (2.0 / count) ** 0.5)
                nn.init.zeros_(layer.bias)
            for entered in (0, self.middle):
                linears[entered].weight[:, -(1 + latent) :] = 0.0
            nn.init.normal_(linears[-1].weight, (np.pi / width) ** 0.5, 1e-5)
            nn.init.constant_(linears[-1].bias, -radius)

    def linears(self) -> list[nn.Linear]:
        """The maps from layer to layer, the output's last."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """f [T,N] at points x [T,N,3] of T times with codes (t, z) [T,1+latent]; all normalised."""
        code = torch.cat([code[:, :1], code[:, 1:] * self.latent**-0.5], 1)
        first, *hidden, last = self.linears()
        h = softplus(_entering(x, code, first.weight, first.bias), BETA)
        for number, layer in enumerate(hidden, 1):
            if number == self.middle:
                weight = layer.weight * 0.5**0.5
                own = h.shape[-1]
                h = linear(h, weight[:, :own]) + _entering(x, code, weight[:, own:], layer.bias)
            else:
                h = linear(h, layer.weight, layer.bias)
            h = softplus(h, BETA)
        return linear(h, last.weight, last.bias)[..., 0]


def _entering(x: torch.Tensor, code: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """What the input adds to a layer. The code is one for all points of a time, so its product is made once."""
    return linear(x, weight[:, :SPACE]) + linear(code, weight[:, SPACE:], bias)[:, None]


class PaperField(Field):
    """f(x, t) of preset `paper`.

    To make one again, from a checkpoint say: `network` is a `Network` of the same width, layers and latent (they are
    attributes and shapes of it) that has got its state_dict, which `tensors` names `network.…`; `z` f4[latent] is the
    code; `scale` the normalised units per Å of the network, the same for a whole family, while `frame` is the
    trajectory's own as in the metrics; `motion` = Motion.of(states, atoms, align=False), whose forecasts hold. The
    rest is as `Field` says. Fields of one family share one `Network`.

    `smooth` is 0 and is ignored: the network alone makes the times between the states. Past the training states the
    surface is the network's own, which nothing has back-tested, so that its expected error is NaN; the atoms stay
    where the last state has them.
    """

    kind = "paper"

    def __init__(
        self,
        network: Network,
        z: torch.Tensor,
        scale: float,
        motion: Motion,
        frame: UnitCube,
        extent: NDArray[np.float32],
        clearance: float,
        report: dict[str, Any],
    ) -> None:
        self.network, self.z, self.scale = network, z, scale
        self.motion, self.frame, self.extent, self.clearance, self.report = motion, frame, extent, clearance, report
        self.smooth = 0.0
        self.device = z.device
        # How much of its time the network is told: a trajectory of one state was fitted at t = 0 alone.
        self.pace = 0.0 if len(motion.states) == 1 else 1.0

    def normalised_time(self, time: float) -> float:
        """Where a time of `motion` lies in the training range: see the function of this name."""
        return normalised_time(time, *self.motion.states[[0, -1]])

    def time_at(self, normalised: float) -> float:
        """The time of `motion` at a normalised time; that of the state itself where there is only one."""
        first, last = (float(time) for time in self.motion.states[[0, -1]])
        return first + 0.5 * (normalised + 1.0) * (last - first)

    def _at(self, time: float, smooth: float | None) -> PaperFieldAtTime:
        motion = self.motion
        atoms = motion.scene_atoms(time, 0.0)
        box = scene_box(atoms, self.clearance, self.extent)
        extrapolated = motion.lead(time) != 0.0
        if extrapolated:
            # The atoms stay at the last state, the surface may not.
            box = np.stack([np.minimum(box[0], self.extent[0]), np.maximum(box[1], self.extent[1])])
        t = torch.tensor([self.pace * self.normalised_time(time)], dtype=torch.float32, device=self.device)
        return PaperFieldAtTime(
            time=time,
            extrapolated=extrapolated,
            expected_error=motion.expected_error(time),
            atoms=atoms,
            box=box,
            device=self.device,
            field=self,
            code=torch.cat([t, self.z]),
        )

    def toward(self, other: Field, share: float) -> PaperField:
        """See `Field.toward`: z, the place and the atoms are mixed, the atoms where their numbers agree."""
        if not (isinstance(other, PaperField) and self.scale == other.scale and _same(self.network, other.network)):
            raise ValueError("the two were not fitted together: their networks differ")

        def mix(mine: Any, others: Any) -> Any:
            return (1.0 - share) * mine + share * others

        frame = UnitCube(mix(self.frame.centre, other.frame.centre), mix(self.frame.scale, other.frame.scale))
        motion = self._motion_toward(other, share)
        extent, clearance = self.extent, self.clearance
        if share > 0.0:
            extent, clearance = other.extent, other.clearance
        if 0.0 < share < 1.0:
            boxes = [field.extent - field.frame.centre for field in (self, other)]
            both = np.stack([np.minimum(boxes[0][0], boxes[1][0]), np.maximum(boxes[0][1], boxes[1][1])])
            extent = (both + frame.centre).astype(np.float32)
            clearance = max(self.clearance, other.clearance)
            # Atoms on the way between two molecules huddle together; the surface does not.
            for time in motion.states:
                atoms = motion.scene_atoms(float(time))
                if atoms is not None:
                    reach = max((atoms.min(0) - extent[0]).max(), (extent[1] - atoms.max(0)).max())
                    clearance = max(clearance, float(reach))
        area = mix(self.report.get("area", 0.0), other.report.get("area", 0.0))
        report = self.report | {"area": area, "share": share}
        z = mix(self.z, other.z.to(self.device))
        field = PaperField(self.network, z, self.scale, motion, frame, extent, clearance, report)
        field.pace, field.clock = mix(self.pace, other.pace), self.clock
        return field

    def _motion_toward(self, other: PaperField, share: float) -> Motion:
        """The atoms `share` of the way to the other's, at the states of both; None where their numbers differ."""
        if share == 0.0:
            return self.motion
        first, last = self.motion.states[[0, -1]]
        times = list(self.motion.states)
        if last > first:
            times += [self.time_at(other.normalised_time(float(state))) for state in other.motion.states]
        # What rounding alone keeps apart is one state.
        states = np.unique(np.clip(np.round(times, 9), first, last))
        atoms = []
        for state in states:
            mine = self.motion.scene_atoms(float(state))
            others = other.motion.scene_atoms(other.time_at(self.normalised_time(float(state))))
            if others is not None and share == 1.0:
                atoms.append(others)
            elif others is not None and mine is not None and mine.shape == others.shape:
                atoms.append((1.0 - share) * mine + share * others)
        return Motion.of(states, np.stack(atoms) if atoms else None, align=False)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"z": self.z} | {f"network.{name}": value for name, value in self.network.state_dict().items()}


def normalised_time(time: float, first: float, last: float) -> float:
    """−1 at the first training state, 1 at the last, linear between and beyond; 0 where there is only one."""
    return 2.0 * (time - first) / (last - first) - 1.0 if last > first else 0.0


def _same(one: Network, other: Network) -> bool:
    if one is other:
        return True
    mine, others = one.state_dict(), other.state_dict()
    return mine.keys() == others.keys() and all(torch.equal(mine[k], others[k].to(mine[k].device)) for k in mine)


@dataclass(eq=False)
class PaperFieldAtTime(FieldAtTime):
    """One time of a PaperField. code: (t, z) f4[1+latent], normalised."""

    field: PaperField
    code: torch.Tensor

    def _distance(self, x: torch.Tensor) -> torch.Tensor:
        field = self.field
        # In float64, so that coordinates of 10⁵ Å keep their digits.
        centre = torch.as_tensor(field.frame.centre, device=x.device)
        unit = ((x.double() - centre) * field.scale).float()
        return field.network(unit[None], self.code[None])[0] / field.scale
