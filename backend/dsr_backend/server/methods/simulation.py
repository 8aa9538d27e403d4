"""Methods that prepare and simulate a molecule."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pymol_dsr.shared import messages
from pymol_dsr.shared.simulation_options import ALL_ATOMS
from pymol_dsr.shared.values import JsonObject, ValueFault

from ...runtime.device import choose_device
from ...runtime.errors import Cancelled, RequestError
from ...sources.generator import learn as generator
from ...sources.generator.folder import read_folder as read_atlas
from ...sources.generator.learn import ProteinStates, Spacing
from ...sources.model_file import POTENTIAL, ModelWriter, ensure_free, model_path
from ...sources.potential.beads import Protein
from ...sources.potential.learn import LearningData, learn, of_frames, simulated
from ...sources.potential.mdcath import files_of, read_folder
from ...sources.potential.model_file import load, to_bytes
from ...sources.potential.simulate import simulate_beads
from ...sources.simulation.dynamics import Dynamics, Speed, estimate, simulate
from ...sources.simulation.prepare import Prepared, prepare
from ...sources.simulation.store import SimulationStore
from ..job import Job
from ..replies import callers_fault
from .sources import JobReport, run_source
from .state import State


def prepare_molecule(state: State, job: Job, request: messages.Prepare) -> messages.PreparedMolecule:
    """Add what a simulation needs, or find the molecule of an earlier one, and time a few steps."""

    def check() -> None:
        if job.cancelled():
            raise Cancelled(f"{request.source} was cancelled")

    options = request.options
    JobReport(job, request.source)(0.0, "preparing")
    with callers_fault():
        if options.resume:
            prepared, coordinates, speed, states_kept = _resumed(request)
        else:
            prepared, coordinates, speed = estimate(request.molecule(), request.coordinates[0], options, check)
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
    """Return the molecule of the earlier run, its first coordinates, its speed, and how many states it has."""
    store = SimulationStore(request.source)
    if not store.exists:
        raise ValueFault(
            f"resume 1: there is no simulation {request.source} in {store.folder.parent}; leave resume=1 out"
        )
    molecule, coordinates, options = store.start()
    checkpoint = store.checkpoint()
    prepared = prepare(molecule, coordinates, options.forcefield, True)
    dynamics = Dynamics(prepared, request.options)
    dynamics.begin(coordinates, 0, minimise=False)
    return prepared, coordinates, dynamics.speed(), checkpoint.states if checkpoint else 0


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
                lambda text: job.log(f"{request.source}: {text}"),
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
            lambda text: job.log(f"{request.source}: {text}"),
        ),
    )


def learn_potential(state: State, job: Job, request: messages.Learn) -> messages.LearnResult:
    """Learn a potential, which is written to the folder of models while it learns."""

    def check() -> None:
        if job.cancelled():
            raise Cancelled(f"{request.model} was cancelled")

    path = model_path(request.model)
    with callers_fault():
        ensure_free(path, POTENTIAL)
        data = [_learning_data(request, number) for number in range(len(request.proteins))]
        left_out: list[str] = []
        if request.folder is not None:
            JobReport(job, request.model)(0.0, "reading")
            folder_data, skipped = read_folder(files_of(request.folder), request.options, check)
            data += folder_data
            left_out = [f"{skip.name} is left out: {skip.reason}" for skip in skipped]
        earlier = load(request.model) if request.options.resume else None
        writer = ModelWriter(path)
        try:
            _, report, lines = learn(
                data,
                request.options,
                JobReport(job, request.model),
                check,
                earlier,
                choose_device(),
                keep=lambda potential, record: writer.write(to_bytes(potential, record)),
                log=lambda text: job.log(f"{request.model}: {text}"),
            )
        except OSError as error:
            raise RequestError("internal", f"the potential can't be kept: {error}") from error
    return messages.LearnResult(path=str(path), notes=(*left_out, *lines), report=report)


def _learning_data(request: messages.Learn, number: int) -> LearningData:
    protein = request.proteins[number]
    if protein.simulation is not None:
        return simulated(protein.simulation, protein.name, request.options.forces)
    try:
        beads = Protein(protein.residues, protein.chains)
    except ValueFault as fault:
        raise ValueFault(f"{protein.name}: {fault}") from fault
    return of_frames(protein.name, beads, request.frames(number), request.options)


def learn_generator(state: State, job: Job, request: messages.LearnGenerator) -> messages.LearnResult:
    """Learn a generator, which is written to the folder of models while it learns."""

    def check() -> None:
        if job.cancelled():
            raise Cancelled(f"{request.model} was cancelled")

    path = model_path(request.model)
    with callers_fault():
        proteins = [
            ProteinStates(protein.name, protein.residues, protein.chains, request.trajectories(number))
            for number, protein in enumerate(request.proteins)
        ]
        spacing = Spacing(request.stride, request.picoseconds)
        report = JobReport(job, request.model)
        if request.folder is not None:
            proteins, spacing = read_atlas(
                Path(request.folder).expanduser(),
                request.states,
                check,
                lambda fraction, name: report(fraction, "reading", name),
            )
        try:
            learned = generator.learn(
                proteins,
                request.options,
                spacing,
                path,
                report,
                check,
                log=lambda text: job.log(f"{request.model}: {text}"),
            )
        except OSError as error:
            raise RequestError("internal", f"the generator can't be kept: {error}") from error
    return messages.LearnResult(path=str(path), notes=learned.notes, report=learned.report)


METHODS = {
    messages.Prepare: prepare_molecule,
    messages.Simulate: simulate_molecule,
    messages.Learn: learn_potential,
    messages.LearnGenerator: learn_generator,
}
