"""Messages about fits as files, and their end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from ..values import Value
from .base import Array, Lane, Request, Result
from .control import Done, FitName
from .reports import FitReport
from .results import FileResult


@dataclass(frozen=True, eq=False, kw_only=True)
class Save(Request[FileResult]):
    """Asks for a fit as a .dsr file."""

    METHOD = "save"
    LANE = Lane.WORKER
    RESULT = FileResult

    fit: FitName


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadResult(Result):
    """The answer to `load`."""

    report: Annotated[FitReport, Value("how the fit went, as the file tells")]


@dataclass(frozen=True, eq=False, kw_only=True)
class Load(Request[LoadResult]):
    """Takes a fit from a .dsr file, or from the backend's folder where none is sent."""

    METHOD = "load"
    LANE = Lane.WORKER
    RESULT = LoadResult

    fit: FitName
    file: Annotated[NDArray[np.uint8] | None, Array("content of a .dsr file", "|u1", ("B",))] = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Drop(Request[Done]):
    """Frees the memory of a fit and of surfaces sent for it; files in the folder stay."""

    METHOD = "drop"
    LANE = Lane.WORKER
    RESULT = Done

    fit: FitName
    opened: Annotated[bool, Value("only the surfaces that wait for their fit; the finished one stays")] = False
