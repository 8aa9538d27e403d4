"""Writes a mesh as a binary STL file."""

from __future__ import annotations

import numpy as np

from .checks import CheckedMesh


def stl_bytes(mesh: CheckedMesh) -> bytes:
    """Return the file's content: triangles with the normal of each. STL has no colours and no vertex normals."""
    corners = mesh.points[mesh.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1, keepdims=True)
    triangles = np.zeros(len(corners), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attributes", "<u2")])
    triangles["normal"] = np.divide(cross, length, out=np.zeros_like(cross), where=length > 0)
    triangles["corners"] = corners
    # Readers take a header that begins with "solid" for a text file.
    header = b"binary STL, unit: angstrom".ljust(80)
    return header + len(corners).to_bytes(4, "little") + triangles.tobytes()
