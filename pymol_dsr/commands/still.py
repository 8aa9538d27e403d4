"""dsr_still."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from typing import Any

import pymol.setting
from pymol import CmdException, cmd

from ..fits.fit import Fit, Trajectory
from ..scene import color_bar, film, single_surface
from ..scene.bar_title import missing_bars, titled_bars
from ..scene.gui_thread import in_gui
from ..scene.kept_movies import KeptMovies
from ..scene.objects import SceneError, delete_objects
from ..session import Session, session_of
from ..shared.atomic_write import replace_when_whole
from ..shared.options import AppearanceOptions, FieldOptions, MeshOptions, MovieOptions, SurfaceOptions
from ..shared.picture_options import STILL_RESOLUTION, PictureOptions
from ..shared.scratch import ScratchFolder
from .arguments import chosen_trajectory, fit_name, path_to_write, requested_times
from .command import command
from .movie import load_movie
from .running import Runner, has_window

# Most triangles of its mesh, which is deleted again.
TRIANGLES = 1_000_000


@command
def dsr_still(
    name: str,
    filename: str,
    state: str = "",
    *commas: str,
    width: str = "",
    height: str = "",
    size: str = "",
    ray: int = 1,
    level: float = MeshOptions.level,
    resolution: float = STILL_RESOLUTION,
    smooth: str = "",
    color: str = AppearanceOptions.color,
    transparency: str = "",
    trajectory: str = "",
    towards: str = "",
    share: str = "",
    steady: str = "",
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Writes a picture of the surface at one time, from the present view, with a finer mesh than a movie has and
        ray-traced. All else that is switched on is in the picture, too, but for movies and the live surface of the
        same molecule.

    USAGE

        dsr_still name, filename [, state [, width=..., height=..., size=..., ray=..., level=..., resolution=...,
            smooth=..., color=..., transparency=..., trajectory=..., towards=..., share=..., steady=..., async_=... ]]

    ARGUMENTS

        name = str: name of a fit

        filename = str: file to write, ending in .png

        state = float: the time, as 40 or 24.5 {default: the time in view}

        width, height = int: size in pixels; if you give one, the other follows {default: those of the view}

        size = 720p, 1080p or 4K: the size by its name

        ray = 0/1: ray-trace the picture. The window waits for it {default: 1}

        level = float: level of the surface in Angstrom, outwards {default: 0}

        resolution = float: spacing of the mesh in Angstrom {default: 0.35}

        smooth, color, transparency, trajectory, towards, share, steady: as in dsr_movie

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_still adk_dsr, adk.png, 24.5, size=1080p, transparency=0.3

    SEE ALSO

        dsr_movie, dsr_film, dsr_export, png
    """
    return write_still(
        session_of(_self),
        fit_name(name, _self),
        str(filename),
        str(state),
        SurfaceOptions(
            FieldOptions.parse(trajectory=trajectory, towards=towards, share=share),
            MeshOptions.parse(level=level, resolution=resolution, smooth=smooth),
            AppearanceOptions.parse(color=color, transparency=transparency, steady=steady),
        ),
        PictureOptions.parse(width=width, height=height, size=size, ray=ray),
        Runner.of("dsr_still", async_, quiet, _self),
        _self,
    )


def write_still(
    session: Session,
    name: str,
    filename: str,
    time: str | float,
    surface: SurfaceOptions,
    picture: PictureOptions,
    runner: Runner,
    _self: Any,
) -> str:
    """Write a picture of the surface at one time; the whole path of the file.

    time: a number, or as a user types it; empty for the state in view. Raises CmdException, JobError, StatesError,
    SceneError, BackendError or OSError.
    """
    fit = session.jobs.get(name)
    trajectory = chosen_trajectory(fit, surface.field)
    path = path_to_write(filename, (".png",), "filename")
    times = [time_in_view(session.movies, fit, _self)] if time == "" else requested_times(trajectory, str(time))
    if len(times) != 1:
        raise CmdException(f"state {time}: a still is of one time; dsr_movie and dsr_film show several")
    ray = not has_window() if picture.ray is None else picture.ray
    width, height = picture.pixels(_self.get_viewport())
    object = _self.get_unused_name(f"{fit.name}_still", 0)
    fine = surface.with_mesh(triangles=surface.mesh.triangles or TRIANGLES)
    quiet = Runner("dsr_still", say=lambda _: None)

    def work() -> None:
        enabled = set(in_gui(_self, _self.get_names, "all", 1))
        options = MovieOptions(object=object, movie=False)
        load_movie(session, name, times, fine, options, quiet, _self, stays=False)
        drawn = session.references.movies.pop(object).objects
        line = f" dsr_still: {fit.name} at state {times[0]:g}, {width} × {height} pixels{', ray-traced' * ray}"
        runner.say("; ".join(filter(None, [line, in_gui(_self, missing_bars, ray, _self)])))
        try:
            with ScratchFolder() as scratch:
                draft = os.path.join(os.fspath(scratch), "still.png")

                def draw() -> None:
                    with titled_bars(_self) if ray else contextlib.nullcontext():
                        _self.png(draft, width, height, ray=int(ray), quiet=1)
                    if not ray:
                        film.restore_window_size()

                in_gui(_self, _drawing_alone, session, trajectory, name, times[0], drawn, enabled, draw, _self)
                if not os.path.exists(draft):
                    raise SceneError("PyMOL wrote no picture; try ray=1")
                with open(draft, "rb") as written, replace_when_whole(path, os.path.getsize(draft)) as stream:
                    shutil.copyfileobj(written, stream)
        finally:
            in_gui(_self, color_bar.remove_bars, object, _self)
            in_gui(_self, delete_objects, [*drawn, object], _self)
        runner.say(f" dsr_still: written {path}, {os.path.getsize(path) / 1e6:.1f} MB")

    runner.run(work)
    return path


def time_in_view(movies: KeptMovies, fit: Fit, _self: Any) -> float:
    """Return the time of the state in view, which a movie of fractions of states numbers from 1."""
    state, enabled = int(_self.get_state()), set(_self.get_names("objects", enabled_only=1))
    shown_states = [mesh.state for movie in movies.by_name.values() if movie.fit is fit for mesh in movie.meshes]
    times = (shown.time for shown in shown_states if shown.state == state and shown.object in enabled)
    return float(next(times, state))


def _drawing_alone(
    session: Session,
    trajectory: Trajectory,
    fit: str,
    time: float,
    drawn: list[str],
    enabled: set[str],
    draw: Callable[[], None],
    _self: Any,
) -> None:
    """Draw with these objects of one time in place of the molecule's other surfaces, and show again what was shown.

    enabled: the names that were switched on before the objects were loaded.
    """
    live = single_surface.live_name(fit, _self)
    surfaces = [name for name in (live, *session.movies.objects_at(trajectory.object, _self)) if name not in drawn]
    bars = [bar for surface in surfaces for bar in color_bar.bars_of(surface, _self)]
    source = trajectory.object
    of_movies = {name: state for name, state in _states_of_atoms(session, source, time).items() if name in enabled}
    pictured = {name: state for name, state in of_movies.items() if state is not None}
    # The atoms of a movie that lacks this time stood in for the molecule.
    is_shown = source in enabled or len(pictured) < len(of_movies)
    atoms = [name for name in drawn if name.endswith("_atoms")]
    for name in [*surfaces, *bars, *(of_movies.keys() - pictured), *(atoms if not is_shown else [])]:
        _self.disable(name)
    state = int(time) if float(time).is_integer() else 1
    pictured |= dict.fromkeys(drawn, state)
    names = set(_self.get_names("all"))
    if is_shown and not atoms and source in names:
        pictured[source] = state
        _self.enable(source)
    own_states = {name: _own_state(name, _self) for name in pictured}
    try:
        for name, shown_state in pictured.items():
            _self.set("state", shown_state, name)
        draw()
    finally:
        for name, own_state in own_states.items():
            if own_state is None:
                _self.unset("state", name)
            else:
                _self.set("state", own_state, name)
        for name in {source} & names - enabled:
            _self.disable(name)
        for name in enabled & names:
            _self.enable(name)


def _states_of_atoms(session: Session, molecule: str, time: float) -> dict[str, int | None]:
    """Return the state at this time of the atoms of each movie of a molecule, by name; None where it has no such time.

    Movies of whole states have no atoms of their own, and their names are there, too.
    """
    movies = [movie for movie in session.movies.by_name.values() if movie.trajectory.object == molecule]
    states = [{mesh.state.time: mesh.state.state for mesh in movie.meshes} for movie in movies]
    return {f"{movie.name}_atoms": known.get(time) for movie, known in zip(movies, states, strict=True)}


def _own_state(name: str, _self: Any) -> int | None:
    """Return the state that the user has set for an object; None where it shows that of the scene."""
    own = {number: value for number, _, value in _self.get_object_settings(name) or ()}
    return own.get(pymol.setting.index_dict["state"])
