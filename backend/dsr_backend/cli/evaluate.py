"""dsr-backend eval."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from pymol_dsr.shared import plots, states
from pymol_dsr.shared.options import STATES_AFTER, MeshOptions
from pymol_dsr.shared.scoring import FIELD, HOLD, TRAINING, group_of, nearest_fitted

from .io import (
    device_text,
    input_path,
    live_progress,
    load_field,
    output_path,
    pick_states,
    plot_path,
    reading,
    steps_to_next,
    write_file,
    write_table,
)

if TYPE_CHECKING:
    from ..fields.base import Field
    from ..surfaces.surface import Surface

# Scores ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreRow:
    """One state by one method: the metrics of the paper in its normalised frame.

    expected_error, Å; rmsd, Å: the atoms' from those of the true state before, superposed.
    """

    state: float
    group: str
    method: str
    iou: float
    chamfer_l1: float
    chamfer_sq: float
    nc: float
    expected_error: float | None
    rmsd: float | None


def run_eval(options: argparse.Namespace) -> int:
    table = output_path(options.csv, ("csv",)) if options.csv else None
    plot = plot_path(options)
    truth_path = input_path(options.truth)
    from ..surfaces import surfaces_file

    with live_progress() as progress:
        fitted = load_field(options, progress)
        with reading(options.truth):
            found, _ = surfaces_file.read_surfaces_file(truth_path)
        truth = {surface.state: surface for surface in found}
        trained = fitted.states
        if options.states:
            wanted = pick_states(truth, options.states, options.truth)
        else:
            wanted = [state for state in sorted(truth) if trained[0] <= state <= trained[-1] + STATES_AFTER]
            if not wanted:
                raise ValueError(
                    f"{options.truth} holds the states {states.format(sorted(truth))}, the fit is of "
                    f"{states.format(trained)}: name the --states to compare"
                )
        progress.line(device_text(options.device))
        print(_HEAD, flush=True)
        rows = []
        steps = steps_to_next(found)
        for state in wanted:
            for row in score_field(fitted, state, truth, trained, steps.get(state)):
                rows.append(row)
                print(_table_line(f"{state:g}", row.group, row.method, [row]), flush=True)
    print()
    for group in dict.fromkeys(row.group for row in sorted(rows, key=lambda row: row.group != TRAINING)):
        for method in (FIELD, HOLD):
            part = [row for row in rows if (row.group, row.method) == (group, method)]
            if part:
                print(_table_line(f"n={len(part)}", group, method, part))
    held = {row.state for row in rows if row.group == TRAINING or row.method == HOLD}
    if alone := sorted(set(wanted) - held):
        progress.line(
            f"dsr-backend: nothing is held at {states.format(alone)}: {options.truth} lacks the nearest fitted states"
        )
    left = sorted(set(truth) - set(wanted))
    if left and not options.states:
        progress.line(
            f"dsr-backend: left out: states {states.format(left)}, away from the fitted range and the "
            f"{STATES_AFTER} states after it"
        )
    if table:
        write_table(
            table,
            [field.name for field in fields(ScoreRow)],
            ((f"{row.state:.17g}", *astuple(row)[1:]) for row in rows),
        )
    if plot:
        panels = plots.score_panels(rows)
        write_file(plot, plots.render(panels, fitted_range=fitted.time_range, format=plot.suffix[1:].lower()))
    return 0


def score_field(
    fitted: Field, state: float, truth: dict[float, Surface], trained: Sequence[float], rmsd: float | None
) -> Iterator[ScoreRow]:
    """The rows of one state: the field and, away from the fitted states, the nearest of them held."""
    from ..geometry.metrics import GroundTruth
    from ..results import mesh

    true, group = truth[state], group_of(state, trained)
    reference = GroundTruth(true.points, true.normals, true.faces, fitted.frame)
    made = mesh.extract_mesh(fitted, state, resolution=MeshOptions.resolution)
    score = reference.score(made.points, made.normals, made.faces)
    error = made.expected_error if made.expected_error > 0.0 else None
    yield ScoreRow(state, group, FIELD, **asdict(score), expected_error=error, rmsd=rmsd)
    held = truth.get(nearest_fitted(state, trained))
    if group != TRAINING and held is not None:
        score = reference.score(held.points, held.normals, held.faces)
        yield ScoreRow(state, group, HOLD, **asdict(score), expected_error=None, rmsd=rmsd)


_HEAD = (
    f"{'state':>8}  {'group':<13} {'method':<13} {'IoU':<15}  {'Chamfer L1':<17}  {'Chamfer sq':<19}  "
    f"{'NC':<15}  {'step RMSD':<13}  expected error"
)


def _table_line(label: str, group: str, method: str, rows: Sequence[ScoreRow]) -> str:
    """Means, and standard deviations where there is more than one row."""
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
    # A mesh without area is infinitely far: its spread is not a number, which is what should be printed.
    with np.errstate(invalid="ignore"):
        mean, spread = float(np.mean(values)), float(np.std(values))
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if len(values) > 1 else "")
