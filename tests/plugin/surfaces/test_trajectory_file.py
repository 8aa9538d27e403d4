"""Trajectories in formats that PyMOL has no reader of: MDAnalysis reads them, and leaves nothing beside the file."""

from __future__ import annotations

import bz2
import importlib.util
import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pymol2
import pytest
from dsr_backend.surfaces import surfaces_file
from pymol import importing

from pymol_dsr import __main__
from pymol_dsr.shared import molecule_files
from pymol_dsr.surfaces import stream, trajectory_file
from pymol_dsr.surfaces.source import ExtractError
from pymol_dsr.surfaces.trajectory_file import TrajectoryFile
from support.paths import ROOT
from support.scene import coordinates

files = pytest.importorskip("MDAnalysisTests.datafiles")
mda = pytest.importorskip("MDAnalysis")
libdcd = pytest.importorskip("MDAnalysis.lib.formats.libdcd")

# MDAnalysis warns of much that these files lack.
pytestmark = pytest.mark.filterwarnings("ignore:::MDAnalysis")

VILLIN = ROOT / "benchmarks" / "data" / "villin_300k"
PDB, XTC = f"{VILLIN}.pdb", f"{VILLIN}.xtc"
RESIDUES = "resid 42-47"
STATES = (3, 1, 2)


@pytest.fixture
def cmd():
    session = pymol2.PyMOL()
    session.start()
    session.cmd.feedback("disable", "all", "everything")
    yield session.cmd
    session.stop()


@pytest.fixture(scope="module")
def peptide(tmp_path_factory):
    """Six residues of villin, peptide.pdb, and three states of them, f4[3,A,3] in Å."""
    folder = tmp_path_factory.mktemp("peptide")
    atoms = mda.Universe(PDB).select_atoms(RESIDUES)
    atoms.write(folder / "peptide.pdb")
    villin = TrajectoryFile(XTC)
    return folder / "peptide.pdb", np.array([villin.read(state)[atoms.indices] for state in (21, 22, 23)])


def write_h5md(path, atoms, xyz):
    """As MDAnalysis writes it: a unit and a table of times."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        particles = file.create_group("particles/trajectory")
        file.create_group("h5md").attrs["version"] = [1, 1]
        particles.create_group("box").attrs.update({"dimension": 3, "boundary": ["none"] * 3})
        position = particles.create_group("position")
        position["value"], position["step"], position["time"] = xyz / 10.0, np.arange(len(xyz)), np.arange(len(xyz))
        position["value"].attrs["unit"] = "nm"
        position["time"].attrs["unit"] = "ps"


def write_lammps(path, atoms, xyz):
    """Atoms in another order than their numbers, as LAMMPS leaves them."""
    with open(path, "w") as file:
        for step, frame in enumerate(xyz):
            file.write(f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(frame)}\nITEM: BOX BOUNDS pp pp pp\n")
            file.write("0 90\n0 90\n0 90\nITEM: ATOMS id type x y z\n")
            for number in reversed(range(len(frame))):
                file.write("{} 1 {:.4f} {:.4f} {:.4f}\n".format(number + 1, *frame[number]))


def write_gro(path, atoms, xyz):
    """Without the last line break, with which PyMOL does not read the last frame."""
    frames = []
    for step, frame in enumerate(xyz):
        lines = [f"step {step}", f"{len(frame):5d}"]
        for number, (atom, position) in enumerate(zip(atoms, frame / 10.0, strict=True), 1):
            lines.append(
                "{:5d}{:<5}{:>5}{:5d}{:8.3f}{:8.3f}{:8.3f}".format(
                    atom.resid, atom.resname, atom.name, number, *position
                )
            )
        frames.append("\n".join([*lines, "   9.00000   9.00000   9.00000"]))
    path.write_text("\n".join(frames))


def write_trc(path, atoms, xyz):
    with open(path, "w") as file:
        file.write("TITLE\n  three states\nEND\n")
        for step, frame in enumerate(xyz):
            file.write(f"TIMESTEP\n{step:15d}{float(step):15.9f}\nEND\nPOSITIONRED\n")
            file.writelines("{:15.9f}{:15.9f}{:15.9f}\n".format(*position) for position in frame / 10.0)
            file.write("END\nGENBOX\n 0\n" + 4 * "    0.000000000    0.000000000    0.000000000\n" + "END\n")


def write_netcdf(path, atoms, xyz):
    atoms.universe.load_new(xyz)
    with mda.Writer(str(path), format="NCDF", n_atoms=len(atoms)) as writer:
        for _ in atoms.universe.trajectory:
            writer.write(atoms)


WRITERS = {
    "ncdf": write_netcdf,
    "h5md": write_h5md,
    "lammpstrj": write_lammps,
    "dump": write_lammps,
    "trc": write_trc,
    "gro": write_gro,
}


@pytest.fixture
def written(peptide, tmp_path):
    """A function that writes the three states with an ending; their path."""

    def write(ending: str) -> str:
        path = tmp_path / f"states.{ending}"
        WRITERS[ending](path, mda.Universe(peptide[0]).atoms, peptide[1])
        return str(path)

    return write


@pytest.mark.parametrize("ending", WRITERS)
def test_surfaces_are_of_the_positions_in_the_file(written, peptide, tmp_path, ending, capsys):
    path, out = written(ending), tmp_path / "out" / "a.safetensors"
    out.parent.mkdir()
    before = sorted(os.listdir(tmp_path))
    assert __main__.main([str(peptide[0]), path, f"--out={out}", "--workers=1", "--states=1+3"]) == 0
    surfaces, _ = surfaces_file.read_surfaces_file(out)
    assert [surface.state for surface in surfaces] == [1, 3]
    for surface in surfaces:
        # PyMOL sorts the atoms, so they are compared as a cloud.
        assert surface.atoms is not None
        expected = peptide[1][int(surface.state) - 1]
        distances = np.linalg.norm(surface.atoms[:, None] - expected[None], axis=2).min(axis=1)
        assert len(surface.atoms) == len(expected) and distances.max() < 0.02
    assert sorted(os.listdir(tmp_path)) == before
    assert "warning" not in capsys.readouterr().err


def test_every_ending_that_pymol_does_not_read_has_its_reader_and_pymol_has_none():
    assert {f".{ending}" for ending in molecule_files.OTHER_TRAJECTORIES} < set(trajectory_file.READERS)
    for ending in set(molecule_files.OTHER_TRAJECTORIES) - {"gro"}:
        assert importing.filename_to_format(f"x.{ending}")[0] not in importing.loadfunctions
    assert set(WRITERS) | {"tng", "lammpsdump"} == set(molecule_files.OTHER_TRAJECTORIES)


def test_h5md_of_gromacs_positions_are_those_that_pymol_reads_in_its_trr(cmd, tmp_path):
    pytest.importorskip("h5py")
    path = shutil.copy(files.H5MD_xvf, tmp_path)
    cmd.set("retain_order", 1)
    stream.load(files.PDB_xvf, files.TRR_xvf, "m", cmd, whole=True)
    file = TrajectoryFile(path)
    for state in STATES:
        assert np.abs(file.read(state)[:500] - coordinates(cmd, "index 1-500", state)).max() < 0.02
    assert os.listdir(tmp_path) == ["cobrotoxin.h5md"]


def test_tng_positions_are_those_of_the_same_trajectory_as_dcd(tmp_path):
    pytest.importorskip("pytng")
    file = TrajectoryFile(shutil.copy(files.COORDINATES_TNG, tmp_path))
    dcd_file = TrajectoryFile(files.COORDINATES_DCD)
    assert len(file) == len(dcd_file) == 5 and os.listdir(tmp_path) == ["test.tng"]
    for state in STATES:
        assert np.abs(dcd_file.read(state)).max() > 10
        assert np.abs(file.read(state) - dcd_file.read(state)).max() < 0.02


@pytest.mark.parametrize("written", [lambda degrees: degrees, lambda degrees: np.cos(np.radians(degrees))])
def test_the_cell_of_a_dcd_file_may_have_angles_in_degrees_or_cosines(tmp_path, written):
    """In the order of CHARMM: A, γ, B, β, α, C."""
    lengths, (alpha, beta, gamma) = np.array([30.0, 40.0, 50.0]), (70.0, 80.0, 100.0)
    path = str(tmp_path / "cell.dcd")
    with libdcd.DCDFile(path, "w") as file:
        file.write_header("", 2, 0, 1, 1.0, 1)
        numbers = [lengths[0], written(gamma), lengths[1], written(beta), written(alpha), lengths[2]]
        file.write(np.zeros((2, 3), np.float32), np.array(numbers))
    trajectory = TrajectoryFile(path)
    trajectory.read(1)
    edges = trajectory.cell()
    assert edges is not None
    np.testing.assert_allclose(np.linalg.norm(edges, axis=1), lengths, rtol=1e-5)
    cosines = (edges / lengths[:, None]) @ (edges / lengths[:, None]).T
    for first, second, angle in ((1, 2, alpha), (0, 2, beta), (0, 1, gamma)):
        assert np.degrees(np.arccos(cosines[first, second])) == pytest.approx(angle, abs=1e-3)


def test_lammps_box_coordinates_become_angstrom(tmp_path):
    path = tmp_path / "wat.lammpstrj"
    path.write_bytes(bz2.decompress(Path(files.LAMMPSDUMP).read_bytes()))
    # Atom 1 is at 0.25, 0.25, 0.241936 of a box of 6.2 Å.
    assert np.abs(TrajectoryFile(str(path)).read(1)[0] - [1.55, 1.55, 1.5]).max() < 1e-3


def test_a_gro_file_of_several_frames_is_read_whole_as_a_structure_too(written, tmp_path):
    path, out = Path(written("gro")), tmp_path / "out.safetensors"
    path.write_text(path.read_text() + "\n")
    assert __main__.main([str(path), f"--out={out}", "--workers=1"]) == 0
    assert [surface.state for surface in surfaces_file.read_surfaces_file(out)[0]] == [1, 2, 3]


def test_a_frame_that_pymol_leaves_out_is_said(written, tmp_path, capsys):
    path = written("gro")
    assert __main__.main([path, f"--out={tmp_path / 'out.safetensors'}"]) == 1
    assert capsys.readouterr().err == (
        f"pymol_dsr: {path} has 3 frames, of which PyMOL reads 2; end its last line with a line break\n"
    )


@pytest.mark.parametrize("ending", ["ncdf", "lammpstrj", "gro"])
def test_another_number_of_atoms_is_refused_with_both_files_and_counts(written, peptide, cmd, ending):
    path = written(ending)
    with pytest.raises(ExtractError) as error:
        stream.load(PDB, path, "m", cmd)
    assert str(error.value).startswith(f"{path} has {peptide[1].shape[1]} atoms, {PDB} has 572: ")


def test_a_file_that_is_not_what_its_ending_says_is_refused_with_its_name(peptide, cmd, tmp_path):
    for ending in molecule_files.OTHER_TRAJECTORIES:
        path = tmp_path / f"x.{ending}"
        path.write_bytes(b"no trajectory\n" * 9)
        if trajectory_file.missing_package(str(path)):
            continue
        with pytest.raises(ExtractError, match=rf"x\.{ending} can't be read as \.{ending}: ") as error:
            stream.load(str(peptide[0]), str(path), f"m_{ending}", cmd)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("ending, package", [("tng", "pytng"), ("h5md", "h5py"), ("ncdf", "MDAnalysis")])
def test_without_its_package_the_line_says_what_to_install_and_to_convert(
    monkeypatch, peptide, tmp_path, capsys, ending, package
):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    path = tmp_path / f"x.{ending}"
    path.write_bytes(b"x")
    assert __main__.main([str(peptide[0]), str(path), f"--out={tmp_path / 'out.npz'}"]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"pymol_dsr: {path}: PyMOL can't load it on {peptide[0]} (") and f"needs {package}: " in line
    assert 'pip install "pymol-dsr[formats]"' in line and "convert it to .xtc" in line


def test_a_trajectory_that_pymol_takes_and_does_not_read_is_refused(peptide, cmd, tmp_path, monkeypatch):
    """PyMOL's load_traj of a .gro file says nothing and changes nothing; its other formats may do so, too."""
    path = tmp_path / "states.gro"
    write_gro(path, mda.Universe(peptide[0]).atoms, peptide[1])
    monkeypatch.setattr(molecule_files, "PYMOL_TRAJECTORIES", (*molecule_files.PYMOL_TRAJECTORIES, "gro"))
    with pytest.raises(ExtractError, match="PyMOL reads nothing of it"):
        stream.load(str(peptide[0]), str(path), "m", cmd, whole=True)


@pytest.mark.parametrize("ending", ["mdcrd", "crd", "trj"])
def test_a_text_of_amber_with_its_box_is_read_right(peptide, tmp_path, ending, capsys, monkeypatch):
    """PyMOL takes the line with the box for the first atom of the next state, without a word."""
    path, out = tmp_path / f"states.{ending}", tmp_path / "a.safetensors"
    xyz = peptide[1]
    with open(path, "w") as file:
        file.write("three states\n")
        for frame in xyz:
            numbers = [f"{x:8.3f}" for x in frame.ravel()]
            file.writelines("".join(numbers[k : k + 10]) + "\n" for k in range(0, len(numbers), 10))
            file.write("  90.000  90.000  90.000\n")
    words = [str(peptide[0]), str(path), f"--out={out}", "--workers=1", "--states=1+3"]
    assert __main__.main(words) == 0
    for surface in surfaces_file.read_surfaces_file(out)[0]:
        assert surface.atoms is not None
        expected = xyz[int(surface.state) - 1]
        assert np.linalg.norm(surface.atoms[:, None] - expected[None], axis=2).min(axis=1).max() < 0.02
    capsys.readouterr()
    assert __main__.main([PDB, *words[1:]]) == 1
    assert "lines are not those of 572 atoms" in capsys.readouterr().err
    # Without MDAnalysis it is refused.
    monkeypatch.setattr(__main__, "can_stream", lambda path: False)
    assert __main__.main(words) == 1
    assert "PyMOL takes its box for atoms: pip install" in capsys.readouterr().err


def test_a_text_of_amber_is_looked_through_a_line_at_a_time(tmp_path):
    path = tmp_path / "long.mdcrd"
    frame = ("   1.000" * 10 + "\n") * 3 + "  90.000  90.000  90.000\n"
    path.write_text("title\n" + frame * 4000)
    tracemalloc.start()
    assert trajectory_file.has_box_lines(str(path), 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.2 * path.stat().st_size
