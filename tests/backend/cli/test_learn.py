"""dsr-backend learn: a potential from the proteins of a list."""

from __future__ import annotations

import os

import numpy as np
import pytest
from dsr_backend.cli.main import main
from dsr_backend.sources.potential.model_file import from_bytes

from support.mdcath import pdb_line, write_domain

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
