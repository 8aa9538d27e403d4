"""Cuts a mesh open along a plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..shared.mesh import Mesh

# Å between the two sides of a mesh that is cut open, too little to be seen.
THICKNESS = 0.03


def cut_open(mesh: Mesh, center: NDArray[np.float64], direction: NDArray[np.float64]) -> Mesh:
    """Keep what lies behind the plane through `center` f8[3] (Å) across `direction` f8[3], with sharp edges.

    The result has two sides, each with normals of its own: PyMOL's ray leaves the inside of a surface dark.
    """
    height = (mesh.points - center) @ direction
    in_front = height[mesh.faces] > 0
    count_in_front = in_front.sum(axis=1)
    points, normals, faces = [mesh.points], [mesh.normals], [mesh.faces[count_in_front == 0]]
    total = len(mesh.points)
    for crossing_count in (1, 2):
        crossing = mesh.faces[count_in_front == crossing_count]
        rows = np.arange(len(crossing))
        # The corner that is alone on its side of the plane, and the other two as they follow.
        lone = np.argmax(in_front[count_in_front == crossing_count] == (crossing_count == 1), axis=1)
        corner, second, third = (crossing[rows, (lone + step) % 3] for step in range(3))
        ends = []
        for neighbor in (second, third):
            fraction = (height[corner] / (height[corner] - height[neighbor]))[:, None]
            points.append(mesh.points[corner] + fraction * (mesh.points[neighbor] - mesh.points[corner]))
            normal = mesh.normals[corner] + fraction * (mesh.normals[neighbor] - mesh.normals[corner])
            normals.append(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9))
            ends.append(total + rows)
            total += len(rows)
        if crossing_count == 1:
            faces += [np.stack([ends[0], second, third], 1), np.stack([ends[0], third, ends[1]], 1)]
        else:
            faces.append(np.stack([corner, *ends], 1))
    return _two_sided(Mesh(np.concatenate(points), np.concatenate(normals), np.concatenate(faces)))


def _two_sided(mesh: Mesh) -> Mesh:
    """Add the inside, a little behind the outside, with its normals and faces turned round."""
    return Mesh(
        np.concatenate([mesh.points, mesh.points - THICKNESS * mesh.normals]).astype(np.float32),
        np.concatenate([mesh.normals, -mesh.normals]).astype(np.float32),
        np.concatenate([mesh.faces, mesh.faces[:, ::-1] + len(mesh.points)]),
    )
