"""summary.csv: the result of each task."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pymol_dsr.shared import atomic_write

from .manifest import BatchTask

SUMMARY = "summary.csv"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""Texts with which spreadsheets begin formulas, and the quotation mark that is put before one."""


@dataclass(frozen=True)
class TaskResult(BatchTask):
    """A row of the table: a task and its result; IoU and NC are means over states, empty where there are none.

    surfaces_seconds, seconds, score_seconds: for PyMOL's surfaces, the fit and the scores; cpu_seconds: of processors,
    for all of it; fitted, scored, atoms: how many; area: mean of the surfaces', Å²; mb: of the .dsr; threads and
    device: of the fit; warnings: what the surfaces' making said of the input, in a line; failed: why, in a line.
    """

    fitted: int | str = ""
    scored: int | str = ""
    atoms: int | str = ""
    area: float | str = ""
    surfaces_seconds: float | str = ""
    seconds: float | str = ""
    score_seconds: float | str = ""
    cpu_seconds: float | str = ""
    iou_fitted: float | str = ""
    nc_fitted: float | str = ""
    iou_held_out: float | str = ""
    nc_held_out: float | str = ""
    mb: float | str = ""
    threads: int | str = ""
    device: str = ""
    warnings: str = ""
    failed: str = ""

    def belongs_to(self, task: BatchTask) -> bool:
        """Whether it is the finished result of exactly this task."""
        return not self.failed and all(
            str(getattr(self, field.name)) == str(getattr(task, field.name)) for field in fields(BatchTask)
        )


def read_summary(path: Path) -> dict[str, TaskResult]:
    """Read the rows of an earlier run, by name; a table of another version has none."""
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as stream:
        table = csv.DictReader(stream)
        if set(table.fieldnames or []) != {field.name for field in fields(TaskResult)}:
            return {}
        return {
            row["name"]: TaskResult(**row)
            for cells in table
            if None not in cells and None not in cells.values()
            for row in [{key: _unquoted(cell) for key, cell in cells.items()}]
        }


def write_summary(path: Path, rows: Mapping[str, TaskResult], tasks: Sequence[BatchTask]) -> None:
    """Write the results as a CSV table, in the order of the tasks."""
    text = io.StringIO(newline="")
    out = csv.DictWriter(text, [field.name for field in fields(TaskResult)])
    out.writeheader()
    for task in tasks:
        if task.name in rows:
            out.writerow({key: _quoted(cell) for key, cell in asdict(rows[task.name]).items()})
    atomic_write.write(path, text.getvalue().encode())


def _quoted(cell: object) -> str:
    """Return the cell with ' before a text that a spreadsheet would run as a formula."""
    text = str(cell)
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _unquoted(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
