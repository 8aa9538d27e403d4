"""Atoms that get a surface: PyMOL's own rule for flags, hydrogens and atoms without coordinates."""

from __future__ import annotations

import pymol2
import pytest
from dsr_backend.surfaces import surfaces_file
from scipy.spatial import cKDTree

from pymol_dsr import __main__
from pymol_dsr.surfaces import extract, workers
from pymol_dsr.surfaces.remedies import FOR_TERMINALS
from pymol_dsr.surfaces.source import ExtractError
from support.paths import CASES
from support.scene import idtf_points

# The same surface from two exports: PyMOL's text has fewer digits.
SAME_POINT = 1e-4


@pytest.fixture
def cmd():
    with pymol2.PyMOL() as session:
        session.cmd.feedback("disable", "all", "everything")
        yield session.cmd


@pytest.mark.parametrize("mode", range(5))
@pytest.mark.parametrize("name", ["ligand.pdb", "complex.pdb", "small.cif"])
def test_the_surface_is_the_one_that_pymol_draws(cmd, name, mode):
    cmd.load(str(CASES / name), "mol")
    cmd.set("surface_mode", mode)
    source = extract.read_source("mol", "all", _self=cmd)
    cmd.show_as("surface", "mol")
    for surface in workers.compute_surfaces(source, 1):
        cmd.frame(int(surface.state))
        drawn = idtf_points(cmd)
        assert len(drawn) > 50
        assert cKDTree(surface.points).query(drawn)[0].max() < SAME_POINT
        assert cKDTree(drawn).query(surface.points)[0].max() < SAME_POINT


@pytest.mark.parametrize(("mode", "count"), [(0, 57), (1, 63), (2, 34), (3, 63), (4, 34)])
def test_each_surface_mode_has_its_atoms(cmd, mode, count):
    cmd.load(str(CASES / "complex.pdb"), "cpx")
    cmd.set("surface_mode", mode, "cpx")
    assert len(extract.read_source("cpx", "all", _self=cmd).atoms) == count


def test_atoms_left_out_by_flag_are_named_with_the_remedy(cmd):
    cmd.load(str(CASES / "complex.pdb"), "cpx")
    expected = "cpx: left out: 6 atoms flagged ignore (LIG); 'set surface_mode, 1, cpx' takes them along"
    assert extract.read_source("cpx", "all", _self=cmd).warnings == [expected]
    cmd.set("surface_mode", 1, "cpx")
    source = extract.read_source("cpx", "all", _self=cmd)
    assert source.warnings == [] and len(source.atoms) == 63


def test_a_selection_of_ignored_atoms_alone_has_a_surface(cmd):
    cmd.load(str(CASES / "complex.pdb"), "cpx")
    source = extract.read_source("cpx and resn LIG", "1", _self=cmd)
    assert len(source.atoms) == 6 and source.warnings == ["cpx has one state to fit: the field will not move"]


def test_atoms_that_no_wanted_state_has_go_silently(cmd):
    cmd.load(str(CASES / "small.cif"), "small")
    source = extract.read_source("small", "all", _self=cmd)
    assert len(source.atoms) == 24 and source.warnings == []


def test_atoms_that_some_states_lack_are_refused_with_a_remedy_that_works(cmd):
    cmd.load(str(CASES / "complex.pdb"), "cpx")
    cmd.create("mix", "cpx", 1, 1)
    cmd.create("mix", "cpx and not name CB", 2, 2)
    lacking = cmd.count_atoms("mix and name CB")
    with pytest.raises(ExtractError) as error:
        extract.read_source("mix", "all", _self=cmd)
    line = str(error.value)
    assert line.startswith(f"state 2: {lacking} of the 57 selected atoms of mix are not in it")
    assert line.endswith("leave that state out, or add 'and state 2' to the selection")
    assert len(extract.read_source("mix and state 2", "all", _self=cmd).atoms) == 57 - lacking


def test_hydrogens_alone_have_no_surface_without_hydrogens(cmd):
    cmd.load(str(CASES / "complex.pdb"), "cpx")
    cmd.set("surface_mode", 2)
    with pytest.raises(ExtractError, match="all 29 atoms are hydrogens, which surface_mode 2 leaves out"):
        extract.read_source("cpx and hydro", "all", _self=cmd)


def test_hydrogens_that_a_surface_mode_leaves_out_are_named(cmd):
    cmd.load(str(CASES / "complex.pdb"), "cpx")
    cmd.set("surface_mode", 2, "cpx")
    [line] = extract.read_source("cpx", "all", _self=cmd).warnings
    assert line.startswith("cpx: left out: 29 atoms that are hydrogens, as surface_mode is 2 (")
    assert line.endswith("'set surface_mode, 1, cpx' takes them along")


def solvated(cmd):
    """The complex with three waters that are no HETATM, as files of GROMACS and AMBER have them; its name."""
    water = "ATOM  {:5d} {:<4} SOL W{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00           {}"
    sites = (("OW", 0.0, 0.0, "O"), ("HW1", 0.96, 0.0, "H"), ("HW2", -0.24, 0.93, "H"))
    lines = [line for line in (CASES / "complex.pdb").read_text().splitlines() if line.startswith(("ATOM", "HETATM"))]
    lines = lines[:63]
    for number in range(3):
        for name, x, y, element in sites:
            lines.append(water.format(len(lines) + 1, name, 900 + number, 20 + 4 * number + x, y, 0.0, element))
    cmd.read_pdbstr("\n".join(lines), "wet")
    return "wet"


ONE_STATE = "wet has one state to fit: the field will not move"


def test_solvent_that_is_taken_along_is_said_with_the_remedy(cmd):
    wet = solvated(cmd)
    left_out, solvent, one_state = extract.read_source(wet, "all", _self=cmd).warnings
    assert left_out.startswith("wet: left out: 6 atoms flagged ignore (LIG); ") and one_state == ONE_STATE
    assert solvent == "wet: 9 of 66 atoms are solvent (SOL); to leave it out, add 'and polymer' to the selection"
    assert len(extract.read_source(f"{wet} and polymer", "all", _self=cmd).atoms) == 57
    assert extract.read_source(f"{wet} and polymer", "all", _self=cmd).warnings == [ONE_STATE]


def test_solvent_alone_is_wanted(cmd):
    wet = solvated(cmd)
    source = extract.read_source(f"{wet} and solvent", "all", _self=cmd)
    assert len(source.atoms) == 9 and source.warnings == [ONE_STATE]


def test_the_command_line_says_it_in_its_own_words(cmd):
    solvated(cmd)
    left_out, solvent, _ = extract.read_source("all", "all", remedies=FOR_TERMINALS["options"], _self=cmd).warnings
    assert left_out.endswith("; '--set surface_mode=1' takes them along")
    assert solvent.endswith("; to leave it out, give '--selection \"polymer\"'")


def test_the_command_line_sets_settings_of_the_surface(tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    assert __main__.main([str(CASES / "complex.pdb"), f"--out={out}", "--set=surface_mode=1", "--states=1"]) == 0
    assert surfaces_file.read_surfaces_file(out)[0][0].atom_count == 63
    assert "left out" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "stick_radius=1",
            "--set stick_radius=1: the settings that shape a surface are surface_quality, surface_type, ",
        ),
        ("surface_mode", "--set surface_mode: write it as KEY=VALUE"),
        ("solvent_radius=wide", "--set solvent_radius=wide: PyMOL takes no value 'wide' for solvent_radius"),
    ],
)
def test_settings_that_are_none_are_refused(tmp_path, capsys, text, message):
    assert __main__.main([str(CASES / "complex.pdb"), f"--out={tmp_path / 'x.npz'}", f"--set={text}"]) == 1
    assert message in capsys.readouterr().err
