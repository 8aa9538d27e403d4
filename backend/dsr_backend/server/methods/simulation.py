"""Methods that prepare and simulate a molecule."""

from __future__ import annotations

import numpy as np

from pymol_dsr.shared import messages
from pymol_dsr.shared.amino_acids import PROTONATION_STATES
from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.simulation_options import ALL_ATOMS
from pymol_dsr.shared.text import counted
from pymol_dsr.shared.values import JsonObject, ValueFault

from ...runtime.device import choose_device
from ...sources.potential.simulate import simulate_beads
from ...sources.simulation.dynamics import Dynamics, Speed, estimate, simulate
from ...sources.simulation.prepare import Prepared, prepare
from ...sources.simulation.store import SimulationStore
from ...sources.topology import residue_indices
from ..job import Job
from ..replies import callers_fault
from .sources import JobReport, run_source
from .state import State

# Residues of a sequence that a message names.
MOST_SHOWN = 10


def prepare_molecule(state: State, job: Job, request: messages.Prepare) -> messages.PreparedMolecule:
    """Add what a simulation needs, or find the molecule of an earlier one, and time a few steps."""
    options = request.options
    JobReport(job, request.source)(0.0, "preparing")
    with callers_fault():
        if options.resume:
            prepared, coordinates, speed, states_kept = _resumed(request)
        else:
            prepared, coordinates, speed = estimate(request.molecule(), request.coordinates[0], options, job.check)
            states_kept = 0
    texts, table = prepared.molecule.table()
    return messages.PreparedMolecule(
        texts=texts,
        added=prepared.added,
        ns_a_day=speed.ns_a_day,
        platform=speed.platform,
        states_kept=states_kept,
        atoms=table,
        bonds=prepared.molecule.bonds,
        coordinates=coordinates,
    )


def _resumed(
    request: messages.Prepare,
) -> tuple[Prepared, np.ndarray[tuple[int, int], np.dtype[np.float32]], Speed, int]:
    """Return the molecule of the earlier run, its first coordinates, its speed, and how many states it has.

    Raises ValueFault where there is none, or it is of another molecule than the request.
    """
    store = SimulationStore(request.source)
    if not store.exists:
        raise ValueFault(
            f"resume 1: there is no simulation {request.source} in {store.folder.parent}; leave resume=1 out"
        )
    molecule, coordinates, options = store.start()
    sequence, requested = _sequence(molecule), _sequence(request.molecule())
    if sequence != requested:
        raise ValueFault(
            f"resume 1: the simulation {request.source} is of {_in_words(sequence)}, and this molecule has "
            f"{_in_words(requested)}; give another name=, or leave resume=1 out, which replaces it"
        )
    checkpoint = store.checkpoint()
    prepared = prepare(molecule, coordinates, options.forcefield, True)
    dynamics = Dynamics(prepared, request.options)
    dynamics.begin(coordinates, 0, minimise=False)
    return prepared, coordinates, dynamics.speed(), checkpoint.states if checkpoint else 0


def _sequence(molecule: Molecule) -> list[str]:
    """Return the names of the residues, whatever their hydrogens are."""
    first = np.unique(residue_indices(molecule), return_index=True)[1]
    names = [molecule.residue_names[atom] for atom in first]
    return [PROTONATION_STATES.get(name, name) for name in names]


def _in_words(sequence: list[str]) -> str:
    """Name a sequence in a few words."""
    ending = " ..." if len(sequence) > MOST_SHOWN else ""
    return f"{counted(len(sequence), 'residue')} ({' '.join(sequence[:MOST_SHOWN])}{ending})"


def simulate_molecule(state: State, job: Job, request: messages.Simulate) -> messages.SourceResult:
    """Simulate a molecule that has all its atoms."""
    with callers_fault():
        molecule = request.molecule()
    options = request.options
    description: JsonObject = {"options": options.to_json(), "states": list(request.lengths)}
    if options.model != ALL_ATOMS:
        return run_source(
            job,
            request,
            "simulate",
            description,
            lambda trajectories, report, check: simulate_beads(
                molecule,
                trajectories[0],
                options,
                report,
                check,
                job.log_about(request.source),
                choose_device(),
                request.source,
            ),
        )
    return run_source(
        job,
        request,
        "simulate",
        description,
        lambda trajectories, report, check: simulate(
            molecule,
            trajectories[0].coordinates[0],
            options,
            SimulationStore(request.source),
            report,
            check,
            job.log_about(request.source),
        ),
    )


METHODS = {messages.Prepare: prepare_molecule, messages.Simulate: simulate_molecule}
