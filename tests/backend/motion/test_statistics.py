"""Superposition and statistics of states against closed forms and plain loops."""

import numpy as np
import pytest
from dsr_backend.motion import statistics
from dsr_backend.motion.superpose import superpose_states
from scipy.special import ndtr

from pymol_dsr.shared.superpose import superpose
from support.ensembles import CHAIN, ensemble, tumbled


def test_states_superpose_as_one_by_one():
    states = tumbled(ensemble(5))
    moved = superpose_states(states, CHAIN)
    for state, after in zip(states, moved, strict=True):
        rotation, translation = superpose(state, CHAIN)
        assert after == pytest.approx(state @ rotation.T + translation)
    chosen = np.array([0, 3, 7, 9])
    rotation, translation = superpose(states[2][chosen], CHAIN[chosen])
    assert superpose_states(states, CHAIN, chosen)[2] == pytest.approx(states[2] @ rotation.T + translation)


def test_a_mirror_image_is_not_turned_into_the_molecule():
    mirrored = CHAIN * [1.0, 1.0, -1.0]
    assert superpose_states(mirrored[None], CHAIN)[0] != pytest.approx(CHAIN, abs=0.5)
    assert statistics.rmsd_to(mirrored[None], CHAIN)[0] > 1.0


def test_rmsd_is_that_of_superposed_atoms():
    states = tumbled(ensemble(6))
    slow = np.sqrt(((superpose_states(states, CHAIN) - CHAIN) ** 2).sum(2).mean(1))
    assert statistics.rmsd_to(states, CHAIN) == pytest.approx(slow)
    assert statistics.rmsd_to(states[1:], states[:-1]) == pytest.approx(
        np.diag(statistics.rmsd_table(states, states), 1)
    )


def test_rmsf_of_independent_noise_is_its_size_and_tumbling_changes_nothing():
    states = ensemble(400, 0.1)
    values = statistics.rmsf(tumbled(states))
    # Superposition takes six of 36 degrees of freedom.
    assert values.mean() == pytest.approx(0.1 * np.sqrt(3.0 * 30.0 / 36.0), rel=0.03)
    assert values == pytest.approx(statistics.rmsf(states), rel=1e-6)


def test_autocorrelation_of_a_cosine_is_the_cosine_of_the_lag():
    moved = np.zeros((12, 3))
    moved[3], moved[8] = [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]
    series = CHAIN + 0.05 * np.cos(2 * np.pi * np.arange(200) / 20.0)[:, None, None] * moved
    values = statistics.autocorrelation([series], [0, 5, 10, 300])
    assert values[:3] == pytest.approx([1.0, 0.0, -1.0], abs=0.03) and np.isnan(values[3])


def test_crps_of_a_normal_distribution_is_its_closed_form():
    samples = np.random.default_rng(0).normal(2.0, 1.5, 1500)
    z = (3.0 - 2.0) / 1.5
    density, below = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi), ndtr(z)
    closed = 1.5 * (z * (2 * below - 1) + 2 * density - 1 / np.sqrt(np.pi))
    assert statistics.crps(samples, 3.0) == pytest.approx(closed, rel=0.04)
    assert statistics.crps(np.array([1.0]), 3.0) == pytest.approx(2.0)


def test_the_energy_score_counts_each_pair_of_two_samples_once():
    # E|x - y| is 1, and E|x - x'| of the only pair is 2.
    assert statistics.energy_score(np.array([[0.0], [2.0]]), np.array([0.0])) == pytest.approx(0.0)
    assert statistics.energy_score(np.array([[0.0], [2.0], [4.0]]), np.array([0.0])) == pytest.approx(2.0 - 8.0 / 6.0)


def test_broken_bonds_are_those_off_by_more_than_the_tolerance():
    bonds = np.array([[0, 1], [1, 2]])
    states = np.array([[[0, 0, 0], [1.5, 0, 0], [3.0, 0, 0]], [[0, 0, 0], [1.75, 0, 0], [3.2, 0, 0]]], float)
    assert statistics.broken_bonds(states, bonds, np.array([1.5, 1.5])) == pytest.approx(0.25)
