"""The training surfaces: one checked value per state, and the `.npz` file that carries them."""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .sequence import LazySurfaces
from .surface import Surface, SurfacesError, check_series

FORMAT = "dsr-surfaces 1"


# An array of more bytes than the file has, so many times, is there to fill the memory; small ones never are.
_MOST_RATIO = 100
_SMALL = 2**24


# Bytes of a file that are looked at together.
_PIECE = 2**20

# The one header that numpy writes for arrays of these kinds. Parsing it here rather than with numpy keeps a
# hostile header from being evaluated or from raising whatever the evaluation raises.
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_HEADER = re.compile(
    r"\{'descr': '([<|>][A-Za-z]\d{1,9}|\|O)', 'fortran_order': (False|True), 'shape': \(([\d, ]*)\), \}\s*"
)


def read_surfaces_file(path: str | os.PathLike[str]) -> tuple[list[Surface], dict[str, Any]]:
    """Surfaces and `meta` of a surfaces file.

    Nothing is unpickled or evaluated, and an array's declared shape is held against the bytes that the
    archive has for it, and against the size of the file: real surfaces compress to a fifth at best. Raises
    SurfacesError, one sentence per malformation, and OSError where the file cannot be opened.
    """
    with open(path, "rb") as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                return _read(archive)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as fault:
            raise SurfacesError(f"{path} is not a whole .npz file: {fault}") from fault
        except ValueError as fault:
            raise SurfacesError(f"{path}: {fault}") from fault


class SurfaceFile(LazySurfaces):
    """The surfaces of a file, each read when it is looked at, so that many need no more memory than one.

    Opening it goes through the whole file once, by pieces, and holds it against its checksums. What a surface of it
    must be is checked when that is read, and raises ValueError there, naming the file.
    """

    def __init__(self, path: str | os.PathLike[str], wanted: Sequence[float] | None = None) -> None:
        """wanted: the states, which must be in the file; None for all of them. Raises as `read`."""
        self._path = os.fspath(path)
        with open(path, "rb") as stream:
            try:
                with zipfile.ZipFile(stream) as archive:
                    self._open(archive)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as fault:
                raise SurfacesError(f"{path} is not a whole .npz file: {fault}") from fault
            except ValueError as fault:
                raise SurfacesError(f"{path}: {fault}") from fault
        place = {state: number for number, state in enumerate(self._states)}
        self.states = list(self._states) if wanted is None else list(wanted)
        self._places = [place[state] for state in self.states]

    def _open(self, archive: zipfile.ZipFile) -> None:
        # Of what was compressed, no single state can be found without the others.
        deflated = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
        self._whole: list[Surface] | None = None
        if deflated:
            self._whole, self.meta = _read(archive)
            self._states = [surface.state for surface in self._whole]
            return
        head = _head(archive)
        self.meta, self._states = head.meta, head.states.tolist()
        if not (np.diff(head.states) > 0.0).all() or not np.isfinite(head.states).all():
            raise ValueError("its states must be finite and rise")
        points = _place(archive, "points", "<f4", (head.points, 3))
        self._begin = {
            "points": points[0],
            "normals": _place(archive, "normals", "<f4", (head.points, 3))[0],
            "faces": _place(archive, "faces", "<i4", (head.faces, 3))[0],
        }
        self._atoms = 0
        if "atoms.npy" in archive.namelist():
            self._begin["atoms"], (_, self._atoms, _) = _place(archive, "atoms", "<f4", (len(self._states), None, 3))
        self._point_ends, self._face_ends = np.cumsum(head.point_counts), np.cumsum(head.face_counts)
        self._point_counts, self._face_counts = head.point_counts, head.face_counts

    def __len__(self) -> int:
        return len(self._places)

    def _read(self, place: int) -> Surface:
        at = self._places[place]
        if self._whole is not None:
            return self._whole[at]
        points, faces = int(self._point_counts[at]), int(self._face_counts[at])
        first, first_face = int(self._point_ends[at]) - points, int(self._face_ends[at]) - faces
        try:
            return Surface(
                self._states[at],
                self._rows("points", "<f4", first, points),
                self._rows("normals", "<f4", first, points),
                self._rows("faces", "<i4", first_face, faces),
                self._rows("atoms", "<f4", at * self._atoms, self._atoms) if self._atoms else None,
            )
        except ValueError as fault:
            raise ValueError(f"{self._path}: {fault}") from fault

    def _rows(self, name: str, dtype: str, first: int, count: int) -> NDArray[Any]:
        with open(self._path, "rb") as stream:
            stream.seek(self._begin[name] + 12 * first)
            body = stream.read(12 * count)
        if len(body) != 12 * count:
            raise ValueError(f"{name} ends early: the file has changed")
        return np.frombuffer(body, dtype).reshape(count, 3)


def write_surfaces_file(path: str | os.PathLike[str], surfaces: Sequence[Surface], meta: dict[str, Any]) -> None:
    """Write a surfaces file; one that stood there before is replaced only by a complete one.

    meta: a dict that JSON can hold. Raises ValueError for what `read` would refuse, OSError when writing
    fails.
    """
    check_series(surfaces)
    arrays: dict[str, NDArray[Any]] = {
        "format": np.array(FORMAT),
        "states": np.array([surface.state for surface in surfaces], dtype="<f8"),
        "point_counts": np.array([len(surface.points) for surface in surfaces], dtype="<i8"),
        "face_counts": np.array([len(surface.faces) for surface in surfaces], dtype="<i8"),
        "points": np.concatenate([surface.points for surface in surfaces]),
        "normals": np.concatenate([surface.normals for surface in surfaces]),
        "faces": np.concatenate([surface.faces for surface in surfaces]),
        "meta": np.array(json.dumps(meta)),
    }
    atoms = [surface.atoms for surface in surfaces if surface.atoms is not None]
    if atoms:
        arrays["atoms"] = np.stack(atoms)
    target = Path(path)
    draft = target.with_name(target.name + ".part")
    try:
        with open(draft, "wb") as stream:
            np.savez(stream, **arrays)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class _Head:
    """What a file says of its arrays: states f8[S], their counts i8[S] of points and faces, all of these, meta."""

    states: NDArray[np.float64]
    point_counts: NDArray[np.int64]
    face_counts: NDArray[np.int64]
    points: int
    faces: int
    meta: dict[str, Any]


def _head(archive: zipfile.ZipFile) -> _Head:
    found = _text(archive, "format")
    if found != FORMAT:
        raise ValueError(f"format is {found!r}, this version reads {FORMAT!r}")
    states = _array(archive, "states", "<f8", (None,))
    count = len(states)
    if not count:
        raise ValueError("there are no surfaces")
    point_counts = _array(archive, "point_counts", "<i8", (count,))
    face_counts = _array(archive, "face_counts", "<i8", (count,))
    points, faces = _total("point_counts", point_counts), _total("face_counts", face_counts)
    return _Head(states, point_counts, face_counts, points, faces, _meta(_text(archive, "meta")))


def _read(archive: zipfile.ZipFile) -> tuple[list[Surface], dict[str, Any]]:
    head = _head(archive)
    point_counts, face_counts, count = head.point_counts, head.face_counts, len(head.states)
    points = _array(archive, "points", "<f4", (head.points, 3))
    normals = _array(archive, "normals", "<f4", (head.points, 3))
    faces = _array(archive, "faces", "<i4", (head.faces, 3))
    atoms = None
    if "atoms.npy" in archive.namelist():
        atoms = _array(archive, "atoms", "<f4", (count, None, 3))

    point_ends, face_ends = np.cumsum(point_counts), np.cumsum(face_counts)
    surfaces = [
        Surface(
            state=state,
            points=points[point_ends[i] - point_counts[i] : point_ends[i]],
            normals=normals[point_ends[i] - point_counts[i] : point_ends[i]],
            faces=faces[face_ends[i] - face_counts[i] : face_ends[i]],
            atoms=None if atoms is None or atoms.shape[1] == 0 else atoms[i],
        )
        for i, state in enumerate(head.states.tolist())
    ]
    check_series(surfaces)
    return surfaces, head.meta


def _meta(text: str) -> dict[str, Any]:
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise ValueError(f"meta is not JSON: {fault}") from fault
    if isinstance(meta, dict):
        return meta
    raise ValueError(f"meta must be a JSON object, got {text[:40]!r}")


def _array(archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Array `name` of the archive, which must have this dtype and shape (None: any length)."""
    with _member(archive, name) as stream:
        found_shape = _checked_header(stream, name, dtype, shape)
        body = _body(archive, stream, name, math.prod(found_shape) * np.dtype(dtype).itemsize)
        return np.frombuffer(body, dtype).reshape(found_shape)


def _place(
    archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int | None, ...]
) -> tuple[int, tuple[int, ...]]:
    """Where in the file the bytes of an array begin that is not compressed, and its shape; it is whole then.

    Otherwise as `_array`.
    """
    with _member(archive, name) as stream:
        found_shape = _checked_header(stream, name, dtype, shape)
        header = stream.tell()
        _check_size(archive, stream, name, math.prod(found_shape) * np.dtype(dtype).itemsize)
        # To the end, where the checksum is looked at.
        while stream.read(_PIECE):
            pass
    assert archive.fp is not None
    info = archive.getinfo(f"{name}.npy")
    # Of the member's own header, which need not be as long as the directory says.
    archive.fp.seek(info.header_offset + 26)
    lengths = archive.fp.read(4)
    names, extra = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
    return info.header_offset + 30 + names + extra + header, found_shape


def _checked_header(stream: IO[bytes], name: str, dtype: str, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """The shape of the .npy file that begins here, which must have this dtype and shape (None: any length)."""
    found_dtype, found_shape = _header(stream, name)
    if found_dtype != dtype:
        raise ValueError(f"{name} has dtype {found_dtype}, expected {dtype}")
    fits = len(found_shape) == len(shape) and all(
        want is None or have == want for have, want in zip(found_shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} has shape {list(found_shape)}, expected [{wanted}]")
    return found_shape


def _text(archive: zipfile.ZipFile, name: str) -> str:
    """The single string that array `name` of the archive must hold."""
    with _member(archive, name) as stream:
        dtype, shape = _header(stream, name)
        if not dtype.startswith("<U") or shape != ():
            raise ValueError(f"{name} has dtype {dtype} and shape {list(shape)}, expected one string")
        body = _body(archive, stream, name, 4 * int(dtype[2:]))
        return body.decode("utf-32-le").rstrip("\0")


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    member = f"{name}.npy"
    if member not in archive.namelist():
        raise ValueError(f"there is no array {name!r}; is this a surfaces file?")
    info = archive.getinfo(member)
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is encrypted or compressed in a way that numpy does not write")
    assert archive.fp is not None
    size = os.fstat(archive.fp.fileno()).st_size
    if info.file_size > max(_SMALL, _MOST_RATIO * size):
        raise ValueError(f"{name} unpacks to {info.file_size} bytes, more than surfaces do, in a file of {size}")
    return archive.open(info)


def _header(stream: IO[bytes], name: str) -> tuple[str, tuple[int, ...]]:
    """dtype and shape of the .npy file that begins here."""
    start = stream.read(len(_NPY_MAGIC) + 2)
    if not start.startswith(_NPY_MAGIC):
        raise ValueError(f"{name} is not an .npy array of version 1.0, it begins {start!r}")
    text = stream.read(int.from_bytes(start[len(_NPY_MAGIC) :], "little")).decode("latin-1")
    match = _NPY_HEADER.fullmatch(text)
    if match is None:
        raise ValueError(f"{name} has a header that numpy does not write: {text[:80]!r}")
    dtype, fortran, lengths = match.groups()
    if fortran == "True":
        raise ValueError(f"{name} is in Fortran order, expected C order")
    return dtype, tuple(int(length) for length in lengths.split(",") if length.strip())


def _body(archive: zipfile.ZipFile, stream: IO[bytes], name: str, needed: int) -> bytes:
    _check_size(archive, stream, name, needed)
    body = stream.read()
    if len(body) != needed:
        raise ValueError(f"{name} ends after {len(body)} of {needed} bytes")
    return body


def _check_size(archive: zipfile.ZipFile, stream: IO[bytes], name: str, needed: int) -> None:
    present = archive.getinfo(f"{name}.npy").file_size - stream.tell()
    if present != needed:
        raise ValueError(f"{name} has {present} bytes, its shape needs {needed}")


def _total(name: str, counts: NDArray[np.int64]) -> int:
    if (counts < 0).any():
        raise ValueError(f"{name} has a negative count, {counts.min()}")
    return sum(counts.tolist())
