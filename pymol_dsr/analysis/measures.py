"""Measures of a fitted surface over time, for dsr_measure: tables and text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol import CmdException

from ..fits.fit import Trajectory
from ..scene.atoms import PresentAtoms
from ..scene.objects import SceneError
from ..shared import atomic_write, plots, text
from ..shared.messages import MeasureResult
from ..shared.spacing import evenly_spaced
from ..shared.state_times import FEWEST_COUNTED, counted_states, inner_states
from ..shared.tables import csv_bytes
from ..surfaces.selections import refusal

# As many times as a summary and a plot need, unless the user names others.
MOST_TIMES = 100
# Å², about what a water molecule covers: the speed of less is that of a corner that comes and goes.
LEAST_AREA = 10.0
WARNING = " warning: "
# Columns of a row that the backend sends under the same names.
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
# Column, unit and digits of each line of the summary.
SUMMARY = (
    ("volume", "A^3", 0),
    ("area", "A^2", 0),
    ("speed", "A/state", 3),
    ("selection_volume", "A^3", 0),
    ("selection_area", "A^2", 0),
    ("pocket_volume", "A^3", 0),
)

# Chain (or segment), segi, resn and resi.
ResidueName = tuple[str, str, str, str]


@dataclass(frozen=True)
class StateMeasures:
    """One time. area Å²; volume Å³; speed: the mean of |normal velocity| over the area, Å per state; expected_error Å.

    fitted: whether the surface was fitted to this state. The measures of a selection and of a pocket are None where
    none was named.
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
    """A residue over all times: mean area in Å², and mean speed of that area in Å per state.

    segi: its segment where its chain has residues that nothing else tells apart, otherwise None.
    """

    chain: str
    resn: str
    resi: str
    area: float
    speed: float
    segi: str | None = None

    def __str__(self) -> str:
        """Name it as PyMOL does: A/LYS`50, and with its segment PROA/A/LYS`50."""
        return f"{self.segi + '/' if self.segi else ''}{self.chain}/{self.resn}`{self.resi}"


@dataclass(frozen=True)
class Measurement:
    """The result of dsr_measure.

    rows: one for each time. residues: over the states that count, in the order of the object, none where it is not in
    the scene. dt: ns from state to state, None where it is not known.
    """

    rows: list[StateMeasures]
    residues: list[Residue]
    dt: float | None = None

    def ranked(self) -> list[Residue]:
        """Residues at the surface, the most moving first."""
        exposed = [residue for residue in self.residues if residue.area >= LEAST_AREA]
        return sorted(exposed, key=lambda residue: -residue.speed)

    @property
    def states(self) -> list[float]:
        """The times."""
        return [row.state for row in self.rows]

    @property
    def axis(self) -> str:
        """The label of `time_of` in plots."""
        return "state" if self.dt is None else "time (ns)"

    def time_of(self, state: float) -> float:
        """Return the time of a state in ns, 0 at the first one; the state itself where its time is not known."""
        return state if self.dt is None else (state - 1.0) * self.dt

    @property
    def counted(self) -> list[StateMeasures]:
        """The rows of the states that count (`counted_states`)."""
        fitted = [row.state for row in self.rows if row.fitted]
        return [self.rows[index] for index in counted_states(self.states, fitted)]

    def columns(self) -> dict[str, list[float]]:
        """Values over time by the names of plots.MEASURES, without quantities that were not measured."""
        measured = [name for name in plots.MEASURES if getattr(self.rows[0], name) is not None]
        return {name: [float(getattr(row, name)) for row in self.rows] for name in measured}

    def panels(self) -> dict[str, plots.Panel]:
        """Return plots over time by the same names."""
        columns, fitted = self.columns(), [self.time_of(row.state) for row in self.rows if row.fitted]
        panels = plots.measure_panels(list(map(self.time_of, self.states)), columns, fitted)
        return dict(zip(columns, panels, strict=True))


def default_times(trajectory: Trajectory) -> list[float]:
    """List the fitted states, or as many of them, evenly, as MOST_TIMES.

    Where fewer than FEWEST_COUNTED are fitted, every state of their range counts.
    """
    times = sorted(trajectory.states)
    if len(times) < FEWEST_COUNTED:
        times = list(map(float, range(int(times[0]), int(times[-1]) + 1)))
    return [times[index] for index in evenly_spaced(range(len(times)), MOST_TIMES)]


def selection_mask(present: PresentAtoms, argument: str, selection: str, _self: Any) -> NDArray[np.uint8]:
    """Mark the fitted atoms that are selected, u1[A]. Raises SceneError, naming the argument, where none of them is."""
    label = f"{argument} {selection}"
    if present.indices is None:
        raise SceneError(f"{label}: {present.absence}")
    try:
        count = _self.count_atoms(f"({selection})")
    except CmdException as error:
        raise SceneError(f"{label}: {refusal(selection, error, _self)}") from error
    if not count:
        raise SceneError(f"{label}: it holds no atoms")
    indices: set[int] = set()
    object = present.trajectory.object
    _self.iterate(f"%{object} and ({selection})", "indices.add(index - 1)", space={"indices": indices})
    mask = np.isin(present.indices, list(indices))
    if not mask.any():
        raise SceneError(f"{label}: none of its {count} atoms is among the {len(mask)} of {object} that were fitted")
    return mask.astype(np.uint8)


def collect(
    results: Iterable[MeasureResult],
    fitted: Sequence[float],
    names: Sequence[ResidueName] | None,
    dt: float | None = None,
) -> Measurement:
    """Make tables of the backend's results.

    fitted: states. names: the residue of each atom, or None where the object is not in the scene. dt: ns from state to
    state, where it is known.
    """
    rows: list[StateMeasures] = []
    # Sums over the other and over the fitted states, f8[2,2,A]: Å², and Å² times Å per state.
    sums: NDArray[np.float64] | None = None
    for result in results:
        sent = {key: getattr(result, key) for key in SENT}
        rows.append(StateMeasures(result.time, fitted=result.time in fitted, **sent))
        area = result.atom_area.astype(np.float64)
        sums = np.zeros((2, 2, len(area))) if sums is None else sums
        sums[int(rows[-1].fitted)] += area, area * result.atom_speed
    rows.sort(key=lambda row: row.state)
    residues: list[Residue] = []
    if names is not None and sums is not None and sums.shape[2] == len(names):
        counted = counted_states([row.state for row in rows], fitted)
        area, moved_area = sums.sum(0) if len(counted) == len(rows) else sums[1]
        residues = _residues(names, area, moved_area, len(counted))
    return Measurement(rows, residues, dt)


def _residues(
    names: Sequence[ResidueName], areas: NDArray[np.float64], moved_areas: NDArray[np.float64], count: int
) -> list[Residue]:
    """Sum over the atoms of each residue, in the order of its first atom. count: of times in the sums."""
    numbers: dict[ResidueName, int] = {}
    residue_of_atom = np.array([numbers.setdefault(name, len(numbers)) for name in names])
    area, moved_area = (np.bincount(residue_of_atom, sums).tolist() for sums in (areas, moved_areas))
    without_segment = Counter((chain, resn, resi) for chain, _, resn, resi in numbers)
    ambiguous = {chain for (chain, _, _), segments in without_segment.items() if segments > 1}
    return [
        Residue(
            chain,
            resn,
            resi,
            area[number] / count,
            moved_area[number] / area[number] if area[number] else 0.0,
            segi if chain in ambiguous else None,
        )
        for (chain, segi, resn, resi), number in numbers.items()
    ]


def summary(measured: Measurement, fitted_range: tuple[float, float], top: int) -> list[str]:
    """Write the main results as lines of text, with the `top` most moving residues."""
    counted = measured.counted
    lines = [
        _summary_line(counted, fitted_range, name, unit, digits)
        for name, unit, digits in SUMMARY
        if getattr(counted[0], name) is not None
    ]
    if len(counted) < len(measured.rows):
        lines.append(_uncounted_line(measured, len(counted)))
    fastest = measured.ranked()[:top]
    if fastest:
        lines.append(f" {'most moving':<16} {'A/state':>9} {'A^2':>7}   residues, by the mean speed of their surface")
        lines += [f"   {residue!s:<14} {residue.speed:>9.3f} {residue.area:>7.1f}" for residue in fastest]
    outside = [row for row in measured.rows if row.extrapolated]
    if outside:
        errors = [row.expected_error for row in outside if row.expected_error]
        lines.append(
            f"{WARNING}{len(outside)} of {len(measured.rows)} states are extrapolated (fitted: {fitted_range[0]:g} to "
            f"{fitted_range[1]:g})" + (f", expected error up to {max(errors):.2f} A" if errors else "")
        )
    return lines


def _uncounted_line(measured: Measurement, counted: int) -> str:
    """Say which states the figures leave out, and how much these differ."""
    averaged = [row for row in measured.rows if not row.fitted]
    volume, area = (float(np.mean([getattr(row, name) for row in averaged])) for name in ("volume", "area"))
    return (
        f" these are of the {counted} fitted states; surfaces at {text.counted(len(averaged), 'other state')} are "
        f"averages or predicted, with less detail: volume {volume:.0f} A^3, area {area:.0f} A^2"
    )


def _summary_line(
    rows: Sequence[StateMeasures], fitted_range: tuple[float, float], name: str, unit: str, digits: int
) -> str:
    if name == "speed":
        rows = [rows[index] for index in inner_states([row.state for row in rows], fitted_range)]
    values = np.array([getattr(row, name) for row in rows], float)
    line = f" {name.replace('_', ' '):<16} {values.mean():>9.{digits}f}"
    if len(rows) == 1:
        return f"{line} {unit}"
    low, high = rows[int(values.argmin())], rows[int(values.argmax())]
    return (
        f"{line} ± {values.std():<7.{digits}f} {unit:<8} from {values.min():.{digits}f} (state {low.state:g}) "
        f"to {values.max():.{digits}f} (state {high.state:g})"
    )


def write_measures(path: str, measured: Measurement) -> list[str]:
    """Write a .csv with one line for each time, and beside it one for each residue.

    Returns the files written. Raises OSError.
    """
    written = []
    residue_path = f"{os.path.splitext(path)[0]}_residues.csv"
    for target, kind, rows in ((path, StateMeasures, measured.rows), (residue_path, Residue, measured.residues)):
        if not rows:
            continue
        header, table = [field.name for field in fields(kind)], [astuple(row) for row in rows]
        if kind is Residue and all(residue.segi is None for residue in measured.residues):
            # Most molecules have one segment a chain, and need no column for it.
            header, table = header[:-1], [row[:-1] for row in table]
        if kind is StateMeasures and measured.dt is not None:
            header.append("time_ns")
            table = [(*row, measured.time_of(row[0])) for row in table]
        atomic_write.replace(target, csv_bytes(header, table))
        written.append(target)
    return written


def write_measure_plot(
    path: str, measured: Measurement, fitted_range: tuple[float, float], top: int, title: str
) -> bool:
    """Draw all quantities over time, and the speed by residue, as a .png.

    Returns False where matplotlib is not installed.
    """
    shaded = measured.time_of(fitted_range[0]), measured.time_of(fitted_range[1])
    extrapolated = any(row.extrapolated for row in measured.rows)
    chart = None
    if measured.residues:
        fastest = set(measured.ranked()[:top])
        chart = plots.speed_chart(
            [residue.resi for residue in measured.residues],
            {n: residue.speed for n, residue in enumerate(measured.residues) if residue.area >= LEAST_AREA},
            [n for n, residue in enumerate(measured.residues) if residue in fastest],
            one_chain=len({(residue.chain, residue.segi) for residue in measured.residues}) == 1,
        )
    try:
        picture = plots.render(
            list(measured.panels().values()),
            fitted_range=shaded if extrapolated else None,
            title=title,
            chart=chart,
            axis=measured.axis,
        )
    except ImportError:
        return False
    atomic_write.replace(path, picture)
    return True
