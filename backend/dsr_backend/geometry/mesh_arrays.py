"""Checks of the arrays of a mesh."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rows_of_three(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return the values as f8[N,3]. Raises ValueError, with `name`, for another shape and for values not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"{name} must have shape [N, 3], got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; row {int(np.argmin(np.isfinite(array).all(axis=1)))} is not")
    return array


def face_indices(faces: ArrayLike, point_count: int) -> NDArray[np.int64]:
    """Return the faces as i8[M,3]. Raises ValueError for another shape or type and for indices out of range."""
    array = np.asarray(faces)
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "iu":
        raise ValueError(f"faces must be integers of shape [M, 3], got {array.dtype} {list(array.shape)}")
    # numpy would silently take -1 as the last point.
    if array.size and (array.min() < 0 or array.max() >= point_count):
        raise ValueError(f"faces must index {point_count} points, got indices {array.min()} to {array.max()}")
    return array.astype(np.int64)
