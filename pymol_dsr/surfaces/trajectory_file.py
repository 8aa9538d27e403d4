"""Trajectories that MDAnalysis (optional) reads state by state, in Å, in the order of the file's atoms.

Nothing is written beside the user's file: .xtc and .trr are read by the readers beneath MDAnalysis's own, which would
put an index and a lock there.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..shared import molecule_files
from ..shared.surfaces_format import suffix_of
from .periodic import LEAST_CELL
from .source import Coordinates, ExtractError

# Å in a nanometre.
NANOMETRE = 10.0
# Angles of a unit cell in degrees are less than this.
MOST_DEGREES = 180.0
# Everything that MDAnalysis raises for files that are damaged or hold something else.
UNREADABLE = (OSError, EOFError, ValueError, LookupError, RuntimeError, TypeError, AttributeError, StopIteration)
AMBER_TEXTS = (".mdcrd", ".crd", ".trj")
GROMACS_MAGIC = 1993
REMEDY = "see that it is whole, or convert it to .xtc"


class Frames(Protocol):
    """The states of one file."""

    def __len__(self) -> int: ...

    def read(self, place: int) -> NDArray[np.floating[Any]]:
        """Read f[N,3] (Å) at a place from 0. Raises one of UNREADABLE."""

    def cell(self) -> NDArray[np.floating[Any]] | None:
        """Return the edges [3,3] (Å) of the unit cell of the state read last; None where it has none."""


class TrajectoryFile:
    """The states of a trajectory."""

    def __init__(self, path: str, atom_count: int = 0) -> None:
        """Open the file. atom_count: of its topology, which AMBER's texts don't say. Raises ExtractError."""
        self._path, reason = path, ""
        with _quiet():
            try:
                self._frames = READERS[suffix_of(path)](path, atom_count)
                self._count = len(self._frames)
            except UNREADABLE as error:
                reason = _line(error)
        if reason:
            raise ExtractError(f"{path} can't be read as {suffix_of(path)}: {reason}; {REMEDY}")

    def __len__(self) -> int:
        return self._count

    def read(self, state: int) -> Coordinates:
        """Read all atoms f4[N,3] of a state from 1. Raises ExtractError."""
        try:
            return np.array(self._frames.read(state - 1), np.float32)
        except UNREADABLE as error:
            raise ExtractError(f"{self._path}: state {state} can't be read: {_line(error)}") from error

    def cell(self) -> NDArray[np.float64] | None:
        """Return the edges f8[3,3] (Å) of the unit cell of the state read last; None where it has none."""
        cell = self._frames.cell()
        if cell is None or not np.linalg.norm(cell, axis=1).min() > LEAST_CELL:
            return None
        return np.array(cell, np.float64)


def can_stream(path: str) -> bool:
    """Say whether the trajectory has a format that is read state by state and its readers are installed."""
    is_readable = suffix_of(path) not in AMBER_TEXTS or is_amber_text(path)
    return is_readable and suffix_of(path) in READERS and not missing_package(path)


def missing_package(path: str) -> str:
    """Name the Python package that the reader of a trajectory lacks; empty where there is none."""
    package = molecule_files.EXTRA_PACKAGES.get(suffix_of(path).removeprefix("."), "MDAnalysis")
    return next((name for name in ("MDAnalysis", package) if importlib.util.find_spec(name) is None), "")


def count_atoms(path: str) -> int | None:
    """Count the atoms of a trajectory; None where its format has no reader here or it can't be read."""
    if suffix_of(path) == ".xtc":
        # The second of the header's big-endian integers; MDAnalysis may not be there.
        with open(path, "rb") as file:
            header = file.read(8)
        return int.from_bytes(header[4:], "big") if len(header) == 8 else None
    if not can_stream(path) or suffix_of(path) in AMBER_TEXTS:
        return None
    try:
        return len(TrajectoryFile(path).read(1))
    except ExtractError:
        return None


class _BinaryFrames:
    """.xtc, .trr and .dcd, whose readers are compiled."""

    def __init__(self, file: Any, scale: float) -> None:
        self._file, self._scale, self._next = file, scale, 0
        self._count = len(file)

    def __len__(self) -> int:
        return self._count

    def read(self, place: int) -> NDArray[np.floating[Any]]:
        if place != self._next:
            self._file.seek(place)
        frame = self._file.read()
        self._next = place + 1
        self._frame = frame
        xyz: NDArray[np.floating[Any]] = frame.xyz if hasattr(frame, "xyz") else frame.x
        return self._scale * xyz

    def cell(self) -> NDArray[np.floating[Any]] | None:
        """Return the unit cell of the state read last."""
        if hasattr(self._frame, "box"):
            box: NDArray[np.floating[Any]] = self._scale * self._frame.box
            return box
        return _charmm_cell(np.asarray(self._frame.unitcell, np.float64))


class _ReaderFrames:
    """A reader of MDAnalysis, which gives Å."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def __len__(self) -> int:
        return int(self._reader.n_frames)

    def read(self, place: int) -> NDArray[np.floating[Any]]:
        xyz: NDArray[np.floating[Any]] = self._reader[place].positions
        return xyz

    def cell(self) -> NDArray[np.floating[Any]] | None:
        """Return the unit cell of the state read last."""
        cell: NDArray[np.floating[Any]] | None = self._reader.ts.triclinic_dimensions
        return cell


class _GroFrames:
    """The frames of a .gro file, of which MDAnalysis's reader takes only the first."""

    def __init__(self, path: str, atom_count: int) -> None:
        """Find the frames. Raises OSError, or ValueError where a frame is no frame."""
        self._path, self._spans = path, list(_gro_spans(path))

    def __len__(self) -> int:
        return len(self._spans)

    def read(self, place: int) -> NDArray[np.floating[Any]]:
        """Read f4[N,3] (Å). Raises ValueError or OSError."""
        # Optional, and a second to import.
        from MDAnalysis.coordinates.GRO import GROReader
        from MDAnalysis.lib.util import NamedStream

        start, end = self._spans[place]
        with open(self._path, "rb") as file:
            file.seek(start)
            text = file.read(end - start).decode(errors="replace")
        self._state = GROReader(NamedStream(io.StringIO(text), "frame.gro")).ts
        xyz: NDArray[np.floating[Any]] = self._state.positions
        return xyz

    def cell(self) -> NDArray[np.floating[Any]] | None:
        """Return the unit cell of the state read last."""
        cell: NDArray[np.floating[Any]] | None = self._state.triclinic_dimensions
        return cell


def _charmm_cell(cell: NDArray[np.float64]) -> NDArray[np.floating[Any]] | None:
    """Return the edges [3,3] (Å) of a .dcd file's cell: A, γ, B, β, α, C, or the matrix of newer CHARMM; None for none.

    The angles are cosines or degrees.
    """
    # Optional, and a second to import.
    from MDAnalysis.lib.mdamath import triclinic_vectors

    lengths, angles = cell[[0, 2, 5]], cell[[4, 3, 1]]
    if not lengths.all():
        return None
    if np.abs(angles).max() <= 1.0:
        angles = np.degrees(np.arccos(angles))
    elif angles.min() < 0.0 or angles.max() > MOST_DEGREES:
        return cell[[[0, 1, 3], [1, 2, 4], [3, 4, 5]]]
    vectors: NDArray[np.floating[Any]] = triclinic_vectors([*lengths, *angles])
    return vectors


def _gro_spans(path: str) -> Iterator[tuple[int, int]]:
    """Yield the first byte of each frame and the one after it: a title, a count, a line for each atom, the box."""
    with open(path, "rb") as file:
        start = 0
        for title in iter(file.readline, b""):
            count_line = file.readline()
            if not title.strip() and not count_line.strip():
                return
            if not count_line.strip().isdigit():
                raise ValueError(f"the frame that begins at byte {start} has no number of atoms")
            for _ in range(int(count_line) + 1):
                if not file.readline():
                    raise ValueError(f"it ends within the frame that begins at byte {start}")
            yield start, file.tell()
            start = file.tell()


def has_box_lines(path: str, atom_count: int) -> bool:
    """Say whether a text of AMBER has a line with the box after each frame, which PyMOL takes for an atom's place.

    Raises ValueError for a file of another number of atoms.
    """
    if atom_count < 1:
        raise ValueError("AMBER's texts don't say how many atoms they are of")
    lines_per_frame, count, is_boxed = math.ceil(3 * atom_count / 10), 0, False
    # A file of many GB: a line at a time.
    with open(path, encoding="latin-1") as file:
        file.readline()
        for line in file:
            if count == lines_per_frame:
                is_boxed = len(line.split()) == 3 != min(10, 3 * atom_count)
            count += 1
    if count % (lines_per_frame + is_boxed):
        raise ValueError(f"its {count} lines are not those of {atom_count} atoms")
    return is_boxed


def is_amber_text(path: str) -> bool:
    """Say whether a trajectory is a text of AMBER; a .trj may be an old one of GROMACS, by its first bytes."""
    if suffix_of(path) not in AMBER_TEXTS:
        return False
    with open(path, "rb") as file:
        return int.from_bytes(file.read(4), "big") != GROMACS_MAGIC


def _amber_text(path: str, atom_count: int) -> Frames:
    # Optional, and a second to import.
    from MDAnalysis.coordinates.TRJ import TRJReader

    has_box_lines(path, atom_count)
    return _ReaderFrames(TRJReader(path, n_atoms=atom_count))


def _binary(module: str, name: str, scale: float) -> Callable[[str, int], Frames]:
    def open_file(path: str, atom_count: int) -> Frames:
        return _BinaryFrames(getattr(importlib.import_module(f"MDAnalysis.lib.formats.{module}"), name)(path), scale)

    return open_file


def _reader(module: str, name: str) -> Callable[[str, int], Frames]:
    def open_file(path: str, atom_count: int) -> Frames:
        return _ReaderFrames(getattr(importlib.import_module(f"MDAnalysis.coordinates.{module}"), name)(path))

    return open_file


READERS: dict[str, Callable[[str, int], Frames]] = {
    ".xtc": _binary("libmdaxdr", "XTCFile", NANOMETRE),
    ".trr": _binary("libmdaxdr", "TRRFile", NANOMETRE),
    ".dcd": _binary("libdcd", "DCDFile", 1.0),
    **dict.fromkeys((".nc", ".ncdf"), _reader("TRJ", "NCDFReader")),
    ".h5md": _reader("H5MD", "H5MDReader"),
    ".tng": _reader("TNG", "TNGReader"),
    **dict.fromkeys((".lammpstrj", ".lammpsdump", ".dump"), _reader("LAMMPS", "DumpReader")),
    ".trc": _reader("TRC", "TRCReader"),
    ".gro": _GroFrames,
    **dict.fromkeys(AMBER_TEXTS, _amber_text),
}
"""Opener of MDAnalysis by the ending of a file."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence MDAnalysis: its warnings are of attributes that are not read here, and its readers complain of what they
    could not open once more when they are freed.
    """
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = hook


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
