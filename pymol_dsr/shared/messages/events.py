"""Events: what the backend tells without being asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..values import Value
from .base import Event, Flat
from .control import FitStatus
from .results import Faces, Nearest, Normals, Points


@dataclass(frozen=True, eq=False, kw_only=True)
class Progress(Event):
    """Progress of a fit, five times a second at most; a change of phase always."""

    EVENT = "progress"

    fit: Annotated[str, Value("name of the fit")]
    status: Annotated[FitStatus, Flat()]


@dataclass(frozen=True, eq=False, kw_only=True)
class Device(Event):
    """The device that computes, once torch is imported."""

    EVENT = "device"

    device: Annotated[str, Value("cpu, cuda or cuda:1")] = ""
    name: Annotated[str, Value("processor or GPU in words")] = ""
    memory_gb: Annotated[float | None, Value("its memory", unit="GiB")] = None
    threads: Annotated[int | None, Value("threads of the CPU")] = None
    torch: Annotated[str, Value("version of torch")] = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Log(Event):
    """A line for the user."""

    EVENT = "log"

    text: Annotated[str, Value("the line")]


@dataclass(frozen=True, eq=False, kw_only=True)
class Preview(Event):
    """The surface of the time that `open` asks for, from a field that is not finished yet."""

    EVENT = "preview"

    fit: Annotated[str, Value("name of the fit")]
    time: Annotated[float, Value("time of the surface", unit="states")]
    final: Annotated[bool, Value("the field is finished")] = False
    points: Points
    normals: Normals
    faces: Faces
    nearest: Nearest = None
