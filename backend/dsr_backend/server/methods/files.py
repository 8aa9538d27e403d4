"""Methods about fits as files, and their end: save, load, drop."""

from __future__ import annotations

import numpy as np

from pymol_dsr.shared import messages

from ...results import dsr_file
from ...runtime.folders import fits_folder
from .. import detached_registry
from ..job import Job
from ..replies import callers_fault
from .fitting import keep
from .state import State


def save(state: State, job: Job, request: messages.Save) -> messages.FileResult:
    """Return a fit as the content of a .dsr file; one that could not be kept before is kept, where it can be now."""
    if request.fit in state.unkept:
        keep(state, job, request.fit)
    with callers_fault():
        data = dsr_file.to_bytes(state.get(request.fit))
    return messages.FileResult(file=np.frombuffer(data, np.uint8))


def load(state: State, job: Job, request: messages.Load) -> messages.LoadResult:
    """Take a fit from a file that was sent, or from the folder of fits."""
    name, folder = request.fit, fits_folder()
    if request.file is None:
        detached = detached_registry.statuses(folder).get(name)
        if detached is not None and detached.phase == "ready":
            # In memory is an older fit of this name.
            state.fitted.drop(name)
        report = state.get(name).report
        if detached is None or detached.phase in detached_registry.ENDED:
            detached_registry.remove_record(folder, name)
        return messages.LoadResult(report=messages.FitReport(whole=report))
    with callers_fault():
        fitted = dsr_file.from_bytes(request.file.tobytes())
    state.fitted.put(name, fitted)
    state.unkept.pop(name, None)
    state.settle(name)
    return messages.LoadResult(report=messages.FitReport(whole=fitted.report))


def drop(state: State, job: Job, request: messages.Drop) -> messages.Done:
    """Free the memory of a fit, or only of the surfaces that wait for it."""
    state.pending.drop(request.fit)
    if not request.opened:
        state.fitted.drop(request.fit)
        state.unkept.pop(request.fit, None)
    state.settle(request.fit)
    return messages.Done()


METHODS = {messages.Save: save, messages.Load: load, messages.Drop: drop}
