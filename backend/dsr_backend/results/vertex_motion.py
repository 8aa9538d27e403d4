"""How the surface moves, for colours and measures: per vertex in time, per atom over the trajectory."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..fields.base import Field

# States on either side, of the gap between fitted ones: a velocity is a mean over a tenth of a gap.
INSTANT = 0.05
# Å; the slope is a mean over about this width, so that a kink of the surface gives no spike.
SLOPE_WIDTH = 0.4
# f is a distance, so its slope is 1; less than this is a ridge between two parts, where no normal is.
LEAST_SLOPE = 0.25
# Atoms that a vertex is blended from, and Å of distance to their spheres over which they fade.
BLENDED, FADING = 4, 0.7


def normal_velocity(
    field: Field, time: float, points: NDArray[np.float32], smooth: float | None = None
) -> NDArray[np.float32]:
    """Velocity f4[N] of the surface at its points f4[N,3] Å, in Å per state, positive outwards: −∂f/∂t / |∇f|.

    The whole molecule's rigid motion is part of it. At the ends of the fitted states it is taken on their inner side;
    zero for a field of one state. smooth: as in `Field.at`.
    """
    first, last = field.time_range
    if not len(points) or first == last:
        return np.zeros(len(points), np.float32)
    step = INSTANT * field.motion.gap
    before, after = time - step, time + step
    if first <= time <= last and field.motion.period is None:
        before, after = max(first, before), min(last, after)
    x = torch.as_tensor(points, device=field.device)
    slope = torch.linalg.norm(field.at(time, smooth).gradient(x, SLOPE_WIDTH), dim=1).clamp_min(LEAST_SLOPE)
    change = field.at(before, smooth).distance(x) - field.at(after, smooth).distance(x)
    return np.asarray((change / (after - before) / slope).cpu().numpy(), np.float32)


def rmsf(field: Field) -> NDArray[np.float32] | None:
    """How far each atom goes, f4[A] in Å: root mean square distance from its mean place over the fitted states.

    The rigid motion of the whole molecule is left out where the fit left it out (`align`). None without atoms.
    """
    atoms = field.motion.atoms
    if atoms is None:
        return None
    # State by state: all of a long trajectory in double precision would be a copy twice its size.
    mean = atoms.mean(0, dtype=np.float64)
    squares = np.zeros(len(mean))
    for placed in atoms:
        squares += ((placed - mean) ** 2).sum(1)
    return np.sqrt(squares / len(atoms)).astype(np.float32)


def atom_weights(
    points: NDArray[np.float32], atoms: NDArray[np.float32], radii: NDArray[np.float32] | None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The atoms that a point takes its colour from, i4[N,K], and their shares f4[N,K], which add up to 1.

    points f4[N,3], atoms f4[A,3] and radii f4[A] in Å (none: all alike). The nearest sphere has the largest share;
    others fade with how much farther theirs are.
    """
    if radii is not None and radii.shape != (len(atoms),):
        raise ValueError(f"radii have shape {list(radii.shape)}, the fit has {len(atoms)} atoms")
    count = min(BLENDED, len(atoms))
    distance, near = cKDTree(atoms).query(points, k=count, workers=torch.get_num_threads())
    distance, near = distance.reshape(-1, count), near.reshape(-1, count).astype(np.int32)
    farther = distance if radii is None else distance - radii[near]
    farther = farther - farther.min(1, keepdims=True) if len(points) else farther
    shares = np.exp(-0.5 * (farther / FADING) ** 2)
    return near, (shares / shares.sum(1, keepdims=True)).astype(np.float32)
