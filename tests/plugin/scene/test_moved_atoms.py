"""A molecule that was moved or changed after its fit, in a real PyMOL with a real backend."""

from __future__ import annotations

import pytest

from pymol_dsr.commands.evaluate import dsr_eval
from pymol_dsr.commands.files import dsr_export
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.levels import dsr_levels
from pymol_dsr.commands.measure import dsr_measure
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.scene.moved_atoms import moved_line, spread_states
from support.paths import CASES


def warnings(output):
    return [line for line in output.splitlines() if "warning" in line]


@pytest.mark.system
def test_maps_levels_and_files_of_a_molecule_that_was_moved_since_its_fit_say_so(backend, capsys, tmp_path):
    cmd = backend
    name = dsr_fit("pep", "1-5:2", preset="preview", _self=cmd)
    commands = (
        lambda: dsr_movie(name, "1-5", as_="map", object="maps", resolution=1.5, _self=cmd),
        lambda: dsr_levels(name, "3", "0 1", resolution=1.5, _self=cmd),
        lambda: dsr_export(name, str(tmp_path / "pep.ply"), states="3", resolution=1.5, _self=cmd),
    )
    capsys.readouterr()
    for command in commands:
        command()
    assert not warnings(capsys.readouterr().out), "nothing has changed"
    cmd.translate([20, 0, 0], "pep", state=3, camera=0)
    for command in commands:
        command()
        [line] = warnings(capsys.readouterr().out)
        assert line.startswith(f" {name}: warning: state 3 of pep lies 20.0 A (RMSD) from where it was fitted")


@pytest.mark.system
def test_molecules_that_were_made_whole_may_be_any_images_in_their_box_but_not_elsewhere(backend, capsys, tmp_path):
    cmd = backend
    for file in ("whole", "wrapped"):
        cmd.load(str(CASES / f"{file}.pdb"), "brk")
    name = dsr_fit("brk", "2-5", unwrap=1, preset="preview", _self=cmd)

    def exported_with(*lines):
        for line in lines:
            cmd.do(line)
        capsys.readouterr()
        dsr_export(name, str(tmp_path / "brk.ply"), states="3", resolution=1.5, _self=cmd)
        return warnings(capsys.readouterr().out)

    assert exported_with() == [], "the box cuts the molecule in the scene"
    assert exported_with("pbc_unwrap brk, bymol=0") == [], "whole, as it was fitted"
    [line] = exported_with("translate [7, 0, 0], brk, state=3, camera=0")
    assert line.startswith(f" {name}: warning: state 3 of brk lies 7.0 A (RMSD) from where it was fitted")
    assert exported_with("translate [23, 0, 0], brk, state=3, camera=0") == [], "the next box has the same"
    assert exported_with("delete brk") == [], "nothing is there to compare with"


@pytest.mark.system
def test_scores_and_movies_of_a_molecule_that_changed_since_its_fit_say_so(backend, capsys):
    cmd = backend
    name = dsr_fit("pep", "1-5:2", preset="preview", _self=cmd)
    capsys.readouterr()
    dsr_movie(name, "1-5", _self=cmd)
    dsr_movie(name, "1-5:0.5", _self=cmd)
    # A display matrix moves molecule and surface alike.
    cmd.translate([0, 30, 0], object="pep", camera=0)
    dsr_eval(name, "1+2", baselines="none", _self=cmd)
    dsr_measure(name, "1", resolution=1.5, _self=cmd)
    assert not warnings(capsys.readouterr().out), "nothing has changed"

    cmd.translate([20, 0, 0], "pep", state=3, camera=0)
    dsr_movie(name, "1-5", _self=cmd)
    dsr_movie(name, "1-5:2", _self=cmd)
    line = "state 3 of pep lies 20.0 A (RMSD) from where it was fitted; load the molecule as it was, or fit it anew"
    assert warnings(capsys.readouterr().out) == 2 * [f" {name}: warning: {line} with dsr_fit"]
    # Less than what averaging over time moves the atoms by.
    cmd.translate([-19, 0, 0], "pep", state=3, camera=0)
    dsr_movie(name, "1-5:0.5", _self=cmd)
    assert "state 3 of pep lies 1.0 A (RMSD)" in capsys.readouterr().out
    cmd.translate([19, 0, 0], "pep", state=3, camera=0)
    cmd.alter("all", "vdw = 3")
    dsr_eval(name, "3", baselines="none", _self=cmd)
    radii, places = warnings(capsys.readouterr().out)
    assert "van der Waals radii of 3.000 A on average, and the fitted ones had 1.4" in radii
    assert line in places
    dsr_measure(name, "3", resolution=1.5, _self=cmd)
    assert warnings(capsys.readouterr().out) == [radii], "they say which residue a point of the surface belongs to"


@pytest.mark.system
def test_a_surface_between_trajectories_of_unlike_molecules_says_so(backend, capsys):
    cmd = backend
    for name, sequence in (("long", "AGAAC"), ("serine", "AGS"), ("again", "AGS"), ("cysteine", "AGC")):
        cmd.fab(sequence, name)
    fit = dsr_fit("long+serine+again+cysteine", name="fam", preset="preview", _self=cmd)
    counts = [cmd.count_atoms(name) for name in ("long", "serine")]

    def between(first, second):
        capsys.readouterr()
        dsr_levels(fit, "1", "0", resolution=2.0, trajectory=first, towards=second, _self=cmd)
        return warnings(capsys.readouterr().out)

    assert between("serine", "again") == []
    [line] = between("long", "serine")
    assert line.startswith(
        f" fam: warning: long and serine have {counts[0]} and {counts[1]} atoms, which do not corresp"
    )
    [line] = between("serine", "cysteine")
    assert "serine and cysteine are not of the same elements in the same order" in line


def test_the_farthest_state_is_named_and_the_others_are_counted():
    assert moved_line("pep", {1: 0.01, 3: 0.02}) == ""
    line = moved_line("pep", {1: 0.5, 3: 2.25, 5: 1.0, 7: 0.0})
    assert line.startswith("state 3 of pep lies 2.2 A (RMSD) from where it was fitted, and 2 other states moved, too;")


def test_states_are_spread_from_the_first_to_the_last():
    assert spread_states([1.0, 2.0, 2.5, 4.0, 6.0, 9.0], 3) == [1, 4, 9]
    assert spread_states([5.0], 3) == [5] and spread_states([], 3) == []
