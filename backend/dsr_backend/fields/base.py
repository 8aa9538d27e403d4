"""Base of all fields: a function f(x, t), evaluated one time at a time."""

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
# Å. PyMOL's normals are averages over its dots: differences of f over about this width agree with them best (NC of
# preset fast on AdK 0.9921, 0.9915 over 0.6 Å, 0.988 over 0.8 Å). A finer lattice has finer normals.
NORMAL_WIDTH = 0.5
# Unit vectors to the four corners of a tetrahedron.
TETRAHEDRON = tuple(tuple(s / 3**0.5 for s in signs) for signs in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)))


class Field(ABC):
    """f(x, t): signed distance in Å at scene point x (Å) and time t (a state number), positive outside.

    smooth: temporal width in states; motion: the molecule in time; time_axis: the times of the states where they are
    uneven, by which `motion` goes, while all else goes by state numbers; frame: normalised coordinates of the metrics;
    extent: f4[2,3] Å, the box of all training points with 1 Å around it; clearance: distance in Å that the surface may
    reach beyond the atoms' box; reach: greatest distance in Å from a point of the training surfaces to the nearest
    atom, inf where it is not known; report: figures of the fit, in plain JSON values.
    """

    kind: str
    smooth: float
    motion: Motion
    time_axis: TimeAxis | None = None
    frame: UnitCube
    extent: NDArray[np.float32]
    clearance: float
    reach: float = math.inf
    report: dict[str, Any]
    device: torch.device

    @property
    def time_range(self) -> tuple[float, float]:
        """The first and last training state; times outside are extrapolation."""
        first, last = self.states[0], self.states[-1]
        return first, last

    @property
    def states(self) -> list[float]:
        """The training states in rising order."""
        states = self.motion.states if self.time_axis is None else self.time_axis.state(self.motion.states).round(9)
        return [float(state) for state in states]

    def at(self, time: float, smooth: float | None = None) -> FieldAtTime:
        """Return the field at one time, a state number. `smooth` (states) replaces the field's own temporal width."""
        snapshot = self.at_motion_time(time if self.time_axis is None else float(self.time_axis(time)), smooth)
        snapshot.time, snapshot.reach = time, self.reach
        return snapshot

    @abstractmethod
    def at_motion_time(self, time: float, smooth: float | None) -> FieldAtTime:
        """Return the field at one time of `motion`, which differs from the state number where times are uneven."""

    def with_uniform_smoothing(self) -> Field:
        """Return the field smoothed over time at the states as it is between them.

        No feature of a single state then appears and disappears. A field that does not average returns itself.
        """
        return self

    @abstractmethod
    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all learned or known tensors by name, as a file stores them."""


@dataclass(eq=False)
class Family:
    """Several trajectories fitted together: one network θ, and one latent code z for each trajectory.

    members: their fields by name, in the order of the fit; report: figures of the fit, in plain JSON values, with
    `trajectories`, the members' own reports by name.
    """

    members: dict[str, Field]
    report: dict[str, Any]

    def member(self, name: str) -> Field:
        """Return the field of one trajectory. Raises ValueError, with all names, for an unknown name."""
        if name not in self.members:
            raise ValueError(f"there is no trajectory {name!r} in this family (there: {', '.join(self.members)})")
        return self.members[name]


@dataclass(eq=False)
class FieldAtTime(ABC):
    """f(·, t) at one time t.

    atoms: f4[A,3] Å in the scene at this time, or None; box: f4[2,3] Å, around the surface in the scene;
    expected_error: Å, back-tested, 0 inside the training range; reach: Å, as the field's: no point farther from all
    atoms is inside; normal_width: Å over which normals are differences of f.
    """

    time: float
    extrapolated: bool
    expected_error: float
    atoms: NDArray[np.float32] | None
    box: NDArray[np.float32]
    device: torch.device
    reach: float = dataclass_field(default=math.inf, kw_only=True)
    normal_width: float = dataclass_field(default=NORMAL_WIDTH, kw_only=True)

    @abstractmethod
    def evaluate(self, x: torch.Tensor) -> torch.Tensor:
        """Return f f4[N] (Å) at points x f4[N,3] (Å), all at once; `distance` limits the memory."""

    @torch.no_grad()
    def distance(self, x: torch.Tensor) -> torch.Tensor:
        """Return the signed distance f4[N] (Å) at points x f4[N,3] (Å), on the field's device."""
        if not len(x):
            return x.new_zeros(0)

        def in_chunks(size: int) -> torch.Tensor:
            return torch.cat([self.evaluate(x[start : start + size]) for start in range(0, len(x), size)])

        return retry_with_smaller_chunk(in_chunks, CHUNK)

    def gradient(self, x: torch.Tensor, step: float) -> torch.Tensor:
        """Return the gradient f4[N,3] of f at points x f4[N,3] (Å), averaged over about `step` Å.

        It comes from the differences over a tetrahedron of that radius.
        """
        corners = constant(TETRAHEDRON, torch.float32, x.device)
        values = self.distance((x[:, None] + step * corners).reshape(-1, 3)).reshape(-1, 4)
        # Σ e eᵀ over the four unit vectors is 4/3 of the identity.
        return values @ corners * (0.75 / step)


def scene_box(atoms: NDArray[np.float32] | None, clearance: float, extent: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the box f4[2,3] (Å) around the surface: `clearance` around atoms f4[A,3], or `extent` without atoms."""
    if atoms is None:
        return extent
    return np.stack([atoms.min(0) - clearance, atoms.max(0) + clearance])
