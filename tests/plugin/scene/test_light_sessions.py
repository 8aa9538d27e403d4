"""Light sessions with a real PyMOL and a real backend: a coarse movie inside, its meshes made again on opening."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from pymol import CmdException

from pymol_dsr.commands.color import dsr_color
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.manage import dsr_set
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.commands.restore import dsr_restore
from pymol_dsr.scene import cgo, coarse, light_sessions
from pymol_dsr.scene.recipes import MovieRecipe
from pymol_dsr.session import session_of
from support.scene import build_peptide
from support.session import set_up, use_this_backend
from support.waiting import PATIENCE


@pytest.fixture
def plugin(cmd, monkeypatch, tmp_path):
    """A PyMOL with the commands, and a folder of fits of its own; every movie is worth a light session."""
    set_up(cmd, monkeypatch, tmp_path)
    monkeypatch.setattr(light_sessions, "WORTHWHILE_BYTES", 0)
    return cmd


def sphere(count=60):
    """Points f4[N,3] of a sphere of radius 1."""
    around, down = np.meshgrid(np.linspace(0, 2 * np.pi, count, endpoint=False), np.linspace(0.05, np.pi - 0.05, count))
    points = np.stack([np.cos(around) * np.sin(down), np.sin(around) * np.sin(down), np.cos(down)], -1).reshape(-1, 3)
    return points.astype(np.float32)


@pytest.mark.parametrize("count", [100, 330, 1000])
def test_a_coarse_model_has_about_its_number_of_beads_which_touch_the_surface_from_inside(count):
    normals = sphere()
    points = 20 * normals
    width = coarse.cell_width(points, count)
    vertices = coarse.bead_vertices(points, width)
    assert 0.7 * count <= len(vertices) <= count and len(set(vertices)) == len(vertices)
    colors = np.zeros((len(vertices), 3), np.float32)
    colors[::2, 0] = 1.0
    floats = coarse.bead_floats(points[vertices], normals[vertices], 3.0, colors)
    assert len(floats) == 2 * 4 + coarse.BEAD_FLOATS * len(vertices) and floats[:4] == [6.0, 0.0, 0.0, 0.0]
    beads = np.array(coarse.bead_floats(points[vertices], normals[vertices], 3.0, None)).reshape(-1, 5)
    assert np.allclose(np.linalg.norm(beads[:, 1:4], axis=1) + beads[:, 4], 20.0, atol=1e-3)


@pytest.mark.parametrize("extent", [(40.0, 3.0, 5.0), (5.0, 40.0, 3.0), (3.0, 5.0, 40.0)])
def test_no_point_of_a_long_surface_is_farther_from_a_bead_than_a_cell(extent):
    points, width = (0.5 * np.array(extent) * sphere()).astype(np.float32), 2.0
    beads = points[coarse.bead_vertices(points, width)]
    distance = np.linalg.norm(points[:, None] - beads[None], axis=2).min(1)
    assert distance.max() <= 3.0**0.5 * width and len(beads) < 0.2 * len(points)


def test_coarse_movies_of_any_length_keep_to_their_bytes():
    for count in (1, 10, 79, 600, 5000):
        models = -(-count // coarse.states_per_model(count))
        size = models * coarse.beads_per_model(models) * coarse.BEAD_FLOATS * cgo.FLOAT_BYTES
        assert size <= coarse.MOVIE_BYTES and coarse.beads_per_model(models) > 0.9 * coarse.LEAST_BEADS


def meshes_of(cmd, name):
    """The numbers of each state of an object."""
    [entry] = [entry for entry in cmd.get_session(name, partial=1)["names"] if entry and entry[0] == name]
    return [state[0][1] for state in entry[5][2]]


def differences(meshes, expected_meshes):
    """The states whose meshes or colours differ, with the number of floats that do and the largest difference."""
    differing = [(0, len(meshes), float(len(expected_meshes)))] if len(meshes) != len(expected_meshes) else []
    for state, (mesh, expected) in enumerate(zip(meshes, expected_meshes, strict=False), 1):
        gaps = np.abs(np.subtract(mesh, expected)) if len(mesh) == len(expected) else np.array([np.inf])
        if gaps.size and gaps.max() > 1e-4:
            differing.append((state, int((gaps > 1e-4).sum()), float(gaps.max())))
    return differing


def appearance(cmd, name):
    """Settings that the user has made of an object."""
    return (
        cmd.get_names("objects"),
        name in cmd.get_names("objects", enabled_only=1),
        round(cmd.get_setting_float("cgo_transparency", name), 4),
        cmd.get_object_color_index(name),
        cmd.get_setting_float("cgo_line_width", name),
        cmd.get_object_matrix(name),
    )


def emptied(cmd):
    """As a PyMOL that has just started."""
    cmd.reinitialize()
    session = session_of(cmd)
    session.jobs.fits.clear()
    session.references.movies.clear()
    session.references.contents.clear()
    session.movies.by_name.clear()
    session.light.coarse.clear()


def make_movie(cmd, **options):
    build_peptide(cmd)
    dsr_fit("pep", "1-5:2", name="fit", preset="preview", watch=0, _self=cmd)
    dsr_movie("fit", "1-6:0.5", triangles=2000, _self=cmd, **options)
    cmd.set("cgo_line_width", 3, "fit")
    cmd.set("cgo_transparency", 0.3, "fit")
    cmd.set_name("fit", "mine")
    cmd.group("both", "mine pep")
    cmd.disable("mine")


@pytest.mark.system
def test_a_light_session_makes_the_same_meshes_again(plugin, tmp_path, capsys, monkeypatch):
    """Opened without a backend, saved, opened with one: the same meshes, names and settings as at first."""
    pytest.importorskip("torch")
    make_movie(plugin)
    plugin.color("yellow", "pep")  # of the atoms alone; the surface keeps the colours it was made in
    before, settings = {name: meshes_of(plugin, name) for name in ("mine", "fit_future")}, appearance(plugin, "mine")
    path, second_path = str(tmp_path / "light.pse"), str(tmp_path / "again.pse")
    plugin.save(path)
    assert {name: meshes_of(plugin, name) for name in before} == before, "saving has changed the scene"
    assert " mine: " in capsys.readouterr().out
    size = os.path.getsize(path)
    dsr_set("session", "full", _self=plugin)
    plugin.save(str(tmp_path / "full.pse"))
    assert os.path.getsize(tmp_path / "full.pse") > size + 1_000_000
    dsr_set("session", "light", _self=plugin)

    emptied(plugin)
    session_of(plugin).jobs.connection.end()
    session_of(plugin).settings.put("backend", "false")
    os.unlink(tmp_path / "home" / "fits" / "fit.dsr")
    capsys.readouterr()
    plugin.load(path)
    out = capsys.readouterr().out
    assert " mine: stays coarse" in out and "'dsr_restore mine' makes" in out, out
    assert appearance(plugin, "mine") == settings
    coarse_meshes = {name: meshes_of(plugin, name) for name in before}
    assert all(len(coarse_meshes[name]) == len(before[name]) for name in before)
    assert 100 < sum(map(len, coarse_meshes["mine"])) < 0.3 * sum(map(len, before["mine"]))

    # Nothing is lost, and nothing grows, where a session is saved while its movie is coarse.
    plugin.save(second_path)
    assert abs(os.path.getsize(second_path) - size) < 2000
    emptied(plugin)
    plugin.load(second_path)
    assert {name: meshes_of(plugin, name) for name in before} == coarse_meshes and appearance(
        plugin, "mine"
    ) == settings

    plugin.set_name("mine", "other")
    use_this_backend(plugin)
    listings, list_states = [], MovieRecipe.movie_states

    def watched(*args):
        listings.append(1)
        return list_states(*args)

    monkeypatch.setattr(MovieRecipe, "movie_states", watched)
    assert dsr_restore("other", _self=plugin) == ["other"]
    assert len(listings) == 1, "the states of a movie are listed once, not for each of its meshes"
    assert differences(meshes_of(plugin, "other"), before["mine"]) == []
    assert differences(meshes_of(plugin, "fit_future"), before["fit_future"]) == []
    with pytest.raises(CmdException, match="there is no coarse movie"):
        dsr_restore(_self=plugin)
    # The movie is as if it had been made here.
    dsr_color("other", "motion", _self=plugin)
    plugin.save(path)
    emptied(plugin)
    plugin.load(path)
    assert not session_of(plugin).light.coarse and session_of(plugin).movies.by_name["other"].scale is not None
    assert len([name for name in plugin.get_names() if "bar" in name]) == 1


@pytest.mark.system
def test_a_cancelled_restoration_leaves_the_coarse_movie(plugin, tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch")
    make_movie(plugin)
    path = str(tmp_path / "light.pse")
    plugin.save(path)
    emptied(plugin)
    session = session_of(plugin)
    reopened, session.light.reopened = session.light.reopened, lambda names, _self: None
    plugin.load(path)
    coarse_meshes = meshes_of(plugin, "mine")
    stream = session.jobs.connection.stream

    def cancelled_stream(fit, requests):
        for number, reply in enumerate(stream(fit, requests)):
            if number == 3:
                assert meshes_of(plugin, "mine") != coarse_meshes
                plugin.save(str(tmp_path / "meanwhile.pse"))
                session.jobs.cancel("fit")
            yield reply

    monkeypatch.setattr(session.jobs.connection, "stream", cancelled_stream)
    reopened(["mine"], plugin)
    assert "stays coarse" in capsys.readouterr().out and meshes_of(plugin, "mine") == coarse_meshes
    assert list(session.light.coarse) == ["mine"]
    monkeypatch.undo()
    # The session that was saved meanwhile has the whole recipe.
    emptied(plugin)
    plugin.load(str(tmp_path / "meanwhile.pse"))
    assert meshes_of(plugin, "mine") == coarse_meshes


@pytest.mark.system
def test_a_pymol_without_the_plugin_plays_the_coarse_movie_and_loses_nothing(plugin, tmp_path, capsys):
    pytest.importorskip("torch")
    make_movie(plugin)
    before = meshes_of(plugin, "mine")
    path = str(tmp_path / "light.pse")
    plugin.save(path)
    script = tmp_path / "script.py"
    script.write_text(
        f"from pymol import cmd\nimport sys\ncmd.load({path!r})\nassert 'pymol_dsr' not in sys.modules\n"
        f"print('STATES', cmd.count_states('mine'), cmd.count_frames())\ncmd.save({path!r})\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = subprocess.run(
        [sys.executable, "-m", "pymol", "-cqk", str(script)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**environment, "HOME": str(tmp_path)},
        cwd=tmp_path,
        check=False,
    )
    assert "STATES 9 11" in process.stdout, process.stdout + process.stderr
    emptied(plugin)
    plugin.load(path)
    assert differences(meshes_of(plugin, "mine"), before) == [], capsys.readouterr().out


@pytest.mark.system
def test_a_movie_whose_fit_has_given_way_is_kept_whole(plugin, tmp_path, capsys):
    pytest.importorskip("torch")
    make_movie(plugin)
    before = meshes_of(plugin, "mine")
    dsr_fit("pep", "1-3", name="fit", preset="preview", watch=0, _self=plugin)
    session_of(plugin).references.megabytes["mine"] = 205.0
    capsys.readouterr()
    plugin.save(str(tmp_path / "whole.pse"))
    assert "of this session, since its fit has given way to another" in capsys.readouterr().out
    emptied(plugin)
    plugin.load(str(tmp_path / "whole.pse"))
    assert meshes_of(plugin, "mine") == before and not session_of(plugin).light.coarse
