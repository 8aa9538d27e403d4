"""How good a fit is: IoU, Chamfer and NC against PyMOL's own surfaces, beside the simple ways to do without a
fit.
"""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np

from ..fits.fit import Cancelled, Fit, Trajectory
from ..fits.jobs import Jobs
from ..shared.scoring import group_of, nearest
from ..shared.superpose import rmsd, turn_onto
from ..surfaces import workers
from ..surfaces.source import Source, Surface

Say = Callable[[str], None]
METRICS = ("iou", "chamfer_l1", "chamfer_sq", "nc")
FIELD = "field"
# What a PyMOL user has without a fit, by the names that dsr_eval takes.
BASELINES = {
    "hold": "hold nearest",
    "linear": "atoms linear",
    "smooth": "atoms smoothed",
    "surface3": "surface_type 3",
}
METHODS = (FIELD, *BASELINES.values())
AFTER = 20


@dataclass(frozen=True)
class StateScores:
    """One state by one method; the metrics are those of the paper, in its normalised frame.

    rmsd: Å, of the fitted atoms from the state before, superposed; NaN where there is none. The same for all methods.
    """

    state: int
    group: str
    method: str
    iou: float
    chamfer_l1: float
    chamfer_sq: float
    nc: float
    rmsd: float


def default_states(trajectory: Trajectory, last: int) -> list[int]:
    """All states of the object within the fitted range, and up to 20 after it."""
    first, end = int(min(trajectory.states)), int(max(trajectory.states))
    return list(range(first, min(last, end + AFTER) + 1))


def neighbours(state: int, trained: Sequence[int]) -> tuple[int, int]:
    return max(t for t in trained if t < state), min(t for t in trained if t > state)


def needed(wanted: Iterable[int], trained: Sequence[int], baselines: Sequence[str]) -> list[int]:
    """The states whose surfaces or atoms the comparison of `wanted` takes."""
    out = set(wanted)
    if "smooth" in baselines:
        out.update(trained)
    for state in list(out):
        kind = group_of(state, trained)
        if kind != "training":
            out.add(nearest(state, trained))
        if kind == "between":
            out.update(neighbours(state, trained))
    return sorted(out)


def mixed(before: np.ndarray, after: np.ndarray, share: float) -> np.ndarray:
    """Atoms f4[A,3] `share` of the way from `before` to `after` [A,3]: superposed, then moved in straight lines.

    The motion of the whole is done for the same share: its centre in a straight line, its turn about one axis.
    """
    centres = [np.mean(x, axis=0, dtype=np.float64) for x in (before, after)]
    a, b = before - centres[0], after - centres[1]
    turn = turn_onto(a, b)
    # The axis is what a turn leaves in place; the angle is counted about it.
    axis = np.linalg.svd(turn - np.eye(3))[2][-1]
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.arctan2(-0.5 * np.trace(cross @ turn), 0.5 * (np.trace(turn) - 1.0))
    part = np.eye(3) + np.sin(share * angle) * cross + (1.0 - np.cos(share * angle)) * cross @ cross
    shape = (1.0 - share) * a + share * b @ turn
    return (shape @ part.T + (1.0 - share) * centres[0] + share * centres[1]).astype(np.float32)


def evaluate(
    jobs: Jobs,
    fit: Fit,
    which: Mapping[str, Any],
    trajectory: Trajectory,
    source: Source,
    wanted: Sequence[int],
    baselines: Sequence[str],
    say: Say,
) -> list[StateScores]:
    """Compare at every wanted state, baselines beside the fit; `source` holds the states of `needed`.

    which: what a request says of the trajectory. Raises Cancelled, BackendError and ExtractError.
    """
    trained = [int(s) for s in trajectory.states]
    held = {s: nearest(s, trained) for s in wanted if s not in trained and "hold" in baselines}
    count = jobs.settings.workers
    truth = _surfaces(
        fit, source, {s: source.coordinates[s] for s in {*wanted, *held.values()}}, "PyMOL's surfaces", count, say
    )
    predicted = {"hold": {state: truth[nearest] for state, nearest in held.items()}}

    def straight(state: int) -> np.ndarray:
        if state in trained:
            return source.coordinates[state]
        before, after = neighbours(state, trained)
        share = (state - before) / (after - before)
        return mixed(source.coordinates[before], source.coordinates[after], share)

    between = [state for state in wanted if group_of(state, trained) == "between"]
    moved = {state: straight(state) for state in between}
    other = dataclasses.replace(source, settings={**source.settings, "surface_type": "3"})
    for method, made_with, atoms in (
        ("linear", source, lambda: moved),
        ("smooth", source, lambda: _smoothed(source, trained, between, straight)),
        ("surface3", other, lambda: moved),
    ):
        if method in baselines and between:
            predicted[method] = _surfaces(fit, made_with, atoms(), f"surfaces of '{BASELINES[method]}'", count, say)

    rows: list[StateScores] = []
    for done, state in enumerate(wanted, 1):
        known = truth[state]
        arrays = {"truth_points": known.points, "truth_normals": known.normals, "truth_faces": known.faces}
        before = source.coordinates.get(state - 1)
        moves = float("nan") if before is None else rmsd(before, source.coordinates[state])
        # All methods of a state one after another, so that its truth need not be prepared for each.
        for method in (FIELD, *baselines):
            if method == FIELD:
                result, _ = jobs.ask(fit, "compare", {"time": float(state), **which}, arrays)
            elif state in predicted.get(method, {}):
                guess = predicted[method][state]
                guessed = {"points": guess.points, "normals": guess.normals, "faces": guess.faces}
                result, _ = jobs.ask(fit, "compare", dict(which), {**arrays, **guessed})
            else:
                continue
            # The wire has no NaN: a metric that is not defined comes as nothing.
            scores = {m: float("nan") if result[m] is None else float(result[m]) for m in METRICS}
            label = BASELINES.get(method, FIELD)
            rows.append(StateScores(state, group_of(state, trained), label, **scores, rmsd=moves))
        fit.doing, fit.fraction = "comparing", done / len(wanted)
        if done % 10 == 0:
            say(f" {fit.name}: compared {done} of {len(wanted)} states")
    return sorted(rows, key=lambda r: (r.state, METHODS.index(r.method)))


def _surfaces(
    fit: Fit, source: Source, atoms: Mapping[int, np.ndarray], what: str, count: int, say: Say
) -> dict[int, Surface]:
    """PyMOL's surfaces by state of atoms f4[A,3] by state. Raises Cancelled."""
    made: dict[int, Surface] = {}
    frames = [(float(state), xyz) for state, xyz in sorted(atoms.items())]
    for one in workers.compute_surfaces_at(source, frames, count, fit.stop.is_set):
        made[int(one.state)] = one
        fit.doing, fit.fraction = what, len(made) / len(frames)
        if len(made) % 20 == 0:
            say(f" {fit.name}: {what} {len(made)} of {len(frames)}")
    if fit.stop.is_set():
        raise Cancelled(f"{fit.name}: cancelled")
    return made


def _smoothed(
    source: Source, trained: Sequence[int], between: Sequence[int], straight: Callable[[int], np.ndarray]
) -> dict[int, np.ndarray]:
    """Atoms by state after PyMOL's `smooth` of the whole range, straight lines between the fitted states."""
    first = min(trained)
    smooth = workers.smooth_coordinates(source, np.stack([straight(s) for s in range(first, max(trained) + 1)]))
    return {state: smooth[state - first] for state in between}


def score_table(rows: Sequence[StateScores]) -> list[str]:
    """Means and standard deviations by group and method, as lines of text; RMSD once for each group."""
    head = f" {'states':<13} {'method':<14} {'n':>4}"
    lines = [f"{head}  {'IoU':>15}  {'Chamfer L1':>17}  {'Chamfer sq':>19}  {'NC':>15}  {'RMSD (A)':>11}"]
    groups = sorted(
        {r.group for r in rows},
        key=lambda g: min(r.state for r in rows if r.group == g) if g.startswith("future") else -(g == "training"),
    )
    for group in groups:
        for method in METHODS:
            part = [r for r in rows if r.group == group and r.method == method]
            if part:
                values = np.array([[r.iou, r.chamfer_l1, r.chamfer_sq, r.nc] for r in part])
                m, s = values.mean(axis=0), values.std(axis=0)
                moves = [r.rmsd for r in part if method == FIELD and not np.isnan(r.rmsd)]
                lines.append(
                    f" {group:<13} {method:<14} {len(part):>4}  "
                    f"{m[0]:.4f} ± {s[0]:.4f}  {m[1]:.5f} ± {s[1]:.5f}  "
                    f"{m[2]:.6f} ± {s[2]:.6f}  {m[3]:.4f} ± {s[3]:.4f}"
                    + (f"  {np.mean(moves):.2f} ± {np.std(moves):.2f}" if moves else "")
                )
    return lines


def write_scores(path: str, rows: Sequence[StateScores]) -> None:
    """One line per state and method. Raises OSError."""
    with open(path, "w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow([f.name for f in fields(StateScores)])
        out.writerows(astuple(r) for r in rows)


def csv_path(path: str) -> str:
    """The path with ~ expanded; ValueError unless it ends in .csv in a folder that is there."""
    full = os.path.abspath(os.path.expanduser(path))
    if not full.lower().endswith(".csv"):
        raise ValueError(f"file {path}: the table is written as .csv")
    if not os.path.isdir(os.path.dirname(full)):
        raise ValueError(f"file {path}: the folder {os.path.dirname(full)} does not exist")
    return full
