"""Writes surfaces files (docs/file-formats.md), which `dsr-backend fit` reads on a machine without PyMOL."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from ..shared.atomic_write import naming_errors, replace_when_whole
from ..shared.paths import file_to_write
from ..shared.surfaces_format import FORMATS, NPZ, SAFETENSORS, TYPE_NAMES, suffix_of
from .source import Source, Surface

# The first tensor begins at a multiple of so many bytes.
ALIGNMENT = 8


def check_path(path: str) -> str:
    """Expand and check the path of a surfaces file; see shared.paths.file_to_write."""
    return file_to_write(path, tuple(FORMATS))


def write(path: str, source: Source, surfaces: Iterable[Surface]) -> None:
    """Write the surfaces of `source`, in any order, to a file in which their states rise.

    An existing file is replaced only by a whole one. Each surface goes to the disk when it arrives, so memory does not
    grow with the number of states; until the end the disk needs room for two such files. Raises ValueError for a bad
    path (see check_path) or where there are no surfaces, OSError when writing fails.
    """
    path = check_path(path)
    write_tensors = _write_safetensors if suffix_of(path) == SAFETENSORS else _write_npz
    with contextlib.ExitStack() as stack:
        # Nameless, so that nothing of them is left whatever happens.
        folder = os.path.dirname(path)
        with naming_errors(path):
            spools = {
                name: _Spool(_temporary_file(folder, stack), dtype)
                for name, dtype in (("points", "<f4"), ("normals", "<f4"), ("faces", "<i4"), ("atoms", "<f4"))
            }
        states: list[float] = []
        for surface in surfaces:
            states.append(surface.state)
            with naming_errors(path):
                for name, spool in spools.items():
                    spool.add(getattr(surface, name))
        if not states:
            raise ValueError(f"{path}: there are no surfaces to write")
        tensors = _tensors(states, spools)
        with replace_when_whole(path, sum(tensor.size for tensor in tensors)) as stream:
            write_tensors(stream, tensors, json.dumps(_meta(source)))


def _temporary_file(folder: str, stack: contextlib.ExitStack) -> IO[bytes]:
    """Return a nameless file that the stack closes."""
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def close() -> None:
        # On a full disk it fails again to write what it holds, and that error would take the place of the first.
        with contextlib.suppress(OSError):
            file.close()

    stack.callback(close)
    return file


def _meta(source: Source) -> dict[str, Any]:
    return {
        "object": source.object,
        "selection": source.selection,
        "pymol": source.pymol,
        "settings": source.settings,
        "source": source.molecule().to_json(),
    }


@dataclass(frozen=True)
class _Tensor:
    """One array of the file; `blocks` are its bytes, one block after another."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[bytes]]

    @classmethod
    def from_array(cls, name: str, array: NDArray[Any]) -> _Tensor:
        return cls(name, array.dtype.str, array.shape, lambda: iter([array.tobytes()]))

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class _Spool:
    """Arrays [n,3] of one tensor on the disk, in the order of their arrival."""

    def __init__(self, file: IO[bytes], dtype: str) -> None:
        self.dtype = dtype
        self.row_counts: list[int] = []
        self._file = file

    def add(self, array: NDArray[Any]) -> None:
        self.row_counts.append(len(array))
        self._file.write(np.ascontiguousarray(array, self.dtype).tobytes())

    def blocks(self, order: Sequence[int]) -> Iterator[bytes]:
        """Return the bytes of each array, in that order of their numbers from 0."""
        row_size = 3 * np.dtype(self.dtype).itemsize
        ends = np.cumsum(self.row_counts) * row_size
        for number in order:
            size = self.row_counts[number] * row_size
            self._file.seek(int(ends[number]) - size)
            yield self._file.read(size)


def _tensors(states: Sequence[float], spools: dict[str, _Spool]) -> list[_Tensor]:
    """Return the tensors of the file by rising state, eight-byte types first."""
    order = [int(number) for number in np.argsort(states, kind="stable")]
    tensors = [
        _Tensor.from_array("states", np.array(states, "<f8")[order]),
        _Tensor.from_array("point_counts", np.array(spools["points"].row_counts, "<i8")[order]),
        _Tensor.from_array("face_counts", np.array(spools["faces"].row_counts, "<i8")[order]),
    ]
    for name, spool in spools.items():
        rows = (len(states), spool.row_counts[0]) if name == "atoms" else (sum(spool.row_counts),)
        tensors.append(_Tensor(name, spool.dtype, (*rows, 3), functools.partial(spool.blocks, order)))
    return tensors


def _write_safetensors(stream: BinaryIO, tensors: Sequence[_Tensor], meta: str) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": FORMATS[SAFETENSORS], "meta": meta}}
    end = 0
    for tensor in tensors:
        begin, end = end, end + tensor.size
        header[tensor.name] = {
            "dtype": TYPE_NAMES[tensor.dtype],
            "shape": tensor.shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    stream.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors:
        stream.writelines(tensor.blocks())


def _write_npz(stream: BinaryIO, tensors: Sequence[_Tensor], meta: str) -> None:
    texts = {"format": FORMATS[NPZ], "meta": meta}
    members = [*(_Tensor.from_array(name, np.array(text)) for name, text in texts.items()), *tensors]
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for member in members:
            with archive.open(f"{member.name}.npy", "w", force_zip64=True) as entry:
                header = {"descr": member.dtype, "fortran_order": False, "shape": member.shape}
                npy_format.write_array_header_1_0(entry, header)  # type: ignore[no-untyped-call, unused-ignore]
                entry.writelines(member.blocks())
