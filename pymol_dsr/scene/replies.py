"""The backend's replies about one time of a field, as the scene takes them.

The names that arrays have on the wire (`near`, `shares`) end here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared.frames import Arrays
from ..shared.mesh import Mesh
from .maps import Lattice
from .palettes import GREY, Colors, one_color


@dataclass(frozen=True, eq=False)
class MeshReply:
    """A surface at one time, with the atoms f4[A,3] (Å) at that time where the fit has some.

    expected_error: Å, None within the fitted range. nearest: i4[N], the atom nearest to each vertex. neighbor_indices
    i4[N,K] and weights f4[N,K]: the atoms that a vertex is blended from, where the request asked for them.
    """

    mesh: Mesh
    expected_error: float | None
    atoms: NDArray[np.float32] | None = None
    nearest: NDArray[np.int32] | None = None
    neighbor_indices: NDArray[np.int32] | None = None
    weights: NDArray[np.float32] | None = None

    @classmethod
    def from_wire(cls, result: Mapping[str, Any], arrays: Arrays) -> MeshReply:
        """Read the reply to `mesh`, or the arrays of the event `preview`."""
        return cls(
            Mesh.from_arrays(arrays),
            _expected_error(result),
            arrays.get("atoms"),
            arrays.get("nearest"),
            arrays.get("near"),
            arrays.get("shares"),
        )

    def vertex_colors(self, atom_colors: Colors | None, rgb: Sequence[float] = GREY) -> Colors:
        """Return colours f4[N,3] of the vertices from those of the atoms f4[A,3], or `rgb` where none are known."""
        if atom_colors is None or self.nearest is None:
            return one_color(len(self.mesh.points), rgb)
        return atom_colors[self.nearest]

    def center(self) -> NDArray[np.float64]:
        """Return the middle f8[3] of the atoms, or of the vertices (Å)."""
        for positions in (self.atoms, self.mesh.points):
            if positions is not None and len(positions):
                return np.asarray(positions.mean(axis=0), np.float64)
        return np.zeros(3)


@dataclass(frozen=True, eq=False)
class GridReply:
    """Signed distances at one time. expected_error: Å, None within the fitted range."""

    distances: Lattice
    expected_error: float | None

    @classmethod
    def from_wire(cls, result: Mapping[str, Any], arrays: Arrays) -> GridReply:
        """Read the reply to `grid`."""
        lattice = Lattice(arrays["values"], result["origin"], float(result["spacing"]))
        return cls(lattice, _expected_error(result))

    def center(self) -> NDArray[np.float64]:
        """Return the middle f8[3] of the lattice (Å)."""
        lattice = self.distances
        return np.asarray(np.array(lattice.origin) + 0.5 * lattice.spacing * np.array(lattice.values.shape))


Reply = MeshReply | GridReply


def read_replies(answers: Iterable[tuple[Mapping[str, Any], Arrays]]) -> Iterator[Reply]:
    """Read the replies to `mesh` or `grid`, one after another."""
    for result, arrays in answers:
        yield (GridReply if "values" in arrays else MeshReply).from_wire(result, arrays)


def _expected_error(result: Mapping[str, Any]) -> float | None:
    expected = result.get("expected_error")
    return None if expected is None else float(expected)
