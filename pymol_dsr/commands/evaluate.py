"""dsr_eval."""

from __future__ import annotations

import os
from typing import Any

from pymol import CmdException, cmd

from ..analysis import evaluation
from ..analysis.baselines import needed_states
from ..analysis.evaluation import StateScores
from ..fits.fit import Activity
from ..session import session_of
from ..shared.options import BASELINES
from ..surfaces import extract
from .command import command
from .options import chosen_trajectory, fit_name, format_states, parse_choice, parse_states, table_path
from .running import reporter, run_or_start


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
) -> list[StateScores] | None:
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
    say, jobs = reporter(quiet), session_of(_self).jobs
    fit = jobs.get(fit_name(name, _self))
    chosen, which = chosen_trajectory(fit, trajectory)
    if not all(t.is_integer() for t in chosen.states):
        raise CmdException(f"{fit.name} was fitted to fractions of states, which PyMOL has no surfaces of")
    beside = [] if str(baselines) == "none" else str(baselines).split()
    for one in beside:
        parse_choice("baselines", one, tuple(BASELINES))
    if chosen.object not in _self.get_names("objects"):
        raise CmdException(f"{fit.name}: the object {chosen.object} is not in the scene; load it to compare with")
    path = table_path(str(file))
    last = _self.count_states(f"%{chosen.object}")
    if str(states):
        wanted = [int(s) for s in parse_states(str(states), last=last, owner=f"the object {chosen.object}")]
    else:
        wanted = evaluation.default_states(chosen, last)
    trained = [int(t) for t in chosen.states]
    needed = format_states(needed_states(wanted, trained, beside))
    source = extract.read_source(chosen.selection, needed, before=True, _self=_self)
    if chosen.atoms is not None and not (
        len(source.atoms) == len(chosen.atoms) and (source.atoms == chosen.atoms).all()
    ):
        raise CmdException(
            f"{fit.name}: '{chosen.selection}' is {len(source.atoms)} atoms now and was {len(chosen.atoms)} "
            "when it was fitted, or other ones; they can't be compared"
        )
    result: list[StateScores] = []
    jobs.claim(fit, Activity.EVALUATION)

    def work() -> None:
        try:
            result.extend(evaluation.evaluate(jobs, fit, which, chosen, source, wanted, beside, say))
        finally:
            jobs.release(fit)
        for line in evaluation.score_table(result):
            say(line)
        if path:
            evaluation.write_scores(path, result)
            plot = os.path.splitext(path)[0] + ".png"
            title = f"{fit.name}: {chosen.name or chosen.object} against PyMOL's surfaces"
            drawn = evaluation.write_score_plot(plot, result, (min(trained), max(trained)), title)
            say(f" {fit.name}: written to {path}" + (f" and {plot}" if drawn else "; no plot without matplotlib"))

    return result if run_or_start("dsr_eval", work, async_, quiet, _self) else None
