"""The manifest: one trajectory per row."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from pymol_dsr.shared import molecule_files, states
from pymol_dsr.shared.names import is_name, rule_against
from pymol_dsr.shared.options import FitOptions, StartOptions
from pymol_dsr.shared.surfaces_format import is_surfaces_path


@dataclass(frozen=True)
class Row:
    """A row of a list: its name, and its first file."""

    name: str
    input: str


ATask = TypeVar("ATask", bound=Row)


@dataclass(frozen=True)
class BatchTask(Row):
    """A row of the manifest: a trajectory to fit, and the name of the fit.

    input: a surfaces file, or a topology; trajectory, selection: with a topology; states: to fit; preset; evaluate:
    states held out, to score; unwrap: 1 to make molecules of a topology whole that the periodic box cuts.
    """

    trajectory: str = ""
    selection: str = ""
    states: str = "all"
    preset: str = FitOptions.preset
    evaluate: str = ""
    unwrap: int | str = int(StartOptions.unwrap)


def read_manifest(path: Path) -> list[BatchTask]:
    """Read the tasks of a .csv file with the columns of BatchTask; its paths are relative to its folder.

    Raises ValueError, naming the line, for what can't be fitted as written.
    """
    return read_rows(path, BatchTask, lambda cells: check_task(cells, path.parent), "trajectories")


def read_rows(path: Path, kind: type[ATask], check: Callable[[dict[str, str]], ATask], noun: str) -> list[ATask]:
    """Read the rows of a .csv file whose columns are the fields of a dataclass; `name` and `input` must be there.

    check: makes a row of its filled cells, or raises ValueError. noun: what the rows are, for messages. Raises
    ValueError, naming the line.
    """
    with open(path, newline="", encoding="utf-8-sig") as stream:
        table = csv.DictReader(stream)
        allowed = [field.name for field in fields(kind)]
        columns = table.fieldnames or []
        if not {"name", "input"} <= set(columns) or not set(columns) <= set(allowed):
            raise ValueError(
                f"{path}: its first line must name columns of {', '.join(allowed)}; it is {','.join(columns)}"
            )
        tasks: dict[str, ATask] = {}
        for line, cells in enumerate(table, 2):
            location = f"{path}, line {line}"
            if None in cells or None in cells.values():
                raise ValueError(f"{location}: it has not {len(columns)} cells, as the first line")
            filled = {key: cell.strip() for key, cell in cells.items() if cell.strip()}
            try:
                task = check(filled)
            except ValueError as error:
                raise ValueError(f"{location}: {error}") from error
            # Files of both are one file where a disk does not tell cases apart.
            before = tasks.setdefault(task.name.casefold(), task)
            if before.name != task.name:
                raise ValueError(f"{location}: {task.name} differs from {before.name} before it in case only")
            if before is not task:
                raise ValueError(f"{location}: there is a {task.name} before it")
    if not tasks:
        raise ValueError(f"{path}: there are no {noun} in it")
    return list(tasks.values())


def absolute_paths(cells: dict[str, str], folder: Path) -> None:
    """Make `input` and `trajectory` absolute, relative to `folder`. Raises ValueError for files that are not there."""
    if "input" not in cells:
        raise ValueError(f"{cells.get('name', '')} has no input")
    for key in ("input", "trajectory"):
        if key in cells:
            path = folder / Path(cells[key]).expanduser()
            if not path.is_file():
                raise ValueError(f"{cells[key]}: there is no such file")
            cells[key] = str(path.absolute())


def check_task(cells: dict[str, str], folder: Path) -> BatchTask:
    """Return the task of one row, its files relative to `folder`. Raises ValueError for one that cannot be fitted."""
    name = cells.get("name", "")
    if not is_name(name):
        raise ValueError(f"a fit can't be named {name!r}: {rule_against(name)}")
    absolute_paths(cells, folder)
    unwrap = StartOptions.parse(unwrap=cells.pop("unwrap", StartOptions.unwrap)).unwrap
    task = BatchTask(**cells, unwrap=int(unwrap))
    if is_surfaces_path(task.input) and (task.trajectory or task.selection or unwrap):
        raise ValueError(
            f"{task.input} is a surfaces file: a trajectory, selection or unwrap goes with a topology only"
        )
    if not is_surfaces_path(task.input):
        molecule_files.check_structure(task.input)
    if task.trajectory:
        molecule_files.check_trajectory(task.trajectory)
    FitOptions(preset=task.preset)
    if task.states.lower() != "all":
        states.parse(task.states)
    elif task.evaluate:
        raise ValueError("states to evaluate are held out: name the states to fit, too")
    if task.evaluate and (overlap := set(states.parse(task.states)) & set(states.parse(task.evaluate))):
        raise ValueError(f"states {states.format(sorted(overlap))} are to be fitted and held out")
    return task
