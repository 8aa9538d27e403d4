"""Compares a fit with PyMOL's own surfaces, beside simple ways to do without a fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Cancelled, Fit, Say, Trajectory
from ..fits.jobs import Jobs
from ..scene.moved_atoms import distance, fitted_positions, moved_line, spread_states
from ..shared import atomic_write, messages, plots
from ..shared.options import BASELINES, STATES_AFTER, FieldOptions
from ..shared.scoring import FIELD, TRAINING, group_of, nearest_fitted
from ..shared.superpose import rmsd
from ..shared.tables import csv_bytes
from ..surfaces import workers
from ..surfaces.source import Coordinates, Source, Surface
from .baselines import baseline_atoms

# Fitted states that are looked up before a comparison, at most.
MOST_PLACES = 10
METRICS = ("iou", "chamfer_l1", "chamfer_sq", "nc")
METHODS = (FIELD, *(baseline.method for baseline in BASELINES.values()))


@dataclass(frozen=True)
class StateScores:
    """Scores of one state by one method; the metrics are those of the paper, in its normalised frame.

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
    """List all states of the object within the fitted range, and up to 20 after it. last: how many it has."""
    first, end = int(min(trajectory.states)), int(max(trajectory.states))
    return list(range(first, min(last, end + STATES_AFTER) + 1))


def evaluate(
    jobs: Jobs,
    fit: Fit,
    field: FieldOptions,
    trajectory: Trajectory,
    source: Source,
    wanted: Sequence[int],
    baselines: Sequence[str],
    say: Say,
) -> list[StateScores]:
    """Compare at every wanted state, baselines beside the fit.

    field: which surface of the fit. source: holds the states of `needed_states`. Raises Cancelled, BackendError and
    ExtractError.
    """
    fitted = [int(state) for state in trajectory.states]
    worker_count = jobs.settings.workers

    def surfaces(source: Source, atoms: Mapping[int, Coordinates], title: str) -> dict[int, Surface]:
        return _compute_surfaces(fit, source, atoms, title, worker_count, say)

    held = {
        state: int(nearest_fitted(state, fitted)) for state in wanted if state not in fitted and "hold" in baselines
    }
    known = {state: source.coordinates[state] for state in {*wanted, *held.values()}}
    truth = surfaces(source, known, "PyMOL's surfaces")
    predicted = {"hold": {state: truth[nearest] for state, nearest in held.items()}}
    between = [state for state in wanted if group_of(state, fitted) == "between"]
    for baseline in baselines if between else ():
        if baseline != "hold":
            title = f"surfaces of '{BASELINES[baseline].method}'"
            predicted[baseline] = surfaces(*baseline_atoms(baseline, source, fitted, between), title)

    rows: list[StateScores] = []
    for number, state in enumerate(wanted, 1):
        guesses = {name: surfaces[state] for name, surfaces in predicted.items() if state in surfaces}
        before = source.coordinates.get(state - 1)
        step = math.nan if before is None else rmsd(before, source.coordinates[state])
        # All methods of a state one after another, so that its truth need not be prepared for each.
        for method, result in _compare(jobs, fit, field, truth[state], guesses):
            scores = {metric: _number(getattr(result, metric)) for metric in METRICS}
            rows.append(StateScores(state, group_of(state, fitted), method, **scores, rmsd=step))
        fit.stage, fit.fraction = "comparing", number / len(wanted)
        if number % 10 == 0:
            say(f" {fit.name}: compared {number} of {len(wanted)} states")
    return sorted(rows, key=lambda row: (row.state, METHODS.index(row.method)))


def moved_atoms_line(
    jobs: Jobs,
    fit: Fit,
    trajectory: Trajectory,
    source: Source,
    wanted: Sequence[int],
    order: NDArray[np.int64] | None,
) -> str:
    """Say which of the wanted fitted states lie elsewhere than when they were fitted; empty where none does.

    order: i8[A], the place of each fitted atom in the source; None where it is not known. Raises Cancelled or
    BackendError.
    """
    if order is None:
        return ""
    distances: dict[int, float] = {}
    for state in spread_states([state for state in wanted if state in trajectory.states], MOST_PLACES):
        atoms = fitted_positions(jobs, fit, trajectory, state)
        if atoms is not None and len(atoms) == len(order):
            distances[state] = distance(atoms, source.coordinates[state][order])
    return moved_line(trajectory.object, distances)


def _compare(
    jobs: Jobs, fit: Fit, field: FieldOptions, truth: Surface, guesses: Mapping[str, Surface]
) -> list[tuple[str, messages.CompareResult]]:
    """Ask the backend for the metrics of the field, and of each guess, by the name of the method."""
    request = messages.Compare(
        fit=fit.name,
        field=field,
        time=float(truth.state),
        truth_points=truth.points,
        truth_normals=truth.normals,
        truth_faces=truth.faces,
    )
    results = [(FIELD, jobs.connection.ask(fit, request))]
    for baseline, guess in guesses.items():
        guessed = dataclasses.replace(request, time=None, points=guess.points, normals=guess.normals, faces=guess.faces)
        results.append((BASELINES[baseline].method, jobs.connection.ask(fit, guessed)))
    return results


def _number(metric: float | None) -> float:
    # The wire has no NaN: a metric that is not defined comes as null.
    return math.nan if metric is None else metric


def _compute_surfaces(
    fit: Fit, source: Source, atoms: Mapping[int, Coordinates], title: str, worker_count: int, say: Say
) -> dict[int, Surface]:
    """Compute PyMOL's surfaces by state from atoms f4[A,3] by state. Raises Cancelled and ExtractError."""
    surfaces: dict[int, Surface] = {}
    coordinates = [(float(state), xyz) for state, xyz in sorted(atoms.items())]
    for surface in workers.compute_surfaces_at(source, coordinates, worker_count, fit.stop.is_set):
        surfaces[int(surface.state)] = surface
        fit.stage, fit.fraction = title, len(surfaces) / len(coordinates)
        if len(surfaces) % 20 == 0:
            say(f" {fit.name}: {title} {len(surfaces)} of {len(coordinates)}")
    if fit.stop.is_set():
        raise Cancelled(f"{fit.name}: cancelled")
    return surfaces


def score_table(rows: Sequence[StateScores]) -> list[str]:
    """Write means and standard deviations by group and method as lines of text; the RMSD once for each group."""
    head = f" {'states':<13} {'method':<14} {'n':>4}"
    lines = [f"{head}  {'IoU':>15}  {'Chamfer L1':>17}  {'Chamfer sq':>19}  {'NC':>15}  {'RMSD (A)':>11}"]
    for group in sorted(sorted({row.group for row in rows}), key=lambda group: _group_order(group, rows)):
        for method in METHODS:
            chosen = [row for row in rows if row.group == group and row.method == method]
            if chosen:
                lines.append(f" {group:<13} {method:<14} {len(chosen):>4}  {_means(chosen)}")
    return lines


def _group_order(group: str, rows: Sequence[StateScores]) -> int:
    """Training first, then between and before, then the future by its states."""
    if group.startswith("future"):
        return min(row.state for row in rows if row.group == group)
    return -1 if group == TRAINING else 0


def _means(rows: Sequence[StateScores]) -> str:
    cells = []
    for metric, digits in (("iou", 4), ("chamfer_l1", 5), ("chamfer_sq", 6), ("nc", 4)):
        values = np.array([getattr(row, metric) for row in rows])
        cells.append(f"{values.mean():.{digits}f} ± {values.std():.{digits}f}")
    steps = [row.rmsd for row in rows if row.method == FIELD and not math.isnan(row.rmsd)]
    if steps:
        cells.append(f"{np.mean(steps):.2f} ± {np.std(steps):.2f}")
    return "  ".join(cells)


def write_scores(path: str, rows: Sequence[StateScores]) -> None:
    """Write a .csv with one line per state and method. Raises OSError."""
    atomic_write.replace(path, csv_bytes([field.name for field in fields(StateScores)], map(astuple, rows)))


def write_score_plot(path: str, rows: Sequence[StateScores], fitted_range: tuple[float, float], title: str) -> bool:
    """Draw the metrics and the RMSD over the states as a .png; returns False where matplotlib is not installed."""
    try:
        picture = plots.render(plots.score_panels(rows), fitted_range=fitted_range, title=title)
    except ImportError:
        return False
    atomic_write.replace(path, picture)
    return True
