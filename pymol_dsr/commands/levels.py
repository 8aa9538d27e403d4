"""dsr_levels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pymol import CmdException, cmd

from ..fits.fit import Activity
from ..scene import gui_thread, level_sets, placement
from ..scene.camera import toward_camera
from ..scene.moved_atoms import warn_of_atoms
from ..scene.objects import switch_off
from ..scene.replies import mesh_of
from ..session import Session, session_of
from ..shared import messages
from ..shared.options import FieldOptions, LevelOptions, MeshOptions
from ..shared.text import counted
from .arguments import chosen_trajectory, default_name, fit_name, requested_times
from .command import command
from .running import Runner


@command
def dsr_levels(
    name: str,
    state: str,
    levels: str = "-2 -1 0 2 4",
    *commas: str,
    object: str = "",
    resolution: str = "",
    cut: int = 0,
    transparency: str = "",
    trajectory: str = "",
    towards: str = "",
    share: str = "",
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Shows nested surfaces at one time. Each level is a distance from the molecule's surface. Levels outside are
        red, levels inside are blue, and the farther the darker; the surface itself is white. Each level is an
        object, and all of them are in one group.

    USAGE

        dsr_levels name, state [, levels [, object=..., resolution=..., cut=..., transparency=...,
            trajectory=..., towards=..., share=..., async_=... ]]

    ARGUMENTS

        name = str: name of a fit

        state = float: the time, as 40 or 40.5

        levels = str: distances in Angstrom with spaces between, positive outside {default: -2 -1 0 2 4}

        object = str: name of the group {default: <fit>_levels, or <fit>_<trajectory>_levels}

        resolution = float: spacing of the meshes in Angstrom {default: 0.5, 0.35 for a fit of preset fine, more where
        a level would have more than 200000 triangles}

        cut = 0/1: cut away the half that faces you now, for a view of all levels {default: 0}

        transparency = float: of all levels but the innermost, 0 to 1 {default: 0.7, or 0 with cut=1}

        trajectory, towards, share: as in dsr_movie

        async_ = 0/1: load in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        orient adk
        dsr_levels adk_dsr, 40, cut=1
        dsr_levels adk_dsr, 40, -1.5 0 1.5 3, resolution=0.3

    SEE ALSO

        dsr_movie
    """
    return show_level_sets(
        session_of(_self),
        fit_name(name, _self),
        str(state),
        str(object),
        FieldOptions.parse(trajectory=trajectory, towards=towards, share=share),
        LevelOptions.parse(levels=levels, resolution=resolution, cut=cut, transparency=transparency),
        Runner.of("dsr_levels", async_, quiet, _self),
        _self,
    )


def show_level_sets(
    session: Session,
    name: str,
    time: str | Sequence[float],
    object: str,
    field: FieldOptions,
    options: LevelOptions,
    runner: Runner,
    _self: Any,
) -> str:
    """Show level sets of a fit at one time as a group of objects, and return its name: `object` unless that is empty.

    Raises CmdException, JobError, SceneError, StatesError or BackendError.
    """
    fit = session.jobs.get(name)
    trajectory = chosen_trajectory(fit, field)
    times = requested_times(trajectory, time)
    if len(times) != 1:
        raise CmdException(f"state {time}: the levels of one time are shown at once; dsr_movie shows several times")
    group = _self.get_legal_name(object or f"{default_name(fit, field)}_levels")
    level_sets.check_level_names(group, options.levels, _self)
    fineness = MeshOptions(triangles=level_sets.MOST_TRIANGLES)
    if options.resolution is not None:
        fineness = MeshOptions(resolution=options.resolution)
    toward = None
    if options.cut:
        toward = toward_camera(_self.get_view(), placement.object_matrix(trajectory.object, _self))
    transparency = options.transparency
    if transparency is None:
        transparency = 0.0 if options.cut else level_sets.TRANSPARENCY

    def work() -> None:
        warn_of_atoms(session.jobs, fit, trajectory, field, times, _self)
        requests = {
            level: messages.Mesh(
                fit=fit.name, field=field, time=float(times[0]), mesh=dataclasses.replace(fineness, level=level)
            )
            for level in options.levels
        }
        results = {level: session.jobs.connection.ask(fit, request) for level, request in requests.items()}
        loaded = level_sets.show_levels(
            trajectory,
            {level: mesh_of(result) for level, result in results.items()},
            object=group,
            toward=toward,
            transparency=transparency,
            say=lambda text: print(f" {fit.name}: {text}"),
            _self=_self,
        )
        movie = default_name(fit, field)
        hiding = gui_thread.in_gui(_self, _switch_off_movies, session, trajectory.object, movie, _self)
        if hiding:
            are, they = ("are", "they") if len(hiding) > 1 else ("is", "it")
            print(f" {fit.name}: {', '.join(hiding)} {are} switched off, as {they} would hide the levels")
        outermost = results[max(results)]
        if outermost.extrapolated:
            error = outermost.expected_error
            expected = "" if error is None else f", expected error {error:.2f} A"
            print(f" {fit.name}: state {times[0]:g} is extrapolated{expected}")
        runner.say(f" {fit.name}: {counted(len(loaded), 'level')} of state {times[0]:g} loaded as {group}")

    runner.run(session.jobs.claimed(fit, Activity.LEVELS, work))
    return str(group)


def _switch_off_movies(session: Session, molecule: str, movie: str, _self: Any) -> list[str]:
    """Switch off the movies of a molecule, and the object of the name `movie`; return the names that were on."""
    names = dict.fromkeys([movie, *session.movies.objects_at(molecule, _self)])
    return [name for name in names if switch_off(name, _self)]
