"""Trajectories that MDAnalysis (optional) reads state by state, so that they are never held in memory.

PyMOL loads a trajectory whole: 10 000 states of 50 000 atoms are 6 GB before the first surface is computed. Here PyMOL
holds the topology and the first state; selections, settings and the order of the atoms come from it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol import CmdException

from ..shared import molecule_files, states
from ..shared.scratch import ScratchFolder
from ..shared.surfaces_format import suffix_of
from . import extract, trajectory_file
from .coordinates import check_finite, check_positions, copy_line, jump_warnings
from .object_session import read_object_session
from .periodic import (
    Cell,
    Molecules,
    Unwrapper,
    break_line,
    find_break,
    half_edge_of,
    molecule_positions,
    no_cell,
    read_cell,
    read_molecules,
    unwrap_remedy,
)
from .remedies import IN_PYMOL, Remedies
from .source import Coordinates, ExtractError, Source
from .surface_atoms import surface_atoms
from .trajectory_file import TrajectoryFile

# Å; PyMOL and MDAnalysis read the same file, whose coarsest format holds no more digits than this.
SAME_POSITION = 1e-2
# Å; no molecule is there.
UNREAD = -131072.0


def load(topology: str, trajectory: str, name: str, _self: Any, *, whole: bool = False) -> None:
    """Load the topology with the first state of the trajectory, or with all of them, as the object `name`.

    whole: PyMOL must have a reader of the trajectory. Raises ExtractError where they don't belong together or nothing
    reads the trajectory, and ValueError for endings that are not those of molecules.
    """
    molecule_files.check_paths([topology, trajectory])
    _load_molecule(topology, name, _self)
    expected = _self.count_atoms(f"%{name}")
    reason = _load_by_pymol(trajectory, name, whole, expected, _self)
    if not reason:
        return
    count = trajectory_file.count_atoms(trajectory) or _count_atoms(trajectory, _self)
    if count is not None and count != expected:
        raise ExtractError(_mismatch(trajectory, count, topology, expected))
    if whole or not trajectory_file.can_stream(trajectory):
        raise ExtractError(f"{trajectory}: PyMOL can't load it on {topology} ({expected} atoms): {reason}")
    _load_first_state(trajectory, name, expected, _self)


def load_structure(path: str, name: str, _self: Any) -> None:
    """Load a structure with all its states as the object `name`. Raises ExtractError where PyMOL doesn't read it."""
    _load_molecule(path, name, _self)
    if suffix_of(path) == ".gro":
        frames, count = len(TrajectoryFile(path)), _self.count_states(f"%{name}")
        if count != frames:
            raise ExtractError(
                f"{path} has {frames} frames, of which PyMOL reads {count}; end its last line with a line break"
            )


def _load_molecule(path: str, name: str, _self: Any) -> None:
    """Load a structure or topology. Raises ExtractError where PyMOL reads no atoms, which it does without a word."""
    reason = "PyMOL reads no atoms in it"
    try:
        _self.load(path, name)
    except CmdException as error:
        reason = f"PyMOL can't load it ({' '.join(str(error).split()).removeprefix('Error: ')})"
    if name not in _self.get_names("objects") or not _self.count_atoms(f"%{name}"):
        raise ExtractError(f"{path}: {reason}; see that it is whole, or {molecule_files.CONVERT_STRUCTURE}")


def _load_by_pymol(trajectory: str, name: str, all_states: bool, atom_count: int, _self: Any) -> str:
    """Let PyMOL load the first state or all; the reason why it does not, or nothing."""
    if not molecule_files.is_read_by_pymol(trajectory):
        package = trajectory_file.missing_package(trajectory)
        if package:
            return f"its reader needs {package}: {molecule_files.INSTALL_READERS}, or convert it to .xtc"
        return "PyMOL has no reader of it"
    if trajectory_file.is_amber_text(trajectory):
        try:
            if trajectory_file.has_box_lines(trajectory, atom_count) and all_states:
                return f"PyMOL takes its box for atoms: {molecule_files.INSTALL_READERS}, or convert it to .xtc"
        except ValueError as error:
            return f"{error}: give the structure or topology of the same atoms"
    if _self.count_states(f"%{name}"):
        # PyMOL takes some files without a word and reads nothing.
        _self.alter_state(1, f"%{name} and index 1", "x = UNREAD", space={"UNREAD": UNREAD})
    try:
        _self.load_traj(trajectory, name, state=1, **({} if all_states else {"start": 1, "stop": 1}))
    except CmdException as error:
        return f"{' '.join(str(error).split()).removeprefix('Error: ')}; {trajectory_file.REMEDY}"
    if not _self.count_states(f"%{name}"):
        return f"it has no states; {trajectory_file.REMEDY}"
    first: list[float] = []
    _self.iterate_state(1, f"%{name} and index 1", "first.append(x)", space={"first": first})
    if first == [UNREAD] or not first:
        return f"PyMOL reads nothing of it; {trajectory_file.REMEDY}"
    return ""


def _count_atoms(trajectory: str, _self: Any) -> int | None:
    """Count the atoms of a trajectory that is a structure as well; None for any other."""
    if suffix_of(trajectory) not in (".pdb", ".pqr", ".xyz"):
        return None
    name = _self.get_unused_name("trajectory")
    try:
        _self.load(trajectory, name)
        return int(_self.count_atoms(f"%{name}"))
    except CmdException:
        return None
    finally:
        _self.delete(name)


def _load_first_state(trajectory: str, name: str, atom_count: int, _self: Any) -> None:
    """Put the first state of a trajectory that PyMOL can't read into the object. Raises ExtractError."""
    # Optional, and a second to import.
    from MDAnalysis.lib.formats.libdcd import DCDFile

    xyz = TrajectoryFile(trajectory, atom_count).read(1)
    with ScratchFolder() as folder:
        path = os.path.join(folder, "first.dcd")
        with DCDFile(path, "w") as file:
            file.write_header("", len(xyz), 0, 1, 1.0, 0)
            file.write(xyz, np.zeros(6))
        _self.load_traj(path, name, state=1)


def _mismatch(trajectory: str, count: int, topology: str, expected: int) -> str:
    return (
        f"{trajectory} has {count} atoms, {topology} has {expected}: give the structure or topology of the same atoms, "
        "or write a trajectory of these atoms only"
    )


def read_source(
    selection: str,
    states_text: str,
    trajectory: str,
    *,
    unwrap: bool = False,
    remedies: Remedies = IN_PYMOL,
    _self: Any,
) -> Source:
    """Read an object from `load` as extract.read_source does, with the trajectory's states.

    State 1 is the first one of the file. Raises ExtractError where MDAnalysis and PyMOL don't read the same atoms,
    and StatesError.
    """
    first = extract.read_source(selection, "1", remedies=remedies, _self=_self)
    file = TrajectoryFile(trajectory, _self.count_atoms(f"%{first.object}"))
    owner = f"the trajectory {trajectory}"
    state_numbers = [int(state) for state in sorted(states.parse(states_text, last=len(file), owner=owner))]
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
            f"{trajectory}: PyMOL and MDAnalysis read atoms {deviation:.3g} A apart in its first state; convert "
            "it to .xtc"
        )
    atoms, warnings = surface_atoms(selection, session, [1], object=first.object, remedies=remedies, _self=_self)
    molecules = read_molecules(selection, atoms, 1, _self)
    molecules, _ = molecule_positions(session, molecules, [1])
    of_molecules = session.positions(1, molecules.atoms.indices)
    assert of_molecules is not None, "extract.read_source has read this state"
    places = of_molecules[1]
    cell = read_cell(first.object, 1, _self)
    coordinates = StreamedCoordinates(
        file, state_numbers, molecules, places, cell, warnings, unwrap=unwrap, remedies=remedies
    )
    return replace(
        first, states=state_numbers, last=len(file), coordinates=coordinates, unwrap=unwrap, warnings=warnings
    )


class StreamedCoordinates(Mapping[int, Coordinates]):
    """The selected atoms f4[A,3] by state; each state is read on demand."""

    def __init__(
        self,
        file: TrajectoryFile,
        wanted: list[int],
        molecules: Molecules,
        places: NDArray[np.int64],
        cell: Cell | None,
        warnings: list[str],
        *,
        unwrap: bool,
        remedies: Remedies,
    ) -> None:
        """places: i8[N], of the molecules' atoms in the file. cell: for states without one. warnings: gets the first
        state that the box cuts, or the first jump across it, and with the last state the copies of others. unwrap: make
        the molecules whole instead. Raises ExtractError where the first state can't be unwrapped.
        """
        self._file, self._wanted, self._places = file, wanted, places
        self._molecules, self._atoms, self._cell = molecules, molecules.selected(), cell
        self._owners = molecules.owners()
        self._warnings, self._remedies = warnings, remedies
        self._unwrapper = Unwrapper(molecules) if unwrap else None
        self._previous: tuple[int, Coordinates] | None = None
        self._box_named, self._copies_named = unwrap, False
        self._digests: dict[bytes, int] = {}
        self._copies: dict[int, int] = {}
        if unwrap:
            # Where the molecules are does not depend on the states that are wanted.
            self._read(1)

    def __len__(self) -> int:
        return len(self._wanted)

    def __iter__(self) -> Iterator[int]:
        return iter(self._wanted)

    def __getitem__(self, state: int) -> Coordinates:
        xyz = self._read(state)
        if self._previous is not None and self._previous[0] < state and not self._box_named:
            before, previous_xyz = self._previous
            pair = {before: previous_xyz, state: xyz}
            half_edge = half_edge_of(self._cell)
            remedy = self._remedy(self._cell)
            self._warn(
                jump_warnings([before, state], pair, self._atoms, self._owners, half_edge=half_edge, remedy=remedy)
            )
        self._previous = state, xyz
        first = self._digests.setdefault(hashlib.blake2b(xyz.tobytes(), digest_size=16).digest(), state)
        if first != state:
            self._copies[state] = first
        # The remedy names all states that are no copies, which are known with the last one.
        if self._copies and state == self._wanted[-1] and not self._copies_named:
            self._warnings.append(copy_line(self._wanted, self._copies, self._remedies))
            self._copies_named = True
        return xyz

    def _read(self, state: int) -> Coordinates:
        """Read the selected atoms of a state, made whole where that is wanted."""
        positions = self._file.read(state)[self._places]
        check_finite(positions[self._molecules.chosen], state, self._atoms)
        of_state = self._file.cell()
        self._cell = self._cell if of_state is None else of_state
        if self._unwrapper is not None:
            if self._cell is None:
                raise no_cell(self._atoms.object, state, self._remedies)
            positions = self._unwrapper(positions, self._cell)
        elif not self._box_named:
            broken = find_break(self._molecules, state, positions, self._cell)
            in_box, remedy = self._cell is not None, self._remedy(self._cell)
            self._warn([] if broken is None else [break_line(self._molecules, [broken], in_box=in_box, remedy=remedy)])
        chosen = positions[self._molecules.chosen]
        check_positions(chosen, state, self._atoms)
        return chosen

    def _remedy(self, cell: Cell | None) -> str:
        return unwrap_remedy(self._atoms.object, cell, first_is_whole=False, remedies=self._remedies)

    def _warn(self, lines: list[str]) -> None:
        self._warnings += lines
        self._box_named = self._box_named or bool(lines)
