"""dsr-backend learn: a potential or a generator from the proteins of a list."""

from __future__ import annotations

import os

import numpy as np
import pytest
from dsr_backend.cli.main import main
from dsr_backend.sources.generator import model_file as generator_file
from dsr_backend.sources.potential.model_file import from_bytes

from support.learn_ranks_script import backbones
from support.mdcath import pdb_line, write_domain
from support.molecules import write_backbones

pytestmark = pytest.mark.system


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A list of two proteins: one in mdCATH's layout, and one whose PDB file has 120 states."""
    write_domain(tmp_path, "1abcA00")
    rng = np.random.default_rng(1)
    straight = np.cumsum(np.tile([2.2, 2.2, 2.2], (6, 1)), 0)
    with open(tmp_path / "run.pdb", "w") as file:
        for model in range(1, 121):
            states = straight + rng.normal(0, 0.05, straight.shape)
            lines = [pdb_line(1 + r, "CA", "ALA", 1 + r, xyz) for r, xyz in enumerate(states)]
            file.write("\n".join([f"MODEL     {model:4d}", *lines, "ENDMDL", ""]))
    (tmp_path / "list.csv").write_text("name,input,states\ndomain,mdcath_dataset_1abcA00.h5,\nrun,run.pdb,11-120\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_potential_is_learned_from_a_list_and_goes_on(folder, capsys):
    arguments = ["learn", "list.csv", "--temperature", "320", "--calibrate", "0", "--budget", "1", "-o", "broad.dsrm"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out
    assert "domain: 120 frames of 5 beads; the force map lowers the rms force from" in lines
    assert "run: 110 frames of 6 beads; without forces" in lines and "broad.dsrm: written" in lines
    potential, _ = from_bytes((folder / "broad.dsrm").read_bytes())
    assert [protein.name for protein in potential.proteins] == ["domain", "run"]
    assert potential.temperature == 320 and potential.network.width == 48

    assert main([*arguments, "--resume"]) == 0
    assert "goes on with the potential of" in capsys.readouterr().out


def test_a_generator_is_learned_from_a_list_and_goes_on(folder, capsys):
    write_backbones(folder / "chain.pdb", backbones(500))
    (folder / "list.csv").write_text("name,input,states\nchain,chain.pdb,11-500\n")
    arguments = ["learn", "list.csv", "--kind", "generator", "--budget", "0.1", "-o", "net.dsrm"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out
    assert "chain: 489 steps in 1 trajectory of 5 residues" in lines and "net.dsrm: written" in lines
    assert main([*arguments, "--resume"]) == 0
    assert "of them before" in capsys.readouterr().out
    restored = generator_file.from_bytes((folder / "net.dsrm").read_bytes())
    # A PDB file does not say how far apart its states are.
    assert restored.picoseconds is None and restored.proteins[0].residues == ("ALA",) * 5


@pytest.mark.parametrize(
    "words, message",
    [
        ("--temperature 300", "--temperature is for a potential: leave it out, or --kind generator"),
        ("--states 1-10", "--states goes with a folder; a list has a column for it"),
        ("--preset huge", "--preset huge: choose one of small, large"),
        ("--resume", "there is no generator x to go on with"),
    ],
)
def test_bad_words_for_a_generator_are_one_line(folder, capsys, words, message):
    (folder / "list.csv").write_text("name,input\nrun,chain.pdb\n")
    write_backbones(folder / "chain.pdb", backbones(420))
    assert main(["learn", "list.csv", "--kind", "generator", "-o", "x.dsrm", *words.split()]) == 2
    output = capsys.readouterr()
    assert output.out == "" and message in output.err.splitlines()[-1]


def test_a_generator_does_not_learn_from_forces(folder, capsys):
    assert main(["learn", "list.csv", "--kind", "generator", "-o", "x.dsrm"]) == 2
    assert "a generator learns from a topology and a trajectory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, words, message",
    [
        ("name,input\na,none.h5\n", "", "list.csv, line 2: none.h5: there is no such file"),
        ("name,input,states\na,run.pdb,5-1\n", "", "line 2: states 5-1: the range runs backwards"),
        ("name,input,trajectory\na,mdcath_dataset_1abcA00.h5,run.pdb\n", "", "go with a topology only"),
        ("name,input\na,run.pdb\n", "--preset huge", "--preset huge: choose one of small, large"),
        ("name,input\na,run.pdb\n", "--forces 1", "none are known of a"),
        ("name,input\na,mdcath_dataset_1abcA00.h5\n", "", "no 300 K, but 320, 450: give --temperature"),
        ("name,input\na,run.pdb\n", "--resume", "x.dsrm: there is no such file"),
        ("input\nrun.pdb\n", "", "its first line must name columns of name, input, trajectory, states"),
    ],
)
def test_bad_input_is_one_line_and_code_2(folder, capsys, text, words, message):
    (folder / "list.csv").write_text(text)
    before = sorted(os.listdir(folder))
    assert main(["learn", "list.csv", "-o", "x.dsrm", *words.split()]) == 2
    output = capsys.readouterr()
    assert output.out == "" and message in output.err.splitlines()[-1]
    assert sorted(os.listdir(folder)) == before
