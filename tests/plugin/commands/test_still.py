"""Stills, files and levels of one time: their time, and the lines that say what was done."""

from __future__ import annotations

import pytest
from pymol import CmdException

from pymol_dsr.commands.files import dsr_export, dsr_load
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.levels import dsr_levels
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.commands.still import dsr_still, time_in_view
from pymol_dsr.fits.fit import Fit, Trajectory
from pymol_dsr.scene.cgo import NOTHING
from pymol_dsr.scene.kept_movies import KeptMesh, KeptMovie
from pymol_dsr.scene.timeline import plan
from pymol_dsr.session import session_of
from pymol_dsr.shared.options import FieldOptions
from support.meshes import mesh_result, sphere


@pytest.mark.parametrize(("times", "state", "time"), [((1.0, 1.5, 2.0, 2.5), 4, 2.5), ((1, 2, 3, 4), 3, 3.0)])
def test_the_time_in_view_is_that_of_the_movie_that_is_switched_on(plugin, times, state, time):
    movies, trajectory = session_of(plugin).movies, Trajectory("", "pep", "pep", None, [1.0, 4.0])
    movie = KeptMovie("a", Fit("a", [trajectory]), trajectory, FieldOptions())
    for movie_state in plan(trajectory, times, "a"):
        plugin.load_cgo(NOTHING, "a", movie_state.state)
        movie.meshes.append(KeptMesh.from_reply(movie_state, mesh_result(sphere(1.0, count=4))))
    movies.keep(movie, plugin)
    plugin.frame(state)
    assert time_in_view(movies, movie.fit, plugin) == time
    assert time_in_view(movies, Fit("b"), plugin) == state
    plugin.disable("a")
    assert time_in_view(movies, movie.fit, plugin) == state


@pytest.mark.system
@pytest.mark.parametrize(
    ("time", "states"),
    [
        ("3", {"fit_atoms": 5, "fit_still": 3}),
        ("2.5", {"fit_atoms": 4, "fit_still": 1, "fit_still_atoms": None}),
        ("4", {"pep": 4, "fit_still": 4, "fit_atoms": None}),
        ("3.25", {"fit_still_atoms": 1, "fit_still": 1, "fit_atoms": None, "pep": None}),
    ],
)
def test_a_still_has_the_atoms_of_its_time_and_not_those_of_the_movies_frame(
    backend, tmp_path, monkeypatch, time, states
):
    cmd, pictured = backend, {}
    dsr_fit("pep and polymer", "1-4", name="fit", preset="preview", watch=0, _self=cmd)
    dsr_movie("fit", "1-3:0.5", _self=cmd)
    cmd.set("state", 2, "pep")
    before = cmd.get_names("objects", enabled_only=1), _own_states(cmd)
    write_picture = cmd.png

    def watched(*args, **kwargs):
        pictured.update({name: cmd.get_setting_int("state", name) for name in cmd.get_names(enabled_only=1)})
        return write_picture(*args, **kwargs)

    monkeypatch.setattr(cmd, "png", watched)
    dsr_still("fit", str(tmp_path / "a.png"), time, width=40, _self=cmd)
    assert {name: pictured.get(name) for name in states} == states
    assert (cmd.get_names("objects", enabled_only=1), _own_states(cmd)) == before


def _own_states(cmd):
    """Return the settings that the user has given to the molecule and the movie's atoms."""
    return [cmd.get_object_settings(name) or [] for name in ("pep", "fit_atoms")]


@pytest.mark.system
def test_lines_say_what_stays_and_what_is_switched_off(backend, capsys, tmp_path):
    cmd = backend
    dsr_fit("pep and polymer", "1-4", name="fit", preset="preview", watch=0, _self=cmd)
    dsr_movie("fit", "1-4", object="other", _self=cmd)
    capsys.readouterr()
    dsr_still("fit", str(tmp_path / "a.png"), "2.5", width=40, quiet=0, _self=cmd)
    dsr_still("fit", str(tmp_path / "a.png"), "5", width=40, quiet=0, _self=cmd)
    lines = capsys.readouterr().out
    assert "fit_still" not in lines and "is switched off" not in lines and "state 5 is past the fitted 1 to 4" in lines
    dsr_export("fit", str(tmp_path / "a.ply"), states="2", quiet=0, _self=cmd)
    assert "averaged over time" not in capsys.readouterr().out
    dsr_export("fit", str(tmp_path / "a.ply"), states="2+2.5", quiet=0, _self=cmd)
    assert "fit: averaged over time at the fitted states, too" in capsys.readouterr().out
    other_file = tmp_path / "notes.dsr"
    other_file.write_text("These are notes and no fit.")
    with pytest.raises(CmdException, match=r"notes\.dsr: this is no \.dsr file.*; give one that dsr_save has written"):
        dsr_load(str(other_file), _self=cmd)
    dsr_levels("fit", "2", levels="0 2", quiet=0, _self=cmd)
    assert "fit: other is switched off, as it would hide the levels" in capsys.readouterr().out
    assert "other" not in cmd.get_names("objects", enabled_only=1)
