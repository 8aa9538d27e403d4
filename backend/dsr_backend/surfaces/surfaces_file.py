"""Reads and writes surfaces files (docs/file-formats.md)."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from pymol_dsr.shared import atomic_write
from pymol_dsr.shared import states as states_texts
from pymol_dsr.shared.surfaces_format import DTYPES, FORMATS, SAFETENSORS, suffix_of

from .sequence import LazySurfaces
from .surface import Surface, SurfacesError, check_series
from .tensor_files import TensorFile, open_tensors


class SurfaceFile(LazySurfaces):
    """The surfaces of a file, each read when it is accessed: many take no more memory than one.

    meta: the file's JSON object. Types, shapes and states are checked when the file is opened; the values of a surface
    when it is read, which raises SurfacesError for values that make no surface.
    """

    def __init__(self, path: str | os.PathLike[str], states: Sequence[float] | None = None) -> None:
        """Open the file; `states` are those of the sequence, which must be in the file (None: all of them).

        Raises SurfacesError, one line for each kind of fault, and OSError where the file cannot be opened.
        """
        self._path = os.fspath(path)
        self._tensors = open_tensors(path)
        try:
            self.meta = _read_meta(self._tensors)
            self._point_ends, self._face_ends = _read_layout(self._tensors)
            file_states = _read_states(self._tensors)
        except ValueError as fault:
            raise SurfacesError(str(fault) if isinstance(fault, SurfacesError) else f"{path}: {fault}") from fault
        index_of = {state: index for index, state in enumerate(file_states)}
        self.states = file_states if states is None else list(states)
        self._indices = [index_of[state] for state in self.states]

    def __len__(self) -> int:
        return len(self._indices)

    def _read(self, index: int) -> Surface:
        k = self._indices[index]
        points = slice(*self._point_ends[k : k + 2].tolist())
        faces = slice(*self._face_ends[k : k + 2].tolist())
        read = self._tensors.rows
        try:
            return Surface(
                self.states[index],
                read("points", points.start, points.stop),
                read("normals", points.start, points.stop),
                read("faces", faces.start, faces.stop),
                read("atoms", k, k + 1)[0] if self._has_atoms else None,
            )
        except SurfacesError:
            raise
        except ValueError as fault:
            raise SurfacesError(f"{self._path}: {fault}") from fault

    @property
    def _has_atoms(self) -> bool:
        return "atoms" in self._tensors.entries and self._tensors.entries["atoms"][1][1] > 0


def read_surfaces_file(path: str | os.PathLike[str]) -> tuple[list[Surface], dict[str, Any]]:
    """Return all surfaces and the `meta` of a surfaces file. Raises SurfacesError and OSError as SurfaceFile does."""
    file = SurfaceFile(path)
    return list(file), file.meta


def write_surfaces_file(path: str | os.PathLike[str], surfaces: Sequence[Surface], meta: dict[str, Any]) -> None:
    """Write a surfaces file of format 2; an existing file is replaced only by a whole one.

    meta: a dict that JSON can hold. Raises ValueError for another ending than .safetensors and for a series that is
    refused by `check_series`, OSError when writing fails.
    """
    if suffix_of(path) != SAFETENSORS:
        raise ValueError(f"{path}: a surfaces file is written as {SAFETENSORS}")
    check_series(surfaces)
    values: dict[str, NDArray[Any]] = {
        "states": np.array([surface.state for surface in surfaces]),
        "point_counts": np.array([len(surface.points) for surface in surfaces]),
        "face_counts": np.array([len(surface.faces) for surface in surfaces]),
        "points": np.concatenate([surface.points for surface in surfaces]),
        "normals": np.concatenate([surface.normals for surface in surfaces]),
        "faces": np.concatenate([surface.faces for surface in surfaces]),
    }
    atoms = [surface.atoms for surface in surfaces if surface.atoms is not None]
    if atoms:
        values["atoms"] = np.stack(atoms)
    tensors = {name: np.ascontiguousarray(array, DTYPES[name]) for name, array in values.items()}
    atomic_write.replace(path, save(tensors, {"format": FORMATS[SAFETENSORS], "meta": json.dumps(meta)}))


def _read_meta(tensors: TensorFile) -> dict[str, Any]:
    for name in ("format", "meta"):
        if name not in tensors.texts:
            raise ValueError(f"there is no text {name!r}; is this a surfaces file?")
    if tensors.texts["format"] != tensors.format:
        raise ValueError(f"format is {tensors.texts['format'][:80]!r}, this version reads {tensors.format!r}")
    text = tensors.texts["meta"]
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise ValueError(f"meta is not JSON: {fault}") from fault
    if not isinstance(meta, dict):
        raise ValueError(f"meta must be a JSON object, got {text[:40]!r}")
    return meta


def _read_layout(tensors: TensorFile) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Check all types and shapes; return i8[S+1], the first rows of each state's points and faces, and the ends."""
    (count,) = _shape(tensors, "states", (None,))
    if not count:
        raise ValueError("there are no surfaces")
    ends = []
    for name, row_names in (("point_counts", ("points", "normals")), ("face_counts", ("faces",))):
        _shape(tensors, name, (count,))
        counts = tensors.whole(name)
        if (counts < 0).any():
            raise ValueError(f"{name} has a negative count, {counts.min()}")
        # In Python's integers, which do not overflow.
        total = sum(counts.tolist())
        for row_name in row_names:
            _shape(tensors, row_name, (total, 3))
        ends.append(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))
    if "atoms" in tensors.entries:
        _shape(tensors, "atoms", (count, None, 3))
    return ends[0], ends[1]


def _shape(tensors: TensorFile, name: str, expected: tuple[int | None, ...]) -> tuple[int, ...]:
    """Return the shape of a tensor. Raises ValueError for another type or shape (None: any length)."""
    if name not in tensors.entries:
        raise ValueError(f"there is no tensor {name!r}; is this a surfaces file?")
    dtype, shape = tensors.entries[name]
    if dtype != DTYPES[name]:
        raise ValueError(f"{name} has dtype {dtype}, expected {DTYPES[name]}")
    if len(shape) != len(expected) or any(
        length is not None and length != actual for length, actual in zip(expected, shape, strict=True)
    ):
        lengths = ", ".join("any" if length is None else str(length) for length in expected)
        raise ValueError(f"{name} has shape {list(shape)}, expected [{lengths}]")
    return shape


def _read_states(tensors: TensorFile) -> list[float]:
    states = tensors.whole("states")
    if not np.isfinite(states).all():
        raise ValueError(f"a state must be a finite number, got {states[~np.isfinite(states)][0]}")
    for before, after in itertools.pairwise(states):
        if not before < after:
            raise ValueError(f"states must rise, got {after:g} after {before:g}")
    return [float(state) for state in states]


def chosen_states(available: Collection[float], text: str, path: str) -> list[float]:
    """Return the states of a states text, all of which the file `path` must hold. Raises ValueError."""
    if text.strip().lower() == "all":
        return sorted(available)
    chosen = sorted(float(state) for state in states_texts.parse(text, fractional=True))
    if missing := sorted(set(chosen) - set(available)):
        held = states_texts.format(sorted(available))
        raise ValueError(f"states {text}: {path} holds the states {held}, not {missing[0]:g}")
    return chosen
