"""Methods about ensembles: occupancy, landscape."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared import messages
from pymol_dsr.shared.messages import EnsembleSeries
from pymol_dsr.shared.options import FieldOptions

from ...results import landscape as landscapes
from ...results import occupancy as occupancies
from ...results.occupancy import OpenShape, field_shapes, surface_shapes
from ...runtime.device import limit_threads
from ...runtime.errors import RequestError
from ..job import Job
from ..replies import callers_fault
from .state import PendingFit, State

# As many as a fit works on; each takes some hundred MB for a large molecule.
MOST_THREADS = 8


def occupancy(state: State, job: Job, request: messages.Occupancy) -> messages.OccupancyResult:
    """Compute the space that the states of several series fill."""
    if not request.series:
        raise RequestError("bad-request", "occupancy needs one series of states at least, got none")
    opened = {one.fit for one in request.series if one.fit in state.pending}
    shapes = [shape for one in request.series for shape in _shapes(state, one)]

    def progress(fraction: float) -> None:
        for name in {one.fit for one in request.series}:
            job.progress(messages.Progress(fit=name, status=messages.FitStatus("sampling", fraction)))

    try:
        with callers_fault():
            made = occupancies.occupancy(
                shapes,
                request.options,
                request.weights,
                _threads(state, request),
                progress,
                job.cancelled,
            )
    finally:
        for name in opened:
            state.pending.drop(name)
    firsts = np.cumsum([0, *(len(surface.points) for surface in made.surfaces)])
    return messages.OccupancyResult(
        states=made.states,
        volume=made.volume,
        rmsd=made.rmsd,
        rmsd_superposed=made.rmsd_superposed,
        origin=tuple(float(coordinate) for coordinate in made.origin),
        spacing=made.spacing,
        surfaces=tuple(
            messages.OccupancySurface(one.level, one.value, len(one.points), len(one.faces), one.volume)
            for one in made.surfaces
        ),
        points=np.concatenate([one.points for one in made.surfaces]),
        normals=np.concatenate([one.normals for one in made.surfaces]),
        faces=np.concatenate([one.faces + np.int32(first) for one, first in zip(made.surfaces, firsts, strict=False)]),
        spread=np.concatenate([one.spread for one in made.surfaces]),
        values=made.values if request.grid else None,
    )


def landscape(state: State, job: Job, request: messages.Landscape) -> messages.LandscapeResult:
    """Compute the landscape of an ensemble."""
    with callers_fault():
        made = landscapes.landscape(
            _split(request.coordinates, request.lengths),
            request.options,
            () if request.reference is None else _split(request.reference, request.reference_lengths),
            request.native,
            None if request.follows is None else request.follows != 0,
            job.cancelled,
        )
    rows = tuple(
        messages.EnsembleRow(
            method, {key: score for key, score in dataclasses.asdict(scores).items() if math.isfinite(score)}
        )
        for method, scores in made.scores.items()
    )
    return messages.LandscapeResult(
        kind=made.kind,
        lag=made.lag,
        macrostates=tuple(messages.Macrostate(one.population, one.place) for one in made.macrostates),
        lags=tuple(made.lags.tolist()),
        rows=rows,
        js=made.js if math.isfinite(made.js) else None,
        floor=made.floor if math.isfinite(made.floor) else None,
        notes=made.notes,
        axes=made.axes,
        edges=made.edges,
        free_energy=made.free_energy,
        macrostate=made.macrostate.astype(np.int32),
        timescales=made.timescales,
        rmsd=made.rmsd.astype(np.float32),
        rmsf=made.rmsf.astype(np.float32),
        helix=None if made.helix is None else made.helix.astype(np.float32),
        strand=None if made.strand is None else made.strand.astype(np.float32),
        reference_axes=made.reference_axes if len(made.reference_axes) else None,
        reference_rmsf=None if made.reference_rmsf is None else made.reference_rmsf.astype(np.float32),
    )


METHODS = {messages.Occupancy: occupancy, messages.Landscape: landscape}


def _split(states: NDArray[np.float32], lengths: Sequence[int]) -> list[NDArray[np.float32]]:
    """Return the series of states f4[S,L,K,3], by the number of states of each."""
    return np.split(states, np.cumsum(lengths)[:-1])


def _shapes(state: State, series: EnsembleSeries) -> list[OpenShape]:
    """Return the shapes of one series. Raises RequestError."""
    if series.fit not in state.pending:
        field = state.field(series.fit, FieldOptions(trajectory=series.trajectory))
        return field_shapes(field, series.times or field.states)
    pending = state.pending.get(series.fit)
    if pending.scratch is None:
        raise RequestError("bad-request", f"fit {series.fit!r} is under way: wait for it")
    number = _trajectory_number(pending, series)
    return surface_shapes(pending.surfaces.series(number))


def _threads(state: State, request: messages.Occupancy) -> int:
    """Return the number of states to work on at once; a GPU takes one after another."""
    of_fields = [one for one in request.series if one.fit not in state.pending]
    on_cpu = all(
        state.field(one.fit, FieldOptions(trajectory=one.trajectory)).device.type == "cpu" for one in of_fields
    )
    return min(limit_threads(), MOST_THREADS) if on_cpu else 1


def _trajectory_number(pending: PendingFit, series: EnsembleSeries) -> int:
    names = pending.trajectories
    if series.trajectory not in (names or ("",)):
        raise RequestError(
            "bad-request",
            f"{series.fit!r} has no surfaces of {series.trajectory!r}; there: {', '.join(names) or 'one'}",
        )
    return names.index(series.trajectory) if names else 0
