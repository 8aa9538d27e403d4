"""Superposition of many states at once; `pymol_dsr.shared.superpose` has that of two."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def superpose_states(
    states: NDArray[np.floating[Any]], fixed: NDArray[np.floating[Any]], chosen: NDArray[np.integer[Any]] | None = None
) -> NDArray[np.float64]:
    """Return the states f8[S,A,3] (Å), each moved rigidly onto `fixed` f[A,3] (Å) by its atoms `chosen` i[N].

    All atoms decide where `chosen` is not given. Fewer than three atoms are only centred.
    """
    moving, target = np.asarray(states, np.float64), np.asarray(fixed, np.float64)
    of_states, of_target = (moving, target) if chosen is None else (moving[:, chosen], target[chosen])
    centres, centre = of_states.mean(1, keepdims=True), of_target.mean(0)
    if of_target.shape[0] < 3:
        return np.asarray(moving - centres + centre)
    rotations = nearest_rotations(np.einsum("sai,aj->sij", of_states - centres, of_target - centre))
    return np.asarray((moving - centres) @ rotations + centre)


def nearest_rotations(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotations R f8[N,3,3] with a R nearest to b, from products aᵀb f8[N,3,3] of centred atoms f[A,3]."""
    u, _, vt = np.linalg.svd(products)
    # A mirror image would be nearer still.
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return np.asarray(u @ vt)
