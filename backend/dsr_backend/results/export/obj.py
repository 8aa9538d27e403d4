"""Writes a mesh as a Wavefront OBJ file."""

from __future__ import annotations

import numpy as np

from .checks import CheckedMesh
from .rows import text_rows


def obj_bytes(mesh: CheckedMesh) -> bytes:
    """Return the file's content; the colour of a vertex is three more numbers in its line."""
    if mesh.colors is None:
        vertices = text_rows("v %.5f %.5f %.5f", mesh.points)
    else:
        vertices = text_rows("v %.5f %.5f %.5f %.4f %.4f %.4f", mesh.points, mesh.colors / 255.0)
    corners = np.repeat(mesh.faces + 1, 2, axis=1)
    return (
        b"# unit: angstrom\n"
        + vertices
        + text_rows("vn %.5f %.5f %.5f", mesh.normals)
        + text_rows("f %d//%d %d//%d %d//%d", corners)
    )
