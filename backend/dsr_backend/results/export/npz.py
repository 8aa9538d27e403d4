"""NumPy .npz files of a mesh."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray


def npz_bytes(
    points: NDArray[np.float64],
    normals: NDArray[np.float64],
    faces: NDArray[np.int32],
    colors: NDArray[np.uint8] | None,
) -> bytes:
    arrays = {"points": points.astype("<f4"), "normals": normals.astype("<f4"), "faces": faces.astype("<i4")}
    if colors is not None:
        arrays["colors"] = colors
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()
