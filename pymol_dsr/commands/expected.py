"""Errors that a user can cause or a machine can make. Any other is a fault of ours and keeps its traceback."""

from __future__ import annotations

from ..backend.process import BackendError
from ..fits.fit import Cancelled, JobError
from ..runtime.settings import SettingsError
from ..scene.objects import SceneError
from ..shared.states import StatesError
from ..shared.values import ValueFault
from ..surfaces.source import ExtractError

EXPECTED = (
    StatesError,
    ValueFault,
    ExtractError,
    SceneError,
    JobError,
    SettingsError,
    BackendError,
    Cancelled,
    OSError,
)
