"""One request in the worker lane, and the lane that the server drives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from pymol_dsr.shared import messages
from pymol_dsr.shared.frames import Arrays
from pymol_dsr.shared.values import JsonObject

from ..runtime.errors import Cancelled

PROGRESS_SECONDS = 0.2

Answer = tuple[JsonObject, Arrays]


class Events(Protocol):
    """Where a job's events go: the server, or the record of a detached fit."""

    def send_event(self, event: messages.Event) -> None:
        """Pass one event on."""


class Job:
    """One request in the worker lane, as its method sees it."""

    def __init__(self, number: int, method: str, params: Mapping[str, Any], arrays: Arrays, events: Events) -> None:
        self.id = number
        self.method = method
        self.params = params
        self.arrays = arrays
        self._events = events
        self._stop = threading.Event()
        self._committing = threading.Lock()
        self._committed = False
        self._last_progress = (-PROGRESS_SECONDS, "")

    def cancelled(self) -> bool:
        """Whether to stop: raise Cancelled soon, as `check` does."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise Cancelled once it was asked to stop."""
        if self.cancelled():
            raise Cancelled(f"{self.method} was cancelled")

    def event(self, event: messages.Event) -> None:
        """Send an event to the plugin."""
        self._events.send_event(event)

    def log(self, text: str) -> None:
        """Send a line for the user."""
        self.event(messages.Log(text=text))

    def log_about(self, subject: str) -> Callable[[str], None]:
        """Return a function that sends lines for the user, the subject before each."""
        return lambda text: self.log(f"{subject}: {text}")

    def progress(self, progress: messages.Progress | messages.SourceProgress) -> bool:
        """Send progress, at most five times a second, and return whether it was sent; a new phase always is."""
        sent, phase = self._last_progress
        moment = time.monotonic()
        if moment - sent < PROGRESS_SECONDS and progress.status.phase == phase:
            return False
        self._last_progress = (moment, progress.status.phase)
        self.event(progress)
        return True

    def cancel(self) -> bool:
        """Ask the method to stop, and return whether it still can."""
        with self._committing:
            if not self._committed:
                self._stop.set()
            return not self._committed

    def commit(self) -> None:
        """From here on, come to the end in spite of `cancel`. Raises Cancelled where it was asked to stop before."""
        with self._committing:
            self.check()
            self._committed = True


Method = Callable[[Job], Answer]


class Lane(Protocol):
    """A worker as the server needs it; `worker.Worker` is the real one."""

    @property
    def methods(self) -> Mapping[str, Method]:
        """The worker-lane methods by name, called in the main thread, but for those of `together`."""

    @property
    def together(self) -> Collection[str]:
        """Methods that change nothing, so that several such jobs may run at once."""

    @property
    def at_once(self) -> int:
        """The number of these that may run at once; asked once, after `prepare`."""

    def enter(self) -> None:
        """Prepare a thread that runs such jobs; each calls it first."""

    def prepare(self) -> messages.Device:
        """Import what is slow, in the main thread after hello."""

    def status(self) -> dict[str, messages.FitStatus]:
        """Fits by name; called in the reading thread at any time."""

    def detached(self) -> dict[str, messages.DetachedStatus]:
        """Fits in processes of their own, by name; as `status`."""

    def stop(self, name: str) -> bool:
        """Ask such a fit to end, and return whether it is under way.

        Called in the reading thread. Raises RequestError.
        """

    def interrupted(self) -> dict[str, messages.InterruptedFit]:
        """Fits by name that could be resumed; called in the reading thread at any time."""

    def release(self) -> None:
        """Give back the memory of a job that failed or was cancelled."""
