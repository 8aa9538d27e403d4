"""Validates the backend's replies and previews before they reach PyMOL.

A backend may be another machine's, another version's, or broken: sizes, types, indices and numbers that PyMOL's own
code would follow blindly are checked here. The messages say themselves which values and arrays they have, in
`shared/messages`; here stands what depends on the request. Values and arrays that no message has are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar, cast

from ..shared import messages
from ..shared.frames import Arrays
from ..shared.messages import Request, Result
from ..shared.values import JsonValue, ValueFault

AnyResult = TypeVar("AnyResult", bound=Result)

MOST_TRIANGLES = 20_000_000
"""Most triangles of a mesh where the request names no number; a movie may hold a quarter of it in all."""


def check(
    request: Request[AnyResult], values: Mapping[str, JsonValue], arrays: Arrays, atom_count: int | None
) -> AnyResult:
    """Return the result in a reply to this request. Raises ValueFault where it is none.

    atom_count: how many atoms were fitted, or None where that is not known.
    """
    letters = {} if atom_count is None else {"A": atom_count}
    if isinstance(request, messages.Paint):
        letters["N"] = len(request.points)
    elif isinstance(request, messages.SourceRequest):
        letters["A"] = len(request.atoms)
    elif isinstance(request, messages.Measure) and "area" in arrays and not len(arrays["area"]):
        # A field without atoms, as it says itself.
        letters.clear()
    result = messages.parse_result(request.RESULT, values, arrays, letters)
    _check_request(request, result, atom_count)
    # A request and its result belong together, by `Request.RESULT`.
    return cast(AnyResult, result)


def check_preview(asked: messages.PreviewOptions, preview: messages.Preview, atom_count: int | None) -> None:
    """Raise ValueFault unless a preview is as it was asked for when the fit was opened."""
    _check_time(asked.time, preview.time)
    _check_size(preview, asked.triangles)
    nearest = preview.nearest
    if nearest is not None and len(nearest) and atom_count is not None and nearest.max() >= atom_count:
        raise ValueFault(f"nearest has the index {nearest.max()}, of {atom_count} atoms that there are")


def _check_request(request: Request[AnyResult], result: Result, atom_count: int | None) -> None:
    if isinstance(request, messages.Mesh) and isinstance(result, messages.MeshResult):
        _check_size(result, request.mesh.triangles)
        _check_time(request.time, result.time)
    elif isinstance(request, messages.Measure) and isinstance(result, messages.MeasureResult):
        _check_time(request.time, result.time)
    elif isinstance(request, messages.Grid) and isinstance(result, messages.GridResult):
        if not _is_same(result.spacing, request.resolution):
            raise ValueFault(f"spacing is {result.spacing:g} Å, and {request.resolution:g} Å was asked for")
    elif isinstance(request, messages.Paint) and isinstance(result, messages.PaintResult):
        if len(request.points) and result.velocity is None:
            raise ValueFault("the array velocity is missing")
        if not len(request.points) and result.rmsf is None and atom_count is not None:
            raise ValueFault("the array excursions is missing")
    elif isinstance(request, messages.Occupancy) and isinstance(result, messages.OccupancyResult):
        _check_occupancy(request, result)
    elif isinstance(request, messages.Open) and isinstance(result, messages.OpenResult):
        _check_trajectories(request.trajectories or ("",), result)
    elif isinstance(result, (messages.FitResult, messages.LoadResult)):
        for source in result.report.sources().values():
            source.atom_indices()


def _check_occupancy(request: messages.Occupancy, result: messages.OccupancyResult) -> None:
    levels = tuple(surface.level for surface in result.surfaces)
    if levels != request.options.levels:
        raise ValueFault(f"its levels are {list(levels)}, and {list(request.options.levels)} were asked for")
    if not _is_same(result.spacing, request.options.resolution):
        raise ValueFault(f"spacing is {result.spacing:g} Å, and {request.options.resolution:g} Å was asked for")
    if request.grid and result.values is None:
        raise ValueFault("the array values is missing")
    for name, array, limit in (("points", result.points, 3), ("faces", result.faces, 1)):
        if len(array) > limit * MOST_TRIANGLES:
            raise ValueFault(f"it has {len(array)} {name}, and {MOST_TRIANGLES} triangles are the most")


def _check_time(requested: float, time: float | None) -> None:
    if time is not None and not _is_same(time, requested):
        raise ValueFault(f"time is {time:g}, and {requested:g} was asked for")


def _is_same(number: float, requested: float) -> bool:
    return math.isclose(number, requested, rel_tol=1e-6, abs_tol=1e-9)


def _check_size(mesh: messages.MeshResult | messages.Preview, triangles: int | None) -> None:
    triangle_limit = triangles or MOST_TRIANGLES
    for name, array, limit in (("points", mesh.points, 3 * triangle_limit), ("faces", mesh.faces, triangle_limit)):
        if len(array) > limit:
            raise ValueFault(f"it has {len(array)} {name}, and {triangle_limit} triangles are the most")


def _check_trajectories(names: tuple[str, ...], result: messages.OpenResult) -> None:
    if result.states and not set(names) <= set(result.states):
        expected = f"those of {', '.join(names)}" if names != ("",) else "a list of numbers"
        raise ValueFault(f"states are those of {', '.join(result.states)[:80] or 'one trajectory'}, not {expected}")
