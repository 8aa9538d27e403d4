"""Fits that the backend's machine goes on with when PyMOL and the connection are gone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..backend import process
from ..backend.client import Backend
from ..backend.process import BackendError, LaunchError
from ..runtime.folders import fits_folder
from ..runtime.settings import Settings
from ..shared import messages
from ..shared.fits_folder import DETACHED
from .fit import Phase

if TYPE_CHECKING:
    from .fit import Fit

# A finished one has the phase `ready` in the backend, and is not loaded here yet.
PHASES = {
    "ready": Phase.STORED,
    **{
        str(phase): phase
        for phase in (
            Phase.STARTING,
            Phase.SURFACES,
            Phase.SAMPLING,
            Phase.FIT,
            Phase.SAVING,
            Phase.FAILED,
            Phase.CANCELLED,
        )
    },
}


def likely(settings: Settings, name: str = "") -> bool:
    """Whether a backend should be started to ask for the detached fit `name`, or for any.

    A backend on this machine keeps them in the folder of fits; another machine has to be asked.
    """
    try:
        local = process.is_local(settings.backend_command())
    except LaunchError:
        return False
    if not local:
        return True
    folder = fits_folder(settings)
    files = os.listdir(folder) if os.path.isdir(folder) else []
    return f"{name}{DETACHED}" in files if name else any(file.endswith(DETACHED) for file in files)


def statuses(backend: Backend) -> dict[str, messages.DetachedStatus]:
    """Return the backend's status of each detached fit, by name. Raises BackendError."""
    try:
        return backend.call(messages.Detached(), timeout=20).fits
    except BackendError as error:
        if error.code == "bad-request":
            # It is older than detached fits, so it has none.
            return {}
        raise


def update(fit: Fit, status: messages.DetachedStatus) -> None:
    """Enter the backend's status of a detached fit."""
    fit.detached = process_name(status.pid, status.host)
    fit.fraction, fit.step = min(1.0, max(0.0, status.fraction)), status.step
    fit.loss, fit.seconds_left = status.loss, status.seconds_left
    fit.device = (status.device or "")[:80]
    fit.error = " ".join(status.message.split())[:500]
    fit.phase = PHASES[status.phase]


def process_name(pid: int, host: str) -> str:
    """Return the process that fits it, in words."""
    return f"process {pid} on {host[:80]}"
