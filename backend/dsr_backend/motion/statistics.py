"""Statistics of states: RMSD, RMSF, principal components, autocorrelation, energy scores and bonds.

Coordinates are f[S,A,3] in Å; functions of two sets of states superpose what they compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.spacing import evenly_spaced

from .superpose import superpose_states

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

# A bond is broken where its length differs from its reference length by more, Å.
BROKEN_BOND = 0.2
# Superpositions of all states, each on the mean of the one before.
ROUNDS_TO_MEAN = 5
# A series that varies by less (Å) is constant but for rounding.
STILL = 1e-9


def rmsd_to(states: Floats, reference: Floats) -> NDArray[np.float64]:
    """Return the RMSD f8[S] (Å) of states f[S,A,3] to a reference f[A,3], or to one reference per state f[S,A,3]."""
    moving, fixed = np.asarray(states, np.float64), np.asarray(reference, np.float64)
    if fixed.ndim == 2:
        fixed = np.broadcast_to(fixed, moving.shape)
    a, b = moving - moving.mean(1, keepdims=True), fixed - fixed.mean(1, keepdims=True)
    product = np.einsum("sai,saj->sij", a, b)
    values = np.linalg.svd(product, compute_uv=False)
    values[:, 2] *= np.sign(np.linalg.det(product))
    squared = (a**2).sum((1, 2)) + (b**2).sum((1, 2)) - 2.0 * values.sum(1)
    return np.asarray(np.sqrt(np.maximum(squared, 0.0) / moving.shape[1]))


def rmsd_table(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Return the RMSD f8[S,T] (Å) between all states f[S,A,3] and f[T,A,3], each pair superposed."""
    return np.stack([rmsd_to(second, state) for state in np.asarray(first, np.float64)])


def superposed_on_mean(states: Floats) -> NDArray[np.float64]:
    """Return states f8[S,A,3] (Å) superposed on their own mean, which is found in a few rounds."""
    aligned = superpose_states(states, np.asarray(states)[0])
    for _ in range(ROUNDS_TO_MEAN):
        aligned = superpose_states(aligned, aligned.mean(0))
    return aligned


def rmsf(states: Floats) -> NDArray[np.float64]:
    """Return the RMSF f8[A] (Å) of each atom about the mean of the superposed states f[S,A,3]."""
    aligned = superposed_on_mean(states)
    return np.asarray(np.sqrt(((aligned - aligned.mean(0)) ** 2).sum(2).mean(0)))


def thinned(states: Floats, count: int) -> Floats:
    """Return at most `count` evenly spaced states of f[S,...]."""
    if len(states) <= count:
        return states
    subset: Floats = states[evenly_spaced(range(len(states)), count)]
    return subset


@dataclass(frozen=True)
class PrincipalPlane:
    """The first principal components of reference states.

    mean: f8[A,3] Å; axes: f8[K,3A], orthonormal; spread: f8[K], standard deviations of the reference in Å.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def of(cls, reference: Floats, components: int = 2) -> PrincipalPlane:
        """Return the plane of reference states f[S,A,3] (Å)."""
        aligned = superposed_on_mean(reference)
        mean = aligned.mean(0)
        flat = (aligned - mean).reshape(len(aligned), -1)
        _, sizes, axes = np.linalg.svd(flat, full_matrices=False)
        count = min(components, len(sizes))
        return cls(mean, axes[:count], sizes[:count] / np.sqrt(len(flat)))

    def project(self, states: Floats) -> NDArray[np.float64]:
        """Return the components f8[S,K] (Å) of states f[S,A,3]."""
        aligned = superpose_states(states, self.mean)
        return np.asarray((aligned - self.mean).reshape(len(aligned), -1) @ self.axes.T)


def autocorrelation(trajectories: Sequence[Floats], lags: Sequence[int]) -> NDArray[np.float64]:
    """Return the autocorrelation f8[L] of the first two principal components at each lag (states).

    trajectories: f[S,A,3] each, Å, in order of time; their common mean is taken off. A lag that none reaches gives NaN.
    """
    plane = PrincipalPlane.of(np.concatenate([np.asarray(states) for states in trajectories]))
    series = [plane.project(states) for states in trajectories]
    variance = float(np.mean(np.concatenate([(s**2).sum(1) for s in series])))
    values = []
    for lag in lags:
        products = [(s[:-lag] * s[lag:]).sum(1) if lag else (s**2).sum(1) for s in series if len(s) > lag]
        values.append(float(np.concatenate(products).mean()) / variance if products and variance > STILL**2 else np.nan)
    return np.array(values)


def step_rmsds(states: Floats) -> NDArray[np.float64]:
    """Return the RMSD f8[S-1] (Å) from each of states f[S,A,3] to the next."""
    return rmsd_to(states[1:], states[:-1])


def step_rmsd(states: Floats) -> float:
    """Return the mean RMSD (Å) of consecutive states f[S,A,3]; NaN for a single state."""
    return float(step_rmsds(states).mean()) if len(states) > 1 else float("nan")


def crps(samples: Floats, truth: float) -> float:
    """Return the continuous ranked probability score of samples f[N] for one true value, in their unit.

    The unbiased estimator E|x − y| − ½ E|x − x'|; for one sample it is the absolute error.
    """
    return energy_score(np.asarray(samples, np.float64)[:, None], np.array([truth]))


def energy_score(samples: Floats, truth: Floats) -> float:
    """Return the energy score of samples f[N,K] for a true point f[K], in their unit (the CRPS of many dimensions)."""
    points = np.asarray(samples, np.float64)
    error = float(np.linalg.norm(points - truth, axis=1).mean())
    if len(points) < 2:
        return error
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    return error - 0.5 * float(distances.sum()) / (len(points) * (len(points) - 1))


def bond_lengths(states: Floats, bonds: Integers) -> NDArray[np.float64]:
    """Return the lengths f8[S,B] (Å) of bonds i[B,2] in states f[S,A,3]."""
    x = np.asarray(states, np.float64)
    return np.asarray(np.linalg.norm(x[:, bonds[:, 0]] - x[:, bonds[:, 1]], axis=2))


def broken_bonds(states: Floats, bonds: Integers, lengths: Floats) -> float:
    """Return the fraction of bonds i[B,2] in states f[S,A,3] off their reference lengths f[B] by more than 0.2 Å."""
    if not len(bonds):
        return 0.0
    return float((np.abs(bond_lengths(states, bonds) - lengths) > BROKEN_BOND).mean())
