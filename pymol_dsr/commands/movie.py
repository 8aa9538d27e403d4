"""dsr_movie."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol import cmd

from ..fits.fit import Activity, Say
from ..scene import atoms, movie_objects, single_surface
from ..scene.colors import ColoredReplies, floats_of_state
from ..scene.gui_thread import in_gui
from ..scene.kept_movies import KeptMovie
from ..scene.moved_atoms import warn_of_atoms
from ..scene.movie import MovieRecorder
from ..scene.movie_objects import LoadedMovie, MovieAppearance
from ..scene.present_movie import PresentMovie, read_movie
from ..session import Session, session_of
from ..shared.options import AppearanceOptions, ColorOptions, FieldOptions, MeshOptions, MovieOptions, SurfaceOptions
from ..sources import provenance
from .arguments import STEADY, fit_name
from .color import value_coloring
from .command import command
from .movie_plan import MoviePlan, plan_movie
from .running import Runner, count_of_states, report_states


@command
def dsr_movie(
    name: str,
    states: str = "",
    *commas: str,
    object: str = "",
    level: float = MeshOptions.level,
    resolution: str = "",
    triangles: str = "",
    smooth: str = "",
    color: str = AppearanceOptions.color,
    transparency: str = "",
    movie: int = int(MovieOptions.movie),
    as_: str = MovieOptions.representation,
    trajectory: str = "",
    towards: str = "",
    share: str = "",
    steady: str = "",
    fps: str = "",
    seconds: str = "",
    play: str = MovieOptions.play,
    camera: str = MovieOptions.camera,
    overlay: int = int(MovieOptions.overlay),
    intro: str = MovieOptions.intro,
    intro_seconds: float = MovieOptions.intro_seconds,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Loads a fitted surface at any times as one object with a state for each time, coloured like the nearest
        atoms, and makes the movie that plays it.

        Whole states keep their number and play beside the molecule. With fractions of states, state 1 of the object
        is the first time, state 2 the second, and so on. The atoms at these times are loaded, too, as the molecule
        <object>_atoms. Times past the fitted states are extrapolated: they are in the object <object>_future,
        tinted orange, and the expected error is printed.

    USAGE

        dsr_movie name [, states [, object=..., level=..., resolution=..., triangles=..., smooth=..., color=...,
            transparency=..., movie=..., as_=..., trajectory=..., towards=..., share=..., steady=..., fps=...,
            seconds=..., play=..., camera=..., overlay=..., intro=..., intro_seconds=..., async_=... ]]

    ARGUMENTS

        name = str: name of a fit

        states = str: times, as 1-150, 1-79:2 or 1-102:0.25 {default: every state of the fitted range}

        object = str: name of the result {default: name of the fit, <fit>_<trajectory> or
        <fit>_<trajectory>_<towards>}

        level = float: level of the surface in Angstrom, outwards {default: 0}

        resolution = float: spacing of the mesh in Angstrom {default: 0.5, 0.35 for a fit of preset fine}

        triangles = int: most triangles per state {default: as many as load fluently, 50000 for 17 states and 16000
        for 79. With a resolution of your own, 50000, fewer for more than 100 states}

        smooth = float: width of the smoothing over time, in states {default: the fit's own}

        color = str: one colour for all; or motion, speed, velocity, b and other numbers of the atoms, as in
        dsr_color {default: the colours of the nearest atoms}

        transparency = float: 0 to 1 {default: 0}

        movie = 0/1: set up the movie (mset), in place of the one that PyMOL has; 0 keeps that with its camera keys
        {default: 1}

        as_ = cgo or map: meshes, or maps with an isosurface. Maps make smaller sessions, and isolevel changes their
        level, but they do not show the colours of atoms {default: cgo}

        trajectory = str: the trajectory to show, of a family

        towards = str: another trajectory, to show what lies between the two, in the colours of the first

        share = float: how far towards it, from 0 to 1 {default: 0.5}

        steady = 0/1: average over time at the fitted states, too, as between them. The noise of single states then
        does not come and go, but the surface no longer meets the states exactly {default: 1 where a time between the
        fitted states is shown, 0 where only fitted states are}

        fps = float: frames per second (sets movie_fps) {default: PyMOL's movie_fps}

        seconds = float: length of the movie. It has seconds x fps frames, at times spread evenly from the first to
        the last of states (whole numbers here), and at most 600 surfaces {default: a frame for each of states}

        play = once, loop or bounce: stop at the end, start over, or go back and forth {default: PyMOL's movie_loop}

        camera = still or follow: with follow, the camera moves and turns with the molecule as a whole, which then
        keeps its place in the picture {default: still}

        overlay = 0/1: write the time into the corner of the picture, with the expected error where it is
        extrapolated, as the object <object>_time {default: 0}

        intro = turn or approach: before the states play, the camera goes once around the first one, or comes nearer
        from three times as far, to the present view {default: none}

        intro_seconds = float: length of the intro {default: 3}

        async_ = 0/1: load in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_movie adk_dsr, 1-79:0.25
        mplay

        dsr_movie adk_dsr, 1-90, seconds=6, fps=25, play=bounce, camera=follow, overlay=1
        dsr_film adk.mp4

        dsr_movie adk_dsr, 1-79, color=motion, transparency=0.3

        dsr_movie fam, trajectory=one, towards=two, share=0.5

    SEE ALSO

        dsr_fit, dsr_color, dsr_film, dsr_levels, dsr_export, mset, mplay
    """
    return load_movie(
        session_of(_self),
        fit_name(name, _self),
        str(states),
        SurfaceOptions(
            FieldOptions.parse(trajectory=trajectory, towards=towards, share=share),
            MeshOptions.parse(level=level, resolution=resolution, triangles=triangles, smooth=smooth),
            AppearanceOptions.parse(color=color, transparency=transparency, steady=steady),
        ),
        MovieOptions.parse(
            object=object,
            movie=movie,
            representation=as_,
            fps=fps,
            seconds=seconds,
            play=play,
            camera=camera,
            overlay=overlay,
            intro=intro,
            intro_seconds=intro_seconds,
        ),
        Runner.of("dsr_movie", async_, quiet, _self),
        _self,
    )


def load_movie(
    session: Session,
    name: str,
    times: str | Sequence[float],
    surface: SurfaceOptions,
    options: MovieOptions,
    runner: Runner,
    _self: Any,
    *,
    stays: bool = True,
) -> str:
    """Load the movie of a fit into the scene; the name of its object.

    times: a states text, or numbers; empty for every state of the fitted range. stays: False for a movie that is taken
    away again, whose objects no line names. Raises CmdException, JobError, SceneError, StatesError or BackendError.
    """
    plan = plan_movie(session.jobs.get(name), times, surface, options, _self)
    in_gui(_self, _keep_renamed, session, plan, _self)
    if plan.options.movie and (present := foreign_movie(session, _self)):
        described = present.describe()
        print(
            f" {name}: warning: PyMOL has {described}, which this one replaces; movie=0 loads the surfaces and keeps it"
        )
    radii = None if plan.as_map else atoms.PresentAtoms.of(plan.trajectory, _self).radii()
    work = partial(_load, session, plan, radii, stays, runner.say, _self)
    runner.run(session.jobs.claimed(plan.fit, Activity.MOVIE, work))
    return plan.object


def _keep_renamed(session: Session, plan: MoviePlan, _self: Any) -> None:
    """Name the objects of movies that the user has renamed after these, where the planned movie takes their names."""
    session.movies.follow_names(_self)
    planned = movie_objects.movie_names(plan.states, plan.object) - {plan.object}
    names = set(_self.get_names("all"))
    for name, movie in list(session.references.movies.items()):
        if name == plan.object or name not in names:
            continue
        for member in [object for object in movie.objects if object in planned & names and not object.startswith(name)]:
            renamed = name + member.removeprefix(plan.object)
            if renamed not in names:
                _self.set_name(member, renamed)
                session.references.rename(member, renamed)
                print(f" {name}: {member} is {renamed} now, as {member} is a name of the movie {plan.object}")
    session.movies.follow_names(_self)


def foreign_movie(session: Session, _self: Any) -> PresentMovie | None:
    """Return the movie that dsr_movie would replace; None where there is none, or one that it has set up itself."""
    present = in_gui(_self, read_movie, _self)
    return present if present and present.digest != session.references.own_movie else None


def _load(
    session: Session, plan: MoviePlan, radii: NDArray[np.float32] | None, stays: bool, say: Say, _self: Any
) -> None:
    """Load the surfaces of a plan, and set up the movie."""
    fit, object, source = plan.fit, plan.object, plan.trajectory.object
    generated = provenance.describe_fit(fit.report, plan.trajectory.name)
    recorder = MovieRecorder(plan.options, generated)
    color = plan.surface.appearance.color
    kept_movie = KeptMovie(object, fit, plan.trajectory, plan.field, plan.mesh, color=color)
    kept_movie.digest = session.references.digest_of(fit)
    kept_movie.atom_colors, _ = in_gui(_self, atoms.atom_colors, plan.trajectory, _self)
    colored = None
    if plan.by:
        coloring = in_gui(_self, value_coloring, session, kept_movie, ColorOptions(by=plan.by), _self)
        colored = ColoredReplies(kept_movie, coloring)
    loaded = _load_states(session, plan, kept_movie, colored, recorder, radii, say, _self)
    in_gui(_self, single_surface.remove_both, fit.name, _self)
    # Before the movie, in which placing an object makes a key of its motion.
    if plan.options.overlay and loaded.states:
        loaded.objects.append(f"{object}_time")
        in_gui(_self, recorder.show_labels, loaded.states, f"{object}_time", source, _self)
        in_gui(_self, movie_objects.join_former_group, f"{object}_time", loaded.groups, _self)
    if plan.options.movie and loaded.states:
        in_gui(_self, recorder.set_up, loaded.states, source, _self)
        present = in_gui(_self, read_movie, _self)
        session.references.own_movie = present.digest if present else ""
    size = movie_objects.session_megabytes(loaded)
    session.references.add_movie(object, fit.name, loaded.objects, plan.command, size)
    if loaded.floats and session.settings.get("session") == "full":
        say(f" {fit.name}: in a session file, these meshes take {size:.0f} MB")
    for line in movie_objects.describe(plan.trajectory, loaded, stays=stays):
        print(f" {fit.name}: {line}")
    if generated:
        print(f" {fit.name}: its states are {generated}, not measured ones")
    elif any(state.future for state in loaded.states):
        say(f" {fit.name}: 'dsr_continue {source}' continues the atoms instead, and tests on known states how well")
    say(
        f" {fit.name}: {count_of_states(len(loaded.states))} loaded as {', '.join(loaded.objects) or 'nothing'}"
        + ("; mplay plays them" if plan.options.movie and loaded.states else "")
    )
    if plan.field.steady and plan.surface.appearance.steady is None:
        say(f" {fit.name}: {STEADY}")
    if colored is not None:
        kept_movie.coloring, kept_movie.scale = ColorOptions(by=plan.by), colored.scale
        say(f" {object}: {colored.show_bar(session.movies, _self)}")


def _load_states(
    session: Session,
    plan: MoviePlan,
    kept_movie: KeptMovie,
    colored: ColoredReplies | None,
    recorder: MovieRecorder,
    radii: NDArray[np.float32] | None,
    say: Say,
    _self: Any,
) -> LoadedMovie:
    fit, appearance = plan.fit, plan.surface.appearance
    warn_of_atoms(session.jobs, fit, plan.trajectory, plan.field, [state.time for state in plan.states], _self)
    try:
        # Closed at once when something fails, so that no answer is computed for nobody.
        with contextlib.closing(session.jobs.connection.stream(fit, plan.requests(radii))) as answers:
            verb, end = ("computed", 0.5) if colored else ("loaded", 1.0)
            replies = report_states(fit, answers, len(plan.states), say, verb, end)
            pairs = kept_movie.watch(plan.states, recorder.watch(plan.states, replies))
            return movie_objects.show_movie(
                plan.trajectory,
                plan.states,
                colored.watch(pairs) if colored else (reply for reply, _ in pairs),
                object=plan.object,
                appearance=MovieAppearance(
                    color=appearance.color,
                    paint=colored.colors if colored else None,
                    transparency=appearance.transparency or 0.0,
                    map_level=plan.mesh.level if plan.as_map else None,
                ),
                on_view=partial(single_surface.remove_both, fit.name, _self),
                floats_again=partial(floats_of_state, kept_movie, colored, _self),
                say=lambda text: say(f" {fit.name}: {text}"),
                _self=_self,
            )
    finally:
        in_gui(_self, session.movies.keep, kept_movie, _self)
