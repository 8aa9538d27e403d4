"""dsr_measure."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from pymol import CmdException, cmd

from ..analysis import measures
from ..analysis.measures import Measurement
from ..fits.fit import Activity
from ..scene import atoms, gui_thread
from ..session import session_of
from .command import command
from .options import chosen_trajectory, fit_name, parse_number, parse_whole_number, requested_times, table_path
from .running import has_window, is_typed, report_states, reporter, run_or_start


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
) -> Measurement | None:
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
    say, session = reporter(quiet), session_of(_self)
    jobs, windows = session.jobs, session.windows
    fit = jobs.get(fit_name(name, _self))
    chosen, which = chosen_trajectory(fit, trajectory)
    times = requested_times(chosen, str(states)) if str(states) else measures.default_times(chosen)
    path = table_path(str(file))
    count = parse_whole_number("top", top, 0)
    request = {**which, "resolution": parse_number("resolution", resolution, 0.0, above=True)}
    in_window = int(plot) > 0 or (int(plot) < 0 and is_typed(quiet, _self))
    if in_window and (windows is None or not has_window()):
        raise CmdException(f"plot {plot}: PyMOL has no window here; file=NAME.csv writes NAME.png")
    arrays: dict[str, Any] = {}
    for argument, text in (("selection", str(selection)), ("pocket", str(pocket))):
        if text:
            arrays[argument] = measures.selection_mask(chosen, argument, text, _self)
            say(f" {fit.name}: {argument} of {int(arrays[argument].sum())} fitted atoms")
    radii = atoms.atom_radii(chosen, _self)
    if radii is not None:
        arrays["radii"] = radii
    labels = atoms.atom_residues(chosen, _self)
    fitted_range = min(chosen.states), max(chosen.states)
    title = f"{fit.name}: surface of {chosen.name or chosen.object or 'the fit'}"
    result: list[Measurement] = []
    jobs.claim(fit, Activity.MEASUREMENT)

    def work() -> None:
        requests = [{**request, "time": float(t)} for t in times]
        try:
            with contextlib.closing(jobs.stream(fit, "measure", requests, arrays or None)) as answers:
                found = measures.collect(
                    report_states(fit, answers, len(times), say, "measured"), chosen.states, labels
                )
        finally:
            jobs.release(fit)
        result.append(found)
        for line in measures.summary(found, fitted_range, count):
            # Not only where it is asked for: extrapolated numbers look like any others.
            (print if line.startswith(measures.WARNING) else say)(line)
        if path:
            written = measures.write_measures(path, found)
            drawing = os.path.splitext(path)[0] + ".png"
            if measures.write_measure_plot(drawing, found, fitted_range, count, title):
                say(f" {fit.name}: written to {', '.join([*written, drawing])}")
            else:
                say(f" {fit.name}: written to {', '.join(written)}; no plot without matplotlib")
        if in_window and windows is not None:
            gui_thread.in_gui(_self, windows.show_measurement, found, fitted_range, title, fit.name)

    return result[0] if run_or_start("dsr_measure", work, async_, quiet, _self) else None
