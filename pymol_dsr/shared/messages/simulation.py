"""Messages of simulations: a molecule is prepared, with all its atoms, and then simulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from ..molecule import COLUMNS, Molecule
from ..simulation_options import SimulationOptions
from ..values import Value
from .base import FAR, Array, Result
from .sources import MoleculeRequest, SourceRequest


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedMolecule(Result):
    """A molecule with all atoms that a simulation needs, at least energy, and how fast it is simulated."""

    texts: Annotated[tuple[str, ...], Value("different texts among names, residues, chains and elements")]
    added: Annotated[tuple[str, ...], Value("atoms that were added, in lines for the user")] = ()
    ns_a_day: Annotated[float, Value("nanoseconds that a day of computing gives", above=0)]
    platform: Annotated[str, Value("OpenMM's platform")]
    states_kept: Annotated[int, Value("states of an earlier run that goes on", least=0)] = 0
    atoms: Annotated[
        NDArray[np.int32],
        Array(
            "index in `texts` of each atom's name, residue name, residue number, chain and element",
            "<i4",
            ("M", len(COLUMNS)),
        ),
    ]
    bonds: Annotated[NDArray[np.int32], Array("bonded atoms, from 0", "<i4", ("B", 2), indexes="M")]
    coordinates: Annotated[NDArray[np.float32], Array("positions", "<f4", ("M", 3), unit="Å", limit=FAR)]

    def molecule(self) -> Molecule:
        """Return the topology. Raises ValueFault."""
        return Molecule.of_table(self.texts, self.atoms, self.bonds, np.zeros(len(self.atoms), np.uint8))


@dataclass(frozen=True, eq=False, kw_only=True)
class Prepare(MoleculeRequest[PreparedMolecule]):
    """Adds what a simulation needs to the first state of a molecule, and times a few steps.

    With `resume`, the answer is the molecule of the earlier run of this name.
    """

    METHOD = "prepare"
    RESULT = PreparedMolecule

    options: Annotated[SimulationOptions, Value("the simulation")]


@dataclass(frozen=True, eq=False, kw_only=True)
class Simulate(SourceRequest):
    """Simulates a molecule with all its atoms from its first state; forces are kept by the backend."""

    METHOD = "simulate"

    options: Annotated[SimulationOptions, Value("the simulation")]
