"""Paths between two states by their energy, with OpenMM: `method=minimised` and `method=targeted`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.molecule import Molecule

from ..motion.superpose import superpose_states
from . import filling
from .carry import carried_along
from .contract import Check
from .projection import BondProjection
from .refine import Minimiser
from .simulation.prepare import openmm_modules
from .simulation.targeted import FORCE_FIELD, TEMPERATURE, pulled
from .topology import Topology

Floats = NDArray[np.floating[Any]]
States = NDArray[np.float64]

METHODS = ("minimised", "targeted")
# Steps of the minimisation of each state of a path.
STEPS = 200


class EnergyPaths:
    """Fills gaps of one molecule by its energy."""

    def __init__(
        self, method: str, molecule: Molecule, topology: Topology, projection: BondProjection, seed: int, check: Check
    ) -> None:
        """Check the molecule; method: minimised or targeted.

        Raises ValueFault without OpenMM, and for residues that the force field does not have.
        """
        openmm_modules(f"method={method}")
        self._method, self._molecule, self._topology = method, molecule, topology
        self._projection, self._seed, self._check = projection, seed, check
        self._minimiser = Minimiser(molecule, topology.trace, STEPS)
        self._runs: list[tuple[float, float]] = []

    def path(self, gap: filling.Gap, fractions: Floats, progress: Callable[[float, str], None]) -> States:
        """Return states f8[F,A,3] (Å) at fractions of a gap, in the frame of its first state.

        progress: called with the fraction done, and its figures. Raises ValueFault where the run goes wrong.
        """
        return (self._minimised if self._method == "minimised" else self._targeted)(gap, fractions, progress)

    def notes(self) -> tuple[str, ...]:
        """Return lines for the user about the paths."""
        if self._method == "minimised":
            return ("the energy of each state was minimised; atoms of the trace (CA) were held near the path",)
        picoseconds = sum(run[0] for run in self._runs)
        left = max(run[1] for run in self._runs)
        return (
            f"targeted dynamics of {picoseconds:.0f} ps at {TEMPERATURE:.0f} K ({FORCE_FIELD}), far faster than the "
            f"real motion; heavy atoms came within {left:.1f} A of the last state, and were moved the rest of the way",
        )

    def _minimised(self, gap: filling.Gap, fractions: Floats, progress: Callable[[float, str], None]) -> States:
        far = gap.rmsd > filling.FAR
        path = filling.elastic(gap, fractions, self._check) if far else filling.straight(gap, fractions)
        states = []
        for number, state in enumerate(self._projection(path)):
            states.append(self._minimiser.minimised(state[None], self._check)[0])
            progress((number + 1) / len(path), f"state {number + 1} of {len(path)}")
        return np.stack(states)

    def _targeted(self, gap: filling.Gap, fractions: Floats, progress: Callable[[float, str], None]) -> States:
        run = pulled(
            self._molecule,
            gap.first,
            gap.last,
            len(fractions),
            self._seed + len(self._runs),
            self._check,
            lambda fraction, left: progress(fraction, f"{left:.1f} A left"),
        )
        self._runs.append((run.picoseconds, run.left))
        trace = self._topology.trace
        # The states and the end of the run; hydrogens that the force field names otherwise ride along.
        known = np.full(len(gap.first), -1, np.int64)
        known[run.atoms] = np.arange(len(run.atoms))
        all_atoms = carried_along(gap.first, trace, self._topology.rides_on(gap.first), run.states[:, known[trace]])
        all_atoms[:, run.atoms] = run.states
        all_atoms = superpose_states(all_atoms, gap.first, trace)
        end = superpose_states(gap.last[None], all_atoms[-1], trace)[0]
        path = all_atoms[:-1] + np.asarray(fractions)[:, None, None] * (end - all_atoms[-1])
        return self._projection(path)
