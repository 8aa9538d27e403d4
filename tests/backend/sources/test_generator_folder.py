"""A folder of trajectories of many proteins, as ATLAS has it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from dsr_backend.sources.generator.folder import INSTALL, protein_files, read_folder

from pymol_dsr.shared.states import StatesError
from pymol_dsr.shared.values import ValueFault
from support.molecules import helix

STATES = 12
# Of what a file does not say, as of the size of its box.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def write_protein(folder, name, residues, runs=2, picoseconds=10.0):
    """NAME/NAME.pdb of N, CA and C of glycines and a water, with NAME_R1.xtc and so on; the states f4[S,A,3]."""
    mda = pytest.importorskip("MDAnalysis")
    atoms = 3 * residues + 1
    universe = mda.Universe.empty(
        atoms,
        residues + 1,
        1,
        atom_resindex=np.minimum(np.arange(atoms) // 3, residues),
        residue_segindex=[0] * (residues + 1),
    )
    universe.add_TopologyAttr("names", ["N", "CA", "C"] * residues + ["O"])
    universe.add_TopologyAttr("resnames", ["GLY"] * residues + ["HOH"])
    universe.add_TopologyAttr("resids", list(range(1, residues + 2)))
    universe.add_TopologyAttr("segids", ["A"])
    rng = np.random.default_rng(residues)
    body = np.concatenate([helix(residues), [[30.0, 0.0, 0.0]]])
    coordinates = (body + 0.1 * rng.normal(size=(runs, STATES, atoms, 3))).astype(np.float32)
    universe.load_new(coordinates[0], dt=picoseconds)
    (folder / name).mkdir()
    universe.atoms.write(str(folder / name / f"{name}.pdb"), frames=universe.trajectory[:1])
    for number, run in enumerate(coordinates, 1):
        universe.load_new(run, dt=picoseconds)
        universe.atoms.write(str(folder / name / f"{name}_R{number}.xtc"), frames="all")
    return coordinates


def read(folder, states="all"):
    return read_folder(folder, states, lambda: None, lambda fraction, name: None)


def test_proteins_are_read_with_all_runs_and_one_of_five_is_held_out(tmp_path):
    written = {name: write_protein(tmp_path, name, 5 + k) for k, name in enumerate(("1abc_A", "2abc_A", "3abc_A"))}
    proteins, spacing = read(tmp_path, "2-12:2")
    assert [(protein.name, len(protein.residues), protein.unseen) for protein in proteins] == [
        ("1abc_A", 5, False),
        ("2abc_A", 6, False),
        ("3abc_A", 7, True),
    ]
    assert (spacing.stride, spacing.picoseconds) == (2.0, pytest.approx(20.0))
    assert proteins[0].residues == ("GLY",) * 5 and proteins[0].chains == (0,) * 5
    for run, coordinates in zip(proteins[1].runs, written["2abc_A"], strict=True):
        # An .xtc has positions to 0.01 Å.
        assert run == pytest.approx(coordinates[1::2, :18].reshape(6, 6, 3, 3), abs=0.011)


def test_states_and_times_that_do_not_fit_are_refused(tmp_path):
    write_protein(tmp_path, "1abc_A", 5)
    with pytest.raises(ValueFault, match=r"1abc_A_R1.xtc must be equally far apart, as 1-1000:10"):
        read(tmp_path, "1-4+9-12")
    with pytest.raises(StatesError, match="12"):
        read(tmp_path, "1-13")
    write_protein(tmp_path, "2abc_A", 5, picoseconds=100.0)
    with pytest.raises(ValueFault, match=r"1abc_A_R1.xtc are 10 ps apart, and those of 2abc_A: 2abc_A_R1.xtc 100 ps"):
        read(tmp_path)


def test_a_folder_of_another_layout_is_refused(tmp_path):
    with pytest.raises(ValueFault, match="no such folder"):
        protein_files(tmp_path / "nothing")
    (tmp_path / "1abc_A").mkdir()
    (tmp_path / "1abc_A" / "1abc_A.pdb").write_text("")
    with pytest.raises(ValueFault, match=r"layout NAME/NAME.pdb with NAME/NAME"):
        protein_files(tmp_path)


def test_without_mdanalysis_a_line_says_how_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "1abc_A").mkdir()
    for name in ("1abc_A.pdb", "1abc_A_R1.xtc"):
        (tmp_path / "1abc_A" / name).write_text("")
    monkeypatch.setitem(sys.modules, "MDAnalysis", None)
    with pytest.raises(ValueFault) as fault:
        read(tmp_path)
    assert INSTALL in str(fault.value) and "\n" not in str(fault.value)


def test_a_file_that_is_none_is_one_line(tmp_path):
    write_protein(tmp_path, "1abc_A", 5)
    (tmp_path / "1abc_A" / "1abc_A_R2.xtc").write_bytes(b"no trajectory" * 20)
    with pytest.raises(ValueFault, match=r"1abc_A_R2.xtc with 1abc_A.pdb can't be read"):
        read(tmp_path)
