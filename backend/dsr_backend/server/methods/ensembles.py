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
from ...runtime.parallel import MAX_PARALLEL_STATES
from ..job import Job
from ..replies import callers_fault
from .state import State


def occupancy(state: State, job: Job, request: messages.Occupancy) -> messages.OccupancyResult:
    """Compute the space that the states of several series fill."""
    if not request.series:
        raise RequestError("bad-request", "occupancy needs one series of states at least, got none")
    opened = {series.fit for series in request.series if series.fit in state.pending}
    shapes = [shape for series in request.series for shape in _shapes(state, series)]

    def progress(fraction: float) -> None:
        for name in {series.fit for series in request.series}:
            job.progress(messages.Progress(fit=name, status=messages.FitStatus("sampling", fraction)))

    try:
        with callers_fault():
            result = occupancies.occupancy(
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
    firsts = np.cumsum([0, *(len(surface.points) for surface in result.surfaces)])
    return messages.OccupancyResult(
        states=result.states,
        volume=result.volume,
        rmsd=result.rmsd,
        rmsd_superposed=result.rmsd_superposed,
        origin=tuple(float(coordinate) for coordinate in result.origin),
        spacing=result.spacing,
        surfaces=tuple(
            messages.OccupancySurface(
                surface.level, surface.value, len(surface.points), len(surface.faces), surface.volume
            )
            for surface in result.surfaces
        ),
        points=np.concatenate([surface.points for surface in result.surfaces]),
        normals=np.concatenate([surface.normals for surface in result.surfaces]),
        faces=np.concatenate(
            [surface.faces + np.int32(first) for surface, first in zip(result.surfaces, firsts, strict=False)]
        ),
        spread=np.concatenate([surface.spread for surface in result.surfaces]),
        values=result.values if request.grid else None,
    )


def landscape(state: State, job: Job, request: messages.Landscape) -> messages.LandscapeResult:
    """Compute the landscape of an ensemble."""
    with callers_fault():
        result = landscapes.landscape(
            _split(request.coordinates, request.lengths),
            request.options,
            () if request.reference is None else _split(request.reference, request.reference_lengths),
            request.native,
            None if request.follows is None else request.follows != 0,
            None if request.donors is None else request.donors != 0,
            job.cancelled,
        )
    rows = tuple(
        messages.EnsembleRow(
            method, {key: score for key, score in dataclasses.asdict(scores).items() if math.isfinite(score)}
        )
        for method, scores in result.scores.items()
    )
    return messages.LandscapeResult(
        kind=result.kind,
        lag=result.lag,
        macrostates=tuple(
            messages.Macrostate(macrostate.population, macrostate.place) for macrostate in result.macrostates
        ),
        lags=tuple(result.lags.tolist()),
        rows=rows,
        js=_known(result.js),
        floor=_known(result.floor),
        run_floor=_known(result.run_floor),
        samples=_known(result.samples),
        reference_samples=_known(result.reference_samples),
        notes=result.notes,
        axes=result.axes,
        edges=result.edges,
        free_energy=result.free_energy,
        macrostate=result.macrostate.astype(np.int32),
        timescales=result.timescales,
        rmsd=result.rmsd.astype(np.float32),
        rmsf=result.rmsf.astype(np.float32),
        helix=None if result.helix is None else result.helix.astype(np.float32),
        strand=None if result.strand is None else result.strand.astype(np.float32),
        reference_axes=result.reference_axes if len(result.reference_axes) else None,
        reference_rmsf=None if result.reference_rmsf is None else result.reference_rmsf.astype(np.float32),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


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
    number = pending.trajectory_number(series.trajectory or None, messages.Occupancy.METHOD)
    return surface_shapes(pending.surfaces.series(number))


def _threads(state: State, request: messages.Occupancy) -> int:
    """Return the number of states to work on at once; a GPU takes one after another."""
    of_fields = [series for series in request.series if series.fit not in state.pending]
    on_cpu = all(
        state.field(series.fit, FieldOptions(trajectory=series.trajectory)).device.type == "cpu" for series in of_fields
    )
    return min(limit_threads(), MAX_PARALLEL_STATES) if on_cpu else 1
