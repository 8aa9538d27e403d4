"""The one backend that all fits of a session share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..backend.client import AtomCount, Backend, OnEvent
from ..runtime.settings import Settings
from ..runtime.slow_backend import report_waiting
from ..shared.messages import Device
from .fit import Cancelled, JobError, Task

# Seconds between two looks at a fit that waits while a backend is started for another.
LOOK_SECONDS = 0.1
# Lines of the backend that are printed in so many seconds.
LOG_LINES, LOG_SECONDS = 100, 10.0


class Connection:
    """Starts the backend when it is needed. on_event, atom_count: as for `Backend`."""

    def __init__(self, settings: Settings, on_event: OnEvent, atom_count: AtomCount) -> None:
        self._settings, self._on_event, self._atom_count = settings, on_event, atom_count
        self._backend: Backend | None = None
        self._closed = False
        self._starting = threading.Lock()

    def backend(self, fit: Task | None = None) -> Backend:
        """Return the running backend, started if there is none.

        Raises LaunchError or BackendError, and Cancelled where `fit` is stopped while the backend starts.
        """
        with self._turn(fit):
            self._check_open()
            if self._backend is None or not self._backend.alive:
                backend = Backend(
                    self._settings.backend_command(),
                    self._on_event,
                    self._atom_count,
                    self._settings.get("folder"),
                )
                backend.start(self._settings.wait, self._waiting(fit))
                self._backend = backend
            return self._backend

    @property
    def running(self) -> Backend | None:
        """The backend, where one runs."""
        return self._backend if self._backend is not None and self._backend.alive else None

    @property
    def device(self) -> Device | None:
        """The backend's device; None until the backend has reported it."""
        return self._backend.device if self._backend is not None else None

    def device_name(self, device: str = "") -> str:
        """Return a device of the backend in words (its default one if none is named), as far as it is known."""
        known = self.device or Device()
        name, default = known.name, known.device
        device = device or default
        return f"{name} ({device})" if name and device == default != name else device

    def close(self) -> None:
        """End the backend, and start none any more."""
        self._closed = True
        with self._starting:
            if self._backend is not None:
                self._backend.close()
                self._backend = None

    def end(self) -> None:
        """End a backend that does not obey; the next use starts another."""
        with self._starting:
            backend, self._backend = self._backend, None
        if backend is not None:
            backend.close(grace=1.0)

    def drop(self, in_use: Callable[[], bool]) -> None:
        """Let the next use start another backend, unless this one is in use by now."""
        with self._starting:
            backend = self._backend
            if backend is None or in_use():
                return
            self._backend = None
        # It may take its time to end.
        threading.Thread(target=backend.close, daemon=True).start()

    @contextmanager
    def _turn(self, fit: Task | None) -> Iterator[None]:
        """Wait until no backend is being started. Raises Cancelled where `fit` is stopped meanwhile."""
        while not self._starting.acquire(timeout=LOOK_SECONDS):
            _check_stop(fit)
        try:
            yield
        finally:
            self._starting.release()

    def _waiting(self, fit: Task | None) -> Callable[[str], None]:
        """Return the function that is called several times a second while a backend starts."""
        report = report_waiting(print, self._settings.wait)

        def waiting(line: str) -> None:
            self._check_open()
            _check_stop(fit)
            report(line)

        return waiting

    def _check_open(self) -> None:
        if self._closed:
            raise JobError("the fits of this session are closed")


def _check_stop(fit: Task | None) -> None:
    if fit is not None and fit.stop.is_set():
        raise Cancelled(f"{fit.name}: cancelled while the backend started")


class BackendLog:
    """Prints the backend's lines, LOG_LINES of them in LOG_SECONDS."""

    def __init__(self) -> None:
        self._count, self._began = 0, 0.0

    def print(self, line: str) -> None:
        """Print one line, or leave it out where there were too many."""
        clock = time.monotonic()
        if clock - self._began >= LOG_SECONDS:
            self._count, self._began = 0, clock
        self._count += 1
        if self._count <= LOG_LINES:
            print(f" dsr: {line}")
        elif self._count == LOG_LINES + 1:
            print(f" dsr: the backend says more than can be read; the rest of {LOG_SECONDS:g} s is left out")
