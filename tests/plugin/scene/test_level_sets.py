"""Nested level sets in the scene: their names, looks and places, and what a cut leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pymol_dsr.fits.fit import Trajectory
from pymol_dsr.scene import level_sets, placement
from pymol_dsr.scene.objects import SceneError
from pymol_dsr.shared.mesh import Mesh
from pymol_dsr.shared.options import LevelOptions
from pymol_dsr.shared.values import ValueFault
from support.meshes import sphere
from support.scene import idtf_points, timeline_rows

NOTHING = Mesh(np.zeros((0, 3), "f4"), np.zeros((0, 3), "f4"), np.zeros((0, 3), "i4"))


@pytest.fixture
def molecule(peptide):
    return Trajectory("", "pep", "pep", None, [1.0, 2.0])


def show(cmd, molecule, meshes, messages=None, toward=None, transparency=0.7):
    return level_sets.show_levels(
        molecule,
        meshes,
        object="nest",
        toward=toward,
        transparency=transparency,
        say=(messages if messages is not None else []).append,
        _self=cmd,
    )


@pytest.mark.parametrize(
    "levels", [" 2 -1  0.5 -0 ", "2,-1,0.5,0", "[2, -1, 0.5, 0]", [2, -1, 0.5, 0], (2, -1, 0.5, 0)]
)
def test_levels_are_read_with_spaces_or_as_a_list_and_come_rising(levels):
    assert LevelOptions.parse(levels=levels).levels == (-1.0, 0.0, 0.5, 2.0)


@pytest.mark.parametrize(
    "text, message",
    [
        ("1+2", "levels 1+2: it is not a number"),
        ("1 nan", "levels nan: it is not a number"),
        ("1 2 1.0", "1 is given twice"),
        ("0 -0", "0 is given twice"),
        (" ".join(map(str, range(21))), "21 levels are asked for; 20 is the most at once"),
    ],
)
def test_refused_levels(text, message):
    with pytest.raises(ValueFault) as error:
        LevelOptions.parse(levels=text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_outside_is_red_inside_blue_the_surface_white_and_distance_dark():
    def rgb(level):
        text = level_sets.level_color(level, 4.0)
        return [int(text[k : k + 2], 16) for k in (2, 4, 6)]

    assert len(set(rgb(0))) == 1 and rgb(0)[0] > 230
    for near, far in ((1, 4), (0.5, 2)):
        for sign, strong in ((1, 0), (-1, 2)):
            light, dark = rgb(sign * near), rgb(sign * far)
            assert light[strong] == max(light) > light[1] and dark[strong] == max(dark) > dark[1]
            assert sum(dark) < sum(light)


def test_one_object_a_level_in_a_group_coloured_and_seen_through(peptide, molecule):
    messages: list[Any] = []
    peptide.set("transparency_mode", 2)
    names = show(peptide, molecule, {-1.0: sphere(3), 0.0: sphere(4), 2.0: sphere(6)}, messages)
    assert names == ["nest_-1", "nest_0", "nest_+2"]
    assert peptide.get_type("nest") == "object:group"
    colors = [peptide.get_color_tuple(peptide.get_object_color_index(name)) for name in names]
    assert colors[0][2] > colors[0][0] and len(set(colors[1])) == 1 and colors[2][0] > colors[2][2]
    assert [peptide.get_setting_float("cgo_transparency", name) for name in names] == pytest.approx([0, 0.7, 0.7])
    assert peptide.get_setting_int("transparency_mode") == 1
    assert messages == ["transparency_mode is 1 now, for ray to show each level through the others"]
    peptide.delete("nest")
    assert not [name for name in peptide.get_names("all") if name.startswith("nest")]


def test_they_are_seen_at_every_state_where_the_molecule_is(peptide, molecule):
    peptide.translate([4, -3, 8], object="pep", camera=0)
    peptide.rotate("z", 20, object="pep", camera=0)
    mesh = sphere(4)
    show(peptide, molecule, {0.0: mesh})
    peptide.disable("pep")
    matrix = placement.object_matrix("pep", peptide).astype(float)
    centre = matrix[:3, :3] @ [3.0, -2.0, 7.0] + matrix[:3, 3]
    for state in (1, 5):
        peptide.set("state", state)
        assert np.linalg.norm(idtf_points(peptide) - centre, axis=1) == pytest.approx(4.0, abs=1e-3)


def test_they_make_no_keys_in_a_movie(peptide, molecule):
    peptide.translate([4, -3, 8], object="pep", camera=0)
    peptide.mset("1 x10")
    peptide.set("movie_auto_store", 1)
    show(peptide, molecule, {0.0: sphere(4), 2.0: sphere(6)})
    assert timeline_rows(peptide) == [] and peptide.get_setting_int("movie_auto_store") == 1
    peptide.translate([1, 0, 0], object="nest_0", camera=0)
    assert timeline_rows(peptide) == ["nest_0"]


def test_cut_through_the_middle_of_them_all(peptide, molecule):
    toward = np.array([0.0, 1.0, 0.0])
    names = show(peptide, molecule, {0.0: sphere(4), 2.0: sphere(6)}, toward=toward, transparency=0.0)
    peptide.disable("pep")
    assert idtf_points(peptide)[:, 1].max() == pytest.approx(-2.0, abs=0.05)
    assert [peptide.get_setting_float("cgo_transparency", name) for name in names] == [0, 0]
    assert peptide.get_setting_int("transparency_mode") == 2


def test_an_empty_level_is_said_and_the_rest_loads(peptide, molecule):
    messages: list[Any] = []
    assert show(peptide, molecule, {-9.0: NOTHING, 0.0: sphere(4)}, messages) == ["nest_0"]
    assert messages == ["level -9 is empty at this time; the others are there"]
    with pytest.raises(SceneError, match="levels -9, 40 are empty"):
        show(peptide, molecule, {-9.0: NOTHING, 40.0: NOTHING})
    assert "nest_0" in peptide.get_names("all")


def test_the_levels_of_before_go(peptide, molecule):
    show(peptide, molecule, {-1.0: sphere(3), 0.0: sphere(4)})
    assert show(peptide, molecule, {0.5: sphere(5)}) == ["nest_+0.5"]
    assert [name for name in peptide.get_names("all") if name.startswith("nest")] == ["nest_+0.5", "nest"]


def test_names_of_others_are_kept(peptide):
    with pytest.raises(SceneError, match="the name pep is taken by a molecule; give another one with object="):
        level_sets.check_level_names("pep", [0.0], peptide)
    peptide.create("nest_+2", "pep")
    with pytest.raises(SceneError, match=r"nest_\+2 is taken"):
        level_sets.check_level_names("nest", [0.0, 2.0], peptide)
    level_sets.check_level_names("nest", [0.0], peptide)
