"""Wavefront OBJ files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .rows import text_rows


def obj_bytes(
    points: NDArray[np.float64],
    normals: NDArray[np.float64],
    faces: NDArray[np.int32],
    colors: NDArray[np.uint8] | None,
) -> bytes:
    if colors is None:
        vertices = text_rows("v %.5f %.5f %.5f", points)
    else:
        vertices = text_rows("v %.5f %.5f %.5f %.4f %.4f %.4f", points, colors / 255.0)
    corners = np.repeat(faces + 1, 2, axis=1)
    return (
        b"# unit: angstrom\n"
        + vertices
        + text_rows("vn %.5f %.5f %.5f", normals)
        + text_rows("f %d//%d %d//%d %d//%d", corners)
    )
