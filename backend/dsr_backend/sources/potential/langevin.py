"""Langevin dynamics of beads: many replicas in one batch (BAOAB)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch

from .priors import BOLTZMANN

MASS = 12.0
"""amu of each bead."""
FRICTION = 1.0
"""Per ps; 0 keeps the energy."""
TIME_UNIT = 48.88821
"""fs in √(amu Å² / (kcal/mol))."""
STEP = 10.0
"""fs."""
LONGEST_BOND = 5.5
"""Å. A replica with a longer bond has flown apart."""

Force = Callable[[torch.Tensor], torch.Tensor]


class Langevin:
    """Replicas under way: positions x [R,N,3] in Å, velocities v in Å per TIME_UNIT."""

    def __init__(
        self,
        force: Force,
        x: torch.Tensor,
        temperature: float,
        generator: torch.Generator,
        v: torch.Tensor | None = None,
    ) -> None:
        """Begin. temperature: K. generator: of the positions' device. v: None draws it at the temperature."""
        self._force, self._generator = force, generator
        self._thermal = BOLTZMANN * temperature
        self._dt = STEP / TIME_UNIT
        self._decay = math.exp(-FRICTION * 1e-3 * STEP)
        self.x = x.clone()
        self.v = self._noise() * math.sqrt(self._thermal / MASS) if v is None else v.clone()
        self._f = force(self.x)

    def _noise(self) -> torch.Tensor:
        return torch.randn(self.x.shape, generator=self._generator, dtype=self.x.dtype, device=self.x.device)

    def copy(self) -> Langevin:
        """Return the same replicas with random numbers of their own: these here stay as they are."""
        twin = copy.copy(self)
        twin._generator = torch.Generator(self.x.device).manual_seed(0)
        twin.x, twin.v, twin._f = self.x.clone(), self.v.clone(), self._f.clone()
        return twin

    def run(self, steps: int) -> None:
        """Advance all replicas."""
        half = 0.5 * self._dt
        kick = math.sqrt((1.0 - self._decay**2) * self._thermal / MASS)
        for _ in range(steps):
            self.v += half / MASS * self._f
            self.x = self.x + half * self.v
            self.v = self._decay * self.v + (kick * self._noise() if kick else 0.0)
            self.x = self.x + half * self.v
            self._f = self._force(self.x)
            self.v += half / MASS * self._f

    def flown_apart(self, bonds: torch.Tensor) -> torch.Tensor:
        """Whether each replica [R] has a bond [K,2] that is too long, or no finite position."""
        lengths = (self.x[:, bonds[:, 0]] - self.x[:, bonds[:, 1]]).norm(dim=-1)
        lost: torch.Tensor = ~(lengths < LONGEST_BOND).all(1)
        return lost

    def restart(self, replicas: torch.Tensor, x: torch.Tensor) -> None:
        """Put replicas bool[R] to positions [M,N,3], with new velocities."""
        self.x[replicas] = x
        fresh = self._noise() * math.sqrt(self._thermal / MASS)
        self.v[replicas] = fresh[replicas]
        self._f = self._force(self.x)
