"""Projection onto bond lengths and angles."""

import numpy as np
import pytest
from dsr_backend.motion import statistics
from dsr_backend.sources.projection import BondProjection, disjoint_groups, pairs_of
from dsr_backend.sources.topology import Topology

from support.molecules import backbone_molecule, helix

MOLECULE = backbone_molecule(8)
TOPOLOGY = Topology.of(MOLECULE)
KNOWN = helix(8)


def projection():
    return BondProjection.of(TOPOLOGY.bonds, TOPOLOGY.heavy, KNOWN[None])


def test_pairs_over_one_and_two_bonds_come_once():
    one_bond, two_bonds = pairs_of(np.array([[0, 1], [1, 2], [2, 0], [2, 3]]), 5)
    assert one_bond.tolist() == [[0, 1], [0, 2], [1, 2], [2, 3]]
    assert two_bonds.tolist() == [[0, 3], [1, 3]]


def test_groups_hold_every_pair_once_and_no_atom_twice():
    pairs = np.concatenate(pairs_of(TOPOLOGY.bonds, len(MOLECULE)))
    groups = disjoint_groups(pairs)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(pairs)))
    for group in groups:
        assert len(set(pairs[group].ravel().tolist())) == 2 * len(group)


def test_known_states_stay_as_they_are():
    assert projection()(KNOWN[None])[0] == pytest.approx(KNOWN, abs=1e-12)


def test_broken_states_get_the_known_lengths():
    broken = KNOWN + 0.5 * np.random.default_rng(1).normal(size=(20, *KNOWN.shape))
    lengths = statistics.bond_lengths(KNOWN[None], TOPOLOGY.bonds)[0]
    assert statistics.broken_bonds(broken, TOPOLOGY.bonds, lengths) > 0.5
    mended = projection()(broken)
    assert statistics.broken_bonds(mended, TOPOLOGY.bonds, lengths) == 0.0
    angles = np.concatenate(pairs_of(TOPOLOGY.bonds, len(MOLECULE)))
    deviation = statistics.bond_lengths(mended, angles) - statistics.bond_lengths(KNOWN[None], angles)[0]
    assert np.abs(deviation).mean() < 0.1
    # Nearest states, not just any with these lengths: they move by less than the noise.
    assert np.sqrt(((mended - broken) ** 2).sum(2).mean()) < 0.5 * np.sqrt(3.0)


def test_two_atoms_meet_in_the_middle_and_a_held_one_stays():
    two = BondProjection.of(np.array([[0, 1]]), np.array([True, True]), np.array([[[0, 0, 0], [1.0, 0, 0]]]))
    two_atoms = np.array([[[0, 0, 0], [2.04, 0, 0]]])
    # One known state: lengths up to 0.04 beyond its own are let pass.
    assert two(two_atoms)[0, :, 0] == pytest.approx([0.5, 1.54])
    assert two(two_atoms, held=np.array([0]))[0, :, 0] == pytest.approx([0.0, 1.04])
    assert two(two_atoms, held=np.array([0, 1]))[0, :, 0] == pytest.approx([0.0, 2.04])
