"""dsr_example with a real PyMOL and a real backend."""

from __future__ import annotations

from pathlib import Path

import pytest

from pymol_dsr.commands import example
from pymol_dsr.commands.example import dsr_example
from pymol_dsr.session import session_of
from support.session import refused


@pytest.mark.system
def test_the_morph_shows_its_surface_and_leaves_molecules_of_these_names_alone(backend):
    cmd = backend
    cmd.pseudoatom("trpcage")
    dsr_example("morph", _self=cmd)
    assert cmd.count_atoms("%trpcage") == 1
    assert cmd.count_states("trpcage01_morph") == cmd.count_states("trpcage01_morph_dsr") == 30
    assert "trpcage01_morph_dsr" in cmd.get_names("objects", enabled_only=1)
    assert cmd.count_frames() > 30, "the movie goes back and forth"
    assert not cmd.get_movie_playing(), "PyMOL without a window would never end"


def test_the_molecules_come_with_the_plugin(plugin):
    for name, states in ((example.TRAJECTORY, example.STATES), (example.OPEN, 1)):
        path = Path(example.FOLDER, f"{name}.pdb.gz")
        assert path.stat().st_size < 50_000
        plugin.load(str(path), name)
        assert plugin.count_states(name) == states
        assert plugin.count_atoms(name) == 154


def test_another_kind_is_refused_before_anything_is_loaded(plugin):
    assert "kind film: choose one of trajectory, morph" in refused(plugin, dsr_example, "film")
    assert plugin.get_names() == ["pep"]
    assert session_of(plugin).jobs.connection.running is None


def test_the_movie_plays_where_pymol_has_a_window(plugin, monkeypatch):
    monkeypatch.setattr(example, "has_window", lambda: True)
    monkeypatch.setattr(example, "_show_morph", lambda *_: "pep")
    plugin.mset("1 x30")
    dsr_example("morph", _self=plugin)
    assert plugin.get_movie_playing()
    plugin.mstop()
