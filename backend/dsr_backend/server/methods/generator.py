"""The method that learns a generator, and keeps it in the folder of models."""

from __future__ import annotations

from pathlib import Path

from pymol_dsr.shared import messages

from ...runtime.errors import RequestError
from ...sources.generator.folder import read_folder
from ...sources.generator.learn import ProteinStates, Spacing, learn
from ...sources.model_file import model_path
from ..job import Job
from ..replies import callers_fault
from .sources import JobReport
from .state import State


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
            proteins, spacing = read_folder(
                Path(request.folder).expanduser(),
                request.states,
                job.check,
                lambda fraction, name: report(fraction, "reading", name),
            )
        try:
            learned = learn(
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


METHODS = {messages.LearnGenerator: learn_generator}
