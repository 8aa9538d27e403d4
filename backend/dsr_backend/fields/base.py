"""What every fitted field is: a function f(x, t), asked one time at a time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..geometry.unit_cube import UnitCube
from ..motion.motion import Motion
from ..motion.time_axis import TimeAxis
from ..runtime.device import constant, retry_with_smaller_chunk

CHUNK = 65_536
# The four directions to the corners of a tetrahedron, unit vectors.
TETRAHEDRON = tuple(tuple(s / 3**0.5 for s in signs) for signs in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)))


class Field(ABC):
    """f(x, t): signed distance in Å at scene point x (Å) and time t (a state number), positive outside.

    smooth: temporal width in states; clock: when the states were, where they are uneven in time: `motion` then goes by
    its times, and all else by state numbers; frame: that of the metrics; extent: f4[2,3] Å, the box of all training
    points with 1 Å around it; clearance: Å that the surface may reach beyond the atoms' box; reach: Å from any
    point of the training surfaces to an atom at most, inf where it is not known; report: how the fit
    went, in plain JSON values.
    """

    kind: str
    smooth: float
    motion: Motion
    clock: TimeAxis | None = None
    frame: UnitCube
    extent: NDArray[np.float32]
    clearance: float
    reach: float = math.inf
    report: dict[str, Any]
    device: torch.device

    @property
    def time_range(self) -> tuple[float, float]:
        """First and last training state; times outside are extrapolation."""
        first, last = self.states[0], self.states[-1]
        return first, last

    @property
    def states(self) -> list[float]:
        """The training states, rising."""
        found = self.motion.states if self.clock is None else self.clock.state(self.motion.states).round(9)
        return [float(state) for state in found]

    def at(self, time: float, smooth: float | None = None) -> FieldAtTime:
        """The field at one time, a state number. `smooth` (states) replaces the field's own temporal width."""
        part = self._at(time if self.clock is None else float(self.clock(time)), smooth)
        part.time, part.reach = time, self.reach
        return part

    @abstractmethod
    def _at(self, time: float, smooth: float | None) -> FieldAtTime:
        """`at` by the times that `motion` goes by."""

    def toward(self, other: Field, share: float) -> Field:
        """The field `share` (0 to 1) of the way from this one to `other`, another trajectory of its family.

        Its times are this field's; `other` is taken at the same place of its own range. Raises ValueError where the
        two were not fitted together.
        """
        raise ValueError("these two trajectories were not fitted together: fit them as one family")

    def steadied(self) -> Field:
        """The same function, averaged over time at the states as it is between them, so that nothing of single states
        comes and goes; the field itself where it does not average."""
        return self

    @abstractmethod
    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything learned or known, by name: what a checkpoint holds."""


@dataclass(eq=False)
class Family:
    """Several trajectories fitted together: one network θ, and one latent code z for each of them.

    members: their fields by name, in the order they were given; report: how the fit went, in plain JSON values, with
    `trajectories`, the members' own reports by name.
    """

    members: dict[str, Field]
    report: dict[str, Any]

    def member(self, name: str) -> Field:
        """The field of one trajectory. Raises ValueError, naming those that there are."""
        if name not in self.members:
            raise ValueError(f"there is no trajectory {name!r} in this family (there: {', '.join(self.members)})")
        return self.members[name]

    def between(self, first: str, second: str, share: float) -> Field:
        """The field `share` of the way from trajectory `first` to `second`: latent interpolation.

        Raises ValueError for a share that is not 0 to 1 and for an unknown name.
        """
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share {share!r} must lie between 0 ({first}) and 1 ({second})")
        return self.member(first).toward(self.member(second), share)


@dataclass(eq=False)
class FieldAtTime(ABC):
    """f(·, t) at one time t.

    atoms: f4[A,3] Å in the scene at this time, or None; box: f4[2,3] Å, around the surface in the scene;
    expected_error: Å, back-tested, 0 inside the training range; reach: Å, as the field's: nothing
    farther from all atoms is inside.
    """

    time: float
    extrapolated: bool
    expected_error: float
    atoms: NDArray[np.float32] | None
    box: NDArray[np.float32]
    device: torch.device
    reach: float = dataclass_field(default=math.inf, kw_only=True)

    @abstractmethod
    def _distance(self, x: torch.Tensor) -> torch.Tensor:
        """f at x f4[N,3] Å → f4[N] Å."""

    @torch.no_grad()
    def distance(self, x: torch.Tensor) -> torch.Tensor:
        """Signed distance f4[N] in Å at points x f4[N,3] Å, on the field's device."""
        if not len(x):
            return x.new_zeros(0)
        return retry_with_smaller_chunk(
            lambda size: torch.cat([self._distance(chunk) for chunk in x.split(size)]), CHUNK
        )

    def gradient(self, x: torch.Tensor, step: float) -> torch.Tensor:
        """Gradient f4[N,3] of f at points x f4[N,3] Å, averaged over about `step` Å.

        From the differences over a tetrahedron of that radius.
        """
        corners = constant(TETRAHEDRON, torch.float32, x.device)
        around = self.distance((x[:, None] + step * corners).reshape(-1, 3)).reshape(-1, 4)
        # Σ e eᵀ over the four unit vectors is 4/3 of the identity.
        return around @ corners * (0.75 / step)


def scene_box(atoms: NDArray[np.float32] | None, clearance: float, extent: NDArray[np.float32]) -> NDArray[np.float32]:
    """Box f4[2,3] in Å around the surface: `clearance` around atoms f4[A,3], or `extent` without atoms."""
    if atoms is None:
        return extent
    return np.stack([atoms.min(0) - clearance, atoms.max(0) + clearance])
