"""dsr-backend eval."""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pymol_dsr.shared import states

from ..server.requests import RESOLUTION
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

FIELD, HOLD = "field", "hold nearest"
AFTER = 20
"""States after the last fitted one that `eval` compares unless it is told which."""


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


def group_of(state: float, trained: Sequence[float]) -> str:
    """training, between, before, or future by tens of states after the last fitted one."""
    if state in trained:
        return "training"
    if state < min(trained):
        return "before"
    ahead = math.ceil(state - max(trained))
    if ahead <= 0:
        return "between"
    tens = (ahead - 1) // 10
    return f"future {10 * tens + 1}-{10 * tens + 10}"


def nearest(state: float, trained: Sequence[float]) -> float:
    """The training state that is held at `state`: the nearest, the earlier of two."""
    return min(trained, key=lambda fitted: (abs(fitted - state), fitted))


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
            wanted = [state for state in sorted(truth) if trained[0] <= state <= trained[-1] + AFTER]
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
    for group in dict.fromkeys(row.group for row in sorted(rows, key=lambda row: row.group != "training")):
        for method in (FIELD, HOLD):
            part = [row for row in rows if (row.group, row.method) == (group, method)]
            if part:
                print(_table_line(f"n={len(part)}", group, method, part))
    held = {row.state for row in rows if row.group == "training" or row.method == HOLD}
    if alone := sorted(set(wanted) - held):
        progress.line(
            f"dsr-backend: nothing is held at {states.format(alone)}: {options.truth} lacks the nearest fitted states"
        )
    left = sorted(set(truth) - set(wanted))
    if left and not options.states:
        progress.line(
            f"dsr-backend: left out: states {states.format(left)}, away from the fitted range and the "
            f"{AFTER} states after it"
        )
    if table:
        write_table(
            table,
            [field.name for field in fields(ScoreRow)],
            ((f"{row.state:.17g}", *astuple(row)[1:]) for row in rows),
        )
    if plot:
        draw_scores(rows, fitted.time_range, plot)
    return 0


def draw_scores(rows: Sequence[ScoreRow], trained: tuple[float, float], path: Path) -> None:
    """The scores of every method over the states, the fitted range shaded; the atoms' steps below them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # A line through fitted and other states would only jump between the two kinds.
    curves = [
        ("field, fitted states", "C0.", [row for row in rows if row.group == "training"]),
        ("field, other states", "C0o-", [row for row in rows if row.group != "training" and row.method == FIELD]),
        (HOLD, "C1x--", [row for row in rows if row.method == HOLD]),
    ]
    shown = [("iou", "IoU", curves), ("chamfer_l1", "Chamfer L1", curves)]
    shown += [("chamfer_sq", "Chamfer sq", curves), ("nc", "NC", curves)]
    if stepped := [row for row in rows if row.rmsd is not None and row.method == FIELD]:
        shown.append(("rmsd", "step RMSD (Å)", [("atoms", "C2.-", stepped)]))
    figure, axes = pyplot.subplots(len(shown), sharex=True, figsize=(8.0, 2.0 * len(shown)), layout="constrained")
    for (name, label, drawn), axis in zip(shown, axes, strict=True):
        axis.axvspan(*trained, color="0.92", label="fitted range")
        for title, style, part in drawn:
            if part:
                part = sorted(part, key=lambda row: row.state)
                values = [getattr(row, name) for row in part]
                axis.plot([row.state for row in part], values, style, markersize=3, linewidth=1, label=title)
        axis.set_ylabel(label)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.align_ylabels()
    axes[-1].set_xlabel("state")
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix.lower().removeprefix("."), dpi=150)
    pyplot.close(figure)
    write_file(path, data.getvalue())


def score_field(
    fitted: Field, state: float, truth: dict[float, Surface], trained: Sequence[float], rmsd: float | None
) -> Iterator[ScoreRow]:
    """The rows of one state: the field and, away from the fitted states, the nearest of them held."""
    from ..geometry.metrics import GroundTruth
    from ..results import mesh

    true, group = truth[state], group_of(state, trained)
    reference = GroundTruth(true.points, true.normals, true.faces, fitted.frame)
    made = mesh.extract_mesh(fitted, state, resolution=RESOLUTION)
    score = reference.score(made.points, made.normals, made.faces)
    error = made.expected_error if made.expected_error > 0.0 else None
    yield ScoreRow(state, group, FIELD, **asdict(score), expected_error=error, rmsd=rmsd)
    held = truth.get(nearest(state, trained))
    if group != "training" and held is not None:
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
