"""Discrete objects: conformers in one file are fitted as they are, states of other molecules are named."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import safe_open
from scipy.spatial import cKDTree

from pymol_dsr.__main__ import main
from pymol_dsr.commands.evaluate import dsr_eval
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.surfaces import extract, workers
from pymol_dsr.surfaces.remedies import FOR_TERMINALS
from pymol_dsr.surfaces.source import ExtractError
from support.paths import CASES
from support.scene import coordinates, idtf_points

SAME_POINT = 1e-4


@pytest.fixture
def conformers(cmd):
    """`cfm`: four conformers of 22 atoms in one .sdf file, whose names are their elements."""
    cmd.load(str(CASES / "conformers.sdf"), "cfm")
    assert cmd.count_discrete("cfm") == 1 and cmd.count_atoms("cfm") == 88
    return cmd


def ensemble(cmd, *sequences):
    """`ens`: a discrete object with one peptide a state."""
    for state, sequence in enumerate(sequences, 1):
        cmd.fab(sequence, "one")
        cmd.alter_state(1, "one", f"x += {0.2 * state} * y * y / 10")
        cmd.create("ens", "one", 1, state, discrete=1)
        cmd.delete("one")
    assert cmd.count_discrete("ens") == 1


@pytest.mark.parametrize("states", ["all", "2-4"])
@pytest.mark.parametrize("selection", ["cfm", "cfm and not elem H", "cfm and state 3"])
def test_the_surface_of_a_conformer_is_the_one_that_pymol_draws(conformers, selection, states):
    source = extract.read_source(selection, states, _self=conformers)
    assert len(source.atoms) == (9 if "elem" in selection else 22)
    if "elem" in selection:
        conformers.remove("elem H")
    conformers.show_as("surface", "cfm")
    for surface in workers.compute_surfaces(source, 1):
        conformers.frame(int(surface.state))
        drawn = idtf_points(conformers)
        assert len(drawn) > 50
        assert cKDTree(surface.points).query(drawn)[0].max() < SAME_POINT
        assert cKDTree(drawn).query(surface.points)[0].max() < SAME_POINT


def test_atoms_named_by_their_indices_are_those_of_all_states(conformers):
    """As dsr_resume names them."""
    all_atoms = extract.read_source("cfm", "2-4", _self=conformers)
    by_index = extract.read_source("%cfm and index 1-22", "2-4", _self=conformers)
    assert all_atoms.atoms.tolist() == by_index.atoms.tolist() == list(range(22))
    for state in (2, 3, 4):
        np.testing.assert_array_equal(all_atoms.coordinates[state], by_index.coordinates[state])


@pytest.mark.parametrize("ending", ["sdf", "mol2"])
def test_conformers_in_a_file_are_read_by_the_command_line(conformers, ending, tmp_path):
    path, target = tmp_path / f"many.{ending}", tmp_path / "many.safetensors"
    conformers.save(str(path), "cfm", state=0)
    assert main([str(path), "--out", str(target), "--workers", "1"]) == 0
    with safe_open(target, "numpy") as file:
        assert file.get_tensor("atoms").shape == (4, 22, 3)


def test_an_ensemble_with_discrete_1_has_the_atoms_of_each_state(cmd):
    ensemble(cmd, "ACDE", "ACDE", "ACDE")
    source = extract.read_source("ens and polymer", "all", _self=cmd)
    for state in (1, 2, 3):
        np.testing.assert_array_equal(source.coordinates[state], coordinates(cmd, "ens", state).astype("f4"))


def test_states_of_other_molecules_are_named_with_those_that_go_together(cmd):
    ensemble(cmd, "ACDE", "ACDF", "ACDE")
    with pytest.raises(ExtractError, match=r"^state 2: ens has other atoms there than in state 1") as error:
        extract.read_source("ens", "all", _self=cmd)
    assert str(error.value).endswith("; give states=1+3 for those with the atoms of 1")
    assert extract.read_source("ens", "1+3", _self=cmd).states == [1, 3]
    with pytest.raises(ExtractError, match="give '--states 1\\+3'"):
        extract.read_source("ens", "all", remedies=FOR_TERMINALS["options"], _self=cmd)
    with pytest.raises(ExtractError, match="load each of its molecules as an object of its own"):
        extract.read_source("ens", "1-2", _self=cmd)
    # The atoms that both molecules have make a surface.
    assert extract.read_source("ens and resi 1-3", "all", _self=cmd).states == [1, 2, 3]


def test_isomers_whose_names_are_elements_are_told_apart_by_their_bonds(conformers):
    conformers.unbond("cfm and state 2 and id 1", "cfm and state 2 and id 2")
    conformers.bond("cfm and state 2 and id 1", "cfm and state 2 and id 5")
    with pytest.raises(ExtractError, match=r"^state 2: cfm has other atoms there than in state 1 .*; give states=1"):
        extract.read_source("cfm", "all", _self=conformers)


@pytest.mark.system
def test_conformers_are_fitted_shown_and_scored(backend):
    backend.load(str(CASES / "conformers.sdf"), "cfm")
    name = dsr_fit("cfm", "2-4", preset="preview", budget="2", _self=backend)
    dsr_movie(name, "2-4:0.5", resolution=1.0, movie=0, steady=0, _self=backend)
    for frame, state in ((1, 2), (3, 3), (5, 4)):
        atoms = coordinates(backend, f"{name}_atoms", frame)
        np.testing.assert_allclose(atoms, coordinates(backend, "cfm", state), atol=2e-3)
    rows = dsr_eval(name, "2-4", baselines="none", _self=backend)
    assert [row.state for row in rows] == [2, 3, 4] and min(row.iou for row in rows) > 0.9
