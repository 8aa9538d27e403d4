"""Writes a mesh as a NumPy `.npz` file."""

from __future__ import annotations

import io

import numpy as np

from .checks import CheckedMesh


def npz_bytes(mesh: CheckedMesh) -> bytes:
    """Return the file's content: arrays points f4[N,3], normals f4[N,3], faces i4[M,3] and, with colours, colors
    u1[N,3].
    """
    arrays = {
        "points": mesh.points.astype("<f4"),
        "normals": mesh.normals.astype("<f4"),
        "faces": mesh.faces.astype("<i4"),
    }
    if mesh.colors is not None:
        arrays["colors"] = mesh.colors
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()
