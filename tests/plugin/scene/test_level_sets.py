"""Nested level sets in the scene: their names, looks and places, and what a cut leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pymol_dsr.fits.fit import Trajectory
from pymol_dsr.scene import level_sets, placement
from pymol_dsr.scene.placement import SceneError
from support.scene import idtf_points


def ball(radius, centre=(3.0, -2.0, 7.0), count=24):
    """A closed mesh of a sphere: points f4[N,3], normals, faces."""
    up = np.linspace(0, np.pi, count)
    around = np.linspace(0, 2 * np.pi, 2 * count, endpoint=False)
    theta, phi = np.meshgrid(up, around, indexing="ij")
    normals = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(count - 1), np.arange(2 * count), indexing="ij")
    a, b = i * 2 * count + j, i * 2 * count + (j + 1) % (2 * count)
    faces = np.concatenate(
        [np.stack(f, -1).reshape(-1, 3) for f in ((a, a + 2 * count, b), (b, a + 2 * count, b + 2 * count))]
    )
    return (radius * normals + centre).astype("f4"), normals.astype("f4"), faces.astype("i4")


NOTHING = np.zeros((0, 3), "f4"), np.zeros((0, 3), "f4"), np.zeros((0, 3), "i4")


@pytest.fixture
def molecule(peptide):
    return Trajectory("", "pep", "pep", None, [1.0, 2.0])


def show(cmd, molecule, meshes, said=None, toward=None, transparency=0.7):
    return level_sets.show_levels(
        molecule,
        meshes,
        object="nest",
        toward=toward,
        transparency=transparency,
        say=(said if said is not None else []).append,
        _self=cmd,
    )


def test_levels_are_read_with_spaces_and_come_rising():
    assert level_sets.parse(" 2 -1  0.5 -0 ") == [-1.0, 0.0, 0.5, 2.0]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "levels are empty: write -2 -1 0 2 4, with spaces"),
        ("1+2", "'1+2' is not a number; write -2 -1 0 2 4, with spaces"),
        ("1 nan", "'nan' is not finite"),
        ("1 2 1.0", "1 is given twice"),
        ("0 -0", "0 is given twice"),
        (" ".join(map(str, range(21))), "21 levels are asked for; 20 is the most at once"),
    ],
)
def test_refused_levels(text, message):
    with pytest.raises(SceneError) as error:
        level_sets.parse(text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_outside_is_red_inside_blue_the_surface_white_and_distance_dark():
    def rgb(level):
        text = level_sets.color(level, 4.0)
        return [int(text[k : k + 2], 16) for k in (2, 4, 6)]

    assert len(set(rgb(0))) == 1 and rgb(0)[0] > 230
    for near, far in ((1, 4), (0.5, 2)):
        for sign, strong in ((1, 0), (-1, 2)):
            light, dark = rgb(sign * near), rgb(sign * far)
            assert light[strong] == max(light) > light[1] and dark[strong] == max(dark) > dark[1]
            assert sum(dark) < sum(light)


def test_a_cut_leaves_what_lies_behind_with_a_clean_edge():
    points, normals, faces = ball(10.0)
    centre, direction = np.array([3.0, -2.0, 7.0]), np.array([0.48, 0.6, 0.64])
    cut_points, cut_normals, cut_faces = level_sets.cut_open((points, normals, faces), centre, direction)
    used = cut_points[cut_faces]
    height = (used - centre) @ direction
    assert height.max() < 1e-3 + level_sets.THICKNESS
    assert np.abs(np.linalg.norm(cut_normals[cut_faces], axis=-1) - 1).max() < 1e-5
    # Two sides of half a sphere, each facing its own way.
    area = 0.5 * np.linalg.norm(np.cross(used[:, 1] - used[:, 0], used[:, 2] - used[:, 0]), axis=1)
    assert area.sum() == pytest.approx(2 * 2 * np.pi * 10**2, rel=0.02)
    flat = np.cross(used[:, 1] - used[:, 0], used[:, 2] - used[:, 0])
    agree = np.einsum("ij,ij->i", flat, cut_normals[cut_faces].sum(axis=1))
    assert (agree[area > 1e-6] > 0).all()
    outward = np.einsum("ij,ij->i", flat, used.mean(axis=1) - centre)
    assert np.isclose((outward > 0).sum(), (outward < 0).sum(), rtol=0.01)
    # The edges of one triangle only, once points of one place are one, are the rim, and that lies in the plane.
    half = cut_faces[: len(cut_faces) // 2]
    places, number = np.unique(cut_points.round(3), axis=0, return_inverse=True)
    edges = np.sort(number.reshape(-1)[half][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    which, count = np.unique(edges[edges[:, 0] < edges[:, 1]], axis=0, return_counts=True)
    assert (count == 1).sum() > 40
    assert np.abs((places[which[count == 1]] - centre) @ direction).max() < 2e-3


def test_a_plane_beside_the_mesh_cuts_nothing_or_everything():
    mesh = ball(5.0)
    up = np.array([0.0, 0.0, 1.0])
    assert len(level_sets.cut_open(mesh, np.array([0, 0, 100.0]), up)[2]) == 2 * len(mesh[2])
    assert len(level_sets.cut_open(mesh, np.array([0, 0, -100.0]), up)[2]) == 0


def test_toward_the_camera_is_what_comes_nearer(peptide):
    peptide.turn("x", 33)
    peptide.turn("y", -71)
    peptide.rotate("z", 40, object="pep", camera=0)
    peptide.rotate("x", 15, object="pep", camera=0)
    view, place = peptide.get_view(), placement.object_matrix("pep", peptide)
    toward = level_sets.toward_camera(view, place)
    assert np.linalg.norm(toward) == pytest.approx(1.0)
    # Where PyMOL's camera is in the scene: at the end of its own z axis from the origin of rotation.
    turn = np.array(view[:9]).reshape(3, 3)
    camera = np.array(view[12:15]) - turn @ np.array(view[9:12])
    assert turn @ np.array(view[9:12]) == pytest.approx(-(camera - np.array(view[12:15])))
    scene_direction = place[:3, :3] @ toward
    assert scene_direction @ (camera - np.array(view[12:15])) == pytest.approx(
        np.linalg.norm(camera - np.array(view[12:15])), rel=1e-4
    )


def test_one_object_a_level_in_a_group_coloured_and_seen_through(peptide, molecule):
    said: list[Any] = []
    peptide.set("transparency_mode", 2)
    names = show(peptide, molecule, {-1.0: ball(3), 0.0: ball(4), 2.0: ball(6)}, said)
    assert names == ["nest_-1", "nest_0", "nest_+2"]
    assert peptide.get_type("nest") == "object:group"
    colors = [peptide.get_color_tuple(peptide.get_object_color_index(name)) for name in names]
    assert colors[0][2] > colors[0][0] and len(set(colors[1])) == 1 and colors[2][0] > colors[2][2]
    assert [peptide.get_setting_float("cgo_transparency", name) for name in names] == pytest.approx([0, 0.7, 0.7])
    assert peptide.get_setting_int("transparency_mode") == 1
    assert said == ["transparency_mode is 1 now, for ray to show each level through the others"]
    peptide.delete("nest")
    assert not [name for name in peptide.get_names("all") if name.startswith("nest")]


def test_they_are_seen_at_every_state_where_the_molecule_is(peptide, molecule):
    peptide.translate([4, -3, 8], object="pep", camera=0)
    peptide.rotate("z", 20, object="pep", camera=0)
    mesh = ball(4)
    show(peptide, molecule, {0.0: mesh})
    peptide.disable("pep")
    place = placement.object_matrix("pep", peptide).astype(float)
    centre = place[:3, :3] @ [3.0, -2.0, 7.0] + place[:3, 3]
    for state in (1, 5):
        peptide.set("state", state)
        assert np.linalg.norm(idtf_points(peptide) - centre, axis=1) == pytest.approx(4.0, abs=1e-3)


def test_cut_through_the_middle_of_them_all(peptide, molecule):
    toward = np.array([0.0, 1.0, 0.0])
    names = show(peptide, molecule, {0.0: ball(4), 2.0: ball(6)}, toward=toward, transparency=0.0)
    peptide.disable("pep")
    assert idtf_points(peptide)[:, 1].max() == pytest.approx(-2.0, abs=0.05)
    assert [peptide.get_setting_float("cgo_transparency", name) for name in names] == [0, 0]
    assert peptide.get_setting_int("transparency_mode") == 2


def test_an_empty_level_is_said_and_the_rest_loads(peptide, molecule):
    said: list[Any] = []
    assert show(peptide, molecule, {-9.0: NOTHING, 0.0: ball(4)}, said) == ["nest_0"]
    assert said == ["level -9 is empty at this time; the others are there"]
    with pytest.raises(SceneError, match="levels -9, 40 are empty"):
        show(peptide, molecule, {-9.0: NOTHING, 40.0: NOTHING})
    assert "nest_0" in peptide.get_names("all")


def test_the_levels_of_before_go(peptide, molecule):
    show(peptide, molecule, {-1.0: ball(3), 0.0: ball(4)})
    assert show(peptide, molecule, {0.5: ball(5)}) == ["nest_+0.5"]
    assert [name for name in peptide.get_names("all") if name.startswith("nest")] == ["nest_+0.5", "nest"]


def test_names_of_others_are_kept(peptide):
    with pytest.raises(SceneError, match="the name pep is taken by a molecule; give another one with object="):
        level_sets.check_names("pep", [0.0], peptide)
    peptide.create("nest_+2", "pep")
    with pytest.raises(SceneError, match=r"nest_\+2 is taken"):
        level_sets.check_names("nest", [0.0, 2.0], peptide)
    level_sets.check_names("nest", [0.0], peptide)
