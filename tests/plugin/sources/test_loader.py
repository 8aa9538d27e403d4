"""Generated states as objects of the scene: atoms, colours, titles, provenance, in a real PyMOL."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.scene import cgo
from pymol_dsr.scene.objects import SceneError
from pymol_dsr.session import session_of
from pymol_dsr.shared.values import JsonObject
from pymol_dsr.sources.atoms import read_states
from pymol_dsr.sources.loader import GeneratedObjects, GivenState, StatePlace, check_generated_names
from pymol_dsr.sources.provenance import describe, read_provenance
from pymol_dsr.surfaces.extract import read_sources
from pymol_dsr.surfaces.selections import generated_states
from support.scene import coordinates

PROVENANCE: JsonObject = {"kind": "continue", "method": "hold", "seed": 0}


def load(cmd, selection="pep", name="pep_next", count=3):
    atoms = read_states(selection, "all", cmd)
    objects = GeneratedObjects(atoms.object, atoms.indices, [StatePlace(name, k + 1) for k in range(count)], cmd)
    new = np.stack([atoms.coordinates[-1] + np.float32(k + 1) for k in range(count)])
    objects.add(0, new[:1])
    objects.finish(new, [f"state {k + 7}" for k in range(count)])
    session_of(cmd).sources.provenance.put(name, PROVENANCE)
    return atoms, new


def test_generated_states_are_an_object_with_all_atoms_orange_carbons_and_titles(plugin):
    atoms, new = load(plugin, "pep and resi 2-4")
    assert plugin.count_states("pep_next") == 3
    assert plugin.count_atoms("pep_next") == len(atoms)
    # PyMOL may have sorted them anew.
    copied = read_states("pep_next", "all", plugin)
    order = [copied.atom_keys().index(key) for key in atoms.atom_keys()]
    assert np.abs(copied.coordinates[:, order] - new).max() < 1e-5
    colors: set[int] = set()
    plugin.iterate("pep_next and elem C", "colors.add(color)", space={"colors": colors})
    assert colors == {plugin.get_color_index("orange")}
    assert plugin.get_title("pep_next", 2) == "dsr generated: state 8"
    assert len(plugin.get_bonds("pep_next", 1)) == len(atoms.molecule.bonds)
    assert "pep" not in plugin.get_names("objects", enabled_only=1)


@pytest.mark.parametrize("change", ["delete pep_next_02", "reinitialize"])
def test_an_object_that_is_deleted_while_its_states_come_does_not_come_back(plugin, change):
    atoms = read_states("pep", "all", plugin)
    places = [StatePlace(f"pep_next_{replica:02d}", state) for state in (1, 2) for replica in (1, 2)]
    objects = GeneratedObjects("pep", atoms.indices, places, plugin)
    objects.add(0, atoms.coordinates[:2])
    plugin.do(change)
    with pytest.raises(SceneError, match="was deleted or renamed while its states came"):
        objects.add(2, atoms.coordinates[2:4])
    assert "pep_next_02" not in plugin.get_names("all")


@pytest.mark.parametrize(("frame", "movie", "in_view"), [(6, "", 1), (2, "", 2), (6, "1 -6", 6)])
def test_fewer_states_than_the_one_in_view_are_shown_from_the_first(plugin, frame, movie, in_view):
    if movie:
        plugin.mset(movie)
    plugin.frame(frame)
    load(plugin)
    assert plugin.get_state() == in_view


def test_given_states_stand_among_generated_ones_without_the_mark(plugin):
    atoms = read_states("pep", "1+6", plugin)
    anchors = [GivenState(StatePlace("way", 1), atoms.coordinates[0], "state 1 of pep")]
    objects = GeneratedObjects("pep", atoms.indices, [StatePlace("way", 3)], plugin, anchors)
    objects.finish(atoms.coordinates[1:], ["between"])
    assert plugin.get_title("way", 1) == "state 1 of pep"
    assert generated_states("way", plugin) == [3]
    assert (coordinates(plugin, "way", 1) == atoms.coordinates[0]).all()


def test_the_mark_survives_copies_names_and_session_files(plugin, tmp_path):
    load(plugin)
    plugin.create("copy", "pep_next and name CA")
    plugin.save(str(tmp_path / "scene.pse"))
    session_of(plugin).sources.provenance.put("pep_next", {})
    plugin.delete("all")
    plugin.load(str(tmp_path / "scene.pse"))
    assert generated_states("pep_next", plugin) == generated_states("copy", plugin) == [1, 2, 3]
    provenance = session_of(plugin).sources.provenance
    assert provenance.get("pep_next", plugin) == PROVENANCE
    assert describe(provenance.get("pep_next", plugin) or {}) == "continue by hold"
    assert describe(provenance.get("copy", plugin) or {}) == "state 7"
    assert provenance.get("pep", plugin) is None


@pytest.mark.parametrize(
    "value", [[], {"a": 1}, {"a": {"b": {1, 2}}}, {"a": {"b": "c" * 2_000_000}}, {k: {} for k in map(str, range(2000))}]
)
def test_provenance_of_a_hostile_session_file_is_refused(value):
    with pytest.raises(ValueError, match=r"table|JSON|characters"):
        read_provenance(value)


def test_only_what_a_source_has_made_is_replaced(plugin):
    load(plugin, count=3)
    load(plugin, count=2)
    assert plugin.count_states("pep_next") == 2
    with pytest.raises(SceneError, match="the name pep is taken by a molecule"):
        check_generated_names(["pep"], plugin)
    plugin.pseudoatom("pep_fill")
    with pytest.raises(SceneError, match="pep_fill"):
        load(plugin, name="pep_fill")
    # A group of surfaces that dsr_occupancy has made; PyMOL takes its name for the beginning of that of a molecule.
    plugin.load_cgo(cgo.NOTHING, "pep_n_50", 1)
    plugin.group("pep_n", "pep_n_50")
    with pytest.raises(SceneError, match="the name pep_n is taken by a group; give another one with name="):
        check_generated_names(["pep_n"], plugin)


def test_fewer_replicas_replace_those_of_an_earlier_run_and_nothing_else_of_their_group(plugin):
    atoms = read_states("pep", "1", plugin)

    def load_replicas(count):
        names = [f"pep_next_{number:02d}" for number in range(1, count + 1)]
        places = [StatePlace(name, 1) for name in names]
        objects = GeneratedObjects("pep", atoms.indices, places, plugin, group="pep_next")
        objects.finish(np.repeat(atoms.coordinates, count, axis=0), ["continue by hold"] * count)

    load_replicas(3)
    plugin.create("pep_next_7", "pep")
    plugin.load_cgo(cgo.NOTHING, "arrow", 1)
    plugin.group("pep_next", "arrow")
    load_replicas(2)
    names = ["arrow", "pep", "pep_next", "pep_next_01", "pep_next_02", "pep_next_7"]
    assert sorted(plugin.get_names("objects")) == names
    # A run without replicas takes the name of their group.
    load(plugin)
    assert sorted(plugin.get_names("objects")) == ["arrow", "pep", "pep_next", "pep_next_7"]


def test_a_fit_knows_the_origin_of_its_states(plugin):
    load(plugin)
    noted = session_of(plugin).sources.provenance.noted
    [source] = read_sources("pep_next", "1+3", _self=plugin)
    assert noted(source, plugin).molecule().provenance == {"generated": "1+3", **PROVENANCE}
    [true] = read_sources("pep", _self=plugin)
    assert noted(true, plugin).molecule().to_json().get("provenance") is None


def test_generated_atoms_are_no_data_unless_they_are_named(plugin):
    load(plugin)
    assert [source.object for source in read_sources("all", _self=plugin)] == ["pep"]
    assert [source.object for source in read_sources("pep+pep_next", _self=plugin)] == ["pep", "pep_next"]


def test_the_cost_of_simulated_states_is_that_of_their_run(plugin):
    load(plugin, name="one")
    provenance = session_of(plugin).sources.provenance
    assert provenance.simulation_seconds("one", plugin) is None
    run: JsonObject = {"kind": "simulate", "cpu_seconds": 12.0, "generated_states": 6, "platform": "CPU"}
    provenance.put("one", run)
    # One of two replicas.
    assert provenance.simulation_seconds("one", plugin) == pytest.approx(6.0)
    for change in ({"platform": "CUDA"}, {"resumed": True}, {"cpu_seconds": "12"}, {"generated_states": 0}):
        provenance.put("one", {**run, **change})
        assert provenance.simulation_seconds("one", plugin) is None, change
    assert provenance.simulation_seconds("pep", plugin) is None
