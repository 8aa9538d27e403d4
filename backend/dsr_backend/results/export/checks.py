"""Checks a mesh and its colours before they are written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...geometry.mesh_arrays import face_indices, rows_of_three

_RIGID_TOLERANCE = 1e-3


@dataclass(frozen=True)
class CheckedMesh:
    """A checked mesh in the coordinates to write: points f8[N,3] Å, normals f8[N,3], faces i4[M,3], colors u1[N,3]
    (sRGB) or None.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    faces: NDArray[np.int32]
    colors: NDArray[np.uint8] | None


def unit_normals(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale normals f8[N,3] to length 1, which glTF requires; a normal of length 0 becomes +z."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.where(length > 0, length, 1.0), (0.0, 0.0, 1.0))


def checked_mesh(
    points: ArrayLike, normals: ArrayLike, faces: ArrayLike, colors: ArrayLike | None, matrix: ArrayLike | None
) -> CheckedMesh:
    """Check the arrays of a mesh and move it by `matrix`; arguments and errors as of `export.write.to_bytes`."""
    points, normals = rows_of_three(points, "points"), rows_of_three(normals, "normals")
    faces = face_indices(faces, len(points)).astype(np.int32)
    if len(normals) != len(points):
        raise ValueError(f"a mesh needs one normal per point, got {len(normals)} for {len(points)} points")
    channels = None if colors is None else check_colors(colors, len(points))
    if matrix is not None:
        rotation, translation = rigid_motion(matrix)
        points, normals = points @ rotation.T + translation, normals @ rotation.T
    return CheckedMesh(points, normals, faces, channels)


def check_colors(values: ArrayLike, point_count: int) -> NDArray[np.uint8]:
    """Return colours from 0 to 1 as u1[N,3]. Raises ValueError for another shape and for values out of range."""
    array = rows_of_three(values, "colors")
    if len(array) != point_count:
        raise ValueError(f"a mesh needs one colour per point, got {len(array)} for {point_count} points")
    if array.size and (array.min() < 0 or array.max() > 1):
        raise ValueError(f"colors must lie from 0 to 1, got {array.min():g} to {array.max():g}")
    channels: NDArray[np.uint8] = np.rint(array * 255).astype(np.uint8)
    return channels


def rigid_motion(matrix: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rotation f8[3,3] and translation f8[3] of a matrix [4,4]. Raises ValueError where it is not rigid."""
    array = np.asarray(matrix, dtype=np.float64)
    if array.shape != (4, 4):
        raise ValueError(f"matrix must have shape [4, 4], got {list(array.shape)}")
    rotation = array[:3, :3]
    rigid = (
        np.isfinite(array).all()
        and np.allclose(array[3], (0, 0, 0, 1), atol=_RIGID_TOLERANCE)
        and np.allclose(rotation @ rotation.T, np.eye(3), atol=_RIGID_TOLERANCE)
        and np.linalg.det(rotation) > 0
    )
    if not rigid:
        raise ValueError(f"matrix must be a rotation and a shift with last row 0 0 0 1, got {array.tolist()}")
    return rotation, array[:3, 3]
