"""The field `paper`: the network of the DSR paper, f(x, t, z; θ) (Sun et al., NeurIPS 2023, section 3.2).

The network works in normalised space: the middle of the trajectory's box is at 0, and one unit is the same number of Å
for all trajectories of a family. t runs from −1 to 1 over the training states. There are no material coordinates: the
network alone decides how the surface moves, between the states and past them.
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
# Components of x. The input is (x, t) ⊕ z; its part (t, z), which all points of one time share, is called the code.
SPACE = 3


class Network(nn.Module):
    """f(x, t, z; θ): an MLP with softplus of β = 100 between its layers.

    The input (x, t) ⊕ z enters the first layer. It enters the middle layer too, joined to the hidden units and divided
    by √2.

    The initialisation is that of IGR, f ≈ |x| − radius: weights N(0, 2 / outputs), biases 0, and √π / √width in the
    last layer. IGR's latent codes start at 0, so that f does not depend on them. Here z does not start at 0, so the
    weights of t and z do. The paper draws z from N(0, 1). It enters divided by √latent, so that it is about as long as
    x: undivided, its 192 weights together would move a unit by the whole range of x in a step or two of Adam (loss
    after 500 steps on AdK, 256 units, rate 10⁻³: 0.75 instead of 0.56). The released code draws z with that length.
    """

    def __init__(self, width: int = 512, layers: int = 8, latent: int = 192, radius: float = 1.0) -> None:
        """width: hidden units; layers: hidden layers; latent: length of z; radius: of the first sphere, normalised.

        Raises ValueError if the input does not fit into the middle layer.
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
            for entry in (0, self.middle):
                linears[entry].weight[:, -(1 + latent) :] = 0.0
            nn.init.normal_(linears[-1].weight, (np.pi / width) ** 0.5, 1e-5)
            nn.init.constant_(linears[-1].bias, -radius)

    def linears(self) -> list[nn.Linear]:
        """Return the linear layers in order, the output layer last."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """Return f [T,N] at points x [T,N,3] of T times with codes (t, z) [T,1+latent]; all normalised."""
        code = torch.cat([code[:, :1], code[:, 1:] * self.latent**-0.5], 1)
        first, *hidden, last = self.linears()
        h = softplus(_input_term(x, code, first.weight, first.bias), BETA)
        for number, layer in enumerate(hidden, 1):
            if number == self.middle:
                weight = layer.weight * 0.5**0.5
                units = h.shape[-1]
                h = linear(h, weight[:, :units]) + _input_term(x, code, weight[:, units:], layer.bias)
            else:
                h = linear(h, layer.weight, layer.bias)
            h = softplus(h, BETA)
        values: torch.Tensor = linear(h, last.weight, last.bias)[..., 0]
        return values


def _input_term(x: torch.Tensor, code: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return the input's contribution [T,N,units] to a layer; the code's product is computed once for all points."""
    return linear(x, weight[:, :SPACE]) + linear(code, weight[:, SPACE:], bias)[:, None]


class PaperField(Field):
    """f(x, t) of preset `paper`.

    `smooth` is 0 and ignored: the network alone makes the times between the states. Past the training states the
    surface is the network's own. No back-test covers it, so its expected error is NaN, and the atoms stay at the last
    state.
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
        """network: one object for all fields of a family; z: f4[latent]; scale: normalised units of the network per Å,
        one for a family, while `frame` is the trajectory's own; motion: unaligned, with forecasts that hold the last
        state; the others as in `Field`."""
        self.network, self.z, self.scale = network, z, scale
        self.motion, self.frame, self.extent, self.clearance, self.report = motion, frame, extent, clearance, report
        self.smooth = 0.0
        self.device = z.device
        # Factor of the normalised time: a trajectory of one state was fitted at t = 0 alone.
        self.time_factor = 0.0 if len(motion.states) == 1 else 1.0

    def normalised_time(self, time: float) -> float:
        """Return the normalised time of a time of `motion`; see the function of this name."""
        return normalised_time(time, *self.motion.states[[0, -1]])

    def time_at(self, normalised: float) -> float:
        """Return the time of `motion` at a normalised time; with one state, the time of that state."""
        first, last = (float(time) for time in self.motion.states[[0, -1]])
        return first + 0.5 * (normalised + 1.0) * (last - first)

    def at_motion_time(self, time: float, smooth: float | None) -> PaperFieldAtTime:
        """Return the field at one time of its motion; `smooth` is ignored."""
        motion = self.motion
        # Between two stretches the network would blend across the cut.
        stretch_time = motion.kernel.stretch(time).time
        atoms = motion.scene_atoms(stretch_time, 0.0)
        box = scene_box(atoms, self.clearance, self.extent)
        extrapolated = motion.kernel.lead(time) != 0.0
        if extrapolated:
            # The surface may move on while the atoms stay at the last state.
            box = np.stack([np.minimum(box[0], self.extent[0]), np.maximum(box[1], self.extent[1])])
        t = torch.tensor(
            [self.time_factor * self.normalised_time(stretch_time)], dtype=torch.float32, device=self.device
        )
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

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return z and the network's weights, the latter with names that begin with `network.`."""
        return {"z": self.z} | {f"network.{name}": value for name, value in self.network.state_dict().items()}


def normalised_time(time: float, first: float, last: float) -> float:
    """Return −1 at the first training state, 1 at the last, linear between and beyond; 0 with a single state."""
    return 2.0 * (time - first) / (last - first) - 1.0 if last > first else 0.0


@dataclass(eq=False)
class PaperFieldAtTime(FieldAtTime):
    """One time of a PaperField. code: (t, z) f4[1+latent], normalised."""

    field: PaperField
    code: torch.Tensor

    def evaluate(self, x: torch.Tensor) -> torch.Tensor:
        """Return f f4[N] (Å) at scene points x f4[N,3] (Å)."""
        field = self.field
        # In float64, so that coordinates of 10⁵ Å keep their digits.
        centre = torch.as_tensor(field.frame.centre, device=x.device)
        unit = ((x.double() - centre) * field.scale).float()
        distance: torch.Tensor = field.network(unit[None], self.code[None])[0] / field.scale
        return distance


def interpolate_fields(first: PaperField, second: Field, fraction: float) -> PaperField:
    """Return the field at a fraction (0 to 1) of the way from one field of a family to another.

    The codes z, the positions and the atoms are interpolated, the atoms only where both fields have the same number.
    Raises ValueError where the two do not share a network.
    """
    if not (
        isinstance(second, PaperField) and first.scale == second.scale and _same_network(first.network, second.network)
    ):
        raise ValueError("the two were not fitted together: their networks differ")

    def mix(start: Any, end: Any) -> Any:
        return (1.0 - fraction) * start + fraction * end

    frame = UnitCube(mix(first.frame.centre, second.frame.centre), mix(first.frame.scale, second.frame.scale))
    motion = _interpolate_motion(first, second, fraction)
    extent, clearance = _interpolate_extent(first, second, fraction, motion, frame)
    area = mix(first.report.get("area", 0.0), second.report.get("area", 0.0))
    report = first.report | {"area": area, "share": fraction}
    z = mix(first.z, second.z.to(first.device))
    field = PaperField(first.network, z, first.scale, motion, frame, extent, clearance, report)
    field.time_factor, field.time_axis = mix(first.time_factor, second.time_factor), first.time_axis
    return field


def _interpolate_extent(
    first: PaperField, second: PaperField, fraction: float, motion: Motion, frame: UnitCube
) -> tuple[NDArray[np.float32], float]:
    """Return extent f4[2,3] and clearance (Å) of the field between two; motion and frame: those of that field."""
    if fraction == 0.0:
        return first.extent, first.clearance
    if fraction == 1.0:
        return second.extent, second.clearance
    boxes = [field.extent - field.frame.centre for field in (first, second)]
    union = np.stack([np.minimum(boxes[0][0], boxes[1][0]), np.maximum(boxes[0][1], boxes[1][1])])
    extent = (union + frame.centre).astype(np.float32)
    clearance = max(first.clearance, second.clearance)
    # Atoms on the way between two molecules crowd together, and the surface does not.
    for time in motion.states:
        atoms = motion.scene_atoms(float(time))
        if atoms is not None:
            reach = max((atoms.min(0) - extent[0]).max(), (extent[1] - atoms.max(0)).max())
            clearance = max(clearance, float(reach))
    return extent, clearance


def _interpolate_motion(first: PaperField, second: PaperField, fraction: float) -> Motion:
    """Return the atoms at a fraction of the way, at the states of both fields; no atoms where their numbers differ."""
    if fraction == 0.0:
        return first.motion
    low, high = first.motion.states[[0, -1]]
    times = list(first.motion.states)
    if high > low:
        times += [first.time_at(second.normalised_time(float(state))) for state in second.motion.states]
    # Rounding merges states that differ by rounding errors alone.
    states = np.unique(np.clip(np.round(times, 9), low, high))
    atoms = []
    for state in states:
        start = first.motion.scene_atoms(float(state))
        end = second.motion.scene_atoms(second.time_at(first.normalised_time(float(state))))
        if end is not None and fraction == 1.0:
            atoms.append(end)
        elif end is not None and start is not None and start.shape == end.shape:
            atoms.append((1.0 - fraction) * start + fraction * end)
    kernel = first.motion.kernel
    stretches = [kernel.stretch(float(state)).first for state in states]
    breaks = [int(k) + 1 for k in np.flatnonzero(np.diff(stretches))]
    return Motion.from_states(states, np.stack(atoms) if atoms else None, align=False, breaks=breaks)


def _same_network(first: Network, second: Network) -> bool:
    """Return whether two networks are one object or have equal weights."""
    if first is second:
        return True
    weights, second_weights = first.state_dict(), second.state_dict()
    return weights.keys() == second_weights.keys() and all(
        torch.equal(weights[name], second_weights[name].to(weights[name].device)) for name in weights
    )
