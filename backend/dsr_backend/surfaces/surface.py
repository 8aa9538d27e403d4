"""The surface of one state, and the checks of a series of surfaces."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.extents import gap_fault

# A tetrahedron: fewer faces enclose no volume.
_MIN_FACES = 4
# Lengths within this of 1, as after float32 or text with four decimals, are corrected; others are refused.
_NORMAL_TOLERANCE = 1e-2
# Lengths within this of 1 count as 1.
_ROUNDING = 1e-6


class SurfacesError(ValueError):
    """A surfaces file that cannot be used; the message names the file and its fault."""


@dataclass(frozen=True, eq=False)
class Surface:
    """The molecular surface of one state, in Å.

    state: state number from 1, fractions allowed. points: f4[N,3]. normals: f4[N,3], outward, scaled to unit length up
    to rounding. faces: i4[M,3], indices into points. atoms: f4[A,3], or None where no atom positions are known.

    Raises ValueError, naming the state and both the actual and the expected value, for wrong shapes, values that are
    not finite, indices out of range, fewer than 4 faces and normals whose length is not 1 within 1 %. A surface need
    not be closed: PyMOL's often have an open edge or two.
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

    def check_together(self) -> None:
        """Raise ValueError where parts of it are farther apart than any fit takes."""
        if fault := gap_fault(self.points if self.atoms is None else self.atoms):
            raise ValueError(f"state {self.state:g}: {fault}")

    @property
    def atom_count(self) -> int:
        """Number of atoms; 0 where no atom positions are known."""
        return 0 if self.atoms is None else len(self.atoms)


def stacked_atoms(surfaces: Sequence[Surface]) -> NDArray[np.float32] | None:
    """Return the atoms f4[S,A,3] (Å) of all states; None where no atom positions are known."""
    positions = [surface.atoms for surface in surfaces if surface.atoms is not None and len(surface.atoms)]
    return np.stack(positions) if positions else None


def check_series(surfaces: Sequence[Surface]) -> None:
    """Raise ValueError unless there are surfaces, their states rise and their numbers of atoms agree."""
    if not surfaces:
        raise ValueError("there are no surfaces")
    first = surfaces[0]
    first.check_together()
    for before, after in itertools.pairwise(surfaces):
        if not before.state < after.state:
            raise ValueError(f"states must rise, got {after.state:g} after {before.state:g}")
        check_atom_count(after, first.state, first.atom_count)
        after.check_together()


def check_atom_count(surface: Surface, first_state: float, first_count: int) -> None:
    """Raise ValueError unless a surface has as many atoms as the first one of its trajectory."""
    if surface.atom_count != first_count:
        raise ValueError(
            f"state {surface.state:g} has {surface.atom_count} atoms, state {first_state:g} has {first_count}: "
            "give each molecule a trajectory of its own"
        )


def check_vectors(state: float, name: str, values: Any) -> NDArray[np.float32]:
    """Return a copy of the values as f4[N,3]. Raises ValueError for another shape and for values not finite."""
    # Overflow to infinity is refused below, with its row.
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
    """Scale normals f4[N,3] to length 1. Raises ValueError where a length is not 1 within 1 %."""
    length = np.linalg.norm(normals.astype(np.float64), axis=1)
    wrong = np.abs(length - 1) > _NORMAL_TOLERANCE
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"state {state:g}: normals must have length 1, row {row} has {length[row]:.6g}")
    # Unit normals keep their bits, so that a file that is read and written again has the same content.
    length[np.abs(length - 1) <= _ROUNDING] = 1
    unit: NDArray[np.float32] = (normals / length[:, None]).astype(np.float32)
    return unit


def check_faces(state: float, values: Any, point_count: int) -> NDArray[np.int32]:
    """Return the faces as i4[M,3]. Raises ValueError for another shape or type and for indices out of range."""
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
