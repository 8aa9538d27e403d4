"""Files that don't belong together, or that PyMOL can't read, are refused with one line and the way out."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from dsr_backend.surfaces import from_pymol

from pymol_dsr import __main__
from pymol_dsr.__main__ import main
from pymol_dsr.surfaces import trajectory_file
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
    monkeypatch.setattr(__main__, "can_stream", lambda path: streamed)
    assert refused([DIPEPTIDE, HELIX], tmp_path, capsys) == MISMATCH


@pytest.mark.parametrize("streamed", [True, False])
def test_a_broken_trajectory_is_refused_with_its_name_and_a_way_out(tmp_path, capsys, monkeypatch, streamed):
    monkeypatch.setattr(__main__, "can_stream", lambda path: streamed)
    monkeypatch.setattr(trajectory_file, "can_stream", lambda path: streamed)
    (tmp_path / "x.nc").write_bytes(b"no trajectory")
    line = refused([DIPEPTIDE, str(tmp_path / "x.nc")], tmp_path, capsys)
    reason = "x.nc can't be read as .nc: " if streamed else f"x.nc: PyMOL can't load it on {DIPEPTIDE} (20 atoms): "
    assert line.startswith(f"pymol_dsr: {tmp_path}/{reason}")
    assert line.endswith("; see that it is whole, or convert it to .xtc")


@pytest.mark.parametrize("ending", ["pdb", "xyz"])
def test_a_structure_as_a_trajectory_is_counted_too(tmp_path, capsys, ending):
    lines = {
        "pdb": "ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00  0.00           C\nEND\n",
        "xyz": "1\none\nC 1.0 2.0 3.0\n",
    }
    path = tmp_path / f"one.{ending}"
    path.write_text(lines[ending])
    assert refused([DIPEPTIDE, str(path)], tmp_path, capsys).startswith(
        f"pymol_dsr: {path} has 1 atoms, {DIPEPTIDE} has 20: "
    )


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("x.g96", "'gmx trjconv' (.g96)"),
        ("x.h5", "'mdconvert' (.h5)"),
        ("x.gsd", "MDAnalysis"),
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


def test_a_packed_structure_that_pymol_does_not_unpack_is_refused(tmp_path, capsys):
    shutil.copy(HELIX, tmp_path / "x.gro.gz")
    line = refused([str(tmp_path / "x.gro.gz")], tmp_path, capsys)
    assert line.startswith(f"pymol_dsr: {tmp_path}/x.gro.gz: PyMOL does not unpack .gro, but .pdb .ent ")
    assert line.endswith("; unpack it yourself")


@pytest.mark.parametrize("name", ["x.gro", "x.psf", "x.prmtop", "x.rst7", "x.mol2"])
def test_a_structure_in_which_pymol_reads_nothing_is_refused_with_its_name(tmp_path, capsys, name):
    (tmp_path / name).write_text("no molecule\n" * 5)
    line = refused([str(tmp_path / name)], tmp_path, capsys)
    assert line.startswith(f"pymol_dsr: {tmp_path / name}: PyMOL ") and "see that it is whole" in line
    line = refused([str(tmp_path / name), HELIX], tmp_path, capsys)
    assert line.startswith(f"pymol_dsr: {tmp_path / name}: PyMOL ")


def test_a_file_that_crashes_pymol_is_named(tmp_path):
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    with pytest.raises(ValueError, match=rf"{files.PSF_notop}: PyMOL crashed on it \(signal 11\)"):
        from_pymol.make_surfaces(
            sys.executable, [Path(files.PSF_notop)], tmp_path / "out.npz", from_pymol.SurfaceRequest()
        )
