"""Carries all atoms along with the trace: each residue moves rigidly with the trace atoms around it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..motion.superpose import nearest_rotations

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

# Trace atoms around one that carry its residue along, to each side.
WINDOW = 3


def carried_along(state: Floats, trace: Indices, rides_on: Indices, moved: Floats) -> NDArray[np.float64]:
    """Return states f8[F,A,3] (Å) of all atoms where the trace has moved.

    state: f[A,3], of all atoms. trace: i8[K]. rides_on: i8[A], the place in the trace that each atom moves with. moved:
    f[F,K,3], the trace; its atoms lie exactly there.
    """
    count = len(trace)
    around = np.clip(np.arange(count)[:, None] + np.arange(-WINDOW, WINDOW + 1), 0, count - 1)
    initial = np.asarray(state, np.float64)
    local = initial - initial[trace][rides_on]
    states = []
    for places in np.asarray(moved, np.float64):
        rotations = _rotations(initial[trace][around], places[around])
        placed = np.einsum("aij,aj->ai", rotations[rides_on], local) + places[rides_on]
        placed[trace] = places
        states.append(placed)
    return np.stack(states)


def _rotations(moving: Floats, fixed: Floats) -> NDArray[np.float64]:
    """Return the rotations f8[N,3,3] (for columns) that bring sets of points f[N,P,3] nearest to others."""
    a, b = moving - moving.mean(1, keepdims=True), fixed - fixed.mean(1, keepdims=True)
    return nearest_rotations(np.einsum("npi,npj->nij", b, a))
