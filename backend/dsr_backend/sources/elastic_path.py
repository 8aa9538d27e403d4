"""A path between two far end states that is pulled out of the first one against its elastic network.

Straight lines move all parts at once. In a molecule that is pulled from one state into another, the parts that hang on
few contacts go first. Here each pair of near trace atoms is a spring of the first state; springs between residues far
apart along the chain give way as contacts do. A pull towards the last state grows from nothing, and at each strength
the state of least energy is a state of the path. The mean of this path and the straight one is taken: the network knows
the order of the motions, and exaggerates it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from ..motion.superpose import superpose_states

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

# All of these were chosen on AdK's first DIMS path and FRODA, and tested on the second DIMS path.
# Springs join trace atoms nearer than this, Å; their strength falls as distance⁻⁶ from 1 at 3.8 Å.
CUTOFF = 13.0
UNIT_DISTANCE = 3.8
# Factors of the strength of springs between neighbours, and next neighbours, along the chain.
BOND_FACTOR, ANGLE_FACTOR = 30.0, 30.0**0.5
# Springs over at most so many residues never give way; others lose their pull when stretched by some Å.
LOCAL_SEPARATION = 3
CONTACT_WIDTH = 3.0
# The pull on each atom, from weakest to strongest, in units of the springs.
PULLS = np.geomspace(1e-4, 3.0, 30)
STEPS = 60
# Weight of this path; the rest is the straight one.
WEIGHT = 0.5
# Separation that stands for atoms of different chains.
OTHER_CHAIN = 1_000_000


def elastic_path(
    first: Floats,
    last: Floats,
    number: Indices,
    fractions: Floats,
    check: Callable[[], None] = lambda: None,
) -> NDArray[np.float64]:
    """Return the path f8[F,K,3] (Å) between two superposed states f[K,3], at fractions f[F] of its length.

    The atoms are those of the trace. number: i8[K], places along the chain, far apart for different chains. check:
    called often, may raise.
    """
    start, end = np.asarray(first, np.float64), np.asarray(last, np.float64)
    network = _Network(start, number)
    path, current = [start], start
    for pull in PULLS:
        check()
        current = network.pulled(superpose_states(current[None], end)[0], end, float(pull))
        path.append(current)
    path.append(end)
    # Each state on the one before: the length of the path counts no turning.
    for k in range(1, len(path)):
        path[k] = superpose_states(path[k][None], path[k - 1])[0]
    pulled = superpose_states(_at_length(np.stack(path), fractions), start)
    weights = np.asarray(fractions, np.float64)[:, None, None]
    straight = (1.0 - weights) * start + weights * end
    return np.asarray(WEIGHT * pulled + (1.0 - WEIGHT) * straight)


def chain_numbers(count: int, chain_next: Indices, trace: Indices) -> Indices:
    """Return places along the chain i8[K] of trace atoms i8[K] of `count` atoms, chains far apart.

    chain_next: i8[N,2], atoms that follow each other.
    """
    trace_index = np.full(count, -1, np.int64)
    trace_index[trace] = np.arange(len(trace))
    linked = np.zeros(len(trace), bool)
    linked[trace_index[chain_next[:, 1]]] = True
    return np.asarray(np.arange(len(trace)) + OTHER_CHAIN * np.cumsum(~linked))


class _Network:
    """Springs between trace atoms of one state."""

    def __init__(self, state: NDArray[np.float64], number: Indices) -> None:
        self.count = len(state)
        pairs = cKDTree(state).query_pairs(CUTOFF, output_type="ndarray")
        self.i, self.j = pairs[:, 0], pairs[:, 1]
        self.rest = np.linalg.norm(state[self.i] - state[self.j], axis=1)
        separation = np.abs(number[self.i] - number[self.j])
        self.strength = (self.rest / UNIT_DISTANCE) ** -6.0
        self.strength[separation == 1] *= BOND_FACTOR
        self.strength[separation == 2] *= ANGLE_FACTOR
        self.width = np.where(separation <= LOCAL_SEPARATION, 1e3, CONTACT_WIDTH)

    def energy(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the energy ½ k w² (1 − exp(−(d − d₀)² / w²)) of a state f8[K,3] and its gradient f8[K,3]."""
        difference = x[self.i] - x[self.j]
        distance = np.maximum(np.linalg.norm(difference, axis=1), 1e-9)
        stretch = distance - self.rest
        left = np.exp(-((stretch / self.width) ** 2))
        energy = float((0.5 * self.strength * self.width**2 * (1.0 - left)).sum())
        force = (self.strength * stretch * left / distance)[:, None] * difference
        gradient = np.stack(
            [
                np.bincount(self.i, force[:, axis], self.count) - np.bincount(self.j, force[:, axis], self.count)
                for axis in range(3)
            ],
            1,
        )
        return energy, gradient

    def pulled(self, start: NDArray[np.float64], end: NDArray[np.float64], pull: float) -> NDArray[np.float64]:
        """Return the state of least energy near `start` under a pull of this strength towards `end`."""

        def total(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            x = flat.reshape(-1, 3)
            energy, gradient = self.energy(x)
            displacement = x - end
            return energy + 0.5 * pull * float((displacement**2).sum()), (gradient + pull * displacement).ravel()

        options = {"maxiter": STEPS}
        return np.asarray(minimize(total, start.ravel(), jac=True, method="L-BFGS-B", options=options).x).reshape(-1, 3)


def _at_length(path: NDArray[np.float64], fractions: Floats) -> NDArray[np.float64]:
    """Return the states f8[F,K,3] at fractions of the length of a path f8[N,K,3], in straight pieces."""
    pieces = np.sqrt(((path[1:] - path[:-1]) ** 2).sum((1, 2)))
    length = np.concatenate([[0.0], np.cumsum(pieces)])
    at = np.asarray(fractions, np.float64) * length[-1]
    after = np.clip(np.searchsorted(length, at), 1, len(length) - 1)
    fraction = (at - length[after - 1]) / np.maximum(length[after] - length[after - 1], 1e-12)
    weights = np.clip(fraction, 0.0, 1.0)[:, None, None]
    return np.asarray((1.0 - weights) * path[after - 1] + weights * path[after])
