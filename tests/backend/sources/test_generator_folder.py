"""A folder of trajectories of many proteins, as ATLAS has it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from dsr_backend.cli.main import main
from dsr_backend.sources.generator import training
from dsr_backend.sources.generator.folder import INSTALL, protein_files, read_folder
from dsr_backend.sources.generator.model_file import from_bytes
from dsr_backend.sources.generator.rollout import sample_states

from pymol_dsr.shared.states import StatesError
from pymol_dsr.shared.values import ValueFault
from support.molecules import helix
from support.paths import ROOT

STATES = 12
# MDAnalysis warns of all that a file does not say, as the size of its box.
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


def write_run(folder, name, number, topology, trajectory, selection="protein"):
    """NAME/NAME.pdb and NAME/NAME_prod_R1_fit.xtc, as ATLAS names them, of a trajectory in another format."""
    mda = pytest.importorskip("MDAnalysis")
    universe = mda.Universe(str(topology), str(trajectory))
    atoms = universe.select_atoms(selection)
    inner = folder / name
    inner.mkdir(exist_ok=True)
    if number == 1:
        atoms.write(str(inner / f"{name}.pdb"), frames=universe.trajectory[:1])
        for unread in ("README.txt", f"{name}_bfactor.tsv", f"{name}_prod_R1.tpr"):
            (inner / unread).write_bytes(b"not read")
    with mda.Writer(str(inner / f"{name}_prod_R{number}_fit.xtc"), atoms.n_atoms) as writer:
        for frame in universe.trajectory:
            frame.dt, frame.time = 100.0, 100.0 * frame.frame
            writer.write(atoms)


@pytest.mark.system
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_generator_is_learned_from_a_folder_of_real_proteins_and_measured_on_one_that_it_has_not_seen(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(training, "MEASURED", (1, 4))
    monkeypatch.setattr(training, "STEPS_COMPARED", 8)
    datafiles = pytest.importorskip("MDAnalysisTests.datafiles")
    atlas = tmp_path / "atlas"
    atlas.mkdir()
    data = ROOT / "benchmarks" / "data"
    for name, molecule in (("1l2y_A", "trpcage"), ("1vii_A", "villin")):
        for number, temperature in enumerate((300, 450), 1):
            stem = f"{molecule}_{temperature}k"
            write_run(atlas, name, number, data / f"{stem}.pdb", data / f"{stem}.xtc")
    for number, path in enumerate((datafiles.DCD, datafiles.DCD2), 1):
        # A part of it: a baseline of all of its residues would take most of the time.
        write_run(atlas, "4ake_A", number, datafiles.PSF, path, "protein and resid 1-60")
    assert main(["learn", str(atlas), "--kind", "generator", "--budget", "2", "-o", str(tmp_path / "net.dsrm")]) == 0
    lines = capsys.readouterr().out
    assert "4ake_A: 198 steps in 2 trajectories of 60 residues; held out, to measure on" in lines
    assert "1l2y_A: " in lines and "in 2 trajectories of 20 residues\n" in lines
    saved = from_bytes((tmp_path / "net.dsrm").read_bytes())
    assert saved.picoseconds == pytest.approx(100.0) and saved.curve[-1].steps > 0
    drawn = sample_states(saved.generator(1), 4, lambda atoms: atoms, torch.Generator().manual_seed(0))
    alphas = drawn[:, :, 1]
    links = (alphas[:, 1:] - alphas[:, :-1]).norm(dim=-1)
    assert drawn.shape == (4, 35, 3, 3) and float(links.median()) == pytest.approx(3.8, abs=0.2)
