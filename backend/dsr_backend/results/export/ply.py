"""Writes a mesh as a PLY file."""

from __future__ import annotations

import numpy as np

from .checks import CheckedMesh
from .rows import text_rows


def ply_bytes(mesh: CheckedMesh, binary: bool) -> bytes:
    """Return the file's content, as text or little-endian."""
    fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    if mesh.colors is not None:
        fields += [(name, "u1") for name in ("red", "green", "blue")]
    header = [
        "ply",
        f"format {'binary_little_endian' if binary else 'ascii'} 1.0",
        "comment unit: angstrom",
        f"element vertex {len(mesh.points)}",
        *(f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in fields),
        f"element face {len(mesh.faces)}",
        "property list uchar int vertex_indices",
        "end_header",
        "",
    ]
    content = "\n".join(header).encode("ascii")
    return content + (_binary_body(mesh, fields) if binary else _text_body(mesh))


def _text_body(mesh: CheckedMesh) -> bytes:
    vertices = (
        text_rows("%.5f %.5f %.5f %.5f %.5f %.5f", mesh.points, mesh.normals)
        if mesh.colors is None
        else text_rows("%.5f %.5f %.5f %.5f %.5f %.5f %d %d %d", mesh.points, mesh.normals, mesh.colors)
    )
    return vertices + text_rows("3 %d %d %d", mesh.faces)


def _binary_body(mesh: CheckedMesh, fields: list[tuple[str, str]]) -> bytes:
    vertices = np.empty(len(mesh.points), dtype=fields)
    for column, name in enumerate(("x", "y", "z")):
        vertices[name], vertices["n" + name] = mesh.points[:, column], mesh.normals[:, column]
    if mesh.colors is not None:
        for column, name in enumerate(("red", "green", "blue")):
            vertices[name] = mesh.colors[:, column]
    polygons = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("indices", "<i4", 3)])
    polygons["count"], polygons["indices"] = 3, mesh.faces
    return vertices.tobytes() + polygons.tobytes()
