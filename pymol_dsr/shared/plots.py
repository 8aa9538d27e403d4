"""Plots over the states of a trajectory: what they show, and their drawing by matplotlib (optional).

The plugin and the command line draw the same plots of measures and of scores. A plot is data (Panel, BarChart),
so that the plugin's window, which has no matplotlib, shows the same quantities with the same names.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .options import BASELINES
from .scoring import FIELD, TRAINING
from .state_times import counted_states

WIDTH, ROW_HEIGHT, TITLE_HEIGHT, BARS_HEIGHT = 10.0, 2.1, 0.6, 2.6  # inches
COLUMNS = 2
DPI = 120
FITTED_RANGE = "fitted range"
BLUE = "#1f77b4"


@dataclass(frozen=True)
class Quantity:
    """A quantity over time: title with its unit, colour, and whether its axis begins at 0."""

    title: str
    color: str = BLUE
    from_zero: bool = False


# By the names of their columns.
MEASURES = {
    "volume": Quantity("volume (Å³)"),
    "area": Quantity("area (Å²)"),
    "selection_volume": Quantity("volume of the selection (Å³)", "#2ca02c"),
    "selection_area": Quantity("area of the selection (Å²)", "#2ca02c"),
    "speed": Quantity("mean speed of the surface (Å per state)", "#d62728", True),
    "pocket_volume": Quantity("volume of the pocket (Å³)", "#9467bd", True),
}
METRICS = {
    "iou": Quantity("IoU"),
    "nc": Quantity("normal consistency"),
    "chamfer_l1": Quantity("Chamfer L1 (normalised)", from_zero=True),
    "chamfer_sq": Quantity("Chamfer squared (normalised)", from_zero=True),
}
RMSD = Quantity("RMSD from the state before (Å)", "#595959", True)
# Colour and line style of each method of an evaluation; the first is the fit.
METHODS = {
    FIELD: (BLUE, "-"),
    **{baseline.method: (baseline.color, baseline.line) for baseline in BASELINES.values()},
}


@dataclass(frozen=True)
class Curve:
    """Values by rising state; line is a style of matplotlib, empty for marks alone."""

    label: str
    states: Sequence[float]
    values: Sequence[float]
    color: str
    line: str = "-"
    marks: bool = True


@dataclass(frozen=True)
class Panel:
    """Curves on one pair of axes. limits: of the values, None for matplotlib's own. filled: below the first curve."""

    title: str
    curves: Sequence[Curve]
    limits: tuple[float, float] | None = None
    filled: bool = False


@dataclass(frozen=True)
class Bars:
    """Bars of one colour: heights at whole places."""

    label: str
    places: Sequence[int]
    heights: Sequence[float]
    color: str


@dataclass(frozen=True)
class BarChart:
    """Bars side by side, with some of the places named."""

    title: str
    axis: str
    bars: Sequence[Bars]
    names: Mapping[int, str]


class StateScore(Protocol):
    """Scores of one state by one method, as both packages hold them."""

    @property
    def state(self) -> float:
        """The number of the state."""
        ...

    @property
    def group(self) -> str:
        """The group of the state, as `scoring.group_of` names it."""
        ...

    @property
    def method(self) -> str:
        """The field, or the baseline."""
        ...

    @property
    def rmsd(self) -> float | None:
        """RMSD of the atoms in Å; None without atoms."""
        ...


def measure_panels(
    states: Sequence[float], columns: Mapping[str, Sequence[float]], fitted: Collection[float]
) -> list[Panel]:
    """Describe one panel for each of the MEASURES in `columns`, with the fitted states marked."""
    known = frozenset(fitted)
    return [
        _measure_panel(quantity, states, columns[name], known) for name, quantity in MEASURES.items() if name in columns
    ]


def _measure_panel(
    quantity: Quantity, states: Sequence[float], values: Sequence[float], fitted: Collection[float]
) -> Panel:
    def curve(label: str, places: Sequence[int], line: str, marks: bool) -> Curve:
        return Curve(label, [states[k] for k in places], [values[k] for k in places], quantity.color, line, marks)

    known = [index for index, state in enumerate(states) if state in fitted]
    counted = counted_states(states, fitted)
    if len(counted) < len(states):
        # A line through fitted and other states would only jump between the two kinds.
        uncounted = sorted({*range(len(states))}.difference(counted))
        # One state has no line.
        others = curve("other states", uncounted, "--", len(uncounted) == 1)
        curves = [curve("fitted states", counted, "-", True), others]
    else:
        curves = [curve("", counted, "-", len(states) == 1)]
        curves += [curve("fitted states", known, "", True)] if known else []
    return Panel(quantity.title, curves, value_limits(values, quantity.from_zero), quantity.from_zero)


def score_panels(rows: Sequence[StateScore]) -> list[Panel]:
    """Describe one panel for each of the METRICS, with a curve for each method, and one for the RMSD if it is known."""
    rows = sorted(rows, key=lambda row: row.state)
    panels = []
    for name, quantity in METRICS.items():
        curves = []
        for method, (color, line) in METHODS.items():
            label = "field, other states" if method == FIELD else method
            chosen = [row for row in rows if row.method == method and row.group != TRAINING]
            curves += _score_curve(chosen, name, label, color, line)
        # A line through fitted and other states would only jump between the two kinds.
        curves += _score_curve([row for row in rows if row.group == TRAINING], name, "field, fitted states", "k", "")
        panels.append(_score_panel(quantity, curves))
    steps = [row for row in rows if row.method == FIELD and row.rmsd is not None and not math.isnan(row.rmsd)]
    if steps:
        panels.append(_score_panel(RMSD, _score_curve(steps, "rmsd", "", RMSD.color, "-")))
    return panels


def _score_curve(rows: Sequence[StateScore], name: str, label: str, color: str, line: str) -> list[Curve]:
    return [Curve(label, [r.state for r in rows], [getattr(r, name) for r in rows], color, line)] if rows else []


def _score_panel(quantity: Quantity, curves: Sequence[Curve]) -> Panel:
    values = [value for curve in curves for value in curve.values]
    return Panel(quantity.title, curves, value_limits(values, True) if quantity.from_zero else None)


def speed_chart(names: Sequence[str], speeds: Mapping[int, float], fastest: Sequence[int], one_chain: bool) -> BarChart:
    """Describe the speed of the surface by residue.

    names: of all residues, in their order. speeds: Å per state by place in that order. fastest: places that stand out.
    """
    slow = [index for index in speeds if index not in fastest]
    groups = [("", slow, "#999999"), (f"the {len(fastest)} most moving", fastest, "#d62728")]
    return BarChart(
        "mean speed of the surface by residue (Å per state)",
        "residue" if one_chain else "residue, chain after chain",
        [Bars(label, places, [speeds[index] for index in places], color) for label, places, color in groups if places],
        {index: names[index] for index in named_places(names, 12)},
    )


def named_places(names: Sequence[str], count: int) -> list[int]:
    """Choose about `count` places to name: those with round numbers, where there are such."""
    step = math.ceil(len(names) / count)
    step = next((size for size in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500) if size >= step), step)
    rounded = [index for index, name in enumerate(names) if name.isdigit() and int(name) % step == 0]
    return rounded if 1 < len(rounded) <= 4 * count else list(range(0, len(names), step))


def value_limits(values: Sequence[float], from_zero: bool) -> tuple[float, float]:
    """Choose the range of an axis: at least a tenth of the mean, so that a fluctuation does not look like a change."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    if from_zero:
        return 0.0, 1.08 * high or 1.0
    middle, half = 0.5 * (low + high), max(0.55 * (high - low), 0.05 * abs(sum(finite)) / len(finite), 0.5)
    return middle - half, middle + half


def render(
    panels: Sequence[Panel],
    *,
    fitted_range: tuple[float, float] | None,
    title: str = "",
    chart: BarChart | None = None,
    format: str = "png",
    axis: str = "state",
) -> bytes:
    """Draw the panels, two in a row, and below them the chart, and return the picture file.

    fitted_range: first and last fitted state, to be shaded. format: png, pdf or svg. axis: label of the states, which
    are times where it is another. Raises ImportError where matplotlib is not installed.
    """
    # Optional, and half a second to import. Without pyplot, which would choose a window toolkit beside PyMOL's.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = math.ceil(len(panels) / COLUMNS)
    ratios = [ROW_HEIGHT] * lines + ([BARS_HEIGHT] if chart else [])
    figure = Figure(figsize=(WIDTH, sum(ratios) + TITLE_HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(ratios), COLUMNS, height_ratios=ratios)
    for number, panel in enumerate(panels):
        # The last one takes the rest of its line.
        last = number == len(panels) - 1
        columns = slice(number % COLUMNS, None) if last else number % COLUMNS
        _draw_panel(figure.add_subplot(grid[number // COLUMNS, columns]), panel, fitted_range, axis)
    if chart:
        _draw_chart(figure.add_subplot(grid[lines, :]), chart)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper right", ncols=4, frameon=False, fontsize="small")
    figure.suptitle(title, x=0.01, ha="left")
    picture = io.BytesIO()
    figure.savefig(picture, format=format, dpi=DPI)
    return picture.getvalue()


def _draw_panel(axes: Any, panel: Panel, fitted_range: tuple[float, float] | None, axis: str) -> None:
    from matplotlib.ticker import MaxNLocator

    if fitted_range:
        axes.axvspan(*fitted_range, color="0.93", lw=0, label=FITTED_RANGE)
    for curve in panel.curves:
        style = {"ls": curve.line or "none", "marker": "." if curve.marks else "", "ms": 5, "lw": 1.4}
        axes.plot(curve.states, curve.values, color=curve.color, label=curve.label, **style)
    if panel.filled:
        first = panel.curves[0]
        axes.fill_between(first.states, first.values, color=first.color, alpha=0.12, lw=0)
    if panel.limits:
        axes.set_ylim(*panel.limits)
    axes.xaxis.set_major_locator(MaxNLocator(integer=axis == "state"))
    axes.ticklabel_format(axis="y", scilimits=(-2, 6))
    axes.set_xlabel(axis)
    _dress(axes, panel.title)


def _draw_chart(axes: Any, chart: BarChart) -> None:
    for bars in chart.bars:
        axes.bar(bars.places, bars.heights, width=1.0, color=bars.color, label=bars.label)
    axes.set_xticks(list(chart.names), list(chart.names.values()))
    axes.set_xlabel(chart.axis)
    _dress(axes, chart.title)
    if any(bars.label for bars in chart.bars):
        axes.legend(loc="upper right", frameon=False, fontsize="small")


def _dress(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize="medium", loc="left")
    axes.grid(alpha=0.3)
    axes.margins(x=0.01)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
