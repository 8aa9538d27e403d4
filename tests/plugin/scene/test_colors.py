"""dsr_color in the scene: colours of atoms, of values and of motion, and the bar beside a movie."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import weakref
from functools import partial

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pymol_dsr.backend.process import BackendError
from pymol_dsr.commands.color import dsr_color
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.fits.fit import Activity, Fit, Phase, Trajectory
from pymol_dsr.scene import color_bar, movie_objects, palettes, placement, timeline
from pymol_dsr.scene.bar_title import bar_title, enabled_bars, missing_bars, titled_bars
from pymol_dsr.scene.kept_movies import KeptMovie
from pymol_dsr.scene.maps import Lattice, load_values
from pymol_dsr.scene.objects import SceneError
from pymol_dsr.scene.palettes import VIRIDIS, ColorScale
from pymol_dsr.scene.user_settings import ColorRequest, follow_user_settings
from pymol_dsr.session import session_of
from pymol_dsr.shared import messages
from pymol_dsr.shared.mesh import Mesh
from pymol_dsr.shared.options import FieldOptions, MeshOptions
from pymol_dsr.surfaces.identity import read_identity
from pymol_dsr.surfaces.object_session import read_object_session
from support.maps import linear, put_map
from support.meshes import mesh_result, triangles_of
from support.processes import raw
from support.session import refused
from support.waiting import wait_for

TIMES = [1.0, 2.0, 3.0, 4.0]
CORNERS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]], np.float32)
FACES = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]], np.int32)


@pytest.fixture
def movie(cmd):
    """`mol`, two atoms 4 Å apart, and `out`, an octahedron around each at four times, the last one past the fit."""
    for number, x in enumerate((0, 4)):
        cmd.pseudoatom("mol", pos=(x, 0, 0), b=10 * number, q=0.5, name=f"A{number}", color=("red", "blue")[number])
    for state in (2, 3):
        cmd.create("mol", "mol", 1, state)
    trajectory = Trajectory("", "mol", "mol", np.array([0, 1]), [1.0, 2.0, 3.0])
    fit = session_of(cmd).jobs.fits["mol_dsr"] = Fit("mol_dsr", [trajectory], phase=Phase.READY)
    kept_movie = KeptMovie("out", fit, trajectory, FieldOptions())
    states = timeline.plan(trajectory, TIMES, "out")

    def replies():
        for time in TIMES:
            points = np.concatenate([CORNERS, CORNERS + np.array([4, 0, 0], np.float32)]) + np.float32(0.1 * time)
            neighbors = np.repeat([[0, 1], [1, 0]], 6, axis=0).astype(np.int32)
            weights = np.tile(np.array([1, 0], np.float32), (12, 1))
            mesh = Mesh(points, np.tile(CORNERS, (2, 1)), np.concatenate([FACES, FACES + 6]))
            yield mesh_result(mesh, nearest=neighbors[:, 0], neighbor_indices=neighbors, weights=weights)

    watched = list(kept_movie.watch(states, replies()))
    assert [mesh for _, mesh in watched] == kept_movie.meshes, "each reply comes with its mesh"
    appearance, replies_only = movie_objects.MovieAppearance(), [reply for reply, _ in watched]
    movie_objects.show_movie(
        trajectory, states, replies_only, object="out", appearance=appearance, say=print, _self=cmd
    )
    session_of(cmd).movies.keep(kept_movie, cmd)
    return kept_movie


def colors_shown(cmd, name, state):
    """Corners of a movie's state as PyMOL has them: f4[M,12], of which 1:4 is the colour and 9: the place."""
    numbers = cmd.get_session(name, partial=1, binary=0, compress=0)["names"][0][5][2][state - 1][0][1]
    return triangles_of(numbers).reshape(-1, 12)


def halves(cmd, state=1, name="out"):
    """The colours around the first and the second atom, each the only one there."""
    corners = colors_shown(cmd, name, state)
    first = corners[:, 9] < 2.5
    sides = [np.unique(corners[chosen_corners, 1:4].round(4), axis=0) for chosen_corners in (first, ~first)]
    assert [len(side) for side in sides] == [1, 1], sides
    return [tuple(side[0].tolist()) for side in sides]


def test_a_movie_is_named_by_its_object_and_by_its_fit(cmd, movie):
    movies = session_of(cmd).movies
    assert movies.find("out", cmd) == movies.find("mol_dsr", cmd) == movies.find("out_future", cmd) == [movie]
    with pytest.raises(SceneError, match="mol is a molecule; dsr_color takes a fit"):
        movies.find("mol", cmd)


def color(cmd, *args, **kwargs):
    dsr_color(*args, _self=cmd, **kwargs)


def bars(cmd):
    return [name for name in cmd.get_names("all") if cmd.get_type(name) == "object:ramp"]


def test_the_atoms_colours_are_taken_anew(cmd, movie):
    assert halves(cmd) == [(1, 0, 0), (0, 0, 1)]
    before = colors_shown(cmd, "out", 2)
    cmd.color("yellow", "name A0")
    cmd.color("white", "name A1")
    color(cmd, "out")
    for state in (1, 2, 3):
        assert halves(cmd, state) == [(1, 1, 0), (1, 1, 1)]
    after = colors_shown(cmd, "out", 2)
    assert np.array_equal(before[:, 9:], after[:, 9:]), "the surface stays where it is"
    assert abs(before[:, 5:8] - after[:, 5:8]).max() < 1e-4
    assert halves(cmd, 4, "out_future")[0] == tuple(palettes.tinted(np.array([[1.0, 1, 0]])).round(4)[0].tolist())
    assert cmd.get_setting_float("cgo_transparency", "out_future") == pytest.approx(0.4)


def test_pymols_color_and_transparency_on_an_object_are_noticed(cmd, movie, capsys):
    watch = partial(follow_user_settings, session_of(cmd).movies, cmd)
    # Also what is set before anything has looked at the movie.
    cmd.set("transparency", 0.3, "out")
    cmd.color("yellow", "out")
    assert watch() == [ColorRequest("out", "yellow")]
    assert cmd.get_setting_float("cgo_transparency", "out") == pytest.approx(0.3)
    assert " out: transparency 0.3 acts as cgo_transparency" in capsys.readouterr().out.splitlines()
    color(cmd, "out", "yellow")
    assert watch() == []
    # One colour for all is the object's own, so PyMOL shows the next one by itself.
    cmd.color("0xff8000", "out")
    assert watch() == []
    color(cmd, "out", "b")
    watch()
    cmd.color("0x102030", "out")
    fit = session_of(cmd).movies.by_name["out"].fit
    with session_of(cmd).jobs.busy(fit, Activity.COLORS):
        assert watch() == [], "it can't be coloured now"
    assert watch() == [ColorRequest("out", "0x102030")]


def test_numbers_of_atoms_and_their_bar(cmd, movie):
    color(cmd, "mol_dsr", "b", palette="white_red")
    assert halves(cmd) == [(1, 1, 1), (1, 0, 0)]
    assert bars(cmd) == ["out_bar_b"]
    levels = read_object_session("out_bar_b", cmd).data[3]
    assert (levels[0], levels[-1]) == (0, 10)
    color(cmd, "out_future", "b", minimum=-10, maximum=10, palette="blue_white_red")
    assert halves(cmd)[1] == pytest.approx((1, 0, 0), abs=0.02)
    assert halves(cmd)[0] == pytest.approx((1, 1, 1), abs=0.02)
    color(cmd, "out", "vdw")
    assert bars(cmd) == ["out_bar_vdw_A"]
    color(cmd, "out")
    assert bars(cmd) == []


def test_of_two_movies_the_bar_of_the_last_one_is_shown_and_a_line_says_how_to_see_the_other(cmd, movie, capsys):
    """PyMOL draws all bars in one place."""
    meshes = []
    for mesh in movie.meshes:
        name = mesh.state.object.replace("out", "second")
        cmd.load_cgo(mesh.floats(None), name, mesh.state.state)
        meshes.append(dataclasses.replace(mesh, state=dataclasses.replace(mesh.state, object=name)))
    session_of(cmd).movies.keep(dataclasses.replace(movie, name="second", meshes=meshes), cmd)
    color(cmd, "second", "b", quiet=0)
    assert "switched off" not in capsys.readouterr().out
    color(cmd, "out", "vdw", quiet=0)
    assert enabled_bars(cmd) == ["out_bar_vdw_A"]
    note = "; second_bar_b is switched off, as PyMOL draws all bars in one place: "
    assert note + "'disable out_bar_vdw_A; enable second_bar_b' shows it again" in capsys.readouterr().out


def test_extrapolated_values_are_paler_and_keep_their_hue(cmd, movie):
    color(cmd, "out", "b", palette="blue_red")
    assert np.allclose(halves(cmd), [(0, 0, 1), (1, 0, 0)], atol=0.01)
    assert np.allclose(halves(cmd, 4, "out_future"), [(0.4, 0.4, 1), (1, 0.4, 0.4)], atol=0.01)


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


def test_a_bar_has_a_title_in_ray_traced_films_and_stills(cmd, movie, tmp_path):
    from PIL import Image

    color(cmd, "out", "vdw", minimum=0, maximum=3)
    assert bar_title("out_bar_vdw_A", cmd) == "van der Waals radius in Å: 0, 1, 2, 3"
    color(cmd, "out", "b")
    assert bar_title("out_bar_b", cmd) == "B factor: 0, 2.5, 5, 7.5, 10"
    cmd.zoom("out", 3)
    pictures, names = [], cmd.get_names("all")
    for title in (contextlib.nullcontext(), titled_bars(cmd)):
        with title:
            cmd.png(str(tmp_path / "a.png"), 320, 240, ray=1)
        with Image.open(tmp_path / "a.png") as image:
            pictures.append(np.asarray(image.convert("RGB")).astype(int))
    rows, columns = np.nonzero(np.abs(pictures[1] - pictures[0]).max(axis=2) > 100)
    # A line of text in the middle, above the bar.
    assert 185 < rows.min() < rows.max() < 215 and columns.min() < 130 and columns.max() > 190, (rows, columns)
    assert cmd.get_names("all") == names


def test_a_line_says_that_drawn_pictures_have_no_bar(cmd, movie):
    color(cmd, "out", "b")
    assert missing_bars(False, cmd) == "no bar of colours, which only ray-traced pictures have"
    assert missing_bars(True, cmd) == ""
    cmd.disable("out_bar_b")
    assert missing_bars(False, cmd) == ""


def test_colouring_in_the_background(cmd, movie):
    color(cmd, "out", "b", palette="white_red", async_=1)
    wait_for(lambda: not movie.fit.activity)
    assert halves(cmd) == [(1, 1, 1), (1, 0, 0)] and bars(cmd) == ["out_bar_b"]


def test_a_fit_is_not_coloured_while_it_is_busy(cmd, movie):
    with session_of(cmd).jobs.busy(movie.fit, Activity.COLORS):
        assert "mol_dsr is busy with its colours" in refused(cmd, dsr_color, "out", "b")


def test_one_colour_is_the_objects_own(cmd, movie):
    color(cmd, "out", "green", transparency=0.25)
    numbers = cmd.get_session("out", partial=1, binary=0, compress=0)["names"][0][5][2][0][0][1]
    assert len(triangles_of(numbers, operations=2)) == 16 and cmd.get_object_color_index("out") == cmd.get_color_index(
        "green"
    )
    assert cmd.get_setting_float("cgo_transparency", "out") == pytest.approx(0.25)
    assert cmd.get_setting_float("cgo_transparency", "out_future") == pytest.approx(0.4)
    orange = palettes.tinted(np.array([[0.0, 1, 0]])).round(4)[0].tolist()
    assert halves(cmd, 4, "out_future") == [tuple(orange)] * 2


def test_values_over_time(cmd, movie, tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("state,index,value\n1,1,0\n3,1,1\n1,2,1\n")
    color(cmd, "out", "values", file=str(path), palette="black_white", minimum=0, maximum=1)
    assert [halves(cmd, state)[0] for state in (1, 2, 3)] == [(0, 0, 0), (0.5, 0.5, 0.5), (1, 1, 1)]
    assert halves(cmd, 2)[1] == (1, 1, 1)
    path.write_text("state,index,value\n1,77,0\n")
    assert "none of its atoms is in the fit mol_dsr" in refused(cmd, dsr_color, "out", "values", file=str(path))


def test_the_index_of_a_table_is_the_present_one(cmd, movie, tmp_path):
    cmd.alter("mol", "ID = index")
    movie.trajectory.identity = read_identity("mol", movie.trajectory.atoms, cmd)
    path = tmp_path / "v.csv"
    # An atom that PyMOL sorts before the fitted ones.
    cmd.pseudoatom("mol", pos=(0, 0, 9), name="A0", resi="0")
    cmd.alter("mol and resi 0", "ID = 9")
    path.write_text("state,index,value\n1,1,7\n1,2,0\n1,3,1\n")
    arguments = {"file": str(path), "palette": "black_white", "minimum": 0, "maximum": 1}
    color(cmd, "out", "values", **arguments)
    assert halves(cmd) == [(0, 0, 0), (1, 1, 1)]
    cmd.remove("name A1")
    assert "by values: mol is not in the scene as it was" in refused(cmd, dsr_color, "out", "values", **arguments)
    # Without the molecule, the atoms have the numbers that they were fitted with.
    cmd.delete("mol")
    path.write_text("state,index,value\n1,1,0\n1,2,1\n")
    color(cmd, "out", "values", **arguments)
    assert halves(cmd) == [(0, 0, 0), (1, 1, 1)]


def test_a_map_at_the_surface_wherever_both_were_moved(cmd, movie):
    put_map(cmd, "m", origin=(-8.0, -8.0, -8.0), shape=(23, 23, 23))
    turn = [0.0, -1.0, 0, 1.0, 1.0, 0, 0, 0, 0, 0, 1.0, 0.5, 0, 0, 0, 1.0]
    for name in ("mol", "out", "out_future"):
        cmd.set_object_ttt(name, turn)
    color(cmd, "out", "map", map="m", minimum=-40, maximum=40, palette="black_white")
    corners = colors_shown(cmd, "out", 2)
    matrix = placement.object_matrix("mol", cmd)
    places = corners[:, 9:] @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(corners[:, 1], (linear(*places.T) + 40) / 80, atol=1e-4)
    cmd.ramp_new("r", "m", [-40, 40], ["black", "red"])
    color(cmd, "out", "map", map="r")
    np.testing.assert_allclose(colors_shown(cmd, "out", 2)[:, 1], corners[:, 1], atol=1e-4)
    assert colors_shown(cmd, "out", 2)[:, 2].max() == 0 and bars(cmd) == ["r"], "the ramp is the bar"
    put_map(cmd, "m", origin=(50.0, 0.0, 0.0))
    assert "no vertex has a value" in refused(cmd, dsr_color, "out", "map", map="m")


def test_the_states_of_a_map_are_those_of_the_molecule_or_of_the_movie(cmd, movie):
    def greys(heights):
        for state, height in enumerate(heights, 1):
            values = np.full((24, 24, 24), height, np.float32)
            load_values("heights", state, Lattice(values, (-8.0, -8.0, -8.0), 1.0), cmd)
        color(cmd, "out", "map", map="heights", minimum=0, maximum=10, palette="black_white")
        cmd.delete("heights")
        return [round(10 * float(halves(cmd, state)[0][0]), 2) for state in (1, 2, 3)]

    # Fractions of states, which the movie numbers from 1 to 4.
    for mesh, time in zip(movie.meshes, (1.0, 1.5, 2.0, 2.5), strict=True):
        mesh.state = dataclasses.replace(mesh.state, time=time)
    assert greys([2, 6, 9]) == [2, 4, 6], "one for each state of the molecule"
    assert greys([2, 6, 9, 1]) == [2, 6, 9], "one for each state of the movie"
    assert greys([3]) == [3, 3, 3], "one that stands still"


@pytest.mark.parametrize(
    ("arguments", "message"),
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
        (("out", "b", {"transparency": 1.5}), "transparency 1.5: it must lie between 0 and 1"),
        (("out", "red", {"maximum": 1}), "by red: palette, minimum and maximum go with values"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(cmd, movie, arguments, message):
    before = colors_shown(cmd, "out", 1)
    kwargs = arguments[-1] if isinstance(arguments[-1], dict) else {}
    args = arguments[:-1] if kwargs else arguments
    assert message in refused(cmd, dsr_color, *args, **kwargs)
    assert np.array_equal(colors_shown(cmd, "out", 1), before) and not movie.fit.activity


def test_what_is_kept_goes_with_the_object(cmd, movie):
    mesh_reference = weakref.ref(session_of(cmd).movies.by_name["out"].meshes[0])
    floats = movie.meshes[0].floats(None)
    movie.meshes = []
    cmd.delete("out")
    cmd.load_cgo([*floats[:-25], 3.0], "out", 1, zoom=0)
    line = refused(cmd, dsr_color, "out", "b")
    assert line == "out: what its colours are made of is not in memory any more; run dsr_movie again"
    gc.collect()
    assert not session_of(cmd).movies.by_name and mesh_reference() is None
    assert "no movie of it is loaded; dsr_movie mol_dsr makes one" in refused(cmd, dsr_color, "mol_dsr")


def test_an_object_is_followed_to_another_name(cmd, movie):
    color(cmd, "out", "b")
    session_of(cmd).references.add_movie("out", "mol_dsr", ["out", "out_future"], "dsr_movie mol_dsr, 1-4")
    # PyMOL ends itself where a ramp is renamed after another one was deleted.
    color(cmd, "out", "vdw")
    cmd.disable(bars(cmd)[0])
    cmd.set_name("out", "kept")
    assert session_of(cmd).movies.objects_at("mol", cmd) == ["out_future", "kept"]
    assert bars(cmd) == ["kept_bar_vdw_A"] and "kept_bar_vdw_A" not in cmd.get_names("all", enabled_only=1)
    cmd.copy("like_it", "kept")
    # The session file names the fit of the object, whatever that is called.
    assert cmd.get_session("kept", partial=1)["session"].dsr["movies"]["kept"]["objects"] == ["kept", "out_future"]
    assert session_of(cmd).movies.objects_at("mol", cmd) == ["out_future", "kept"]
    cmd.color("yellow", "name A0")
    color(cmd, "kept", "vdw")
    assert bars(cmd) == ["kept_bar_vdw_A"]
    color(cmd, "mol_dsr")
    assert halves(cmd, name="kept") == [(1, 1, 0), (0, 0, 1)]
    assert bars(cmd) == [] and "out" not in cmd.get_names("all")


def test_a_molecule_is_never_taken_for_a_movie_that_was_deleted(cmd, movie):
    movies = session_of(cmd).movies
    cmd.delete("out")
    cmd.set_name("mol", "renamed")
    # As where the tags of movies are written again, with the molecule's other name.
    movies.read_tags(cmd)
    assert movies.objects_at("mol", cmd) == ["out_future"]
    cmd.delete("out_future")
    movies.read_tags(cmd)
    assert movies.objects_at("mol", cmd) == [] and cmd.get_type("renamed") == "object:molecule"


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
    submit = type(jobs.connection.backend()).submit

    def counted(self, request):
        sent.append(request.METHOD)
        return submit(self, request)

    monkeypatch.setattr(type(jobs.connection.backend()), "submit", counted)
    painted = {}
    for by, unit in (("motion", "A"), ("speed", "A_per_state"), ("velocity", "A_per_state"), ("motion", "A")):
        color(cmd, name, by, quiet=0)
        assert bars(cmd) == [f"{name}_bar_{by}_{unit}"]
        painted[by] = colors_shown(cmd, name, 2)
    # One for the fluctuations, one for the velocities of each state.
    assert sent == ["paint"] * 4
    assert "3 states coloured by motion" in capfd.readouterr().out
    (movie,) = session_of(backend).movies.by_name.values()
    # The ends of the helix bend, its middle stays.
    middle = movie.rmsf.min()
    z = np.array(cmd.get_model("pep", 1).get_coord_list())[:, 2]
    assert movie.rmsf[abs(z - z.mean()).argmax()] > 3 * middle
    for mesh in movie.meshes:
        assert mesh.velocity.shape == (len(mesh.points),) and np.isfinite(mesh.velocity).all()
    vertices = cKDTree(movie.meshes[1].points).query(painted["speed"][:, 9:])[1]
    speeds = np.abs(movie.meshes[1].velocity)[vertices]
    dark, light = painted["speed"][[speeds.argmin(), speeds.argmax()], 1:4]
    np.testing.assert_allclose([dark, light], palettes.VIRIDIS[[0, -1]], atol=0.02)

    # A velocity is the same with a mesh and alone.
    request = messages.Mesh(fit=name, time=2.0, mesh=MeshOptions(resolution=1.0), motion=True)
    moving_mesh = jobs.connection.ask(movie.fit, request)
    paint = jobs.connection.ask(movie.fit, messages.Paint(fit=name, time=2.0, points=moving_mesh.points))
    np.testing.assert_allclose(paint.velocity, moving_mesh.velocity, atol=1e-5)
    with pytest.raises(BackendError, match=r"paint needs points as f4 \[N, 3\], got f4 \[4, 2\]"):
        jobs.connection.ask(
            movie.fit, raw("paint", {"fit": name, "time": 2.0}, {"points": np.zeros((4, 2), np.float32)})
        )

    # Another fit of that name knows nothing of this movie.
    jobs.fits[name] = dataclasses.replace(movie.fit)
    movie.rmsf = None
    assert "has given way to another; run dsr_movie again" in refused(cmd, dsr_color, name, "motion")


def test_a_movie_does_not_take_the_bar_of_another_one_whose_name_begins_like_its_bars(cmd):
    scale = ColorScale.between(0.0, 1.0, VIRIDIS)
    names = {movie: color_bar.bar_name(movie, "motion") for movie in ("a", "a_bar", "a_bar_x")}
    property_bar = color_bar.bar_name("a", "p.x_bar_y")
    for name in (*names.values(), property_bar):
        color_bar.show_bar(name, scale, cmd)
    assert sorted(color_bar.bars_of("a", cmd)) == sorted([names["a"], property_bar])
    for movie in ("a_bar", "a_bar_x"):
        assert color_bar.bars_of(movie, cmd) == [names[movie]]
    color_bar.remove_bars("a", cmd)
    assert sorted(bars(cmd)) == sorted([names["a_bar"], names["a_bar_x"]])
