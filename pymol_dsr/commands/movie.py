"""dsr_movie and dsr_film."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from pymol import CmdException, cmd

from ..fits import pse
from ..fits.fit import Activity
from ..scene import atoms, film, gui_thread, movie_objects, preview, timeline
from ..scene.kept_movies import KeptMovie
from ..scene.movie import MovieRecorder
from ..scene.replies import read_replies
from ..scene.timeline import frames_per_second, movie_times
from ..session import session_of
from ..shared.options import CAMERAS, PLAYS, MovieOptions
from .command import command
from .options import (
    chosen_trajectory,
    default_name,
    fit_name,
    parse_choice,
    parse_number,
    parse_whole_number,
    requested_times,
    writable_path,
)
from .running import count_of_states, report_states, reporter, run_or_start


@command
def dsr_movie(
    name: str,
    states: str = "",
    *commas: str,
    object: str = "",
    level: float = 0.0,
    resolution: float = 0.5,
    triangles: str = "",
    color: str = "",
    movie: int = 1,
    as_: str = "cgo",
    trajectory: str = "",
    towards: str = "",
    share: str = "",
    steady: int = 0,
    fps: str = "",
    seconds: str = "",
    play: str = "",
    camera: str = "still",
    overlay: int = 0,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Loads a fitted surface at any times as one multi-state object, coloured like the nearest atoms, and
        makes the movie that plays it.

        Whole states keep their number and play beside the molecule. With fractions of states, state 1 is the
        first time, state 2 the second, and the atoms at these times come along as the molecule
        <object>_atoms. Times past the fitted states are extrapolated: they come as <object>_future, tinted
        orange, and the expected error is printed.

    USAGE

        dsr_movie name [, states [, object=..., level=..., resolution=..., triangles=..., color=...,
            movie=..., as_=..., trajectory=..., towards=..., share=..., steady=..., fps=..., seconds=...,
            play=..., camera=..., overlay=..., async_=... ]]

    ARGUMENTS

        name = str: name of a fit

        states = str: times, as 1-150, 1-79:2 or 1-102:0.25 {default: every state of the fitted range}

        object = str: name of the result {default: name of the fit, <fit>_<trajectory> or
        <fit>_<trajectory>_<towards>}

        level = float: level of the surface in Angstrom, outwards {default: 0}

        resolution = float: spacing of the mesh in Angstrom {default: 0.5}

        triangles = int: most triangles per state {default: 50000, fewer for more than 100 states}

        color = str: one colour for all {default: those of the nearest atoms}

        movie = 0/1: set up the movie (mset) {default: 1}

        as_ = cgo or map: meshes, or maps with a multi-state isosurface: smaller sessions, a level that can be
        changed with isolevel, no colours of atoms {default: cgo}

        trajectory = str: which one, of a fit of several

        towards = str: another trajectory, to show what lies between the two, in the colours of the first

        share = float: how far towards it, 0 to 1 {default: 0.5}

        steady = 0/1: average over time at the states too, as it is done between them, so that the noise of
        single states does not come and go; the states are then no longer met exactly {default: 0}

        fps = float: frames per second (sets movie_fps) {default: PyMOL's movie_fps}

        seconds = float: how long the movie is: seconds x fps frames, at times spread evenly from the first to the
        last of states, which then have whole numbers; at most 600 surfaces {default: a frame for each of states}

        play = once, loop or bounce: stop at the end, start over, or go back and forth {default: PyMOL's movie_loop}

        camera = still or follow: with follow, the camera goes along with the molecule as a rigid body, so that it
        stays in its place and unturned, from the view as it is now {default: still}

        overlay = 0/1: write the time, and the expected error where it is extrapolated, into the corner of the
        picture, as the object <object>_time {default: 0}

        async_ = 0/1: load in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_movie adk_dsr, 1-79:0.25
        mplay

        dsr_movie adk_dsr, 1-90, seconds=6, fps=25, play=bounce, camera=follow, overlay=1
        dsr_film adk.mp4

        dsr_movie adk_dsr, 1-79:0.25, steady=1

        dsr_movie fam, trajectory=one, towards=two, share=0.5

    SEE ALSO

        dsr_fit, dsr_color, dsr_film, dsr_levels, dsr_export, mset, mplay
    """
    say, session = reporter(quiet), session_of(_self)
    fit = session.jobs.get(fit_name(name, _self))
    chosen, which = chosen_trajectory(fit, trajectory, towards, share, steady)
    times = requested_times(chosen, str(states))
    film = MovieOptions(
        fps=parse_number("fps", fps, 0.0, above=True) if str(fps) else None,
        play=parse_choice("play", play, PLAYS) if str(play) else "",
        camera=parse_choice("camera", camera, CAMERAS),
        overlay=bool(int(overlay)),
    )
    if str(seconds):
        if str(states) and not all(float(t).is_integer() for t in times):
            raise CmdException(f"seconds {seconds}: states {states} says the times already; leave one of them out")
        rate = film.fps or frames_per_second(_self)
        times = movie_times(min(times), max(times), parse_number("seconds", seconds, 0.0, above=True), rate, film.play)
    object = _self.get_legal_name(str(object) or default_name(fit, which))
    kind = parse_choice("as_", as_, ("cgo", "map"))
    if film.camera == "follow" and kind == "map":
        raise CmdException("camera follow: maps say nothing of the atoms to follow; leave as_=map or camera= out")
    color = str(color)
    if color and _self.get_color_index(color) == -1:
        raise CmdException(f"color {color}: PyMOL has no such colour")
    at_level = parse_number("level", level)
    request: dict[str, Any] = {**which, "resolution": parse_number("resolution", resolution, 0.0, above=True)}
    if kind == "cgo":
        request.update(
            level=at_level,
            triangles=parse_whole_number("triangles", triangles, 100)
            if str(triangles)
            else timeline.triangle_budget(len(times)),
            # For dsr_color, which makes no meshes.
            blend=True,
        )
    make_movie = bool(int(movie))
    if not make_movie and (film.fps or film.play or film.camera == "follow"):
        raise CmdException(f"movie {movie}: fps, play and camera are the movie's; leave movie= or these out")
    if make_movie and len(chosen.states) == 1:
        of = f", trajectory={chosen.name}" if chosen.name else ""
        raise CmdException(
            f"{chosen.name or fit.name} was fitted to one state, so nothing moves; "
            f"'dsr_movie {fit.name}{of}, movie=0' loads its surface"
        )
    radii = atoms.atom_radii(chosen, _self)
    arrays = None if radii is None or kind == "map" else {"radii": radii}
    frames = timeline.plan(chosen, times, object)
    movie_objects.check_movie_names(frames, object, _self)
    again = pse.command_line(
        "dsr_movie",
        [fit.name, states],
        {
            "object": (object, default_name(fit, which)),
            "level": (at_level, 0.0),
            "resolution": (request["resolution"], 0.5),
            "triangles": (triangles, ""),
            "color": (color, ""),
            "movie": (movie, 1),
            "as_": (kind, "cgo"),
            "trajectory": (trajectory, ""),
            "towards": (towards, ""),
            "share": (share, ""),
            "steady": (int(steady), 0),
            "fps": (fps, ""),
            "seconds": (seconds, ""),
            "play": (play, ""),
            "camera": (camera, "still"),
            "overlay": (overlay, 0),
        },
    )
    session.jobs.claim(fit, Activity.MOVIE)

    def work() -> None:
        requests = [{**request, "time": float(t)} for t in times]
        kept, recorder = KeptMovie(object, fit, chosen, which), MovieRecorder(film)
        try:
            # Closed at once when something fails, so that no answer is computed for nobody.
            with contextlib.closing(
                session.jobs.stream(fit, "mesh" if kind == "cgo" else "grid", requests, arrays)
            ) as answers:
                replies = read_replies(report_states(fit, answers, len(times), say))
                loaded = movie_objects.show_movie(
                    chosen,
                    frames,
                    kept.watch(frames, recorder.watch(frames, replies)),
                    object=object,
                    color=color,
                    as_map=kind == "map",
                    level=at_level,
                    say=lambda text: say(f" {fit.name}: {text}"),
                    _self=_self,
                )
        finally:
            gui_thread.in_gui(_self, session.movies.keep, kept, _self)
            session.jobs.release(fit)
        gui_thread.in_gui(_self, preview.remove_both, fit.name, _self)
        # Before the movie, in which placing an object makes a key of its motion.
        if film.overlay and loaded.states:
            loaded.objects.append(f"{object}_time")
            gui_thread.in_gui(_self, recorder.show_labels, loaded.states, f"{object}_time", chosen.object, _self)
        if make_movie and loaded.states:
            gui_thread.in_gui(_self, recorder.set_up, loaded.states, chosen.object, _self)
        session.references.add_movie(object, fit.name, loaded.objects, again)
        for line in movie_objects.describe(chosen, loaded):
            print(f" {fit.name}: {line}")
        say(
            f" {fit.name}: {count_of_states(len(loaded.states))} loaded as {', '.join(loaded.objects) or 'nothing'}"
            + ("; mplay plays them" if make_movie and loaded.states else "")
        )

    run_or_start("dsr_movie", work, async_, quiet, _self)
    return object


@command
def dsr_film(
    filename: str,
    width: str = "",
    height: str = "",
    *commas: str,
    fps: str = "",
    ray: int = -1,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Writes the movie that is loaded as a film, a picture for each of its frames. Takes ffmpeg, or for .gif
        the Python package PIL; without them the pictures stay in the folder <filename>_frames, and the command
        that makes the film is printed. The window can be used meanwhile, but what it shows gets into the film.

    USAGE

        dsr_film filename [, width [, height [, fps=..., ray=..., async_=... ]]]

    ARGUMENTS

        filename = str: file to write, ending in .mp4 or .gif

        width, height = int: size in pixels; of one alone, the other follows {default: those of the view}

        fps = float: frames per second {default: movie_fps, which dsr_movie fps= sets}

        ray = 0/1: ray-trace the pictures, slow and fine {default: -1, only where there is no window}

        async_ = 0/1: write in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_movie adk_dsr, 1-90, seconds=6, fps=25, overlay=1
        dsr_film adk.mp4, 1280, 720

    SEE ALSO

        dsr_movie, mpng, movie.produce
    """
    from pymol import gui

    say = reporter(quiet)
    path = writable_path(str(filename), film.SUFFIXES)
    if _self.count_frames() < 2:
        raise CmdException("there is no movie to write; dsr_movie loads one")
    size = [
        parse_whole_number(key, value, 16) if str(value) else 0 for key, value in (("width", width), ("height", height))
    ]
    rate = parse_number("fps", fps, 0.0, above=True) if str(fps) else frames_per_second(_self)
    traced = int(ray) > 0 or (int(ray) < 0 and gui.get_qtwindow() is None)

    def work() -> None:
        written = film.write_film(path, size[0], size[1], rate, traced, say, _self)
        if written == path:
            say(f" dsr_film: written {path}, {os.path.getsize(path) / 1e6:.1f} MB")

    run_or_start("dsr_film", work, async_, quiet, _self)
    return path
