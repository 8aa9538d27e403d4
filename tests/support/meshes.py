"""Meshes whose shape is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from pymol_dsr.shared.mesh import Mesh
from pymol_dsr.shared.messages import MeshResult


def sphere(radius, centre=(3.0, -2.0, 7.0), count=24) -> Mesh:
    """Build a closed mesh of a sphere."""
    up = np.linspace(0, np.pi, count)
    around = np.linspace(0, 2 * np.pi, 2 * count, endpoint=False)
    theta, phi = np.meshgrid(up, around, indexing="ij")
    normals = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(count - 1), np.arange(2 * count), indexing="ij")
    a, b = i * 2 * count + j, i * 2 * count + (j + 1) % (2 * count)
    faces = np.concatenate(
        [np.stack(f, -1).reshape(-1, 3) for f in ((a, a + 2 * count, b), (b, a + 2 * count, b + 2 * count))]
    )
    return Mesh((radius * normals + centre).astype("f4"), normals.astype("f4"), faces.astype("i4"))


def mesh_result(mesh: Mesh, **options: Any) -> MeshResult:
    """The backend's result with these triangles; more: its other values and arrays."""
    values = {"area": 1.0, "volume": 1.0, "extrapolated": options.get("expected_error") is not None, **options}
    return MeshResult(points=mesh.points, normals=mesh.normals, faces=mesh.faces, **values)


def triangles_of(floats, operations=3) -> np.ndarray:
    """Read PyMOL's numbers of fans: f4[M,3,4 * operations], a code and three values for each operation of a corner.

    A corner without a colour has that of the one before it.
    """
    numbers, at = np.array(floats, np.float32), 0
    triangles = []
    while at < len(numbers):
        assert numbers[at : at + 2].tolist() == [2.0, 6.0]
        corners, written = [], {}
        at += 2
        while numbers[at] != 3.0:
            written[numbers[at]] = numbers[at : at + 4]
            at += 4
            if numbers[at - 4] == 4.0:
                assert len(written) == operations
                corners.append(np.concatenate([written[code] for code in sorted(written, reverse=True)]))
        at += 1
        triangles += [(corners[0], *corners[k : k + 2]) for k in range(1, len(corners) - 1)]
    return np.array(triangles, np.float32).reshape(-1, 3, 4 * operations)
