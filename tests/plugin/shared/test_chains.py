"""Chains of residues."""

import numpy as np

from pymol_dsr.shared.chains import chain_numbers


def test_a_chain_begins_at_another_label_and_after_a_gap():
    assert chain_numbers(["A", "A", "A", "B", "B"], np.array([1.3, 2.1, 1.3, 2.0]), 2.0) == (0, 0, 1, 2, 2)
    assert chain_numbers(["A"], np.zeros(0), 2.0) == (0,)
    assert chain_numbers([], np.zeros(0), 2.0) == ()
