"""dsr_measure."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol import CmdException, cmd

from ..analysis import measures
from ..analysis.measures import Measurement
from ..fits.fit import Activity, Say
from ..scene import gui_thread
from ..scene.atoms import PresentAtoms
from ..scene.moved_atoms import radii_line
from ..session import Session, session_of
from ..shared import messages
from ..shared.options import FieldOptions, MeasureOptions
from .arguments import chosen_trajectory, fit_name, requested_times, table_path
from .command import command
from .running import Runner, has_window, is_switched_on, report_states


@command
def dsr_measure(
    name: str,
    states: str = "",
    *commas: str,
    file: str = "",
    selection: str = "",
    pocket: str = "",
    resolution: float = MeasureOptions.resolution,
    top: int = MeasureOptions.top,
    trajectory: str = "",
    dt: str = "",
    plot: int = -1,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> Measurement | None:
    """
    DESCRIPTION

        Measures a fitted surface over time: its volume, its area, and its speed, also residue by residue. If you
        name atoms, it measures their part of the area and of the volume, and the volume of a pocket.

        The speed is that of the surface along its normal, in Angstrom per state, without its sign, as a mean over
        the area. The motion of the whole molecule counts, too. The surface of a residue is that which is nearest to
        its atoms' spheres, as in colours; residues with less than 10 A^2 are not ranked.

        A pocket is the space outside the surface and inside the convex hull of the centres of the atoms that line
        it, at each time. It may be open or closed.

    USAGE

        dsr_measure name [, states [, file=..., selection=..., pocket=..., resolution=..., top=...,
            trajectory=..., dt=..., plot=..., async_=... ]]

    ARGUMENTS

        name = str: name of a fit

        states = str: times, as 1-79 or 1-102:0.25 {default: the fitted states, or every state of their range
        where these are fewer than five; 100 of them at most}. Surfaces of other states are averages with less
        detail: means and ranks are of the fitted ones, from five of them on

        file = str: also write a table of all times (.csv), one of all residues (_residues.csv), and, with
        matplotlib, a plot (.png)

        selection = str: atoms whose part of area and volume is measured

        pocket = str: atoms that line a pocket, whose volume is measured

        resolution = float: spacing of mesh and cells in Angstrom {default: 0.5}

        top = int: how many of the fastest residues are named {default: 10}

        trajectory = str: the trajectory to measure, of a family

        dt = float: nanoseconds from one state of the trajectory to the next; plots and tables then have times, 0 at
        state 1 {default: none, states}

        plot = 0/1: show it in a window {default: -1, when typed}

        async_ = 0/1: measure in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_measure adk_dsr
        dsr_measure adk_dsr, 1-79:0.5, selection=resi 122-159, file=lid.csv, dt=0.01
        dsr_measure adk_dsr, pocket=resi 9-14+31+36+57-58+84-85+88+92+119+123+156+158+167+200

    SEE ALSO

        dsr_fit, dsr_movie, dsr_eval, get_area
    """
    return measure_fit(
        session_of(_self),
        fit_name(name, _self),
        str(states),
        FieldOptions.parse(trajectory=trajectory),
        MeasureOptions.parse(selection=selection, pocket=pocket, resolution=resolution, top=top, dt=dt),
        Runner.of("dsr_measure", async_, quiet, _self),
        _self,
        file=str(file),
        plot=is_switched_on(plot, quiet, _self),
    )


def measure_fit(
    session: Session,
    name: str,
    times: str | Sequence[float],
    field: FieldOptions,
    options: MeasureOptions,
    runner: Runner,
    _self: Any,
    *,
    file: str = "",
    plot: bool = False,
) -> Measurement | None:
    """Measure a fitted surface over time; None where that is begun in the background.

    file: also write a table (.csv) and a plot beside it. plot: also show it in a window.
    Raises CmdException, JobError, SceneError, StatesError or BackendError.
    """
    jobs, windows, say = session.jobs, session.windows, runner.say
    fit = jobs.get(name)
    trajectory = chosen_trajectory(fit, field)
    measured_times = requested_times(trajectory, times) if times else measures.default_times(trajectory)
    path = table_path(file)
    if plot and (windows is None or not has_window()):
        raise CmdException("plot 1: PyMOL has no window here; file=NAME.csv writes NAME.png")
    present = PresentAtoms.of(trajectory, _self)
    masks: dict[str, NDArray[np.uint8] | None] = {"selection": None, "pocket": None}
    for argument, selection in (("selection", options.selection), ("pocket", options.pocket)):
        if selection:
            masks[argument] = mask = measures.selection_mask(present, argument, selection, _self)
            say(f" {fit.name}: {argument} of {int(mask.sum())} fitted atoms")
    radii, labels = present.radii(), present.residues()
    if reason := present.change:
        print(f" {fit.name}: {reason}; until then it has no measures of residues")
    # They say which residue a point of the surface belongs to.
    if radii is not None and (line := radii_line(fit, trajectory, float(radii.mean(dtype=np.float64)))):
        print(f" {fit.name}: warning: {line}")

    def work() -> Measurement:
        requests = [
            messages.Measure(
                fit=fit.name,
                field=field,
                time=float(time),
                resolution=options.resolution,
                radii=radii,
                selection=masks["selection"],
                pocket=masks["pocket"],
            )
            for time in measured_times
        ]
        with contextlib.closing(jobs.connection.stream(fit, requests)) as results:
            reported = report_states(fit, results, len(measured_times), say, "measured")
            measured = measures.collect(reported, trajectory.states, labels, options.dt)
        fitted_range = min(trajectory.states), max(trajectory.states)
        title = f"{fit.name}: surface of {trajectory.name or trajectory.object or 'the fit'}"
        for line in measures.summary(measured, fitted_range, options.top):
            # Not only where it is asked for: extrapolated numbers look like any others.
            (print if line.startswith(measures.WARNING) else say)(line)
        if path:
            _write(path, measured, fitted_range, options.top, title, fit.name, say)
        if plot and windows is not None:
            show, molecule = windows.show_measurement, trajectory.object
            gui_thread.in_gui(_self, show, measured, fitted_range, title, fit.name, molecule)
        return measured

    return runner.run(jobs.claimed(fit, Activity.MEASUREMENT, work))


def _write(
    path: str, measured: Measurement, fitted_range: tuple[float, float], top: int, title: str, name: str, say: Say
) -> None:
    """Write the tables, and the plot beside them where matplotlib is installed."""
    written = measures.write_measures(path, measured)
    drawing = os.path.splitext(path)[0] + ".png"
    if measures.write_measure_plot(drawing, measured, fitted_range, top, title):
        say(f" {name}: written to {', '.join([*written, drawing])}")
    else:
        say(f" {name}: written to {', '.join(written)}; no plot without matplotlib")
