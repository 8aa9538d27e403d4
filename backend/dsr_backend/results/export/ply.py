"""PLY files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .rows import text_rows


def ply_bytes(
    points: NDArray[np.float64],
    normals: NDArray[np.float64],
    faces: NDArray[np.int32],
    colors: NDArray[np.uint8] | None,
    binary: bool,
) -> bytes:
    fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    if colors is not None:
        fields += [(name, "u1") for name in ("red", "green", "blue")]
    header = [
        "ply",
        f"format {'binary_little_endian' if binary else 'ascii'} 1.0",
        "comment unit: angstrom",
        f"element vertex {len(points)}",
        *(f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in fields),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
        "",
    ]
    start = "\n".join(header).encode("ascii")
    if not binary:
        columns = [points, normals] if colors is None else [points, normals, colors]
        row = "%.5f %.5f %.5f %.5f %.5f %.5f" + (" %d %d %d" if colors is not None else "")
        return start + text_rows(row, *columns) + text_rows("3 %d %d %d", faces)
    vertices = np.empty(len(points), dtype=fields)
    for column, name in enumerate(("x", "y", "z")):
        vertices[name], vertices["n" + name] = points[:, column], normals[:, column]
    if colors is not None:
        for column, name in enumerate(("red", "green", "blue")):
            vertices[name] = colors[:, column]
    polygons = np.empty(len(faces), dtype=[("count", "u1"), ("indices", "<i4", 3)])
    polygons["count"], polygons["indices"] = 3, faces
    return start + vertices.tobytes() + polygons.tobytes()
