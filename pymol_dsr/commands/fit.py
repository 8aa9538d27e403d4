"""dsr_fit and dsr_resume."""

from __future__ import annotations

from typing import Any

from pymol import CmdException, cmd

from ..fits import interrupted
from ..runtime.settings import check_device
from ..scene.preview import Preview
from ..session import session_of
from ..surfaces import extract
from ..surfaces.source import Source
from .command import command
from .options import PRESETS, numbers_in_file, parse_choice, parse_number, parse_whole_number
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
    session = session_of(_self)
    how: dict[str, Any] = {"resume": bool(int(resume))}
    usual = "fast"
    if str(family):
        start = session.jobs.get(str(family))
        if not start.family:
            raise CmdException(f"family {family}: it is a fit of one trajectory; dsr_fit one+two makes a family")
        how.update(family=start.name, frozen=bool(int(frozen)))
        usual = str(start.report.get("preset", usual))
    elif int(frozen):
        raise CmdException(f"frozen {frozen}: it keeps the network of a family; give family= too")
    config: dict[str, Any] = {
        "preset": parse_choice("preset", str(preset) or usual, PRESETS),
        "smooth": None,
        "seed": parse_whole_number("seed", seed, 0),
        "budget": None,
        "device": check_device(str(device)),
        "align": bool(int(align)),
        "loop": bool(int(loop)),
    }
    if str(times):
        config["times"] = numbers_in_file("times", str(times))
    if config["device"] == "auto":
        config["device"] = session.settings.get("device")
    if str(smooth) not in ("auto", ""):
        config["smooth"] = parse_number("smooth", smooth, 0.0)
    if str(budget) not in ("none", ""):
        config["budget"] = parse_number("budget", budget, 0.0, above=True)
    sources = extract.read_sources(str(selection), str(states), _self=_self)
    if str(family) and len(sources) > 1:
        listed = ", ".join(source.object for source in sources)
        raise CmdException(f"selection {selection}: a family takes one new trajectory at a time, not {listed}")
    for source in sources:
        if str(times) and len(config["times"]) != source.last:
            raise CmdException(
                f"times {times}: it has {len(config['times'])} numbers and {source.object} "
                f"{count_of_states(source.last)}; give one for each state"
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
    sources: list[Source],
    config: dict[str, Any],
    how: dict[str, Any],
    watch: Any,
    async_: Any,
    quiet: Any,
    _self: Any,
) -> None:
    """Run a fit, now or in the background."""
    say, jobs = reporter(quiet), session_of(_self).jobs
    fit = jobs.new(name, sources)
    shown = None
    if int(watch) > 0 or (int(watch) < 0 and is_typed(quiet, _self)):
        shown = Preview(fit, _self)
        fit.preview, fit.shown = shown.request, shown

    def work() -> None:
        try:
            jobs.fit(fit, sources, config, how, say)
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

    for source in sources:
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
    name, jobs = str(name), session_of(_self).jobs
    fit = jobs.fits.get(name)
    if fit is not None and fit.activity:
        raise CmdException(f"{name} is busy with {fit.activity}; wait for it, or dsr_cancel {name}")
    there = interrupted.listed(jobs.backend())
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
    reporter(quiet)(f" {there[name].line().split('; ')[0]}")
    _begin("dsr_resume", name, found, dict(asked.get("config") or {}), how, watch, async_, quiet, _self)
    return name
