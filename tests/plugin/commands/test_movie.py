"""Movies: their times and order, the camera that follows, the time in the picture, films as files."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import pytest
from pymol import CmdException

from pymol_dsr import register
from pymol_dsr.commands.color import dsr_color
from pymol_dsr.commands.files import dsr_export
from pymol_dsr.commands.film import dsr_film
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.commands.still import dsr_still
from pymol_dsr.fits.fit import Activity, Cancelled, Fit, Phase, Trajectory
from pymol_dsr.scene import film, movie_objects
from pymol_dsr.scene.movie import MovieRecorder
from pymol_dsr.scene.objects import SceneError
from pymol_dsr.scene.present_movie import read_movie
from pymol_dsr.session import Session, close_session, session_of, set_session
from pymol_dsr.shared import superpose
from pymol_dsr.sources import provenance
from support.paths import ROOT
from support.scene import build_peptide, coordinates, put

PIL = pytest.importorskip("PIL.Image")
STEP = 25.0


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The session of a PyMOL with a fit of `pep`, which tumbles through 5 states, 25 degrees each, and moves away."""
    pytest.importorskip("torch")
    import pymol2

    home = tmp_path_factory.mktemp("movies")
    patch = pytest.MonkeyPatch()
    patch.setenv("DSR_HOME", str(home))
    patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "backend"), os.environ.get("PYTHONPATH", "")]))
    patch.setenv("OMP_NUM_THREADS", "1")
    with pymol2.PyMOL() as session:
        cmd = session.cmd
        cmd.feedback("disable", "all", "everything")
        tumbling(cmd)
        session_of(cmd).settings.put("backend", f"{sys.executable} -m dsr_backend serve")
        dsr_fit("pep", name="fit", preset="preview", watch=0, _self=cmd)
        yield session_of(cmd)
        close_session(cmd)
    patch.undo()


@pytest.fixture
def plugin(session, fitted):
    """A PyMOL with `pep` and its fit."""
    cmd = session.cmd
    register(cmd)
    set_session(fitted, cmd)
    tumbling(cmd)
    cmd.set("bg_rgb", "white")
    cmd.hide("everything")
    cmd.viewport(160, 120)
    cmd.orient("pep", state=1)
    cmd.zoom("pep", 3, state=1)
    yield cmd
    # The session is not this PyMOL's alone, and stays open.
    set_session(Session(), cmd)


def tumbling(cmd):
    build_peptide(cmd, count=1)
    start = coordinates(cmd, "pep", 1)
    for state in range(1, 6):
        angle = np.radians(STEP * (state - 1))
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
        if state > 1:
            cmd.create("pep", "pep", 1, state)
        put(cmd, "pep", state, (start - start.mean(axis=0)) @ turn.T + [4.0 * (state - 1), 0, 2.0 * (state - 1)])


def drawn(cmd, frame, tmp_path):
    """Which pixels of the movie's frame are not background, bool[height, width]."""
    cmd.frame(frame)
    path = str(tmp_path / "frame.png")
    cmd.set("opaque_background", 1)
    cmd.png(path, 160, 120, ray=1, quiet=1)
    with PIL.open(path) as image:
        return (np.array(image.convert("RGB")) < 250).any(axis=2)


def alike(first, second):
    return (first & second).sum() / (first | second).sum()


def states_played(cmd):
    played = []
    for frame in range(1, cmd.count_frames() + 1):
        cmd.frame(frame)
        played.append(cmd.get_state())
    return played


def test_superposition_finds_the_rigid_motion():
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(50, 3)) * 5
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    rotation, shift = superpose.superpose(atoms, atoms @ turn.T + [3, -4, 5])
    np.testing.assert_allclose(rotation, turn, atol=1e-9)
    np.testing.assert_allclose(shift, [3, -4, 5], atol=1e-9)
    # Never a mirror image, flat molecules included.
    flat = atoms * [1, 1, 0]
    for moving, fixed in ((atoms, atoms * [1, 1, -1]), (flat, flat * [-1, 1, 1])):
        assert np.linalg.det(superpose.superpose(moving, fixed)[0]) == pytest.approx(1.0)


# Refusals


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dsr_movie fit, fps=0", "fps 0: it must be above 0"),
        ("dsr_movie fit, play=twice", "play twice: choose one of nothing, once, loop, bounce"),
        ("dsr_movie fit, camera=run", "camera run: choose one of still, follow"),
        ("dsr_movie fit, camera=follow, as_=map", "camera follow: maps say nothing of the atoms"),
        ("dsr_movie fit, movie=0, fps=10", "movie 0: fps, play, camera and intro are the movie's"),
        ("dsr_movie fit, 1-5:0.5, seconds=2", "seconds 2: states 1-5:0.5 says the times already"),
        ("dsr_movie fit, 3, seconds=2", "seconds 2: state 3 alone does not move"),
        ("dsr_movie fit, seconds=60, fps=30", "that is 1800 surfaces, and 600 is the most; take at most 20 seconds"),
        ("dsr_movie fit, seconds=0.01, fps=30", "that is 0 state"),
        ("dsr_movie fit, intro=jump", "intro jump: choose one of nothing, turn, approach"),
        ("dsr_film x.gif, 80, size=720p", "size 720p: it is width and height already"),
        ("dsr_film x.gif, fps=3, seconds=2", "seconds 2: it sets the frames per second"),
        ("dsr_still fit, x.jpg", "filename x.jpg: it must end in .png"),
        ("dsr_still fit, x.png, 1-3", "state 1-3: a still is of one time"),
        ("dsr_film x.avi", "filename x.avi: it must end in .mp4, .gif"),
        ("dsr_film /no/such/x.gif", "the folder /no/such does not exist"),
        ("dsr_film x.gif", "there is no movie to write; dsr_movie loads one"),
    ],
)
def test_mistakes_are_one_line(session, monkeypatch, capfd, line, message):
    register(session.cmd)
    jobs = session_of(session.cmd).jobs
    trajectory = Trajectory("", "pep", "%pep", None, [1.0, 5.0])
    jobs.fits["fit"] = Fit("fit", [trajectory], phase=Phase.READY)
    session.cmd.do(line)
    errors = [text for text in capfd.readouterr().out.splitlines() if "Error" in text]
    assert len(errors) == 1 and message in errors[0]
    assert not jobs.fits["fit"].activity


# In the scene


@pytest.mark.system
def test_a_movie_as_long_as_asked_for_back_and_forth(plugin):
    dsr_movie("fit", seconds=1.4, fps=10, play="bounce", triangles=2000, _self=plugin)
    assert plugin.count_frames() == 14
    assert states_played(plugin) == [1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3, 2]
    assert plugin.get_setting_float("movie_fps") == 10 and plugin.get_setting_boolean("movie_loop")
    assert plugin.count_states("fit_atoms") == 8
    dsr_movie("fit", "1-5", play="once", triangles=2000, _self=plugin)
    assert not plugin.get_setting_boolean("movie_loop")
    assert states_played(plugin) == [1, 2, 3, 4, 5]
    # Neither was named, so PyMOL's own settings stay.
    dsr_movie("fit", "1-2", triangles=2000, _self=plugin)
    assert plugin.get_setting_float("movie_fps") == 10 and not plugin.get_setting_boolean("movie_loop")


def failing(*args):
    raise SceneError("a fault of the scene")


@pytest.mark.parametrize("step", ["before its first state", "after its last state"])
def test_a_movie_that_fails_leaves_its_fit_free(plugin, monkeypatch, step):
    if step == "before its first state":
        monkeypatch.setattr(provenance, "describe_fit", failing)
    else:
        monkeypatch.setattr(MovieRecorder, "set_up", failing)
    with pytest.raises(CmdException, match="a fault of the scene"):
        dsr_movie("fit", "1-2", triangles=2000, _self=plugin)
    monkeypatch.undo()
    assert dsr_movie("fit", "1-2", triangles=2000, _self=plugin) == "fit"


def test_a_fit_is_busy_with_its_movie_until_that_is_set_up(plugin, monkeypatch):
    fit = session_of(plugin).jobs.fits["fit"]
    activities = []
    set_up = MovieRecorder.set_up

    def watched(*args):
        activities.append(fit.activity)
        set_up(*args)

    monkeypatch.setattr(MovieRecorder, "set_up", watched)
    dsr_movie("fit", "1-2", triangles=2000, _self=plugin)
    assert activities == [Activity.MOVIE] and fit.activity is None


def listening(session, monkeypatch):
    """The requests that a movie makes from now on."""
    sent: list[Any] = []
    stream = session.jobs.connection.stream

    def noted(fit, requests):
        sent.extend(requests)
        return stream(fit, requests)

    monkeypatch.setattr(session.jobs.connection, "stream", noted)
    return sent


@pytest.mark.parametrize(
    ("states", "steady", "expected"),
    [("2-3", "", False), ("2-3:0.5", "", True), ("2-3:0.5", 0, False), ("2-3", 1, True), ("5-6:0.5", "", False)],
)
def test_times_between_fitted_states_are_steady_unless_asked_otherwise(plugin, monkeypatch, states, steady, expected):
    sent = listening(session_of(plugin), monkeypatch)
    dsr_movie("fit", states, steady=steady, triangles=2000, _self=plugin)
    assert {request.field.steady for request in sent} == {expected}
    word = "" if steady == "" else f", steady={steady}"
    assert session_of(plugin).references.movies["fit"].command == f"dsr_movie fit, {states}, triangles=2000{word}"


@pytest.mark.parametrize("by", ["motion", "speed", "b"])
def test_a_movie_by_values_is_loaded_once_in_its_final_colours(plugin, monkeypatch, by):
    plugin.alter("pep", "b = resv")
    loaded: list[tuple[str, int]] = []
    lists: dict[tuple[str, int], list[float]] = {}
    load_cgo = plugin.load_cgo

    def counted(floats, name, state, **options):
        loaded.append((name, state))
        lists[name, state] = list(floats)
        return load_cgo(floats, name, state, **options)

    monkeypatch.setattr(plugin, "load_cgo", counted)
    sent = listening(session_of(plugin), monkeypatch)
    dsr_movie("fit", "1-6:5", color=by, triangles=2000, _self=plugin)
    assert [type(request).__name__ for request in sent].count("Mesh") == 2
    # Before state 6 of the times past the fitted ones, PyMOL gets empty ones.
    assert [item for item in loaded if len(lists[item]) > 1] == [("fit", 1), ("fit_future", 6)]
    assert len(set(loaded)) == len(loaded)
    first = dict(lists)
    loaded.clear()
    dsr_color("fit", by, _self=plugin)
    # The same colours as of a movie that is coloured after it was loaded.
    assert loaded == [("fit", 1), ("fit_future", 6)]
    assert all(lists[item] == first[item] for item in loaded)
    [bar] = [name for name in plugin.get_names("all") if name.startswith("fit_bar_")]
    assert f"fit_bar_{by}" in bar


@pytest.mark.parametrize("few_states", [32, 3])
def test_a_movie_by_values_that_is_cancelled_keeps_its_finished_states_in_their_colours(
    plugin, monkeypatch, few_states
):
    jobs = session_of(plugin).jobs
    stream = jobs.connection.stream
    # Longer movies get all their states before the first mesh.
    monkeypatch.setattr(movie_objects, "FEW_STATES", few_states)
    lists: dict[tuple[str, int], list[list[float]]] = {}
    load_cgo = plugin.load_cgo

    def listed(floats, name, state, **options):
        lists.setdefault((name, state), []).append(list(floats))
        return load_cgo(floats, name, state, **options)

    monkeypatch.setattr(plugin, "load_cgo", listed)

    def cancelled_after_two(fit, requests):
        for number, answer in enumerate(stream(fit, requests)):
            if number == 2:
                raise Cancelled("fit: cancelled")
            yield answer

    monkeypatch.setattr(jobs.connection, "stream", cancelled_after_two)
    with pytest.raises(CmdException, match="cancelled"):
        dsr_movie("fit", "1-5", color="motion", triangles=2000, _self=plugin)
    assert plugin.count_states("fit") == 2
    first, *later = [floats for floats in lists["fit", 2] if len(floats) > 1]
    assert len(later) == (few_states == 3)
    assert all(np.allclose(floats, first, atol=1e-4) for floats in later)
    [movie] = session_of(plugin).movies.by_name.values()
    assert [mesh.state.time for mesh in movie.meshes] == [1.0, 2.0]
    with pytest.raises(CmdException, match="by nothing"):
        dsr_color("fit", "nothing", _self=plugin)


def test_a_movie_takes_every_look_of_the_window(plugin, monkeypatch):
    sent = listening(session_of(plugin), monkeypatch)
    dsr_movie("fit", "1-6:5", color="motion", transparency=0.25, smooth=2, triangles=2000, _self=plugin)
    assert [request.mesh.smooth for request in sent] == [2, 2]
    assert plugin.get_setting_float("cgo_transparency", "fit") == pytest.approx(0.25)
    assert plugin.get_setting_float("cgo_transparency", "fit_future") == pytest.approx(0.4)
    assert "fit_bar_motion_A" in plugin.get_names("all")
    line = session_of(plugin).references.movies["fit"].command
    assert line == "dsr_movie fit, 1-6:5, triangles=2000, smooth=2, color=motion, transparency=0.25"
    for arguments, message in (
        ({"color": "nocolour"}, "color nocolour: PyMOL has no such colour"),
        ({"color": "values"}, "color values: load the movie first, then name the file"),
        ({"color": "motion", "as_": "map"}, "color motion: maps have no colours of vertices"),
        ({"smooth": 2, "as_": "map"}, "smooth 2: maps have the fit's own smoothing"),
    ):
        with pytest.raises(CmdException, match=message):
            dsr_movie("fit", "1-2", _self=plugin, **arguments)


@pytest.mark.system
def test_a_movie_that_was_renamed_keeps_its_other_objects_when_the_next_one_takes_its_name(plugin):
    dsr_movie("fit", "1+4.5+6", overlay=1, triangles=2000, _self=plugin)
    plugin.set_name("fit", "kept")
    dsr_movie("fit", "1-6:5", triangles=2000, movie=0, _self=plugin)
    names = ["fit", "fit_future", "kept", "kept_atoms", "kept_future", "kept_time", "pep"]
    assert sorted(plugin.get_names("objects")) == names
    session = session_of(plugin)
    assert {name: len(movie.meshes) for name, movie in session.movies.by_name.items()} == {"kept": 3, "fit": 2}
    # Taken out, as the session is that of other tests, too.
    objects = session.references.movies.pop("kept").objects
    assert sorted(objects) == ["kept", "kept_atoms", "kept_future", "kept_time"]


def test_files_take_the_same_colours(plugin, tmp_path):
    colors = {}
    for color in ("salmon", "motion", "index"):
        (path,) = dsr_export("fit", str(tmp_path / "a.npz"), color=color, triangles=2000, _self=plugin)
        with np.load(path) as arrays:
            colors[color] = np.unique(arrays["colors"], axis=0)
    assert len(colors["motion"]) == 1, "it tumbles as a whole"
    assert colors["salmon"].tolist() == [[255, 153, 153]] and len(colors["index"]) > 10
    with pytest.raises(CmdException, match="by speed: files hold the colours of atoms"):
        dsr_export("fit", str(tmp_path / "a.npz"), color="speed", _self=plugin)


@pytest.mark.parametrize("camera", ["still", "follow"])
def test_the_camera_comes_nearer_before_the_states_play(plugin, tmp_path, camera):
    view = plugin.get_view()
    dsr_movie("fit", "2-4", intro="approach", intro_seconds=0.5, fps=10, camera=camera, triangles=2000, _self=plugin)
    assert states_played(plugin) == [2] * 5 + [2, 3, 4]
    sizes = [drawn(plugin, frame, tmp_path).mean() for frame in (1, 3, 6)]
    assert sizes[0] < 0.3 * sizes[2] and sizes[0] < sizes[1] < sizes[2]
    plugin.frame(6)
    np.testing.assert_allclose(plugin.get_view(), view, atol=1e-3)
    assert "intro=approach, intro_seconds=0.5" in session_of(plugin).references.movies["fit"].command


@pytest.mark.system
def test_the_camera_follows_a_tumbling_molecule(plugin, tmp_path):
    # Moved in the scene, as by dragging it: the camera has to know.
    plugin.set_object_ttt("pep", [0.8, -0.6, 0, 3, 0.6, 0.8, 0, 1, 0, 0, 1, 2, 0, 0, 0, 1.0])
    plugin.orient("pep", state=1)
    view = plugin.get_view()
    dsr_movie("fit", camera="follow", triangles=3000, _self=plugin)
    first = drawn(plugin, 1, tmp_path)
    np.testing.assert_allclose(plugin.get_view(), view, atol=1e-3)
    assert 0.05 < first.mean() < 0.9
    for frame in (2, 3, 5):
        assert alike(first, drawn(plugin, frame, tmp_path)) > 0.93, frame
    assert not plugin.get_movie_locked()
    # It survives a session, and another movie with a camera that is still takes it away.
    plugin.save(str(tmp_path / "follow.pse"))
    plugin.load(str(tmp_path / "follow.pse"))
    assert alike(first, drawn(plugin, 5, tmp_path)) > 0.93
    dsr_movie("fit", triangles=3000, _self=plugin)
    plugin.set_view(view)
    assert alike(first, drawn(plugin, 5, tmp_path)) < 0.6


def test_the_time_of_a_movie_stays_in_the_group_of_the_user(plugin):
    dsr_movie("fit", "1-2", overlay=1, triangles=2000, _self=plugin)
    plugin.group("mine", "fit_time")
    dsr_movie("fit", "1-2", overlay=1, triangles=2000, _self=plugin)
    # PyMOL deletes a group with its members.
    plugin.delete("mine")
    assert plugin.get_names("objects") == ["pep", "fit"]


def test_the_time_stands_in_the_corner_and_in_no_selection_of_molecules(plugin, tmp_path):
    dsr_movie("fit", "3-6", overlay=1, triangles=2000, _self=plugin)
    labels: list[Any] = []
    plugin.iterate("fit_time", "labels.append(label)", space={"labels": labels})
    assert [text for text in labels if text][:3] == ["state 3", "state 4", "state 5"]
    # Five states are too few to expect an error from.
    assert labels[-1] == "state 6 · extrapolated"
    assert plugin.get_names("objects") == ["pep", "fit", "fit_future", "fit_time"]
    plugin.disable("fit fit_future")
    images = {}
    for frame in (1, 2, 4):
        images[frame] = drawn(plugin, frame, tmp_path)
        rows, columns = np.nonzero(images[frame])
        assert rows.max() < 30 and 1 < columns.min() < 20, (frame, rows, columns)
    assert (images[1] != images[2]).any()
    assert images[4].sum() > 1.5 * images[1].sum()
    # The whole of the scene is still one molecule to fit, and the next movie takes the label away.
    from pymol_dsr.surfaces import extract

    assert [source.object for source in extract.read_sources("all", "1-5", _self=plugin)] == ["pep"]
    dsr_movie("fit", "1-3", triangles=2000, _self=plugin)
    assert plugin.get_names("objects") == ["pep", "fit"]


def test_the_label_takes_no_name_of_a_molecule(plugin):
    build_peptide(plugin, "fit_time", 1)
    with pytest.raises(CmdException, match="the name fit_time is taken by a molecule"):
        dsr_movie("fit", "1-3", overlay=1, _self=plugin)


def test_maps_play_as_well(plugin):
    dsr_movie("fit", "1-3", as_="map", overlay=1, resolution=1.5, play="bounce", _self=plugin)
    assert states_played(plugin) == [1, 2, 3, 2] and "fit_time" in plugin.get_names()


# A movie that the user made


def own_movie(cmd):
    """The user's movie: 40 frames, two keys of the camera, one of a scene, a command."""
    cmd.mset("1 x30 1 -10")
    cmd.mview("store", 1)
    cmd.turn("y", 90)
    cmd.mview("store", 30)
    cmd.scene("front", "store")
    cmd.mview("store", 40, scene="front")
    cmd.mdo(5, "turn x, 5")


OWN = "a movie of 40 frames with 3 camera keys (1 scene) and 1 command"


def test_a_movie_that_is_replaced_is_said_with_a_way_to_keep_it(plugin, capsys):
    own_movie(plugin)
    before = read_movie(plugin)
    plugin.do("dsr_movie fit, 1-3, movie=0, triangles=2000, async_=0")
    assert "PyMOL has" not in capsys.readouterr().out
    assert read_movie(plugin) == before and plugin.count_states("fit") == 3
    plugin.do("dsr_movie fit, 1-3, triangles=2000, async_=0")
    line = f" fit: warning: PyMOL has {OWN}, which this one replaces; movie=0 loads the surfaces and keeps it"
    assert line in capsys.readouterr().out.splitlines()
    assert plugin.count_frames() == 3 and "_dsr_nothing" not in plugin.get_names("all")
    # The next ones replace dsr_movie's own, and the camera's keys of these.
    for arguments in ("camera=follow, play=bounce", ""):
        plugin.do(f"dsr_movie fit, 1-3, triangles=2000, async_=0, {arguments}")
        assert "PyMOL has" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        lambda cmd: cmd.mview("store", 2),
        lambda cmd: cmd.mdo(2, "turn x, 5"),
        lambda cmd: cmd.mset("1 x9"),
        lambda cmd: (cmd.scene("a", "store"), cmd.mview("store", 1, scene="a")),
    ],
    ids=["mview", "mdo", "mset", "scene"],
)
def test_a_movie_of_dsr_movie_that_the_user_changed_is_said_too(plugin, capsys, change):
    dsr_movie("fit", "1-3", triangles=2000, _self=plugin)
    change(plugin)
    dsr_movie("fit", "1-3", triangles=2000, _self=plugin)
    assert "warning: PyMOL has a movie of " in capsys.readouterr().out


def test_a_movie_of_dsr_movie_in_a_session_file_is_known(plugin, tmp_path, capsys):
    dsr_movie("fit", "1-3", triangles=2000, camera="follow", _self=plugin)
    plugin.save(str(tmp_path / "x.pse"))
    plugin.reinitialize()
    session_of(plugin).references.own_movie = ""
    plugin.load(str(tmp_path / "x.pse"))
    capsys.readouterr()
    dsr_movie("fit", "1-3", triangles=2000, _self=plugin)
    assert "PyMOL has" not in capsys.readouterr().out


# Films


@pytest.mark.system
def test_a_film_shows_every_frame_at_its_time(plugin, tmp_path):
    dsr_movie("fit", "1-6", overlay=1, play="bounce", triangles=2000, fps=8, _self=plugin)
    plugin.frame(3)
    view = plugin.get_view()
    path = dsr_film(str(tmp_path / "pep.gif"), width=160, _self=plugin)
    with PIL.open(path) as film:
        assert film.size == (160, 120) and film.n_frames == 10
        pictures, duration = [], 0
        for k in range(10):
            film.seek(k)
            duration += film.info["duration"]
            pictures.append(np.array(film.convert("RGB"), int))
    assert duration == 1250
    # Forth and back: the same pictures, labels included.
    for k in (1, 2, 3, 4):
        assert np.abs(pictures[k] - pictures[10 - k]).max() < 60, k
        assert (np.abs(pictures[k] - pictures[k + 1]).max(axis=2) > 60).sum() > 100
    # Extrapolated, it is orange: more red than blue all over.
    tint = [(p[:, :, 0] - p[:, :, 2])[(p < 200).any(axis=2)].mean() for p in pictures]
    assert tint[5] > max(tint[:5]) + 25, tint
    assert plugin.get_frame() == 3 and list(plugin.get_view()) == pytest.approx(list(view), abs=1e-4)
    assert not plugin.get_setting_boolean("opaque_background")


def test_a_film_goes_back_lasts_as_long_as_asked_and_is_drawn_larger(plugin, tmp_path, capsys):
    dsr_movie("fit", "1-4", triangles=2000, _self=plugin)
    path = dsr_film(
        str(tmp_path / "pep.gif"), 80, 60, seconds=1.2, bounce=1, supersampling=2, quiet=0, async_=0, _self=plugin
    )
    assert (
        " dsr_film: 1.2 s, 6 frames at 5 a second, 80 × 60 pixels, ray-traced" in capsys.readouterr().out.splitlines()
    )
    with PIL.open(path) as film:
        assert film.size == (80, 60) and film.n_frames == 6
        pictures, duration = [], 0
        for k in range(6):
            film.seek(k)
            duration += film.info["duration"]
            pictures.append(np.array(film.convert("RGB"), int))
    assert duration == 1200 and (pictures[1] == pictures[5]).all() and (pictures[2] == pictures[4]).all()
    assert (pictures[1] != pictures[2]).any()


def test_a_gif_of_more_frames_than_it_can_show_lasts_as_long_as_asked(plugin, tmp_path):
    dsr_movie("fit", "1-4", triangles=2000, _self=plugin)
    path = dsr_film(str(tmp_path / "pep.gif"), 80, 60, fps=100, bounce=1, _self=plugin)
    with PIL.open(path) as film:
        durations = []
        for k in range(film.n_frames):
            film.seek(k)
            durations.append(film.info["duration"])
    assert sum(durations) == 60, "ms for six frames"


@pytest.mark.parametrize("fps", [7.0, 24.0, 29.97, 50.0, 60.0, 120.0])
def test_pictures_of_a_gif_have_its_rate(fps):
    pictures = film.gif_pictures(120, fps)
    assert sum(duration for _, duration in pictures) == pytest.approx(1000 * 120 / fps, abs=20)
    assert min(duration for _, duration in pictures) >= 20
    numbers = [number for number, _ in pictures]
    assert numbers == sorted(set(numbers)), "none comes twice"
    assert len(pictures) == (120 if fps <= 50 else pytest.approx(50 * 120 / fps, rel=0.1))


def test_pymols_own_export_has_another_picture_for_each_time(plugin, tmp_path):
    dsr_movie("fit", "1-3:0.5", triangles=2000, _self=plugin)
    plugin.mpng(str(tmp_path / "frame"), mode=2, width=80, height=60, quiet=1)
    pictures = {path.read_bytes() for path in tmp_path.glob("frame*.png")}
    assert len(pictures) == 5


# Stills


@pytest.mark.system
@pytest.mark.parametrize("state", ["2", "2.5"])
def test_a_still_is_of_its_time_and_leaves_the_scene_as_it_was(plugin, tmp_path, state):
    dsr_movie("fit", "1-3", triangles=2000, color="motion", _self=plugin)
    plugin.show_as("sticks", "pep")
    before = plugin.get_names("all"), plugin.get_names("all", 1), plugin.get_view(), plugin.get_state()
    path = dsr_still("fit", str(tmp_path / "a.png"), state, width=160, color="blue", transparency=0.5, _self=plugin)
    assert (plugin.get_names("all"), plugin.get_names("all", 1), plugin.get_view(), plugin.get_state()) == before
    assert list(session_of(plugin).references.movies) == ["fit"]
    with PIL.open(path) as image:
        assert image.size == (160, 120)
        pixels = np.array(image.convert("RGB"), int)
    surface = (pixels < 250).any(axis=2)
    assert 0.05 < surface.mean() < 0.9 and (pixels[:, :, 2] - pixels[:, :, 0])[surface].mean() > 40, "it is blue"
    plugin.set("state", 4, "pep")
    dsr_still("fit", str(tmp_path / "b.png"), "5", width=160, color="blue", _self=plugin)
    plugin.frame(2)
    assert plugin.get_setting_int("state", "pep") == 4, "the molecule keeps a state of its own"
    with PIL.open(tmp_path / "b.png") as image:
        assert alike(surface, (np.array(image.convert("RGB")) < 250).any(axis=2)) < 0.8


def test_an_mp4_has_even_sides(plugin, tmp_path):
    imageio = pytest.importorskip("imageio_ffmpeg")
    dsr_movie("fit", "1-3", triangles=2000, _self=plugin)
    path = dsr_film(str(tmp_path / "pep.mp4"), 91, 61, fps=12, _self=plugin)
    film_header = next(imageio.read_frames(path))
    assert (
        film_header["source_size"] == (90, 60)
        and film_header["fps"] == 12
        and film_header["duration"] == pytest.approx(0.25, abs=0.01)
    )


def test_without_an_encoder_the_pictures_and_the_command_remain(plugin, tmp_path, monkeypatch, capsys):
    dsr_movie("fit", "1-3", triangles=2000, _self=plugin)
    monkeypatch.setattr(film, "can_import", lambda module: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    dsr_film(str(tmp_path / "my pep.mp4"), 64, 48, fps=12, _self=plugin)
    folder = tmp_path / "my pep_frames"
    assert sorted(p.name for p in folder.iterdir()) == ["0001.png", "0002.png", "0003.png"]
    out = capsys.readouterr().out
    assert f"the 3 pictures are in {folder}" in out
    assert f'ffmpeg -v error -y -framerate 12 -i "{folder}/%04d.png"' in out
    assert not (tmp_path / "my pep.mp4").exists()
    with pytest.raises(CmdException, match="is not empty"):
        dsr_film(str(tmp_path / "my pep.mp4"), 64, 48, _self=plugin)


def test_a_level_without_a_surface_is_refused_and_leaves_the_earlier_movie(plugin):
    dsr_movie("fit", "1-3", triangles=2000, _self=plugin)
    with pytest.raises(CmdException, match=r"no state has a surface at this level.*give a higher level"):
        dsr_movie("fit", "1-5", level=-9, triangles=2000, _self=plugin)
    assert plugin.count_states("fit") == 3
    dsr_color("fit", "motion", _self=plugin)


@pytest.mark.system
def test_an_encoder_that_fails_says_why_and_leaves_nothing(plugin, tmp_path, monkeypatch):
    dsr_movie("fit", "1-2", triangles=2000, _self=plugin)
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho disk is full >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(CmdException, match="failed with exit status 3: disk is full"):
        dsr_film(str(tmp_path / "x.mp4"), 64, 48, _self=plugin)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("x")] == []
