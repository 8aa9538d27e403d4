"""The source that a page runs in the background, and its cancellation."""

from __future__ import annotations

from typing import Any

from ..sources.jobs import SourceJob


class SourceRun:
    """A source from the click that begins it to its end. It is planned first, and is a job of the session then.

    running: whether it has begun and not ended. job: None until it is planned.
    """

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self.running = self._is_cancelled = False
        self.job: SourceJob | None = None

    def begin(self) -> None:
        """Begin, before the work is handed to its thread."""
        self.running, self._is_cancelled, self.job = True, False, None

    def enter(self, job: SourceJob) -> None:
        """Take the job that was planned, in the thread of the work; it stops where the user has cancelled by now."""
        self.job = job
        if self._is_cancelled:
            job.stop.set()

    def cancel(self) -> None:
        """Stop it, now or as soon as it is planned."""
        self._is_cancelled = True
        job = self.job
        if job is not None:
            self._panel.session.sources.cancel(job.name)
        self._panel.say(f"{job.name}: stopping" if job is not None else "stopping")

    def end(self) -> None:
        """End, with or without a result."""
        self.running = False
