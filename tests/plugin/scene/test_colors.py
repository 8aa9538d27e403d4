"""Colours of movies: values as colours, numbers from files and maps, and dsr_color in the scene."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import numpy as np
import pytest

from pymol_dsr.backend.process import BackendError
from pymol_dsr.commands.color import dsr_color
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.fits.fit import Fit, Trajectory
from pymol_dsr.scene import cgo, color_sources, kept_movies, maps, movie_objects, palettes, placement, timeline
from pymol_dsr.scene.cgo import PLAIN
from pymol_dsr.scene.kept_movies import KeptMesh, KeptMovie
from pymol_dsr.scene.palettes import ColorScale
from pymol_dsr.scene.placement import SceneError
from pymol_dsr.scene.timeline import MovieState
from pymol_dsr.session import session_of
from support.session import refused
from support.waiting import wait_for

TIMES = [1.0, 2.0, 3.0, 4.0]
CORNERS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]], np.float32)
FACES = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]], np.int32)


# Values as colours


def test_scales_are_straight_between_their_colours():
    scale = ColorScale.between(-1.0, 1.0, np.array([(0, 0, 1), (1, 1, 1), (1, 0, 0)], np.float32))
    painted = scale.paint(np.array([-5, -1, -0.5, 0, 0.25, 1, 9, np.nan], np.float32))
    blue, white, red = (0, 0, 1), (1, 1, 1), (1, 0, 0)
    expected = [blue, blue, (0.5, 0.5, 1), white, (1, 0.75, 0.75), red, red, PLAIN]
    np.testing.assert_allclose(painted, expected, atol=1e-6)
    assert painted.dtype == np.float32


def test_ranges_leave_odd_vertices_out():
    values = [np.append(np.linspace(0, 100, 1001), [1e6, np.nan]).astype(np.float32), np.zeros(0, np.float32)]
    low, high = palettes.value_range(values, None, None, False)
    assert low == pytest.approx(2.0, abs=0.1) and high == pytest.approx(98.0, abs=0.3)
    assert palettes.value_range(values, 10.0, None, False) == (10.0, pytest.approx(high))
    assert palettes.value_range(values, None, None, True) == (pytest.approx(-high), pytest.approx(high))
    assert palettes.value_range(values, None, 0.3, True) == (-0.3, 0.3)
    assert palettes.value_range(values, -1.0, 3.0, True) == (-1.0, 3.0)
    assert palettes.value_range([np.full(9, 7.0)], None, None, False) == (7.0, 8.0), "all alike"
    with pytest.raises(SceneError, match="minimum 3 and maximum 3: the maximum must be the larger one"):
        palettes.value_range(values, 3.0, 3.0, False)


def test_values_are_blended_and_atoms_without_one_left_out():
    near = np.array([[0, 1], [1, 2], [2, 3]])
    shares = np.array([[255, 0], [51, 204], [128, 127]], np.uint8)
    found = kept_movies.blend(np.array([4.0, 10.0, np.nan, np.nan], np.float32), near, shares)
    np.testing.assert_allclose(found, [4.0, 10.0, np.nan])
    np.testing.assert_allclose(kept_movies.blend(np.array([0.0, 10, 20, 0]), near, shares)[1], 18.0, atol=1e-5)


def test_the_nearest_atom_comes_first():
    arrays = {
        "points": CORNERS,
        "normals": CORNERS,
        "faces": FACES,
        "near": np.repeat([[7, 70_000, 9]], 6, 0).astype(np.int32),
        "shares": np.repeat([[0.2, 0.3, 0.5]], 6, 0).astype(np.float32),
    }
    mesh = KeptMesh.of(MovieState(1.0, 1, "a", False), arrays)
    assert mesh.near[5].tolist() == [9, 70_000, 7] and mesh.shares[5].tolist() == [128, 76, 51]


def test_palettes(cmd):
    assert len(palettes.palette("viridis", cmd)) == 17
    found = palettes.palette("blue_white_red", cmd)
    np.testing.assert_allclose(found[[0, 10, 20]], [(0, 0, 1), (1, 1, 1), (1, 0, 0)], atol=0.02)
    np.testing.assert_allclose(palettes.palette("white_0x0000ff", cmd), [(1, 1, 1), (0, 0, 1)], atol=1e-6)
    for name in palettes.SIGNED.values():
        np.testing.assert_allclose(palettes.palette(name, cmd)[10], (1, 1, 1), atol=0.02)
    with pytest.raises(SceneError, match="palette blue_whit_rde: PyMOL has no colour rde; write viridis"):
        palettes.palette("blue_white_rde".replace("white", "whit"), cmd)
    with pytest.raises(SceneError, match="palette red: it takes two colours or more"):
        palettes.palette("red", cmd)


def test_what_is_kept_of_a_state_is_small_and_the_same_surface():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(25_000, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    arrays = {
        "points": rng.normal(size=(25_000, 3)).astype(np.float32),
        "normals": normals,
        "faces": rng.integers(0, 25_000, (50_000, 3)).astype(np.int32),
        "near": rng.integers(0, 3341, (25_000, 4)).astype(np.int32),
        "shares": np.full((25_000, 4), 0.25, np.float32),
    }
    mesh = KeptMesh.of(MovieState(1.0, 1, "a", False), arrays)
    kept = (mesh.points, mesh.normals, mesh.faces, mesh.near, mesh.shares)
    assert sum(a.nbytes for a in kept) <= 1.06e6
    shown = np.array(mesh.floats(np.zeros((25_000, 3), np.float32))[2:-1], np.float32).reshape(-1, 12)
    corners = arrays["faces"].ravel()
    assert np.array_equal(shown[:, 9:], arrays["points"][corners])
    assert abs(shown[:, 5:8] - normals[corners]).max() < 2e-5
    big = KeptMesh.of(MovieState(1.0, 1, "a", False), {**arrays, "faces": arrays["faces"] + 60_000})
    assert big.faces.max() == arrays["faces"].max() + 60_000


# Numbers from files and maps


def test_values_go_in_straight_lines_and_are_held(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("index,value, State ,note\n2,1.5,1,a\n2,3.5,3,b\n\n1,7,2,\n")
    given = color_sources.read_values(str(path))
    assert given == {2: ([1.0, 3.0], [1.5, 3.5]), 1: ([2.0], [7.0])}
    table = color_sources.over_time(given, np.array([1, 0, 5]), [0.0, 1.0, 1.5, 3.0, 9.0])
    np.testing.assert_allclose(table.T, [[1.5, 1.5, 2.0, 3.5, 3.5], [7.0] * 5, [np.nan] * 5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "v.csv, line 1: it reads ''; write the columns state,index,value"),
        ("state,atom,value\n1,1,1\n", "line 1: it reads 'state,atom,value'"),
        ("state,index,value\n", "v.csv: it holds no values"),
        ("state,index,value\n1,1,1\n\n1,2,x\n", "v.csv, line 4: value 'x' is not a number"),
        ("state,index,value\n1,1,nan\n", "line 2: value 'nan' is not finite"),
        ("state,index,value\n1,1\n", "line 2: 2 columns, where the first line has 3"),
        ("state,index,value\n1,0,2\n", "line 2: index 0 is no atom; PyMOL's index counts from 1"),
        ("state,index,value\n1,1.5,2\n", "line 2: index 1.5 is no atom"),
        ("state,index,value\n1,4,2\n1,4,3\n", "line 3: index 4 has a value for state 1 already"),
    ],
)
def test_faults_of_files_name_the_line(tmp_path, text, message):
    path = tmp_path / "v.csv"
    path.write_text(text)
    with pytest.raises(SceneError) as error:
        color_sources.read_values(str(path))
    assert message in str(error.value) and "\n" not in str(error.value)


def linear(x, y, z):
    return 0.5 + x - 2 * y + 3 * z


def put_map(cmd, name, origin=(-3.0, -4.0, -5.0), spacing=0.75, shape=(11, 13, 16)):
    at = [origin[k] + spacing * np.arange(shape[k]) for k in range(3)]
    values = linear(*np.meshgrid(*at, indexing="ij")).astype(np.float32)
    cmd.set("normalize_ccp4_maps", 0)
    cmd.load_raw(maps.mrc_bytes(values, spacing, origin), "mrc", name, 1, zoom=0)


def test_maps_are_sampled_where_they_lie(cmd):
    put_map(cmd, "m")
    (grid,), scale = color_sources.read_map("m", cmd)
    assert scale is None
    points = np.random.default_rng(0).uniform((-3, -4, -5), (4.5, 5, 6.25), (500, 3)).astype(np.float32)
    np.testing.assert_allclose(grid.sample(points), linear(*points.T), atol=2e-4)
    assert np.isnan(grid.sample(np.array([[-3.1, 0, 0], [0, 5.1, 0], [0, 0, 7]], np.float32))).all()
    np.testing.assert_allclose(grid.sample(np.array([[4.5, 5, 6.25]], np.float32)), linear(4.5, 5, 6.25), atol=1e-4)
    # Moved in the scene, its values move along.
    cmd.set_object_ttt("m", [0.0, -1.0, 0, 2.0, 1.0, 0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0])
    (moved,), _ = color_sources.read_map("m", cmd)
    there = points @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]).T + (2, 0, 0)
    np.testing.assert_allclose(moved.sample(there), linear(*points.T), atol=3e-4)


def test_gaussian_maps_have_a_grid_of_another_kind(cmd):
    cmd.pseudoatom("one", pos=(1, 2, 3), b=20, elem="C")
    cmd.map_new("g", "gaussian", 0.5, "one", 4)
    with pytest.raises(SceneError, match="map g: it is empty"):
        color_sources.read_map("g", cmd)
    cmd.alter("one", "q = 1")
    cmd.map_new("g", "gaussian", 0.5, "one", 4)
    (grid,), _ = color_sources.read_map("g", cmd)
    inside, near, far = grid.sample(np.array([(1, 2, 3), (2, 2, 3), (4, 2, 3)], np.float32))
    assert inside > near > far
    beside = grid.sample(np.array([(2, 2, 3), (0, 2, 3), (1, 3, 3), (1, 2, 2)], np.float32))
    np.testing.assert_allclose(beside, near, rtol=0.02)


def test_a_ramp_brings_its_map_and_its_colours(cmd):
    put_map(cmd, "m")
    cmd.ramp_new("r", "m", [-2, 0, 5], ["blue", "white", "red"])
    (grid,), scale = color_sources.read_map("r", cmd)
    assert grid.values.shape == (11, 13, 16)
    np.testing.assert_allclose(scale.levels, [-2, 0, 5])
    np.testing.assert_allclose(scale.colors, [(0, 0, 1), (1, 1, 1), (1, 0, 0)])
    cmd.ramp_new("r", "m", [-2, 0, 5], "rainbow")
    with pytest.raises(SceneError, match="map r: the ramp is not one of a map with colours of its own"):
        color_sources.read_map("r", cmd)
    with pytest.raises(SceneError, match="map nope: there is no such object; 'load"):
        color_sources.read_map("nope", cmd)


# In the scene


@pytest.fixture
def movie(cmd):
    """`mol`, two atoms 4 Å apart, and `out`, an octahedron around each at four times, the last one past the fit."""
    for number, x in enumerate((0, 4)):
        cmd.pseudoatom("mol", pos=(x, 0, 0), b=10 * number, q=0.5, name=f"A{number}", color=("red", "blue")[number])
    for state in (2, 3):
        cmd.create("mol", "mol", 1, state)
    trajectory = Trajectory("", "mol", "mol", np.array([0, 1]), [1.0, 2.0, 3.0])
    fit = session_of(cmd).jobs.fits["mol_dsr"] = Fit("mol_dsr", [trajectory], phase="ready")
    kept = KeptMovie("out", fit, trajectory, {})
    frames = timeline.plan(trajectory, TIMES, "out")

    def answers():
        for at in TIMES:
            points = np.concatenate([CORNERS, CORNERS + np.array([4, 0, 0], np.float32)]) + np.float32(0.1 * at)
            near = np.repeat([[0, 1], [1, 0]], 6, axis=0).astype(np.int32)
            shares = np.tile(np.array([1, 0], np.float32), (12, 1))
            arrays = {
                "points": points,
                "normals": np.tile(CORNERS, (2, 1)),
                "faces": np.concatenate([FACES, FACES + 6]),
            }
            yield {"time": at}, {**arrays, "nearest": near[:, 0], "near": near, "shares": shares}

    movie_objects.show_movie(trajectory, frames, kept.watch(frames, answers()), object="out", say=print, _self=cmd)
    session_of(cmd).movies.keep(kept, cmd)
    return kept


def shown(cmd, name, state):
    """Corners of a movie's state as PyMOL has them: f4[M,12], of which 1:4 is the colour and 9: the place."""
    numbers = cmd.get_session(name, partial=1, binary=0, compress=0)["names"][0][5][2][state - 1][0][1]
    return np.array(numbers[2:-1], np.float32).reshape(-1, 12)


def halves(cmd, state=1, name="out"):
    """The colours around the first and the second atom, each the only one there."""
    corners = shown(cmd, name, state)
    first = corners[:, 9] < 2.5
    sides = [np.unique(corners[part, 1:4].round(4), axis=0) for part in (first, ~first)]
    assert [len(side) for side in sides] == [1, 1], sides
    return [tuple(side[0].tolist()) for side in sides]


def color(cmd, *args, **kwargs):
    dsr_color(*args, _self=cmd, **kwargs)


def bars(cmd):
    return [name for name in cmd.get_names("all") if cmd.get_type(name) == "object:ramp"]


def test_the_atoms_colours_are_taken_anew(cmd, movie):
    assert halves(cmd) == [(1, 0, 0), (0, 0, 1)]
    before = shown(cmd, "out", 2)
    cmd.color("yellow", "name A0")
    cmd.color("white", "name A1")
    color(cmd, "out")
    for state in (1, 2, 3):
        assert halves(cmd, state) == [(1, 1, 0), (1, 1, 1)]
    after = shown(cmd, "out", 2)
    assert np.array_equal(before[:, 9:], after[:, 9:]), "the surface stays where it is"
    assert abs(before[:, 5:8] - after[:, 5:8]).max() < 1e-4
    assert halves(cmd, 4, "out_future")[0] == tuple(cgo.tinted(np.array([[1.0, 1, 0]])).round(4)[0].tolist())
    assert cmd.get_setting_float("cgo_transparency", "out_future") == pytest.approx(0.4)


def test_numbers_of_atoms_and_their_bar(cmd, movie):
    color(cmd, "mol_dsr", "b", palette="white_red")
    assert halves(cmd) == [(1, 1, 1), (1, 0, 0)]
    assert bars(cmd) == ["out_bar_b"]
    levels = color_sources._contents("out_bar_b", cmd)[3]
    assert (levels[0], levels[-1]) == (0, 10)
    color(cmd, "out_future", "b", minimum=-10, maximum=10, palette="blue_white_red")
    assert halves(cmd)[1] == pytest.approx((1, 0, 0), abs=0.02)
    assert halves(cmd)[0] == pytest.approx((1, 1, 1), abs=0.02)
    color(cmd, "out", "vdw")
    assert bars(cmd) == ["out_bar_vdw_A"]
    color(cmd, "out")
    assert bars(cmd) == []


def test_the_bar_is_seen_in_ray(cmd, movie, tmp_path):
    from PIL import Image

    pictures = []
    for by in ("white", "b"):
        color(cmd, "out", by)
        cmd.zoom("out", 3)
        cmd.png(str(tmp_path / "a.png"), 320, 240, ray=1)
        with Image.open(tmp_path / "a.png") as image:
            pictures.append(np.asarray(image.convert("RGB")).astype(int))
    below = slice(190, 240)
    assert pictures[0][below].max() < 5
    # From viridis' dark violet at the left to its yellow at the right.
    bar = pictures[1][below]
    rows, columns = np.nonzero((bar[..., 0] > 200) & (bar[..., 1] > 180) & (bar[..., 2] < 90))
    assert len(rows) > 10 and columns.min() > 200


def test_colouring_in_the_background(cmd, movie):
    color(cmd, "out", "b", palette="white_red", async_=1)
    assert "mol_dsr is busy with its colours" in refused(cmd, dsr_color, "out", "b") or not movie.fit.activity
    wait_for(lambda: not movie.fit.activity)
    assert halves(cmd) == [(1, 1, 1), (1, 0, 0)] and bars(cmd) == ["out_bar_b"]


def test_one_colour_is_the_objects_own(cmd, movie):
    color(cmd, "out", "green", transparency=0.25)
    numbers = cmd.get_session("out", partial=1, binary=0, compress=0)["names"][0][5][2][0][0][1]
    assert len(numbers) == 3 + 8 * 48 and cmd.get_object_color_index("out") == cmd.get_color_index("green")
    assert cmd.get_setting_float("cgo_transparency", "out") == pytest.approx(0.25)
    assert cmd.get_setting_float("cgo_transparency", "out_future") == pytest.approx(0.4)
    orange = cgo.tinted(np.array([[0.0, 1, 0]])).round(4)[0].tolist()
    assert halves(cmd, 4, "out_future") == [tuple(orange)] * 2


def test_values_over_time(cmd, movie, tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("state,index,value\n1,1,0\n3,1,1\n1,2,1\n")
    color(cmd, "out", "values", file=str(path), palette="black_white", minimum=0, maximum=1)
    assert [halves(cmd, state)[0] for state in (1, 2, 3)] == [(0, 0, 0), (0.5, 0.5, 0.5), (1, 1, 1)]
    assert halves(cmd, 2)[1] == (1, 1, 1)
    path.write_text("state,index,value\n1,77,0\n")
    assert "none of its atoms is in the fit mol_dsr" in refused(cmd, dsr_color, "out", "values", file=str(path))


def test_a_map_at_the_surface_wherever_both_were_moved(cmd, movie):
    put_map(cmd, "m", origin=(-8.0, -8.0, -8.0), shape=(23, 23, 23))
    turn = [0.0, -1.0, 0, 1.0, 1.0, 0, 0, 0, 0, 0, 1.0, 0.5, 0, 0, 0, 1.0]
    for name in ("mol", "out", "out_future"):
        cmd.set_object_ttt(name, turn)
    color(cmd, "out", "map", map="m", minimum=-40, maximum=40, palette="black_white")
    corners = shown(cmd, "out", 2)
    matrix = placement.object_matrix("mol", cmd)
    places = corners[:, 9:] @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(corners[:, 1], (linear(*places.T) + 40) / 80, atol=1e-4)
    cmd.ramp_new("r", "m", [-40, 40], ["black", "red"])
    color(cmd, "out", "map", map="r")
    np.testing.assert_allclose(shown(cmd, "out", 2)[:, 1], corners[:, 1], atol=1e-4)
    assert shown(cmd, "out", 2)[:, 2].max() == 0 and bars(cmd) == ["r"], "the ramp is the bar"
    put_map(cmd, "m", origin=(50.0, 0.0, 0.0))
    assert "no vertex has a value" in refused(cmd, dsr_color, "out", "map", map="m")


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (("nope",), "there is no fit or movie nope (there: mol_dsr, out)"),
        (("mol",), "mol is a molecule; dsr_color takes a fit or what dsr_movie made of meshes"),
        (("out", "nonsense"), "by nonsense: choose one of atoms, motion, speed, velocity, values, map, a number"),
        (("out", "b; 1"), "by b; 1: choose one of atoms"),
        (("out", "name"), "by name: it is not a number (the first atom has 'A0')"),
        (("out", "values"), "by values: name the file with file="),
        (("out", "map"), "by map: name the map with map="),
        (("out", "b", {"map": "m"}), "map m: it goes with by=map, not with by=b"),
        (("out", "map", {"map": "mol"}), "map mol: it is a molecule, not a map"),
        (("out", "values", {"file": "/no/such.csv"}), "No such file"),
        (("out", "b", {"palette": "nope_red"}), "palette nope_red: PyMOL has no colour nope"),
        (("out", "b", {"minimum": 2, "maximum": 1}), "minimum 2 and maximum 1"),
        (("out", "b", {"minimum": "x"}), "minimum x: it is not a number"),
        (("out", "b", {"transparency": 1.5}), "transparency 1.5: it must lie between 0 (opaque) and 1"),
        (("out", "red", {"maximum": 1}), "by red: palette, minimum and maximum go with values"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(cmd, movie, rest, message):
    before = shown(cmd, "out", 1)
    kwargs = rest[-1] if isinstance(rest[-1], dict) else {}
    args = rest[:-1] if kwargs else rest
    assert message in refused(cmd, dsr_color, *args, **kwargs)
    assert np.array_equal(shown(cmd, "out", 1), before) and not movie.fit.activity


def test_what_is_kept_goes_with_the_object(cmd, movie):
    kept = weakref.ref(session_of(cmd).movies.by_name["out"].meshes[0])
    floats = movie.meshes[0].floats(None)
    movie.meshes = []
    cmd.delete("out")
    cmd.load_cgo([*floats[:-25], 3.0], "out", 1, zoom=0)
    line = refused(cmd, dsr_color, "out", "b")
    assert line == "out: what its colours are made of is not in memory any more; run dsr_movie again"
    gc.collect()
    assert not session_of(cmd).movies.by_name and kept() is None
    assert "no movie of it is loaded; dsr_movie mol_dsr makes one" in refused(cmd, dsr_color, "mol_dsr")


def test_a_part_may_be_deleted(cmd, movie):
    cmd.delete("out_future")
    cmd.color("yellow", "mol")
    color(cmd, "out")
    assert halves(cmd) == [(1, 1, 0)] * 2 and len(movie.meshes) == 3
    cmd.delete("out")
    assert "no movie of it is loaded" in refused(cmd, dsr_color, "mol_dsr")
    assert not session_of(cmd).movies.by_name


def test_a_movie_that_was_moved_or_came_back_with_its_session_is_still_known(cmd, movie):
    cmd.translate([5, 0, 0], object="out", camera=0)
    color(cmd, "out", "b", palette="white_red")
    session = cmd.get_session()
    cmd.reinitialize()
    cmd.set_session(session)
    color(cmd, "out", "b", palette="white_blue")
    assert halves(cmd) == [(1, 1, 1), (0, 0, 1)]


@pytest.mark.system
def test_motion_of_a_fit_without_new_meshes(backend, monkeypatch, capfd):
    jobs = session_of(backend).jobs
    cmd = backend
    name = dsr_fit("pep", "1-5:2", preset="preview", _self=cmd)
    dsr_movie(name, "1-3", resolution=1.0, _self=cmd)
    sent = []
    submit = type(jobs.backend()).submit

    def counted(self, method, *args, **kwargs):
        sent.append(method)
        return submit(self, method, *args, **kwargs)

    monkeypatch.setattr(type(jobs.backend()), "submit", counted)
    painted = {}
    for by, unit in (("motion", "A"), ("speed", "A_per_state"), ("velocity", "A_per_state"), ("motion", "A")):
        color(cmd, name, by, quiet=0)
        assert bars(cmd) == [f"{name}_bar_{by}_{unit}"]
        painted[by] = shown(cmd, name, 2)[:, 1:4]
    # One for the excursions, one for the velocities of each state.
    assert sent == ["paint"] * 4
    assert "3 states coloured by motion" in capfd.readouterr().out
    (movie,) = session_of(backend).movies.by_name.values()
    # The ends of the helix bend, its middle stays.
    middle = movie.excursions.min()
    z = np.array(cmd.get_model("pep", 1).get_coord_list())[:, 2]
    assert movie.excursions[abs(z - z.mean()).argmax()] > 3 * middle
    for mesh in movie.meshes:
        assert mesh.velocity.shape == (len(mesh.points),) and np.isfinite(mesh.velocity).all()
    speeds = np.abs(movie.meshes[1].velocity)[movie.meshes[1].faces.ravel()]
    dark, light = painted["speed"][speeds.argmin()], painted["speed"][speeds.argmax()]
    np.testing.assert_allclose([dark, light], palettes.VIRIDIS[[0, -1]], atol=0.02)

    # A velocity is the same with a mesh and alone.
    _, one = jobs.ask(movie.fit, "mesh", {"time": 2.0, "resolution": 1.0, "motion": True})
    _, alone = jobs.ask(movie.fit, "paint", {"time": 2.0}, {"points": one["points"]})
    np.testing.assert_allclose(alone["velocity"], one["velocity"], atol=1e-5)
    with pytest.raises(BackendError, match=r"paint needs points as f4 N x 3, got \[4, 2\]"):
        jobs.ask(movie.fit, "paint", {"time": 2.0}, {"points": np.zeros((4, 2), np.float32)})

    # Another fit of that name knows nothing of this movie.
    jobs.fits[name] = dataclasses.replace(movie.fit)
    movie.excursions = None
    assert "has given way to another; run dsr_movie again" in refused(cmd, dsr_color, name, "motion")
