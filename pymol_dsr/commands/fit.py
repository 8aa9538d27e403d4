"""dsr_fit and dsr_resume."""

from __future__ import annotations

import dataclasses
from typing import Any

from pymol import CmdException, cmd

from ..fits import interrupted
from ..fits.fitting import run_fit
from ..fits.request import FitRequest
from ..scene.movie_objects import REPLACEABLE
from ..scene.objects import object_kind
from ..scene.preview import Preview
from ..session import session_of
from ..shared.options import FitOptions, StartOptions, read_times
from ..surfaces import extract
from ..surfaces.selections import ATOMS_TITLE
from .command import command
from .options import fit_name
from .running import count_of_states, is_typed, reporter, run_or_start

# Share of the points near held-out surfaces predicted on the wrong side, above which the user is warned. Trp-cage at
# 300 K has 0.27 (every second of 150 states), trpzip2, which unfolds from state to state, 0.37.
POORLY = 0.3


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
        solvent_radius, ...) and for the atoms that "show surface" takes: with surface_mode 0, the default, atoms
        flagged "ignore" (mostly solvent and ligands) are left out unless all are; surface_mode 1 takes them along.

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
    session = session_of(_self)
    start = StartOptions.parse(family=family, frozen=frozen, resume=resume, detach=detach)
    usual = FitOptions.preset
    if start.family:
        start = dataclasses.replace(start, family=fit_name(start.family, _self))
        parent = session.jobs.get(start.family)
        if not parent.family:
            raise CmdException(f"family {family}: it is a fit of one trajectory; dsr_fit one+two makes a family")
        usual = str(parent.report.get("preset", usual))
    options = FitOptions.parse(
        preset=str(preset) or usual, smooth=smooth, seed=seed, budget=budget, device=device, align=align, loop=loop
    )
    if str(times):
        options = dataclasses.replace(options, times=read_times(str(times)))
    if options.device == "auto":
        options = dataclasses.replace(options, device=session.settings.get("device"))
    sources = extract.read_sources(str(selection), str(states), _self=_self)
    if str(family) and len(sources) > 1:
        listed = ", ".join(source.object for source in sources)
        raise CmdException(f"selection {selection}: a family takes one new trajectory at a time, not {listed}")
    for source in sources:
        if options.times is not None and len(options.times) != source.last:
            raise CmdException(
                f"times {times}: it has {len(options.times)} numbers and {source.object} "
                f"{count_of_states(source.last)}; give one for each state"
            )
        for line in source.warnings:
            print(f" dsr_fit: warning: {line}")
    own_name, name = bool(str(name)), fit_name(str(name) or f"{sources[0].object}_dsr", _self)
    if name == start.family:
        raise CmdException(f"name {name}: the fit would take the place of the family it starts from; give another")
    _check_name_is_free(name, own_name, _self)
    if start.detach:
        # Nobody may be there to see it.
        watch = 0
    _begin("dsr_fit", name, FitRequest(sources, options, start), watch, async_, quiet, _self)
    return name


def _check_name_is_free(name: str, given: bool, _self: Any) -> None:
    """Raise CmdException where the scene has something of that name that no movie of a fit may replace.

    given: whether the user chose the name; the usual one may be that of a movie from an earlier session.
    """
    session = session_of(_self)
    kind = object_kind(name, _self)
    ours = kind == ATOMS_TITLE or name in session.jobs.fits or name in session.movies.by_name
    if kind and (kind not in REPLACEABLE or (given and not ours)):
        raise CmdException(f"name {name}: the scene has a {kind} of that name; give another with name=, or delete it")


def _begin(
    title: str,
    name: str,
    request: FitRequest,
    watch: Any,
    async_: Any,
    quiet: Any,
    _self: Any,
) -> None:
    """Run a fit, now or in the background."""
    say, jobs = reporter(quiet), session_of(_self).jobs
    fit = jobs.new(name, request.sources)
    shown = None
    if int(watch) > 0 or (int(watch) < 0 and is_typed(quiet, _self)):
        shown = Preview(fit, _self)
        fit.preview, fit.show_preview = shown.request, shown

    def work() -> None:
        try:
            run_fit(jobs, fit, request, say)
        except BaseException:
            if shown is not None:
                shown.end()
            raise
        if fit.detached:
            say(
                f" {name}: {count_of_states(fit.count)} sent; it is fitted by {fit.detached}, also when PyMOL ends; "
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
            f" {name}: {count_of_states(fit.count)} fitted{took}, on {fit.device or 'an unnamed device'}; "
            f"dsr_movie {name}{f', trajectory={fit.trajectories[0].name}' if fit.family else ''} shows them"
        )

    for source in request.sources:
        say(f" {name}: {len(source.atoms)} atoms, {count_of_states(len(source.states))} of {source.object}")
    run_or_start(title, work, async_, quiet, _self)


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
    name, jobs = fit_name(name, _self), session_of(_self).jobs
    fit = jobs.fits.get(name)
    if fit is not None and fit.activity:
        raise CmdException(f"{name} is busy with {fit.activity}; wait for it, or dsr_cancel {name}")
    fits = interrupted.ask_interrupted(jobs.connection.backend())
    names = ", ".join(fits) or "none"
    if not name and len(fits) == 1:
        [name] = fits
    if not name:
        raise CmdException(f"name: give that of an interrupted fit (there: {names})")
    if name not in fits:
        raise CmdException(f"{name}: there is no interrupted fit of that name (there: {names}); dsr_fit makes a fit")
    request = interrupted.request_of(fits[name], _self)
    reporter(quiet)(f" {fits[name].progress()}")
    _begin("dsr_resume", name, request, watch, async_, quiet, _self)
    return name
