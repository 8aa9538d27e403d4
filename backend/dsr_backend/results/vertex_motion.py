"""Measures how the surface moves: velocities of vertices, fluctuations of atoms, weights of atoms in colours."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..fields.base import Field

# A velocity is a mean over this fraction of the gap between fitted states, on either side.
HALF_INTERVAL = 0.05
# Å; the slope is a mean over about this width, so that a kink of the surface gives no spike.
SLOPE_WIDTH = 0.4
# f is a distance, so its slope is 1; a smaller slope than this is a ridge between two parts, which has no normal.
MIN_SLOPE = 0.25
# Atoms that the colour of a vertex is blended from, and the width in Å of the blending.
BLENDED_ATOMS, BLEND_WIDTH = 4, 0.7


def normal_velocity(
    field: Field, time: float, points: NDArray[np.float32], smooth: float | None = None
) -> NDArray[np.float32]:
    """Return the velocity f4[N] of the surface at its points f4[N,3] Å, in Å per state, positive outwards:
    −∂f/∂t / |∇f|.

    The rigid motion of the whole molecule is included. At the ends of a stretch the difference is one-sided, inside the
    stretch; a stretch of one state has velocity 0, and so has a state that is held between two stretches. smooth: as in
    `Field.at`.
    """
    kernel = field.motion.kernel
    motion_time = time if field.time_axis is None else float(field.time_axis(time))
    stretch = kernel.stretch(motion_time)
    states = field.states[stretch.states]
    first, last = states[0], states[-1]
    if not len(points) or first == last or stretch.time != motion_time:
        return np.zeros(len(points), np.float32)
    step = HALF_INTERVAL * kernel.gap
    before, after = time - step, time + step
    if first <= time <= last and kernel.period is None:
        before, after = max(first, before), min(last, after)
    x = torch.as_tensor(points, device=field.device)
    slope = torch.linalg.norm(field.at(time, smooth).gradient(x, SLOPE_WIDTH), dim=1).clamp_min(MIN_SLOPE)
    change = field.at(before, smooth).distance(x) - field.at(after, smooth).distance(x)
    return np.asarray((change / (after - before) / slope).cpu().numpy(), np.float32)


def rmsf(field: Field) -> NDArray[np.float32] | None:
    """Return the root mean square fluctuation f4[A] in Å of each atom over the fitted states; None without atoms.

    The rigid motion of the whole molecule is left out where the fit left it out (`align`).
    """
    atoms = field.motion.atoms
    if atoms is None:
        return None
    # State by state: all states in double precision would take twice the memory of the trajectory.
    mean = atoms.mean(0, dtype=np.float64)
    squares = np.zeros(len(mean))
    for positions in atoms:
        squares += ((positions - mean) ** 2).sum(1)
    return np.asarray(np.sqrt(squares / len(atoms)), np.float32)


def atom_weights(
    points: NDArray[np.float32], atoms: NDArray[np.float32], radii: NDArray[np.float32] | None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the atoms i4[N,K] that each point takes its colour from, and their weights f4[N,K], which add up to 1.

    points f4[N,3], atoms f4[A,3] and radii f4[A] in Å (None: equal radii). The nearest sphere has the largest weight;
    the weights of the others decrease with the distance of their spheres. Raises ValueError for another number of
    radii.
    """
    if radii is not None and radii.shape != (len(atoms),):
        raise ValueError(f"radii have shape {list(radii.shape)}, the fit has {len(atoms)} atoms")
    count = min(BLENDED_ATOMS, len(atoms))
    distance, neighbors = cKDTree(atoms).query(points, k=count, workers=torch.get_num_threads())
    distance, neighbors = distance.reshape(-1, count), neighbors.reshape(-1, count).astype(np.int32)
    gap = distance if radii is None else distance - radii[neighbors]
    gap = gap - gap.min(1, keepdims=True) if len(points) else gap
    weights = np.exp(-0.5 * (gap / BLEND_WIDTH) ** 2)
    return neighbors, (weights / weights.sum(1, keepdims=True)).astype(np.float32)
