"""Methods of trajectory sources.

`run_source` gives a source its `Report` and `Check`, and makes its result the answer: a further source is a function of
two lines here, and its line in `METHODS`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared import messages
from pymol_dsr.shared.values import JsonObject, plain
from pymol_dsr.shared.version import VERSION

from ...sources.contract import Check, Generated, Report, Trajectory
from ...sources.generate import generate
from ..job import Job
from ..replies import callers_fault
from .state import State

FRAMES_SECONDS = 0.5


class JobReport:
    """Sends the reports of a source as events: states twice a second at most, progress as `Job.progress` does."""

    def __init__(self, job: Job, source: str) -> None:
        self._job, self._source = job, source
        self._sent = -FRAMES_SECONDS
        self._first = 0
        self._waiting: list[NDArray[np.float32]] = []
        self._errors: tuple[float, ...] = ()
        self._gap: float | None = None

    def __call__(self, fraction: float, phase: str, text: str = "", seconds_left: float | None = None) -> None:
        """Report that `fraction` (0 to 1) is done."""
        status = messages.SourceStatus(phase, min(1.0, max(0.0, fraction)), text, seconds_left, self._errors, self._gap)
        # Errors that come between two events go with the next one.
        if self._job.progress(messages.SourceProgress(source=self._source, status=status)):
            self._errors, self._gap = (), None

    def errors(self, training: float, held_out: float, baseline: float | None = None) -> None:
        """Send the errors of a training with the next report, where they are finite."""
        errors = (training, held_out) if baseline is None else (training, held_out, baseline)
        self._errors = errors if math.isfinite(sum(errors)) else ()

    def gap(self, deviations: float) -> None:
        """Send the gap of a calibration with the next report, where it is finite."""
        self._gap = deviations if math.isfinite(deviations) else None

    def frames(self, coordinates: NDArray[np.float32]) -> None:
        """Send states f4[F,A,3] now, or with the next ones."""
        self._waiting.append(coordinates)
        moment = time.monotonic()
        if moment - self._sent < FRAMES_SECONDS:
            return
        self._sent = moment
        states = np.concatenate(self._waiting)
        self._waiting.clear()
        self._job.event(messages.SourceFrames(source=self._source, first=self._first, coordinates=states))
        self._first += len(states)


def run_source(
    job: Job,
    request: messages.SourceRequest,
    kind: str,
    provenance: JsonObject,
    source: Callable[[list[Trajectory], Report, Check], Generated],
) -> messages.SourceResult:
    """Run a source, and return its states as the answer.

    kind: as continue or simulate. provenance: what was asked for. Raises Cancelled, and RequestError for a ValueError.
    """
    trajectories = [
        Trajectory(np.asarray(coordinates, np.float32), np.asarray(times, np.float64))
        for coordinates, times in request.trajectories()
    ]
    # It counts all threads of the backend, where sources and fits take turns.
    started = time.process_time()
    with callers_fault():
        generated = source(trajectories, JobReport(job, request.source), job.check)
    record = {
        "kind": kind,
        "method": generated.method,
        "version": VERSION,
        "cpu_seconds": round(time.process_time() - started, 3),
        "generated_states": len(generated.coordinates),
        **provenance,
        **(generated.model or {}),
        "notes": list(generated.notes),
        "back_test": [row.to_json() for row in generated.table],
    }
    return messages.SourceResult(
        kind=kind,
        method=generated.method,
        titles=generated.titles,
        notes=generated.notes,
        table=generated.table,
        provenance=plain(record),
        coordinates=generated.coordinates,
        times=generated.times,
    )


def generate_states(state: State, job: Job, request: messages.Generate) -> messages.SourceResult:
    """Continue, fill in or sample states."""
    with callers_fault():
        molecule = request.molecule()
    options = request.options
    return run_source(
        job,
        request,
        options.task,
        {"options": options.to_json(), "states": list(request.lengths)},
        lambda trajectories, report, check: generate(molecule, trajectories, options, report, check),
    )


METHODS = {messages.Generate: generate_states}
