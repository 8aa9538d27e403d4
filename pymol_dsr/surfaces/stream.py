"""Trajectories that are read state by state, by MDAnalysis (optional), and never held in memory.

PyMOL loads a trajectory whole: 10 000 states of 50 000 atoms are 6 GB before the first surface is made. Here PyMOL has
the topology and the first state; selections, settings and the order of the atoms are its own.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..shared import states
from . import extract
from .extract import ExtractError, Source

SUFFIXES = (".xtc", ".trr", ".dcd")
# Å; PyMOL and MDAnalysis read the same file, which holds no more digits than this in the coarsest format.
SAME = 1e-2
NM = 10.0


def reads(path: str) -> bool:
    """Whether a trajectory is of a kind that is read state by state, and MDAnalysis is there to do it."""
    return path.lower().endswith(SUFFIXES) and importlib.util.find_spec("MDAnalysis") is not None


def load(topology: str, trajectory: str, name: str, _self: Any) -> None:
    """Load the topology with the first state of the trajectory as the object `name`. Raises ExtractError."""
    _self.load(topology, name)
    _self.load_traj(trajectory, name, state=1, start=1, stop=1)
    if not _self.count_states(name):
        raise ExtractError(f"{trajectory}: PyMOL reads no states from it for {topology}")


def read_source(selection: str, states_text: str, trajectory: str, *, _self: Any) -> Source:
    """As extract.read_source, of an object from `load`, with the trajectory's states: they are the frames, from 1.

    Raises ExtractError where MDAnalysis and PyMOL don't read the same atoms, StatesError.
    """
    first = extract.read_source(selection, "1", _self=_self)
    file = _File(trajectory)
    wanted = [int(s) for s in sorted(states.parse(states_text, last=len(file), owner=f"the trajectory {trajectory}"))]
    whole, order = extract.order_in_file(first.object, first.atoms, _self)
    read = file.read(1)
    if len(read) != len(whole):
        raise ExtractError(f"{trajectory} has {len(read)} atoms, the topology {len(whole)}")
    off = float(np.abs(read - whole).max())
    if not off <= SAME:
        raise ExtractError(
            f"{trajectory}: PyMOL and MDAnalysis read atoms {off:.3g} A apart in its first state; load it in PyMOL and "
            "use dsr_surfaces there"
        )
    atoms: list[tuple[int, int, str]] = []
    _self.iterate(f"({selection}) and not flag 25", "atoms.append((index, ID, name))", space={"atoms": atoms})
    warnings: list[str] = []
    frames = _Frames(file, wanted, order, first.object, atoms, _self.get_symmetry(first.object), warnings)
    return replace(first, states=wanted, last=len(file), coordinates=frames, warnings=warnings)


class _File:
    """States of a trajectory in Å, in the order of the file's atoms.

    The readers are those beneath MDAnalysis's own, which would write an index beside the user's file.
    """

    def __init__(self, path: str) -> None:
        from MDAnalysis.lib.formats.libdcd import DCDFile
        from MDAnalysis.lib.formats.libmdaxdr import TRRFile, XTCFile

        kind = os.path.splitext(path)[1].lower()
        self._path, self._next = path, 1
        try:
            self._file = {".xtc": XTCFile, ".trr": TRRFile, ".dcd": DCDFile}[kind](path)
            self._count = len(self._file)
        except OSError as error:
            raise ExtractError(f"{path} can't be read as {kind}: {error}") from error
        self._of_dcd = kind == ".dcd"

    def __len__(self) -> int:
        return self._count

    def read(self, state: int) -> np.ndarray:
        """f4[N,3] of a state from 1. Raises ExtractError."""
        try:
            if state != self._next:
                self._file.seek(state - 1)
            frame = self._file.read()
        except (OSError, StopIteration) as error:
            raise ExtractError(f"{self._path}: state {state} can't be read: {error}") from error
        self._next = state + 1
        xyz: np.ndarray = frame.xyz if self._of_dcd else NM * frame.x
        return np.asarray(xyz, np.float32)


class _Frames(Mapping[int, np.ndarray]):
    """The selected atoms f4[A,3] by state, each read when it is looked at."""

    def __init__(
        self,
        file: _File,
        wanted: list[int],
        order: np.ndarray,
        name: str,
        atoms: list[tuple[int, int, str]],
        symmetry: Any,
        warnings: list[str],
    ) -> None:
        """order: i8[A], the atoms' places in the file; warnings gets the first jump across the box."""
        self._file, self._wanted, self._order = file, wanted, order
        self._name, self._atoms, self._symmetry, self._warnings = name, atoms, symmetry, warnings
        self._before: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._wanted)

    def __iter__(self) -> Iterator[int]:
        return iter(self._wanted)

    def __getitem__(self, state: int) -> np.ndarray:
        xyz = self._file.read(state)[self._order]
        extract.check_finite(xyz, state, self._name, self._atoms)
        if self._before is not None and self._before[0] < state and not self._warnings:
            before, other = self._before
            pair = {before: other, state: xyz}
            self._warnings += extract.jumps([before, state], pair, self._atoms, self._symmetry)
        self._before = state, xyz
        return xyz
