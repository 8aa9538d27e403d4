"""Scene to surfaces: the same surface as the scene's own, and nothing of the scene changed."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pymol2
import pytest
from scipy.spatial import cKDTree

from pymol_dsr.shared.states import StatesError
from pymol_dsr.surfaces import extract, selections, surfaces_file, workers
from pymol_dsr.surfaces.source import ExtractError
from pymol_dsr.surfaces.surface_worker import cells_along
from pymol_dsr.surfaces.workers import SurfaceWorker
from support.scene import build_peptide, coordinates, idtf_points, put
from support.waiting import PATIENCE


def surface_at(cmd, selection, state):
    """The extracted surface of one state."""
    source = extract.read_source(selection, str(state), _self=cmd)
    (surface,) = workers.compute_surfaces(source, 1)
    return surface


def assert_shown(cmd, surface, selection, state, within=2e-6):
    """The scene's own surface, by its text export, has the same points as the extracted one."""
    cmd.set("defer_builds_mode", 3)
    cmd.frame(state)
    cmd.hide("everything")
    cmd.show("surface", selection)
    drawn_points = idtf_points(cmd)
    assert len(drawn_points) > 100
    assert cKDTree(surface.points).query(drawn_points)[0].max() < within
    assert cKDTree(drawn_points).query(surface.points)[0].max() < within


def signed_volume(surface):
    a, b, c = (surface.points[surface.faces[:, k]].astype(float) for k in range(3))
    return np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6


def test_same_surface_as_the_scene(peptide):
    for state in (1, 4):
        assert_shown(peptide, surface_at(peptide, "pep", state), "pep", state)


@pytest.mark.system
def test_same_surface_as_the_scene_for_a_protein(adk):
    source = extract.read_source("adk", "50", _self=adk)
    (surface,) = workers.compute_surfaces(replace(source, settings={**source.settings, "hash_max": "100"}), 1)
    assert surface.atoms.shape == (3341, 3)
    assert 13_000 < len(surface.points) < 15_000
    assert 28_000 < signed_volume(surface) < 30_000
    assert_shown(adk, surface, "adk", 50)


@pytest.mark.system
def test_wider_cells_leave_nearly_all_points_of_a_protein_where_they_were(adk):
    source = extract.read_source("adk", "50", _self=adk)
    (surface,) = workers.compute_surfaces(source, 1)
    (narrow,) = workers.compute_surfaces(replace(source, settings={**source.settings, "hash_max": "100"}), 1)
    distances = cKDTree(narrow.points).query(surface.points)[0]
    assert 0.98 < np.mean(distances < 2e-6) < 1.0
    assert signed_volume(surface) == pytest.approx(signed_volume(narrow), rel=0.002)


def test_cells_are_as_wide_in_every_molecule_but_small_ones_and_never_more_than_pymol_has():
    sides = {8.0: 100, 29.0: 100, 43.0: 40, 93.0: 80, 200.0: 100}
    assert {side: cells_along(np.array([[0, 0, 0], [1, side, 2]], np.float32)) for side in sides} == sides


def test_arrays_are_what_the_contract_says(peptide):
    surface = surface_at(peptide, "pep", 2)
    assert surface.points.dtype == surface.normals.dtype == surface.atoms.dtype == np.float32
    assert surface.faces.dtype == np.int32
    assert surface.faces.min() == 0 and surface.faces.max() == len(surface.points) - 1
    assert np.abs(np.linalg.norm(surface.normals, axis=1) - 1).max() < 1e-5
    assert signed_volume(surface) > 0
    centre = surface.points.mean(axis=0)
    outward = np.einsum("ij,ij->i", surface.normals, surface.points - centre)
    assert (outward > 0).mean() > 0.8
    assert np.allclose(surface.atoms, coordinates(peptide, "pep", 2), atol=1e-6)


def test_the_settings_that_are_kept_are_those_of_the_object(peptide):
    peptide.set("solvent_radius", 1.8, "pep")
    peptide.set("surface_quality", 1)
    settings = extract.read_source("pep", "1", _self=peptide).settings
    assert float(settings["solvent_radius"]) == pytest.approx(1.8) and settings["surface_quality"] == "1"


def test_a_setting_of_a_baseline_wins_over_one_of_the_object(peptide):
    def points(surface_type):
        source = extract.read_source("pep", "1", _self=peptide)
        source = replace(source, settings={**source.settings, "surface_type": surface_type})
        (surface,) = workers.compute_surfaces(source, 1)
        return surface.points

    plain, marched = points("0"), points("3")
    peptide.set("surface_type", 0, "pep")
    np.testing.assert_array_equal(points("3"), marched)
    assert len(marched) != len(plain)


@pytest.mark.parametrize("key, value", [("surface_quality", 1), ("solvent_radius", 1.8), ("surface_mode", 2)])
@pytest.mark.parametrize("owner", ["", "pep"])
def test_surface_settings_of_the_user_count(peptide, key, value, owner):
    plain = surface_at(peptide, "pep", 1)
    peptide.set(key, value, owner)
    changed = surface_at(peptide, "pep", 1)
    assert len(changed.points) != len(plain.points)
    assert_shown(peptide, changed, "pep", 1)


@pytest.mark.parametrize("radius", [3.2, 4.7])
def test_large_beads_without_triangles_are_named_with_a_setting_that_gives_them(cmd, radius):
    for number in range(10):
        cmd.pseudoatom("beads", pos=(4.5 * number, 0.5 * (number % 2), 0.0), resi=str(number), vdw=radius)
    with pytest.raises(ExtractError, match=f"no triangles; solvent_radius {radius} may help"):
        surface_at(cmd, "beads", 1)
    cmd.set("solvent_radius", radius, "beads")
    sphere = 4 / 3 * np.pi * radius**3
    assert 0.8 * 4.5 * 9 * np.pi * radius**2 < signed_volume(surface_at(cmd, "beads", 1)) < 10 * sphere


def test_part_of_an_object_is_a_closed_surface(peptide):
    surface = surface_at(peptide, "pep and resi 1-4", 1)
    edges = np.sort(surface.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).mean() > 0.999
    assert len(surface.atoms) == peptide.count_atoms("pep and resi 1-4")


def test_an_object_in_a_group_that_is_off_has_its_surface(peptide):
    before = surface_at(peptide, "pep", 1)
    peptide.group("hidden", "pep")
    peptide.disable("hidden")
    assert np.array_equal(surface_at(peptide, "pep", 1).points, before.points)


def test_ignored_atoms_are_left_out(peptide):
    peptide.flag("ignore", "pep and resi 9", "set")
    source = extract.read_source("pep", "1", _self=peptide)
    assert len(source.atoms) == peptide.count_atoms("pep and not resi 9")
    (surface,) = workers.compute_surfaces(source, 1)
    assert surface.points[:, 2].max() < surface_at(peptide, "pep and resi 1-8", 1).points[:, 2].max() + 1e-4


def test_the_display_matrix_is_left_out_and_moved_coordinates_are_not(peptide):
    plain = surface_at(peptide, "pep", 1)
    peptide.translate([10, 0, 0], object="pep", camera=0)
    peptide.rotate("y", 40, object="pep", camera=0)
    assert np.array_equal(surface_at(peptide, "pep", 1).points, plain.points)
    peptide.set_object_ttt("pep", [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
    peptide.translate([10, 0, 0], "pep", camera=0)
    moved = surface_at(peptide, "pep", 1).points
    assert abs(moved.mean(axis=0) - plain.points.mean(axis=0) - [10, 0, 0]).max() < 0.1


def test_state_matrices_are_part_of_the_motion(peptide):
    peptide.set("matrix_mode", 1)
    peptide.transform_object("pep", [1, 0, 0, 7, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], state=2)
    surface = surface_at(peptide, "pep", 2)
    # The scene moves the finished surface, here the atoms move: float32 rounds differently.
    assert_shown(peptide, surface, "pep", 2, within=2e-5)


def test_a_state_matrix_turns_as_pymol_does(peptide):
    x, y, z = coordinates(peptide, "pep", 2).T
    peptide.set("matrix_mode", 1)
    # A quarter of a turn about z, and 7 Å along x.
    peptide.transform_object("pep", [0, -1, 0, 7, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], state=2)
    np.testing.assert_allclose(surface_at(peptide, "pep", 2).atoms, np.stack([7 - y, x, z], 1), atol=1e-4)


def test_states_come_as_they_are_made_and_all_of_them(peptide):
    source = extract.read_source("pep", "1-5:2", _self=peptide)
    surfaces = {s.state: s for s in workers.compute_surfaces(source, 2)}
    assert sorted(surfaces) == [1, 3, 5]
    for state, surface in surfaces.items():
        assert np.allclose(surface.atoms, coordinates(peptide, "pep", state), atol=1e-6)


def test_the_text_route_gives_the_same_surface(peptide, monkeypatch):
    by_cache = surface_at(peptide, "pep", 3)
    ask = SurfaceWorker.ask

    def without_cache(self, method, params, arrays):
        return ask(self, method, {**params, "route": "idtf"} if method == "session" else params, arrays)

    monkeypatch.setattr(SurfaceWorker, "ask", without_cache)
    by_text = surface_at(peptide, "pep", 3)
    assert (by_cache.route, by_text.route) == ("cache", "idtf")
    assert len(by_text.faces) == len(by_cache.faces)
    distance, at = cKDTree(by_cache.points).query(by_text.points)
    assert distance.max() < 2e-6
    assert np.einsum("ij,ij->i", by_cache.normals[at], by_text.normals).min() > 0.99


def test_the_scene_is_untouched(peptide):
    peptide.select("mine", "resi 3")
    peptide.frame(2)
    before = (
        peptide.get_names("all"),
        peptide.get_view(),
        peptide.get_state(),
        peptide.get("cache_mode"),
        peptide.get("geometry_export_mode"),
        coordinates(peptide, "pep", 4).tolist(),
    )
    list(workers.compute_surfaces(extract.read_source("mine", "all", _self=peptide), 2))
    assert before == (
        peptide.get_names("all"),
        peptide.get_view(),
        peptide.get_state(),
        peptide.get("cache_mode"),
        peptide.get("geometry_export_mode"),
        coordinates(peptide, "pep", 4).tolist(),
    )


def test_surfaces_of_given_coordinates(peptide):
    source = extract.read_source("pep and resi 2-8", "1+3", _self=peptide)
    middle = (0.5 * (source.coordinates[1] + source.coordinates[3])).astype(np.float32)
    surfaces = {
        s.state: s for s in workers.compute_surfaces_at(source, [(2.0, middle), (1.0, source.coordinates[1])], 1)
    }
    assert np.array_equal(surfaces[1.0].points, surface_at(peptide, "pep and resi 2-8", 1).points)
    put(peptide, "pep and resi 2-8", 2, middle)
    # The same points; PyMOL may number them differently.
    expected = surface_at(peptide, "pep and resi 2-8", 2)
    assert len(surfaces[2.0].faces) == len(expected.faces)
    assert cKDTree(expected.points).query(surfaces[2.0].points)[0].max() < 1e-6


def test_unsorted_atoms_keep_their_coordinates(cmd):
    cmd.set("retain_order", 1)
    build_peptide(cmd, "sorted")
    lines = [line for line in cmd.get_pdbstr("sorted", 1).splitlines() if line.startswith(("ATOM", "HETATM"))]
    cmd.delete("all")
    cmd.read_pdbstr("\n".join(lines[::-1]), "pep")
    cmd.set("retain_order", 0)
    cmd.remove("resi 9")
    assert_shown(cmd, surface_at(cmd, "pep", 1), "pep", 1)


def test_stopping_early_leaves_no_process(peptide):
    source = extract.read_source("pep", "all", _self=peptide)
    crew = []
    start = SurfaceWorker.__init__

    def watched(self, *args):
        start(self, *args)
        crew.append(self.process)

    SurfaceWorker.__init__ = watched
    try:
        for _ in workers.compute_surfaces(source, 2):
            break
        assert list(workers.compute_surfaces(source, 2, cancelled=lambda: True)) == []
    finally:
        SurfaceWorker.__init__ = start
    assert len(crew) == 4
    assert all(process.poll() is not None for process in crew)


@pytest.mark.parametrize("count", [1, 2])
def test_one_worker_that_dies_is_replaced_and_no_state_is_lost(peptide, crew, count):
    source = extract.read_source("pep", "all", _self=peptide)
    surfaces = workers.compute_surfaces(source, count)
    states = [next(surfaces).state]
    crew[0].process.kill()
    states += [surface.state for surface in surfaces]
    assert sorted(states) == [float(state) for state in source.states]
    assert len(crew) == count + 1
    [line] = [line for line in source.warnings if "worker" in line]
    assert re.fullmatch(r"PyMOL's surface worker ended .* \(exit code -9\): .*; another one goes on", line), line


def test_a_second_worker_that_dies_is_an_error(peptide, monkeypatch):
    source = extract.read_source("pep", "all", _self=peptide)
    start = SurfaceWorker.__init__

    def doomed(self, *args):
        start(self, *args)
        self.process.kill()

    monkeypatch.setattr(SurfaceWorker, "__init__", doomed)
    with pytest.raises(ExtractError, match=r"ended before its first state \(exit code -9\)"):
        list(workers.compute_surfaces(source, 1))
    assert len([line for line in source.warnings if "another one goes on" in line]) == 1


def test_a_worker_that_closes_its_pipe_and_lives_on_is_ended(peptide, crew, monkeypatch, tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec 1>&- 0<&-\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(workers, "python_executable", lambda: str(program))
    monkeypatch.setattr(workers, "ENDING_SECONDS", 0.1)
    source = extract.read_source("pep", "all", _self=peptide)
    patience = time.monotonic() + PATIENCE
    with pytest.raises(ExtractError, match=r"ended before its first state \(exit code -9\)"):
        list(workers.compute_surfaces(source, 1, lambda: time.monotonic() > patience))
    assert all(worker.process.poll() is not None for worker in crew)


@pytest.mark.system
def test_an_error_of_reading_coordinates_ends_the_surfaces(peptide):
    source = replace(extract.read_source("pep", "1", _self=peptide), states=[1, 99])
    patience = time.monotonic() + PATIENCE
    with pytest.raises(KeyError, match="99"):
        list(workers.compute_surfaces(source, 1, lambda: time.monotonic() > patience))


def test_a_worker_that_is_stopped_is_named_once_and_goes_on(peptide, crew, capfd):
    source = extract.read_source("pep", "all", _self=peptide)

    def goes_on_once_named():
        if crew[0].stop_reported:
            os.kill(crew[0].process.pid, signal.SIGCONT)
        return False

    surfaces = workers.compute_surfaces(source, 1, goes_on_once_named)
    next(surfaces)
    pid = crew[0].process.pid
    os.kill(pid, signal.SIGSTOP)
    assert len(list(surfaces)) == len(source.states) - 1
    messages = [line for line in capfd.readouterr().out.splitlines() if "stopped" in line]
    assert messages == [
        f" dsr: PyMOL's surface worker {pid} is stopped by a signal or a debugger, and is waited for: "
        f"'kill -CONT {pid}' lets it go on, dsr_cancel ends the fit"
    ]


def refused(cmd, selection, states="all"):
    """The one line by which a selection is refused."""
    with pytest.raises((ExtractError, StatesError)) as error:
        extract.read_source(selection, states, _self=cmd)
    line = str(error.value)
    assert "\n" not in line and len(line) < 250
    return line


def test_bad_selections(peptide):
    peptide.fab("AC", "other")
    assert refused(peptide, "none") == "selection none: it holds no atoms"
    assert 'Invalid selection name "pepp"' in refused(peptide, "pepp")
    # The beginnings of words of PyMOL's selections: pepseq and chain.
    peptide.set_name("pep", "lone")
    for name in ("pep", "chai"):
        assert refused(peptide, name) == f'selection {name}: Invalid selection name "{name}" (there: lone, other)'
    peptide.set_name("lone", "pep")
    # PyMOL takes the name of a movie for the beginning of that of its atoms.
    peptide.load_cgo([0.0], "pep_dsr", 1)
    peptide.create("pep_dsr_atoms", "pep")
    peptide.set_title("pep_dsr_atoms", 1, selections.ATOMS_TITLE)
    assert refused(peptide, "pep_dsr") == (
        "selection pep_dsr: it is a cgo, which has no atoms; name a molecule, as pep"
    )
    peptide.delete("pep_dsr")
    assert refused(peptide, "pep_dsr") == (
        'selection pep_dsr: Invalid selection name "pep_dsr" (there: pep, other, pep_dsr_atoms)'
    )
    assert extract.read_source("oth", "1", _self=peptide).object == "other", "molecules may be abbreviated"
    assert extract.read_source("pep_dsr_atoms", "1", _self=peptide).object == "pep_dsr_atoms"
    peptide.delete("pep_dsr_atoms")
    assert "selection resi (" in refused(peptide, "resi (")
    assert "spans 2 objects (other, pep)" in refused(peptide, "all")


def test_an_unknown_name_is_refused_with_those_that_there_are(cmd):
    unknown = 'selection nope: Invalid selection name "nope"'
    assert refused(cmd, "nope") == f"{unknown} (there: none)"
    for number in range(1, 8):
        cmd.pseudoatom(f"m{number}")
    cmd.select("mine", "m1")
    cmd.load_cgo([0.0], "arrow", 1)
    names = "m1, m2, m3, m4, m5, m6, m7, mine"
    assert refused(cmd, "nope") == f"{unknown} (there: {names})"
    assert refused(cmd, "nope and name CA").endswith(f'"nope" (there: {names})')
    cmd.pseudoatom("m8")
    assert sum(name in refused(cmd, "nope").partition("there: ")[2] for name in [*names.split(", "), "m8"]) == 8
    assert refused(cmd, "nope").endswith(", ...)")


def families(cmd, selection, states="all"):
    sources = extract.read_sources(selection, states, _self=cmd)
    return [(source.object, source.states[-1], len(source.atoms)) for source in sources]


def test_a_word_of_pymols_selections_is_no_name_of_an_object(peptide):
    line = "selection b: no object is called b, which is a word of PyMOL's selections; give "
    for several in ("b", "pep+b"):
        with pytest.raises(ExtractError) as error:
            extract.read_sources(several, _self=peptide)
        assert str(error.value) == line + "a name that the scene has, as pep"
    # PyMOL gives an object another name than the one that was typed.
    peptide.fab("GG", "b")
    with pytest.raises(ExtractError) as error:
        extract.read_sources("pep+b", _self=peptide)
    assert str(error.value) == line + "b_"


def test_several_objects_are_one_source_each_in_the_order_written(peptide):
    build_peptide(peptide, "two", 4)
    build_peptide(peptide, "c-3", 5)
    atoms = peptide.count_atoms("pep")
    all_families = [("pep", 6, atoms), ("two", 4, atoms), ("c-3", 5, atoms)]
    assert families(peptide, "two+pep") == [all_families[1], all_families[0]]
    assert families(peptide, "c-3+two+pep") == all_families[::-1]
    # In a selection the scene's order counts.
    for selection in ("all", "polymer", "c-3 or two or pep", "two | pep | c-3", "pep two c-3", "pep + (two) + c-3"):
        assert families(peptide, selection) == all_families, selection
    alpha_carbons = peptide.count_atoms("pep and name CA")
    assert families(peptide, "(pep or two) and name CA", "1-4") == [
        ("pep", 4, alpha_carbons),
        ("two", 4, alpha_carbons),
    ]
    peptide.select("mine", "two and name CA")
    assert families(peptide, "mine+pep") == [("two", 4, alpha_carbons), ("pep", 6, atoms)]
    peptide.group("both", "two c-3")
    assert families(peptide, "both+pep") == [*all_families[1:], all_families[0]]
    assert families(peptide, "pep+both") == all_families
    peptide.set_name("c-3", "pep+two")
    assert families(peptide, "pep+two") == families(peptide, "%pep+two") == [("pep+two", 5, atoms)]
    assert families(peptide, "pep") == [all_families[0]]


def test_each_of_several_objects_can_be_read_again_by_its_own_selection(peptide):
    build_peptide(peptide, "two", 4)
    sources = extract.read_sources("name CA+CB", _self=peptide)
    assert [source.object for source in sources] == ["pep", "two"]
    for source in sources:
        same_source = extract.read_source(source.selection, _self=peptide)
        assert same_source.object == source.object and np.array_equal(same_source.atoms, source.atoms)


def test_the_atoms_of_a_movie_are_no_data_unless_they_are_named(peptide):
    peptide.create("pep_dsr_atoms", "pep")
    peptide.set_title("pep_dsr_atoms", 1, selections.ATOMS_TITLE)
    assert [name for name, *_ in families(peptide, "polymer")] == ["pep"]
    assert [name for name, *_ in families(peptide, "pep_dsr_atoms")] == ["pep_dsr_atoms"]


@pytest.mark.parametrize(
    "selection, states, message",
    [
        ("pep+pep", "all", "selection pep+pep: the object pep occurs twice; each object is one trajectory"),
        ("pep+%pep", "all", "the object pep occurs twice"),
        ("pep+nope", "all", 'selection nope: Invalid selection name "nope"'),
        ("pep+none", "all", "selection none: it holds no atoms"),
        ("pep+bare", "all", "selection bare: it holds no atoms"),
        ("two+pep", "1-6", "states 1-6: the object two has 4 states; 6 is past the end"),
        ("polymer", "1-6", "states 1-6: the object two has 4 states; 6 is past the end"),
        (
            "pep+two and name CA",
            "all",
            "Invalid selection name \"pep+two\" (there: pep, two, bare); join objects with 'or' in a selection",
        ),
    ],
)
def test_bad_lists_of_objects(peptide, selection, states, message):
    build_peptide(peptide, "two", 4)
    peptide.create("bare", "none")
    with pytest.raises((ExtractError, StatesError)) as error:
        extract.read_sources(selection, states, _self=peptide)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_states_before_the_wanted_ones_come_along_where_they_are(peptide):
    source = extract.read_source("pep", "1+4-5", before=True, _self=peptide)
    assert source.states == [1, 4, 5] and sorted(source.coordinates) == [1, 3, 4, 5]
    assert np.allclose(source.coordinates[3], coordinates(peptide, "pep", 3), atol=1e-6)
    peptide.create("pep", "pep", 1, 9)
    assert sorted(extract.read_source("pep", "9", before=True, _self=peptide).coordinates) == [9]


def test_smoothed_atoms_are_those_of_pymols_smooth(peptide):
    source = extract.read_source("pep", "all", _self=peptide)
    rng = np.random.default_rng(0)
    frames = np.stack([source.coordinates[s] for s in source.states])
    frames = (frames + rng.normal(0, 0.3, frames.shape)).astype("f4")
    smoothed = workers.smooth_coordinates(source, frames)
    for state, xyz in enumerate(frames, 1):
        put(peptide, "pep", state, xyz)
    peptide.smooth("pep")
    expected = np.stack([coordinates(peptide, "pep", state) for state in source.states])
    assert np.allclose(smoothed, expected, atol=1e-5)
    assert np.abs(smoothed - frames).max() > 0.1


def test_states_past_the_end(peptide):
    assert refused(peptide, "pep", "1-9") == "states 1-9: the object pep has 6 states; 9 is past the end"


def test_one_state_is_a_warning(peptide):
    assert "one state" in extract.read_source("pep", "3", _self=peptide).warnings[0]


@pytest.mark.parametrize("kind", [1, 2, 6])
def test_surface_types_without_triangles(peptide, kind):
    peptide.set("surface_type", kind)
    assert f"surface_type is {kind}" in refused(peptide, "pep")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_coordinates_that_are_no_numbers(peptide, value):
    xyz = coordinates(peptide, "pep", 4)
    xyz[7, 1] = value
    put(peptide, "pep", 4, xyz)
    identity: list[Any] = []
    peptide.iterate("index 8", "identity.append(ID)", space={"identity": identity})
    line = refused(peptide, "pep")
    assert line.startswith(f"state 4: atom id {identity[0]} ")
    assert str(value) in line


def test_atoms_that_some_states_lack(cmd):
    cmd.fab("AC", "one")
    cmd.fab("ACD", "mix")
    cmd.create("mix", "one", 1, 2)
    line = refused(cmd, "mix")
    assert line.startswith("state 2: ") and "selected atoms of mix are not in it" in line


def test_a_gap_in_the_states(peptide):
    peptide.create("pep", "pep", 1, 9)
    assert "state 7: pep has no coordinates there" in refused(peptide, "pep", "1-9")


@pytest.fixture(scope="module")
def extracted():
    """The source of three states of `pep`, and their surfaces, the last one first."""
    with pymol2.PyMOL() as session:
        session.cmd.feedback("disable", "all", "everything")
        build_peptide(session.cmd)
        source = extract.read_source("pep", "1-5:2", _self=session.cmd)
        return source, sorted(workers.compute_surfaces(source, 2), key=lambda surface: -surface.state)


def read_npz(path):
    """Arrays and the two texts of an .npz file."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    return arrays, {name: str(arrays.pop(name)) for name in ("format", "meta")}


def read_safetensors(path):
    """Arrays and the two texts of a safetensors file."""
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(path, "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 (no mapping)


@pytest.mark.parametrize(
    ("ending", "read", "format"),
    [(".safetensors", read_safetensors, "dsr-surfaces 2"), (".npz", read_npz, "dsr-surfaces 1")],
)
def test_a_surfaces_file_holds_the_surfaces_by_rising_state(extracted, tmp_path, ending, read, format):
    source, surfaces = extracted
    path = tmp_path / f"pep{ending}"
    surfaces_file.write(str(path), source, iter(surfaces))
    arrays, texts = read(path)
    assert texts["format"] == format
    meta = json.loads(texts["meta"])
    assert meta["object"] == "pep" and meta["settings"]["surface_quality"] == "0"
    assert meta["source"] == source.molecule().to_json()
    expected = {
        "states": np.array([1.0, 3.0, 5.0]),
        "point_counts": np.array([len(surface.points) for surface in surfaces[::-1]]),
        "face_counts": np.array([len(surface.faces) for surface in surfaces[::-1]]),
        "points": np.concatenate([surface.points for surface in surfaces[::-1]]),
        "normals": np.concatenate([surface.normals for surface in surfaces[::-1]]),
        "faces": np.concatenate([surface.faces for surface in surfaces[::-1]]),
        "atoms": np.stack([surface.atoms for surface in surfaces[::-1]]),
    }
    assert set(arrays) == set(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert list(tmp_path.iterdir()) == [path]


def test_the_first_tensor_of_a_safetensors_file_is_aligned(extracted, tmp_path):
    source, surfaces = extracted
    path = tmp_path / "pep.safetensors"
    surfaces_file.write(str(path), source, surfaces)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0 and header["states"]["data_offsets"] == [0, 24]
    assert np.frombuffer(data, "<f8", 3, 8 + length).tolist() == [1.0, 3.0, 5.0]


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_an_interrupted_write_leaves_the_file_that_was_there(extracted, tmp_path, ending):
    source, surfaces = extracted

    def interrupted():
        yield surfaces[0]
        raise ExtractError("the worker ended")

    path = tmp_path / f"pep{ending}"
    path.write_bytes(b"before")
    with pytest.raises(ExtractError):
        surfaces_file.write(str(path), source, interrupted())
    with pytest.raises(ValueError, match="there are no surfaces to write"):
        surfaces_file.write(str(path), source, [])
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("x.txt", "x.txt: it must end in .safetensors, .npz"),
        ("no/such/x.npz", "the folder .*/no/such does not exist"),
    ],
)
def test_a_surfaces_file_needs_an_ending_and_a_folder(tmp_path, path, message):
    with pytest.raises(ValueError, match=message):
        surfaces_file.check_path(str(tmp_path / path))
