"""Least-squares superposition of atoms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def superpose(
    moving: NDArray[np.float64], fixed: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation R f8[3,3] and translation t f8[3] with moving @ R.T + t nearest to fixed, both f8[A,3] Å.

    Kabsch 1976; R is proper, and where the atoms leave it open, as in a line, one of those that fit.
    """
    a, b = moving.mean(0), fixed.mean(0)
    u, _, vt = np.linalg.svd((moving - a).T @ (fixed - b))
    turn = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T)) or 1.0])
    rotation = vt.T @ turn @ u.T
    return rotation, b - a @ rotation.T
