"""Pairs of atoms that lie near each other, and the bonds between them."""

import numpy as np
from dsr_backend.geometry.bond_graph import BondGraph

# A chain of five atoms; its order and the directions of its bonds do not matter.
BONDS = np.array([[0, 1], [2, 1], [2, 3], [4, 3]])
FOLDED = np.zeros((5, 3))


def test_atoms_up_to_three_bonds_apart_are_no_pair() -> None:
    assert BondGraph(5, BONDS).near_pairs(FOLDED, 1.0).tolist() == [[0, 4]]
    ring = np.array([*BONDS, [4, 0]])
    assert not len(BondGraph(5, ring).near_pairs(FOLDED, 1.0))


def test_pairs_are_of_the_chosen_atoms_and_nearer_than_the_distance() -> None:
    no_bonds = BondGraph(5, np.zeros((0, 2), np.int64))
    line = np.arange(5.0)[:, None] * [1.0, 0.0, 0.0]
    assert {tuple(pair) for pair in no_bonds.near_pairs(line, 1.5)} == {(0, 1), (1, 2), (2, 3), (3, 4)}
    assert {tuple(pair) for pair in no_bonds.near_pairs(line, 1.5, np.array([0, 1, 4]))} == {(0, 1)}
