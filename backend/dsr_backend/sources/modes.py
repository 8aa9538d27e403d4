"""Principal motions of states, by the S × S matrix of products: atoms may be many, states are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Modes:
    """Principal motions of superposed states.

    mean: f8[A,3] Å. coefficients: f8[S,K] Å of the states, the largest motion first. axes: f8[K,3A], orthonormal.
    """

    mean: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    axes: NDArray[np.float64]

    @classmethod
    def of(cls, states: Floats, rank: int | None = None) -> Modes:
        """Return the first `rank` principal motions of superposed states f[S,A,3] (Å), all of them without `rank`."""
        x = np.asarray(states, np.float64)
        mean = x.mean(0)
        flat = (x - mean).reshape(len(x), -1)
        values, vectors = np.linalg.eigh(flat @ flat.T)
        order = np.argsort(values)[::-1]
        values, vectors = values[order], vectors[:, order]
        # About the mean of S states at most S − 1 motions are left; the rest is rounding.
        mode_count = int((values > 1e-10 * max(values[0], 1e-12)).sum())
        mode_count = min(mode_count, len(x) - 1, mode_count if rank is None else rank)
        sizes = np.sqrt(values[:mode_count])
        axes = (vectors[:, :mode_count] / sizes).T @ flat
        return cls(mean, vectors[:, :mode_count] * sizes, axes)

    def states(self, coefficients: Floats) -> NDArray[np.float64]:
        """Return states f8[F,A,3] (Å) of coefficients f[F,K]."""
        return np.asarray(self.mean + (coefficients @ self.axes).reshape(len(coefficients), *self.mean.shape))

    def project(self, states: Floats) -> NDArray[np.float64]:
        """Return the coefficients f8[F,K] of superposed states f[F,A,3] (Å)."""
        return np.asarray((np.asarray(states, np.float64) - self.mean).reshape(len(states), -1) @ self.axes.T)
