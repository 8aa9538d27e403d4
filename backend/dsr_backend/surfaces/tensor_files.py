"""Opens the tensors of a surfaces file, of either format, row by row.

A tensor's type and shape are known before any of its bytes are read, and its bytes are known to be in the file. Nothing
is unpickled or evaluated.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pymol_dsr.shared.safetensors_header import MAX_HEADER
from pymol_dsr.shared.surfaces_format import DTYPES, FORMATS, NPZ, SAFETENSORS, TYPE_NAMES

from .surface import SurfacesError

TEXTS = ("format", "meta")
_DTYPES = {name: dtype for dtype, name in TYPE_NAMES.items()}


class TensorFile(ABC):
    """The tensors and texts of an open surfaces file.

    format: the format that the file's kind must have; entries: numpy's type and the shape of each tensor.
    """

    format: str
    entries: dict[str, tuple[str, tuple[int, ...]]]
    texts: dict[str, str]

    @abstractmethod
    def rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return rows start to stop (0 ≤ start ≤ stop ≤ length) of a tensor. Raises SurfacesError."""

    def whole(self, name: str) -> NDArray[Any]:
        """Return a whole tensor. Raises SurfacesError."""
        return self.rows(name, 0, self.entries[name][1][0])


def open_tensors(path: str | os.PathLike[str]) -> TensorFile:
    """Open a surfaces file; its first bytes decide which format it is read as.

    Raises SurfacesError, one line, for a file that is none or is damaged, and OSError where it cannot be opened.
    """
    path = os.fspath(path)
    with open(path, "rb") as stream:
        start = stream.read(8)
    try:
        return _NpzTensors(path) if start.startswith(b"PK") else _SafeTensors(path, start)
    except SurfacesError:
        raise
    except ValueError as fault:
        raise SurfacesError(f"{path}: {fault}") from fault


class _SafeTensors(TensorFile):
    """Tensors of a safetensors file, which the library checks: their bytes follow one another and fill the file."""

    format = FORMATS[SAFETENSORS]

    def __init__(self, path: str, start: bytes) -> None:
        self._path = path
        header_size = int.from_bytes(start, "little")
        if header_size > MAX_HEADER:
            raise SurfacesError(f"{path} is no surfaces file: it begins with {start!r}")
        try:
            with safe_open(path, framework="numpy") as file:
                self.texts = dict(file.metadata() or {})
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                self.entries = {
                    name: (_DTYPES.get(tensor.get_dtype(), tensor.get_dtype()), tuple(tensor.get_shape()))
                    for name, tensor in slices.items()
                }
        except SafetensorError as fault:
            raise SurfacesError(f"{path} is not a whole .safetensors file: {fault}") from fault

    def rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        # Opened for each read: pages of an open mapping would count as memory of this process.
        try:
            with safe_open(self._path, framework="numpy") as file:
                return np.asarray(file.get_slice(name)[start:stop])
        except SafetensorError as fault:
            raise SurfacesError(f"{self._path}: {name} can't be read, the file has changed: {fault}") from fault


# Format 1 ------------------------------------------------------------------------------------------------------

# Surfaces compress to a fifth at best: a member that unpacks to more than this multiple of the file's size is refused,
# unless it is small.
_MAX_RATIO = 100
_SMALL_MEMBER = 2**24
# Bytes read at a time while a checksum is verified.
_BLOCK = 2**20
# numpy writes this header for arrays of these kinds. A match evaluates nothing, as numpy's own parser would.
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_HEADER = re.compile(
    r"\{'descr': '([<|>][A-Za-z]\d{1,9}|\|O)', 'fortran_order': (False|True), 'shape': \(([\d, ]*)\), \}\s*"
)


@dataclass(frozen=True)
class _StoredArray:
    """An uncompressed array of an archive: the place of its first byte in the file."""

    offset: int


class _NpzTensors(TensorFile):
    """Arrays of a `.npz` archive; uncompressed ones are read row by row, after one pass that verifies checksums."""

    format = FORMATS[NPZ]

    def __init__(self, path: str) -> None:
        self._path = path
        self.entries, self.texts = {}, {}
        self._arrays: dict[str, _StoredArray | NDArray[Any]] = {}
        try:
            with open(path, "rb") as stream, zipfile.ZipFile(stream) as archive:
                for name in TEXTS:
                    if f"{name}.npy" in archive.namelist():
                        self._add_text(archive, stream, name)
                for name in DTYPES:
                    if f"{name}.npy" in archive.namelist():
                        self._add_array(archive, stream, name)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as fault:
            raise SurfacesError(f"{path} is not a whole .npz file: {fault}") from fault

    def rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        dtype, shape = self.entries[name]
        array = self._arrays[name]
        if not isinstance(array, _StoredArray):
            return array[start:stop]
        row_length = math.prod(shape[1:])
        count = (stop - start) * row_length
        values = np.fromfile(self._path, dtype, count, offset=array.offset + start * _byte_size(dtype, shape[1:]))
        if len(values) != count:
            raise SurfacesError(f"{self._path}: {name} ends early, the file has changed")
        return values.reshape(stop - start, *shape[1:])

    def _add_text(self, archive: zipfile.ZipFile, stream: IO[bytes], name: str) -> None:
        with _open_member(archive, stream, name) as member:
            dtype, shape = _read_npy_header(member, name)
            if not dtype.startswith("<U") or shape != ():
                raise ValueError(f"{name} has dtype {dtype} and shape {list(shape)}, expected one string")
            _check_size(archive, member, name, dtype, shape)
            self.texts[name] = member.read().decode("utf-32-le").rstrip("\0")

    def _add_array(self, archive: zipfile.ZipFile, stream: IO[bytes], name: str) -> None:
        with _open_member(archive, stream, name) as member:
            dtype, shape = _read_npy_header(member, name)
            self.entries[name] = dtype, shape
            if dtype != DTYPES[name]:
                # The reader refuses it by its entry.
                return
            header_size = member.tell()
            _check_size(archive, member, name, dtype, shape)
            info = archive.getinfo(f"{name}.npy")
            if info.compress_type == zipfile.ZIP_STORED:
                # zipfile verifies the checksum at the end of a member.
                while member.read(_BLOCK):
                    pass
                self._arrays[name] = _StoredArray(_first_byte(stream, info) + header_size)
            else:
                self._arrays[name] = np.frombuffer(member.read(), dtype).reshape(shape)


def _open_member(archive: zipfile.ZipFile, stream: IO[bytes], name: str) -> IO[bytes]:
    info = archive.getinfo(f"{name}.npy")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is encrypted or compressed in a way that numpy does not write")
    file_size = os.fstat(stream.fileno()).st_size
    if info.file_size > max(_SMALL_MEMBER, _MAX_RATIO * file_size):
        raise ValueError(f"{name} unpacks to {info.file_size} bytes, more than surfaces do, in a file of {file_size}")
    return archive.open(info)


def _read_npy_header(member: IO[bytes], name: str) -> tuple[str, tuple[int, ...]]:
    """Return dtype and shape of the .npy array that begins here."""
    start = member.read(len(_NPY_MAGIC) + 2)
    if not start.startswith(_NPY_MAGIC):
        raise ValueError(f"{name} is not an .npy array of version 1.0, it begins {start!r}")
    text = member.read(int.from_bytes(start[len(_NPY_MAGIC) :], "little")).decode("latin-1")
    match = _NPY_HEADER.fullmatch(text)
    if match is None:
        raise ValueError(f"{name} has a header that numpy does not write: {text[:80]!r}")
    dtype, fortran, lengths = match.groups()
    if fortran == "True":
        raise ValueError(f"{name} is in Fortran order, expected C order")
    return dtype, tuple(int(length) for length in lengths.split(",") if length.strip())


def _check_size(archive: zipfile.ZipFile, member: IO[bytes], name: str, dtype: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the rest of the member has the bytes of its shape."""
    actual, needed = archive.getinfo(f"{name}.npy").file_size - member.tell(), _byte_size(dtype, shape)
    if actual != needed:
        raise ValueError(f"{name} has {actual} bytes, its shape needs {needed}")


def _byte_size(dtype: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


def _first_byte(stream: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return the place of a member's first byte, by its own header: the directory may give other lengths."""
    stream.seek(info.header_offset + 26)
    lengths = stream.read(4)
    name_size, extra_size = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
    return info.header_offset + 30 + name_size + extra_size
