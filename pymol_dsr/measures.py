"""What a fitted surface measures over time, for dsr_measure: tables, text and plots."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from pymol import CmdException

from .jobs import Trajectory
from .scene import SceneError

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
class Row:
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
class Measured:
    """What dsr_measure returns.

    rows: one for each time. residues: in the order of the object, none where it is not in the scene.
    """

    rows: list[Row]
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
) -> Measured:
    """The backend's answers as tables. fitted: states; labels: chain, resn and resi of each atom, or None."""
    rows: list[Row] = []
    area: np.ndarray | None = None
    moving: np.ndarray | None = None
    for result, arrays in answers:
        rows.append(Row(result["time"], fitted=result["time"] in fitted, **{key: result[key] for key in SENT}))
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
    return Measured(sorted(rows, key=lambda r: r.state), residues)


def summary(measured: Measured, fitted_range: tuple[float, float], top: int) -> list[str]:
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


def write_csv(path: str, measured: Measured) -> list[str]:
    """One line for each time, and beside it one for each residue; the files written. Raises OSError."""
    written = []
    beside = f"{os.path.splitext(path)[0]}_residues.csv"
    for target, kind, rows in ((path, Row, measured.rows), (beside, Residue, measured.residues)):
        if not rows:
            continue
        with open(target, "w", newline="") as stream:
            out = csv.writer(stream)
            out.writerow([f.name for f in fields(kind)])
            out.writerows(map(astuple, rows))
        written.append(target)
    return written


@dataclass(frozen=True)
class Panel:
    """One quantity over time, as both plots show it. from_zero: whether its axis begins there."""

    what: str
    label: str
    color: str
    from_zero: bool = False

    def points(self, rows: Sequence[Row]) -> list[tuple[float, float]]:
        return [(r.state, float(getattr(r, self.what))) for r in rows]


PANELS = (
    Panel("volume", "volume (Å³)", "#1f77b4"),
    Panel("area", "area (Å²)", "#1f77b4"),
    Panel("selection_volume", "volume of the selection (Å³)", "#2ca02c"),
    Panel("selection_area", "area of the selection (Å²)", "#2ca02c"),
    Panel("speed", "mean speed of the surface (Å per state)", "#d62728", True),
    Panel("pocket_volume", "volume of the pocket (Å³)", "#9467bd", True),
)


def panels(rows: Sequence[Row]) -> list[Panel]:
    """Those that were measured."""
    return [panel for panel in PANELS if getattr(rows[0], panel.what) is not None]


def span(panel: Panel, values: Sequence[float]) -> tuple[float, float]:
    """The range of its axis: at least a tenth of the mean, so that a fluctuation does not look like a change."""
    low, high = min(values), max(values)
    if panel.from_zero:
        return 0.0, 1.08 * high or 1.0
    middle, half = 0.5 * (low + high), max(0.55 * (high - low), 0.05 * abs(sum(values)) / len(values), 0.5)
    return middle - half, middle + half


def write_plot(path: str, measured: Measured, fitted_range: tuple[float, float], top: int, title: str) -> bool:
    """All of it over time and the speed by residue as a PNG; False where matplotlib is not there."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = measured.rows
    shown, fitted = panels(rows), {r.state for r in rows if r.fitted}
    lines = math.ceil(len(shown) / 2)
    profile = bool(measured.residues)
    # Without pyplot, which would choose a window toolkit beside PyMOL's.
    figure = Figure(figsize=(10, 2.1 * lines + (2.6 if profile else 0.0) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(lines + profile, 2, height_ratios=[1.0] * lines + [1.25] * profile)
    for number, panel in enumerate(shown):
        # The last one alone in its line takes all of it.
        alone = number == len(shown) - 1 and number % 2 == 0
        axes = figure.add_subplot(grid[number // 2, :] if alone else grid[number // 2, number % 2])
        states, values = zip(*panel.points(rows), strict=True)
        if any(r.extrapolated for r in rows):
            axes.axvspan(*fitted_range, color="0.93", lw=0, label="fitted range")
        axes.plot(states, values, color=panel.color, lw=1.6)
        if known := [point for point in panel.points(rows) if point[0] in fitted]:
            axes.plot(*zip(*known, strict=True), "o", color=panel.color, ms=3.5, label="fitted states")
        axes.set_ylim(*span(panel, values))
        if panel.from_zero:
            axes.fill_between(states, values, color=panel.color, alpha=0.12, lw=0)
        axes.set_title(panel.label, fontsize="medium", loc="left")
        axes.set_xlabel("state")
        _dress(axes)
    if profile:
        _draw_profile(figure.add_subplot(grid[lines, :]), measured, top)
    # One for all, in the line of the title.
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper right", ncols=2, frameon=False, fontsize="small")
    figure.suptitle(title, x=0.01, ha="left")
    figure.savefig(path, dpi=110)
    return True


def _dress(axes: Any) -> None:
    axes.grid(alpha=0.3)
    axes.margins(x=0.01)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_profile(axes: Any, measured: Measured, top: int) -> None:
    """The speed of each residue's surface, in their order; those of the summary stand out."""
    residues, first = measured.residues, set(measured.ranked()[:top])
    for color, label, wanted in (
        ("0.6", "", lambda r: r not in first and r.area >= LEAST_AREA),
        ("#d62728", f"the {len(first)} most moving", lambda r: r in first),
    ):
        part = [(k, r.speed) for k, r in enumerate(residues) if wanted(r)]
        if part:
            axes.bar(*zip(*part, strict=True), width=1.0, color=color, label=label)
    places = marks(residues, 12)
    axes.set_xticks(places, [residues[k].resi for k in places])
    _dress(axes)
    axes.set_xlabel("residue" if len({r.chain for r in residues}) == 1 else "residue, chain after chain")
    axes.set_title("mean speed of the surface by residue (Å per state)", fontsize="medium", loc="left")
    if first:
        axes.legend(loc="upper right", frameon=False, fontsize="small")


def marks(residues: Sequence[Residue], count: int) -> list[int]:
    """Places of about `count` residues to be named: those with round numbers, where there are such."""
    step = math.ceil(len(residues) / count)
    step = next((s for s in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500) if s >= step), step)
    found = [k for k, r in enumerate(residues) if r.resi.isdigit() and int(r.resi) % step == 0]
    return found if 1 < len(found) <= 4 * count else list(range(0, len(residues), step))
