"""How good a fit is: IoU, Chamfer and NC against PyMOL's own surfaces, beside the simple ways to do without a
fit.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from . import extract, settings
from .extract import Source, Surface
from .jobs import Cancelled, Fit, Jobs

Say = Callable[[str], None]
METRICS = ("iou", "chamfer_l1", "chamfer_sq", "nc")
FIELD, HOLD, LINEAR = "field", "hold nearest", "atoms linear"
AFTER = 20


@dataclass(frozen=True)
class Row:
    """One state by one method; the metrics are those of the paper, in its normalised frame."""

    state: int
    group: str
    method: str
    iou: float
    chamfer_l1: float
    chamfer_sq: float
    nc: float


def default_states(fit: Fit, last: int) -> list[int]:
    """All states of the object within the fitted range, and up to 20 after it."""
    return list(range(int(min(fit.states)), min(last, int(max(fit.states)) + AFTER) + 1))


def group_of(state: int, trained: Sequence[int]) -> str:
    """training, between, before, or future by tens of states after the last fitted one."""
    if state in trained:
        return "training"
    if state < min(trained):
        return "before"
    ahead = state - max(trained)
    if ahead <= 0:
        return "between"
    tens = (ahead - 1) // 10
    return f"future {10 * tens + 1}-{10 * tens + 10}"


def nearest(state: int, trained: Sequence[int]) -> int:
    """The training state that is held at `state`: the nearest, the earlier of two."""
    return min(trained, key=lambda t: (abs(t - state), t))


def neighbours(state: int, trained: Sequence[int]) -> tuple[int, int]:
    return max(t for t in trained if t < state), min(t for t in trained if t > state)


def needed(wanted: Iterable[int], trained: Sequence[int]) -> list[int]:
    """The states whose surfaces or atoms the comparison of `wanted` takes."""
    out = set(wanted)
    for state in list(out):
        kind = group_of(state, trained)
        if kind != "training":
            out.add(nearest(state, trained))
        if kind == "between":
            out.update(neighbours(state, trained))
    return sorted(out)


def evaluate(jobs: Jobs, fit: Fit, source: Source, wanted: Sequence[int], say: Say) -> list[Row]:
    """Compare at every wanted state; `source` holds the states of `needed`. Raises Cancelled and
    BackendError.
    """
    trained = [int(s) for s in fit.states]
    workers = int(settings.get("workers"))
    surfaces: dict[int, Surface] = {}
    for made in extract.surfaces(source, workers, fit.stop.is_set):
        surfaces[int(made.state)] = made
        if len(surfaces) % 20 == 0:
            say(f" {fit.name}: PyMOL's surfaces {len(surfaces)} of {len(source.states)}")
    _check(fit)

    rows: list[Row] = []

    def compare(state: int, method: str, predicted: Surface | None) -> None:
        truth = surfaces[state]
        arrays = {"truth_points": truth.points, "truth_normals": truth.normals, "truth_faces": truth.faces}
        params = {}
        if predicted is None:
            params["time"] = float(state)
        else:
            arrays.update(points=predicted.points, normals=predicted.normals, faces=predicted.faces)
        result, _ = jobs.ask(fit, "compare", params, arrays)
        # The wire has no NaN: a metric that is not defined comes as nothing.
        scores = [float("nan") if result[m] is None else float(result[m]) for m in METRICS]
        rows.append(Row(state, group_of(state, trained), method, *scores))

    for count, state in enumerate(wanted, 1):
        compare(state, FIELD, None)
        if state not in trained:
            compare(state, HOLD, surfaces[nearest(state, trained)])
        if count % 10 == 0:
            say(f" {fit.name}: compared {count} of {len(wanted)} states")

    frames = []
    for state in wanted:
        if group_of(state, trained) == "between":
            before, after = neighbours(state, trained)
            share = (state - before) / (after - before)
            mixed = (1 - share) * source.coordinates[before] + share * source.coordinates[after]
            frames.append((state, mixed.astype(np.float32)))
    for made in extract.surfaces_of_coordinates(source, frames, workers, fit.stop.is_set):
        compare(int(made.state), LINEAR, made)
    _check(fit)
    return sorted(rows, key=lambda r: (r.state, (FIELD, LINEAR, HOLD).index(r.method)))


def table(rows: Sequence[Row]) -> list[str]:
    """Means and standard deviations by group and method, as lines of text."""
    head = f" {'states':<13} {'method':<13} {'n':>4}"
    lines = [f"{head}  {'IoU':>15}  {'Chamfer L1':>17}  {'Chamfer sq':>19}  {'NC':>15}"]
    groups = sorted(
        {r.group for r in rows},
        key=lambda g: min(r.state for r in rows if r.group == g) if g.startswith("future") else -(g == "training"),
    )
    for group in groups:
        for method in (FIELD, LINEAR, HOLD):
            part = [r for r in rows if r.group == group and r.method == method]
            if part:
                values = np.array([[r.iou, r.chamfer_l1, r.chamfer_sq, r.nc] for r in part])
                m, s = values.mean(axis=0), values.std(axis=0)
                lines.append(
                    f" {group:<13} {method:<13} {len(part):>4}  "
                    f"{m[0]:.4f} ± {s[0]:.4f}  {m[1]:.5f} ± {s[1]:.5f}  "
                    f"{m[2]:.6f} ± {s[2]:.6f}  {m[3]:.4f} ± {s[3]:.4f}"
                )
    return lines


def write_csv(path: str, rows: Sequence[Row]) -> None:
    """One line per state and method. Raises OSError."""
    with open(path, "w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow([f.name for f in fields(Row)])
        out.writerows(astuple(r) for r in rows)


def write_plot(path: str, rows: Sequence[Row]) -> bool:
    """IoU and NC over the states as a PNG; False where matplotlib is not there."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    # Without pyplot, which would choose a window toolkit beside PyMOL's.
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    trained = [r.state for r in rows if r.group == "training"]
    for axes, metric, label in zip(
        figure.subplots(2, 1, sharex=True), ("iou", "nc"), ("IoU", "normal consistency"), strict=True
    ):
        if trained:
            axes.axvspan(min(trained), max(trained), color="0.94", label="fitted range")
            fitted = [r for r in rows if r.group == "training"]
            values = [getattr(r, metric) for r in fitted]
            axes.plot([r.state for r in fitted], values, "k.", label="field, fitted states")
        for method, look in ((FIELD, "C0.-"), (LINEAR, "C1.-"), (HOLD, "C2.-")):
            part = [r for r in rows if r.method == method and r.group != "training"]
            if part:
                name = "field, other states" if method == FIELD else method
                axes.plot([r.state for r in part], [getattr(r, metric) for r in part], look, label=name)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small", loc="lower left")
    figure.axes[1].set_xlabel("state")
    figure.savefig(path, dpi=120)
    return True


def csv_path(path: str) -> str:
    """The path with ~ expanded; ValueError unless it ends in .csv in a folder that is there."""
    full = os.path.abspath(os.path.expanduser(path))
    if not full.lower().endswith(".csv"):
        raise ValueError(f"file {path}: the table is written as .csv")
    if not os.path.isdir(os.path.dirname(full)):
        raise ValueError(f"file {path}: the folder {os.path.dirname(full)} does not exist")
    return full


def _check(fit: Fit) -> None:
    if fit.stop.is_set():
        raise Cancelled(f"{fit.name}: cancelled")
