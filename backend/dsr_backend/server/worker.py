"""The worker lane: parses requests, calls their methods, and answers what the control lane asks of fits.

Methods bring torch: those of a topic are loaded with its first request, long after the greeting.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from pymol_dsr.shared import messages
from pymol_dsr.shared.messages import Lane

from ..runtime.errors import RequestError
from ..runtime.folders import fits_folder
from . import detached_registry
from .job import Answer, Job, Method
from .methods.state import State
from .replies import callers_fault

MESHES_AT_ONCE = 4
"""Jobs at once on a CPU with as many cores. The mesh of a large molecule takes 2.2 GiB at most while it is made."""

TypedMethod = Callable[[State, Job, Any], messages.Result]


class Worker:
    """Answers requests about fits."""

    together = frozenset(kind.METHOD for kind in messages.REQUESTS.values() if kind.LANE is Lane.TOGETHER)

    def __init__(self) -> None:
        self.state = State()
        self.methods: dict[str, Method] = {
            method: partial(self._answer, kind)
            for method, kind in messages.REQUESTS.items()
            if kind.LANE is not Lane.CONTROL
        }
        self._at_once, self._threads_each = 1, 1

    @property
    def at_once(self) -> int:
        """The number of methods of `together` that may run at once."""
        return self._at_once

    def enter(self) -> None:
        """Give a thread its number of torch's threads."""
        import torch  # heavy

        torch.set_num_threads(self._threads_each)

    def prepare(self) -> messages.Device:
        """Import torch; return the device."""
        from ..runtime import device  # heavy

        described = device.describe("auto")
        if described.device == "cpu":
            # Meshes share out badly to many threads: two on two take half the time, one on two as long as on one.
            self._at_once = min(MESHES_AT_ONCE, described.threads)
            self._threads_each = described.threads // self._at_once
        return messages.Device(**dataclasses.asdict(described))

    def status(self) -> dict[str, messages.FitStatus]:
        """Return the state of fits in memory by name."""
        return dict(self.state.statuses)

    def detached(self) -> dict[str, messages.DetachedStatus]:
        """Return the state of fits in processes of their own by name."""
        return detached_registry.statuses(fits_folder())

    def stop(self, name: str) -> bool:
        """Ask a detached fit to end, and return whether it is under way. Raises RequestError."""
        try:
            return detached_registry.stop_detached(fits_folder(), name)
        except OSError as exc:
            raise RequestError("internal", f"fit {name!r} can't be told to stop: {exc}") from exc

    def interrupted(self) -> dict[str, messages.InterruptedFit]:
        """Return the fits whose surfaces wait in the folder, by name."""
        from ..surfaces.staging import interrupted_fits

        busy = {name for name, status in self.detached().items() if status.phase not in detached_registry.ENDED}
        fits = {}
        for name, description in interrupted_fits(fits_folder()).items():
            if name not in self.state.pending and name not in self.state.unkept and name not in busy:
                fits[name] = messages.InterruptedFit.from_json(description)
        return fits

    def release(self) -> None:
        """Give back the memory of a job that failed or was cancelled."""
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _answer(self, kind: type[messages.Request[Any]], job: Job) -> Answer:
        with callers_fault():
            request = messages.parse_request(kind.METHOD, job.params, job.arrays)
        return method_of(kind)(self.state, job, request).encode()


def method_of(kind: type[messages.Request[Any]]) -> TypedMethod:
    """Return the method that answers such requests. Imports torch, and the modules of its topic alone."""
    # The methods of a topic are in a module that is named like that of its messages.
    topic = kind.__module__.rpartition(".")[2]
    method: TypedMethod = importlib.import_module(f"{__package__}.methods.{topic}").METHODS[kind]
    return method
