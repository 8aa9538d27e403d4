"""Occupancies of ensembles: of the states of a fit, or of surfaces that are made for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..shared import messages
from ..shared.messages import EnsembleSeries, Occupancy, OccupancyResult
from ..surfaces.source import Source
from .fit import Fit, Say
from .fitting import send_surfaces
from .jobs import Jobs


@contextmanager
def entered(jobs: Jobs, fit: Fit) -> Iterator[None]:
    """Hold an ensemble of `Jobs.new` among the fits, where dsr_status and dsr_cancel find it, until the end."""
    try:
        with jobs.releasing(fit):
            yield
    finally:
        jobs.leave(fit)


def surfaces_occupancy(
    jobs: Jobs, fit: Fit, sources: Sequence[Source], request: Occupancy, say: Say
) -> OccupancyResult:
    """Compute the surfaces of all sources and return their occupancy.

    fit: entered for these sources. request: its series are filled in. Raises Cancelled, BackendError or ExtractError.
    """
    with entered(jobs, fit), jobs.turn(fit, say):
        backend = jobs.connection.backend(fit)
        names = tuple(trajectory.name for trajectory in fit.trajectories)
        jobs.connection.ask(fit, messages.Open(fit=fit.name, trajectories=names if fit.family else None, scratch=True))
        try:
            send_surfaces(jobs, backend, fit, sources, [()] * len(sources))
            return jobs.connection.ask(fit, request)
        except BaseException:
            if backend.alive:
                backend.submit(messages.Drop(fit=fit.name, opened=True))
            raise


def series_of(fit: str, trajectories: Sequence[str], times: Sequence[Sequence[float]]) -> tuple[EnsembleSeries, ...]:
    """Return the series of some trajectories of a fit, by their names, at the times of each."""
    return tuple(
        EnsembleSeries(fit, tuple(map(float, series_times)), trajectory)
        for trajectory, series_times in zip(trajectories, times, strict=True)
    )
