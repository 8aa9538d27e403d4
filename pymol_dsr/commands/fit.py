"""dsr_fit and dsr_resume."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

from pymol import CmdException, cmd

from ..fits import interrupted
from ..fits.fit import Activity, Fit, Say
from ..fits.fitting import run_fit
from ..fits.request import FitRequest
from ..scene.gui_thread import in_gui
from ..scene.molecules import claim_molecule, present_name
from ..scene.movie_objects import REPLACEABLE
from ..scene.objects import object_kind
from ..scene.preview import Preview
from ..session import Session, session_of
from ..shared.names import is_name, rule_against
from ..shared.options import FitOptions, StartOptions
from ..shared.state_times import check_breaks, jump_line, read_times
from ..shared.states import PastEndError
from ..shared.text import counted
from ..sources import provenance
from ..surfaces import extract
from ..surfaces.coordinates import turn_warning
from ..surfaces.selections import ATOMS_TITLE
from ..surfaces.source import Source
from .arguments import fit_name, new_fit_name
from .command import command
from .running import Runner, count_of_states

# The user is warned below this IoU of held-out states and their prediction. Trp-cage at 300 K has 0.74 (every second of
# 150 states), trpzip2, which unfolds from state to state, 0.46.
POORLY = 0.67


@command
def dsr_fit(
    selection: str,
    states: str = "all",
    *commas: str,
    name: str = "",
    preset: str = "",
    smooth: str = "auto",
    device: str = FitOptions.device,
    budget: str = "",
    async_: int = -1,
    align: int = int(FitOptions.align),
    seed: int = FitOptions.seed,
    resume: int = 0,
    family: str = "",
    frozen: int = 0,
    times: str = "",
    loop: int = int(FitOptions.loop),
    breaks: str = "auto",
    unwrap: int = int(StartOptions.unwrap),
    watch: int = -1,
    detach: int = 0,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Fits a dynamical surface: one continuous function of space and time that holds PyMOL's surfaces of all
        states of a molecule. dsr_movie shows it at any time, also between the states and after the last one.

        First, PyMOL makes the surface of each state, in processes beside the one that you work with. They have the
        surface settings of the object (surface_quality, solvent_radius, ...) and the atoms that "show surface"
        takes. With surface_mode 0, the default, atoms flagged "ignore" (mostly solvent and ligands) are left out,
        unless all are flagged; surface_mode 1 takes them along. Then another process, the backend, does the fit.

        Several objects become a family: one fit with a trajectory of each object, named like it. dsr_movie shows
        one trajectory, or what lies between two. With preset=paper, they have one network, from which the fit of
        another molecule like these can start (family=).

    USAGE

        dsr_fit selection [, states [, name=..., preset=..., smooth=..., device=..., budget=..., async_=...,
            align=..., seed=..., resume=..., family=..., frozen=..., times=..., loop=..., breaks=...,
            unwrap=..., watch=..., detach=... ]]

    ARGUMENTS

        selection = str: atoms of one object, or of several, as one+two+three or polymer

        states = str: states to fit, as 1-150, 1-79:2 (every second), 1+5+9, 1-40+60-80:2 or all. In 1-300:1..10,
        the step grows evenly, from 1 at state 1 to 10 at state 300. With several objects, these states of each
        {default: all}

        name = str: name of the fit {default: <first object>_dsr}

        preset = fast, fine, preview or paper: kind of fit. fine is sharper and takes twice as long as fast;
        preview is coarser and faster; paper is the neural network of the DSR paper, for comparison. It is slow:
        without a GPU it takes hours, unless budget= ends it earlier {default: fast, or that of the family}

        smooth = float or auto: width in states of the smoothing over time. auto takes the width that predicts
        states best that it holds out {default: auto}

        device = auto, cpu, cuda or cuda:1: where to compute {default: auto, or what dsr_set device says}

        budget = float: most seconds of training, with preset=paper {default: none}

        async_ = 0/1: fit in the background {default: -1, in the background when typed, blocking in scripts}

        align = 0/1: superpose the states for the fit, and put the motion of the whole molecule back after it
        {default: 1}

        seed = int: seed of random numbers {default: 0}

        resume = 0/1: use the surfaces that an interrupted fit of this name has made {default: 0}

        family = str: name of a family; with preset=paper, the fit starts from its network {default: none}

        frozen = 0/1: keep the network of the family as it is, and fit only what belongs to this trajectory
        {default: 0}

        times = str: text file with the time of each state of the object, one number for each, in any unit. Give it
        for states that were saved at uneven times: the motion is then smooth in time. States keep their numbers
        {default: the times are even}

        loop = 0/1: the first state follows the last one again {default: 0}

        breaks = auto, none or states as 12+24: runs that were saved one after the other are cut apart, here after
        states 12 and 24. Nothing is blended, smoothed or forecast across a cut, and between two runs the nearer
        state is held. auto cuts where the molecule jumps: where a step is far longer than its neighbours and the
        molecule does not come back. Loops and fits of dsr_fill and dsr_morph alone have no cuts {default: auto}

        unwrap = 0/1: make molecules whole that the periodic box of a simulation cuts, and let none jump through it
        from state to state. The object needs a unit cell, and stays as it is {default: 0}

        watch = 0/1: show the surface of the state in view as <name>_preview during the fit {default: -1, when
        typed}

        detach = 0/1: when the surfaces are made, leave the fit to a process of its own on the backend's machine. It
        goes on when PyMOL or the connection ends. dsr_status shows it, also in a later session, and dsr_movie
        takes it when it is ready {default: 0}

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
    family = fit_name(family, _self) if str(family) else ""
    start = StartOptions.parse(family=family, frozen=frozen, resume=resume, detach=detach, unwrap=unwrap)
    options = FitOptions.parse(
        preset=str(preset) or preset_of_family(session, start.family),
        smooth=smooth,
        seed=seed,
        budget=budget,
        device=device,
        align=align,
        loop=loop,
        breaks=breaks,
    )
    if str(times):
        options = dataclasses.replace(options, times=read_times(str(times)))
    return begin_fit(
        session,
        str(selection),
        str(states),
        str(name),
        options,
        start,
        Runner.of("dsr_fit", async_, quiet, _self, watch=watch),
        _self,
    )


@command
def dsr_resume(name: str = "", *, watch: int = -1, async_: int = -1, quiet: int = 1, _self: Any = cmd) -> str:
    """
    DESCRIPTION

        Goes on with a fit that was interrupted, in this session or in an earlier one. It uses the surfaces that were
        made and, with preset paper, the last checkpoint of the training. The options are those of the interrupted
        fit. The molecule must be in the scene under its name, as it was then.

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
    runner = Runner.of("dsr_resume", async_, quiet, _self, watch=watch)
    return resume_fit(session_of(_self), fit_name(name, _self), runner, _self)


def begin_fit(
    session: Session,
    selection: str,
    states: str,
    name: str,
    options: FitOptions,
    start: StartOptions,
    runner: Runner,
    _self: Any,
) -> str:
    """Fit the states of a selection; the name of the fit.

    states: a states text. name: empty for that of the first object with _dsr. Raises CmdException, JobError,
    ExtractError, StatesError or BackendError.
    """
    name, request = prepare_fit(session, selection, states, name, options, start, _self)
    if start.detach:
        # Nobody may be there to see its surface.
        runner = dataclasses.replace(runner, watch=False)
    run_request(session, name, request, runner, _self)
    return name


def prepare_fit(
    session: Session, selection: str, states: str, name: str, options: FitOptions, start: StartOptions, _self: Any
) -> tuple[str, FitRequest]:
    """Read the scene for a fit; the name of the fit, and its request. Arguments and errors as of `begin_fit`."""
    if start.family:
        preset_of_family(session, start.family)
        if options.preset != "paper":
            print(
                f" dsr_fit: preset {options.preset} has no network to start from: {start.family} gives its preset alone"
            )
    if options.device == "auto":
        options = dataclasses.replace(options, device=session.settings.get("device"))
    try:
        sources = extract.read_sources(selection, states, unwrap=start.unwrap, _self=_self)
    except PastEndError as error:
        raise PastEndError(f"{error}; dsr_continue makes states after the last one") from error
    if start.family and len(sources) > 1:
        listed = ", ".join(source.object for source in sources)
        raise CmdException(f"selection {selection}: a family takes one new trajectory at a time, not {listed}")
    sources = [session.sources.provenance.noted(source, _self) for source in sources]
    for source in sources:
        maker = session.sources.maker_of(source.object)
        if maker is not None:
            print(
                f" dsr_fit: warning: {maker.command} still makes states of {source.object}; this fit has "
                f"{count_of_states(len(source.states))}, and none of those to come"
            )
        if source.provenance is not None:
            print(
                f" dsr_fit: {source.object}: states {source.provenance['generated']} were generated "
                f"({provenance.describe(source.provenance)}); their surfaces show what that method says"
            )
        if options.times is not None and len(options.times) != source.last:
            raise CmdException(
                f"times: it has {len(options.times)} numbers and {source.object} {count_of_states(source.last)}; "
                "give one for each state"
            )
        check_breaks(options.breaks or (), source.states)
        for line in source.warnings:
            print(f" dsr_fit: warning: {line}")
    if options.breaks is None and all(provenance.is_path(source.provenance) for source in sources):
        options = dataclasses.replace(options, breaks=())
    is_chosen, name = bool(name), new_fit_name(session.jobs.fits, name or f"{sources[0].object}_dsr", "name", _self)
    _check_trajectory_names([source.object for source in sources] if len(sources) > 1 else [])
    if name == start.family:
        raise CmdException(f"name {name}: the fit would take the place of the family it starts from; give another")
    check_name_is_free(session, name, is_chosen, _self)
    return name, FitRequest(sources, options, start)


def _check_trajectory_names(names: Sequence[str]) -> None:
    """Raise CmdException for objects whose names no trajectories of a family may have."""
    for name in names:
        if not is_name(name):
            raise CmdException(
                f"a trajectory can't be named {name}: {rule_against(name)}; rename the object with set_name"
            )


def check_name_is_free(session: Session, name: str, is_chosen: bool, _self: Any) -> None:
    """Raise CmdException where the scene has something of that name that no movie of a fit may replace.

    is_chosen: whether the user chose the name; the usual one may be that of a movie from an earlier session.
    """
    kind = object_kind(name, _self)
    is_own_movie = kind == ATOMS_TITLE or name in session.jobs.fits or name in session.movies.by_name
    if kind and (kind not in REPLACEABLE or (is_chosen and not is_own_movie)):
        raise CmdException(f"name {name}: the scene has a {kind} of that name; give another with name=, or delete it")


def resume_fit(session: Session, name: str, runner: Runner, _self: Any) -> str:
    """Go on with an interrupted fit, the only one where the name is empty, and return its name.

    Raises CmdException, JobError, ExtractError or BackendError.
    """
    jobs = session.jobs
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
    request = interrupted.request_of(fits[name], lambda molecule: present_name(name, molecule, _self), _self)
    runner.say(f" {fits[name].progress()}")
    run_request(session, name, request, runner, _self)
    return name


def preset_of_family(session: Session, name: str) -> str:
    """Return the preset of a family, or the usual one where the name is empty.

    Raises CmdException for any other fit.
    """
    if not name:
        return FitOptions.preset
    family = session.jobs.get(name)
    if not family.family:
        raise CmdException(f"family {name}: it is a fit of one trajectory; dsr_fit one+two makes a family")
    return family.report.preset or FitOptions.preset


def run_request(session: Session, name: str, request: FitRequest, runner: Runner, _self: Any) -> None:
    """Enter a fit and run it."""
    jobs = session.jobs
    fit = jobs.new(name, request.sources, Activity.FIT)
    with jobs.withdrawn_on_error(fit):
        for trajectory in fit.trajectories:
            claim_molecule(name, trajectory.object, _self)
        if fit.replaces is not None and fit.replaces.is_finished:
            runner.say(f" {name}: the fit of this name is kept until the new one is ready")
        preview = fit.preview = Preview(fit, _self) if runner.watch else None
    # They were printed when the scene was read.
    fit.warnings += [line for source in request.sources for line in source.warnings]
    for source in request.sources:
        runner.say(
            f" {name}: {counted(len(source.atoms), 'atom')}, {count_of_states(len(source.states))} of {source.object}"
        )
    runner.run(partial(_fit, session, fit, request, preview, runner.say, _self))


def _superposing(source: Source, _self: Any) -> str:
    """Return the command that superposes the states of a source; empty where intra_fit does not.

    That passes over the states of a discrete object, and superposes molecules as the box cuts them.
    """
    is_there = source.object in _self.get_names("objects")
    if not is_there or source.unwrap or _self.count_discrete(f"%{source.object}"):
        return ""
    return f"intra_fit {source.selection}"


def _fit(session: Session, fit: Fit, request: FitRequest, preview: Preview | None, say: Say, _self: Any) -> None:
    try:
        run_fit(session.jobs, fit, request, say)
    except BaseException:
        if preview is not None:
            preview.end()
        raise
    name, count = fit.name, count_of_states(fit.count)
    if fit.detached:
        say(
            f" {name}: {count} sent; it is fitted by {fit.detached}, also when PyMOL ends; "
            f"dsr_status {name} shows how far it is"
        )
        return
    sources = {known.name: source for known, source in zip(fit.trajectories, request.sources, strict=True)}
    for member, report in fit.report.members().items():
        if report.breaks and request.options.breaks is None:
            line = jump_line(report.breaks, report.states)
            fit.warnings.append(f"{member}: {line}" if member else line)
            print(f" {member or name}: {line}")
        iou = report.held_out_iou
        if iou is not None and iou < POORLY:
            fit.warn(
                f"states that were held out were predicted with an IoU of {iou:.2f} near their surface: what is shown "
                "between states is a guess; fit states nearer to each other",
                member,
            )
        source, cuts = sources[member], report.breaks or ()
        if request.options.align:
            remedy = in_gui(_self, _superposing, source, _self)
            if line := turn_warning(source.states, source.coordinates, cuts, remedy):
                fit.warn(line, member)
    seconds = fit.report.seconds
    duration = f" in {seconds:.0f} s" if seconds is not None else ""
    member = f", trajectory={fit.trajectories[0].name}" if fit.family else ""
    one_state = len(fit.trajectories[0].states) == 1
    say(
        f" {name}: {count} fitted{duration}, on {fit.device or 'an unnamed device'}; "
        f"'dsr_movie {name}{member}{', movie=0' if one_state else ''}' shows {'it' if one_state else 'them'}"
    )
    # Its surfaces look like those of the new fit, which they are not.
    for object, line in in_gui(_self, session.references.movies_in_scene, name, _self).items():
        print(f" {name}: the movie {object} in the scene is still that of the fit before; '{line}' makes it anew")
