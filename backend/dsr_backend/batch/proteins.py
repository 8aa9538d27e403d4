"""The list of proteins to learn from: one protein per row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pymol_dsr.shared import molecule_files, states
from pymol_dsr.shared.names import is_name, rule_against

from .manifest import Row, absolute_paths, read_rows

MDCATH = ".h5"


@dataclass(frozen=True)
class ProteinTask(Row):
    """A row of the list: the name of a protein, and the files of its states.

    input: a file in mdCATH's layout (.h5), or a topology; trajectory: with a topology, where it has not the states
    itself; states: to learn from.
    """

    trajectory: str = ""
    states: str = "all"

    @property
    def is_mdcath(self) -> bool:
        """Whether its file is in mdCATH's layout, with forces."""
        return self.input.lower().endswith(MDCATH)


def read_proteins(path: Path) -> list[ProteinTask]:
    """Read the proteins of a .csv file with the columns of ProteinTask; its paths are relative to its folder.

    Raises ValueError, naming the line.
    """
    return read_rows(path, ProteinTask, lambda cells: check_protein(cells, path.parent), "proteins")


def check_protein(cells: dict[str, str], folder: Path) -> ProteinTask:
    """Return the protein of one row, its files relative to `folder`. Raises ValueError."""
    name = cells.get("name", "")
    if not is_name(name):
        raise ValueError(f"a protein can't be named {name!r}: {rule_against(name)}")
    absolute_paths(cells, folder)
    task = ProteinTask(**cells)
    if task.is_mdcath and (task.trajectory or task.states != "all"):
        raise ValueError(f"{task.input}: a trajectory or states go with a topology only")
    if not task.is_mdcath:
        molecule_files.check_structure(task.input)
    if task.trajectory:
        molecule_files.check_trajectory(task.trajectory)
    if task.states.lower() != "all":
        states.parse(task.states)
    return task
