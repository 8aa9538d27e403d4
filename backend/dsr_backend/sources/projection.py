"""Projection of generated states onto bond lengths and angles, by position-based correction (Müller et al. 2007).

Sums and means of states have wrong bond lengths. Each sweep moves the two atoms of every pair one or two bonds apart
along their line until their distance is one that the known states have. Pairs that share no atom are corrected at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.spacing import evenly_spaced

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

SWEEPS = 60
# Distances beyond those of the known states that are let pass, Å: over one bond and over two.
MARGINS = (0.02, 0.04)
# Known states that their range is taken from; fewer get a wider margin.
ENOUGH_STATES = 10
FEW_STATES_FACTOR = 2.0
# The sweeps end where no distance is farther off than this, Å.
TOLERANCE = 2e-3
# Factor by which a hydrogen moves farther than a heavy atom.
HYDROGEN_MOBILITY = 8.0


@dataclass(frozen=True, eq=False)
class BondProjection:
    """Distance limits of pairs of atoms one and two bonds apart.

    pairs: i8[P,2]; low, high: f8[P] Å; mobility: f8[A], 1 for heavy atoms; groups: indices of pairs that share no atom.
    """

    pairs: Indices
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mobility: NDArray[np.float64]
    groups: tuple[Indices, ...]

    @classmethod
    def of(cls, bonds: Indices, heavy: NDArray[np.bool_], states: Floats) -> BondProjection:
        """Return the limits that bonds i8[B,2] have in known states f[S,A,3] (Å); heavy: bool[A]."""
        first, second = pairs_of(bonds, len(heavy))
        pairs = np.concatenate([first, second])
        x = np.asarray(states, np.float64)
        sample = x[evenly_spaced(range(len(x)), 200)]
        distances = np.stack([np.linalg.norm(state[pairs[:, 0]] - state[pairs[:, 1]], axis=1) for state in sample])
        margin = np.repeat(MARGINS, (len(first), len(second)))
        if len(sample) < ENOUGH_STATES:
            margin = margin * FEW_STATES_FACTOR
        mobility = np.where(heavy, 1.0, HYDROGEN_MOBILITY)
        return cls(pairs, distances.min(0) - margin, distances.max(0) + margin, mobility, disjoint_groups(pairs))

    def __call__(self, states: Floats, held: Indices | None = None, sweeps: int = SWEEPS) -> NDArray[np.float64]:
        """Return states f8[F,A,3] (Å) with distances within the limits; atoms `held` i8[N] stay where they are."""
        mobility = self.mobility.copy()
        if held is not None:
            mobility[held] = 0.0
        # Atoms first: the rows of one pair lie together in memory.
        x = np.asarray(states, np.float64).transpose(1, 0, 2).copy()
        low, high = self.low[:, None], self.high[:, None]
        for _ in range(sweeps):
            worst = 0.0
            for group in self.groups:
                i, j = self.pairs[group, 0], self.pairs[group, 1]
                difference = x[i] - x[j]
                length = np.maximum(np.sqrt((difference**2).sum(2)), 1e-9)
                excess = length - np.clip(length, low[group], high[group])
                worst = max(worst, float(np.abs(excess).max()))
                weight = mobility[i] + mobility[j]
                scale = np.where(weight > 0.0, 1.0 / np.maximum(weight, 1e-9), 0.0)[:, None, None]
                step = scale * (excess / length)[..., None] * difference
                x[i] -= mobility[i][:, None, None] * step
                x[j] += mobility[j][:, None, None] * step
            if worst < TOLERANCE:
                break
        return np.asarray(x.transpose(1, 0, 2))


def pairs_of(bonds: Indices, count: int) -> tuple[Indices, Indices]:
    """Return the pairs of `count` atoms one bond apart and two bonds apart, i8[P,2] each, without repetition."""
    neighbors: list[set[int]] = [set() for _ in range(count)]
    for i, j in np.asarray(bonds).tolist():
        if i != j:
            neighbors[i].add(j)
            neighbors[j].add(i)
    direct = sorted({(min(i, j), max(i, j)) for i, j in np.asarray(bonds).tolist() if i != j})
    over_two = {(a, b) for around in neighbors for a in around for b in around if a < b} - set(direct)
    return np.array(direct, np.int64).reshape(-1, 2), np.array(sorted(over_two), np.int64).reshape(-1, 2)


def disjoint_groups(pairs: Indices) -> tuple[Indices, ...]:
    """Return groups of indices of pairs i8[P,2] in which no atom comes twice."""
    used: list[set[int]] = []
    groups: list[list[int]] = []
    for number, (i, j) in enumerate(pairs.tolist()):
        group = next((k for k, atoms in enumerate(used) if i not in atoms and j not in atoms), len(used))
        if group == len(used):
            groups.append([])
            used.append(set())
        groups[group].append(number)
        used[group] |= {i, j}
    return tuple(np.array(group, np.int64) for group in groups)
