"""The manifest: one trajectory per row."""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from pathlib import Path

from pymol_dsr.shared import molecule_files, states
from pymol_dsr.shared.names import is_name, rule_against
from pymol_dsr.shared.options import FitOptions
from pymol_dsr.shared.surfaces_format import is_surfaces_path


@dataclass(frozen=True)
class BatchTask:
    """A row of the manifest: a trajectory to fit, and the name of the fit.

    input: a surfaces file, or a topology; trajectory, selection: with a topology; states: to fit; preset; evaluate:
    states held out, to score.
    """

    name: str
    input: str
    trajectory: str = ""
    selection: str = ""
    states: str = "all"
    preset: str = FitOptions.preset
    evaluate: str = ""


def read_manifest(path: Path) -> list[BatchTask]:
    """Read the tasks of a .csv file with the columns of BatchTask; its paths are relative to its folder.

    Raises ValueError, naming the line, for what can't be fitted as written.
    """
    with open(path, newline="", encoding="utf-8-sig") as stream:
        table = csv.DictReader(stream)
        known = [field.name for field in fields(BatchTask)]
        columns = table.fieldnames or []
        if not {"name", "input"} <= set(columns) or not set(columns) <= set(known):
            raise ValueError(
                f"{path}: its first line must name columns of {', '.join(known)}; it is {','.join(columns)}"
            )
        jobs: dict[str, BatchTask] = {}
        for line, cells in enumerate(table, 2):
            where = f"{path}, line {line}"
            if None in cells or None in cells.values():
                raise ValueError(f"{where}: it has not {len(columns)} cells, as the first line")
            given = {key: cell.strip() for key, cell in cells.items() if cell.strip()}
            try:
                job = check_task(given, path.parent)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            # Files of both are one file where a disk does not tell cases apart.
            before = jobs.setdefault(job.name.casefold(), job)
            if before.name != job.name:
                raise ValueError(f"{where}: {job.name} differs from {before.name} before it in case only")
            if before is not job:
                raise ValueError(f"{where}: there is a {job.name} before it")
    if not jobs:
        raise ValueError(f"{path}: there are no trajectories in it")
    return list(jobs.values())


def check_task(given: dict[str, str], folder: Path) -> BatchTask:
    """Return the task of one row, its files relative to `folder`. Raises ValueError for one that cannot be fitted."""
    name = given.get("name", "")
    if not is_name(name):
        raise ValueError(f"a fit can't be named {name!r}: {rule_against(name)}")
    if "input" not in given:
        raise ValueError(f"{name} has no input")
    for key in ("input", "trajectory"):
        if key in given:
            path = folder / Path(given[key]).expanduser()
            if not path.is_file():
                raise ValueError(f"{given[key]}: there is no such file")
            given[key] = str(path.absolute())
    job = BatchTask(**given)
    if is_surfaces_path(job.input) and (job.trajectory or job.selection):
        raise ValueError(f"{job.input} is a surfaces file: a trajectory or selection goes with a topology only")
    if not is_surfaces_path(job.input):
        molecule_files.check_structure(job.input)
    if job.trajectory:
        molecule_files.check_trajectory(job.trajectory)
    FitOptions(preset=job.preset)
    if job.states.lower() != "all":
        states.parse(job.states)
    elif job.evaluate:
        raise ValueError("states to evaluate are held out: name the states to fit, too")
    if job.evaluate and (both := set(states.parse(job.states)) & set(states.parse(job.evaluate))):
        raise ValueError(f"states {states.format(sorted(both))} are to be fitted and held out")
    return job
