"""Molecules that the user renames, copies or deletes after a fit was made from them."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.commands.color import dsr_color
from pymol_dsr.commands.evaluate import dsr_eval
from pymol_dsr.commands.files import dsr_load, dsr_save
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.manage import dsr_status
from pymol_dsr.commands.measure import dsr_measure
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.fits.fit import Trajectory
from pymol_dsr.fits.interrupted import Interrupted, request_of
from pymol_dsr.fits.request import AskedFit, FitRequest
from pymol_dsr.scene import placement
from pymol_dsr.scene.atoms import atom_colors, present_selection
from pymol_dsr.scene.molecules import claim_molecule, generated_name, present_name
from pymol_dsr.session import session_of
from pymol_dsr.shared.messages import InterruptedFit
from pymol_dsr.shared.options import FitOptions, StartOptions
from pymol_dsr.sources.atoms import read_states
from pymol_dsr.sources.loader import GeneratedObjects, StatePlace
from pymol_dsr.surfaces.extract import read_sources
from pymol_dsr.surfaces.source import ExtractError
from support.scene import build_peptide
from support.session import ready, refused


@pytest.fixture
def trajectory(plugin):
    """The trajectory of a fit of `pep` that is known to the scene."""
    [known] = ready(plugin, "fit", "").trajectories
    session_of(plugin).molecules.follow(plugin)
    return known


def follow(cmd, trajectory) -> str:
    """Return the name of the molecule after a command."""
    dsr_status(_self=cmd)
    return trajectory.object


def test_a_renamed_molecule_is_followed(plugin, trajectory):
    plugin.set_name("pep", "other")
    assert follow(plugin, trajectory) == "other"
    plugin.set_name("other", "pep+two")
    assert follow(plugin, trajectory) == "pep+two"
    plugin.set_name("pep+two", "third")
    assert follow(plugin, trajectory) == "third"
    # Another one has the first name now, and a copy the tag.
    build_peptide(plugin, "pep", 1)
    plugin.copy("same", "third")
    assert follow(plugin, trajectory) == "third"
    assert plugin.get("mesh_clear_selection", "pep") == ""


def test_a_copy_is_not_taken_for_the_molecule_and_parts_have_no_tag(plugin, trajectory):
    plugin.copy("same", "pep")
    plugin.create("part", "pep and resi 2-4")
    assert follow(plugin, trajectory) == "pep"
    assert plugin.get("mesh_clear_selection", "part") == ""
    plugin.delete("pep")
    assert follow(plugin, trajectory) == "same"
    plugin.delete("same")
    assert follow(plugin, trajectory) == "same"
    # Loaded again, it has the name that it had at first.
    build_peptide(plugin)
    assert follow(plugin, trajectory) == "pep"


def test_a_molecule_is_followed_through_a_session_file(plugin, trajectory, tmp_path):
    plugin.set_name("pep", "other")
    plugin.save(str(tmp_path / "scene.pse"))
    plugin.reinitialize()
    assert follow(plugin, trajectory) == "pep", "nothing is there"
    plugin.load(str(tmp_path / "scene.pse"))
    assert follow(plugin, trajectory) == "other"


def test_the_surface_of_a_tagged_molecule_is_what_it_was(plugin):
    [before] = read_sources("pep", _self=plugin)
    plugin.show("mesh", "pep")
    claim_molecule("fit", "pep", plugin)
    [after] = read_sources("pep", _self=plugin)
    assert after.settings == before.settings
    assert plugin.count_atoms("rep mesh") == plugin.count_atoms("pep")


def test_a_text_of_the_user_in_the_setting_of_the_tag_stays(plugin):
    plugin.set("mesh_clear_selection", "resi 3", "pep")
    claim_molecule("fit", "pep", plugin)
    assert plugin.get("mesh_clear_selection", "pep") == "resi 3"
    assert present_name("fit", "pep", plugin) == "pep"


def test_the_selection_of_fitted_atoms_is_by_index_where_they_are_known(plugin):
    trajectory = Trajectory("", "pep", "sele", np.array([4, 5, 6]), [1.0])
    assert present_selection(trajectory, plugin) == "%pep and index 5-7"
    plugin.set_name("pep", "other")
    trajectory.object = "other"
    assert present_selection(trajectory, plugin) == "%other and index 5-7"
    trajectory.atoms = None
    assert present_selection(trajectory, plugin) == "sele"


def test_a_new_fit_of_another_molecule_takes_the_name_over(plugin, trajectory):
    plugin.set_name("pep", "other")
    build_peptide(plugin, "pep", 2)
    claim_molecule("fit", "pep", plugin)
    assert present_name("fit", "pep", plugin) == "pep"


def test_generated_states_come_to_a_molecule_that_was_renamed_meanwhile(plugin):
    atoms = read_states("pep", "all", plugin)
    objects = GeneratedObjects("pep", atoms.indices, [StatePlace("next", 1)], plugin)
    plugin.set_name("pep", "other")
    plugin.translate([5, 0, 0], object="other", camera=0)
    objects.finish(atoms.coordinates[:1], ["a state"])
    assert placement.object_ttt("next", plugin) == placement.object_ttt("other", plugin) != placement.IDENTITY
    assert "other" not in plugin.get_names("objects", enabled_only=1)
    session_of(plugin).sources.provenance.put("next", {"kind": "continue", "method": "hold"})
    plugin.set_name("next", "after")
    assert generated_name("after", plugin) == "next"
    origin = {"kind": "continue", "method": "hold"}
    assert session_of(plugin).sources.provenance.get("after", plugin) == origin
    assert vars(plugin.get_session()["session"])["dsr_sources"] == {"after": origin}


def test_an_interrupted_fit_goes_on_with_the_renamed_molecule(plugin):
    [source] = read_sources("pep and resi 2-4", "1-3", _self=plugin)
    sources = FitRequest([source], FitOptions(), StartOptions()).record()
    asked_fit = AskedFit(sources.states, sources.coordinates, FitOptions().to_json())
    record = InterruptedFit(1, source=source.molecule().to_json(), asked=asked_fit.to_json())
    claim_molecule("fit", "pep", plugin)
    plugin.set_name("pep", "other")
    request = request_of(Interrupted("fit", record), lambda name: present_name("fit", name, plugin), plugin)
    [renamed] = request.sources
    assert renamed.object == "other" and (renamed.atoms == source.atoms).all()
    plugin.delete("other")
    with pytest.raises(ExtractError, match="its object pep is not in the scene"):
        request_of(Interrupted("fit", record), lambda name: present_name("fit", name, plugin), plugin)


@pytest.mark.system
def test_all_that_needs_the_molecule_finds_the_renamed_one(backend, capsys, tmp_path):
    cmd = backend
    dsr_fit("pep and polymer", "1-4", name="fit", preset="preview", watch=0, _self=cmd)
    fit = session_of(cmd).jobs.fits["fit"]
    [trajectory] = fit.trajectories
    dsr_movie("fit", "1-3", _self=cmd)
    cmd.set_name("pep", "other")
    cmd.color("yellow", "other")
    cmd.translate([5, 0, 0], object="other", camera=0)
    dsr_color("fit", quiet=0, _self=cmd)
    assert "coloured like the atoms" in capsys.readouterr().out
    dsr_color("fit", "b", _self=cmd)
    assert session_of(cmd).movies.objects_at("other", cmd) == ["fit"]
    scores = dsr_eval("fit", "1-2", _self=cmd)
    assert len(scores) == 2 and min(score.iou for score in scores) > 0.7
    dsr_movie("fit", "1-2:0.5", object="between", _self=cmd)
    # PyMOL 2.5 has no get_object_ttt; the atoms lie where the surface does.
    assert placement.object_ttt("between_atoms", cmd) == placement.object_ttt("other", cmd) != placement.IDENTITY
    assert cmd.count_atoms("between_atoms") == cmd.count_atoms("other")
    colors, _ = atom_colors(trajectory, cmd)
    assert colors is not None and (colors[0] == [1, 1, 0]).all()
    dsr_save("fit", str(tmp_path / "fit.dsr"), _self=cmd)
    dsr_load(str(tmp_path / "fit.dsr"), _self=cmd)
    assert "is not in the scene" not in capsys.readouterr().out
    assert session_of(cmd).jobs.fits["fit"].trajectories[0].object == "other"
    cmd.delete("other")
    assert refused(cmd, dsr_eval, "fit") == "fit: the object other is not in the scene; load it to compare with"
    cmd.reinitialize()
    assert "the object other is not in the scene" in refused(cmd, dsr_eval, "fit")
    build_peptide(cmd)
    dsr_movie("fit", "1-2", _self=cmd)
    assert "one colour is used" not in capsys.readouterr().out


@pytest.mark.system
def test_a_fit_of_a_named_selection_is_compared_when_the_selection_is_another_or_gone(backend):
    backend.select("sele", "pep and resi 2-6")
    name = dsr_fit("sele", "1-3", preset="preview", _self=backend)
    before = dsr_eval(name, "2", _self=backend)
    backend.select("sele", "pep and resi 1-2")
    after = [dsr_eval(name, "2", _self=backend)]
    backend.delete("sele")
    after.append(dsr_eval(name, "2", _self=backend))
    assert [row.iou for scores in after for row in scores] == pytest.approx([row.iou for row in before] * 2)
    backend.remove("pep and resi 6")
    assert "pep is not in the scene as it was fitted (it has" in refused(backend, dsr_eval, name, "2")


@pytest.mark.system
def test_a_comparison_leaves_out_states_without_coordinates_and_says_so(backend, capfd):
    backend.feedback("enable", "all", "errors")
    backend.create("hole", "pep", 1, 1)
    backend.create("hole", "pep", 3, 4)
    name = dsr_fit("hole", "1+4", preset="preview", _self=backend)
    rows = dsr_eval(name, baselines="none", _self=backend)
    assert [row.state for row in rows] == [1, 4]
    output = "".join(capfd.readouterr())
    assert f" {name}: states 2+3 of hole have no coordinates, and are left out\n" in output
    assert "invalid state" not in output
    assert "state 2: hole has no coordinates there" in refused(backend, dsr_eval, name, "1-4")


@pytest.mark.system
def test_a_comparison_says_which_surface_settings_are_others(backend, capsys):
    name = dsr_fit("pep and resi 2-6", "1-3", preset="preview", _self=backend)
    dsr_eval(name, "2", _self=backend)
    assert "warning" not in capsys.readouterr().out
    before = backend.get("solvent_radius", "pep")
    backend.set("solvent_radius", 2.5)
    dsr_eval(name, "2", _self=backend)
    lines = [text for text in capsys.readouterr().out.splitlines() if "warning" in text]
    assert lines == [
        f" {name}: warning: PyMOL's surfaces have solvent_radius 2.50000, and the fitted ones had {before}; to compare "
        f"like with like, 'set solvent_radius, {before}, pep'"
    ]


@pytest.mark.system
def test_measures_are_those_of_the_fitted_atoms_after_hydrogens_were_removed(backend, capsys):
    name = dsr_fit("pep and resi 2-8 and not hydro", "1-3", preset="preview", _self=backend)

    def areas() -> list[float | None]:
        measured = dsr_measure(name, "1-3", selection="resi 6", plot=0, _self=backend)
        return [row.selection_area for row in measured.rows]

    before = areas()
    backend.remove("hydro")
    assert areas() == before
    capsys.readouterr()
    backend.remove("resi 7")
    dsr_measure(name, "1-3", plot=0, _self=backend)
    assert "until then it has no measures of residues" in capsys.readouterr().out
    assert "selection resi 6: pep is not in the scene as" in refused(backend, dsr_measure, name, selection="resi 6")


def test_a_molecule_that_is_fitted_anew_under_its_old_name_takes_the_tag_of_the_one_before(plugin):
    claim_molecule("fit", "pep", plugin)
    plugin.set_name("pep", "before")
    build_peptide(plugin)
    claim_molecule("fit", "pep", plugin)
    plugin.set_name("pep", "renamed")
    assert present_name("fit", "pep", plugin) == "renamed"
