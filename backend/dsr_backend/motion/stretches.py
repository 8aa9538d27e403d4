"""Stretches of time: runs that were saved one after the other, between which the molecule jumps.

A jump is a step that is longer than its neighbours, and after which the molecule does not come back. Both are measured
on the positions as they are, which shows a jump of the pose, and after superposition, which shows one of the shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymol_dsr.shared.state_times import check_breaks
from pymol_dsr.shared.superpose import superpose

# States on either side that a step is compared with.
NEIGHBOURS = 4
# Fewer states give a step too little to be compared with.
MIN_STATES = 6
# A step's length over the longest of its neighbours, times the least distance across it over the greatest on either
# side. Runs put one after the other have 2.3 and 2.5 where they were superposed (villin), 8 to 300 where not (villin,
# Ala10). AdK by DIMS and FRODA, Trp-cage, villin, trpzip2, rhodopsin and NMR ensembles in any order have 1.6 at most.
JUMP = 2.0
# With a single state on one side, whose own spread is not known. An NMR model unlike all others has 3.5, a crystal
# structure before its simulation has 100.
LONE_JUMP = 10.0
# Jumps are rare: this many times this quantile of all steps is shorter than a jump.
QUANTILE, QUANTILE_FACTOR = 0.75, 1.5
# Atoms that are compared.
MAX_ATOMS = 1_000

Distance = Callable[[int, int], float]
"""(i, j) → distance in Å between the states i and j."""


def find_jumps(atoms: NDArray[np.float32], times: NDArray[np.float64]) -> list[int]:
    """Return the indices of the states after a jump, rising; atoms: f4[S,A,3] Å in the scene at times f8[S].

    A long step over a long time is no jump: steps count as if the motion went straight on.
    """
    if len(atoms) < MIN_STATES:
        return []
    compared = atoms[:, :: max(1, atoms.shape[1] // MAX_ATOMS)].astype(np.float64)

    def displacement(i: int, j: int) -> float:
        return _rms(compared[j] - compared[i])

    def deformation(i: int, j: int) -> float:
        rotation, translation = superpose(compared[j], compared[i])
        return _rms(compared[j] @ rotation.T + translation - compared[i])

    # Fewer than three atoms leave the rotation open.
    measures = (displacement, deformation) if compared.shape[1] >= 3 else (displacement,)
    return sorted({k + 1 for measure in measures for k in _jumps(measure, times)})


def given_breaks(last_states: Sequence[float], states: NDArray[np.float64]) -> list[int]:
    """Return the indices of the states after the cuts that a user names by the last states before them.

    states: f8[S], rising. Raises ValueError for a cut that is not between two of them.
    """
    check_breaks(last_states, states.tolist())
    return sorted({int(np.searchsorted(states, last, "right")) for last in last_states})


def _jumps(distance: Distance, times: NDArray[np.float64]) -> list[int]:
    """Return the indices of the states before a jump by one measure."""
    count = len(times)
    steps = np.array([distance(k, k + 1) for k in range(count - 1)])
    least = QUANTILE_FACTOR * float(np.quantile(steps, QUANTILE))
    return [
        int(k)
        for k in np.flatnonzero(steps > least)
        if _score(int(k), steps, distance, times) > (LONE_JUMP if k in (0, count - 2) else JUMP)
    ]


def _score(k: int, steps: NDArray[np.float64], distance: Distance, times: NDArray[np.float64]) -> float:
    """Return how far the step from state k to k + 1 stands out, as JUMP explains; inf beside states that rest."""
    count = len(times)
    gap = times[k + 1] - times[k]
    beside = [j for j in range(max(0, k - NEIGHBOURS), min(count - 1, k + NEIGHBOURS + 1)) if j != k]
    longest = max(steps[j] * max(1.0, gap / (times[j + 1] - times[j])) for j in beside)
    before = range(max(0, k - NEIGHBOURS + 1), k + 1)
    after = range(k + 1, min(count, k + 1 + NEIGHBOURS))
    across = min(distance(i, j) for i in before for j in after)
    spread = max(distance(i, j) for side in (before, after) for i in side for j in side if i < j)
    span = max(times[before[-1]] - times[before[0]], times[after[-1]] - times[after[0]])
    scale = longest * spread * max(1.0, gap / span)
    return float(steps[k] * across / scale) if scale > 0.0 else float("inf")


def _rms(offset: ArrayLike) -> float:
    """Return the root mean square length of offsets [A,3]."""
    return float(np.sqrt((np.asarray(offset) ** 2).sum(-1).mean()))
