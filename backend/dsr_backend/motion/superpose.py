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
    u, _, vt = np.linalg.svd(np.einsum("sai,aj->sij", of_states - centres, of_target - centre))
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return np.asarray((moving - centres) @ (u @ vt) + centre)
