"""Minimises the energy of generated states, with OpenMM: `refine=1`, and `method=minimised` of a path."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.molecule import Molecule

from .continuation import States
from .simulation.prepare import FORCE_FIELD_FILES, Prepared, check_residues, openmm_modules, prepare

FORCE_FIELD = "amber99sbildn+obc"
# Steps of the minimisation, and the spring that holds heavy atoms near their places, kJ/mol/nm².
STEPS = 50
SPRING = 500.0

# An atom: its chain, the number of its residue, and its name.
Key = tuple[str, str, str]


def minimised(molecule: Molecule, states: States, check: Callable[[], None]) -> States:
    """Return states f8[F,A,3] (Å) of less energy near the given ones; see `Minimiser`."""
    return Minimiser(molecule).minimised(states, check)


class Minimiser:
    """Minimises states of one molecule.

    Missing atoms and hydrogens are there for the energy alone; hydrogens with names of their own follow their heavy
    atom.
    """

    def __init__(self, molecule: Molecule, held: NDArray[np.int64] | None = None, steps: int = STEPS) -> None:
        """Check the molecule. Raises ValueFault for residues that the force field does not have, and without OpenMM.

        held: i8[N], the atoms that springs hold near their places; all heavy ones without it. steps: of a minimisation.
        """
        self._omm = openmm_modules("refine=1")
        check_residues(molecule)
        self._molecule, self._steps = molecule, steps
        self._held = None if held is None else {_keys(molecule)[atom] for atom in held}
        self._kept: _Springs | None = None

    def minimised(self, states: States, check: Callable[[], None]) -> States:
        """Return states f8[F,A,3] (Å) of less energy near the given ones.

        check: called before each state, may raise. Raises ValueFault where atoms or bonds are not those of amino acids.
        """
        refined = []
        for state in states:
            check()
            refined.append(self._state(state))
        return np.stack(refined)

    def _state(self, state: States) -> States:
        if self._kept is not None:
            return self._kept.minimum(state)
        prepared = prepare(self._molecule, state.astype(np.float32), FORCE_FIELD, True)
        springs = _Springs(self._omm, prepared, self._held, self._steps)
        if not prepared.added:
            # All atoms are there in each state: one system is enough.
            self._kept = springs
        minimum = springs.minimum(prepared.coordinates.astype(np.float64))
        return _moved_along(self._molecule, prepared, state, minimum)


class _Springs:
    """The energy of a molecule with springs on heavy atoms."""

    def __init__(self, omm: SimpleNamespace, prepared: Prepared, held: set[Key] | None, steps: int) -> None:
        """held: the atoms with springs, all heavy ones for None."""
        self._omm, self._steps = omm, steps
        field = omm.app.ForceField(*FORCE_FIELD_FILES[FORCE_FIELD])
        system = field.createSystem(prepared.topology, nonbondedMethod=omm.app.NoCutoff)
        self._springs = omm.openmm.CustomExternalForce(f"{0.5 * SPRING}*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
        for name in ("x0", "y0", "z0"):
            self._springs.addPerParticleParameter(name)
        heavy = np.flatnonzero(prepared.molecule.heavy).tolist()
        keys = _keys(prepared.molecule)
        self._held = heavy if held is None else [atom for atom in heavy if keys[atom] in held]
        for atom in self._held:
            self._springs.addParticle(atom, (0.0, 0.0, 0.0))
        system.addForce(self._springs)
        platform = omm.openmm.Platform.getPlatformByName("CPU")
        self._context = omm.openmm.Context(system, omm.openmm.VerletIntegrator(0.001), platform)

    def minimum(self, coordinates: States) -> States:
        """Return atoms f8[M,3] (Å) of less energy, of which some are held near the given ones."""
        places = 0.1 * coordinates
        for number, atom in enumerate(self._held):
            self._springs.setParticleParameters(number, atom, places[atom])
        self._springs.updateParametersInContext(self._context)
        self._context.setPositions(places)
        self._omm.openmm.LocalEnergyMinimizer.minimize(self._context, maxIterations=self._steps)
        positions = self._context.getState(getPositions=True).getPositions(asNumpy=True)
        return np.asarray(positions.value_in_unit(self._omm.unit.angstrom), np.float64)


def _keys(molecule: Molecule) -> list[Key]:
    return list(zip(molecule.chains, molecule.residue_numbers, molecule.names, strict=True))


def _moved_along(molecule: Molecule, prepared: Prepared, state: States, minimum: States) -> States:
    """Return the molecule's own atoms f8[A,3] (Å) where the minimisation moved them."""
    places = {key: atom for atom, key in enumerate(_keys(prepared.molecule))}
    keys = _keys(molecule)
    result = np.array(state, np.float64)
    shifts = np.zeros_like(result)
    for atom, key in enumerate(keys):
        if key in places:
            shifts[atom] = minimum[places[key]] - result[atom]
    for i, j in molecule.bonds.tolist():
        for atom, heavy in ((i, j), (j, i)):
            if not molecule.heavy[atom] and keys[atom] not in places:
                shifts[atom] = shifts[heavy]
    return result + shifts
