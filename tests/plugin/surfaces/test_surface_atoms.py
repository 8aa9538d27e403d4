"""Atoms that get a surface: PyMOL's own rule for flags, hydrogens and atoms without coordinates."""

from __future__ import annotations

import pymol2
import pytest
from scipy.spatial import cKDTree

from pymol_dsr.surfaces import extract, workers
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
    source = extract.read_source("cpx and resn LIG", "all", _self=cmd)
    assert len(source.atoms) == 6 and source.warnings == []


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
