"""Atoms joined by bonds, and pairs that lie near each other without being joined by few of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Indices = NDArray[np.int64]


class BondGraph:
    """The atoms that one to three bonds join.

    bonded: the neighbours of each atom; angles: atoms i8[N,3] of two consecutive bonds; torsions: i8[N,4], of three.
    """

    def __init__(self, count: int, bonds: NDArray[np.integer[Any]]) -> None:
        """count: number of atoms; bonds: i[B,2], pairs of them."""
        self._count = count
        self.bonded: list[list[int]] = [[] for _ in range(count)]
        for a, b in np.asarray(bonds).tolist():
            self.bonded[a].append(b)
            self.bonded[b].append(a)
        self.angles = np.array(
            [(a, c, b) for c, ends in enumerate(self.bonded) for n, a in enumerate(ends) for b in ends[n + 1 :]],
            np.int64,
        ).reshape(-1, 3)
        self.torsions = np.array(
            [
                (a, b, c, d)
                for b, c in np.asarray(bonds).tolist()
                for a in self.bonded[b]
                for d in self.bonded[c]
                if a != c and d != b and a != d
            ],
            np.int64,
        ).reshape(-1, 4)
        near = [np.asarray(bonds, np.int64).reshape(-1, 2), self.angles[:, [0, 2]], self.torsions[:, [0, 3]]]
        self._keys = np.unique(self._key(np.concatenate(near)))

    def _key(self, pairs: NDArray[np.integer[Any]]) -> Indices:
        """Return a number i8[P] for each pair i[P,2], the same for both orders of its atoms."""
        ordered = np.sort(pairs, 1).astype(np.int64)
        return ordered[:, 0] * self._count + ordered[:, 1]

    def near_pairs(
        self, coordinates: NDArray[np.floating[Any]], distance: float, atoms: Indices | None = None
    ) -> Indices:
        """Return the pairs i8[P,2] of atoms that lie nearer than a distance (Å) and are more than three bonds apart.

        coordinates: f[A,3] in Å; atoms: i8[K], those that count, None for all.
        """
        chosen = np.arange(self._count) if atoms is None else atoms
        pairs = chosen[cKDTree(coordinates[chosen]).query_pairs(distance, output_type="ndarray")].reshape(-1, 2)
        return np.asarray(pairs[~np.isin(self._key(pairs), self._keys)])
