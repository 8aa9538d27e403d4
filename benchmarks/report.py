"""Writes the benchmark's tables and the picture of the noise from the JSON files that tables.py leaves in a folder."""

from __future__ import annotations

import importlib.util
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import markdown
import numpy as np
from rows import (
    AHEAD,
    BETWEEN,
    BLENDED,
    FITTED,
    HOLD,
    LATER,
    LINE,
    NEXT,
    ROWS,
    SMOOTHED,
    STRAIGHT,
    SUPERPOSED,
    TYPE_3,
)
from scipy.stats import spearmanr
from trajectories import TRAJECTORIES

BASELINES, FAST, PAPER = METHODS = ("baselines", "fast", "paper")
METRICS = (("iou", "IoU", 4), ("chamfer_l1", "Chamfer L1", 5), ("chamfer_sq", "Chamfer sq", 6), ("nc", "NC", 4))
HIGHER = ("iou", "nc")
PRINTED = "the paper, as printed"
# Places of a name beside its mark, in points and with its alignment, the best first.
NAME_PLACES = (
    ((6, 0), "left", "center"),
    ((4, 4), "left", "bottom"),
    ((4, -4), "left", "top"),
    ((-6, 0), "right", "center"),
    ((0, 6), "center", "bottom"),
    ((0, -6), "center", "top"),
    ((4, 12), "left", "bottom"),
    ((4, -12), "left", "top"),
)
# Mean and deviation of IoU, Chamfer (its second kind) and NC in Tables 1 and 2 of the paper.
AS_PRINTED: dict[tuple[str, str], tuple[tuple[float, float], ...]] = {
    ("dims", FITTED): ((0.9316, 0.0070), (0.0003, 0.0001), (0.9671, 0.0050)),
    ("froda", FITTED): ((0.8318, 0.0286), (0.0004, 0.0001), (0.9098, 0.0175)),
    ("dims", NEXT): ((0.8467, 0.0423), (0.0010, 0.0005), (0.8666, 0.0504)),
    ("dims", LATER): ((0.6835, 0.0551), (0.0055, 0.0020), (0.6932, 0.0474)),
    ("froda", NEXT): ((0.7660, 0.0502), (0.0012, 0.0006), (0.8267, 0.0490)),
    ("froda", LATER): ((0.6043, 0.0474), (0.0044, 0.0012), (0.6783, 0.0384)),
}


Values = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One line of a table: its method, mean and deviation by metric, the states they are of, and more columns."""

    method: str
    values: dict[str, tuple[float, float]]
    states: int = 0
    seconds: str = ""

    @classmethod
    def of(cls, method: str, scores: dict[str, Values], seconds: str = "") -> Line:
        """From the scores by state."""
        values = {}
        for name, _, _ in METRICS:
            column = np.array([score[name] for score in scores.values()])
            with np.errstate(invalid="ignore"):
                values[name] = (float(column.mean()), float(column.std()))
        return cls(method, values, len(scores), seconds)


class Results:
    """All that a folder holds: `found[row][method]` is a JSON file's content."""

    def __init__(self, folder: Path) -> None:
        self.measured: dict[str, dict[str, Values]] = {}
        for name in ROWS:
            for method in METHODS:
                path = folder / name / f"{method}.json"
                if path.exists():
                    self.measured.setdefault(name, {})[method] = json.loads(path.read_text())

    @property
    def rows(self) -> list[str]:
        """The rows whose baselines are there: without them nothing is known about the trajectory."""
        return [name for name in self.measured if BASELINES in self.measured[name]]

    def about(self, row: str) -> Values:
        return dict(self.measured[row][BASELINES]["about"])

    def lines(self, row: str, group: str) -> list[Line]:
        """All methods that have scores there: fields first, the paper's own figures last."""
        lines = []
        for method in (FAST, PAPER, BASELINES):
            record = self.measured[row].get(method)
            if record is None:
                continue
            seconds = f"{record['fit_seconds']:.0f}" if method != BASELINES else ""
            for label, scores in record["scores"].get(group, {}).items():
                lines.append(Line.of(label, scores, seconds))
        printed = AS_PRINTED.get((row, group))
        if printed and self.measured[row][BASELINES]["asked"]["training"] == list(ROWS[row].training):
            lines.append(Line(PRINTED, dict(zip(("iou", "chamfer_sq", "nc"), printed, strict=True))))
        return lines


def best(lines: Sequence[Line], metric: str) -> float | None:
    """The best mean of these lines, as far as its printed digits go."""
    digits = {name: digits for name, _, digits in METRICS}[metric]
    means = [round(line.values[metric][0], digits) for line in lines if metric in line.values]
    return (max(means) if metric in HIGHER else min(means)) if len(means) > 1 else None


def cells(line: Line, lines: Sequence[Line]) -> list[str]:
    """The metrics of one line as text, those that are the best of `lines` in bold."""
    texts = []
    for metric, _, digits in METRICS:
        if metric not in line.values:
            texts.append("")
            continue
        mean, deviation = line.values[metric]
        text = f"{mean:.{digits}f} ± {deviation:.{digits}f}" if math.isfinite(mean) else "∞"
        texts.append(f"**{text}**" if round(mean, digits) == best(lines, metric) else text)
    return texts


def block(results: Results, row: str, group: str) -> list[str]:
    """One row's lines of a table: trajectory, states, method, metrics, seconds."""
    lines = results.lines(row, group)
    texts = []
    for line in lines:
        states = "" if line.method == PRINTED else str(line.states)
        texts.append(
            f"| {row} | {group} | {line.method} | {states} | {' | '.join(cells(line, lines))} | {line.seconds} |"
        )
    return texts


HEADER = [
    f"| row | states | method | scored | {' | '.join(title for _, title, _ in METRICS)} | fit, s |",
    f"|---|---|---|---|{'---|' * len(METRICS)}---|",
]


def table(results: Results, rows: Sequence[str], groups: Sequence[str]) -> list[str]:
    return [*HEADER, *(line for row in rows for group in groups for line in block(results, row, group))]


def write(folder: Path, path: Path, failed: dict[str, str]) -> None:
    """Put the tables together from all JSON in the folder. failed: rows that could not be had, and why."""
    results = Results(folder)
    if not results.rows:
        raise SystemExit(f"{folder} holds no scores; run without --only")
    regular = [row for row in results.rows if row in TRAJECTORIES]
    sparse = [row for row in results.rows if row not in TRAJECTORIES]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = [
        "# Results",
        "",
        *_lead(results),
        "`python benchmarks/tables.py` writes this page.",
        "",
        "## Overview",
        "",
        *_glance(results),
        "",
        METHODS_TEXT,
        "",
        "## Trajectories",
        "",
        "Each row of the tables is one fit of one trajectory:",
        "",
        *_rows(results),
        *([f"\nLeft out in this run, because their data could not be had: {', '.join(failed)}."] if failed else []),
        "",
        PAPERS_ROWS,
        "",
        "## Reconstruction (Table 1 of the paper)",
        "",
        *_ranges(results, regular),
        *table(results, regular, [FITTED]),
        "",
        "## Interpolation (Fig. 6, Tables 4 and 5)",
        "",
        *_standing(results, regular, [BETWEEN]),
        "The scored states lie between the fitted states. The paper's own figures for this are in an appendix that is "
        "not at hand.",
        "",
        *table(results, regular, [BETWEEN]),
    ]
    if sparse:
        lead = _standing(results, sparse, [BETWEEN])
        text += ["", "### Wider gaps", "", *lead, SPARSE, "", *table(results, sparse, [FITTED, BETWEEN])]
    lead = _standing(results, regular, [NEXT, LATER])
    text += ["", "## Future (Table 2)", "", *lead, FUTURE, "", *table(results, regular, [NEXT, LATER])]
    text += ["", "## Noise (Fig. 5)", "", *_noise(results, regular, path.parent / "noise.png")]
    text += ["", "## Cases where `fast` is not the best", "", *_losses(results)]
    text += ["", "## Hardware and time", "", *_hardware(results)]
    # Other scripts have their sections on this page, too.
    for block in markdown.marked(path.read_text()) if path.exists() else []:
        text += ["", block]
    path.write_text("\n".join(text) + "\n")


METHODS_TEXT = f"""## Measures and methods

The truth is PyMOL's own surface of each state. Each figure is the mean ± standard deviation over the scored states. The
column *scored* says how many states these are; they are spread evenly over their group. The best of a row's methods is
**bold**.

| measure | definition | best |
|---|---|---|
| IoU | volume inside both surfaces divided by volume inside at least one, on a 128³ grid | 1 |
| Chamfer L1 | mean distance between the surfaces, both ways: Eq. 6–7 of the paper | 0 |
| Chamfer sq | sum of both mean squared distances, as in the paper's released code and tables | 0 |
| NC | normal consistency, the mean agreement of the normals: Eq. 8–9 of the paper | 1 |

In the units of both Chamfer distances, the longest side of all fitted surfaces is 2/1.1.

`fast` and `paper` are presets of this project. `paper` is the paper's own network and loss. The other methods need no
field:

| method | description |
|---|---|
| {HOLD} | the surface of the nearest fitted state |
| {SUPERPOSED} | the fitted states before and after are superposed, their atoms mixed linearly and turned as the \
molecule is in between; PyMOL makes the surface |
| {TYPE_3} | the same with PyMOL's other closed surface, which keeps vertices that the default one trims |
| {SMOOTHED} | before that, all fitted states are superposed (`intra_fit`) and smoothed (`smooth` with its defaults) |
| {STRAIGHT} | the atoms are mixed without superposition |
| {BLENDED} | the zero of the linear blend of both neighbours' signed distances, on 96³ nodes |"""

PAPERS_ROWS = """DIMS and FRODA are rows of the paper, with the same files and states. The paper's other rows use data
that no package or small file has: I-FABP, AdK equilibrium, NhaA and YiiP, 14 small proteins of DRYAD, Aβ, and four
GPCRs of GPCRmd. The nearest open data take their place: rhodopsin and the 5-HT1B receptor for the membrane proteins
and GPCRs; villin and Trp-cage, at two temperatures each, and trpzip2 for DRYAD and Aβ. Figures of different molecules
cannot be compared line by line. The paper's rows of DRYAD lie at IoU 0.42 to 0.66 and NC 0.65 to 0.83."""

SPARSE = """These rows fit few states of DIMS: every 12th, every 26th, and only the two end states of 1–79. The scored
states lie at a quarter, a half and three quarters of every gap."""

FUTURE = f"""The scored states are the states 1–10 and 11–20 after the range that the fitted states were taken from, as
far as the trajectory goes. *{AHEAD}* moves the atoms on from the last fitted state, at their mean speed over the last
{LINE} fitted states, superposed."""


def _contests(results: Results, rows: Sequence[str], groups: Sequence[str]) -> dict[str, list[bool]]:
    """By metric, for each row and group in which `fast` has a rival: whether the mean of `fast` is the best."""
    won: dict[str, list[bool]] = {}
    for row in rows:
        for group in groups:
            lines = results.lines(row, group)
            fast_line = next((line for line in lines if line.method == f"`{FAST}`"), None)
            for metric, _, digits in METRICS:
                top = best(lines, metric)
                if fast_line is not None and top is not None:
                    won.setdefault(metric, []).append(round(fast_line.values[metric][0], digits) == top)
    return won


def _standing(results: Results, rows: Sequence[str], groups: Sequence[str]) -> list[str]:
    """A paragraph that counts in how many contests `fast` is the best; nothing where it has no rival."""
    won = _contests(results, rows, groups)
    if not won:
        return []
    unit = "rows" if len(groups) == 1 else "cases"
    counts = [
        f"{title} in {sum(won[metric])} of {len(won[metric])} {unit}" for metric, title, _ in METRICS if metric in won
    ]
    return [f"`{FAST}` has the best mean {', the best '.join(counts)}.", ""]


def _ranges(results: Results, rows: Sequence[str]) -> list[str]:
    """A paragraph with the lowest and the highest mean IoU and NC of `fast` at the fitted states."""
    fast_lines = [line for row in rows for line in results.lines(row, FITTED) if line.method == f"`{FAST}`"]
    if not fast_lines:
        return []
    spans = []
    for metric, title in (("iou", "IoU"), ("nc", "NC")):
        means = [line.values[metric][0] for line in fast_lines]
        spans.append(f"{title} of {min(means):.3f} to {max(means):.3f}")
    return [f"At the fitted states, `{FAST}` has a mean {' and a mean '.join(spans)}.", ""]


def _lead(results: Results) -> list[str]:
    """A paragraph with the findings of the whole page: IoU and NC between and after the fitted states."""
    sentences = []
    for groups, period in (([BETWEEN], "Between the fitted states"), ([NEXT, LATER], "After the last fitted state")):
        won = _contests(results, results.rows, groups)
        if won:
            iou, nc = won["iou"], won["nc"]
            sentences.append(
                f"{period}, preset `{FAST}` has the best mean IoU in {sum(iou)} of {len(iou)} cases and the best mean "
                f"NC in {sum(nc)} of {len(nc)}."
            )
    return [" ".join([*sentences, "A case is one row and one group of states."]), ""] if sentences else []


def _rows(results: Results) -> list[str]:
    lines = [
        "| row | trajectory | atoms | fitted | step RMSD, Å | PyMOL, s per surface | source, licence |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in results.rows:
        facts, trajectory = results.about(name), TRAJECTORIES[ROWS[name].trajectory]
        lines.append(
            f"| {name} | {trajectory.about} | {facts['atoms']} | {facts['fitted']} | "
            f"{facts['step_rmsd']:.2f} | {facts['pymol_seconds']:.2f} | {trajectory.origin}; {trajectory.licence} |"
        )
    lines += ["", "*Step RMSD* is the mean RMSD of the Cα atoms between consecutive states, superposed."]
    return lines


def _glance(results: Results) -> list[str]:
    """IoU and NC of `fast` beside the best that there is without a field, one line a row."""
    groups = (FITTED, BETWEEN, NEXT, LATER)
    lines = [
        "Each cell has IoU / NC of `fast`, and in brackets those of the method without a field that has the best IoU "
        "there. The next two sections explain measures, methods and rows. *Future* states lie after the fitted range.",
        "",
        f"| row | step RMSD, Å | {' | '.join(groups)} |",
        f"|---|---|{'---|' * len(groups)}",
    ]

    def pair(line: Line) -> str:
        return f"{line.values['iou'][0]:.3f} / {line.values['nc'][0]:.3f}"

    for row in results.rows:
        columns = []
        for group in groups:
            lines_of_group = results.lines(row, group)
            fast_lines = [line for line in lines_of_group if line.method == f"`{FAST}`"]
            rivals = [line for line in lines_of_group if line.method not in (f"`{FAST}`", f"`{PAPER}`", PRINTED)]
            text = pair(fast_lines[0]) if fast_lines else ""
            if rivals:
                text += f" ({pair(max(rivals, key=lambda line: line.values['iou'][0]))})"
            columns.append(text)
        lines.append(f"| {row} | {results.about(row)['step_rmsd']:.2f} | {' | '.join(columns)} |")
    return lines


def _noise(results: Results, rows: Sequence[str], picture: Path) -> list[str]:
    """The three metrics against the RMSD between consecutive states, over all rows: correlations, and the picture."""
    points: dict[tuple[str, str], list[tuple[float, str, Line]]] = {}
    for row in rows:
        for group in (FITTED, BETWEEN):
            for line in results.lines(row, group):
                if line.method in (f"`{FAST}`", f"`{PAPER}`", PRINTED):
                    points.setdefault((line.method, group), []).append((results.about(row)["step_rmsd"], row, line))
    lead, body = [], []
    for (method, group), method_points in points.items():
        if len(method_points) >= 5:
            rmsd = [point[0] for point in method_points]
            correlations = [
                float(spearmanr(rmsd, [point[2].values[metric][0] for point in method_points]).statistic)
                for metric in ("iou", "chamfer_sq", "nc")
            ]
            columns = " | ".join(f"{entry:+.2f}" for entry in correlations)
            body.append(f"| {method} | {group} | {len(method_points)} | {columns} |")
            if (method, group) == (f"`{FAST}`", BETWEEN):
                trend = "lower" if correlations[0] < 0 else "higher"
                lead = [
                    f"The more a molecule moves from one state to the next, the {trend} is the IoU of `{FAST}` between "
                    f"the fitted states (rank correlation {correlations[0]:+.2f}).",
                    "",
                ]
    lines = [
        *lead,
        "The table has Spearman's rank correlation, over the rows, of each metric with the step RMSD:",
        "",
        "| method | states | rows | IoU | Chamfer sq | NC |",
        "|---|---|---|---|---|---|",
        *body,
    ]
    if importlib.util.find_spec("matplotlib"):
        _plot(points, picture)
        lines += ["", f"![Metrics against RMSD between consecutive states]({picture.name})"]
    else:
        print("no matplotlib here, so no picture of the noise", flush=True)
    return lines


def _plot(points: dict[tuple[str, str], list[tuple[float, str, Line]]], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    styles: dict[str, Values] = {
        f"`{FAST}`": {"color": "C0", "marker": "o"},
        f"`{PAPER}`": {"color": "C1", "marker": "s"},
        PRINTED: {"color": "0.3", "marker": "x"},
    }
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for axis, (metric, title) in zip(axes, (("iou", "IoU"), ("chamfer_sq", "Chamfer sq"), ("nc", "NC")), strict=True):
        for (method, group), method_points in points.items():
            x, y = [point[0] for point in method_points], [point[2].values[metric][0] for point in method_points]
            style = {**styles[method], **({"markerfacecolor": "none"} if group == BETWEEN else {})}
            axis.plot(x, y, linestyle="", label=f"{method.strip('`')}, {group}", **style)
        axis.set(xlabel="RMSD between consecutive states, Cα (Å)", ylabel=title)
        axis.margins(x=0.12)
        if metric == "chamfer_sq":
            axis.set_yscale("log")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(points), fontsize=8)
    figure.draw_without_rendering()
    for axis, metric in zip(axes, ("iou", "chamfer_sq", "nc"), strict=True):
        named = points.get((f"`{FAST}`", BETWEEN), [])
        _name(axis, [(rmsd, line.values[metric][0], row) for rmsd, row, line in named])
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def _name(axis: Any, points: Sequence[tuple[float, float, str]]) -> None:
    """Write names beside points (x, y, name), where they cover no mark of the axis and no other name if possible."""
    marks = np.concatenate([axis.transData.transform(line.get_xydata()) for line in axis.lines])
    boxes: list[Any] = []
    for x, y, name in points:
        for offset, horizontal, vertical in NAME_PLACES:
            text = axis.annotate(
                name, (x, y), xytext=offset, textcoords="offset points", ha=horizontal, va=vertical, fontsize=7
            )
            box = text.get_window_extent()
            covered = box.count_contains(marks) or box.count_overlaps(boxes)
            if not covered or offset is NAME_PLACES[-1][0]:
                break
            text.remove()
        boxes.append(box)


def _losses(results: Results) -> list[str]:
    """Every row, group and metric at which another method has a better mean than `fast`, by how much."""
    lines, least, contests = [], {}, 0
    for row in results.rows:
        if FAST not in results.measured[row]:
            continue
        for group in (FITTED, BETWEEN, NEXT, LATER):
            lines_of_group = results.lines(row, group)
            fast_line = next((line for line in lines_of_group if line.method == f"`{FAST}`"), None)
            if fast_line is None:
                continue
            if group == FITTED and ROWS[row].noisy:
                least[row] = fast_line.values["iou"][0]
            for metric, title, digits in METRICS:
                value, top = round(fast_line.values[metric][0], digits), best(lines_of_group, metric)
                contests += top is not None
                if top is not None and value != top:
                    winner = next(
                        line.method
                        for line in lines_of_group
                        if metric in line.values and round(line.values[metric][0], digits) == top
                    )
                    lines.append(f"| {row} | {group} | {title} | {value:.{digits}f} | {top:.{digits}f} | {winner} |")
    sentences = [f"`{FAST}` is not the best in {len(lines)} of {contests} comparisons of means on this page."]
    if least:
        worst = min(least, key=lambda row: least[row])
        sentences.append(f"Its lowest mean IoU at the fitted states of a noisy row is {least[worst]:.4f} ({worst}).")
    if not lines:
        return [" ".join(sentences)]
    header = ["| row | states | metric | `fast` | best | best method |", "|---|---|---|---|---|---|"]
    return [" ".join(sentences), "", *header, *lines]


def _hardware(results: Results) -> list[str]:
    lines = []
    for method in METHODS:
        records = [results.measured[row][method] for row in results.rows if method in results.measured[row]]
        if not records:
            continue
        machines = sorted(
            {"{name} ({device}, {threads} threads, torch {torch})".format(**entry["hardware"]) for entry in records}
        )
        line = f"- `{method}`" if method != BASELINES else "- Methods without a field"
        line += f": {'; '.join(machines)}"
        if method != BASELINES:
            mesh = [entry["mesh_seconds"] for entry in records]
            line += f"; a mesh at {records[0]['asked']['resolution']} Å takes {min(mesh):.2f} to {max(mesh):.2f} s"
        if any(entry["asked"].get("seconds") for entry in records):
            line += (
                f". **Cut short**: it was trained for {records[0]['asked']['seconds']:.0f} s on a CPU, where the full "
                f"training takes many hours. It was scored at {records[0]['asked']['most']} states of a group at most. "
                f"These figures say nothing about the fully trained network"
            )
        lines.append(line + ".")
    fits = [fit for row in results.rows for method, fit in results.measured[row].items() if method != BASELINES]
    codes = sorted({fit["code"] for fit in fits})
    lines.append(f"- Python {platform.python_version()}; digest of the backend's sources: {', '.join(codes)}.")
    if len(codes) > 1:
        lines.append("- **Not all of these figures come from the same sources.** `--again` measures them again.")
        print(f"figures of {len(codes)} different backend sources: {', '.join(codes)}", flush=True)
    lines.append("- The seconds of a fit count the fit alone, after PyMOL has made its surfaces.")
    return lines
