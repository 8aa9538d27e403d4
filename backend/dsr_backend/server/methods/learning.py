"""Methods that learn potentials and generators, and keep them in the folder of models."""

from __future__ import annotations

from pathlib import Path

from pymol_dsr.shared import messages
from pymol_dsr.shared.values import ValueFault

from ...runtime.device import choose_device
from ...runtime.errors import RequestError
from ...sources.generator import learn as generator
from ...sources.generator.folder import read_folder as read_atlas
from ...sources.generator.learn import ProteinStates, Spacing
from ...sources.model_file import POTENTIAL, ModelWriter, ensure_free, model_path
from ...sources.potential.beads import Protein
from ...sources.potential.learn import LearningData, learn, of_frames, simulated
from ...sources.potential.mdcath import files_of, read_folder
from ...sources.potential.model_file import load, to_bytes
from ..job import Job
from ..replies import callers_fault
from .sources import JobReport
from .state import State


def learn_potential(state: State, job: Job, request: messages.Learn) -> messages.LearnResult:
    """Learn a potential, which is written to the folder of models while it learns."""
    path = model_path(request.model)
    with callers_fault():
        ensure_free(path, POTENTIAL)
        data = [_learning_data(request, number) for number in range(len(request.proteins))]
        left_out: list[str] = []
        if request.folder is not None:
            JobReport(job, request.model)(0.0, "reading")
            folder_data, skipped = read_folder(files_of(request.folder), request.options, job.check)
            data += folder_data
            left_out = [f"{skip.name} is left out: {skip.reason}" for skip in skipped]
        earlier = load(request.model) if request.options.resume else None
        writer = ModelWriter(path)
        try:
            _, report, lines = learn(
                data,
                request.options,
                JobReport(job, request.model),
                job.check,
                earlier,
                choose_device(),
                keep=lambda potential, record: writer.write(to_bytes(potential, record)),
                log=job.log_about(request.model),
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
                job.check,
                lambda fraction, name: report(fraction, "reading", name),
            )
        try:
            learned = generator.learn(
                proteins,
                request.options,
                spacing,
                path,
                report,
                job.check,
                log=job.log_about(request.model),
            )
        except OSError as error:
            raise RequestError("internal", f"the generator can't be kept: {error}") from error
    return messages.LearnResult(path=str(path), notes=learned.notes, report=learned.report)


METHODS = {messages.Learn: learn_potential, messages.LearnGenerator: learn_generator}
