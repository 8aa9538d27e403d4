"""Fits as the user sees them: one list of fits by name, one backend that they share.

The scene is read before anything here runs, so a job makes no PyMOL call and may run in the background. One
activity per fit at a time, in one thread; fits take turns.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..backend import reply_checks
from ..backend.client import Backend, Call
from ..backend.process import BackendError
from ..runtime.settings import Settings
from ..runtime.waiting import report_waiting
from ..shared import text
from ..shared.text import AnswerError
from ..surfaces import workers
from ..surfaces.source import Source
from . import detached, interrupted
from .fit import MOST_LOSSES, Arrays, Cancelled, Fit, JobError, Say, Trajectory

PROGRESS_SECONDS = 2.0
# Answers of a stream that are asked for at once: as many as the backend works on together.
AHEAD = 4
# Its 40 000 steps took 0.36 s each on one core.
PAPER_ON_CPU = (
    "the network of the paper takes hours on a CPU; budget=600 ends it after ten minutes, "
    "and preset=fast is done in one or two"
)


# What a backend is left to stop a request that was cancelled; it takes a second at most where it is well.
CANCEL_SECONDS = 15.0
# For the last words of a backend that was ended by a scheduler; it says them some seconds late.
ENDING_SECONDS = 10.0
# Lines of the backend that are printed in so many seconds.
LOG_LINES, LOG_SECONDS = 100, 10.0


class Jobs:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.fits: dict[str, Fit] = {}
        self._backend: Backend | None = None
        self._closed = False
        self._starting = threading.Lock()
        self._claiming = threading.Lock()
        self._turn = threading.Lock()
        self._logged, self._log_began = 0, 0.0

    # The backend

    def backend(self, fit: Fit | None = None) -> Backend:
        """The running backend, started if there is none. Raises LaunchError or BackendError, and Cancelled where `fit`
        is stopped while the backend starts.
        """
        with self._starting:
            if self._closed:
                raise JobError("the fits of this session are closed")
            if self._backend is None or not self._backend.alive:
                home = self.settings.get("folder")
                backend = Backend(self.settings.backend_command(), self._on_event, self._atom_count, home)
                backend.start(self.settings.wait, self._waiting(fit))
                self._backend = backend
            return self._backend

    def _waiting(self, fit: Fit | None) -> Callable[[str], None]:
        """What is done several times a second while a backend starts."""
        tell = report_waiting(print, self.settings.wait)

        def waiting(said: str) -> None:
            if self._closed:
                raise JobError("the fits of this session are closed")
            if fit is not None and fit.stop.is_set():
                raise Cancelled(f"{fit.name}: cancelled while the backend started")
            tell(said)

        return waiting

    @property
    def running(self) -> Backend | None:
        """The backend, where one runs."""
        return self._backend if self._backend is not None and self._backend.alive else None

    def close(self) -> None:
        """Stop every job and the backend, for good."""
        self._closed = True
        for fit in self.fits.values():
            fit.stop.set()
        with self._starting:
            if self._backend is not None:
                self._backend.close()
                self._backend = None

    def _end_backend(self) -> None:
        """End one that does not obey; finished fits are in the folder."""
        with self._starting:
            backend, self._backend = self._backend, None
        if backend is not None:
            backend.close(grace=1.0)

    def restart_unused(self) -> None:
        """Let the next use start another backend, where nothing was fitted or loaded with this one."""
        if self.fits:
            # One of them may be waiting for the backend to start.
            return
        with self._starting:
            backend = self._backend
            if backend is None or self.fits:
                return
            self._backend = None
        # It may take its time to end.
        threading.Thread(target=backend.close, daemon=True).start()

    @property
    def device(self) -> dict[str, Any]:
        """The running backend's device: device, name, memory_gb, threads, torch; empty until it has said so."""
        return (self._backend.device if self._backend is not None else None) or {}

    def device_name(self, device: str = "") -> str:
        """A device of the running backend in words (its default one if none is named), as far as it is
        known.
        """
        name, default = str(self.device.get("name") or ""), str(self.device.get("device") or "")
        device = device or default
        return f"{name} ({device})" if name and device == default != name else device

    def _on_event(self, event: str, params: dict[str, Any], arrays: Arrays) -> None:
        fit = self.fits.get(str(params.get("fit")))
        try:
            if event == "log":
                self._log(text.one_line(params.get("text", "")))
            elif event == "preview" and fit is not None and fit.shown is not None and fit.preview is not None:
                which = {"fit": fit.name, "trajectory": fit.trajectories[0].name}
                reply_checks.preview(fit.preview[0], params, arrays, self._atom_count(which))
                fit.shown(params, arrays)
            elif event == "progress" and fit is not None and fit.phase in reply_checks.PHASES:
                told = reply_checks.progress(params)
                fit.phase, fit.fraction = told["phase"], told["fraction"]
                fit.loss, fit.seconds_left = told["loss"], told["seconds_left"]
                fit.step, fit.checkpoint = told["step"], told["checkpoint"]
                if fit.loss is not None:
                    if len(fit.losses) > 1 and fit.fraction - fit.losses[-2][0] < 1.0 / MOST_LOSSES:
                        # The last one is always there, and those before it lie even over the fit however long it takes.
                        fit.losses.pop()
                    fit.losses.append((fit.fraction, fit.loss))
                fit.device = self.device_name(told["device"])
        except AnswerError as error:
            self._log(text.one_line(f"an event {event!r} of the backend can't be used and is left out: {error}"))

    def _log(self, line: str) -> None:
        now = time.monotonic()
        if now - self._log_began >= LOG_SECONDS:
            self._logged, self._log_began = 0, now
        self._logged += 1
        if self._logged <= LOG_LINES:
            print(f" dsr: {line}")
        elif self._logged == LOG_LINES + 1:
            print(f" dsr: the backend says more than can be read; the rest of {LOG_SECONDS:g} s is left out")

    def _atom_count(self, params: dict[str, Any]) -> int | None:
        """How many atoms were fitted of what a request is about; None where that is not known."""
        fit = self.fits.get(str(params.get("fit")))
        for trajectory in fit.trajectories if fit is not None else ():
            if trajectory.name == str(params.get("trajectory") or "") and trajectory.atoms is not None:
                return len(trajectory.atoms)
        return None

    # Fits by name

    def get(self, name: str) -> Fit:
        """The fit of that name, ready to be used; one that a session names is loaded. Raises JobError."""
        fit = self.fits.get(name)
        if fit is None or (fit.detached and fit.phase not in ("stored", "ready")):
            self.look(name)
            fit = self.fits.get(name)
        if fit is None:
            there = ", ".join(sorted(self.fits)) or "none"
            raise JobError(f"there is no fit {name} (there: {there}); make one with dsr_fit or dsr_load")
        if fit.phase == "stored" and fit.fetch is not None:
            file, data = fit.fetch()
            fit = self.load(name, data)
            fit.file = file
        if fit.phase == "stored" and fit.detached:
            fit = self.load(name)
        if fit.phase != "ready":
            raise JobError(f"{fit.line()}; it can be used when it is ready")
        return fit

    @contextmanager
    def busy(self, fit: Fit, activity: str) -> Iterator[None]:
        """Hold the fit for one activity. Raises JobError when it has one already."""
        self.claim(fit, activity)
        try:
            yield
        finally:
            fit.activity = ""

    def claim(self, fit: Fit, activity: str) -> None:
        with self._claiming:
            if fit.activity:
                raise JobError(f"{fit.name} is busy with {fit.activity}; wait for it, or dsr_cancel {fit.name}")
            fit.activity, fit.doing = activity, ""
            fit.stop.clear()

    def cancel(self, name: str) -> bool:
        """Ask the fit's activity to stop; whether there was one. Raises JobError for an unknown name."""
        fit = self.fits.get(name)
        if fit is None or (not fit.activity and fit.phase in ("failed", "cancelled")):
            # Refused, perhaps, since a detached one of that name is under way.
            self.look(name)
            fit = self.fits.get(name)
        if fit is None:
            raise JobError(f"there is no fit {name} to cancel")
        running = bool(fit.activity)
        fit.stop.set()
        if fit.detached and not running:
            running = bool(self.backend().call("stop", {"fit": name}, timeout=20)[0].get("stopped"))
        return running

    def look(self, name: str = "") -> None:
        """Learn how far detached fits are, those of earlier sessions, too. Raises JobError or BackendError.

        A backend is started for it only where it may know of that fit, or of any.
        """
        backend = self._backend
        if backend is None or not backend.alive:
            if not detached.likely(self.settings, name):
                return
            backend = self.backend()
        for one, status in detached.listed(backend).items():
            fit = self.fits.get(one)
            if fit is None:
                fit = self.fits[one] = Fit(one)
            elif fit.activity or not (fit.detached or fit.phase in ("failed", "cancelled")):
                # It is newer than that one.
                continue
            detached.update(fit, status)

    # Asking

    def wait(self, fit: Fit, call: Call, say: Say = lambda text: None) -> tuple[dict[str, Any], Arrays]:
        """The answer to a call, with progress lines on the way. Raises Cancelled or BackendError."""
        asked: float | None = None
        try:
            while not call.done:
                if fit.stop.is_set() and asked is None:
                    asked = time.monotonic()
                    call.cancel()
                if asked is not None and time.monotonic() - asked > CANCEL_SECONDS:
                    self._end_backend()
                    raise Cancelled(
                        f"{fit.name}: cancelled; the backend did not stop within {CANCEL_SECONDS:g} s and was ended, "
                        "the next command starts another"
                    )
                self._say_progress(fit, say)
                time.sleep(0.02)
            return call.result()
        except KeyboardInterrupt:
            call.cancel()
            raise
        except BackendError as error:
            if error.code != "cancelled":
                raise
            if fit.stop.is_set():
                raise Cancelled(f"{fit.name}: cancelled") from error
            # A scheduler did, at the end of its time.
            raise call.backend.why_ended(ENDING_SECONDS) from error

    def ask(
        self, fit: Fit, method: str, params: dict[str, Any] | None = None, arrays: Arrays | None = None
    ) -> tuple[dict[str, Any], Arrays]:
        """One request about a fit. Raises Cancelled or BackendError."""
        return self.wait(fit, self.backend().submit(method, {"fit": fit.name, **(params or {})}, arrays))

    def stream(
        self, fit: Fit, method: str, requests: Sequence[dict[str, Any]], arrays: Arrays | None = None
    ) -> Generator[tuple[dict[str, Any], Arrays], None, None]:
        """The answers to many requests, in order, `arrays` going with each; the next ones are computed while an
        answer is used.
        """
        backend = self.backend()
        calls: deque[Call] = deque()
        try:
            for params in requests:
                calls.append(backend.submit(method, {"fit": fit.name, **params}, arrays))
                if len(calls) == AHEAD:
                    yield self.wait(fit, calls.popleft())
            while calls:
                yield self.wait(fit, calls.popleft())
        finally:
            for call in calls:
                call.cancel()

    def _say_progress(self, fit: Fit, say: Say) -> None:
        now = time.monotonic()
        if fit.phase not in ("queued", "ready") and now - fit.last_said >= PROGRESS_SECONDS:
            fit.last_said = now
            say(f" {fit.line()}")

    # Fitting

    def new(self, name: str, sources: Sequence[Source]) -> Fit:
        """Enter a fit, queued; one of that name that is done gives way. Raises JobError when it is not
        done.
        """
        old = self.fits.get(name)
        if old is not None and old.activity:
            raise JobError(f"{name} is busy with {old.activity}; wait for it, dsr_cancel {name}, or give another name")
        together = len(sources) > 1
        trajectories = [
            Trajectory(s.object if together else "", s.object, s.selection, s.atoms, list(map(float, s.states)))
            for s in sources
        ]
        fit = Fit(name, trajectories)
        self.fits[name] = fit
        self.claim(fit, "its fit")
        return fit

    def fit(self, fit: Fit, sources: Sequence[Source], config: dict[str, Any], how: dict[str, Any], say: Say) -> None:
        """Surfaces, then the fit, in turn with other fits. Raises Cancelled, BackendError or ExtractError.

        sources: one for each of the fit's trajectories. how: what `open` is told besides: resume, family, frozen;
        and whether to detach it.
        """
        try:
            if not self._turn.acquire(blocking=False):
                say(f" {fit.name}: waits for the fit before it; dsr_status shows both")
                while not self._turn.acquire(timeout=0.1):
                    if fit.stop.is_set():
                        raise Cancelled(f"{fit.name}: cancelled before it began")
            try:
                self._fit(fit, sources, config, how, say)
            finally:
                self._turn.release()
        except Cancelled:
            fit.phase = "cancelled"
            raise
        except KeyboardInterrupt:
            fit.phase = "cancelled"
            raise
        except BackendError as error:
            lost = error.code == "lost"
            fit.error = f"{fit.lost()} ({str(error).removesuffix('; start it again')})" if lost else str(error)
            fit.phase = "failed"
            if lost:
                raise BackendError(error.code, fit.error) from error
            raise
        except Exception as error:
            fit.phase, fit.error = "failed", str(error)
            raise
        finally:
            fit.activity = ""

    def _fit(self, fit: Fit, sources: Sequence[Source], config: dict[str, Any], how: dict[str, Any], say: Say) -> None:
        backend = self.backend(fit)
        detach = how.pop("detach", False)
        fit.device = self.device_name()
        opened = {"config": config, "object": sources[0].object, "source": sources[0].to_json(), **how}
        if fit.family:
            names = [t.name for t in fit.trajectories]
            described = {name: source.to_json() for name, source in zip(names, sources, strict=True)}
            opened.update(trajectories=names, object=", ".join(names), source={"trajectories": described})
        opened["asked"] = interrupted.asked(sources)
        preview, arrays = fit.preview or ({}, {})
        if preview:
            opened["preview"] = preview
        result, _ = self.ask(fit, "open", opened, arrays)
        there = result.get("states") or ()
        kept = [
            {float(s) for s in (there[t.name] if t.name else there)} & set(t.states) if there else set()
            for t in fit.trajectories
        ]
        count = sum(map(len, kept))
        if count:
            say(f" {fit.name}: {count} of {fit.count} surfaces are there from before")
        finished = False
        try:
            fit.phase = "surfaces"
            sent: deque[Call] = deque()
            for trajectory, source, made_before in zip(fit.trajectories, sources, kept, strict=True):
                which = {"trajectory": trajectory.name} if trajectory.name else {}
                states_left = [s for s in source.states if float(s) not in made_before]
                # The one that is looked at comes first.
                states_left.sort(key=lambda s: s != preview.get("time"))
                left = dataclasses.replace(source, states=states_left)
                for made in workers.compute_surfaces(left, self.settings.workers, fit.stop.is_set):
                    arrays = {"points": made.points, "normals": made.normals, "faces": made.faces, "atoms": made.atoms}
                    params = {"fit": fit.name, "state": made.state, **which}
                    sent.append(backend.submit("surface", params, arrays))
                    # A refused surface ends the fit now, not after all the others are made.
                    while len(sent) > 4:
                        self.wait(fit, sent.popleft())
                    count += 1
                    fit.phase, fit.fraction = "surfaces", count / fit.count
                    self._say_progress(fit, say)
                if fit.stop.is_set():
                    raise Cancelled(f"{fit.name}: cancelled")
            while sent:
                self.wait(fit, sent.popleft())
            on = self.device.get("device") if config["device"] == "auto" else config["device"]
            if config["preset"] == "paper" and config["budget"] is None and on == "cpu":
                print(f" {fit.name}: warning: {PAPER_ON_CPU}")
            if detach:
                status, _ = self.ask(fit, "detach")
                fit.phase, fit.fraction, fit.detached = "starting", 0.0, detached.where(status)
                finished = True
                return
            fit.phase, fit.fraction = "sampling", 0.0
            result, _ = self.wait(fit, backend.submit("fit", {"fit": fit.name}), say)
            fit.report = dict(result["report"])
            fit.device = self.device_name(str(fit.report.get("device") or ""))
            fit.phase, fit.fraction = "ready", 1.0
            finished = True
        finally:
            if not finished and backend.alive:
                # What was sent so far would only take the backend's memory.
                backend.submit("drop", {"fit": fit.name})

    # Files

    def load(self, name: str, data: bytes | None = None) -> Fit:
        """Give the content of a `.dsr` to the backend, or let it take what is in its own folder, and enter it as a fit.
        Raises JobError or BackendError.
        """
        old = self.fits.get(name)
        if old is not None and old.activity:
            raise JobError(f"{name} is busy with {old.activity}; wait for it, or give another name")
        fit = Fit(name)
        arrays = {} if data is None else {"file": np.frombuffer(data, np.uint8)}
        result, _ = self.wait(fit, self.backend().submit("load", {"fit": name}, arrays))
        fit.report = dict(result["report"])
        source = fit.report.get("source") or {}
        reports = fit.report.get("trajectories")
        if reports is None:
            fit.trajectories = [Trajectory.of("", fit.report, source)]
        else:
            sources = source.get("trajectories") or {}
            fit.trajectories = [Trajectory.of(n, one, sources.get(n) or {}) for n, one in reports.items()]
        fit.device = self.device_name()
        fit.phase, fit.fraction = "ready", 1.0
        self.fits[name] = fit
        return fit
