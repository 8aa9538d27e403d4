"""Fits that the backend's machine goes on with when PyMOL and the connection are gone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..backend import process
from ..backend.client import Backend
from ..backend.process import BackendError, LaunchError
from ..runtime.folders import fits_folder
from ..runtime.settings import Settings
from .fit import Phase

if TYPE_CHECKING:
    from .fit import Fit

SUFFIX = ".detached"
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
    return f"{name}{SUFFIX}" in files if name else any(file.endswith(SUFFIX) for file in files)


def statuses(backend: Backend) -> dict[str, dict[str, Any]]:
    """The backend's status of each detached fit, by name. Raises BackendError."""
    try:
        fits = backend.call("detached", timeout=20)[0].get("fits")
    except BackendError as error:
        if error.code == "bad-request":
            # It is older than detached fits, so it has none.
            return {}
        raise
    if not isinstance(fits, dict):
        raise BackendError("protocol", "the backend's list of detached fits is none; see dsr_doctor")
    return {str(name): status for name, status in fits.items() if isinstance(status, dict)}


def update(fit: Fit, status: Mapping[str, Any]) -> None:
    """Enter the backend's status of a detached fit."""
    fit.detached = process_name(status)
    fit.fraction = _number(status.get("fraction")) or 0.0
    fit.loss, fit.seconds_left = _number(status.get("loss")), _number(status.get("seconds_left"))
    fit.step = _number(status.get("step"))
    fit.device = str(status.get("device") or "")[:80]
    fit.error = " ".join(str(status.get("message") or "").split())[:500]
    fit.phase = PHASES.get(str(status.get("phase")), Phase.FAILED)


def process_name(status: Mapping[str, Any]) -> str:
    """The process that fits it, in words."""
    return f"process {str(status.get('pid'))[:20]} on {str(status.get('host'))[:80]}"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
