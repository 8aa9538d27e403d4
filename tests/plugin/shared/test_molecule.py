"""Topology of a molecule."""

import numpy as np

from pymol_dsr.shared.molecule import Molecule


def test_hydrogen_and_deuterium_are_no_heavy_atoms():
    elements = ("C", "H", "D", "h", "Zn")
    words = ("X",) * 5
    molecule = Molecule(words, words, words, words, elements, np.zeros((0, 2), np.int32), np.zeros(5, bool))
    assert molecule.heavy.tolist() == [True, False, False, False, True]
