"""Typed commands that follow a fit wait for it, in the order in which they were typed."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from pymol import CmdException

from ..fits.background import Background, message_of
from ..fits.fit import ENDED, Activity, Fit, Phase
from ..fits.jobs import Jobs
from .gui_thread import in_gui

POLL_SECONDS = 0.1
# The command that loads a movie.
MOVIE = "dsr_movie"

Call = Callable[[], Any]


class CommandQueues:
    """The commands that wait, by the name of their fit."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._queues: dict[str, deque[tuple[str, Call]]] = {}
        self._lock = threading.Lock()

    def must_wait(self, name: str) -> bool:
        """Whether a command about that fit comes after others that are not done."""
        fit = self._jobs.fits.get(name)
        return name in self._queues or (fit is not None and fit.activity is not None)

    def fit_of_movie(self) -> str:
        """Return the fit whose movie is being loaded or is to be loaded by a command that waits; empty for none."""
        with self._lock:
            queued = [name for name, queue in self._queues.items() if any(title == MOVIE for title, _ in queue)]
        loading = [fit.name for fit in self._jobs.listed() if fit.activity is Activity.MOVIE]
        return next(iter([*queued, *loading]), "")

    def add(self, name: str, title: str, call: Call, _self: Any) -> None:
        """Call `call` in the window's thread when the fit has nothing else to do. title: the command, for messages."""
        with self._lock:
            queue = self._queues.get(name)
            if queue is not None:
                queue.append((title, call))
                return
            self._queues[name] = deque([(title, call)])
        fit = self._jobs.fits.get(name)
        Background(target=self._run, args=(name, fit, _self), name=f"dsr-waiting-{name}", daemon=True).start()

    def _run(self, name: str, fit: Fit | None, _self: Any) -> None:
        """Run the commands of a fit one after another. fit: None where it has left since `must_wait`."""
        while True:
            fit = self._at_rest(name, fit)
            with self._lock:
                queue = self._queues[name]
                if not queue or fit is None or fit.phase in ENDED:
                    dropped = [title for title, _ in queue]
                    del self._queues[name]
                    break
                title, call = queue.popleft()
            try:
                in_gui(_self, call)
            except CmdException as error:
                print(f" Error: {title}: {message_of(error)}")
            except Exception:
                # The others go on: a fault of ours must not leave them waiting for good.
                traceback.print_exc()
        if dropped:
            print(f" {', '.join(dropped)}: not run, since the fit {name} {_ending(fit)}")

    def _at_rest(self, name: str, fit: Fit | None) -> Fit | None:
        """Wait until the fit does nothing and return it, or the one that has taken its place; None where it has left.

        A stored fit becomes another one of its name when a command loads it. One that has failed or was cancelled is
        returned, whatever has its name now.
        """
        while fit is not None:
            if fit.activity is not None:
                time.sleep(POLL_SECONDS)
                continue
            current = self._jobs.fits.get(name)
            if fit.phase in ENDED or current is fit:
                break
            fit = current
        return fit


def _ending(fit: Fit | None) -> str:
    if fit is None:
        return "is not there any more"
    return "was cancelled" if fit.phase is Phase.CANCELLED else "has failed"
