"""All requests, results and events between the plugin and the backend: one schema, in docs/protocol.md in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..frames import Arrays
from ..values import TypeFault, ValueFault, shown
from .base import AMessage, AResult, ArrayFault, Event, Lane, Message, Request, Result
from .control import (
    Cancel,
    CancelResult,
    Detached,
    DetachedResult,
    DetachedStatus,
    Done,
    FitStatus,
    Hello,
    HelloResult,
    Interrupted,
    InterruptedFit,
    InterruptedResult,
    Ping,
    Shutdown,
    Status,
    StatusResult,
    Stop,
    StopResult,
)
from .ensembles import (
    EnsembleRow,
    EnsembleSeries,
    Landscape,
    LandscapeResult,
    Macrostate,
    Occupancy,
    OccupancyResult,
    OccupancySurface,
)
from .events import Device, Log, Preview, Progress
from .files import Drop, Load, LoadResult, Save
from .fitting import Detach, DetachResult, Fit, FitResult, Open, OpenResult, PreviewOptions, Surface, SurfaceResult
from .generator import LearnedTrajectories, LearnGenerator
from .potential import LearnedProtein, LearnPotential, LearnResult
from .reports import AtomIdentity, FitReport, MoleculeSource, TrajectoryReport, molecule_sources
from .results import (
    Compare,
    CompareResult,
    Export,
    FieldRequest,
    FileResult,
    Grid,
    GridResult,
    Measure,
    MeasureResult,
    Mesh,
    MeshResult,
    Paint,
    PaintResult,
)
from .simulation import Prepare, PreparedMolecule, Simulate
from .sources import (
    BackTestRow,
    Generate,
    MoleculeRequest,
    SourceFrames,
    SourceProgress,
    SourceRequest,
    SourceResult,
    SourceStatus,
)

__all__ = [
    "EVENTS",
    "REQUESTS",
    "AResult",
    "ArrayFault",
    "AtomIdentity",
    "BackTestRow",
    "Cancel",
    "CancelResult",
    "Compare",
    "CompareResult",
    "Detach",
    "DetachResult",
    "Detached",
    "DetachedResult",
    "DetachedStatus",
    "Device",
    "Done",
    "Drop",
    "EnsembleRow",
    "EnsembleSeries",
    "Event",
    "Export",
    "FieldRequest",
    "FileResult",
    "Fit",
    "FitReport",
    "FitResult",
    "FitStatus",
    "Generate",
    "Grid",
    "GridResult",
    "Hello",
    "HelloResult",
    "Interrupted",
    "InterruptedFit",
    "InterruptedResult",
    "Landscape",
    "LandscapeResult",
    "Lane",
    "LearnGenerator",
    "LearnPotential",
    "LearnResult",
    "LearnedProtein",
    "LearnedTrajectories",
    "Load",
    "LoadResult",
    "Log",
    "Macrostate",
    "Measure",
    "MeasureResult",
    "Mesh",
    "MeshResult",
    "Message",
    "MoleculeRequest",
    "MoleculeSource",
    "Occupancy",
    "OccupancyResult",
    "OccupancySurface",
    "Open",
    "OpenResult",
    "Paint",
    "PaintResult",
    "Ping",
    "Prepare",
    "PreparedMolecule",
    "Preview",
    "PreviewOptions",
    "Progress",
    "Request",
    "Result",
    "Save",
    "Shutdown",
    "Simulate",
    "SourceFrames",
    "SourceProgress",
    "SourceRequest",
    "SourceResult",
    "SourceStatus",
    "Status",
    "StatusResult",
    "Stop",
    "StopResult",
    "Surface",
    "SurfaceResult",
    "TrajectoryReport",
    "molecule_sources",
    "parse_event",
    "parse_request",
    "parse_result",
]

_REQUESTS: tuple[type[Request[Any]], ...] = (
    Hello,
    Ping,
    Status,
    Detached,
    Stop,
    Interrupted,
    Cancel,
    Shutdown,
    Open,
    Surface,
    Fit,
    Detach,
    Mesh,
    Paint,
    Grid,
    Measure,
    Compare,
    Occupancy,
    Landscape,
    Export,
    Save,
    Load,
    Drop,
    Generate,
    Prepare,
    Simulate,
    LearnPotential,
    LearnGenerator,
)
REQUESTS = {kind.METHOD: kind for kind in _REQUESTS}
"""Requests by method."""
EVENTS: dict[str, type[Event]] = {
    kind.EVENT: kind for kind in (Progress, Device, Log, Preview, SourceProgress, SourceFrames)
}
"""Events by name."""


def parse_request(method: str, params: Mapping[str, Any], arrays: Arrays) -> Request[Any]:
    """Return the request of a known method. Raises ValueFault with the method and the parameter."""
    try:
        return REQUESTS[method].decode(params, arrays)
    except ArrayFault as fault:
        if fault.value is None:
            raise ValueFault(
                f"{method} needs the array {fault.key!r}, got {', '.join(arrays) or 'no arrays'}"
            ) from fault
        raise ValueFault(f"{method} needs {fault.key} as {fault.noun}, got {fault.value}") from fault
    except TypeFault as fault:
        raise ValueFault(f"{method} needs {fault.key} as {fault.noun}, got {shown(repr(fault.value))}") from fault


def parse_result(kind: type[AResult], values: Mapping[str, Any], arrays: Arrays, letters: Mapping[str, int]) -> AResult:
    """Return the result of a request. letters: numbers that are known, as {"A": atoms}. Raises ValueFault."""
    return _decoded(kind, values, arrays, letters)


def parse_event(event: str, params: Mapping[str, Any], arrays: Arrays) -> Event | None:
    """Return the event of that name; None for one that this version does not know. Raises ValueFault."""
    kind = EVENTS.get(event)
    return None if kind is None else _decoded(kind, params, arrays, {})


def _decoded(kind: type[AMessage], values: Mapping[str, Any], arrays: Arrays, letters: Mapping[str, int]) -> AMessage:
    try:
        return kind.decode(values, arrays, letters)
    except ArrayFault as fault:
        if fault.value is None:
            raise ValueFault(f"the array {fault.key} is missing") from fault
        raise ValueFault(f"{fault.key} is {fault.value}, not {fault.noun}") from fault
    except TypeFault as fault:
        raise ValueFault(f"{fault.key} is {shown(repr(fault.value))}, not {fault.noun}") from fault
