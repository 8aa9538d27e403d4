"""Least-squares superposition of atoms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def superpose(
    moving: NDArray[np.float64], fixed: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rotation R f8[3,3] and translation t f8[3] (Å) that bring moving @ R.T + t nearest to fixed.

    moving, fixed: f8[A,3] Å. R never mirrors (Kabsch 1976). Atoms on a line leave R open; any R that fits is returned.
    """
    a, b = moving.mean(0), fixed.mean(0)
    u, _, vt = np.linalg.svd((moving - a).T @ (fixed - b))
    proper = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = vt.T @ proper @ u.T
    return rotation, b - a @ rotation.T
