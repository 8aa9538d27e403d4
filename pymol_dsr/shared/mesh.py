"""A triangle mesh, as it passes between functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles in Å: points f4[N,3], normals f4[N,3] outward, faces i4[M,3] (indices into points)."""

    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    faces: NDArray[np.int32]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Mesh:
        """Take points, normals and faces out of arrays by name, as a frame of the wire holds them."""
        return Mesh(arrays["points"], arrays["normals"], arrays["faces"])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return points, normals and faces by name."""
        return {"points": self.points, "normals": self.normals, "faces": self.faces}

    def signed_volume(self) -> float:
        """Return the enclosed volume in Å³; negative where the faces turn inward."""
        # Around the middle, where an open mesh errs least.
        points = self.points.astype(np.float64) - self.points.mean(axis=0, dtype=np.float64)
        a, b, c = (points[self.faces[:, corner]] for corner in range(3))
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)

    def open_edges(self) -> float:
        """Return the fraction of the edges, 0 to 1, that only one face uses."""
        if self._shares_all_edges():
            return 0.0
        corners = np.sort(self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
        _, uses = np.unique(corners[:, 0] * len(self.points) + corners[:, 1], return_counts=True)
        return float((uses == 1).mean())

    def _shares_all_edges(self) -> bool:
        """Whether each edge belongs to an even number of faces, as in a closed surface."""
        # Each edge has a number, which its second use takes away again. All are gone by chance as rarely as once in
        # 10¹⁹ meshes, and to count the uses takes several times as long.
        numbers = np.random.default_rng(0).integers(0, 2**64, len(self.points), np.uint64)
        edges = numbers[self.faces] * numbers[np.roll(self.faces, -1, axis=1)]
        return not np.bitwise_xor.reduce(edges, axis=None)
