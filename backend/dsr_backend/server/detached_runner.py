"""The process of a detached fit."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

import filelock

from pymol_dsr.shared import messages
from pymol_dsr.shared.fits_folder import DETACHED, LOCK

from ..runtime.errors import Cancelled, RequestError
from .detached_registry import (
    ASKED,
    BEAT,
    ENDED,
    LOCK_WAIT,
    LOG,
    MOST_LOG,
    STATUS,
    STOP,
    read_status,
    starting_status,
    write_json,
)
from .job import Job
from .worker import Worker

LAST_TRIES = 10
"""Tries, BEAT apart, to write the last status."""


def run_detached(fits: Path, name: str) -> int:
    """Fit from the surfaces that were set aside, which is the whole life of the process; return its exit code.

    Raises ValueError where nothing was asked for under this name, or another process fits it.
    """
    folder = fits / (name + DETACHED)
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=LOCK_WAIT)
    except filelock.Timeout as error:
        raise ValueError(f"{folder} is in use: another process fits {name}; dsr_cancel {name} stops it") from error
    except OSError as error:
        raise ValueError(f"{folder} says nothing of a fit to make ({error}); dsr_fit with detach=1 does") from error
    try:
        return _fit(folder, name)
    finally:
        lock.release()


def _fit(folder: Path, name: str) -> int:
    try:
        params_of_open = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} says nothing of a fit to make ({error}); dsr_fit with detach=1 does") from error
    worker = Worker()
    with _Record(folder) as record:
        try:
            for method, params in (("open", {**params_of_open, "resume": True}), ("fit", {"fit": name})):
                job = Job(0, method, params, {}, record)
                record.job = job
                if record.stopped:
                    raise Cancelled(f"{name} was stopped before it began to {method}")
                worker.methods[method](job)
        except Cancelled:
            record.end("cancelled", "it was stopped")
            return 1
        except Exception as error:
            lines = str(error).strip().splitlines()
            record.end("failed", lines[0] if isinstance(error, RequestError) and lines else f"{error!r}"[:1000])
            raise
        record.end("ready", "")
    return 0


class _Record:
    """The status of the process, written once a second, and its ear for orders to end."""

    def __init__(self, folder: Path) -> None:
        self.job: Job | None = None
        self.stopped = False
        self._folder = folder
        self._status = starting_status(os.getpid())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="dsr-status", daemon=True)

    def __enter__(self) -> _Record:
        before = read_status(self._folder)
        if before is not None and before.phase in ENDED:
            (self._folder / STOP).unlink(missing_ok=True)
        # A scheduler or an administrator ends it like a user does.
        signal.signal(signal.SIGTERM, lambda number, frame: self._cancel())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def send_event(self, event: messages.Event) -> None:
        """Write progress into the status and lines into the log."""
        if isinstance(event, messages.Progress):
            status = event.status
            self._status = dataclasses.replace(
                self._status,
                phase=status.phase,
                fraction=status.fraction,
                step=status.step,
                steps=status.steps,
                loss=status.loss,
                seconds_left=status.seconds_left,
                device=status.device or self._status.device,
            )
        elif isinstance(event, messages.Log):
            print(event.text, file=sys.stderr, flush=True)

    def end(self, phase: str, message: str) -> None:
        """Write the last status. Raises OSError where it can't be written at any of LAST_TRIES."""
        self._over.set()
        self._thread.join()
        fraction = 1.0 if phase == "ready" else self._status.fraction
        self._status = dataclasses.replace(self._status, phase=phase, fraction=fraction, message=message)
        for tries_left in reversed(range(LAST_TRIES)):
            try:
                self._write()
                return
            except OSError:
                if not tries_left:
                    raise
                # Without it, a finished fit would pass for one that was killed: Windows replaces no file that is read.
                time.sleep(BEAT)

    def _cancel(self) -> None:
        self.stopped = True
        if self.job is not None:
            self.job.cancel()

    def _beat(self) -> None:
        while not self._over.is_set():
            # A full disk costs the status, not the fit.
            with contextlib.suppress(OSError):
                self._write()
                if (self._folder / STOP).exists():
                    self._cancel()
                if (self._folder / LOG).stat().st_size > MOST_LOG:
                    os.truncate(self._folder / LOG, 0)
            self._over.wait(BEAT)

    def _write(self) -> None:
        write_json(self._folder / STATUS, dataclasses.replace(self._status, updated=time.time()).to_json())
