"""The one backend that all fits of a session share, and requests to it that can be cancelled."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager

from ..backend.client import AtomCount, Backend, Call, OnEvent
from ..backend.process import BackendError
from ..backend.reply_checks import AnyResult
from ..runtime.settings import Settings
from ..runtime.slow_backend import report_waiting
from ..shared.messages import Device, Request
from .fit import Cancelled, JobError, Task

# Seconds between two looks at a fit that waits while a backend is started for another.
LOOK_SECONDS = 0.1
# Answers of a stream that are asked for at once: as many as the backend works on together.
AHEAD = 4
# Time for a backend to stop a request that was cancelled; a healthy one takes a second at most.
CANCEL_SECONDS = 15.0
# Time for the last words of a backend that was ended by a scheduler, which come some seconds late.
ENDING_SECONDS = 10.0
# Lines of the backend that are printed in so many seconds.
LOG_LINES, LOG_SECONDS = 100, 10.0


class Connection:
    """Starts the backend when it is needed, and waits for its answers. on_event, atom_count: as for `Backend`."""

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

    def wait(self, task: Task, call: Call[AnyResult], tick: Callable[[], None] = lambda: None) -> AnyResult:
        """Return the result of a call; `tick` is called many times a second. Raises Cancelled or BackendError."""
        cancelled_at: float | None = None
        try:
            while not call.done:
                clock = time.monotonic()
                if task.stop.is_set() and cancelled_at is None:
                    cancelled_at = clock
                    call.cancel()
                if cancelled_at is not None and clock - cancelled_at > CANCEL_SECONDS:
                    self.end()
                    raise Cancelled(
                        f"{task.name}: cancelled; the backend did not stop within {CANCEL_SECONDS:g} s and was ended, "
                        "the next command starts another"
                    )
                tick()
                time.sleep(0.02)
            return call.result()
        except BackendError as error:
            if error.code != "cancelled":
                raise
            if task.stop.is_set():
                raise Cancelled(f"{task.name}: cancelled") from error
            # A scheduler did, at the end of its time.
            raise call.backend.why_ended(ENDING_SECONDS) from error
        except Cancelled:
            raise
        except BaseException:
            # Nobody waits for the answer any more, as where `tick` has failed.
            call.cancel()
            raise

    def ask(self, task: Task, request: Request[AnyResult]) -> AnyResult:
        """Return the result of one request of a task. Raises Cancelled or BackendError."""
        return self.wait(task, self.backend().submit(request))

    def stream(self, task: Task, requests: Iterable[Request[AnyResult]]) -> Generator[AnyResult, None, None]:
        """Return the results of many requests of a task, in order; the next ones are computed while one is used.

        Raises Cancelled or BackendError.
        """
        backend = self.backend()
        calls: deque[Call[AnyResult]] = deque()

        def next_answer() -> AnyResult:
            # Where the scene takes longer than the backend, each answer is there before it is waited for.
            if task.stop.is_set():
                raise Cancelled(f"{task.name}: cancelled")
            return self.wait(task, calls.popleft())

        try:
            for request in requests:
                calls.append(backend.submit(request))
                if len(calls) == AHEAD:
                    yield next_answer()
            while calls:
                yield next_answer()
        finally:
            for call in calls:
                call.cancel()

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
