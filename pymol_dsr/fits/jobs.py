"""Fits by name, and their activities.

The scene is read before anything here runs, so a job makes no PyMOL call and may run in the background. A fit has one
activity at a time, in one thread; fits take turns.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import numpy as np

from ..backend import reply_checks
from ..runtime.settings import Settings
from ..shared import messages, text
from ..shared.frames import MAX_PAYLOAD
from ..shared.messages import Event
from ..shared.reading import ReadError, read_file
from ..shared.values import ValueFault
from ..surfaces.source import Source
from . import detached
from .connection import BackendLog, Connection
from .fit import ENDED, RUNNING, Activity, Cancelled, Fit, JobError, Phase, Say, Task, Trajectory
from .timing import Rates

T = TypeVar("T")
SourceEvent = messages.SourceProgress | messages.SourceFrames | messages.Log


class Jobs:
    """All fits of a session by name, and the backend that they share.

    on_source: takes the events of trajectory sources, in the reading thread. on_loaded: takes each fit that was loaded
    because it is used, before it is used.
    """

    def __init__(
        self,
        settings: Settings,
        on_source: Callable[[SourceEvent], None] = lambda event: None,
        on_loaded: Callable[[Fit], None] = lambda fit: None,
    ) -> None:
        self.settings = settings
        self.fits: dict[str, Fit] = {}
        self.connection = Connection(settings, self.on_event, self._atom_count)
        self.rates = Rates()
        self._log = BackendLog()
        self._on_source, self._on_loaded = on_source, on_loaded
        self._claiming = threading.Lock()
        self._turn = threading.Lock()

    def close(self) -> None:
        """Stop every job and the backend, for good."""
        for fit in self.listed():
            fit.stop.set()
        self.connection.close()

    def restart_unused(self) -> None:
        """Let the next use start another backend, where nothing was fitted or loaded with this one."""
        # A fit may be waiting for the backend to start, so its lock is not waited for.
        if not self.fits:
            self.connection.drop(in_use=lambda: bool(self.fits))

    # Fits by name

    def listed(self) -> list[Fit]:
        """Return all fits as they are now; in their own threads, they come and go meanwhile."""
        return list(self.fits.values())

    def get(self, name: str) -> Fit:
        """Return the fit of that name, ready to be used; a stored one is loaded. Raises JobError."""
        self.unload_lost()
        fit = self.fits.get(name)
        if fit is None or (fit.detached and fit.phase not in (Phase.STORED, Phase.READY)):
            self.refresh_detached(name)
            fit = self.fits.get(name)
        if fit is None:
            names = ", ".join(sorted(self.fits)) or "none"
            raise JobError(f"there is no fit {name} (there: {names}); make one with dsr_fit or dsr_load")
        if fit.phase is Phase.STORED:
            fit = self._load_stored(fit)
        if fit.phase is not Phase.READY:
            raise JobError(fit.line() if fit.phase in ENDED else f"{fit.line()}; it can be used when it is ready")
        return fit

    def _load_stored(self, unloaded: Fit) -> Fit:
        """Return a stored fit loaded, with all that its file does not hold."""
        file, data = ("", None) if unloaded.fetch is None else unloaded.fetch()
        fit = self.load(unloaded.name, data)
        fit.file, fit.fetch, fit.losses = file, unloaded.fetch, unloaded.losses
        self._on_loaded(fit)
        return fit

    def new(self, name: str, sources: Sequence[Source], activity: Activity) -> Fit:
        """Enter a fit, queued and claimed for an activity; raises JobError where one of that name is busy.

        An ensemble is entered in the same way, without a fit to come. A finished one of that name, or a detached one,
        is kept as `replaces`, until `replacing` or `leave`.
        """
        before = self.fits.get(name)
        if before is not None and before.activity:
            raise JobError(
                f"{name} is busy with {before.activity}; wait for it, dsr_cancel {name}, or give another name"
            )
        together = len(sources) > 1
        trajectories = [
            Trajectory(
                s.object if together else "",
                s.object,
                s.selection,
                s.atoms,
                list(map(float, s.states)),
                s.unwrap,
                identity=s.identity,
            )
            for s in sources
        ]
        replaces = before if before is not None and before.phase not in ENDED else None
        fit = self.fits[name] = Fit(name, trajectories, replaces=replaces)
        self.claim(fit, activity)
        return fit

    @contextmanager
    def withdrawn_on_error(self, fit: Fit) -> Iterator[None]:
        """Take a new fit out again where what comes before its work fails."""
        try:
            yield
        except BaseException:
            self.release(fit)
            self.leave(fit)
            raise

    @contextmanager
    def replacing(self, fit: Fit) -> Iterator[None]:
        """Put the fit in the place of the one before it where it is ready at the end, and else take that one back."""
        try:
            yield
        finally:
            if fit.phase in ENDED:
                self._restore_replaced(fit)
            elif fit.phase is Phase.READY:
                fit.replaces = None

    def leave(self, fit: Fit) -> None:
        """Take out a fit that is over, for the one before it where there was one."""
        if self.fits.get(fit.name) is fit:
            del self.fits[fit.name]
            if fit.replaces is not None:
                self.fits[fit.name] = fit.replaces

    def _restore_replaced(self, fit: Fit) -> None:
        """Take back the fit that an ended one was to replace, with a note of how that one ended."""
        before = fit.replaces
        if before is None or self.fits.get(fit.name) is not fit:
            return
        ending = "was cancelled" if fit.phase is Phase.CANCELLED else f"failed: {fit.error}"
        before.note = f"the fit that was to replace it {ending}"
        if fit.detached and before.detached:
            # The record of a detached fit is of the one that has ended now.
            before.detached, before.in_folder = "", True
        self.fits[fit.name] = before

    def load(self, name: str, data: bytes | None = None) -> Fit:
        """Enter a fit from the content of a `.dsr`, or from the backend's own folder.

        Raises JobError or BackendError.
        """
        before = self.fits.get(name)
        if before is not None and before.activity:
            raise JobError(f"{name} is busy with {before.activity}; wait for it, or give another name")
        fit = Fit(name)
        file = None if data is None else np.frombuffer(data, np.uint8)
        fit.report = self.connection.ask(fit, messages.Load(fit=name, file=file)).report
        sources = fit.report.sources()
        fit.trajectories = [
            Trajectory.of(member, report, sources.get(member, messages.MoleculeSource()))
            for member, report in fit.report.members().items()
        ]
        fit.device = self.connection.device_name()
        fit.holder, fit.in_folder = self.connection.running, data is None
        fit.digest = "" if data is None else hashlib.sha256(data).hexdigest()
        fit.phase, fit.fraction = Phase.READY, 1.0
        self.fits[name] = fit
        return fit

    def unload_lost(self) -> None:
        """Mark the fits whose backend has ended: those with a file as stored, the others as lost.

        A new backend would not have them, or would have another fit of that name in its folder.
        """
        running = self.connection.running
        for fit in tuple(self.fits.values()):
            if fit.phase is not Phase.READY or fit.activity or fit.holder is None or fit.holder is running:
                continue
            fit.holder = None
            if not fit.in_folder and fit.fetch is None and fit.file and fit.digest:
                fit.fetch = partial(read_unchanged, fit.name, fit.file, fit.digest)
            if fit.in_folder or fit.fetch is not None:
                fit.phase = Phase.STORED
            else:
                fit.phase = Phase.FAILED
                fit.error = (
                    "lost, since its backend has ended and it has no file; make it again with dsr_fit, or bring its "
                    "file back with dsr_load"
                )

    def refresh_detached(self, name: str = "") -> None:
        """Ask how far detached fits are, those of earlier sessions, too. Raises JobError or BackendError.

        A backend is started for it only where it may know of that fit, or of any.
        """
        backend = self.connection.running
        if backend is None:
            if not detached.likely(self.settings, name):
                return
            backend = self.connection.backend()
        for listed, status in detached.statuses(backend).items():
            fit = self.fits.get(listed)
            if fit is None:
                fit = self.fits[listed] = Fit(listed)
            elif fit.activity or not (fit.detached or fit.phase in ENDED):
                # It is newer than the detached one.
                continue
            detached.update(fit, status)
            if fit.phase in ENDED and fit.replaces is not None:
                self._restore_replaced(fit)
                # Its record goes with the answer.
                backend.submit(messages.Stop(fit=listed))
            elif fit.is_finished:
                fit.replaces = None

    # Activities

    def claim(self, fit: Fit, activity: Activity) -> None:
        """Give the fit an activity, until `release`. Raises JobError when it has one."""
        with self._claiming:
            if fit.activity:
                raise JobError(f"{fit.name} is busy with {fit.activity}; wait for it, or dsr_cancel {fit.name}")
            fit.activity, fit.stage, fit.fraction, fit.since = activity, "", 0.0, time.monotonic()
            fit.stop.clear()

    def release(self, fit: Fit) -> None:
        """End the activity that was claimed."""
        fit.activity = None

    def claimed(self, fit: Fit, activity: Activity, work: Callable[[], T]) -> Callable[[], T]:
        """Claim the fit at once, and return the work, which releases it at its end. Raises JobError when it is busy."""
        self.claim(fit, activity)

        def releasing_work() -> T:
            with self.releasing(fit):
                return work()

        return releasing_work

    @contextmanager
    def busy(self, fit: Fit, activity: Activity) -> Iterator[None]:
        """Hold the fit for one activity. Raises JobError when it has one."""
        self.claim(fit, activity)
        with self.releasing(fit):
            yield

    @contextmanager
    def releasing(self, fit: Fit) -> Iterator[None]:
        """Release at the end a fit that is claimed already."""
        try:
            yield
        finally:
            self.release(fit)

    @contextmanager
    def turn(self, fit: Task, say: Say) -> Iterator[None]:
        """Wait until no other fit is under way. Raises Cancelled."""
        if not self._turn.acquire(blocking=False):
            say(f" {fit.name}: waits for the fit before it; dsr_status shows both")
            while not self._turn.acquire(timeout=0.1):
                if fit.stop.is_set():
                    raise Cancelled(f"{fit.name}: cancelled before it began")
        try:
            yield
        finally:
            self._turn.release()

    def cancel(self, name: str) -> bool:
        """Ask the fit's activity to stop, and return whether there was one. Raises JobError for an unknown name."""
        fit = self.fits.get(name)
        if fit is None or (not fit.activity and fit.phase in ENDED):
            # It may have been refused because a detached one of that name is under way.
            self.refresh_detached(name)
            fit = self.fits.get(name)
        if fit is None:
            raise JobError(f"there is no fit {name} to cancel")
        running = fit.activity is not None
        fit.stop.set()
        if fit.detached and not running:
            running = self.connection.backend().call(messages.Stop(fit=name), timeout=20).stopped
            if not running and fit.phase in (Phase.FAILED, Phase.CANCELLED):
                # Its record went with this answer.
                del self.fits[name]
        return running

    # Events

    def on_event(self, event: Event) -> None:
        """Take an event of the backend, in the reading thread."""
        if isinstance(event, messages.Log):
            self._log.print(text.one_line(event.text))
            self._on_source(event)
        elif isinstance(event, messages.Preview):
            self._take_preview(event)
        elif isinstance(event, messages.Progress):
            self._take_progress(event.fit, event.status)
        elif isinstance(event, (messages.SourceProgress, messages.SourceFrames)):
            self._on_source(event)

    def _take_preview(self, preview: messages.Preview) -> None:
        fit = self.fits.get(preview.fit)
        if fit is None or fit.preview is None:
            return
        atoms = self._atom_count(fit.name, fit.trajectories[0].name)
        try:
            reply_checks.check_preview(fit.preview.options, preview, atoms)
        except ValueFault as fault:
            self._log.print(text.one_line(f"a preview of the backend can't be used and is left out: {fault}"))
        else:
            fit.preview.show_preview(preview)

    def _take_progress(self, name: str, status: messages.FitStatus) -> None:
        fit, phase = self.fits.get(name), Phase(status.phase)
        # The end of a fit is told by the reply to `fit`, not by an event.
        if fit is None or fit.phase not in RUNNING or phase not in RUNNING:
            return
        fit.phase, fit.fraction = phase, min(1.0, max(0.0, status.fraction))
        fit.loss, fit.seconds_left = status.loss, status.seconds_left
        fit.step, fit.checkpoint = status.step, status.checkpoint
        if fit.loss is not None:
            fit.add_loss(fit.fraction, fit.loss)
        fit.device = self.connection.device_name((status.device or "")[:80])

    def _atom_count(self, name: str, trajectory: str) -> int | None:
        """Return the number of fitted atoms of a trajectory, empty for the only one; None where it is not known."""
        fit = self.fits.get(name)
        for known in fit.trajectories if fit is not None else ():
            if known.name == trajectory and known.atoms is not None:
                return len(known.atoms)
        return None


def read_unchanged(name: str, path: str, digest: str) -> tuple[str, bytes]:
    """Return the path and content of a fit's file.

    Raises JobError where its SHA-256 is another one, or it can't be read.
    """
    try:
        data = read_file(path, MAX_PAYLOAD)
    except ReadError as error:
        raise JobError(f"{name}: its file {error}; 'dsr_load FILE, {name}' brings the fit back") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise JobError(
            f"{name}: its file {path} is not what it was when it was loaded (another SHA-256); "
            f"'dsr_load FILE, {name}' loads it as it is now"
        )
    return path, data
