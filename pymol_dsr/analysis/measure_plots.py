"""Plots of measures over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .measures import LEAST_AREA, Measurement, Residue, StateMeasures


@dataclass(frozen=True)
class CurvePanel:
    """One quantity over time, as both plots show it. from_zero: whether its axis begins there."""

    what: str
    label: str
    color: str
    from_zero: bool = False

    def points(self, rows: Sequence[StateMeasures]) -> list[tuple[float, float]]:
        return [(r.state, float(getattr(r, self.what))) for r in rows]


PANELS = (
    CurvePanel("volume", "volume (Å³)", "#1f77b4"),
    CurvePanel("area", "area (Å²)", "#1f77b4"),
    CurvePanel("selection_volume", "volume of the selection (Å³)", "#2ca02c"),
    CurvePanel("selection_area", "area of the selection (Å²)", "#2ca02c"),
    CurvePanel("speed", "mean speed of the surface (Å per state)", "#d62728", True),
    CurvePanel("pocket_volume", "volume of the pocket (Å³)", "#9467bd", True),
)


def panels(rows: Sequence[StateMeasures]) -> list[CurvePanel]:
    """Those that were measured."""
    return [panel for panel in PANELS if getattr(rows[0], panel.what) is not None]


def span(panel: CurvePanel, values: Sequence[float]) -> tuple[float, float]:
    """The range of its axis: at least a tenth of the mean, so that a fluctuation does not look like a change."""
    low, high = min(values), max(values)
    if panel.from_zero:
        return 0.0, 1.08 * high or 1.0
    middle, half = 0.5 * (low + high), max(0.55 * (high - low), 0.05 * abs(sum(values)) / len(values), 0.5)
    return middle - half, middle + half


def plot_measures(path: str, measured: Measurement, fitted_range: tuple[float, float], top: int, title: str) -> bool:
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


def _draw_profile(axes: Any, measured: Measurement, top: int) -> None:
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
