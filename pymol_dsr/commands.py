"""The dsr_* commands: read the arguments, check, hand over. One clear line for every error."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable
from typing import Any

from pymol import CmdException, cmd

from . import (
    answers,
    colors,
    doctor,
    evaluation,
    extract,
    interrupted,
    jobs,
    level_sets,
    measures,
    movies,
    preview,
    scene,
    sessions,
    settings,
    states,
    surfaces_file,
)
from .client import BackendError
from .jobs import Fit, Trajectory
from .protocol import MAX_PAYLOAD

PRESETS = ("fast", "preview", "paper")
# Share of the points near held-out surfaces predicted on the wrong side, above which the user is warned. Trp-cage at
# 300 K has 0.27 (every second of 150 states), trpzip2, which unfolds from state to state, 0.37.
POORLY = 0.3
FORMATS = ("ply", "obj", "stl", "glb", "npz")
COMMANDS: dict[str, Callable[..., Any]] = {}
# What a user can cause or a machine can do; anything else is a fault of ours and keeps its traceback.
EXPECTED = (
    states.StatesError,
    extract.ExtractError,
    scene.SceneError,
    movies.MovieError,
    jobs.JobError,
    settings.SettingsError,
    BackendError,
    jobs.Cancelled,
    OSError,
)


class _Shown:
    """Calls `call`, and looks like `function` to PyMOL's parser.

    PyMOL 2.5 does not look through a wrapper, and would not say that a command was typed (quiet=0).
    """

    def __init__(self, call: Callable[..., Any], function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._call = call
        self.__code__ = function.__code__
        self.__defaults__ = function.__defaults__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a dsr_* command: expected faults become one CmdException, stray commas are explained."""
    name = function.__name__
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise CmdException(f"{name}: {error}; see 'help {name}'") from error
        extra = bound.arguments.get("commas")
        if extra:
            raise CmdException(
                f"{name}: a comma ends an argument, so '{extra[0]}' belongs to nothing; join states with + "
                "as in 1+5+9, and give what follows by name as in preset=fast"
            )
        try:
            return function(*args, **kwargs)
        except EXPECTED as error:
            raise CmdException(answers.harmless(str(error))) from error

    shown = _Shown(wrapper, function)
    # PyMOL prints help as it stands, with the headings at the margin.
    shown.__doc__ = f"\n{inspect.cleandoc(function.__doc__ or '')}\n"
    COMMANDS[name] = shown
    return shown


@command
def dsr_fit(
    selection: str,
    states: str = "all",
    *commas: str,
    name: str = "",
    preset: str = "",
    smooth: str = "auto",
    device: str = "auto",
    budget: str = "",
    async_: int = -1,
    align: int = 1,
    seed: int = 0,
    resume: int = 0,
    family: str = "",
    frozen: int = 0,
    times: str = "",
    loop: int = 0,
    watch: int = -1,
    detach: int = 0,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Fits a dynamical surface: one continuous function of space and time that holds PyMOL's surfaces of all
        states of a molecule. dsr_movie shows it at any time, also between the states and after the last one.

        The surfaces are computed beside PyMOL, with the surface settings of the object (surface_quality,
        solvent_radius, ...). Atoms flagged "ignore" are left out, as in "show surface".

        Several objects become a family: one network for all, and a trajectory of each, named like the object.
        dsr_movie shows one of them, or what lies between two. A family helps to fit another molecule like these.

    USAGE

        dsr_fit selection [, states [, name=..., preset=..., smooth=..., device=..., budget=..., async_=...,
            align=..., seed=..., resume=..., family=..., frozen=..., times=..., loop=..., watch=...,
            detach=... ]]

    ARGUMENTS

        selection = str: atoms of one object, or of several, as one+two+three or polymer

        states = str: states to fit, as 1-150, 1-79:2, 1+5+9, 1-40+60-80:2 or all; in 1-300:1..10 the interval
        grows from 1 to 10, each step being what a straight line from 1 at state 1 to 10 at state 300 says,
        rounded. Of several objects the same ones are taken {default: all}

        name = str: name of the fit {default: <first object>_dsr}

        preset = fast, preview or paper: kind of fit, preview being coarser and twice as fast, and paper the
        network of the paper, for comparison, which is slow: without a GPU it takes hours, unless budget= says
        less {default: fast, or that of the family}

        smooth = float or auto: width in states of the smoothing over time {default: auto, by held out states}

        device = auto, cpu, cuda or cuda:1: where to compute {default: auto, or what dsr_set device says}

        budget = float: most seconds to train {default: none}

        async_ = 0/1: fit in the background {default: -1, in the background when typed, blocking in scripts}

        align = 0/1: take the motion of the whole molecule out of the fit {default: 1}

        seed = int: seed of random numbers {default: 0}

        resume = 0/1: take up the surfaces of an interrupted fit of this name {default: 0}

        family = str: fit of several trajectories whose network this one starts from {default: none}

        frozen = 0/1: keep the network of the family as it is, and fit only what belongs to this trajectory
        {default: 0}

        times = str: text file with the time of every state of the object, one number each in any unit, where
        they were saved at uneven times; motion is then smooth in time, and states keep their numbers
        {default: states are even}

        loop = 0/1: the first state follows the last one again {default: 0}

        watch = 0/1: show the surface of the state in view as <name>_preview while it is fitted {default: -1, when
        typed}

        detach = 0/1: once the surfaces are made, leave the fit to a process of its own on the backend's machine,
        which goes on when PyMOL or the connection ends; dsr_status shows it, later sessions' too, and
        dsr_movie takes it when it is ready {default: 0}

    EXAMPLE

        load_traj adk_dims.dcd, adk
        dsr_fit adk and polymer, states=1-79:2
        dsr_movie adk_dsr, 1-79:0.5

        dsr_fit one+two+three, 1-300:1..10, name=fam
        dsr_movie fam, trajectory=one, towards=two, share=0.5
        dsr_fit four, family=fam, frozen=1

    SEE ALSO

        dsr_movie, dsr_eval, dsr_status, dsr_cancel, dsr_save, load_traj
    """
    how: dict[str, Any] = {"resume": bool(int(resume))}
    usual = "fast"
    if str(family):
        start = jobs.jobs.get(str(family))
        if not start.family:
            raise CmdException(f"family {family}: it is a fit of one trajectory; dsr_fit one+two makes a family")
        how.update(family=start.name, frozen=bool(int(frozen)))
        usual = str(start.report.get("preset", usual))
    elif int(frozen):
        raise CmdException(f"frozen {frozen}: it keeps the network of a family; give family= too")
    config: dict[str, Any] = {
        "preset": _choice("preset", str(preset) or usual, PRESETS),
        "smooth": None,
        "seed": _int("seed", seed, 0),
        "budget": None,
        "device": settings.KEYS["device"][1](str(device)),
        "align": bool(int(align)),
        "loop": bool(int(loop)),
    }
    if str(times):
        config["times"] = _numbers_in("times", str(times))
    if config["device"] == "auto":
        config["device"] = settings.get("device")
    if str(smooth) not in ("auto", ""):
        config["smooth"] = _float("smooth", smooth, 0.0)
    if str(budget) not in ("none", ""):
        config["budget"] = _float("budget", budget, 0.0, above=True)
    sources = extract.read_sources(str(selection), str(states), _self=_self)
    if str(family) and len(sources) > 1:
        listed = ", ".join(source.object for source in sources)
        raise CmdException(f"selection {selection}: a family takes one new trajectory at a time, not {listed}")
    for source in sources:
        if str(times) and len(config["times"]) != source.last:
            raise CmdException(
                f"times {times}: it has {len(config['times'])} numbers and {source.object} {_states(source.last)}; "
                "give one for each state"
            )
        for line in source.warnings:
            print(f" dsr_fit: warning: {line}")
    name = _self.get_legal_name(str(name) or f"{sources[0].object}_dsr")
    if name == str(family):
        raise CmdException(f"name {name}: the fit would take the place of the family it starts from; give another")
    if int(detach):
        # Nobody may be there to look.
        how["detach"], watch = True, 0
    _begin("dsr_fit", name, sources, config, how, watch, async_, quiet, _self)
    return name


def _begin(
    title: str,
    name: str,
    sources: list[extract.Source],
    config: dict[str, Any],
    how: dict[str, Any],
    watch: Any,
    async_: Any,
    quiet: Any,
    _self: Any,
) -> None:
    """Run a fit, now or in the background."""
    say = _say(quiet)
    fit = jobs.jobs.new(name, sources)
    shown = None
    if int(watch) > 0 or (int(watch) < 0 and _typed(quiet, _self)):
        shown = preview.Preview(fit, _self)
        fit.preview, fit.shown = shown.request, shown

    def work() -> None:
        try:
            jobs.jobs.fit(fit, sources, config, how, say)
        except BaseException:
            if shown is not None:
                shown.end()
            raise
        if fit.detached:
            say(
                f" {name}: {_states(fit.count)} sent; it is fitted by {fit.detached}, also when PyMOL ends; "
                f"dsr_status {name} shows how far it is"
            )
            return
        for of, report in (fit.report.get("trajectories") or {"": fit.report}).items():
            missed = report.get("missed")
            if isinstance(missed, (int, float)) and missed > POORLY:
                print(
                    f" {of or name}: warning: states that were held out were predicted with {100 * missed:.0f} % of "
                    "the points near their surface on the wrong side: what is shown between states is a guess; fit "
                    "states nearer to each other"
                )
        seconds = fit.report.get("seconds")
        took = f" in {seconds:.0f} s" if isinstance(seconds, (int, float)) else ""
        say(
            f" {name}: {_states(fit.count)} fitted{took}, on {fit.device or 'an unnamed device'}; "
            f"dsr_movie {name}{f', trajectory={fit.trajectories[0].name}' if fit.family else ''} shows them"
        )

    for source in sources:
        say(f" {name}: {len(source.atoms)} atoms, {_states(len(source.states))} of {source.object}")
    _run(title, work, async_, quiet, _self)


@command
def dsr_resume(name: str = "", *, watch: int = -1, async_: int = -1, quiet: int = 1, _self: Any = cmd) -> str:
    """
    DESCRIPTION

        Goes on with a fit that was interrupted, in this session or in an earlier one: with the surfaces that were made
        and, of preset paper, from the last checkpoint of its training. Everything is as it was asked then; the molecule
        must be in the scene under its name, as it was.

    USAGE

        dsr_resume [ name [, watch=..., async_=... ]]

    ARGUMENTS

        name = str: name of the fit {default: the only one that was interrupted}

        watch = 0/1: show the surface of the state in view while it is fitted {default: -1, when typed}

        async_ = 0/1: go on in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_status
        dsr_resume adk_dsr

    SEE ALSO

        dsr_fit, dsr_status, dsr_cancel
    """
    name = str(name)
    fit = jobs.jobs.fits.get(name)
    if fit is not None and fit.activity:
        raise CmdException(f"{name} is busy with {fit.activity}; wait for it, or dsr_cancel {name}")
    there = interrupted.listed(jobs.jobs.backend())
    names = ", ".join(there) or "none"
    if not name and len(there) == 1:
        [name] = there
    if not name:
        raise CmdException(f"name: give that of an interrupted fit (there: {names})")
    if name not in there:
        raise CmdException(f"{name}: there is no interrupted fit of that name (there: {names}); dsr_fit makes a fit")
    found = interrupted.sources(there[name], _self)
    asked = there[name].about["asked"]
    how: dict[str, Any] = {"resume": True}
    if asked.get("family"):
        how.update(family=asked["family"], frozen=bool(asked.get("frozen")))
    _say(quiet)(f" {there[name].line().split('; ')[0]}")
    _begin("dsr_resume", name, found, dict(asked.get("config") or {}), how, watch, async_, quiet, _self)
    return name


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
    say = _say(quiet)
    fit = jobs.jobs.get(str(name))
    chosen, which = _chosen(fit, trajectory, towards, share, steady)
    times = _times(chosen, str(states))
    film = movies.Film(
        fps=_float("fps", fps, 0.0, above=True) if str(fps) else None,
        play=_choice("play", play, movies.PLAYS) if str(play) else "",
        follow=_choice("camera", camera, movies.CAMERAS) == "follow",
        overlay=bool(int(overlay)),
    )
    if str(seconds):
        if str(states) and not all(float(t).is_integer() for t in times):
            raise CmdException(f"seconds {seconds}: states {states} says the times already; leave one of them out")
        rate = film.fps or movies.frames_per_second(_self)
        times = movies.times(min(times), max(times), _float("seconds", seconds, 0.0, above=True), rate, film.play)
    object = _self.get_legal_name(str(object) or _default_name(fit, which))
    kind = _choice("as_", as_, ("cgo", "map"))
    if film.follow and kind == "map":
        raise CmdException("camera follow: maps say nothing of the atoms to follow; leave as_=map or camera= out")
    color = str(color)
    if color and _self.get_color_index(color) == -1:
        raise CmdException(f"color {color}: PyMOL has no such colour")
    at_level = _float("level", level)
    request: dict[str, Any] = {**which, "resolution": _float("resolution", resolution, 0.0, above=True)}
    if kind == "cgo":
        request.update(
            level=at_level,
            triangles=_int("triangles", triangles, 100) if str(triangles) else scene.triangle_budget(len(times)),
            # For dsr_color, which makes no meshes.
            blend=True,
        )
    make_movie = bool(int(movie))
    if not make_movie and (film.fps or film.play or film.follow):
        raise CmdException(f"movie {movie}: fps, play and camera are the movie's; leave movie= or these out")
    if make_movie and len(chosen.states) == 1:
        of = f", trajectory={chosen.name}" if chosen.name else ""
        raise CmdException(
            f"{chosen.name or fit.name} was fitted to one state, so nothing moves; "
            f"'dsr_movie {fit.name}{of}, movie=0' loads its surface"
        )
    radii = scene.atom_radii(chosen, _self)
    arrays = None if radii is None or kind == "map" else {"radii": radii}
    frames = scene.plan(chosen, times, object)
    scene.check_names(frames, object, _self)
    again = sessions.command_line(
        "dsr_movie",
        [fit.name, states],
        {
            "object": (object, _default_name(fit, which)),
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
    jobs.jobs.claim(fit, "a movie")

    def work() -> None:
        requests = [{**request, "time": float(t)} for t in times]
        kept = colors.Movie(object, fit, chosen, which)
        try:
            # Closed at once when something fails, so that no answer is computed for nobody.
            with contextlib.closing(
                jobs.jobs.stream(fit, "mesh" if kind == "cgo" else "grid", requests, arrays)
            ) as answers:
                loaded = scene.show(
                    chosen,
                    frames,
                    kept.watch(frames, film.watch(frames, _counted(fit, answers, len(times), say))),
                    object=object,
                    color=color,
                    as_map=kind == "map",
                    level=at_level,
                    say=lambda text: say(f" {fit.name}: {text}"),
                    _self=_self,
                )
        finally:
            scene.in_gui(_self, colors.keep, kept, _self)
            fit.activity = ""
        scene.in_gui(_self, preview.remove_both, fit.name, _self)
        # Before the movie, in which placing an object makes a key of its motion.
        if film.overlay and loaded.frames:
            loaded.objects.append(f"{object}_time")
            scene.in_gui(_self, movies.put_labels, film, loaded.frames, f"{object}_time", chosen.object, _self)
        if make_movie and loaded.frames:
            scene.in_gui(_self, movies.set_up, film, loaded.frames, chosen.object, _self)
        sessions.remember(object, fit.name, loaded.objects, again)
        for line in scene.describe(chosen, loaded):
            print(f" {fit.name}: {line}")
        say(
            f" {fit.name}: {_states(len(loaded.frames))} loaded as {', '.join(loaded.objects) or 'nothing'}"
            + ("; mplay plays them" if make_movie and loaded.frames else "")
        )

    _run("dsr_movie", work, async_, quiet, _self)
    return object


@command
def dsr_color(
    name: str,
    by: str = "atoms",
    *commas: str,
    palette: str = "",
    minimum: str = "",
    maximum: str = "",
    file: str = "",
    map: str = "",
    transparency: str = "",
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> None:
    """
    DESCRIPTION

        Colours a movie of dsr_movie anew, without a new fit and without new meshes: by the atoms, by how the
        surface moves, by any number of the atoms, by a map or in one colour. A bar named
        <object>_bar_<what>_<unit> shows which colour stands for which value.

        Extrapolated parts stay transparent and tinted orange. Vertices without a value are grey.

    USAGE

        dsr_color name [, by [, palette=..., minimum=..., maximum=..., file=..., map=..., transparency=...,
            async_=... ]]

    ARGUMENTS

        name = str: an object that dsr_movie made; a fit for all its movies, where none of them has its name

        by = atoms: the atoms' present colours, so that "color", "spectrum" and "util.cbc" work on the surface

        by = motion: how far the atoms below go over the trajectory (root mean square, Angstrom)

        by = speed or velocity: how fast the surface moves at that time, along its normal (Angstrom per state);
        velocity is below 0 inwards, above 0 outwards. The first time it takes a third of a mesh for each state

        by = b, q, partial_charge, vdw, ...: any number of the atoms that "iterate" knows

        by = values: numbers of the atoms that change with time, from file=

        by = map: a map at the surface, from map=

        by = a colour: that colour everywhere {default: atoms}

        palette = str: viridis, one of those of "spectrum" as blue_white_red, or colours joined by _ as
        white_orange_firebrick {default: viridis; blue_white_red for velocity, red_white_blue for charges and maps}

        minimum, maximum = float: values of the first and the last colour {default: the 2nd and 98th percentile
        over all states; around 0 for velocity, charges and maps}

        file = str: .csv with the columns state,index,value; index is PyMOL's (from 1). Values go in straight lines
        from one given state to the next and stay as they are before the first and after the last

        map = str: a map object, or a ramp of one, whose colours are taken then

        transparency = float: 0 to 1 {default: as it is}

        async_ = 0/1: colour in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_color adk_dsr, motion
        dsr_color adk_dsr, velocity, maximum=0.3
        dsr_color adk_dsr, values, file=sasa.csv, palette=white_red

        util.cbc adk
        dsr_color adk_dsr

    SEE ALSO

        dsr_movie, spectrum, ramp_new
    """
    say = _say(quiet)
    by, file, map = str(by), os.path.expanduser(str(file)), str(map)
    low, high = (
        _float(key, value) if str(value) else None for key, value in (("minimum", minimum), ("maximum", maximum))
    )
    clear = _float("transparency", transparency, 0.0) if str(transparency) else None
    if clear is not None and clear > 1.0:
        raise CmdException(f"transparency {transparency}: it must lie between 0 (opaque) and 1 (not to be seen)")
    for key, kind, given in (("file", "values", file), ("map", "map", map)):
        if by == kind and not given:
            raise CmdException(f"by {by}: name the {key} with {key}=")
        if by != kind and given:
            raise CmdException(f"{key} {given}: it goes with by={kind}, not with by={by}")
    found = colors.find(str(name), _self)
    one = by if colors.is_color(by, _self) else ""
    if (one or by == "atoms") and (str(palette) or low is not None or high is not None):
        raise CmdException(f"by {by}: palette, minimum and maximum go with values, and here are none")
    shades = colors.palette(str(palette) or colors.SIGNED.get(by, "viridis"), _self)
    colors.value_range([], low, high, by in colors.SIGNED)
    sources = [(None, None) if one or by == "atoms" else colors.source(movie, by, file, map, _self) for movie in found]
    fit = found[0].fit
    jobs.jobs.claim(fit, "its colours")

    def work() -> None:
        try:
            for movie, (values, scale) in zip(found, sources, strict=True):
                line = colors.dye(
                    movie,
                    by,
                    color=one,
                    values=values,
                    scale=scale,
                    colors=shades,
                    limits=(low, high),
                    transparency=clear,
                    _self=_self,
                )
                say(f" {movie.name}: {line}")
        finally:
            fit.activity = ""

    _run("dsr_color", work, async_, quiet, _self)


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

    say = _say(quiet)
    path = _writable(str(filename), movies.FILMS)
    if _self.count_frames() < 2:
        raise CmdException("there is no movie to write; dsr_movie loads one")
    size = [_int(key, value, 16) if str(value) else 0 for key, value in (("width", width), ("height", height))]
    rate = _float("fps", fps, 0.0, above=True) if str(fps) else movies.frames_per_second(_self)
    traced = int(ray) > 0 or (int(ray) < 0 and gui.get_qtwindow() is None)

    def work() -> None:
        written = movies.write(path, size[0], size[1], rate, traced, say, _self)
        if written == path:
            say(f" dsr_film: written {path}, {os.path.getsize(path) / 1e6:.1f} MB")

    _run("dsr_film", work, async_, quiet, _self)
    return path


@command
def dsr_eval(
    name: str,
    states: str = "",
    *commas: str,
    file: str = "",
    baselines: str = "hold linear",
    trajectory: str = "",
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> list[evaluation.Row] | None:
    """
    DESCRIPTION

        Measures a fit against PyMOL's own surfaces: volumetric IoU, Chamfer distance (both readings) and
        normal consistency, for the states it was fitted to, those between and those after, as mean and standard
        deviation. With them stands how much the atoms move: the RMSD from the state before, superposed.

        Beside the fit stand ways to do without one, made of the fitted states only.

    USAGE

        dsr_eval name [, states [, file=..., baselines=..., trajectory=..., async_=... ]]

    ARGUMENTS

        name = str: name of a fit

        states = str: states to compare {default: all of the fitted range and up to 20 after it}

        file = str: also write a table per state (.csv), and a plot beside it (.png) where matplotlib is there

        baselines = str: any of these, with spaces between, or none {default: hold linear}
            hold: the surface of the nearest fitted state
            linear: between two fitted states, atoms superposed and moved in straight lines, with PyMOL's surface
            smooth: the same after PyMOL's "smooth"
            surface3: atoms as in linear, with surface_type 3

        trajectory = str: which one, of a fit of several

        async_ = 0/1: compare in the background {default: -1, in the background when typed, blocking in
        scripts}

    EXAMPLE

        dsr_fit adk, 1-79:2
        dsr_eval adk_dsr, 1-100, file=adk.csv

    SEE ALSO

        dsr_fit, dsr_movie
    """
    say = _say(quiet)
    fit = jobs.jobs.get(str(name))
    chosen, which = _chosen(fit, trajectory)
    if not all(t.is_integer() for t in chosen.states):
        raise CmdException(f"{fit.name} was fitted to fractions of states, which PyMOL has no surfaces of")
    beside = [] if str(baselines) == "none" else str(baselines).split()
    for one in beside:
        _choice("baselines", one, tuple(evaluation.BASELINES))
    if chosen.object not in _self.get_names("objects"):
        raise CmdException(f"{fit.name}: the object {chosen.object} is not in the scene; load it to compare with")
    path = _table(str(file))
    last = _self.count_states(f"%{chosen.object}")
    if str(states):
        wanted = [int(s) for s in _parse(str(states), last=last, owner=f"the object {chosen.object}")]
    else:
        wanted = evaluation.default_states(chosen, last)
    trained = [int(t) for t in chosen.states]
    needed = _format(evaluation.needed(wanted, trained, beside))
    source = extract.read_source(chosen.selection, needed, before=True, _self=_self)
    if chosen.atoms is not None and not (
        len(source.atoms) == len(chosen.atoms) and (source.atoms == chosen.atoms).all()
    ):
        raise CmdException(
            f"{fit.name}: '{chosen.selection}' is {len(source.atoms)} atoms now and was {len(chosen.atoms)} "
            "when it was fitted, or other ones; they can't be compared"
        )
    result: list[evaluation.Row] = []
    jobs.jobs.claim(fit, "an evaluation")

    def work() -> None:
        try:
            result.extend(evaluation.evaluate(jobs.jobs, fit, which, chosen, source, wanted, beside, say))
        finally:
            fit.activity = ""
        for line in evaluation.table(result):
            say(line)
        if path:
            evaluation.write_csv(path, result)
            plot = os.path.splitext(path)[0] + ".png"
            title = f"{fit.name}: {chosen.name or chosen.object} against PyMOL's surfaces"
            drawn = evaluation.write_plot(plot, result, title)
            say(f" {fit.name}: written to {path}" + (f" and {plot}" if drawn else "; no plot without matplotlib"))

    return result if _run("dsr_eval", work, async_, quiet, _self) else None


@command
def dsr_measure(
    name: str,
    states: str = "",
    *commas: str,
    file: str = "",
    selection: str = "",
    pocket: str = "",
    resolution: float = 0.5,
    top: int = 10,
    trajectory: str = "",
    plot: int = -1,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> measures.Measured | None:
    """
    DESCRIPTION

        Measures a fitted surface over time: its volume and its area, how fast it moves and where, residue by
        residue, and on request the share of some atoms and the volume of a pocket.

        The speed is that of the surface along its normal, in Angstrom per state, its mean over the area without
        regard to the sign; the motion of the whole molecule is part of it. A residue has the surface that is nearest
        to its atoms' spheres, as in colours; residues with less than 10 A^2 are left out of the ranking.

        The pocket is the space outside the surface within the convex hull of the centres of the atoms that line
        it, at each time. It need not be closed, nor open.

    USAGE

        dsr_measure name [, states [, file=..., selection=..., pocket=..., resolution=..., top=...,
            trajectory=..., plot=..., async_=... ]]

    ARGUMENTS

        name = str: name of a fit

        states = str: times, as 1-79 or 1-102:0.25 {default: every state of the fitted range, 100 of them at most}

        file = str: also write a table per time (.csv), beside it one per residue (_residues.csv), and a plot
        (.png) where matplotlib is there

        selection = str: atoms whose share of area and volume is measured, too

        pocket = str: atoms that line a pocket, whose volume is measured, too

        resolution = float: spacing of mesh and cells in Angstrom {default: 0.5}

        top = int: how many of the most moving residues are named {default: 10}

        trajectory = str: which one, of a fit of several

        plot = 0/1: show it in a window {default: -1, when typed}

        async_ = 0/1: measure in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_measure adk_dsr
        dsr_measure adk_dsr, 1-79:0.5, selection=resi 122-159, file=lid.csv
        dsr_measure adk_dsr, pocket=resi 9-14+31+36+57-58+84-85+88+92+119+123+156+158+167+200

    SEE ALSO

        dsr_fit, dsr_movie, dsr_eval, get_area
    """
    say = _say(quiet)
    fit = jobs.jobs.get(str(name))
    chosen, which = _chosen(fit, trajectory)
    times = _times(chosen, str(states)) if str(states) else measures.default_times(chosen)
    path = _table(str(file))
    count = _int("top", top, 0)
    request = {**which, "resolution": _float("resolution", resolution, 0.0, above=True)}
    in_window = int(plot) > 0 or (int(plot) < 0 and _typed(quiet, _self))
    if in_window and not _has_window():
        raise CmdException(f"plot {plot}: PyMOL has no window here; file=NAME.csv writes NAME.png")
    arrays: dict[str, Any] = {}
    for argument, text in (("selection", str(selection)), ("pocket", str(pocket))):
        if text:
            arrays[argument] = measures.mask(chosen, argument, text, _self)
            say(f" {fit.name}: {argument} of {int(arrays[argument].sum())} fitted atoms")
    radii = scene.atom_radii(chosen, _self)
    if radii is not None:
        arrays["radii"] = radii
    labels = scene.atom_residues(chosen, _self)
    fitted_range = min(chosen.states), max(chosen.states)
    title = f"{fit.name}: surface of {chosen.name or chosen.object or 'the fit'}"
    result: list[measures.Measured] = []
    jobs.jobs.claim(fit, "its measures")

    def work() -> None:
        requests = [{**request, "time": float(t)} for t in times]
        try:
            with contextlib.closing(jobs.jobs.stream(fit, "measure", requests, arrays or None)) as answers:
                found = measures.collect(_counted(fit, answers, len(times), say, "measured"), chosen.states, labels)
        finally:
            fit.activity = ""
        result.append(found)
        for line in measures.summary(found, fitted_range, count):
            # Not only where it is asked for: extrapolated numbers look like any others.
            (print if line.startswith(measures.WARNING) else say)(line)
        if path:
            written = measures.write_csv(path, found)
            drawing = os.path.splitext(path)[0] + ".png"
            if measures.write_plot(drawing, found, fitted_range, count, title):
                say(f" {fit.name}: written to {', '.join([*written, drawing])}")
            else:
                say(f" {fit.name}: written to {', '.join(written)}; no plot without matplotlib")
        if in_window:
            from .panel import measures as window

            scene.in_gui(_self, window.show, found, fitted_range, title, fit.name)

    return result[0] if _run("dsr_measure", work, async_, quiet, _self) else None


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

        Shows the field at one time as nested surfaces, each as far from the molecule's own as its level says:
        outside red, inside blue, the surface itself white, darker the farther. They come as one object for each
        level, in a group.

    USAGE

        dsr_levels name, state [, levels [, object=..., resolution=..., cut=..., transparency=...,
            trajectory=..., towards=..., share=..., async_=... ]]

    ARGUMENTS

        name = str: name of a fit

        state = float: the time, as 40 or 40.5

        levels = str: distances in Angstrom with spaces between, outside positive {default: -2 -1 0 2 4}

        object = str: name of the group {default: <fit>_levels, or <fit>_<trajectory>_levels}

        resolution = float: spacing of the meshes in Angstrom {default: 0.5, wider where a level would take more
        than 200000 triangles}

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
    say = _say(quiet)
    fit = jobs.jobs.get(str(name))
    chosen, which = _chosen(fit, trajectory, towards, share)
    times = _times(chosen, str(state))
    if len(times) != 1:
        raise CmdException(f"state {state}: the levels of one time are shown at once; dsr_movie shows several times")
    wanted = level_sets.parse(str(levels))
    object = _self.get_legal_name(str(object) or f"{_default_name(fit, which)}_levels")
    level_sets.check_names(object, wanted, _self)
    request: dict[str, Any] = {**which, "time": float(times[0])}
    if str(resolution):
        request["resolution"] = _float("resolution", resolution, 0.0, above=True)
    else:
        request.update(resolution=0.5, triangles=level_sets.MOST_TRIANGLES)
    seen_through = _float("transparency", transparency or (0.0 if int(cut) else level_sets.TRANSPARENCY), 0.0)
    if seen_through > 1.0:
        raise CmdException(f"transparency {transparency}: it must lie between 0 and 1")
    toward = None
    if int(cut):
        toward = level_sets.toward_camera(_self.get_view(), scene.matrix(chosen.object, _self))
    jobs.jobs.claim(fit, "level sets")

    def work() -> None:
        try:
            meshes = {}
            for level in wanted:
                result, arrays = jobs.jobs.ask(fit, "mesh", {**request, "level": level})
                meshes[level] = arrays["points"], arrays["normals"], arrays["faces"]
        finally:
            fit.activity = ""
        loaded = level_sets.show(
            chosen,
            meshes,
            object=object,
            toward=toward,
            transparency=seen_through,
            say=lambda text: print(f" {fit.name}: {text}"),
            _self=_self,
        )
        movie = _default_name(fit, which)
        if scene.in_gui(_self, scene.switch_off, movie, _self):
            print(f" {fit.name}: {movie} is switched off, as it would hide the levels")
        if result["extrapolated"]:
            error = result["expected_error"]
            expected = "" if error is None else f", expected error {error:.2f} A"
            print(f" {fit.name}: state {times[0]:g} is extrapolated{expected}")
        say(f" {fit.name}: {len(loaded)} levels of state {times[0]:g} loaded as {object}")

    _run("dsr_levels", work, async_, quiet, _self)
    return object


@command
def dsr_surfaces(
    selection: str,
    file: str,
    *commas: str,
    states: str = "all",
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Writes PyMOL's surfaces of all states (points, normals, triangles, atoms) as one file, which
        "dsr-backend fit" takes on a machine without PyMOL.

    USAGE

        dsr_surfaces selection, file [, states=..., async_=... ]

    ARGUMENTS

        selection = str: atoms of one object

        file = str: file to write, ending in .npz

        states = str: states, as 1-150, 1-79:2 or 1+5+9 {default: all}

        async_ = 0/1: work in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_surfaces polymer, adk.npz, states=1-79:2

    SEE ALSO

        dsr_fit
    """
    say = _say(quiet)
    try:
        path = surfaces_file.check_path(str(file))
    except ValueError as error:
        raise CmdException(str(error)) from error
    source = extract.read_source(str(selection), str(states), _self=_self)
    for line in source.warnings:
        print(f" dsr_surfaces: warning: {line}")

    def work() -> None:
        made = list(extract.surfaces(source, int(settings.get("workers"))))
        surfaces_file.write(path, source, made)
        say(f" dsr_surfaces: {_states(len(made))} of {source.object} written to {path}")

    _run("dsr_surfaces", work, async_, quiet, _self)
    return path


@command
def dsr_status(name: str = "", *, quiet: int = 1, _self: Any = cmd) -> list[str]:
    """
    DESCRIPTION

        Lists the fits of this session: how far they are, what they are busy with, on which device; and those that were
        interrupted, in earlier sessions too, with what is there to go on from. Detached fits are asked for at the
        backend, which is started for it.

    USAGE

        dsr_status [ name ]

    ARGUMENTS

        name = str: name of a fit {default: all}

    SEE ALSO

        dsr_fit, dsr_cancel
    """
    fits = jobs.jobs.fits
    try:
        jobs.jobs.look(str(name) if str(name) not in fits else "")
    except BackendError as error:
        print(f" dsr_status: detached fits can't be asked for: {error}")
    if str(name) and str(name) not in fits and str(name) not in [one.name for one in _interrupted()]:
        raise CmdException(f"there is no fit {name} (there: {', '.join(sorted(fits)) or 'none'})")
    lines = []
    for fit in [fit for key, fit in fits.items() if not str(name) or key == str(name)]:
        lines.append(fit.line())
        lines += [
            f"  {t.name}: states {_format(t.states)}{f' of {t.object}' if t.object not in ('', t.name) else ''}"
            for t in fit.trajectories
            if fit.family
        ]
    lines += [one.line() for one in _interrupted() if str(name) in ("", one.name)]
    say = _say(quiet)
    for line in lines or ["no fits yet; dsr_fit makes one"]:
        say(f" {line}")
    return lines


@command
def dsr_cancel(name: str, *, quiet: int = 1, _self: Any = cmd) -> None:
    """
    DESCRIPTION

        Stops what a fit is busy with: its fitting, detached or not, a movie or an evaluation. States that are
        loaded stay.

    USAGE

        dsr_cancel name

    ARGUMENTS

        name = str: name of a fit

    SEE ALSO

        dsr_fit, dsr_status
    """
    running = jobs.jobs.cancel(str(name))
    _say(quiet)(f" {name}: {'stopping' if running else 'nothing to stop'}")


@command
def dsr_set(key: str = "", value: str | None = None, *, quiet: int = 1, _self: Any = cmd) -> dict[str, str]:
    """
    DESCRIPTION

        Sets what holds for all fits; without a value, shows it.

    USAGE

        dsr_set [ key [, value ]]

    ARGUMENTS

        key = backend: command that starts a backend, also a remote one, as
            ssh -T gpu01 dsr-backend serve {default: looked for}

        key = device: where a fit runs unless dsr_fit says: auto, cpu, cuda, cuda:1 {default: auto}

        key = folder: folder of finished fits {default: ~/.pymol_dsr}

        key = workers: surface processes at once {default: 0, as many as cores, at most 8}

        key = wait: most seconds for a backend to start, its place in a queue included {default: 60}

        value = default goes back to the default. backend and folder count from the next start of a backend.

    EXAMPLE

        dsr_set backend, ssh -T gpu01 dsr-backend serve
        dsr_set workers, 4

    SEE ALSO

        dsr_fit
    """
    say = _say(quiet)
    key = str(key)
    if value is not None:
        kept = settings.put(key, str(value))
        if key in ("backend", "folder"):
            jobs.jobs.restart_unused()
        say(f" dsr_set: {key} = {settings.get(key) or 'default'}" + ("" if kept else ", for this session"))
        return {key: settings.get(key)}
    shown = {k: settings.get(k) for k in ([key] if key else settings.KEYS)}
    for k, v in shown.items():
        say(f" {k:<8} = {v or 'default'}  ({settings.KEYS[k][2]})")
    return shown


@command
def dsr_doctor(*, async_: int = -1, quiet: int = 1, _self: Any = cmd) -> list[str] | None:
    """
    DESCRIPTION

        Checks all that a fit needs, down to fitting a small peptide, and says what to do about what is
        missing. Takes some seconds; the scene stays as it is. Send its lines along when you report a fault.

    USAGE

        dsr_doctor [ async_=... ]

    ARGUMENTS

        async_ = 0/1: check in the background {default: -1, in the background when typed, blocking in scripts}

    SEE ALSO

        dsr_set, dsr_fit
    """
    say = _say(quiet)
    lines: list[str] = []

    def work() -> None:
        lines.extend(doctor.examine(say, _self))
        faults = sum(line.startswith("FAIL") for line in lines)
        need = "needs" if faults == 1 else "need"
        say(f" dsr_doctor: {f'{faults} of {len(lines)} {need} attention' if faults else 'all is well'}")

    return lines if _run("dsr_doctor", work, async_, quiet, _self) else None


@command
def dsr_save(name: str, filename: str, *, quiet: int = 1, _self: Any = cmd) -> str:
    """
    DESCRIPTION

        Saves a fit as one file, which dsr_load and "dsr-backend mesh" take.

    USAGE

        dsr_save name, filename

    ARGUMENTS

        name = str: name of a fit

        filename = str: file to write, ending in .dsr

    SEE ALSO

        dsr_load, dsr_export
    """
    fit = jobs.jobs.get(str(name))
    path = _writable(str(filename), ("dsr",))
    with jobs.jobs.busy(fit, "saving"):
        _, arrays = jobs.jobs.ask(fit, "save")
        _write(path, arrays["file"].tobytes())
    fit.file = path
    _say(quiet)(f" {fit.name}: saved as {path}, {os.path.getsize(path) / 1e6:.1f} MB")
    return path


@command
def dsr_load(filename: str, name: str = "", *, quiet: int = 1, _self: Any = cmd) -> str:
    """
    DESCRIPTION

        Loads a fit that dsr_save or "dsr-backend fit" has written.

    USAGE

        dsr_load filename [, name ]

    ARGUMENTS

        filename = str: a .dsr file

        name = str: name of the fit {default: that of the file, with _dsr added where a molecule has that name}

    SEE ALSO

        dsr_save, dsr_movie
    """
    path = os.path.expanduser(str(filename))
    if os.path.getsize(path) > MAX_PAYLOAD:
        raise CmdException(f"filename {filename}: {os.path.getsize(path)} bytes, and a fit has at most {MAX_PAYLOAD}")
    with open(path, "rb") as stream:
        data = stream.read()
    stem = os.path.splitext(os.path.basename(path))[0]
    # The movie takes the fit's name, so that must not be the molecule's; an older movie gives way.
    molecule = stem in _self.get_names("objects") and _self.get_type(stem) == "object:molecule"
    taken = "_dsr" if molecule and not str(name) else ""
    name = _self.get_legal_name(str(name) or stem + taken)
    fit = jobs.jobs.load(name, data)
    fit.file = os.path.abspath(path)
    for trajectory in fit.trajectories:
        if trajectory.object and trajectory.object not in _self.get_names("objects"):
            print(f" {name}: the object {trajectory.object} is not in the scene: its colours and atoms are missing")
    _say(quiet)(f" {fit.line()}")
    return name


@command
def dsr_export(
    name: str,
    filename: str,
    *commas: str,
    states: str = "",
    level: float = 0.0,
    resolution: float = 0.5,
    triangles: str = "",
    binary: int = 0,
    trajectory: str = "",
    towards: str = "",
    share: str = "",
    steady: int = 0,
    quiet: int = 1,
    _self: Any = cmd,
) -> list[str]:
    """
    DESCRIPTION

        Writes the surface at one or more times as mesh files in Angstrom (.glb too: one unit is 1 Angstrom), in
        the frame of the scene and with the colours of the atoms, which .stl has no place for.

    USAGE

        dsr_export name, filename [, states=..., level=..., resolution=..., triangles=..., binary=...,
            trajectory=..., towards=..., share=..., steady=... ]

    ARGUMENTS

        name = str: name of a fit

        filename = str: .ply, .obj, .stl, .glb or .npz; for several states, surface.ply becomes
        surface_0001.00.ply, ..., and surface.glb is one file that plays them, movie_fps of them a second

        states = str: times, as 40, 1-79:2 or 1-10:0.25 {default: the first fitted state}

        level = float: level of the surface in Angstrom, outwards {default: 0}

        resolution = float: spacing of the mesh in Angstrom {default: 0.5}

        triangles = int: most triangles per state {default: no limit}

        binary = 0/1: .ply in its binary kind, 0.6 of the size, which PyMOL itself does not load {default: 0}

        trajectory, towards, share, steady: as in dsr_movie

    EXAMPLE

        dsr_export adk_dsr, adk.ply, states=1-79:2
        dsr_export adk_dsr, adk.glb, states=1-79:0.5, triangles=20000

    SEE ALSO

        dsr_movie, save
    """
    say = _say(quiet)
    fit = jobs.jobs.get(str(name))
    path = _writable(str(filename), FORMATS)
    stem, suffix = os.path.splitext(path)
    chosen, which = _chosen(fit, trajectory, towards, share, steady)
    times = _times(chosen, str(states)) if str(states) else [min(chosen.states)]
    params: dict[str, Any] = {
        **which,
        "format": suffix[1:].lower(),
        "level": _float("level", level),
        "resolution": _float("resolution", resolution, 0.0, above=True),
    }
    if str(triangles):
        params["triangles"] = _int("triangles", triangles, 100)
    if int(binary):
        if params["format"] != "ply":
            raise CmdException(f"binary {binary}: only .ply comes in two kinds, {suffix} in one")
        params["binary"] = True
    requests: dict[str, dict[str, Any]]
    if params["format"] == "glb" and len(times) > 1:
        requests = {path: {"times": [float(t) for t in times]}}
        if _self.get_setting_float("movie_fps") > 0:
            params["fps"] = _self.get_setting_float("movie_fps")
    elif len(times) > 1:
        # As many digits as tell the times apart.
        digits = max(2, *(len(repr(float(t)).split(".")[1]) for t in times))
        requests = {f"{stem}_{t:0{5 + digits}.{digits}f}{suffix}": {"time": float(t)} for t in times}
    else:
        requests = {path: {"time": float(times[0])}}
    arrays = {"matrix": scene.matrix(chosen.object, _self)}
    colors = scene.atom_colors(chosen, _self)
    if colors is not None:
        arrays["colors"] = colors
    radii = scene.atom_radii(chosen, _self)
    if radii is not None:
        arrays["radii"] = radii
    written = []
    with jobs.jobs.busy(fit, "an export"):
        for target, request in requests.items():
            _, out = jobs.jobs.ask(fit, "export", {**params, **request}, arrays)
            _write(target, out["file"].tobytes())
            written.append(target)
    say(f" {fit.name}: {len(written)} {'file' if len(written) == 1 else 'files'} written, the last is {written[-1]}")
    first, last = min(chosen.states), max(chosen.states)
    if any(not first <= t <= last for t in times):
        print(f" {fit.name}: states past the fitted {first:g} to {last:g} are extrapolated")
    return written


def register(_self: Any = cmd) -> None:
    """Make the commands known to PyMOL, with completion of selections and of names of fits."""
    for name, function in COMMANDS.items():
        _self.extend(name, function)
    sessions.register(_self)
    for name in ("dsr_fit", "dsr_surfaces"):
        _self.auto_arg[0][name] = _self.auto_arg[0]["zoom"]
    fits = [_fit_names, "fit", ", "]
    for name in ("dsr_movie", "dsr_color", "dsr_levels", "dsr_measure", "dsr_eval", "dsr_export", "dsr_save"):
        _self.auto_arg[0][name] = fits
    _self.auto_arg[0]["dsr_resume"] = [_interrupted_names, "interrupted fit", ""]
    for name in ("dsr_status", "dsr_cancel"):
        _self.auto_arg[0][name] = [_fit_names, "fit", ""]
    _self.auto_arg[0]["dsr_set"] = [_setting_keys, "setting", ", "]
    _self.auto_arg[1]["dsr_color"] = [_color_kinds, "by", ""]


def _fit_names() -> Any:
    return cmd.Shortcut(list(jobs.jobs.fits))


def _color_kinds() -> Any:
    return cmd.Shortcut(list(colors.KINDS))


def _setting_keys() -> Any:
    return cmd.Shortcut(list(settings.KEYS))


def _interrupted() -> list[interrupted.Interrupted]:
    """Those in the folder that are not under way in this session."""
    backend = jobs.jobs.running
    try:
        if backend is None:
            there = interrupted.in_folder(os.path.join(doctor.home(), "fits"))
        else:
            there = interrupted.listed(backend)
    except (BackendError, OSError) as error:
        print(f" dsr: interrupted fits can't be listed: {error}")
        return []
    busy = {name for name, fit in jobs.jobs.fits.items() if fit.activity}
    return [one for name, one in there.items() if name not in busy]


def _interrupted_names() -> Any:
    return cmd.Shortcut([one.name for one in _interrupted()])


def _run(title: str, work: Callable[[], None], async_: Any, quiet: Any, _self: Any) -> bool:
    """Do the work now, or in the background when asked to or when typed into the window; whether it is
    done.
    """
    if int(async_) > 0 or (int(async_) < 0 and _typed(quiet, _self)):
        jobs.in_background(title, work)
        return False
    work()
    return True


def _typed(quiet: Any, _self: Any) -> bool:
    # In a script each command waits for the one before; the parser is a level deeper there.
    return not int(quiet) and _has_window() and _self._parser.nest <= 1


def _has_window() -> bool:
    from pymol import gui

    return gui.get_qtwindow() is not None


def _states(count: int) -> str:
    return "1 state" if count == 1 else f"{count} states"


def _say(quiet: Any) -> Callable[[str], None]:
    def silent(text: str) -> None:
        pass

    return silent if int(quiet) else print


def _counted(fit: Fit, answers: Any, count: int, say: Callable[[str], None], done_as: str = "loaded") -> Any:
    for done, answer in enumerate(answers, 1):
        yield answer
        fit.doing, fit.fraction = "meshes", done / count
        if done % 20 == 0 and done < count:
            say(f" {fit.name}: {done} of {count} states {done_as}")


# dsr_* commands have an argument named `states`, which hides the module inside them.
_parse = states.parse
_format = states.format


def _chosen(
    fit: Fit, trajectory: Any, towards: Any = "", share: Any = "", steady: Any = 0
) -> tuple[Trajectory, dict[str, Any]]:
    """The trajectory that is meant, and what requests say of it."""
    chosen = fit.trajectory(str(trajectory))
    which: dict[str, Any] = {"trajectory": chosen.name} if chosen.name else {}
    if str(towards):
        other = fit.trajectory(str(towards), "towards")
        if other is chosen:
            raise CmdException(f"towards {towards}: it is the trajectory itself; name another one")
        which.update(towards=other.name, share=_float("share", share if str(share) else 0.5, 0.0))
        if which["share"] > 1.0:
            raise CmdException(f"share {share}: it must lie between 0 ({chosen.name}) and 1 ({other.name})")
    elif str(share):
        raise CmdException(f"share {share}: it says how far towards another trajectory; give towards= too")
    if int(steady):
        which["steady"] = True
    return chosen, which


def _default_name(fit: Fit, which: dict[str, Any]) -> str:
    return "_".join([fit.name, *(which[key] for key in ("trajectory", "towards") if key in which)])


def _times(trajectory: Trajectory, text: str) -> list[float]:
    first, last = int(min(trajectory.states)), int(max(trajectory.states))
    if text:
        return _parse(text, last=last if text == "all" else None, fractional=True)
    return list(range(first, last + 1))


def _choice(key: str, value: str, choices: tuple[str, ...]) -> str:
    if str(value) not in choices:
        raise CmdException(f"{key} {value}: choose one of {', '.join(choices)}")
    return str(value)


def _float(key: str, value: Any, least: float | None = None, above: bool = False) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise CmdException(f"{key} {value}: it is not a number") from error
    if not abs(number) < float("inf") or (least is not None and (number < least or (above and number == least))):
        raise CmdException(f"{key} {value}: it must be {'above' if above else 'at least'} {least or 0:g}")
    return number


def _numbers_in(key: str, filename: str) -> list[float]:
    """The numbers in a text file, rising; what follows a # is none of them."""
    found: list[float] = []
    with open(os.path.expanduser(filename), encoding="utf-8") as stream:
        for line_number, line in enumerate(stream, 1):
            for word in line.partition("#")[0].replace(",", " ").split():
                number = _float(f"{key} {filename}, line {line_number}:", word)
                if found and not number > found[-1]:
                    raise CmdException(
                        f"{key} {filename}, line {line_number}: {number:g} comes after {found[-1]:g}; times must rise "
                        "from state to state"
                    )
                found.append(number)
    return found


def _int(key: str, value: Any, least: int) -> int:
    try:
        number = int(value)
    except ValueError as error:
        raise CmdException(f"{key} {value}: it is not a whole number") from error
    if number < least:
        raise CmdException(f"{key} {value}: it must be at least {least}")
    return number


def _table(file: str) -> str:
    """The path of a table to write; none where none is asked for."""
    try:
        return evaluation.csv_path(file) if file else ""
    except ValueError as error:
        raise CmdException(str(error)) from error


def _writable(filename: str, suffixes: tuple[str, ...]) -> str:
    path = os.path.abspath(os.path.expanduser(filename))
    suffix = os.path.splitext(path)[1][1:].lower()
    if suffix not in suffixes:
        raise CmdException(f"filename {filename}: it must end in {', '.join('.' + s for s in suffixes)}")
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise CmdException(f"filename {filename}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise CmdException(f"filename {filename}: the folder {folder} can't be written to")
    return path


def _write(path: str, data: bytes) -> None:
    draft = f"{path}.part"
    try:
        with open(draft, "wb") as stream:
            stream.write(data)
        os.replace(draft, path)
    except BaseException:
        if os.path.exists(draft):
            os.unlink(draft)
        raise
