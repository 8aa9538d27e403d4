"""Copies of some atoms, whatever order PyMOL gives them."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.scene.molecule_copy import copy_atoms


def names(cmd, selection):
    rows: list[tuple[str, str]] = []
    cmd.iterate(selection, "rows.append((resi, name))", space={"rows": rows})
    return rows


@pytest.mark.parametrize("retain", [0, 1])
@pytest.mark.parametrize("sorted_later", [False, True])
def test_each_atom_of_a_copy_is_known(peptide, retain, sorted_later):
    # PyMOL orders the atoms of a built peptide by this setting, also after it was built.
    peptide.set("retain_order", int(sorted_later))
    indices = np.array([30, 11, 14, 20, 12], np.int32)
    before = names(peptide, "pep")
    peptide.set("retain_order", retain)
    before = names(peptide, "pep") if retain != int(sorted_later) else before
    order = copy_atoms("pep", indices, "copy", 1, 1, peptide)
    assert names(peptide, "copy") == [before[indices[k]] for k in order]
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]
