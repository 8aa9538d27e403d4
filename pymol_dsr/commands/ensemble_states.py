"""The states of an ensemble: those of a fit, which has their surfaces, or of a selection, which lacks them yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol import CmdException

from ..fits.ensemble import series_of, surfaces_occupancy
from ..fits.fit import Activity, Fit, Say, Trajectory
from ..fits.jobs import Jobs
from ..scene import placement
from ..scene.moved_atoms import scene_positions
from ..session import Session
from ..shared import states as states_texts
from ..shared.messages import EnsembleSeries, Occupancy, OccupancyResult
from ..shared.names import is_name, rule_against
from ..shared.options import FieldOptions
from ..surfaces import extract
from ..surfaces.extract import one_state_line
from ..surfaces.remedies import WITHOUT_UNWRAP
from ..surfaces.source import Source
from .arguments import default_name, fit_name, requested_times


@dataclass(frozen=True)
class EnsembleSelection:
    """The states of an ensemble, as a user names them.

    name: of a fit, or a selection. states: a states text, empty for all. trajectory: of a family, empty for all of
    them. weights: one for each state, or None.
    """

    name: str
    states: str = ""
    trajectory: str = ""
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True)
class FitEnsemble:
    """States of one trajectory of a fit, or of all of them, whose surfaces are there already.

    name: what its results are called after. times: of each trajectory.
    """

    jobs: Jobs
    fit: Fit
    name: str
    trajectories: Sequence[Trajectory]
    times: Sequence[Sequence[float]]

    @classmethod
    def of(cls, jobs: Jobs, name: str, states: str, trajectory: str, _self: Any) -> FitEnsemble:
        """Return the states of a fit; trajectory: of a family, empty for all. Raises JobError, StatesError or
        CmdException.
        """
        fit = jobs.get(name)
        chosen = [fit.trajectory(trajectory)] if trajectory or not fit.family else fit.trajectories
        times = [requested_times(member, states) if states else list(member.states) for member in chosen]
        positions = {
            member.object: scene_positions(member, int(min(member.states)), _self)
            for member in (chosen if len(chosen) > 1 else ())
        }
        _warn_of_places({object: xyz for object, xyz in positions.items() if xyz is not None}, _self)
        return cls(jobs, fit, default_name(fit, FieldOptions(trajectory)), chosen, times)

    @property
    def object(self) -> str:
        """The molecule whose place in the scene the result takes."""
        return self.trajectories[0].object

    @property
    def selection(self) -> str:
        """The molecules, as a selection."""
        return "+".join(f"%{member.object}" for member in self.trajectories)

    @property
    def states(self) -> str:
        """A states text for each of the molecules."""
        return states_texts.format(self.trajectories[0].states) if len(self.trajectories) == 1 else "all"

    def among(self, members: Mapping[str, Sequence[int]]) -> FitEnsemble:
        """Return the ensemble of some of the states, by object."""
        times = []
        for trajectory, series in zip(self.trajectories, self.times, strict=True):
            chosen = set(members.get(trajectory.object, ()))
            times.append([time for time in series if time in chosen])
        return replace(self, times=times)

    def series(self, group: str) -> tuple[EnsembleSeries, ...]:
        """Return what a request about the group names its states by."""
        names = [trajectory.name for trajectory in self.trajectories]
        return series_of(self.fit.name, names, self.times)

    def begin(self, group: str, request: Occupancy) -> Callable[[], OccupancyResult]:
        """Claim the fit, and return the function that asks and releases it. Raises JobError where it is busy."""
        return self.jobs.claimed(self.fit, Activity.OCCUPANCY, partial(self.jobs.connection.ask, self.fit, request))


@dataclass(frozen=True)
class SelectionEnsemble:
    """States of a selection, whose surfaces are still to be computed; sources: of each of its objects.

    say: prints the lines that a quiet command leaves out.
    """

    jobs: Jobs
    selection: str
    sources: Sequence[Source]
    say: Say
    states: str = "all"

    @classmethod
    def of(cls, jobs: Jobs, selection: str, states: str, say: Say, _self: Any) -> SelectionEnsemble:
        """Read the states of a selection. Raises ExtractError, StatesError or CmdException."""
        sources = extract.read_sources(selection, states or "all", remedies=WITHOUT_UNWRAP, _self=_self)
        _warn_of_places({source.object: source.coordinates[source.states[0]] for source in sources}, _self)
        for source in sources:
            for line in source.warnings:
                # The states of an ensemble may be objects of their own, as docked poses are.
                if line != one_state_line(source.object):
                    print(f" dsr_occupancy: warning: {line}")
            if len(sources) > 1 and not is_name(source.object):
                raise CmdException(f"an object named {source.object}: {rule_against(source.object)}; rename it")
        return cls(jobs, selection, sources, say)

    @property
    def name(self) -> str:
        """The first object, which its results are called after."""
        return self.sources[0].object

    @property
    def object(self) -> str:
        """The molecule whose place in the scene the result takes."""
        return self.sources[0].object

    @property
    def times(self) -> Sequence[Sequence[float]]:
        """States of each object."""
        return [[float(state) for state in source.states] for source in self.sources]

    def among(self, members: Mapping[str, Sequence[int]]) -> SelectionEnsemble:
        """Return the ensemble of some of the states, by object."""
        sources = [
            replace(source, states=list(members[source.object]), warnings=[])
            for source in self.sources
            if source.object in members
        ]
        return replace(self, sources=sources)

    def series(self, group: str) -> tuple[EnsembleSeries, ...]:
        """Return what a request about the group names its states by."""
        names = [source.object for source in self.sources] if len(self.sources) > 1 else [""]
        return series_of(group, names, self.times)

    def begin(self, group: str, request: Occupancy) -> Callable[[], OccupancyResult]:
        """Enter the group among the fits, and return the function that computes the surfaces and asks.

        Raises CmdException or JobError for a name that can't be entered.
        """
        if not is_name(group):
            raise CmdException(f"object {group[:80]}: {rule_against(group)}")
        if group in self.jobs.fits:
            raise CmdException(f"object {group}: a fit has that name; give another one")
        fit = self.jobs.new(group, self.sources, Activity.OCCUPANCY)
        return partial(surfaces_occupancy, self.jobs, fit, self.sources, request, self.say)


Ensemble = FitEnsemble | SelectionEnsemble


def _warn_of_places(atoms: Mapping[str, NDArray[np.floating[Any]]], _self: Any) -> None:
    """Warn of objects that are shown elsewhere than their coordinates say. atoms: [A,3] in Å of a state of each."""
    for line in placement.shown_elsewhere(atoms, _self):
        print(f" dsr_occupancy: warning: {line}")


def read_ensemble(session: Session, selection: EnsembleSelection, say: Say, _self: Any) -> Ensemble:
    """Return the states of a fit or a selection. Raises CmdException, JobError, StatesError or ExtractError."""
    name, trajectory = selection.name, selection.trajectory
    known = fit_name(name, _self)
    if known in session.jobs.fits:
        return FitEnsemble.of(session.jobs, known, selection.states, trajectory, _self)
    if trajectory:
        raise CmdException(f"trajectory {trajectory}: {name} is no fit; name objects as one+two instead")
    return SelectionEnsemble.of(session.jobs, name, selection.states, say, _self)
