"""Ensemble metrics against closed forms and plain loops."""

import numpy as np
import pytest
from dsr_backend.motion import statistics
from dsr_backend.results import ensemble_metrics as metrics

from support.ensembles import CHAIN, ensemble, tumbled


def test_correlation_is_one_for_multiples_and_undefined_without_variation():
    series = np.array([1.0, 3.0, 2.0])
    assert metrics.correlation(series, 2.0 * series + 1.0) == pytest.approx(1.0)
    assert metrics.correlation(series, -series) == pytest.approx(-1.0)
    assert np.isnan(metrics.correlation(series, np.ones(3)))


def test_pairwise_rmsd_is_the_mean_of_all_pairs():
    states = ensemble(4)
    pairs = [statistics.rmsd_to(states[j][None], states[i])[0] for i in range(4) for j in range(i + 1, 4)]
    assert metrics.pairwise_rmsd(states) == pytest.approx(np.mean(pairs))
    assert np.isnan(metrics.pairwise_rmsd(states[:1]))


def test_wasserstein_distance_of_a_shifted_set_is_the_shift():
    points = np.random.default_rng(0).normal(size=(50, 2))
    assert metrics.wasserstein(points, points[::-1] + np.array([3.0, 4.0])) == pytest.approx(5.0)


def test_jensen_shannon_is_zero_for_equal_and_one_bit_for_disjoint_histograms():
    assert metrics.jensen_shannon(np.array([1, 2, 3]), np.array([2, 4, 6])) == pytest.approx(0.0)
    assert metrics.jensen_shannon(np.array([1, 0]), np.array([0, 5])) == pytest.approx(1.0)
    # H(3/4) − H(1/2)/2, in bits.
    entropy = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert metrics.jensen_shannon(np.array([1, 0]), np.array([1, 1])) == pytest.approx(entropy - 0.5)


def test_histograms_count_every_state_once_and_pairs_stay_within_trajectories():
    plane = statistics.PrincipalPlane.of(ensemble())
    assert metrics.histogram(plane.project(ensemble(70, seed=1)), plane).sum() == 70
    two = metrics.transition_histogram([ensemble(10, seed=2), ensemble(6, seed=3)], plane, lag=4)
    assert two.sum() == 6 + 2


@pytest.mark.system
def test_transitions_of_a_cycle_differ_from_those_of_its_states_in_random_order():
    angle = np.linspace(0.0, 40.0 * np.pi, 400, endpoint=False)
    first, second = np.zeros((2, 12, 3))
    first[::2, 0], second[1::2, 1] = 1.0, 1.0
    cycle = CHAIN + 0.5 * (np.cos(angle)[:, None, None] * first + np.sin(angle)[:, None, None] * second)
    shuffled = cycle[np.random.default_rng(0).permutation(400)]
    halves = metrics.compare_ensembles(cycle[:200], cycle[200:], ordered=True)
    unordered = metrics.compare_ensembles(shuffled, cycle, ordered=True)
    assert halves.js < 0.01 and unordered.js < 0.01
    assert halves.transition_js < 0.02 < 0.2 < unordered.transition_js


def test_contacts_are_counted_as_pairs_within_eight_angstrom():
    line = np.stack([np.arange(6) * 3.0, np.zeros(6), np.zeros(6)], 1)
    bent = line.copy()
    bent[5] = [1.0, 4.0, 0.0]
    # Straight: all pairs three apart are 9 Å away. Bent: the last atom touches atoms 0, 1 and 2.
    assert metrics.contact_frequencies(np.stack([line, bent])).tolist() == [0.0, 0.0, 0.5, 0.0, 0.5, 0.5]
    assert metrics.contact_jaccard(bent[None], np.stack([line, bent])) == pytest.approx(0.5)
    assert np.isnan(metrics.contact_jaccard(line[None], line[None]))


def test_recall_is_the_distance_to_the_nearest_state():
    states = ensemble(8)
    assert metrics.recall(states, states[2:4]) == pytest.approx(0.0, abs=1e-6)
    expected = min(statistics.rmsd_to(states[1:], states[0]))
    assert metrics.recall(states[1:], states[:1]) == pytest.approx(expected)


def test_clashes_leave_out_atoms_up_to_three_bonds_apart():
    bonds = np.array([[0, 1], [2, 1], [2, 3], [4, 3]])
    folded = np.zeros((1, 5, 3))
    folded[0, :, 0] = [0.0, 1.5, 2.0, 1.5, 0.5]
    assert metrics.clashes(folded, bonds) == 1.0


def test_the_reference_against_itself_is_perfect_and_baselines_stand_beside():
    states = ensemble()
    bonds = np.stack([np.arange(11), np.arange(1, 12)], 1)
    scores = metrics.compare_ensembles(tumbled(states), states, ordered=True, bonds=bonds)
    assert scores.rmsf_correlation == pytest.approx(1.0) and scores.contact_jaccard == pytest.approx(1.0)
    assert max(scores.pca_w2, scores.js, scores.transition_js, scores.recall) == pytest.approx(0.0, abs=1e-6)
    rows = metrics.baseline_rows(states[:20], states[20:], 100, bonds=bonds, ordered=True)
    assert set(rows) == {"bootstrap", "hold"}
    assert rows["hold"].rmsf == pytest.approx(0.0, abs=1e-6) and np.isnan(rows["hold"].rmsf_correlation)
    assert np.isnan(rows["hold"].autocorrelation)
    assert rows["bootstrap"].recall > 0.0


def test_the_distance_in_the_plane_is_an_rmsd():
    """All states moved by 0.5 Å RMSD along the reference's first component."""
    states = statistics.superposed_on_mean(ensemble())
    first = statistics.PrincipalPlane.of(states).axes[0].reshape(-1, 3)
    moved = states + 0.5 * np.sqrt(len(first)) * first
    assert metrics.compare_ensembles(moved, states).pca_w2 == pytest.approx(0.5, abs=0.02)


def test_ensembles_of_other_atoms_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match="3 states of 12 atoms and 3 of 11"):
        metrics.compare_ensembles(ensemble(3), ensemble(3)[:, :11])


def test_independent_samples_are_those_of_the_statistical_inefficiency():
    rng = np.random.default_rng(0)
    memory, count = 0.8, 40_000
    series = np.zeros(count)
    for step in range(1, count):
        series[step] = memory * series[step - 1] + rng.normal()
    # (1 - r) / (1 + r) of the states of an autoregressive series.
    assert metrics.independent_samples([series]) == pytest.approx(count / 9, rel=0.15)
    assert metrics.independent_samples(np.split(series, 8)) == pytest.approx(count / 9, rel=0.2)
    assert metrics.independent_samples([rng.normal(size=5000)]) == pytest.approx(5000, rel=0.1)
    # Many runs of a state and its copy: each run is a sample.
    assert metrics.independent_samples([np.full(2, value) for value in rng.normal(size=300)]) == pytest.approx(300)
    # A slow drift is hardly more than a sample.
    assert 1.0 <= metrics.independent_samples([np.linspace(0, 1, 500)]) < 6.0
    assert np.isnan(metrics.independent_samples([np.ones(9)]))
