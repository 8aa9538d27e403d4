"""One request in the worker lane, and the lane that the server drives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from pymol_dsr.shared.frames import Arrays

PROGRESS_SECONDS = 0.2

Answer = tuple[dict[str, Any], Arrays]


class Events(Protocol):
    """Where a job's events go: the server, or the record of a detached fit."""

    def send_event(self, name: str, params: dict[str, Any], arrays: Arrays | None = None) -> None: ...


class Job:
    """One request in the worker lane, as its method sees it."""

    def __init__(self, number: int, method: str, params: dict[str, Any], arrays: Arrays, server: Events) -> None:
        self.id = number
        self.method = method
        self.params = params
        self.arrays = arrays
        self._server = server
        self._stop = threading.Event()
        self._last_progress = (-PROGRESS_SECONDS, "")

    def cancelled(self) -> bool:
        """Whether to stop: raise `errors.Cancelled` soon."""
        return self._stop.is_set()

    def event(self, name: str, params: dict[str, Any], arrays: Arrays | None = None) -> None:
        """Send an event to the plugin."""
        self._server.send_event(name, params, arrays)

    def progress(self, params: dict[str, Any]) -> None:
        """Send a `progress` event, at most five a second; a change of `phase` is always sent."""
        sent, phase = self._last_progress
        now = time.monotonic()
        if now - sent >= PROGRESS_SECONDS or params.get("phase") != phase:
            self._last_progress = (now, str(params.get("phase")))
            self.event("progress", params)

    def cancel(self) -> None:
        self._stop.set()


Method = Callable[[Job], Answer]


class Lane(Protocol):
    """What the server needs of a worker; `worker.Worker` is the real one."""

    @property
    def methods(self) -> Mapping[str, Method]:
        """The worker-lane methods by name, called in the main thread, but for those of `together`."""

    @property
    def together(self) -> Collection[str]:
        """Methods that change nothing, so that several such jobs may run at once."""

    @property
    def at_once(self) -> int:
        """How many of these; asked once, after `prepare`."""

    def enter(self) -> None:
        """Called first in each thread that runs such jobs."""

    def prepare(self) -> dict[str, Any]:
        """Import what is slow, in the main thread after hello; returns the params of the `device` event."""

    def status(self) -> dict[str, Any]:
        """Fits by name; called in the reading thread at any time."""

    def detached(self) -> dict[str, Any]:
        """Fits in processes of their own, by name; as `status`."""

    def stop(self, name: Any) -> bool:
        """Ask such a fit to end; whether it is under way. Called in the reading thread; raises RequestError."""

    def interrupted(self) -> dict[str, Any]:
        """Fits by name that could be resumed; called in the reading thread at any time."""

    def release(self) -> None:
        """Give back the memory of a job that failed or was cancelled."""
