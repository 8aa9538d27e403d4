"""dsr_morph with a real PyMOL and a real backend."""

from __future__ import annotations

import pytest

from pymol_dsr.commands.morph import dsr_morph, read_structures
from pymol_dsr.session import session_of
from pymol_dsr.surfaces.selections import generated_states
from support.scene import coordinates
from support.session import refused


@pytest.mark.system
def test_atoms_and_surface_of_a_morph_are_one_movie(backend, capsys):
    cmd = backend
    cmd.create("closed", "pep", 1, 1)
    cmd.create("open", "pep and not resi 1", 6, 1)
    cmd.alter("open", "chain = 'B'")
    assert (
        dsr_morph("closed", "open", 5, method="hold", preset="preview", quiet=0, async_=0, _self=cmd) == "closed_morph"
    )
    output = capsys.readouterr().out
    assert "closed: left out: 1 residue" in output
    assert cmd.count_states("closed_morph") == 5
    assert generated_states("closed_morph", cmd) == [2, 3, 4]
    assert cmd.get_title("closed_morph", 5) == "state 1 of open"
    start_atoms = coordinates(cmd, "closed and not resi 1", 1)
    assert coordinates(cmd, "closed_morph", 1) == pytest.approx(start_atoms, abs=1e-4)
    assert cmd.count_states("closed_morph_dsr") == 5
    assert set(cmd.get_names("objects", enabled_only=1)) >= {"closed_morph", "closed_morph_dsr"}
    assert not {"closed", "open"} & set(cmd.get_names("objects", enabled_only=1))
    assert cmd.count_frames() > 5, "the movie goes back and forth"


@pytest.mark.system
def test_a_morph_of_states_without_a_surface(backend):
    cmd = backend
    assert dsr_morph("pep", states="1+3+6", frames=4, method="hold", surface=0, name="way", _self=cmd) == "way"
    assert cmd.count_states("way") == 7
    assert generated_states("way", cmd) == [2, 3, 5, 6]
    assert cmd.get_names("objects") == ["pep", "way"]


def test_states_of_one_object_may_differ_in_their_atoms(plugin):
    """As models do, each of which has its own waters."""
    cmd = plugin
    cmd.create("some", "pep and not (resi 9 and hydro)", 1, 1)
    cmd.create("some", "pep", 6, 2)
    first, second = read_structures(["some"], "", cmd)
    assert 0 < len(first) == cmd.count_atoms("some and state 1") < len(second) == cmd.count_atoms("pep")


def test_faults_are_refused_before_a_backend_is_started(plugin):
    cmd = plugin
    cmd.create("one", "pep", 1, 1)
    assert "name a second structure" in refused(cmd, dsr_morph, "one")
    assert "frames 2" in refused(cmd, dsr_morph, "pep", frames=2)
    assert "give one for each" in refused(cmd, dsr_morph, "one", "pep", states="1")
    assert "align" in refused(cmd, dsr_morph, "one", "pep", align="maybe")
    cmd.create("turned", "one")
    cmd.rotate("y", 70, "turned")
    assert "one (state 1) and turned (state 1) are the same structure" in refused(cmd, dsr_morph, "one", "turned")
    cmd.pseudoatom("one_morph")
    assert "taken by a molecule" in refused(cmd, dsr_morph, "one", "pep")
    cmd.delete("one_morph")
    cmd.pseudoatom("one_morph_dsr")
    assert "one_morph_dsr" in refused(cmd, dsr_morph, "one", "pep")
    assert session_of(cmd).jobs.connection.running is None
    assert not session_of(cmd).sources.running
