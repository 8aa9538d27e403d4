"""What a fitted surface measures over time, for dsr_measure: tables, text and plots."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from pymol import CmdException

from ..fits.fit import Trajectory
from ..scene.placement import SceneError

# As many times as a summary and a plot need, unless the user names others.
MOST = 100
# Å², about what a water molecule covers: the speed of less is that of a corner that comes and goes.
LEAST_AREA = 10.0
WARNING = " warning: "
# What a row takes from the backend as it is.
SENT = (
    "area",
    "volume",
    "speed",
    "selection_area",
    "selection_volume",
    "pocket_volume",
    "extrapolated",
    "expected_error",
)


@dataclass(frozen=True)
class StateMeasures:
    """One time. area Å²; volume Å³; speed: the mean of |normal velocity| over the area, Å per state; expected_error Å.

    fitted: whether the surface was fitted to this state. Those of a selection and of a pocket are None where none was
    named.
    """

    state: float
    area: float
    volume: float
    speed: float
    selection_area: float | None
    selection_volume: float | None
    pocket_volume: float | None
    fitted: bool
    extrapolated: bool
    expected_error: float | None


@dataclass(frozen=True)
class Residue:
    """A residue over all times: mean area in Å², and mean speed of that area in Å per state."""

    chain: str
    resn: str
    resi: str
    area: float
    speed: float


@dataclass(frozen=True)
class Measurement:
    """What dsr_measure returns.

    rows: one for each time. residues: in the order of the object, none where it is not in the scene.
    """

    rows: list[StateMeasures]
    residues: list[Residue]

    def ranked(self) -> list[Residue]:
        """Residues at the surface, the most moving first."""
        there = [r for r in self.residues if r.area >= LEAST_AREA]
        return sorted(there, key=lambda r: -r.speed)


def default_times(trajectory: Trajectory) -> list[float]:
    """Every state of the fitted range, or as many of them, evenly, as MOST."""
    first, last = int(min(trajectory.states)), int(max(trajectory.states))
    count = min(MOST, last - first + 1)
    return sorted({float(round(first + k * (last - first) / max(1, count - 1))) for k in range(count)})


def mask(trajectory: Trajectory, argument: str, selection: str, _self: Any) -> np.ndarray:
    """Which of the fitted atoms are selected, u1[A]. Raises SceneError where none of them is."""
    what = f"{argument} {selection}"
    if trajectory.object not in _self.get_names("objects"):
        raise SceneError(f"{what}: the object {trajectory.object} is not in the scene; load it first")
    if trajectory.atoms is None:
        raise SceneError(f"{what}: this fit knows no atoms of {trajectory.object}; fit them anew with dsr_fit")
    try:
        count = _self.count_atoms(f"({selection})")
    except CmdException as error:
        reason = str(error.args[0] if error.args else error).splitlines()[0].rstrip(".")
        raise SceneError(f"{what}: {reason}") from error
    if not count:
        raise SceneError(f"{what}: it holds no atoms")
    found: set[int] = set()
    _self.iterate(f"%{trajectory.object} and ({selection})", "found.add(index - 1)", space={"found": found})
    chosen = np.isin(trajectory.atoms, list(found))
    if not chosen.any():
        raise SceneError(
            f"{what}: none of its {count} atoms is among the {len(chosen)} of {trajectory.object} that were fitted"
        )
    return chosen.astype(np.uint8)


def collect(
    answers: Iterable[tuple[dict[str, Any], dict[str, np.ndarray]]],
    fitted: Sequence[float],
    labels: Sequence[tuple[str, str, str]] | None,
) -> Measurement:
    """The backend's answers as tables. fitted: states; labels: chain, resn and resi of each atom, or None."""
    rows: list[StateMeasures] = []
    area: np.ndarray | None = None
    moving: np.ndarray | None = None
    for result, arrays in answers:
        rows.append(
            StateMeasures(result["time"], fitted=result["time"] in fitted, **{key: result[key] for key in SENT})
        )
        atoms = arrays["area"].astype(np.float64)
        area = atoms if area is None else area + atoms
        moving = atoms * arrays["speed"] if moving is None else moving + atoms * arrays["speed"]
    residues: list[Residue] = []
    if labels is not None and area is not None and moving is not None and len(area) == len(labels):
        numbers: dict[tuple[str, str, str], int] = {}
        of = np.array([numbers.setdefault(label, len(numbers)) for label in labels])
        areas, movings = np.bincount(of, area), np.bincount(of, moving)
        for (chain, resn, resi), a, m in zip(numbers, areas.tolist(), movings.tolist(), strict=True):
            residues.append(Residue(chain, resn, resi, a / len(rows), m / a if a else 0.0))
    return Measurement(sorted(rows, key=lambda r: r.state), residues)


def summary(measured: Measurement, fitted_range: tuple[float, float], top: int) -> list[str]:
    """What a reader wants to know first, as lines of text."""
    everything = measured.rows
    # At the ends a velocity has one side only, and past them it is damped.
    within = [r for r in everything if fitted_range[0] < r.state < fitted_range[1]] or everything
    lines = []
    for what, unit in (
        ("volume", "A^3"),
        ("area", "A^2"),
        ("speed", "A/state"),
        ("selection_volume", "A^3"),
        ("selection_area", "A^2"),
        ("pocket_volume", "A^3"),
    ):
        rows = within if what == "speed" else everything
        if getattr(rows[0], what) is None:
            continue
        values = np.array([getattr(r, what) for r in rows], float)
        low, high = rows[int(values.argmin())], rows[int(values.argmax())]
        digits = 3 if what == "speed" else 0
        line = f" {what.replace('_', ' '):<16} {values.mean():>9.{digits}f}"
        if len(rows) > 1:
            line += (
                f" ± {values.std():<7.{digits}f} {unit:<8} from {values.min():.{digits}f} (state {low.state:g}) "
                f"to {values.max():.{digits}f} (state {high.state:g})"
            )
        else:
            line += f" {unit}"
        lines.append(line)
    fastest = measured.ranked()[:top]
    if fastest:
        lines.append(f" {'most moving':<16} {'A/state':>9} {'A^2':>7}   residues, by the mean speed of their surface")
        lines += [f"   {name_of(r):<14} {r.speed:>9.3f} {r.area:>7.1f}" for r in fastest]
    outside = [r for r in everything if r.extrapolated]
    if outside:
        errors = [r.expected_error for r in outside if r.expected_error]
        lines.append(
            f"{WARNING}{len(outside)} of {len(everything)} states are extrapolated (fitted: {fitted_range[0]:g} to "
            f"{fitted_range[1]:g})" + (f", expected error up to {max(errors):.2f} A" if errors else "")
        )
    return lines


def name_of(residue: Residue) -> str:
    """As PyMOL writes it: A/LYS`50."""
    return f"{residue.chain}/{residue.resn}`{residue.resi}"


def write_measures(path: str, measured: Measurement) -> list[str]:
    """One line for each time, and beside it one for each residue; the files written. Raises OSError."""
    written = []
    beside = f"{os.path.splitext(path)[0]}_residues.csv"
    for target, kind, rows in ((path, StateMeasures, measured.rows), (beside, Residue, measured.residues)):
        if not rows:
            continue
        with open(target, "w", newline="") as stream:
            out = csv.writer(stream)
            out.writerow([f.name for f in fields(kind)])
            out.writerows(map(astuple, rows))
        written.append(target)
    return written
