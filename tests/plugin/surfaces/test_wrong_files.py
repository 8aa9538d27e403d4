"""Files that don't belong together, or that PyMOL can't read, are refused with one line and the way out."""

from __future__ import annotations

import shutil

import pytest

from pymol_dsr.__main__ import main
from pymol_dsr.surfaces import stream
from support.paths import CASES

DIPEPTIDE, HELIX = str(CASES / "dipeptide.pdb"), str(CASES / "helix.xtc")
MISMATCH = (
    f"pymol_dsr: {HELIX} has 140 atoms, {DIPEPTIDE} has 20: give the structure or topology of the same atoms, or write "
    "a trajectory of these atoms only"
)


def refused(words, tmp_path, capsys):
    """The one line by which the command line refuses files."""
    assert main([f"--out={tmp_path / 'out.npz'}", *words]) == 1
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("streamed", [True, False])
def test_a_trajectory_of_other_atoms_is_refused_with_both_counts(tmp_path, capsys, monkeypatch, streamed):
    # Without MDAnalysis PyMOL loads the trajectory whole.
    monkeypatch.setattr(stream, "can_stream", lambda path: streamed)
    assert refused([DIPEPTIDE, HELIX], tmp_path, capsys) == MISMATCH


def test_a_broken_trajectory_of_an_uncounted_format_names_the_topology(tmp_path, capsys):
    (tmp_path / "x.nc").write_bytes(b"no trajectory")
    line = refused([DIPEPTIDE, str(tmp_path / "x.nc")], tmp_path, capsys)
    assert line.startswith(f"pymol_dsr: {tmp_path}/x.nc: PyMOL can't load it on {DIPEPTIDE} (20 atoms): ")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("x.tng", "'gmx trjconv' (.tng)"),
        ("x.h5", "'mdconvert' (.h5)"),
        ("x.lammpstrj", "MDAnalysis"),
        ("x.xtc.gz", "unpack it"),
    ],
)
def test_a_trajectory_that_pymol_cannot_read_gets_a_way_to_convert_it(tmp_path, capsys, name, remedy):
    shutil.copy(HELIX, tmp_path / name)
    line = refused([DIPEPTIDE, str(tmp_path / name)], tmp_path, capsys)
    assert "read are .xtc .trr .dcd" in line and remedy in line


def test_a_topology_that_pymol_cannot_read_gets_a_way_to_convert_it(tmp_path, capsys):
    shutil.copy(HELIX, tmp_path / "x.tpr")
    line = refused([str(tmp_path / "x.tpr"), HELIX], tmp_path, capsys)
    assert "read are .pdb .ent" in line and line.endswith("'gmx editconf' (.tpr) or MDAnalysis")
