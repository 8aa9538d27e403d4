"""Trajectory sources that run in the backend, by the name of the object that their states become.

A command builds a `messages.SourceRequest`, enters a `SourceJob` with `Sources.new`, and calls `Sources.run` in the
runner of the command. `run` hands states that arrive to `take`, in the job's thread, and returns the result.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Cancelled, JobError, Say
from ..fits.jobs import Jobs, SourceEvent
from ..shared import messages, text
from ..shared.messages import AResult, Request
from .provenance import Provenance

PROGRESS_SECONDS = 2.0
MOST_ERRORS = 20_000
MOST_LINES = 100

TakeFrames = Callable[[int, NDArray[np.float32]], None]
"""Takes states f4[F,A,3] of the result that have arrived; the first argument is the place of the first, from 0."""


@dataclass(frozen=True)
class TrainingErrors:
    """Errors of a training at one moment: fraction of the work that was done, 0 to 1.

    held_out, baseline (of what the training starts from, such as priors): None if not known.
    """

    fraction: float
    training: float
    held_out: float | None
    baseline: float | None = None


@dataclass
class SourceJob:
    """A source under way. name: that of its object; command: who began it; atoms: how many its states have."""

    name: str
    command: str
    atoms: int
    stop: threading.Event = field(default_factory=threading.Event)
    status: messages.SourceStatus | None = None
    frames: deque[messages.SourceFrames] = field(default_factory=deque)
    arrived: int = 0
    """States that have come so far."""
    errors: list[TrainingErrors] = field(default_factory=list)
    """Errors of a training so far."""
    lines: list[str] = field(default_factory=list)
    """Lines about this source that the backend has sent for the user, without its name."""
    gaps: list[tuple[float, float]] = field(default_factory=list)
    """Gaps of a calibration so far, each with the fraction of the work that was done."""

    def line(self) -> str:
        """Name and progress in one line."""
        if self.status is None:
            return f"{self.name}: {self.command} waits"
        line = f"{self.name}: {self.command}, {self.status.phase} {100 * self.status.fraction:.0f} %"
        if self.status.text:
            line += f", {self.status.text}"
        if self.status.seconds_left is not None:
            line += f", {text.in_words(self.status.seconds_left)} left"
        return text.one_line(line)


class Sources:
    """All sources of a session, and the provenance of what they have generated."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self.running: dict[str, SourceJob] = {}
        self.provenance = Provenance()
        self._entering = threading.Lock()

    def new(self, name: str, command: str, atoms: int) -> SourceJob:
        """Enter a source. Raises JobError where one of that name runs, or a fit has that name."""
        with self._entering:
            if name in self.running:
                raise JobError(f"{name} is busy with {self.running[name].command}; wait for it, or dsr_cancel {name}")
            if name in self._jobs.fits:
                raise JobError(f"{name} is the name of a fit; give another name with name=")
            job = self.running[name] = SourceJob(name, command, atoms)
        return job

    def maker_of(self, object: str) -> SourceJob | None:
        """Return the source that makes states of an object, or of a replica, at present; None where none does."""
        jobs = [job for name, job in tuple(self.running.items()) if re.fullmatch(rf"{re.escape(name)}(_\d+)?", object)]
        return jobs[0] if jobs else None

    def cancel(self, name: str) -> bool:
        """Ask a source to stop, and return whether one of that name runs."""
        job = self.running.get(name)
        if job is not None:
            job.stop.set()
        return job is not None

    def close(self) -> None:
        """Stop all sources."""
        for job in tuple(self.running.values()):
            job.stop.set()

    def run(self, job: SourceJob, request: messages.SourceRequest, take: TakeFrames, say: Say) -> messages.SourceResult:
        """Return the result of a source that was entered, when it is its turn, and remove it from those that run.

        Raises Cancelled or BackendError.
        """
        try:
            return self.ask(job, request, say, take)
        finally:
            self.running.pop(job.name, None)

    def ask(
        self, job: SourceJob, request: Request[AResult], say: Say, take: TakeFrames = lambda first, xyz: None
    ) -> AResult:
        """Return the answer to one request of a source that goes on, when it is its turn.

        Raises Cancelled or BackendError.
        """
        next_line, last_line = 0.0, ""

        def tick() -> None:
            nonlocal next_line, last_line
            while job.frames:
                frames = job.frames.popleft()
                take(frames.first, frames.coordinates)
                job.arrived = max(job.arrived, frames.first + len(frames.coordinates))
            clock = time.monotonic()
            if job.status is not None and clock >= next_line and (line := job.line()) != last_line:
                next_line, last_line = clock + PROGRESS_SECONDS, line
                say(f" {line}")

        with self._jobs.turn(job, say):
            # Before a backend is started for it; `wait` looks at it later.
            if job.stop.is_set():
                raise Cancelled(f"{job.name}: cancelled")
            connection = self._jobs.connection
            return connection.wait(job, connection.backend(job).submit(request), tick)

    def discard(self, job: SourceJob) -> None:
        """Remove a source that was entered and is not run."""
        self.running.pop(job.name, None)

    def take_event(self, event: SourceEvent) -> None:
        """Take an event in the reading thread."""
        if isinstance(event, messages.Log):
            name, _, line = event.text.partition(": ")
            job = self.running.get(name)
            if job is not None and len(job.lines) < MOST_LINES:
                job.lines.append(text.one_line(line))
            return
        job = self.running.get(event.source)
        if job is None:
            return
        if isinstance(event, messages.SourceProgress):
            job.status = status = event.status
            if status.errors and len(job.errors) < MOST_ERRORS:
                held_out, baseline = (status.errors[k] if len(status.errors) > k else None for k in (1, 2))
                job.errors.append(TrainingErrors(status.fraction, status.errors[0], held_out, baseline))
            if status.gap is not None and len(job.gaps) < MOST_ERRORS:
                job.gaps.append((status.fraction, status.gap))
        elif event.coordinates.shape[1] == job.atoms:
            job.frames.append(event)

    def attach(self, _self: Any) -> None:
        """Have PyMOL keep the provenance in its session files."""
        self.provenance.attach(_self)

    def detach(self, _self: Any) -> None:
        """Undo `attach`."""
        self.provenance.detach(_self)
