"""Binary STL files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stl_bytes(points: NDArray[np.float64], faces: NDArray[np.int32]) -> bytes:
    corners = points[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    triangles = np.zeros(len(faces), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attributes", "<u2")])
    triangles["normal"] = np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)
    triangles["corners"] = corners
    # A header that begins with "solid" would be taken for a text file.
    header = b"binary STL, unit: angstrom".ljust(80)
    return header + np.uint32(len(faces)).astype("<u4").tobytes() + triangles.tobytes()
