"""Metrics that compare a generated ensemble or trajectory with a reference one.

Coordinates are f[S,A,3] in Å, of the same A atoms in both (Cα of a protein, as a rule); every function superposes what
it compares. `compare_ensembles` computes all of them; `baseline_rows` adds the rows that every table needs beside it:
states drawn from the training states (bootstrap) and the last training state held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ..geometry.bond_graph import BondGraph
from ..motion.statistics import (
    STILL,
    PrincipalPlane,
    autocorrelation,
    bond_lengths,
    broken_bonds,
    rmsd_table,
    rmsf,
    step_rmsd,
    thinned,
)

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

# States of an ensemble that pair tables compare at most, evenly spaced.
MAX_PAIRED = 300
# Bins along each of the two principal components, and standard deviations of the reference that they cover.
BINS = 10
BIN_RANGE = 3.0
# Classes along each component for pairs of states in time: (4 · 4)² pairs.
TRANSITION_CLASSES = 4
# Cα atoms of two residues in contact, Å, and the steps along the chain that lie between them at least.
CONTACT_DISTANCE = 8.0
CONTACT_SEPARATION = 3
# Heavy atoms more than three bonds apart clash below this distance, Å.
CLASH_DISTANCE = 2.2


@dataclass(frozen=True)
class EnsembleScores:
    """Metrics of one ensemble against a reference; NaN where a metric does not apply.

    rmsf: mean RMSF in Å. rmsf_correlation: Pearson's r of the atoms' RMSF. pairwise_rmsd: mean over pairs of states,
    Å. pca_w2: 2-Wasserstein distance in the plane of the reference's first two principal components, Å RMSD.
    js: Jensen–Shannon divergence in that plane, bits. transition_js: the same for pairs of states `lag` apart.
    contact_jaccard: weighted Jaccard index of contact frequencies. recall: mean RMSD in Å of reference states to the
    nearest state of the ensemble. autocorrelation: at `lag`. step: mean RMSD of consecutive states, Å.
    broken: fraction of bonds. clashes: pairs of atoms per state.
    """

    rmsf: float
    rmsf_correlation: float
    pairwise_rmsd: float
    pca_w2: float
    js: float
    transition_js: float
    contact_jaccard: float
    recall: float
    autocorrelation: float
    step: float
    broken: float
    clashes: float


def correlation(first: Floats, second: Floats) -> float:
    """Return Pearson's r of two series f[N]; NaN where one of them does not vary."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    a, b = a - a.mean(), b - b.mean()
    if min(a.std(), b.std()) <= STILL:
        return float("nan")
    return float(a @ b) / float(np.sqrt((a @ a) * (b @ b)))


def pairwise_rmsd(states: Floats) -> float:
    """Return the mean RMSD (Å) over all pairs of states f[S,A,3], of at most 300 evenly spaced ones; NaN for one."""
    subset = thinned(states, MAX_PAIRED)
    if len(subset) < 2:
        return float("nan")
    return float(rmsd_table(subset, subset)[np.triu_indices(len(subset), 1)].mean())


def wasserstein(first: Floats, second: Floats) -> float:
    """Return the 2-Wasserstein distance between two sets of points f[N,K] and f[M,K], by the best assignment.

    For unequal sets, evenly spaced points of the larger are compared; for more than 300 points, 300.
    """
    count = min(len(first), len(second), MAX_PAIRED)
    a, b = thinned(first, count), thinned(second, count)
    squared = ((a[:, None] - b[None]) ** 2).sum(2)
    rows, columns = linear_sum_assignment(squared)
    return float(np.sqrt(squared[rows, columns].mean()))


def jensen_shannon(first: Floats, second: Floats) -> float:
    """Return the Jensen–Shannon divergence (bits, 0 to 1) of two histograms of the same shape, of any total."""
    p, q = (np.asarray(h, np.float64).ravel() / np.sum(h) for h in (first, second))
    middle = 0.5 * (p + q)

    def relative_entropy(distribution: NDArray[np.float64]) -> float:
        used = distribution > 0.0
        return float((distribution[used] * np.log2(distribution[used] / middle[used])).sum())

    return 0.5 * relative_entropy(p) + 0.5 * relative_entropy(q)


def histogram(components: Floats, plane: PrincipalPlane, bins: int = BINS) -> NDArray[np.float64]:
    """Return the counts f8[bins, …] of components f[N,K] (Å) over ±3 standard deviations; the outer bins are open."""
    return np.bincount(_classes(components, plane, bins), minlength=bins ** len(plane.spread)).astype(np.float64)


def _classes(components: Floats, plane: PrincipalPlane, bins: int) -> NDArray[np.int64]:
    """Return the bin i8[N] of each point."""
    scaled = components / np.where(plane.spread > 0.0, plane.spread, 1.0) / BIN_RANGE
    cells = np.clip(((scaled + 1.0) * 0.5 * bins).astype(np.int64), 0, bins - 1)
    return np.asarray(np.ravel_multi_index(tuple(cells.T), (bins,) * cells.shape[1]))


def transition_histogram(trajectories: Sequence[Floats], plane: PrincipalPlane, lag: int) -> NDArray[np.float64]:
    """Return the counts f8[C,C] of pairs of states `lag` apart in time, in classes of the plane.

    trajectories: f[S,A,3] each, Å, in order of time.
    """
    total = TRANSITION_CLASSES ** len(plane.spread)
    counts = np.zeros((total, total))
    for states in trajectories:
        visited = _classes(plane.project(states), plane, TRANSITION_CLASSES)
        np.add.at(counts, (visited[:-lag], visited[lag:]), 1.0)
    return counts


def contact_frequencies(states: Floats) -> NDArray[np.float64]:
    """Return for each pair of atoms three or more apart in the chain how often they lie within 8 Å, f8[P]."""
    count = np.asarray(states).shape[1]
    i, j = np.triu_indices(count, CONTACT_SEPARATION)
    total = np.zeros(len(i))
    for state in np.asarray(states, np.float64):
        total += ((state[i] - state[j]) ** 2).sum(1) < CONTACT_DISTANCE**2
    return np.asarray(total / len(states))


def contact_jaccard(states: Floats, reference: Floats) -> float:
    """Return Σ min / Σ max of the contact frequencies of two ensembles f[S,A,3]; NaN without contacts."""
    a, b = contact_frequencies(states), contact_frequencies(reference)
    union = float(np.maximum(a, b).sum())
    return float(np.minimum(a, b).sum()) / union if union > 0.0 else float("nan")


def recall(states: Floats, reference: Floats) -> float:
    """Return the mean RMSD (Å) of reference states f[T,A,3] to the nearest of states f[S,A,3]; lower is better."""
    table = rmsd_table(thinned(reference, MAX_PAIRED), thinned(states, MAX_PAIRED))
    return float(table.min(1).mean())


def independent_samples(series: Sequence[Floats]) -> float:
    """Return the number of independent samples of one quantity in series f8[S] of it; NaN where it does not vary.

    It is the number of states over the statistical inefficiency, 1 plus twice the sum of the autocorrelation up to its
    first zero. All series have one mean and one autocorrelation.
    """
    pooled = np.concatenate(series)
    if pooled.std() <= STILL:
        return float("nan")
    centred = [np.asarray(values, np.float64) - pooled.mean() for values in series]
    variance = float(pooled.var())
    inefficiency = 1.0
    for lag in range(1, max(map(len, centred))):
        pairs = [(deviations[:-lag], deviations[lag:]) for deviations in centred if len(deviations) > lag]
        count = sum(len(first) for first, _ in pairs)
        correlation = sum(float(first @ second) for first, second in pairs) / (count * variance)
        if correlation <= 0.0:
            break
        inefficiency += 2.0 * correlation * count / len(pooled)
    return len(pooled) / inefficiency


def clashes(states: Floats, bonds: Integers) -> float:
    """Return the mean number of pairs of atoms per state nearer than 2.2 Å, without those three or fewer bonds apart.

    states: f[S,A,3] Å of heavy atoms; bonds: i[B,2] among them.
    """
    x = np.asarray(states, np.float64)
    graph = BondGraph(x.shape[1], bonds)
    return sum(len(graph.near_pairs(state, CLASH_DISTANCE)) for state in x) / len(x)


def compare_ensembles(
    states: Floats,
    reference: Floats,
    *,
    bonds: Integers | None = None,
    ordered: bool = False,
    lag: int = 1,
) -> EnsembleScores:
    """Return the scores of states f[S,A,3] against reference states f[T,A,3] (Å) of the same atoms.

    bonds: i[B,2] among these atoms, whose reference lengths are the means of the reference; without
    them `broken` and `clashes` are NaN. ordered: both are in order of time; `lag` is in states. Raises ValueError where
    the atoms differ or an ensemble is empty.
    """
    first, second = np.asarray(states, np.float64), np.asarray(reference, np.float64)
    if first.shape[1:] != second.shape[1:] or not len(first) or not len(second):
        raise ValueError(
            f"ensembles of the same atoms are compared; there are {first.shape[0]} states of {first.shape[1]} atoms "
            f"and {second.shape[0]} of {second.shape[1]}; choose atoms that both have"
        )
    nan = float("nan")
    plane = PrincipalPlane.of(second)
    first_projected, second_projected = plane.project(first), plane.project(second)
    in_time = ordered and len(first) > lag and len(second) > lag
    own_rmsf = rmsf(first)
    return EnsembleScores(
        rmsf=float(own_rmsf.mean()),
        rmsf_correlation=correlation(own_rmsf, rmsf(second)),
        pairwise_rmsd=pairwise_rmsd(first),
        pca_w2=wasserstein(first_projected, second_projected) / float(np.sqrt(first.shape[1])),
        js=jensen_shannon(histogram(first_projected, plane), histogram(second_projected, plane)),
        transition_js=jensen_shannon(
            transition_histogram([first], plane, lag), transition_histogram([second], plane, lag)
        )
        if in_time
        else nan,
        contact_jaccard=contact_jaccard(first, second),
        recall=recall(first, second),
        autocorrelation=float(autocorrelation([first], [lag])[0]) if in_time else nan,
        step=step_rmsd(first) if ordered else nan,
        broken=nan if bonds is None else broken_bonds(first, bonds, bond_lengths(second, bonds).mean(0)),
        clashes=nan if bonds is None else clashes(first, bonds),
    )


def baseline_rows(
    training: Floats,
    reference: Floats,
    count: int,
    *,
    bonds: Integers | None = None,
    ordered: bool = False,
    lag: int = 1,
    seed: int = 0,
) -> dict[str, EnsembleScores]:
    """Return the scores of what needs no model: `count` states drawn from the training states, and the last one held.

    training: f[S,A,3] Å in order of time; the rest as in `compare_ensembles`.
    """
    known = np.asarray(training, np.float64)
    drawn = known[np.random.default_rng(seed).integers(len(known), size=count)]
    held = np.repeat(known[-1:], count, 0)
    return {
        name: compare_ensembles(states, reference, bonds=bonds, ordered=ordered, lag=lag)
        for name, states in (("bootstrap", drawn), ("hold", held))
    }
