"""Values of atoms over time from a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .objects import SceneError

COLUMNS = ("state", "index", "value")
LONGEST_CELL, LONGEST_HEAD = 40, 80

# States that rise, and the value at each, of one atom.
TimeSeries = tuple[list[float], list[float]]


def read_values(path: str) -> dict[int, TimeSeries]:
    """Read a CSV file with the columns state, index and value; returns the values of each atom by index from 1.

    Raises SceneError with the wrong line, OSError.
    """
    values: dict[int, dict[float, float]] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            for line, (state, index, value) in _rows(path, csv.reader(stream)):
                if not index.is_integer() or index < 1:
                    raise SceneError(f"{line}: index {index:g} is no atom; PyMOL's index counts from 1")
                series = values.setdefault(int(index), {})
                if state in series:
                    raise SceneError(f"{line}: index {index:g} has a value for state {state:g} already")
                series[state] = value
    except (UnicodeDecodeError, csv.Error) as error:
        raise SceneError(f"{path} is no table in plain text (UTF-8): {error}") from error
    if not values:
        raise SceneError(f"{path}: it holds no values")
    return {index: (sorted(series), [series[state] for state in sorted(series)]) for index, series in values.items()}


def _rows(path: str, rows: Any) -> Iterator[tuple[str, list[float]]]:
    """Yield the place of each row, for messages, and its three numbers."""
    names = [word.strip().lower() for word in next(rows, [])]
    if any(column not in names for column in COLUMNS):
        head = ",".join(names)[:LONGEST_HEAD]
        raise SceneError(f"{path}, line 1: it reads '{head}'; write the columns state,index,value")
    places = [names.index(column) for column in COLUMNS]
    for row in rows:
        if not row:
            continue
        line = f"{path}, line {rows.line_num}"
        if len(row) <= max(places):
            raise SceneError(f"{line}: {len(row)} columns, where the first line has {len(names)}")
        yield line, [_number(line, column, row[index]) for column, index in zip(COLUMNS, places, strict=True)]


def _number(line: str, column: str, cell: str) -> float:
    label = f"{line}: {column} '{cell[:LONGEST_CELL]}'"
    try:
        number = float(cell)
    except ValueError as error:
        raise SceneError(f"{label} is not a number") from error
    if not np.isfinite(number):
        raise SceneError(f"{label} is not finite")
    return number


def values_over_time(
    values: Mapping[int, TimeSeries], atoms: NDArray[np.int32], times: Sequence[float]
) -> NDArray[np.float32]:
    """Interpolate the values of atoms i4[A] (from 0) at times: straight lines between the states, held outside.

    Returns f4[T,A], NaN for an atom without values.
    """
    table = np.full((len(times), len(atoms)), np.nan, np.float32)
    for column, atom in enumerate(atoms):
        if int(atom) + 1 in values:
            table[:, column] = np.interp(times, *values[int(atom) + 1])
    return table
