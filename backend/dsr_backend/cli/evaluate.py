"""The verb `eval` of dsr-backend."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, fields
from typing import TYPE_CHECKING

import numpy as np

from pymol_dsr.shared import atomic_write, plots, states
from pymol_dsr.shared.options import STATES_AFTER
from pymol_dsr.shared.scoring import FIELD, HOLD, TRAINING
from pymol_dsr.shared.spacing import evenly_spaced
from pymol_dsr.shared.superpose import raw_rmsd

from .io import (
    Progress,
    device_text,
    input_path,
    live_progress,
    load_field,
    plot_path,
    reading,
    table_path,
    write_table,
)

if TYPE_CHECKING:
    from ..fields.base import Field
    from ..results.scores import ScoreRow
    from ..surfaces.surface import Surface

# Å; a fit keeps the atoms of its states to some 0.001 Å.
MOVED = 0.1
# States whose atoms are compared with those of the fit, at most.
FEW_STATES = 3


def run_eval(options: argparse.Namespace) -> int:
    """Print, and write where asked, the scores of a fit against true surfaces; return the exit code."""
    table = table_path(options)
    plot = plot_path(options)
    truth_path = input_path(options.truth)
    # They load torch.
    from ..results.scores import ScoreRow, score_state, step_rmsds
    from ..surfaces import surfaces_file

    with live_progress() as progress:
        fitted = load_field(options, progress)
        with reading(options.truth):
            surfaces, _ = surfaces_file.read_surfaces_file(truth_path)
        truth = {surface.state: surface for surface in surfaces}
        compared = _states_to_compare(options, truth, fitted)
        progress.line(device_text(options.device))
        if not options.towards and (line := _moved_line(fitted, truth, compared)):
            progress.line(f"dsr-backend: warning: {options.truth}: {line}")
        print(_HEAD, flush=True)
        rows: list[ScoreRow] = []
        rmsds = step_rmsds(surfaces)
        for state in compared:
            for row in score_state(fitted, state, truth, rmsds.get(state)):
                rows.append(row)
                print(_table_line(f"{state:g}", row.group, row.method, [row]), flush=True)
    _print_means(rows)
    _warn_of_missing_states(options, rows, truth, compared, progress)
    if table:
        values = ((f"{row.state:.17g}", *astuple(row)[1:]) for row in rows)
        write_table(table, [field.name for field in fields(ScoreRow)], values)
    if plot:
        panels = plots.score_panels(rows)
        atomic_write.replace(plot, plots.render(panels, fitted_range=fitted.time_range, format=plot.suffix[1:].lower()))
    return 0


def _states_to_compare(options: argparse.Namespace, truth: Collection[float], fitted: Field) -> list[float]:
    """Return the states asked for, or those of `truth` in the fitted range and STATES_AFTER after it."""
    if options.states:
        # It loads torch.
        from ..surfaces.surfaces_file import chosen_states

        return chosen_states(truth, options.states, options.truth)
    compared = [state for state in sorted(truth) if fitted.states[0] <= state <= fitted.states[-1] + STATES_AFTER]
    if not compared:
        raise ValueError(
            f"{options.truth} holds the states {states.format(sorted(truth))}, the fit is of "
            f"{states.format(fitted.states)}: name the --states to compare"
        )
    return compared


def _moved_line(fitted: Field, truth: Mapping[float, Surface], compared: Sequence[float]) -> str:
    """Say that the true surfaces are of other atoms than the fit, or of ones that lie elsewhere; empty otherwise."""
    compared_fitted = [state for state in compared if state in fitted.states]
    for index in evenly_spaced(range(len(compared_fitted)), FEW_STATES):
        state = compared_fitted[index]
        fitted_atoms, true_atoms = fitted.at(state).atoms, truth[state].atoms
        if fitted_atoms is None or true_atoms is None:
            continue
        if len(fitted_atoms) != len(true_atoms):
            return f"its surfaces are of {len(true_atoms)} atoms, and the fit is of {len(fitted_atoms)}"
        distance = raw_rmsd(true_atoms, fitted_atoms)
        if distance > MOVED:
            return f"state {state:g} lies {distance:.1f} Å (RMSD) from where it was fitted: it was moved, or is another"
    return ""


def _print_means(rows: Sequence[ScoreRow]) -> None:
    """Print the means of each group and method, the fitted states first."""
    print()
    for group in dict.fromkeys(row.group for row in sorted(rows, key=lambda row: row.group != TRAINING)):
        for method in (FIELD, HOLD):
            chosen = [row for row in rows if (row.group, row.method) == (group, method)]
            if chosen:
                print(_table_line(f"n={len(chosen)}", group, method, chosen))


def _warn_of_missing_states(
    options: argparse.Namespace,
    rows: Sequence[ScoreRow],
    truth: Collection[float],
    compared: Collection[float],
    progress: Progress,
) -> None:
    held = {row.state for row in rows if row.group == TRAINING or row.method == HOLD}
    if missing := sorted(set(compared) - held):
        progress.line(
            f"dsr-backend: nothing is held at {states.format(missing)}: {options.truth} lacks the nearest fitted states"
        )
    uncompared = sorted(set(truth) - set(compared))
    if uncompared and not options.states:
        progress.line(
            f"dsr-backend: left out: states {states.format(uncompared)}, away from the fitted range and the "
            f"{STATES_AFTER} states after it"
        )


_HEAD = (
    f"{'state':>8}  {'group':<13} {'method':<13} {'IoU':<15}  {'Chamfer L1':<17}  {'Chamfer sq':<19}  "
    f"{'NC':<15}  {'step RMSD':<13}  expected error"
)


def _table_line(label: str, group: str, method: str, rows: Sequence[ScoreRow]) -> str:
    """Format means, with standard deviations where there is more than one row."""
    cells = []
    for name, digits, width in (("iou", 4, 15), ("chamfer_l1", 5, 17), ("chamfer_sq", 6, 19), ("nc", 4, 15)):
        cells.append(f"{mean([getattr(row, name) for row in rows], digits):<{width}}")
    for values, width in (
        ([row.rmsd for row in rows if row.rmsd is not None], 13),
        ([row.expected_error for row in rows if row.expected_error is not None], 0),
    ):
        cells.append(f"{f'{mean(values, 2)} Å' if values else '':<{width}}")
    return f"{label:>8}  {group:<13} {method:<13} {'  '.join(cells)}".rstrip()


def mean(values: Sequence[float], digits: int) -> str:
    """Format the mean, with the standard deviation of several values."""
    # A mesh without area is infinitely far, and its standard deviation prints as nan.
    with np.errstate(invalid="ignore"):
        mean, spread = float(np.mean(values)), float(np.std(values))
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if len(values) > 1 else "")
