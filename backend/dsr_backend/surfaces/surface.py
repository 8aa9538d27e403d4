"""One state's surface, and the checks of a series of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A tetrahedron: nothing smaller encloses a volume.
_MIN_FACES = 4
# What float32 and text formats with four decimals leave of a unit vector is mended; more is refused.
_NORMAL_TOLERANCE = 1e-2


_ROUNDING = 1e-6


class SurfacesError(Exception):
    """A surfaces file that cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True, eq=False)
class Surface:
    """The molecular surface of one state, in Å.

    state: state number from 1, fractions allowed. points: f4[N,3]. normals: f4[N,3], outward, made unit to
    rounding. faces: i4[M,3], indices into points. atoms: f4[A,3] or None where no atom positions are known.

    Raises ValueError, naming the state and what was found beside what was expected, for wrong shapes, values
    that are not finite, indices out of range, fewer than 4 faces or normals whose length is not 1 within 1 %.
    Whether the surface is closed is not checked: PyMOL's often have an open edge or two.
    """

    state: float
    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    faces: NDArray[np.int32]
    atoms: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        state = float(self.state)
        if not np.isfinite(state):
            raise ValueError(f"a state must be a finite number, got {self.state!r}")
        points = check_vectors(state, "points", self.points)
        normals = check_vectors(state, "normals", self.normals)
        if len(normals) != len(points):
            raise ValueError(f"state {state:g}: {len(normals)} normals for {len(points)} points")
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "normals", unit_normals(state, normals))
        object.__setattr__(self, "faces", check_faces(state, self.faces, len(points)))
        if self.atoms is not None:
            object.__setattr__(self, "atoms", check_vectors(state, "atoms", self.atoms))


def check_series(surfaces: Sequence[Surface]) -> None:
    """Raises ValueError unless there are surfaces, their states rise and their atom counts agree."""
    if not surfaces:
        raise ValueError("there are no surfaces")
    first = surfaces[0]
    for before, after in itertools.pairwise(surfaces):
        if not before.state < after.state:
            raise ValueError(f"states must rise, got {after.state:g} after {before.state:g}")
        if _atom_count(after) != _atom_count(first):
            raise ValueError(
                f"state {after.state:g} has {_atom_count(after)} atoms, state {first.state:g} has "
                f"{_atom_count(first)}: give each molecule a trajectory of its own"
            )


def check_vectors(state: float, name: str, values: Any) -> NDArray[np.float32]:
    # Overflow to infinity is refused below, with the row.
    with np.errstate(over="ignore"):
        array: NDArray[np.float32] = np.array(values, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"state {state:g}: {name} must have shape [N, 3], got {list(array.shape)}")
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(f"state {state:g}: {name} must be finite, row {row} is {array[row].tolist()}")
    return array


def unit_normals(state: float, normals: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(normals.astype(np.float64), axis=1)
    wrong = np.abs(length - 1) > _NORMAL_TOLERANCE
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"state {state:g}: normals must have length 1, row {row} has {length[row]:.6g}")
    # Normals that are unit already keep their bits, so that a file read and written again is the same file.
    length[np.abs(length - 1) <= _ROUNDING] = 1
    unit: NDArray[np.float32] = (normals / length[:, None]).astype(np.float32)
    return unit


def check_faces(state: float, values: Any, point_count: int) -> NDArray[np.int32]:
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "iu":
        raise ValueError(
            f"state {state:g}: faces must be integers of shape [M, 3], got {array.dtype} {list(array.shape)}"
        )
    if len(array) < _MIN_FACES:
        raise ValueError(f"state {state:g}: a surface has at least {_MIN_FACES} faces, got {len(array)}")
    if array.min() < 0 or array.max() >= point_count:
        raise ValueError(
            f"state {state:g}: faces must index {point_count} points, got indices {array.min()} to {array.max()}"
        )
    return array.astype(np.int32)


def _atom_count(surface: Surface) -> int:
    return 0 if surface.atoms is None else len(surface.atoms)
