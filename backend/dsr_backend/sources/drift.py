"""Continues a trajectory by its drift: what of its steps goes on, told from the rest by likelihood.

A step of a molecule is a drift that keeps its direction for some gaps, and random motion that is new in each gap. Soft
motions drift more than stiff ones. So the steps are taken apart into the soft motions of an elastic network of the last
state, which knows nothing of the trajectory: principal motions of a mere random walk look like drifts. Within a band of
motions the ratio of drift to random motion is the one under which the known steps are most likely; the continuation is
the mean of what may follow. Where nothing drifts, the last state is held.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.spatial.distance import pdist, squareform

from .carry import carried_along

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]
States = NDArray[np.float64]

# All of these were chosen on three DIMS paths of AdK and two of FRODA, other ones than the scored one.
# The rank at which each band of motions ends, softest first. Stiffer motions than the last hardly drift: they are held.
BANDS = (6, 24, 96)
# Gaps over which a drift keeps its direction. Longer ones predict more, and are wrong by more where a motion ends: this
# is the longest lead that decides a back-test. The likelihood never preferred a shorter one.
MEMORY = 20.0
# Variance of the drift over that of the random motion in a gap.
RATIOS = np.concatenate([[0.0], np.geomspace(3e-3, 10.0, 25)])
# Last states whose steps are looked at, and the fewest.
MOST_STATES, LEAST_STATES = 60, 6
# Nodes of the elastic network, at most: every second or third trace atom of larger molecules.
MOST_NODES = 400
# Power by which the strength of springs falls with distance; nearer atoms than this, Å, count as so far.
POWER = 8.0
LEAST_DISTANCE = 1.0
# Rigid motions.
RIGID = 6


def continued_drift(states: Floats, trace: Indices, rides_on: Indices, frames: int) -> States:
    """Return states f8[F,A,3] (Å), one gap apart, that follow the known ones f[S,A,3] by their drift.

    The known ones are superposed on the last one. trace: i8[K]. rides_on: i8[A], the place in the trace that each atom
    moves with.
    """
    last = np.asarray(states[-1], np.float64)
    nodes = trace[:: -(-len(trace) // MOST_NODES)]
    if len(states) < LEAST_STATES or 3 * len(nodes) <= RIGID:
        return np.repeat(last[None], frames, 0)
    axes = soft_motions(last[nodes])
    known = states[-MOST_STATES:, nodes].reshape(-1, 3 * len(nodes))
    ahead = expected_drift(np.diff(known @ axes.T, axis=0), frames)
    moved = last[nodes] + (ahead @ axes).reshape(frames, len(nodes), 3)
    if len(nodes) == len(last):
        return np.asarray(moved)
    spacing = len(trace) / len(nodes)
    rides_on = np.minimum((rides_on / spacing + 0.5).astype(np.int64), len(nodes) - 1)
    return carried_along(last, nodes, rides_on, moved)


def soft_motions(state: Floats) -> NDArray[np.float64]:
    """Return the softest motions f8[M,3K] of a state f[K,3] (Å), orthonormal, softest first, without rigid ones.

    They are those of an elastic network of all pairs, whose springs weaken with distance.
    """
    x = np.asarray(state, np.float64)
    count = len(x)
    distance = squareform(np.maximum(pdist(x), LEAST_DISTANCE))
    np.fill_diagonal(distance, 1.0)
    direction = (x[:, None] - x[None]) / distance[..., None]
    hessian = -np.einsum("ij,ija,ijb->iajb", distance**-POWER, direction, direction)
    diagonal = np.arange(count)
    hessian[diagonal, :, diagonal, :] -= hessian.sum(2)
    highest = min(RIGID + BANDS[-1], 3 * count) - 1
    _, vectors = eigh(hessian.reshape(3 * count, 3 * count), subset_by_index=(RIGID, highest))
    return np.asarray(vectors.T)


def expected_drift(steps: Floats, frames: int) -> NDArray[np.float64]:
    """Return the expected displacements f8[F,M] (Å) from the last state, of steps f[T,M] of motions, softest first."""
    known = np.asarray(steps, np.float64)
    count, motions = known.shape
    time = np.arange(count)
    correlation = np.exp(-np.abs(time[:, None] - time) / MEMORY)
    future = np.cumsum(np.exp(-(np.arange(count, count + frames)[:, None] - time) / MEMORY), 0)
    values, vectors = np.linalg.eigh(correlation)
    # Variances of the steps in the axes of the drift's correlation, over that of the random motion.
    variances = 1.0 + RATIOS[:, None] * np.maximum(values, 0.0)
    squares = (vectors.T @ known) ** 2
    ahead = np.zeros((frames, motions))
    for begin, end in zip((0, *BANDS[:-1]), BANDS, strict=True):
        band = slice(begin, min(end, motions))
        # The random motion of each motion has its own size, the likeliest.
        sizes = np.maximum((1.0 / variances) @ squares[:, band] / count, 1e-30)
        likelihood = -np.log(sizes).sum(1) - sizes.shape[1] / count * np.log(variances).sum(1)
        ratio = RATIOS[likelihood.argmax()]
        ahead[:, band] = ratio * future @ np.linalg.solve(ratio * correlation + np.eye(count), known[:, band])
    return ahead
