"""Trajectories read state by state, and surfaces files that are never whole in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pymol2
import pytest

from support.paths import ROOT
from support.scene import coordinates

pytest.importorskip("MDAnalysis")

from dsr_backend.surfaces import surfaces_file
from dsr_backend.surfaces.surface import SurfacesError
from dsr_backend.surfaces.surfaces_file import SurfaceFile
from MDAnalysis.lib.formats.libdcd import DCDFile

from pymol_dsr import __main__
from pymol_dsr.__main__ import main
from pymol_dsr.surfaces import stream, trajectory_file, workers
from pymol_dsr.surfaces.remedies import FOR_TERMINALS, IN_PYMOL
from pymol_dsr.surfaces.source import ExtractError
from pymol_dsr.surfaces.surfaces_file import write

DATA = ROOT / "benchmarks" / "data"
PDB, XTC = str(DATA / "villin_300k.pdb"), str(DATA / "villin_300k.xtc")
BACKBONE = "name CA+C+N+O+CB and resi 45-55"


@pytest.fixture
def loaded():
    """A PyMOL with the topology and the first state, and `read`, which takes selection and states."""
    session = pymol2.PyMOL()
    session.start()
    session.cmd.feedback("disable", "all", "everything")
    stream.load(PDB, XTC, "m", session.cmd)

    def read(selection, states):
        return stream.read_source(selection, states, XTC, _self=session.cmd)

    yield SimpleNamespace(cmd=session.cmd, read=read)
    session.stop()


def written(path, states, monkeypatch=None):
    """The surfaces file that `python -m pymol_dsr` makes; with monkeypatch PyMOL loads the trajectory whole."""
    if monkeypatch is not None:
        monkeypatch.setattr(__main__, "can_stream", lambda path: False)
    words = [f"--out={path}", f"--states={states}", f"--selection={BACKBONE}", "--workers=1", PDB, XTC]
    assert main(words) == 0
    return surfaces_file.read_surfaces_file(path)


@pytest.mark.system
def test_it_is_what_pymol_makes_of_the_whole_trajectory(tmp_path, monkeypatch):
    streamed, header = written(tmp_path / "a.npz", "2+150-158:4")
    loaded_series, of_whole = written(tmp_path / "b.npz", "2+150-158:4", monkeypatch)
    assert header == of_whole and [s.state for s in streamed] == [2, 150, 154, 158]
    for streamed_surface, loaded_surface in zip(streamed, loaded_series, strict=True):
        assert np.abs(streamed_surface.atoms - loaded_surface.atoms).max() < 1e-3
        assert (
            streamed_surface.points.shape == loaded_surface.points.shape
            and np.abs(streamed_surface.points - loaded_surface.points).max() < 1e-3
        )
        assert (streamed_surface.faces == loaded_surface.faces).all()


def test_atoms_are_those_of_the_selection_in_pymols_order(loaded):
    source = loaded.read("name CA", "160")
    assert (source.states, source.last) == ([160], 160)
    loaded.cmd.load_traj(XTC, "m", state=1)
    assert np.abs(source.coordinates[160] - coordinates(loaded.cmd, "m and name CA", 160)).max() < 1e-3


@pytest.mark.parametrize("name", ["dcd", "trr"])
def test_other_formats_are_in_angstrom_too(name, tmp_path):
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    top, trajectory = {"dcd": (files.PSF, files.DCD2), "trr": (files.GRO, files.TRR)}[name]
    with pymol2.PyMOL() as session:
        session.cmd.feedback("disable", "all", "everything")
        stream.load(top, trajectory, "m", session.cmd)
        source = stream.read_source("index 1-50", "3+2", trajectory, _self=session.cmd)
        session.cmd.load_traj(trajectory, "m", state=1, stop=3)
        for state in (3, 2):
            expected = coordinates(session.cmd, "index 1-50", state)
            assert np.abs(source.coordinates[state] - expected).max() < 1e-3


def test_states_past_the_end_are_refused(loaded):
    with pytest.raises(ValueError, match=r"the trajectory .*villin_300k\.xtc has 160 states; 161 is past the end"):
        loaded.read("all", "1-161")


def test_another_molecules_trajectory_is_refused(loaded):
    with pytest.raises(ExtractError, match=r"trpcage_300k\.xtc has 304 atoms, the topology has 572: "):
        stream.read_source("all", "all", str(DATA / "trpcage_300k.xtc"), _self=loaded.cmd)


def test_a_trajectory_that_ends_in_the_midst_of_a_state_has_those_before(loaded, tmp_path):
    data = (DATA / "villin_300k.xtc").read_bytes()
    (tmp_path / "cut.xtc").write_bytes(data[: len(data) // 2])
    source = stream.read_source("name CA", "all", str(tmp_path / "cut.xtc"), _self=loaded.cmd)
    assert 75 < source.last == len(source.states) < 85
    assert all(len(source.coordinates[state]) == 35 for state in source.states)


def test_a_trajectory_that_is_cut_while_it_is_read_says_where(loaded, tmp_path):
    path = tmp_path / "cut.xtc"
    path.write_bytes((DATA / "villin_300k.xtc").read_bytes())
    source = stream.read_source("name CA", "all", str(path), _self=loaded.cmd)
    os.truncate(path, 100_000)
    with pytest.raises(ExtractError, match=r"cut\.xtc: state 1\d\d can't be read"):
        source.coordinates[150]


def test_nothing_is_written_beside_the_trajectory(loaded, tmp_path):
    (tmp_path / "own.xtc").write_bytes((DATA / "villin_300k.xtc").read_bytes())
    assert len(stream.read_source("all", "1-9", str(tmp_path / "own.xtc"), _self=loaded.cmd).coordinates[9]) == 572
    assert os.listdir(tmp_path) == ["own.xtc"]


def test_a_jump_across_the_box_is_said_when_it_is_met(loaded, monkeypatch):
    source = loaded.read("name CA", "1-3")
    read = trajectory_file.TrajectoryFile.read
    shift = np.zeros((572, 3), np.float32)
    shift[:60] = 30.0
    monkeypatch.setattr(
        trajectory_file.TrajectoryFile, "read", lambda self, state: read(self, state) + (shift if state == 2 else 0)
    )
    assert [len(source.coordinates[state]) for state in (1, 2, 3)] == [35] * 3
    (line,) = source.warnings
    assert line.startswith("state 2: 2 bonds are up to 52.6 A long in m") and "give unwrap=1" in line


def test_a_large_trajectory_that_pymol_holds_is_said(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(__main__, "LARGE", 1000)
    written(tmp_path / "a.npz", "1", monkeypatch)
    assert "PyMOL holds all states of" in capfd.readouterr().err


# Memory


WRITE_AND_READ = """
import resource, sys
import numpy as np
from dsr_backend.surfaces.surface import check_series
from dsr_backend.surfaces.surfaces_file import SurfaceFile
from pymol_dsr.surfaces import surfaces_file
from pymol_dsr.surfaces.source import Source, Surface
path, count = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
unit = np.repeat(np.eye(3, dtype=np.float32), 4000, 0)
def states():
    for state in range(1, count + 1):
        points = rng.normal(size=(12000, 3)).astype(np.float32)
        faces = rng.integers(0, 12000, (24000, 3)).astype(np.int32)
        yield Surface(points, unit, faces, float(state), points[:500])
source = Source("m", "all", np.arange(500), np.ones(500, "f4"), [], count, {}, {}, b"", "3", "")
surfaces_file.write(path, source, states())
between = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
check_series(SurfaceFile(path))
print(between, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.system
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kB on Linux")
@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_memory_does_not_grow_with_the_states_written_or_read(tmp_path, ending):
    def peaks(count):
        path = tmp_path / f"{count}{ending}"
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'backend'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
        process = subprocess.run(
            [sys.executable, "-c", WRITE_AND_READ, str(path), str(count)],
            capture_output=True,
            text=True,
            env=env,
            check=True,
        )
        return [int(word) / 1024 for word in process.stdout.split()], path.stat().st_size / 2**20

    short_peak, _ = peaks(10)
    long_peak, size = peaks(300)
    assert size > 150
    assert long_peak[0] - short_peak[0] < 20 and long_peak[1] - short_peak[1] < 20, (short_peak, long_peak, size)


def test_memory_of_the_trajectory_does_not_grow_either(loaded):
    source = loaded.read("all", "all")
    held = sum(value.nbytes for value in vars(source.coordinates).values() if isinstance(value, np.ndarray))
    for state in source.states:
        source.coordinates[state]
    assert len(source.coordinates) == 160 and held < 160 * 572


# The file


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_surfaces_that_arrive_in_any_order_are_read_by_rising_state(loaded, tmp_path, ending):
    source = loaded.read(BACKBONE, "1-3")
    extracted = list(workers.compute_surfaces(source, 1))
    path = tmp_path / f"a{ending}"
    write(str(path), source, iter([extracted[2], extracted[0], extracted[1]]))
    assert os.listdir(tmp_path) == [path.name]
    file = SurfaceFile(path)
    assert file.states == [1, 2, 3] and file.meta["source"] == source.molecule().to_json()
    series = surfaces_file.read_surfaces_file(path)[0]
    assert [surface.state for surface in series] == [1, 2, 3]
    for k, surface in enumerate(series):
        expected = next(s for s in extracted if s.state == k + 1)
        for name in ("points", "normals", "faces", "atoms"):
            assert (getattr(surface, name) == getattr(file[k], name)).all()
            assert np.abs(getattr(surface, name) - getattr(expected, name)).max() < 1e-6


def test_chosen_states_are_read_alone_in_every_kind_of_file(loaded, tmp_path):
    source = loaded.read(BACKBONE, "1-3")
    write(str(tmp_path / "a.npz"), source, workers.compute_surfaces(source, 1))
    write(str(tmp_path / "c.safetensors"), source, workers.compute_surfaces(source, 1))
    with np.load(tmp_path / "a.npz") as plain:
        np.savez_compressed(tmp_path / "b.npz", **plain)
    files = [SurfaceFile(tmp_path / name, [3.0, 1.0]) for name in ("a.npz", "b.npz", "c.safetensors")]
    for file in files:
        assert [s.state for s in file] == [3, 1] and [s.state for s in file[1:]] == [1]
        assert (file[0].points == files[0][0].points).all()


@pytest.mark.parametrize("name", ["points", "normals", "faces", "atoms"])
def test_a_damaged_npz_file_is_refused_when_it_is_opened(loaded, tmp_path, name):
    path = tmp_path / "a.npz"
    source = loaded.read(BACKBONE, "1-2")
    extracted = list(workers.compute_surfaces(source, 1))
    write(str(path), source, extracted)
    data = bytearray(path.read_bytes())
    data[data.index(np.ascontiguousarray(getattr(extracted[0], name)).tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(SurfacesError, match="CRC"):
        SurfaceFile(path)


@pytest.mark.parametrize(
    ("remedies", "order"), [(IN_PYMOL, "give states=1+2+4"), (FOR_TERMINALS["options"], "give '--states 1+2+4'")]
)
def test_copies_are_named_once_with_an_order_that_fits_the_place(loaded, tmp_path, remedies, order):
    path, xyz = str(tmp_path / "copies.dcd"), trajectory_file.TrajectoryFile(XTC, 572).read(1)
    with DCDFile(path, "w") as file:
        file.write_header("", len(xyz), 0, 1, 1.0, 0)
        for shift in (0.0, 1.0, 0.0, 2.0, 1.0):
            file.write((xyz + shift).astype(np.float32), np.zeros(6))
    source = stream.read_source("name CA", "all", path, remedies=remedies, _self=loaded.cmd)
    assert all(len(source.coordinates[state]) for state in source.states)
    assert source.warnings == [
        "state 3 has the coordinates of state 1, and so has 1 other state those of an earlier one; to leave copies "
        f"out, {order}"
    ]
