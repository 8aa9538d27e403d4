"""Atoms on atoms: the rigid motion that brings them nearest (Kabsch 1976)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# States are not superposed where they lie so many times farther apart than after superposition, and so far (Å).
APART_RATIO, APART = 1.5, 1.0
# Atoms lie on a line where the square of their extent across it is at most so much of that along it.
LINE = 1e-2


def is_apart(raw: float, superposed: float) -> bool:
    """Whether states are not superposed, by their mean RMSD (Å) as they lie and after superposition."""
    return raw - superposed >= APART and raw >= APART_RATIO * superposed


def turn_onto(atoms: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation f8[3,3] for columns that brings centred atoms f8[A,3] nearest to others f8[A,3] (Å)."""
    u, _, vt = np.linalg.svd(atoms.T @ others)
    # A mirror image would be nearer still.
    proper = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation: NDArray[np.float64] = vt.T @ proper @ u.T
    return rotation


def superpose(moving: NDArray[Any], fixed: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation f8[3,3] and shift f8[3] (Å) with moving @ rotation.T + shift nearest to fixed, both [A,3] Å.

    Atoms on a line leave the rotation open; any that fits is returned.
    """
    a, b = np.asarray(moving, np.float64), np.asarray(fixed, np.float64)
    rotation = turn_onto(a - a.mean(axis=0), b - b.mean(axis=0))
    return rotation, b.mean(axis=0) - a.mean(axis=0) @ rotation.T


def rmsd(atoms: NDArray[Any], others: NDArray[Any]) -> float:
    """Root mean square deviation in Å of atoms [A,3] from others [A,3], superposed."""
    rotation, shift = superpose(atoms, others)
    return raw_rmsd(np.asarray(atoms, np.float64) @ rotation.T + shift, others)


def raw_rmsd(atoms: NDArray[Any], others: NDArray[Any]) -> float:
    """Root mean square deviation in Å of atoms [A,3] from others [A,3] as they lie, not superposed."""
    deviations = np.asarray(atoms, np.float64) - others
    return float(np.sqrt(np.mean(np.sum(deviations**2, axis=1))))


def turn_angle(atoms: NDArray[Any], others: NDArray[Any]) -> float:
    """Return the degrees by which a molecule turns from atoms [A,3] to others [A,3] (Å).

    0 where a turn brings them hardly nearer, as with atoms that go their own ways. For atoms on a line, which leave
    the turn about that line open, the angle of the line.
    """
    a, b = np.asarray(atoms, np.float64), np.asarray(others, np.float64)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    rotation = turn_onto(a, b)
    if not is_apart(raw_rmsd(a, b), raw_rmsd(a @ rotation.T, b)):
        return 0.0
    axes, extents, other_axes = np.linalg.svd(a.T @ b)
    is_line = extents[1] < LINE * extents[0]
    cosine = axes[:, 0] @ other_axes[0] if is_line else (np.trace(rotation) - 1.0) / 2.0
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
