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

    def to_arrays(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """Give points, normals and faces by name, each name after `prefix`."""
        return {f"{prefix}points": self.points, f"{prefix}normals": self.normals, f"{prefix}faces": self.faces}
