"""Continues a trajectory by its drift: what of its steps goes on, told from the rest by likelihood.

A step of a molecule is a drift that keeps its direction for some gaps, and random motion that is new in each gap. Soft
motions drift more than stiff ones. So the steps are taken apart into the soft motions of an elastic network of the last
state, which knows nothing of the trajectory: principal motions of a mere random walk look like drifts. Within a band of
motions the ratio of drift to random motion is the one under which the known steps are most likely; the continuation is
the mean of what may follow. Where nothing drifts, the last state is held.

A drift may have ended, and likelihood over all steps notices it late. So the same prediction is made from the latest
states but a few, and compared with the steps that followed: the continuation goes only that fraction of the way which
these steps bear out beyond doubt.
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
# The back-test of a drift: gaps that it looks ahead, the latest origins, the fewest, and the gaps over which the weight
# of an origin falls to 1/e. Standard errors that are taken off. Chosen on paths of AdK by eleven methods, forward and
# backward, without the scored one.
TEST_LEAD = 2
MOST_ORIGINS, LEAST_ORIGINS = 24, 4
TEST_MEMORY = 3.0
STANDARD_ERRORS = 2.0
# Nodes of the elastic network, at most: every second or third trace atom of larger molecules.
MOST_NODES = 400
# Power by which the strength of springs falls with distance; nearer atoms than this, Å, count as so far.
POWER = 8.0
LEAST_DISTANCE = 1.0
# Rigid motions.
RIGID = 6
# Å. Drifts below it are rounding.
STILL = 1e-6


def continued_drift(states: Floats, trace: Indices, rides_on: Indices, frames: int) -> States:
    """Return states f8[F,A,3] (Å), one gap apart, that follow the known ones f[S,A,3] by their drift.

    The known ones are superposed on the last one. trace: i8[K]. rides_on: i8[A], the place in the trace that each atom
    moves with.
    """
    last = np.asarray(states[-1], np.float64)
    soft = _soft_steps(states, trace)
    fraction = 0.0 if soft is None else reliable_fraction(soft[2])
    if soft is None or fraction == 0.0:
        return np.repeat(last[None], frames, 0)
    nodes, axes, steps = soft
    ahead = fraction * expected_drift(steps, frames)
    moved = last[nodes] + (ahead @ axes).reshape(frames, len(nodes), 3)
    if len(nodes) == len(last):
        return np.asarray(moved)
    spacing = len(trace) / len(nodes)
    rides_on = np.minimum((rides_on / spacing + 0.5).astype(np.int64), len(nodes) - 1)
    return carried_along(last, nodes, rides_on, moved)


def drift_fraction(states: Floats, trace: Indices) -> float:
    """Return the fraction of its drift, 0 to 1, that states f[S,A,3] (Å) are continued by: see `continued_drift`."""
    soft = _soft_steps(states, trace)
    return 0.0 if soft is None else reliable_fraction(soft[2])


def _soft_steps(states: Floats, trace: Indices) -> tuple[Indices, Floats, Floats] | None:
    """Return nodes i8[N], soft motions f8[M,3N] of the last state, and steps f8[T,M] (Å) of the latest states in them.

    None where the states or atoms are too few.
    """
    nodes = trace[:: -(-len(trace) // MOST_NODES)]
    if len(states) < LEAST_STATES or 3 * len(nodes) <= RIGID:
        return None
    axes = soft_motions(np.asarray(states[-1], np.float64)[nodes])
    known = np.asarray(states[-MOST_STATES:, nodes], np.float64).reshape(-1, 3 * len(nodes))
    return nodes, axes, np.diff(known @ axes.T, axis=0)


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


def reliable_fraction(steps: Floats) -> float:
    """Return the fraction of its drift, 0 to 1, that the latest steps of f[T,M] bear out.

    From each of the latest origins the drift of the next gaps is predicted. The fraction is the slope of what followed
    on what was predicted, with the latest origins weighing most, less two standard errors. So a continuation that goes
    this fraction of the way is better than holding the last state, unless the motion turns just now.
    """
    known = np.asarray(steps, np.float64)
    latest = len(known) - TEST_LEAD
    origins = np.arange(max(LEAST_STATES - 1, latest - MOST_ORIGINS + 1), latest + 1)
    if len(origins) < LEAST_ORIGINS:
        return 0.0
    predicted = np.stack([expected_drift(known[:origin], TEST_LEAD)[-1] for origin in origins])
    followed = np.stack([known[origin : origin + TEST_LEAD].sum(0) for origin in origins])
    lengths = np.linalg.norm(predicted, axis=1)
    drifts = lengths > STILL
    if drifts.sum() < LEAST_ORIGINS:
        return 0.0
    lengths, along = lengths[drifts], (predicted * followed).sum(1)[drifts] / lengths[drifts]
    weights = np.exp((origins[drifts] - latest) / TEST_MEMORY)
    total = float(weights @ lengths**2)
    slope = float(weights @ (lengths * along)) / total
    misses = along - np.clip(slope, 0.0, 1.0) * lengths
    error = float(np.sqrt((misses**2).mean() * (weights**2 @ lengths**2))) / total
    return float(np.clip(slope - STANDARD_ERRORS * error, 0.0, 1.0))
