"""Trajectories that MDAnalysis (optional) reads state by state, so that they are never held in memory.

PyMOL loads a trajectory whole: 10 000 states of 50 000 atoms are 6 GB before the first surface is computed. Here PyMOL
holds the topology and the first state; selections, settings and the order of the atoms come from it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol import CmdException

from ..shared import molecule_files, states
from . import extract
from .coordinates import check_finite, jump_warnings
from .object_session import read_object_session
from .source import Coordinates, ExtractError, SelectedAtoms, Source
from .surface_atoms import surface_atoms

SUFFIXES = (".xtc", ".trr", ".dcd")
# Å; PyMOL and MDAnalysis read the same file, whose coarsest format holds no more digits than this.
SAME_POSITION = 1e-2
# Å in a nanometre.
NANOMETRE = 10.0


def can_stream(path: str) -> bool:
    """Say whether the trajectory has a format that is read state by state and MDAnalysis is installed."""
    return path.lower().endswith(SUFFIXES) and importlib.util.find_spec("MDAnalysis") is not None


def load(topology: str, trajectory: str, name: str, _self: Any, *, whole: bool = False) -> None:
    """Load the topology with the first state of the trajectory, or with all of them, as the object `name`.

    Raises ExtractError where they don't belong together, and ValueError for endings that PyMOL does not read as
    molecules.
    """
    molecule_files.check_paths([topology, trajectory])
    _self.load(topology, name)
    wanted = {} if whole else {"start": 1, "stop": 1}
    try:
        _self.load_traj(trajectory, name, state=1, **wanted)
        reason = "" if _self.count_states(name) else "it has no states"
    except CmdException as error:
        reason = " ".join(str(error).split()).removeprefix("Error: ")
    if reason:
        expected, count = _self.count_atoms(f"%{name}"), count_atoms(trajectory)
        if count is None or count == expected:
            raise ExtractError(f"{trajectory}: PyMOL can't load it on {topology} ({expected} atoms): {reason}")
        raise ExtractError(_mismatch(trajectory, count, topology, expected))


def count_atoms(trajectory: str) -> int | None:
    """Count the atoms of a trajectory; None where its format is not one of SUFFIXES or can't be read."""
    path = trajectory.lower()
    if path.endswith(".xtc"):
        # The second of the header's big-endian integers; MDAnalysis may not be there.
        with open(trajectory, "rb") as file:
            header = file.read(8)
        return int.from_bytes(header[4:], "big") if len(header) == 8 else None
    if not can_stream(trajectory):
        return None
    try:
        return len(TrajectoryFile(trajectory).read(1))
    except ExtractError:
        return None


def _mismatch(trajectory: str, count: int, topology: str, expected: int) -> str:
    return (
        f"{trajectory} has {count} atoms, {topology} has {expected}: give the structure or topology of the same atoms, "
        "or write a trajectory of these atoms only"
    )


def read_source(selection: str, states_text: str, trajectory: str, *, _self: Any) -> Source:
    """Read an object from `load` as extract.read_source does, with the trajectory's states.

    State 1 is the first one of the file. Raises ExtractError where MDAnalysis and PyMOL don't read the same atoms,
    and StatesError.
    """
    first = extract.read_source(selection, "1", _self=_self)
    file = TrajectoryFile(trajectory)
    owner = f"the trajectory {trajectory}"
    wanted = [int(state) for state in sorted(states.parse(states_text, last=len(file), owner=owner))]
    session = read_object_session(first.object, _self)
    positions = session.positions(1, first.atoms)
    assert positions is not None, "extract.read_source has read this state"
    by_pymol, places = positions
    by_mdanalysis = file.read(1)
    if len(by_mdanalysis) != len(by_pymol):
        raise ExtractError(_mismatch(trajectory, len(by_mdanalysis), "the topology", len(by_pymol)))
    deviation = float(np.abs(by_mdanalysis - by_pymol).max())
    if not deviation <= SAME_POSITION:
        raise ExtractError(
            f"{trajectory}: PyMOL and MDAnalysis read atoms {deviation:.3g} A apart in its first state; load it in "
            "PyMOL and use dsr_surfaces there"
        )
    atoms, warnings = surface_atoms(selection, session, [1], object=first.object, _self=_self)
    coordinates = StreamedCoordinates(file, wanted, places, atoms, _self.get_symmetry(first.object), warnings)
    return replace(first, states=wanted, last=len(file), coordinates=coordinates, warnings=warnings)


class TrajectoryFile:
    """States of a trajectory in Å, in the order of the file's atoms.

    The readers are those beneath MDAnalysis's own, which would write an index beside the user's file.
    """

    def __init__(self, path: str) -> None:
        # Optional, and a second to import.
        from MDAnalysis.lib.formats.libdcd import DCDFile
        from MDAnalysis.lib.formats.libmdaxdr import TRRFile, XTCFile

        suffix = os.path.splitext(path)[1].lower()
        self._path, self._next_state = path, 1
        try:
            self._file = {".xtc": XTCFile, ".trr": TRRFile, ".dcd": DCDFile}[suffix](path)
            self._count = len(self._file)
        except OSError as error:
            raise ExtractError(f"{path} can't be read as {suffix}: {error}") from error
        self._is_dcd = suffix == ".dcd"

    def __len__(self) -> int:
        return self._count

    def read(self, state: int) -> Coordinates:
        """Read all atoms f4[N,3] of a state from 1. Raises ExtractError."""
        try:
            if state != self._next_state:
                self._file.seek(state - 1)
            frame = self._file.read()
        except (OSError, StopIteration) as error:
            raise ExtractError(f"{self._path}: state {state} can't be read: {error}") from error
        self._next_state = state + 1
        return np.asarray(frame.xyz if self._is_dcd else NANOMETRE * frame.x, np.float32)


class StreamedCoordinates(Mapping[int, Coordinates]):
    """The selected atoms f4[A,3] by state; each state is read on demand."""

    def __init__(
        self,
        file: TrajectoryFile,
        wanted: list[int],
        places: NDArray[np.int64],
        atoms: SelectedAtoms,
        symmetry: Any,
        warnings: list[str],
    ) -> None:
        """places: i8[A], of the atoms in the file. warnings: gets the first jump across the box."""
        self._file, self._wanted, self._places = file, wanted, places
        self._atoms, self._symmetry, self._warnings = atoms, symmetry, warnings
        self._previous: tuple[int, Coordinates] | None = None
        self._jump_named = False

    def __len__(self) -> int:
        return len(self._wanted)

    def __iter__(self) -> Iterator[int]:
        return iter(self._wanted)

    def __getitem__(self, state: int) -> Coordinates:
        xyz = self._file.read(state)[self._places]
        check_finite(xyz, state, self._atoms)
        if self._previous is not None and self._previous[0] < state and not self._jump_named:
            before, previous_xyz = self._previous
            pair = {before: previous_xyz, state: xyz}
            lines = jump_warnings([before, state], pair, self._atoms, self._symmetry)
            self._warnings += lines
            self._jump_named = bool(lines)
        self._previous = state, xyz
        return xyz
