"""The movie that PyMOL has."""

from __future__ import annotations

from pymol_dsr.scene.present_movie import show_state


def test_a_state_is_shown_without_leaving_the_frame_of_a_movie(peptide):
    show_state(4, peptide)
    assert peptide.get_state() == 4
    # Frames 1 to 20 show state 1, the others state 6.
    peptide.mset("1 x20 6 x20")
    peptide.frame(30)
    show_state(3, peptide)
    assert (peptide.get_frame(), peptide.get_state()) == (30, 3)
