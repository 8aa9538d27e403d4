"""Minimises the energy of generated states, with OpenMM: `refine=1`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pymol_dsr.shared.molecule import Molecule

from .continuation import States
from .simulation.prepare import FORCE_FIELD_FILES, Prepared, openmm_modules, prepare

FORCE_FIELD = "amber99sbildn+obc"
# Steps of the minimisation, and the spring that holds heavy atoms near their places, kJ/mol/nm².
STEPS = 50
SPRING = 500.0


def minimised(molecule: Molecule, states: States, check: Callable[[], None]) -> States:
    """Return states f8[F,A,3] (Å) of less energy near the given ones.

    Missing atoms and hydrogens are there for the energy alone; hydrogens with names of their own follow their heavy
    atom. check: called before each state, may raise. Raises ValueFault for what the force field does not have, and
    where OpenMM is not installed.
    """
    refined = []
    for state in states:
        check()
        prepared = prepare(molecule, state.astype(np.float32), FORCE_FIELD, True)
        refined.append(_moved_along(molecule, prepared, state, _minimum(prepared)))
    return np.stack(refined)


def _minimum(prepared: Prepared) -> States:
    """Return the prepared atoms f8[M,3] (Å) after the minimisation."""
    omm = openmm_modules()
    field = omm.app.ForceField(*FORCE_FIELD_FILES[FORCE_FIELD])
    system = field.createSystem(prepared.topology, nonbondedMethod=omm.app.NoCutoff)
    springs = omm.openmm.CustomExternalForce(f"{0.5 * SPRING}*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
    for name in ("x0", "y0", "z0"):
        springs.addPerParticleParameter(name)
    places = 0.1 * prepared.coordinates.astype(np.float64)
    for atom, (element, place) in enumerate(zip(prepared.molecule.elements, places.tolist(), strict=True)):
        if element.upper() != "H":
            springs.addParticle(atom, place)
    system.addForce(springs)
    platform = omm.openmm.Platform.getPlatformByName("CPU")
    context = omm.openmm.Context(system, omm.openmm.VerletIntegrator(0.001), platform)
    context.setPositions(places)
    omm.openmm.LocalEnergyMinimizer.minimize(context, maxIterations=STEPS)
    positions = context.getState(getPositions=True).getPositions(asNumpy=True)
    return np.asarray(positions.value_in_unit(omm.unit.angstrom), np.float64)


def _moved_along(molecule: Molecule, prepared: Prepared, state: States, minimum: States) -> States:
    """Return the molecule's own atoms f8[A,3] (Å) where the minimisation moved them."""
    own, whole = molecule, prepared.molecule
    places = {key: atom for atom, key in enumerate(zip(whole.chains, whole.residue_numbers, whole.names, strict=True))}
    keys = list(zip(own.chains, own.residue_numbers, own.names, strict=True))
    result = np.array(state, np.float64)
    shifts = np.zeros_like(result)
    for atom, key in enumerate(keys):
        if key in places:
            shifts[atom] = minimum[places[key]] - result[atom]
    for i, j in own.bonds.tolist():
        for atom, heavy in ((i, j), (j, i)):
            if own.elements[atom].upper() == "H" and keys[atom] not in places:
                shifts[atom] = shifts[heavy]
    return result + shifts
