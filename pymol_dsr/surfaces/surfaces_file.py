"""The surfaces file: what dsr_surfaces writes and `dsr-backend fit` reads on a machine without PyMOL.

A `.npz` without pickles: format, states f8[S], point_counts i8[S], face_counts i8[S], points f4[sum N,3],
normals f4[sum N,3] (outward, unit), faces i4[sum M,3] (indices within the state), atoms f4[S,A,3], meta (JSON
text).
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterable
from typing import IO, Any

import numpy as np

from .extract import Source, Surface

FORMAT = "dsr-surfaces 1"


def check_path(path: str) -> str:
    """The path with ~ and variables expanded; ValueError unless it ends in .npz in a folder that can be
    written.
    """
    full = os.path.expandvars(os.path.expanduser(path))
    if not full.lower().endswith(".npz"):
        raise ValueError(f"{path}: a surfaces file ends in .npz")
    folder = os.path.dirname(os.path.abspath(full))
    if not os.path.isdir(folder):
        raise ValueError(f"{path}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{path}: the folder {folder} can't be written to")
    return full


def write(path: str, source: Source, surfaces: Iterable[Surface]) -> None:
    """Write `surfaces` of `source`, which may come in any order, by rising state; a file that stood there is
    replaced by a whole one only.

    Each is written down as it comes, and the file put together from that: memory does not grow with the states, and on
    the way there is room on the disk for two such files. Raises ValueError for a bad path (see check_path) or no
    surfaces, OSError when writing fails.
    """
    path = check_path(path)
    meta: dict[str, Any] = {
        "object": source.object,
        "selection": source.selection,
        "pymol": source.pymol,
        "settings": source.settings,
        "source": source.to_json(),
    }
    # Not a temporary file of Python's making: those are for their owner alone.
    draft = f"{path}.{os.getpid()}.part"
    try:
        with contextlib.ExitStack() as stack:
            # Nameless, so that nothing of them is left whatever happens.
            folder = os.path.dirname(os.path.abspath(path))
            parts = {
                name: _Part(stack.enter_context(tempfile.TemporaryFile(dir=folder)), dtype)
                for name, dtype in (("points", "<f4"), ("normals", "<f4"), ("faces", "<i4"), ("atoms", "<f4"))
            }
            arrived = []
            for surface in surfaces:
                arrived.append(surface.state)
                for name, part in parts.items():
                    part.add(getattr(surface, name))
            if not arrived:
                raise ValueError(f"{path}: there are no surfaces to write")
            order = np.argsort(arrived, kind="stable")
            numbers = {
                "format": np.array(FORMAT),
                "states": np.array(arrived, "<f8")[order],
                "point_counts": np.array(parts["points"].rows, "<i8")[order],
                "face_counts": np.array(parts["faces"].rows, "<i8")[order],
                "meta": np.array(json.dumps(meta)),
            }
            with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
                for name, array in numbers.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                        np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
                for name, part in parts.items():
                    rows = (len(arrived), part.rows[0]) if name == "atoms" else (sum(part.rows),)
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                        part.copy(stream, order, (*rows, 3))
        os.replace(draft, path)
    finally:
        if os.path.exists(draft):
            os.unlink(draft)


class _Part:
    """Arrays [n,3] of one name on the disk, in the order in which they came."""

    def __init__(self, file: IO[bytes], dtype: str) -> None:
        self.rows: list[int] = []
        self._file, self._dtype = file, np.dtype(dtype)

    def add(self, array: np.ndarray) -> None:
        self.rows.append(len(array))
        self._file.write(np.ascontiguousarray(array, self._dtype).tobytes())

    def copy(self, stream: IO[bytes], order: np.ndarray, shape: tuple[int, ...]) -> None:
        """All of them as one .npy array, in that order."""
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        ends = np.cumsum(self.rows) * 3 * self._dtype.itemsize
        for at in order:
            size = self.rows[at] * 3 * self._dtype.itemsize
            self._file.seek(int(ends[at]) - size)
            stream.write(self._file.read(size))
