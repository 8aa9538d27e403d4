"""The method that learns a potential, and keeps it in the folder of models."""

from __future__ import annotations

from pymol_dsr.shared import messages
from pymol_dsr.shared.values import ValueFault

from ...runtime.device import choose_device
from ...runtime.errors import RequestError
from ...sources.model_file import POTENTIAL, ModelWriter, ensure_free, model_path
from ...sources.potential.beads import Protein
from ...sources.potential.learn import LearningData, learn, of_frames, simulated
from ...sources.potential.mdcath import files_of, read_folder
from ...sources.potential.model_file import load, to_bytes
from ..job import Job
from ..replies import callers_fault
from .sources import JobReport
from .state import State


def learn_potential(state: State, job: Job, request: messages.LearnPotential) -> messages.LearnResult:
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


def _learning_data(request: messages.LearnPotential, number: int) -> LearningData:
    protein = request.proteins[number]
    if protein.simulation is not None:
        one_of = request.frames(number)[0] if protein.frames else None
        return simulated(protein.simulation, protein.name, request.options.forces, one_of)
    try:
        beads = Protein(protein.residues, protein.chains)
    except ValueFault as fault:
        raise ValueFault(f"{protein.name}: {fault}") from fault
    return of_frames(protein.name, beads, request.frames(number), request.options)


METHODS = {messages.LearnPotential: learn_potential}
