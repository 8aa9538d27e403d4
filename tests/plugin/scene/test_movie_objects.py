"""Movies in the scene: where surfaces lie, their colours, which state is which, and errors on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymol2
import pytest
from scipy.spatial import cKDTree

from pymol_dsr.backend.process import BackendError
from pymol_dsr.fits.fit import Cancelled, Trajectory
from pymol_dsr.scene import atoms, cgo, movie_objects, placement, timeline
from pymol_dsr.scene.movie import set_movie
from pymol_dsr.scene.movie_objects import MovieAppearance
from pymol_dsr.scene.objects import SceneError
from pymol_dsr.scene.replies import mesh_of, vertex_colors
from pymol_dsr.shared.mesh import Mesh
from pymol_dsr.shared.messages import GridResult, MeshResult
from pymol_dsr.surfaces import extract, workers
from pymol_dsr.surfaces.object_session import read_object_session
from pymol_dsr.surfaces.source import Surface
from support.meshes import mesh_result, triangles_of
from support.scene import build_peptide, coordinates, idtf_points, timeline_rows


@dataclass
class Fitted:
    """pep's states 1 to 6, fitted; PyMOL's own surfaces stand in for those of a field."""

    trajectory: Trajectory
    surfaces: dict[int, Surface]

    def replies(self, times) -> Iterator[MeshResult]:
        """Yield a reply for each time, with an expected error past state 6."""
        for time in times:
            surface, following = self.surfaces[min(6, int(time))], self.surfaces[min(6, int(time) + 1)]
            fraction = time - int(time)
            atoms = ((1 - fraction) * surface.atoms + fraction * following.atoms).astype(np.float32)
            nearest = cKDTree(surface.atoms).query(surface.points)[1].astype(np.int32)
            error = 0.5 + 0.1 * (time - 6) if time > 6 else None
            yield mesh_result(surface, expected_error=error, atoms=atoms, nearest=nearest)

    def reply(self, time) -> MeshResult:
        """Return the reply for one time."""
        return next(self.replies([time]))


@pytest.fixture(scope="module")
def own_surfaces():
    """The source of `pep`, and its surfaces by state."""
    with pymol2.PyMOL() as session:
        session.cmd.feedback("disable", "all", "everything")
        build_peptide(session.cmd)
        source = extract.read_source("pep", "all", _self=session.cmd)
        return source, {int(surface.state): surface for surface in workers.compute_surfaces(source, 2)}


@pytest.fixture
def fitted(own_surfaces, peptide):
    source, surfaces = own_surfaces
    return Fitted(
        Trajectory("", "pep", "pep", source.atoms, list(map(float, source.states)), identity=source.identity), surfaces
    )


def show(
    cmd,
    fitted,
    times,
    object="out",
    lines=None,
    replies=None,
    on_view=lambda: None,
    floats_again=None,
    **appearance,
):
    return movie_objects.show_movie(
        fitted.trajectory,
        timeline.plan(fitted.trajectory, times, object),
        replies or fitted.replies(times),
        object=object,
        appearance=MovieAppearance(**appearance),
        on_view=on_view,
        floats_again=floats_again,
        say=(lines if lines is not None else []).append,
        _self=cmd,
    )


def shown_points(cmd, name, state):
    cmd.disable("all")
    cmd.enable(name)
    cmd.set("state", state)
    return idtf_points(cmd)


def test_whole_states_keep_their_numbers(peptide, fitted):
    loaded = show(peptide, fitted, [2, 4, 5])
    assert loaded.objects == ["out"]
    assert peptide.get_type("out") == "object:cgo"
    assert peptide.count_states("out") == 5
    for state in (2, 4, 5):
        points = shown_points(peptide, "out", state)
        expected = fitted.reply(state).points
        assert cKDTree(expected).query(points)[0].max() < 1e-5
    assert len(shown_points(peptide, "out", 3)) == 0


def test_the_result_lies_on_the_molecule_however_it_was_moved(peptide, fitted):
    peptide.rotate("x", 50, object="pep", camera=0)
    peptide.translate([4, -3, 8], object="pep", camera=0)
    peptide.rotate("z", 20, object="pep", camera=0, origin=[5, 5, 5])
    show(peptide, fitted, [1, 2])
    peptide.set("defer_builds_mode", 3)
    peptide.show_as("surface", "pep")
    pymol_points, dsr_points = shown_points(peptide, "pep", 2), shown_points(peptide, "out", 2)
    assert cKDTree(pymol_points).query(dsr_points)[0].max() < 1e-4
    local = fitted.reply(2).points
    placed = local @ placement.object_matrix("pep", peptide)[:3, :3].T + placement.object_matrix("pep", peptide)[:3, 3]
    assert cKDTree(pymol_points).query(placed)[0].max() < 1e-4


def test_moves_that_are_in_the_coordinates_are_not_repeated(peptide):
    peptide.transform_object("pep", [1, 0, 0, 5, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
    assert placement.object_ttt("pep", peptide) == placement.IDENTITY
    assert np.array_equal(placement.object_matrix("pep", peptide), np.eye(4))


def test_colours_are_those_of_the_nearest_atoms(peptide, fitted):
    peptide.color("red", "pep")
    peptide.color("blue", "pep and resi 5")
    colors, _ = atoms.atom_colors(fitted.trajectory, peptide)
    assert colors is not None
    blue = [i for i, c in enumerate(colors) if tuple(c) == (0.0, 0.0, 1.0)]
    assert len(blue) == peptide.count_atoms("pep and resi 5")
    show(peptide, fitted, [1])
    reply = fitted.reply(1)
    corners = triangles_of(cgo.cgo_floats(mesh_of(reply), vertex_colors(reply, colors))).reshape(-1, 12)
    vertices = cKDTree(reply.points).query(corners[:, 9:])[1]
    assert np.allclose(corners[:, 1:4], colors[reply.nearest[vertices]])


def test_no_numpy_numbers_reach_pymol(fitted):
    mesh = mesh_of(fitted.reply(1))
    for colors in (None, np.ones_like(mesh.points)):
        assert {type(number) for number in cgo.cgo_floats(mesh, colors)} == {float}


def test_a_movie_of_a_molecule_that_has_lost_atoms_is_loaded_without_atoms(peptide, fitted):
    show(peptide, fitted, [2, 2.5])
    peptide.remove("pep and resi 9")
    lines: list[str] = []
    loaded = show(peptide, fitted, [2, 2.5], lines=lines)
    assert loaded.objects == ["out"] == [name for name in peptide.get_names() if name.startswith("out")]
    reason = (
        f"pep is not in the scene as it was fitted (it has {peptide.count_atoms('pep')} atoms now and had "
        f"{len(fitted.trajectory.atoms)}): load it as it was, or fit it anew with dsr_fit"
    )
    assert lines == [f"{reason}; one colour is used until then"]
    described = movie_objects.describe(fitted.trajectory, loaded)
    assert described == [f"{reason}; the movie has no atoms beside its surfaces until then"]


def test_fractional_times_bring_the_atoms_along(peptide, fitted):
    peptide.show_as("sticks", "pep")
    peptide.color("green", "pep")
    times = [1, 1.25, 1.5, 2]
    loaded = show(peptide, fitted, times)
    assert loaded.objects == ["out", "out_atoms"]
    assert peptide.count_states("out") == peptide.count_states("out_atoms") == 4
    for state, reply in enumerate(fitted.replies(times), 1):
        assert np.allclose(coordinates(peptide, "out_atoms", state), reply.atoms, atol=1e-5)
    drawn = []
    for name in ("pep", "out_atoms"):
        rows: list[Any] = []
        peptide.iterate(name, "found.append((name, resi, reps, color))", space={"found": rows})
        drawn.append(rows)
    assert drawn[0] == drawn[1]
    assert "pep" not in peptide.get_names("objects", enabled_only=1)
    assert "out_atoms holds the atoms" in " ".join(movie_objects.describe(fitted.trajectory, loaded))
    assert movie_objects.describe(fitted.trajectory, loaded, stays=False) == []
    show(peptide, fitted, [1, 1.5])
    assert peptide.count_states("out_atoms") == 2
    # A movie of whole states plays beside the molecule, which comes back in place of these atoms.
    show(peptide, fitted, [1, 2])
    assert "out_atoms" not in peptide.get_names("objects")
    assert "pep" in peptide.get_names("objects", enabled_only=1)


def test_states_past_the_fit_are_apart_tinted_and_said(peptide, fitted):
    peptide.color("white", "pep")
    loaded = show(peptide, fitted, [5, 6, 7, 8])
    assert loaded.objects == ["out", "out_future"]
    assert peptide.count_states("out") == 6 and peptide.count_states("out_future") == 8
    assert peptide.get_setting_float("cgo_transparency", "out_future") == pytest.approx(
        movie_objects.FUTURE_TRANSPARENCY
    )
    assert len(shown_points(peptide, "out_future", 6)) == 0
    assert len(shown_points(peptide, "out_future", 7)) > 100
    line = movie_objects.describe(fitted.trajectory, loaded)[0]
    assert line == ("states 7+8 are past the fitted 1 to 6: extrapolated, expected error 0.60 to 0.70 A, in out_future")
    [line] = movie_objects.describe(fitted.trajectory, loaded, stays=False)
    assert line == "states 7+8 are past the fitted 1 to 6: extrapolated, expected error 0.60 to 0.70 A"


def test_long_movies_go_into_several_objects(peptide, fitted, monkeypatch):
    monkeypatch.setattr(timeline, "STATES_PER_OBJECT", 2)
    loaded = show(peptide, fitted, [1, 2, 3, 4, 5])
    assert loaded.objects == ["out_01", "out_02", "out_03"]
    assert peptide.get_type("out") == "object:group"
    assert sorted(peptide.get_object_list("out") or []) == [] and "out_03" in peptide.get_names("all")
    assert peptide.count_states("out_02") == 4
    show(peptide, fitted, [1])
    assert peptide.get_type("out") == "object:cgo"
    assert not [n for n in peptide.get_names("all") if n.startswith("out_")]


def test_a_long_object_has_all_its_states_before_its_first_mesh(peptide, fitted, monkeypatch):
    """PyMOL copies all meshes of an object that grows; an object that has its states already does not grow."""
    monkeypatch.setattr(movie_objects, "FEW_STATES", 2)
    load_cgo, counts = peptide.load_cgo, []

    def noted(floats, name, state, **options):
        if len(floats) > 1:
            counts.append((state, peptide.count_states(f"%{name}") if name in peptide.get_names() else 0))
        return load_cgo(floats, name, state, **options)

    monkeypatch.setattr(peptide, "load_cgo", noted)
    show(peptide, fitted, [1, 2, 4])
    assert counts == [(1, 4), (2, 4), (4, 4)]
    monkeypatch.setattr(movie_objects, "FEW_STATES", 4)
    counts.clear()
    show(peptide, fitted, [1, 2, 4])
    assert counts == [(1, 0), (2, 1), (4, 3)]


@pytest.mark.parametrize("change", ["delete out", "reinitialize", "set_name out, mine"])
def test_a_movie_that_is_deleted_while_it_is_loaded_does_not_come_back(peptide, fitted, change):
    def replies():
        yield from fitted.replies([1, 2])
        peptide.do(change)
        yield from fitted.replies([3, 4])

    with pytest.raises(SceneError, match="out was deleted or renamed while it was loaded"):
        show(peptide, fitted, [1, 2, 3, 4], replies=replies())
    assert "out" not in peptide.get_names("all")


def test_one_colour(peptide, fitted):
    loaded = show(peptide, fitted, [1], color="marine")
    assert loaded.objects == ["out"]
    index = peptide.get_object_color_index("out")
    assert index == peptide.get_color_index("marine")


def test_a_movie_plays_the_states_in_order(peptide, fitted):
    loaded = show(peptide, fitted, [1, 3, 4, 5])
    set_movie(loaded.states, peptide)
    assert peptide.count_frames() == 4
    played = []
    for frame in range(1, 5):
        peptide.frame(frame)
        played.append(peptide.get_state())
    assert played == [1, 3, 4, 5]


def test_names_of_others_are_kept(peptide, fitted):
    with pytest.raises(SceneError, match="pep is taken by a molecule"):
        show(peptide, fitted, [1], object="pep")
    assert peptide.count_states("pep") == 6
    show(peptide, fitted, [1, 2, 3])
    show(peptide, fitted, [1, 2])
    assert peptide.count_states("out") == 2


def test_a_fault_leaves_nothing_behind(peptide, fitted):
    def broken():
        yield from fitted.replies([1, 1.5])
        raise RuntimeError("a fault of ours")

    before = peptide.get_names("all")
    with pytest.raises(RuntimeError):
        show(peptide, fitted, [1, 1.5, 2], replies=broken())
    assert peptide.get_names("all") == before


@pytest.mark.parametrize(
    "error, word",
    [(Cancelled("pep_dsr: cancelled"), "cancelled"), (BackendError("lost", "the backend was killed"), "cut short")],
)
def test_a_cancelled_movie_or_one_without_a_backend_keeps_what_it_has_and_says_so(peptide, fitted, error, word):
    def stopped():
        yield from fitted.replies([1, 2])
        raise error

    lines: list[str] = []
    with pytest.raises(type(error)):
        show(peptide, fitted, [1, 2, 3, 4], replies=stopped(), lines=lines)
    assert lines == [f"{word}; the first 2 of 4 states are in out"]
    assert peptide.count_states("out") == 2


@pytest.mark.parametrize("error", [Cancelled("cancelled"), BackendError("lost", "killed"), RuntimeError("a fault")])
def test_the_movie_before_stays_where_the_next_has_no_state(peptide, fitted, error):
    def failing():
        raise error
        yield

    show(peptide, fitted, [1, 2])
    with pytest.raises(type(error)):
        show(peptide, fitted, [1, 2, 3, 4], replies=failing())
    assert peptide.count_states("out") == 2 and len(shown_points(peptide, "out", 2)) > 0


def test_a_long_movie_that_is_cancelled_ends_with_its_last_mesh(peptide, fitted, monkeypatch):
    """It gets all its states before the first mesh."""
    monkeypatch.setattr(movie_objects, "FEW_STATES", 3)
    counts = []

    def stopped():
        yield from fitted.replies([1, 2])
        counts.append(peptide.count_states("%out"))
        raise Cancelled("pep_dsr: cancelled")

    def floats_again(state):
        return cgo.cgo_floats(mesh_of(fitted.reply(state.time)), None)

    peptide.translate([4, -3, 8], object="pep", camera=0)
    with pytest.raises(Cancelled):
        show(
            peptide,
            fitted,
            [1, 2, 3, 4, 5],
            replies=stopped(),
            color="red",
            transparency=0.3,
            floats_again=floats_again,
        )
    assert counts == [5] and peptide.count_states("out") == 2
    assert [name for name in peptide.get_names("all") if "former" in name] == []
    assert peptide.get_setting_float("cgo_transparency", "out") == pytest.approx(0.3)
    assert peptide.get_object_color_index("out") == peptide.get_color_index("red")
    placed = fitted.reply(2).points + np.array([4, -3, 8], "f4")
    assert cKDTree(placed).query(shown_points(peptide, "out", 2))[0].max() < 1e-3


def test_an_empty_level_is_said_and_the_rest_loads(peptide, fitted):
    empty_mesh = Mesh(np.zeros((0, 3), "f4"), np.zeros((0, 3), "f4"), np.zeros((0, 3), "i4"))

    def with_gap():
        yield fitted.reply(1)
        yield mesh_result(empty_mesh, atoms=fitted.reply(2).atoms, nearest=np.zeros(0, "i4"))
        yield fitted.reply(3)

    loaded = show(peptide, fitted, [1, 2, 3], replies=with_gap())
    assert [state.time for state in loaded.states] == [1, 3]
    assert movie_objects.describe(fitted.trajectory, loaded) == ["state 2 has no surface at this level and stays empty"]


def test_without_the_molecule_one_colour_is_used_and_said(peptide, fitted):
    peptide.delete("pep")
    lines: list[str] = []
    assert show(peptide, fitted, [1], lines=lines).objects == ["out"]
    assert "not in the scene" in lines[0]


def sphere_replies(times, origin=(3.11, -4.23, 5.0), spacing=0.7, count=30):
    """Yield lattices of a ball of radius 6 + time/10 around `origin` + 15 nodes."""
    axes = [np.arange(count)] * 3
    nodes = np.array(origin) + spacing * np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    centre = np.array(origin) + 15 * spacing
    for time in times:
        values = np.linalg.norm(nodes - centre, axis=-1) - (6 + time / 10)
        yield GridResult(origin=origin, spacing=spacing, extrapolated=False, values=values.astype(np.float32))


def test_the_surface_before_stays_until_the_state_in_view_is_loaded(peptide, fitted):
    peptide.frame(3)
    frames = []

    def replies():
        for time in (2, 3, 4):
            frames.append("live" in peptide.get_names())
            yield fitted.reply(time)

    peptide.load_cgo(cgo.cgo_floats(mesh_of(fitted.reply(3)), None), "live", 1)
    show(peptide, fitted, [2, 3, 4], replies=replies(), on_view=lambda: peptide.delete("live"))
    assert frames == [True, True, False]


@pytest.mark.parametrize("color", ["", "white"])
def test_the_size_of_the_meshes_in_a_session_file_is_known(peptide, fitted, color, tmp_path):
    sizes = []
    for path in (tmp_path / "before.pse", tmp_path / "after.pse"):
        peptide.save(str(path))
        sizes.append(path.stat().st_size)
        loaded = show(peptide, fitted, [1, 2, 3, 4], color=color)
    assert movie_objects.session_megabytes(loaded) == pytest.approx(1e-6 * (sizes[1] - sizes[0]), rel=0.02)


@pytest.mark.parametrize("as_map", [False, True])
def test_a_movie_makes_no_keys_of_its_objects(peptide, fitted, as_map):
    peptide.translate([4, -3, 8], object="pep", camera=0)
    peptide.mset("1 x10")
    show(
        peptide,
        fitted,
        [1.5, 2.5],
        map_level=0.0 if as_map else None,
        replies=sphere_replies([1.5, 2.5]) if as_map else None,
    )
    assert timeline_rows(peptide) == []


def test_maps_lie_where_the_field_is_whatever_their_origin(peptide, fitted):
    peptide.translate([2, 0, 0], object="pep", camera=0)
    loaded = show(peptide, fitted, [1, 3], map_level=0.5, replies=sphere_replies([1, 3]))
    assert loaded.objects == ["out", "out_map"]
    centre = np.array([3.11 + 2, -4.23, 5.0]) + 15 * 0.7
    for state, radius in ((1, 6.6), (3, 6.8)):
        distance = np.linalg.norm(shown_points(peptide, "out", state) - centre, axis=1)
        assert np.abs(distance - radius).max() < 0.05
    assert len(shown_points(peptide, "out", 2)) == 0


def test_the_session_plays_without_the_plugin(peptide, fitted, tmp_path):
    import pymol2

    loaded = show(peptide, fitted, [1, 2, 3])
    set_movie(loaded.states, peptide)
    peptide.save(str(tmp_path / "movie.pse"))
    second_pymol = pymol2.PyMOL()
    second_pymol.start()
    try:
        second_pymol.cmd.load(str(tmp_path / "movie.pse"))
        assert second_pymol.cmd.count_states("out") == 3 and second_pymol.cmd.count_frames() == 3
        assert len(shown_points(second_pymol.cmd, "out", 2)) == len(shown_points(peptide, "out", 2)) > 100
    finally:
        second_pymol.stop()


def test_maps_with_gaps_leave_the_view_alone_and_survive_a_session(peptide, fitted, tmp_path):
    import pymol2

    view = peptide.get_view()
    show(peptide, fitted, [10, 13], map_level=0.0, replies=sphere_replies([10, 13]))
    assert peptide.get_view() == view
    peptide.save(str(tmp_path / "maps.pse"))
    second_pymol = pymol2.PyMOL()
    second_pymol.start()
    try:
        second_pymol.cmd.load(str(tmp_path / "maps.pse"))
        assert (
            len(shown_points(second_pymol.cmd, "out_future", 13)) == len(shown_points(peptide, "out_future", 13)) > 100
        )
        assert len(shown_points(second_pymol.cmd, "out_future", 9)) == 0
    finally:
        second_pymol.stop()


def groups(cmd, *names):
    return [read_object_session(name, cmd).group for name in names]


@pytest.mark.parametrize("ending", ["whole", "cancelled"])
def test_a_movie_that_is_made_again_stays_in_the_groups_of_the_user(peptide, fitted, ending):
    times = [1, 2, 3, 7]
    show(peptide, fitted, times)
    peptide.group("mine", "pep out")
    peptide.group("guesses", "out_future")

    def replies():
        for number, reply in enumerate(fitted.replies(times)):
            if ending == "cancelled" and number == 2:
                raise Cancelled("out: cancelled")
            yield reply

    if ending == "whole":
        show(peptide, fitted, times, replies=replies())
        assert groups(peptide, "out", "out_future", "pep") == ["mine", "guesses", "mine"]
    else:
        with pytest.raises(Cancelled):
            show(peptide, fitted, times, replies=replies(), floats_again=lambda state: list(cgo.NOTHING))
        assert groups(peptide, "out", "pep") == ["mine", "mine"]
    # A group that was deleted does not come back.
    peptide.ungroup("out")
    peptide.delete("guesses")
    show(peptide, fitted, times)
    assert groups(peptide, "out") == [""] and "guesses" not in peptide.get_names("all")


def test_atoms_and_maps_of_a_movie_stay_in_the_groups_of_the_user(peptide, fitted):
    for _ in range(2):
        show(peptide, fitted, [1, 1.5])
        peptide.group("mine", "out_atoms")
    show(peptide, fitted, [1, 1.5])
    assert groups(peptide, "out", "out_atoms") == ["", "mine"]
    for level in (0.0, 0.5):
        show(peptide, fitted, [1, 2], object="ball", replies=sphere_replies([1, 2]), map_level=level)
        if not level:
            peptide.group("mine", "ball ball_map")
    assert {"ball", "ball_map"} <= set(members(peptide, "mine"))


def members(cmd, group):
    """Return the names of all objects of a group."""
    session = cmd.get_session(group, partial=1, binary=1, cache=0, compress=0, version=0)
    return [entry[0] for entry in session["names"] if entry and entry[6] == group]
