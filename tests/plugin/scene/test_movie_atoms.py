"""Atoms beside a movie."""

from __future__ import annotations

import numpy as np

from pymol_dsr.fits.fit import Trajectory
from pymol_dsr.scene.movie_atoms import MovieAtoms
from support.scene import coordinates


def places(cmd, selection, state):
    """Coordinates by residue number and name."""
    rows: list[tuple[str, str]] = []
    cmd.iterate(selection, "rows.append((resi, name))", space={"rows": rows})
    return dict(zip(rows, coordinates(cmd, selection, state).tolist(), strict=True))


def test_each_atom_beside_a_movie_is_where_the_fit_has_it_whatever_order_the_fit_knows_them_in(peptide):
    indices = np.array([30, 11, 14, 20, 12], np.int32)
    beside = MovieAtoms(Trajectory("", "pep", "pep", indices, [1.0, 6.0]), "beside", peptide)
    for state, source_state in ((1, 6), (2, 3)):
        beside.add(state, coordinates(peptide, "pep", source_state)[indices])
        known = places(peptide, "pep", source_state)
        placed = places(peptide, "beside", state)
        assert len(placed) == 5 and placed == {key: known[key] for key in placed}
