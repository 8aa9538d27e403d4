"""Targeted molecular dynamics: a short simulation that is pulled from one state into another.

A spring on the RMSD of the heavy atoms from the last state shortens until it is nothing: the molecule takes a way on
which its energy stays low, and all atoms make room. The run is many times faster than the real motion, so its order of
events is a guess, and barriers are crossed by force.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.simulation_options import PICOSECONDS_A_STEP
from pymol_dsr.shared.values import ValueFault

from ...motion.statistics import rmsd_to
from ...motion.superpose import superpose_states
from ..contract import Check
from .dynamics import HYDROGEN_MASS, REMEDY, minimise_energy
from .prepare import FORCE_FIELD_FILES, Prepared, openmm_modules, prepare

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

FORCE_FIELD = "amber99sbildn+obc"
TEMPERATURE = 300.0
FRICTION = 5.0
"""Per ps: the work of the spring becomes heat, which must go."""
PICOSECONDS_AN_ANGSTROM = 2.0
LEAST_PICOSECONDS = 4.0
STEPS_A_PULL = 20
"""Steps between two shortenings of the spring."""
SPRING = 500.0
"""kJ/mol/nm² for each heavy atom."""
CUTOFF, CUTOFF_ATOMS = 1.2, 1000
"""nm; smaller molecules have no cutoff."""


@dataclass(frozen=True, eq=False)
class TargetedRun:
    """States of a targeted run.

    atoms: i8[N], the molecule's own atoms that were simulated. states: f8[F+1,N,3] Å, superposed on the first state of
    the path, the last one at the end of the run. picoseconds: its length. left: RMSD in Å of heavy atoms from the goal.
    """

    atoms: Indices
    states: NDArray[np.float64]
    picoseconds: float
    left: float


def pulled(
    molecule: Molecule,
    first: Floats,
    last: Floats,
    frames: int,
    seed: int,
    check: Check,
    progress: Callable[[float, float], None],
) -> TargetedRun:
    """Pull a molecule from one state f[A,3] (Å) to another one, superposed on it.

    progress: called with the fraction done and the RMSD in Å that is left. check: called often, may raise. Raises
    ValueFault for what the force field does not have, where OpenMM is not installed, and where the run goes wrong.
    """
    openmm_modules("method=targeted")
    start, goal = np.asarray(first, np.float64), np.asarray(last, np.float64)
    prepared = prepare(molecule, start.astype(np.float32), FORCE_FIELD, True)
    common, places = common_atoms(molecule, prepared)
    heavy = molecule.heavy[common]
    distance = float(rmsd_to(goal[common[heavy]][None], start[common[heavy]])[0])
    run = _Pull(prepared, places[heavy], goal[common[heavy]], distance, seed, check)
    picoseconds = max(LEAST_PICOSECONDS, PICOSECONDS_AN_ANGSTROM * distance)
    pulls = max(frames + 1, round(picoseconds / (PICOSECONDS_A_STEP * STEPS_A_PULL)))
    saved_pulls = np.round(np.arange(1, frames + 2) * pulls / (frames + 1)).astype(int)
    states = []
    for pull in range(1, pulls + 1):
        check()
        run.shorten(distance * (1.0 - pull / pulls))
        if pull in saved_pulls:
            states.append(run.positions()[places])
            progress(pull / pulls, distance * (1.0 - pull / pulls))
    aligned = superpose_states(np.stack(states), start[common], np.flatnonzero(heavy))
    ended = superpose_states(aligned[-1:], goal[common], np.flatnonzero(heavy))
    left = float(rmsd_to(ended[:, heavy], goal[common[heavy]])[0])
    return TargetedRun(common, aligned, pulls * STEPS_A_PULL * PICOSECONDS_A_STEP, left)


def common_atoms(molecule: Molecule, prepared: Prepared) -> tuple[Indices, Indices]:
    """Return the atoms i8[N] of a molecule that its prepared form has by the same name, and their places there."""
    prepared_molecule = prepared.molecule
    keys = zip(prepared_molecule.chains, prepared_molecule.residue_numbers, prepared_molecule.names, strict=True)
    atom_of = {key: atom for atom, key in enumerate(keys)}
    names = zip(molecule.chains, molecule.residue_numbers, molecule.names, strict=True)
    pairs = [(atom, atom_of[key]) for atom, key in enumerate(names) if key in atom_of]
    common, places = np.array(pairs, np.int64).T
    return common, places


class _Pull:
    """The simulation with its spring."""

    def __init__(
        self, prepared: Prepared, heavy: Indices, goal: Floats, distance: float, seed: int, check: Check
    ) -> None:
        self._omm = omm = openmm_modules("method=targeted")
        field = omm.app.ForceField(*FORCE_FIELD_FILES[FORCE_FIELD])
        large = len(prepared.molecule) > CUTOFF_ATOMS
        system = field.createSystem(
            prepared.topology,
            nonbondedMethod=omm.app.CutoffNonPeriodic if large else omm.app.NoCutoff,
            nonbondedCutoff=CUTOFF,
            constraints=omm.app.HBonds,
            hydrogenMass=HYDROGEN_MASS * omm.unit.amu,
        )
        reference = 0.1 * prepared.coordinates.astype(np.float64)
        reference[heavy] = 0.1 * goal
        spring = omm.openmm.CustomCVForce(f"{0.5 * SPRING * len(heavy)}*(rmsd-goal)^2")
        spring.addCollectiveVariable("rmsd", omm.openmm.RMSDForce(reference, heavy.tolist()))
        spring.addGlobalParameter("goal", 0.1 * distance)
        system.addForce(spring)
        integrator = omm.openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, PICOSECONDS_A_STEP)
        # 0 would be a seed from the clock.
        integrator.setRandomNumberSeed(1 + seed)
        platform = omm.openmm.Platform.getPlatformByName("CPU")
        self._integrator = integrator
        self._context = omm.openmm.Context(system, integrator, platform)
        self._context.setPositions(0.1 * prepared.coordinates.astype(np.float64))
        self._context.applyConstraints(1e-6)
        minimise_energy(omm.openmm, self._context, check)
        self._context.setVelocitiesToTemperature(TEMPERATURE, 1 + seed)

    def shorten(self, distance: float) -> None:
        """Set the RMSD that the spring allows, in Å, and take some steps. Raises ValueFault where they go wrong."""
        self._context.setParameter("goal", 0.1 * distance)
        try:
            self._integrator.step(STEPS_A_PULL)
        except self._omm.openmm.OpenMMException as error:
            raise ValueFault(f"method=targeted: the run went wrong ({error}): {REMEDY}") from error

    def positions(self) -> NDArray[np.float64]:
        """Return the atoms f8[M,3] in Å."""
        positions = self._context.getState(positions=True).getPositions(asNumpy=True)
        return np.asarray(positions.value_in_unit(self._omm.unit.angstrom), np.float64)
