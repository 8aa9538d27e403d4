"""Runs a fit: surfaces to the backend, then the training there, or in a process that goes on without PyMOL."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from ..backend.client import Backend, Call
from ..backend.process import STARTS_AGAIN, BackendError
from ..shared import messages
from ..surfaces import workers
from ..surfaces.source import Source
from . import detached
from .ahead import SurfacesAhead
from .fit import Cancelled, Fit, Phase, Say
from .jobs import Jobs
from .request import FitRequest
from .timing import FitTiming, Stage

# Between two lines of progress.
PROGRESS_SECONDS = 2.0
# Surfaces on their way to the backend before the next one is computed.
AHEAD = 4
# Its 40 000 steps took 0.36 s each on one core.
PAPER_ON_CPU = (
    "the network of the paper takes hours on a CPU; budget=600 ends it after ten minutes, "
    "and preset=fast is done in one or two"
)


def run_fit(jobs: Jobs, fit: Fit, request: FitRequest, say: Say) -> None:
    """Run a fit that `Jobs.new` has entered, when it is its turn, and release it.

    Raises Cancelled, BackendError or ExtractError.
    """
    size = sum(len(source.atoms) * len(source.states) for source in request.sources)
    options = request.options
    timing = fit.timing = FitTiming(size, options.preset, jobs.rates, options.budget)
    with jobs.releasing(fit), jobs.replacing(fit), _recording_end(fit), jobs.turn(fit, say):
        timing.begin(Stage.SURFACES)
        with _surfaces_ahead(jobs, fit, request) as ahead:
            _Run(jobs, jobs.connection.backend(fit), fit, request, say).run(ahead)


@contextmanager
def _surfaces_ahead(jobs: Jobs, fit: Fit, request: FitRequest) -> Iterator[SurfacesAhead | None]:
    """Begin the surfaces of the first trajectory, and show the first, where a backend starts, which takes seconds.

    Gives None where one runs, or where it may have surfaces from before: then only the one that is shown is computed.
    """
    resumed = request.start.resume
    if jobs.connection.running is not None or (resumed and fit.preview is None):
        yield None
        return
    source = _previewed_first(request.sources[0], fit)
    if resumed:
        source = dataclasses.replace(source, states=source.states[:1])
    show = None if fit.preview is None else fit.preview.show_surface
    ahead = SurfacesAhead(source, jobs.settings.workers, fit.stop.is_set, show)
    try:
        yield None if resumed else ahead
    finally:
        ahead.close()


def _previewed_first(source: Source, fit: Fit, known: Collection[float] = ()) -> Source:
    """Return the source with the states that are not known, that of the fit's preview first, and no warnings."""
    states = [state for state in source.states if float(state) not in known]
    if fit.preview is not None:
        time = fit.preview.options.time
        states.sort(key=lambda state: state != time)
    return dataclasses.replace(source, states=states, warnings=[])


def send_surfaces(
    jobs: Jobs,
    backend: Backend,
    fit: Fit,
    sources: Sequence[Source],
    arrived: Sequence[Collection[float]],
    tick: Callable[[], None] = lambda: None,
    ahead: SurfacesAhead | None = None,
) -> None:
    """Compute the surfaces of a fit's trajectories and send them, the state of its preview first.

    sources, arrived: the source of each trajectory, and its states that the backend has. tick: called after each
    surface. ahead: the surfaces of the first trajectory, if they are under way. Raises Cancelled, BackendError or
    ExtractError.
    """
    count = sum(map(len, arrived))
    fit.phase, fit.fraction = Phase.SURFACES, count / fit.count
    calls: deque[Call[messages.SurfaceResult]] = deque()
    for trajectory, source, known in zip(fit.trajectories, sources, arrived, strict=True):
        left = ahead.source if ahead else _previewed_first(source, fit, known)
        surfaces = ahead or workers.compute_surfaces(left, jobs.settings.workers, fit.stop.is_set)
        ahead, reported = None, 0
        for surface in surfaces:
            for line in left.warnings[reported:]:
                fit.warn(line, trajectory.name)
            reported = len(left.warnings)
            if fit.preview is not None and trajectory is fit.trajectories[0]:
                fit.preview.show_surface(surface)
            calls.append(backend.submit(surface.request(fit.name, trajectory.name)))
            # A surface that the backend refuses ends the fit now, not after all others are computed.
            while len(calls) > AHEAD:
                jobs.connection.wait(fit, calls.popleft())
            count += 1
            fit.phase, fit.fraction = Phase.SURFACES, count / fit.count
            tick()
        if fit.stop.is_set():
            raise Cancelled(f"{fit.name}: cancelled")
    while calls:
        jobs.connection.wait(fit, calls.popleft())


@contextmanager
def _recording_end(fit: Fit) -> Iterator[None]:
    """Enter in the fit how it failed. A lost backend's error says how the fit goes on."""
    try:
        yield
    except (Cancelled, KeyboardInterrupt):
        fit.phase = Phase.CANCELLED
        raise
    except BackendError as error:
        lost = error.code == "lost"
        fit.error = f"{fit.lost()} ({str(error).removesuffix(f'; {STARTS_AGAIN}')})" if lost else str(error)
        fit.phase = Phase.FAILED
        if lost:
            raise BackendError(error.code, fit.error) from error
        raise
    except Exception as error:
        fit.phase, fit.error = Phase.FAILED, str(error)
        raise


class _Run:
    """One fit on its way through the backend."""

    def __init__(self, jobs: Jobs, backend: Backend, fit: Fit, request: FitRequest, say: Say) -> None:
        self.jobs, self.backend, self.fit, self.request, self.say = jobs, backend, fit, request, say
        self._next_line = 0.0

    def run(self, ahead: SurfacesAhead | None) -> None:
        """Open the fit, send its surfaces, of which some may be under way, and train or detach it."""
        fit, request = self.fit, self.request
        fit.device = self.jobs.connection.device_name()
        arrived = self._open()
        with self._dropped_unless_done():
            send_surfaces(self.jobs, self.backend, fit, request.sources, arrived, self._say_progress, ahead)
            self._warn_of_paper_on_cpu()
            if request.start.detach:
                process = self.jobs.connection.ask(fit, messages.Detach(fit=fit.name))
                fit.phase, fit.fraction = Phase.STARTING, 0.0
                fit.detached = detached.process_name(process.pid, process.host)
            else:
                self._train()

    def _open(self) -> list[set[float]]:
        """Open the fit, and return the states of each trajectory whose surfaces the backend has from before."""
        fit, sources, start = self.fit, self.request.sources, self.request.start
        names = tuple(trajectory.name for trajectory in fit.trajectories)
        source = sources[0].molecule().to_json()
        if fit.family:
            source = {
                "trajectories": {n: member.molecule().to_json() for n, member in zip(names, sources, strict=True)}
            }
        request = messages.Open(
            fit=fit.name,
            config=self.request.options,
            object=", ".join(names) if fit.family else sources[0].object,
            resume=start.resume,
            source=source,
            asked=self.request.record().to_json(),
            trajectories=names if fit.family else None,
            family=start.family or None,
            frozen=bool(start.family) and start.frozen,
            preview=None if fit.preview is None else fit.preview.options,
            radii=None if fit.preview is None else fit.preview.radii,
        )
        known = self.jobs.connection.ask(fit, request).states
        arrived = [set(known.get(trajectory.name, ())) & set(trajectory.states) for trajectory in fit.trajectories]
        count = sum(map(len, arrived))
        if count:
            self.say(f" {fit.name}: {count} of {fit.count} surfaces are there from before")
        return arrived

    def _warn_of_paper_on_cpu(self) -> None:
        options = self.request.options
        known = self.jobs.connection.device
        device = known.device if known is not None and options.device == "auto" else options.device
        if options.preset == "paper" and options.budget is None and device == "cpu":
            self.fit.warn(PAPER_ON_CPU)

    def _train(self) -> None:
        fit = self.fit
        fit.phase, fit.fraction = Phase.FIT, 0.0
        if fit.timing is not None:
            fit.timing.begin(Stage.FIT)
        fit.report = self.jobs.connection.wait(
            fit, self.backend.submit(messages.Fit(fit=fit.name)), self._say_progress
        ).report
        fit.device = self.jobs.connection.device_name(fit.report.device or "")
        fit.holder, fit.in_folder = self.backend, bool(fit.report.path)
        if fit.timing is not None:
            fit.timing.end()
        fit.phase, fit.fraction = Phase.READY, 1.0

    @contextmanager
    def _dropped_unless_done(self) -> Iterator[None]:
        """Free the backend's memory of the surfaces of a fit that does not come to its end."""
        try:
            yield
        except BaseException:
            if self.backend.alive:
                self.backend.submit(messages.Drop(fit=self.fit.name, opened=True))
            raise

    def _say_progress(self) -> None:
        clock = time.monotonic()
        if clock >= self._next_line:
            self._next_line = clock + PROGRESS_SECONDS
            self.say(f" {self.fit.line()}")
