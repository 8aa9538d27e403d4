"""`dsr-backend` on files, as a real process, on surfaces that the plugin wrote."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pymol2
import pytest
from dsr_backend.cli import io
from dsr_backend.results import dsr_file
from dsr_backend.runtime.errors import RequestError
from safetensors import safe_open

from pymol_dsr.commands.files import dsr_export, dsr_load, dsr_surfaces
from pymol_dsr.session import session_of
from support.paths import CASES, ROOT
from support.scene import build_peptide, coordinates
from support.waiting import PATIENCE, wait_for

pytest.importorskip("torch")

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT / "backend"), str(ROOT), os.environ.get("PYTHONPATH", "")]),
    # One thread: the tests share their cores with others.
    "OMP_NUM_THREADS": "1",
    "PYTHONIOENCODING": "utf-8",
}
SELECTION = "pep and not resi 1"


def command(*words):
    return [sys.executable, "-m", "dsr_backend", *map(str, words)]


def dsr(*words, code=0, env=None, **options):
    """Run `dsr-backend` with these arguments; its output and its lines on stderr."""
    finished = subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**ENVIRONMENT, **(env or {})},
        timeout=PATIENCE,
        **options,
    )
    assert finished.returncode == code, (finished.returncode, finished.stdout, finished.stderr)
    return finished.stdout, finished.stderr.splitlines()


@pytest.fixture
def run_here(monkeypatch, capfd):
    """As `dsr`, in this process, where torch is imported only once."""
    from dsr_backend.cli import main

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # The command line takes SIGTERM, and PyMOL in this process has taken Ctrl-C.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def run(*words, code=0):
        assert main.main([*map(str, words)]) == code
        out, err = capfd.readouterr()
        return out, err.splitlines()

    yield run
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def refused(*words, code=2, env=None):
    """The one line that a bad command gets."""
    out, lines = dsr(*words, code=code, env=env)
    assert out == "" and len(lines) == 1, (out, lines)
    return lines[0]


@pytest.fixture(scope="module")
def fit_folder(tmp_path_factory):
    """A folder with pep.safetensors (six states, by dsr_surfaces), pep.pdb, and pep.dsr, fitted to states 1, 3, 5."""
    folder = tmp_path_factory.mktemp("cli")
    session = pymol2.PyMOL()
    session.start()
    session.cmd.feedback("disable", "all", "everything")
    build_peptide(session.cmd)
    dsr_surfaces(SELECTION, str(folder / "pep.safetensors"), _self=session.cmd)
    session.cmd.save(str(folder / "pep.pdb"), "pep", state=0)
    session.stop()
    out, lines = dsr(
        "fit", folder / "pep.safetensors", "--states", "1-5:2", "--preset", "preview", "-o", folder / "pep.dsr"
    )
    (folder / "fit.txt").write_text("\n".join([out.strip(), *lines]), encoding="utf-8")
    return folder


# Fit


@pytest.mark.system
def test_a_fit_says_its_device_its_progress_and_its_result(fit_folder):
    result, device, *progress = (fit_folder / "fit.txt").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(
        re.escape(str(fit_folder / "pep.dsr"))
        + r": states 1-5:2 fitted in \d+\.\d s, smooth \S+ states, beyond them .+",
        result,
    )
    assert re.match(r"device (cpu|cuda)\S*: .+ GB, \d+ threads?, torch \d", device)
    assert progress and all(
        re.fullmatch(r"(sampling|fit) \d+ %(, step \d+ of \d+)?(, loss \d\.\d+ Å)?(, \d+ s left)?|saving", line)
        for line in progress
    )


def test_a_file_gets_a_line_of_progress_every_two_seconds_at_most(monkeypatch, capsys):
    moments = iter(range(100))
    monkeypatch.setattr(io, "time", SimpleNamespace(monotonic=lambda: 0.75 * next(moments)))
    progress = io.Progress("device cpu")
    for number in range(9):
        progress.step(f"fit {number}")
    assert capsys.readouterr().err.splitlines() == ["device cpu", "fit 0", "fit 3", "fit 6"]


@pytest.mark.system
def test_a_terminal_gets_one_rewriting_line(fit_folder, tmp_path):
    pty = pytest.importorskip("pty")
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        command("export", fit_folder / "pep.dsr", "--times", "1-6:0.25", "--resolution", "1", "-o", tmp_path / "t.ply"),
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env=ENVIRONMENT,
    )
    os.close(terminal)
    screen = b""
    while True:
        try:
            piece = os.read(controller, 65536)
        except OSError:  # Linux ends a terminal so
            break
        if not piece:
            break
        screen += piece
    os.close(controller)
    assert process.wait() == 0
    rewritten, _, final_line = screen.decode().replace("\r\n", "\n").rpartition("\r")
    progress_lines = [segment.rstrip() for segment in rewritten.split("\r")]
    assert len(progress_lines) > 2 and "\n" not in rewritten
    assert all(re.fullmatch(r"mesh \d+ of 21, \d+ %|", segment) for segment in progress_lines), progress_lines
    # The line is cleared before what stays.
    assert progress_lines[-1] == "" and final_line.startswith("dsr-backend: 4 times are extrapolated")


@pytest.mark.system
def test_a_fit_from_the_command_line_finds_its_atoms_in_pymol(fit_folder, cmd, monkeypatch, tmp_path):
    build_peptide(cmd)
    for key in ("PYTHONPATH", "OMP_NUM_THREADS"):
        monkeypatch.setenv(key, ENVIRONMENT[key])
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    session_of(cmd).settings.put("backend", f"{sys.executable} -m dsr_backend serve")
    cmd.color("blue", "pep")
    cmd.color("red", "pep and resi 5-9")
    cmd.color("green", "pep and resi 1")
    dsr_load(str(fit_folder / "pep.dsr"), "back", _self=cmd)
    [trajectory] = session_of(cmd).jobs.get("back").trajectories
    assert (trajectory.object, trajectory.selection, trajectory.states) == ("pep", SELECTION, [1, 3, 5])
    assert len(trajectory.atoms) == cmd.count_atoms(SELECTION) < cmd.count_atoms("pep")
    path = str(tmp_path / "coloured.npz")
    dsr_export("back", path, states="2.5", resolution=1.0, _self=cmd)
    with np.load(path) as mesh:
        points, colors = mesh["points"], mesh["colors"]
    assert {tuple(color) for color in colors.tolist()} == {(255, 0, 0), (0, 0, 255)}
    # Red vertices lie at the red residues, not merely somewhere.
    red = coordinates(cmd, "pep and resi 5-9", 2).mean(axis=0)
    blue = coordinates(cmd, "pep and resi 2-4", 2).mean(axis=0)
    nearer_red = np.linalg.norm(points - red, axis=1) < np.linalg.norm(points - blue, axis=1)
    assert np.mean(nearer_red == (colors[:, 0] == 255)) > 0.85


@pytest.mark.system
def test_a_trajectory_is_fitted_through_pymol(tmp_path):
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    target = tmp_path / "adk.dsr"
    out, lines = dsr(
        "fit", files.PSF, files.DCD2, "--states", "1+20", "--preset", "preview", "-o", target,
        env={"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert out.startswith(f"{target}: states 1+20 fitted in ")
    assert lines[0].startswith("device ")
    assert target.is_file() and not list(tmp_path.glob("dsr-*"))
    mesh, _ = dsr("mesh", target, "--time", "10", "--resolution", "1", "-o", tmp_path / "adk.ply")
    area, volume = (float(re.search(rf"{word} (\d+)", mesh)[1]) for word in ("area", "volume"))
    assert 7_000 < area < 14_000 and 22_000 < volume < 34_000


@pytest.mark.system
def test_surfaces_through_another_python(fit_folder, run_here, monkeypatch, tmp_path):
    """As where torch and PyMOL live in two Pythons: this one does not see PyMOL."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *args: None if name == "pymol" else real(name, *args))
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    for python, code, message in (
        ("", 2, "set DSR_PYMOL_PYTHON"),
        ("/no/python", 1, "/no/python can't be started"),
        ("false", 1, "false made no surfaces (exit code 1)"),
        (sys.executable, 2, "states 1-9: the object pep has 6 states; 9 is past the end"),
    ):
        monkeypatch.setenv("DSR_PYMOL_PYTHON", python)
        out, lines = run_here("fit", fit_folder / "pep.pdb", "--states", "1-9", "-o", tmp_path / "two.dsr", code=code)
        assert out == "" and len(lines) == 1 and message in lines[0]
    assert os.listdir(tmp_path) == []


def stopped(words, when, number):
    """Run until `when` is on stderr, send the signal; exit code and stderr."""
    process = subprocess.Popen(
        command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=ENVIRONMENT,
        # A shell's background jobs, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    errors = ""
    while when not in errors:
        line = process.stderr.readline()
        assert line, errors
        errors += line
    process.send_signal(number)
    out, remaining_errors = process.communicate(timeout=PATIENCE)
    assert out == ""
    return process.returncode, errors + remaining_errors


@pytest.mark.system
@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(
    "module", ["argparse", "dsr_backend.cli.io", "torch._C", "torch.autograd", "torch.nn.functional"]
)
def test_ctrl_c_while_a_module_is_imported_is_one_line(fit_folder, tmp_path, module):
    """Where an exception in the middle of an import was a traceback, and in torch's an abort."""
    words = ("mesh", fit_folder / "pep.dsr", "--time", "2", "--resolution", "0.1", "-o", tmp_path / "x.ply")
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *command(*words)[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    for line in process.stderr:
        if line.rpartition("|")[2].strip() == module:
            process.send_signal(signal.SIGINT)
            break
    out, errors = process.communicate(timeout=PATIENCE)
    messages = [line for line in errors.splitlines() if not line.startswith("import time:")]
    assert (process.returncode, messages, out) == (130, ["dsr-backend: cancelled"], "")
    assert os.listdir(tmp_path) == []


@pytest.mark.system
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_ends_a_fit_and_leaves_the_old_file(fit_folder, tmp_path):
    target = tmp_path / "kept.dsr"
    target.write_bytes((fit_folder / "pep.dsr").read_bytes())
    code, errors = stopped(("fit", fit_folder / "pep.safetensors", "-o", target), "fit", signal.SIGINT)
    assert code == 130 and errors.splitlines()[-1] == "dsr-backend: cancelled" and "Traceback" not in errors
    assert os.listdir(tmp_path) == ["kept.dsr"]
    assert target.read_bytes() == (fit_folder / "pep.dsr").read_bytes()


@pytest.mark.system
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
def test_a_job_that_a_scheduler_ends_leaves_no_pymol_behind(monkeypatch, tmp_path):
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    monkeypatch.setitem(ENVIRONMENT, "TMPDIR", str(tmp_path))
    words = ("fit", files.PSF, files.DCD2, "-o", tmp_path / "x.dsr")
    code, errors = stopped(words, "surfaces ", signal.SIGTERM)
    assert code == 143 and "Traceback" not in errors
    wait_for(lambda: not running(tmp_path), lambda: running(tmp_path))
    assert not list(tmp_path.glob("dsr-*"))


@pytest.mark.system
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_does_not_wait_for_a_silent_pymol(fit_folder, run_here, monkeypatch, tmp_path):
    from dsr_backend.surfaces import from_pymol

    silent = tmp_path / "python"
    silent.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 1000\n")
    silent.chmod(0o755)
    monkeypatch.setattr(from_pymol, "pymol_python", lambda: str(silent))

    def press():
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    assert run_here("fit", fit_folder / "pep.pdb", "-o", tmp_path / "x.dsr", code=130)[1] == ["dsr-backend: cancelled"]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def running(folder):
    """Processes that were started with this folder for their temporary files."""
    pids = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as stream:
                if f"TMPDIR={folder}\0".encode() in stream.read():
                    pids.append(name)
        except OSError:
            pass
    return pids


# Meshes


@pytest.mark.system
def test_a_mesh_is_written_at_a_time_between(fit_folder, run_here, tmp_path):
    out, lines = dsr("mesh", fit_folder / "pep.dsr", "--time", "2.5", "-o", tmp_path / "a.ply")
    assert re.fullmatch(r".*a\.ply: time 2\.5, \d+ triangles, area \d+ Å², volume \d+ Å³\n", out) and not lines
    count = int(re.search(r"(\d+) triangles", out)[1])
    assert f"element face {count}\n".encode() in (tmp_path / "a.ply").read_bytes()
    outer, _ = run_here(
        "mesh", fit_folder / "pep.dsr", "--time", "7", "--level", "1.5", "--triangles", "2000", "-o",
        tmp_path / "b.npz",
    )  # fmt: skip
    assert "extrapolated (fitted: 1 to 5), expected error " in outer
    assert float(re.search(r"volume (\d+)", outer)[1]) > float(re.search(r"volume (\d+)", out)[1])
    with np.load(tmp_path / "b.npz") as mesh:
        assert 500 < len(mesh["faces"]) <= 2000 and mesh["points"].dtype == np.float32


@pytest.mark.system
def test_exports_are_named_by_their_time(fit_folder, run_here, tmp_path):
    target = tmp_path / "pep.obj"
    out, lines = dsr("export", fit_folder / "pep.dsr", "--times", "4.5-6:0.75", "--resolution", "1", "-o", target)
    assert sorted(os.listdir(tmp_path)) == ["pep_0004.50.obj", "pep_0005.25.obj", "pep_0006.00.obj"]
    assert "pep_0006.00.obj: the last of 3 files" in out
    assert "2 times are extrapolated (fitted: 1 to 5)" in lines[-1]
    run_here("export", fit_folder / "pep.dsr", "--times", "3", "--resolution", "1", "-o", target)
    assert target.is_file()


@pytest.mark.parametrize("verb", [("mesh", "--time"), ("export", "--times")])
def test_a_ply_is_binary_unless_text_is_asked_for(fit_folder, run_here, tmp_path, verb):
    target = tmp_path / "pep.ply"
    arguments = (verb[0], fit_folder / "pep.dsr", verb[1], "3", "--resolution", "2", "-o", target)
    run_here(*arguments)
    assert b"format binary_little_endian 1.0" in target.read_bytes()[:100]
    run_here(*arguments, "--text")
    assert b"format ascii 1.0" in target.read_bytes()[:100]
    out, lines = run_here(verb[0], fit_folder / "pep.dsr", verb[1], "3", "--text", "-o", tmp_path / "pep.stl", code=2)
    assert not out and len(lines) == 1 and "--text: only .ply comes in two kinds, .stl in one" in lines[0]


@pytest.mark.parametrize("verb", [("mesh", "--time"), ("export", "--times")])
def test_times_before_the_first_state_are_refused_alike(fit_folder, run_here, tmp_path, verb):
    out, lines = run_here(verb[0], fit_folder / "pep.dsr", verb[1], "0", "-o", tmp_path / "pep.ply", code=2)
    assert not out and len(lines) == 1 and "states count from 1" in lines[0]
    assert not os.listdir(tmp_path)


def test_several_times_as_glb_are_one_file(fit_folder, run_here, tmp_path):
    target = tmp_path / "pep.glb"
    out, _ = run_here(
        "export", fit_folder / "pep.dsr", "--times", "1-3", "--resolution", "2", "--fps", "10", "-o", target
    )
    assert os.listdir(tmp_path) == ["pep.glb"] and "3 times in 1 file" in out
    assert target.read_bytes().startswith(b"glTF")


@pytest.mark.system
def test_nodes_along_the_longest_side(fit_folder, run_here, tmp_path):
    """Any resolution, from the coarsest to the finest that the paper shows."""
    from dsr_backend.results import dsr_file

    field: Any = dsr_file.load(fit_folder / "pep.dsr")
    low, high = field.at(2.0).box
    counts = []
    for nodes in (32, 64, 256):
        run_here("mesh", fit_folder / "pep.dsr", "--time", "2", "--nodes", nodes, "-o", tmp_path / "a.npz")
        with np.load(tmp_path / "a.npz") as mesh:
            corners = mesh["points"][mesh["faces"]]
        # Marching cubes makes triangles whose longest edge is the diagonal of a cell at most.
        longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max()
        spacing = (high - low).max() / (nodes - 1)
        assert spacing < longest < 2.3 * spacing
        counts.append(len(corners))
    assert counts[0] * 3 < counts[1] and counts[1] * 12 < counts[2]


def test_a_level_without_a_surface_writes_nothing(fit_folder, run_here, tmp_path):
    target = tmp_path / "kept.ply"
    target.write_text("before")
    out, lines = run_here("mesh", fit_folder / "pep.dsr", "--time", "2", "--level", "-30", "-o", target, code=1)
    assert out == "" and len(lines) == 1
    assert re.search(r"no surface at time 2 and level -30 Å, where the distances are -\d\.\d to \d+\.\d Å; ", lines[0])
    assert target.read_text() == "before"


# Scores


@pytest.mark.system
def test_scores_beside_the_state_held(fit_folder, tmp_path):
    table = tmp_path / "pep.csv"
    out, lines = dsr(
        "eval", fit_folder / "pep.dsr", fit_folder / "pep.safetensors", "--states", "1+2+5+6", "--csv", table
    )
    with open(table, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["state"], row["group"], row["method"]) for row in rows] == [
        ("1", "training", "field"),
        ("2", "between", "field"),
        ("2", "between", "hold nearest"),
        ("5", "training", "field"),
        ("6", "future 1-10", "field"),
        ("6", "future 1-10", "hold nearest"),
    ]
    # Six states, of which one is in the future: too few to know an error there.
    assert [row["expected_error"] for row in rows] == [""] * len(rows)
    assert all(0.85 < float(row["iou"]) < 1 and 0.85 < float(row["nc"]) < 1 for row in rows)
    assert all(0 < float(row["chamfer_sq"]) < float(row["chamfer_l1"]) < 0.05 for row in rows)
    summary = out.split("\n\n")[1].splitlines()
    trained = [float(row["iou"]) for row in rows if row["group"] == "training"]
    assert summary[0].split()[:6] == [
        "n=2", "training", "field", f"{np.mean(trained):.4f}", "±", f"{np.std(trained):.4f}"
    ]  # fmt: skip
    assert [line.split()[:2] for line in summary[1:]] == [
        ["n=1", "between"], ["n=1", "between"], ["n=1", "future"], ["n=1", "future"]
    ]  # fmt: skip
    assert lines[0].startswith("device ") and len(lines) == 1


@pytest.mark.system
def test_scores_beside_the_steps_of_the_atoms(fit_folder, run_here, tmp_path):
    """The RMSD from the state before is 0 for a molecule that only turned."""
    from dsr_backend.surfaces import surfaces_file

    from pymol_dsr.shared.superpose import superpose
    from support.shapes import moved, turn

    surfaces, meta = surfaces_file.read_surfaces_file(fit_folder / "pep.safetensors")
    turned = moved(surfaces[1], turn(70.0), (20.0, 0.0, 0.0), state=3)
    surfaces_file.write_surfaces_file(tmp_path / "truth.safetensors", [surfaces[0], surfaces[1], turned], meta)
    table = tmp_path / "steps.csv"
    out, lines = run_here("eval", fit_folder / "pep.dsr", tmp_path / "truth.safetensors", "--csv", table)
    assert any("warning: " in line and "state 3 lies " in line and "from where it was fitted" in line for line in lines)
    with open(table, newline="") as stream:
        steps = {row["state"]: row["rmsd"] for row in csv.DictReader(stream)}
    first, second = (surface.atoms.astype(float) for surface in surfaces[:2])
    rotation, translation = superpose(second, first)
    expected = np.sqrt(((second @ rotation.T + translation - first) ** 2).sum(1).mean())
    assert steps["1"] == "" and float(steps["2"]) == pytest.approx(expected, rel=1e-6) and expected > 0.05
    assert float(steps["3"]) < 1e-4
    assert f" {expected:.2f} Å" in next(line for line in out.splitlines() if line.split()[:1] == ["2"])


@pytest.mark.system
def test_scores_against_another_molecule_say_so(fit_folder, run_here, tmp_path):
    from dsr_backend.surfaces import surfaces_file

    surfaces, meta = surfaces_file.read_surfaces_file(fit_folder / "pep.safetensors")
    of_fewer_atoms = dataclasses.replace(surfaces[0], atoms=surfaces[0].atoms[:-1])
    surfaces_file.write_surfaces_file(tmp_path / "truth.safetensors", [of_fewer_atoms], meta)
    _, lines = run_here("eval", fit_folder / "pep.dsr", tmp_path / "truth.safetensors")
    assert any("truth.safetensors: its surfaces are of 122 atoms, and the fit is of 123" in line for line in lines)


@pytest.mark.system
def test_scores_as_a_picture(fit_folder, run_here, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    words = ("eval", fit_folder / "pep.dsr", fit_folder / "pep.safetensors", "--plot")
    run_here(*words, tmp_path / "pep.svg", "--states", "1+2")
    picture = (tmp_path / "pep.svg").read_text()
    # Letters are shapes in an SVG, which names them in comments.
    texts = ["IoU", "Chamfer L1", "Chamfer squared", "normal consistency", "RMSD", "state"]
    for text in [*texts, "field, fitted states", "field, other states", "hold nearest", "fitted range"]:
        assert f"<!-- {text}" in picture, text
    run_here(*words, tmp_path / "pep.png", "--states", "1")
    assert (tmp_path / "pep.png").read_bytes().startswith(b"\x89PNG")
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *args: (name != "matplotlib" and real(name, *args)) or None
    )
    out, lines = run_here(*words, tmp_path / "no.png", code=2)
    assert out == "" and len(lines) == 1 and "--plot needs matplotlib" in lines[0] and "pip install" in lines[0]


@pytest.mark.system
def test_measures_over_time(fit_folder, run_here, tmp_path):
    table, picture = tmp_path / "m.csv", tmp_path / "m.png"
    options = ("--selection", "1-60", "--pocket", "1-123", "--resolution", "0.8")
    out, err = run_here(
        "measure", fit_folder / "pep.dsr", "--states", "1-6:2.5", *options, "--csv", table, "--plot", picture
    )
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["state", "1", "3.5", "6"] and "volume of the pocket" in lines[0]
    assert "1 times are extrapolated (fitted: 1 to 5)" in err[-1]
    assert any(
        "the selection has what is nearest to its atoms' centres, as the fit has no radii" in line for line in err
    )
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["state"] for row in rows] == ["1", "3.5", "6"]
    # State 1 has a velocity of one side only, and that of state 6 is damped.
    assert f"\nmean speed (Å per state): {float(rows[1]['speed']):.4f}\n" in out
    assert [row["extrapolated"] for row in rows] == ["False", "False", "True"]
    for row in rows:
        assert 0 < float(row["selection_volume"]) < float(row["volume"]) and float(row["pocket_volume"]) > 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    out, _ = run_here("measure", fit_folder / "pep.dsr", "--resolution", "1.0")
    assert [line.split()[0] for line in out.splitlines()[1:6]] == list("12345") and "pocket" not in out


@pytest.mark.system
def test_means_of_measures_are_of_five_fitted_states_or_more(fit_folder, run_here, tmp_path):
    """Surfaces between them are averages with less detail."""
    fit, surfaces = tmp_path / "five.dsr", fit_folder / "pep.safetensors"
    run_here("fit", surfaces, "--states", "1-4+6", "--preset", "preview", "-o", fit)
    fitted_only, _ = run_here("measure", fit, "--resolution", "1.0")
    assert [line.split()[0] for line in fitted_only.splitlines()[1:6]] == ["1", "2", "3", "4", "6"]
    assert "fitted states" not in fitted_only
    mixed, _ = run_here("measure", fit, "--resolution", "1.0", "--states", "1-6:0.5")
    assert len(mixed.splitlines()) == 1 + 11 + 1 + 1 + 3 and mixed.splitlines()[-3:] == fitted_only.splitlines()[-3:]
    assert "means of the 5 fitted states; the surfaces of others are averages with less detail" in mixed.splitlines()


@pytest.mark.system
def test_the_occupancy_of_a_fit_and_of_surfaces(fit_folder, run_here, tmp_path):
    def volumes(out):
        return [float(volume) for volume in re.findall(r"%: volume (\d+)", out)]

    surfaces = ["occupancy", fit_folder / "pep.safetensors", "--states", "1-5:2"]
    out, lines = run_here(*surfaces, "-o", tmp_path / "pep.ply", "--levels", "90 10")
    assert re.match(r"3 states, volume \d+ Å³ on average\n10 %: volume .* written to .*pep_10.ply\n90 %:", out), out
    assert all(line.startswith("occupancy ") for line in lines)
    assert {path.name for path in tmp_path.iterdir()} == {"pep_10.ply", "pep_90.ply"}
    inner, outer = volumes(out)[::-1]
    assert inner < outer
    fitted, _ = run_here("occupancy", fit_folder / "pep.dsr", "--levels", "90 10")
    assert volumes(fitted) == pytest.approx([outer, inner], rel=0.05)
    # Two files are one ensemble; the weights leave only the first of six states.
    (tmp_path / "weights.txt").write_text("# first\n1\n0 0, 0 0 0\n")
    inputs = fit_folder / "pep.safetensors", fit_folder / "pep.dsr", "--states", "1-5:2"
    report, _ = run_here("occupancy", *inputs, "--weights", tmp_path / "weights.txt", "--levels", "10 90")
    assert "6 states" in report and volumes(report)[0] == volumes(report)[1]
    (tmp_path / "weights.txt").write_text("1 -1")
    _, [line] = run_here("occupancy", "missing.dsr", "--weights", tmp_path / "weights.txt", code=2)
    assert line.endswith("weights.txt: they must be 0 or more, and not all 0")
    _, [line] = run_here("occupancy", fit_folder / "pep.dsr", "--levels", "0", code=2)
    assert "--levels 0: it must be above 0 and at most 100" in line
    _, [line] = run_here("occupancy", fit_folder / "pep.safetensors", "--states", "7", code=2)
    assert "holds the states 1-6, not 7" in line


@pytest.mark.system
def test_what_is_held_is_the_true_surface_of_the_earlier_neighbour(fit_folder, run_here, tmp_path):
    """Truth with state 1 in the place of state 2: holding it must be perfect."""
    from dsr_backend.surfaces import surfaces_file
    from dsr_backend.surfaces.surface import Surface

    surfaces, meta = surfaces_file.read_surfaces_file(fit_folder / "pep.safetensors")
    first, third = surfaces[0], surfaces[2]
    copied = Surface(2, first.points, first.normals, first.faces, first.atoms)
    surfaces_file.write_surfaces_file(tmp_path / "truth.safetensors", [first, copied, third], meta)
    out, _ = run_here("eval", fit_folder / "pep.dsr", tmp_path / "truth.safetensors", "--states", "2")
    hold = out.splitlines()[2].split()
    assert hold[:4] == ["2", "between", "hold", "nearest"] and hold[4] == "1.0000" and hold[7] == "1.0000"
    late = Surface(30, first.points, first.normals, first.faces, first.atoms)
    surfaces_file.write_surfaces_file(tmp_path / "alone.safetensors", [copied, late], meta)
    out, lines = run_here("eval", fit_folder / "pep.dsr", tmp_path / "alone.safetensors")
    assert "hold" not in out and "nothing is held at 2" in lines[1]
    assert "left out: states 30" in lines[2]


# Refusals


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "the following arguments are required: COMMAND"),
        ("bend x", "invalid choice: 'bend'"),
        ("serve now", "unrecognized arguments: now"),
        ("fit pep.safetensors", "the following arguments are required: -o/--output"),
        ("fit none.safetensors -o x.dsr", "none.safetensors: there is no such file"),
        ("fit pep.safetensors -o x.ply", "x.ply: it must end in .dsr"),
        ("fit pep.safetensors -o no/x.dsr", "/no does not exist"),
        ("fit pep.safetensors -o /proc/x.dsr", "/proc/x.dsr: the folder /proc can't be written to"),
        ("fit pep.safetensors pep.pdb -o x.dsr", "pep.safetensors is a surfaces file"),
        ("fit pep.safetensors --states 1,3 -o x.dsr", "join ranges with +"),
        ("fit pep.safetensors --states 1-9 -o x.dsr", "states 1-9: pep.safetensors holds the states 1-6, not 7"),
        ("fit pep.safetensors --preset slow -o x.dsr", "preset slow: choose one of fast, fine, preview, paper"),
        ("fit pep.safetensors --smooth much -o x.dsr", "--smooth much: it is neither a number nor auto"),
        ("fit pep.safetensors --times pep.dsr -o x.dsr", "pep.dsr: it is no text file; give one number for each state"),
        ("fit pep.safetensors --budget 0 -o x.dsr", "--budget 0: it must be above 0 s, or be none"),
        ("fit pep.safetensors --seed -1 -o x.dsr", "--seed -1: it must lie"),
        ("fit pep.safetensors --device tpu -o x.dsr", "--device tpu: it must be auto"),
        ("fit pep.safetensors --seed one -o x.dsr", "--seed one: it is not a whole number"),
        ("fit pep.safetensors --loop --breaks 3 -o x.dsr", "a loop has no cuts; leave --loop or --breaks out"),
        ("fit pep.pdb --states 1-9 -o x.dsr", "states 1-9: the object pep has 6 states"),
        ("fit pep.pdb --selection nope -o x.dsr", 'Invalid selection name "nope"'),
        ("mesh pep.safetensors --time 1 -o x.ply", "pep.safetensors: this safetensors file holds no field"),
        ("mesh pep.dsr --time soon -o x.ply", "invalid float value: 'soon'"),
        ("mesh pep.dsr --time nan -o x.ply", "finite"),
        ("mesh pep.dsr --time 1 -o x.stp", "x.stp: it must end in .ply, .obj"),
        ("mesh pep.dsr --time 1 --resolution 0 -o x.ply", "--resolution 0: it must lie between 0.01 and 10 Å"),
        ("mesh pep.dsr --time 1 --nodes 16 -o x.ply", "--nodes 16: it must lie between 32 and 512"),
        ("mesh pep.dsr --time 1 --nodes 64 --resolution 1 -o x.ply", "not allowed with argument --nodes"),
        ("mesh pep.dsr --time nan --nodes 64 -o x.ply", "finite"),
        ("mesh pep.dsr --time 1 --trajectory a -o x.ply", "pep.dsr: this fit is of one trajectory: leave trajectory"),
        ("mesh pep.dsr --time 1 --level far -o x.ply", "--level far: it is not a number"),
        ("mesh pep.dsr --time 1 --triangles 99 -o x.ply", "--triangles 99: it must be at least 100"),
        ("export pep.dsr --times 1+2 --fps 0 --resolution 2 -o x.glb", "--fps 0: it must be above 0"),
        ("export pep.dsr --times 5-1 -o x.ply", "the range runs backwards"),
        ("eval pep.dsr pep.pdb", "pep.pdb is no surfaces file: it begins with"),
        ("eval pep.dsr pep.safetensors --csv x.txt", "x.txt: it must end in .csv"),
        ("eval pep.dsr pep.safetensors --plot x.txt", "x.txt: it must end in .png, .pdf, .svg"),
        (
            "eval pep.dsr pep.safetensors --share 0.5",
            "--share 0.5: it says how far towards another trajectory; give --towards",
        ),
        ("eval pep.dsr pep.safetensors --states 9", "states 9: pep.safetensors holds the states 1-6, not 9"),
        ("eval pep.dsr pep.safetensors --trajectory a --towards b --share 2", "--share 2: it must lie between 0 and 1"),
        ("measure pep.dsr --resolution coarse", "--resolution coarse: it is not a number"),
        ("measure pep.dsr --states 3-1", "the range runs backwards"),
        ("measure pep.dsr --plot x.txt", "x.txt: it must end in .png, .pdf, .svg"),
        ("measure pep.dsr --selection 100-200", "the fit has 123 atoms, and 200 is past the end"),
        ("measure pep.dsr --pocket 1.5", "--pocket: atoms are written like states"),
        ("batch none.csv --out fits --workers many", "--workers many: it is not a whole number"),
        ("batch none.csv --out fits --cores 0", "--cores 0: it must be at least 1"),
        ("batch none.csv --out fits --device tpu", "--device tpu: it must be auto"),
        ("batch none.csv --out fits", "none.csv: there is no such file"),
        ("fit pep.pdb a.dcd b.dcd -o x.dsr", "a.dcd: there is no such file"),
        ("fit pep.pdb pep.pdb pep.pdb -o x.dsr", "pep.pdb: a topology takes one trajectory"),
        ("fit pep.safetensors --frozen -o x.dsr", "name it as --family"),
        ("fit pep.safetensors --family pep.dsr -o x.dsr", "pep.dsr: it is of one trajectory and no family"),
    ],
)
def test_bad_input_is_one_line_and_code_2(fit_folder, run_here, monkeypatch, words, message):
    monkeypatch.chdir(fit_folder)
    before = sorted(os.listdir(fit_folder))
    out, lines = run_here(*words.split(), code=2)
    assert out == "" and len(lines) == 1, lines
    assert lines[0].startswith("dsr-backend") and message in lines[0]
    assert sorted(os.listdir(fit_folder)) == before


@pytest.mark.parametrize(
    "error, code, message",
    [
        (RequestError("diverged", "the loss is no number"), 1, "the loss is no number"),
        (RequestError("bad-request", "no such thing"), 2, "no such thing"),
        (RuntimeError("CUDA out of memory. Tried\nto"), 1, "ran out of memory (CUDA out of memory. Tried to)"),
        (OSError(28, "No space left on device", "x.dsr"), 1, "x.dsr: No space left on device"),
    ],
)
def test_work_that_fails_is_one_line_too(fit_folder, run_here, monkeypatch, tmp_path, error, code, message):
    from dsr_backend.fitting import run

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(run, "fit_trajectory", fail)
    out, lines = run_here("fit", fit_folder / "pep.safetensors", "-o", tmp_path / "x.dsr", code=code)
    assert out == "" and len(lines) == 1 and message in lines[0]


def test_a_fault_of_ours_keeps_its_traceback(fit_folder, run_here, monkeypatch, tmp_path):
    from dsr_backend.fitting import run

    monkeypatch.setattr(run, "fit_trajectory", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_here("fit", fit_folder / "pep.safetensors", "-o", tmp_path / "x.dsr")


def test_a_refusal_is_quick_and_without_torch(fit_folder):
    line = refused("fit", fit_folder / "pep.safetensors", "-o", fit_folder / "pep.txt")
    assert "must end in .dsr" in line
    code = (
        "import sys; from dsr_backend.__main__ import main; "
        "assert main(['fit', 'none.safetensors', '-o', 'x.dsr']) == 2; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "verb", ["fit", "continue", "morph", "mesh", "export", "eval", "measure", "occupancy", "doctor", "serve"]
)
def test_help_has_an_example(verb, capsys):
    from dsr_backend import __version__
    from dsr_backend.cli import main

    assert main.main([verb, "--help"]) == 0
    assert f"example:\n  dsr-backend {verb}" in capsys.readouterr().out
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"dsr-backend {__version__}\n"


# Doctor


@pytest.mark.system
def test_the_doctor_finds_a_working_installation(run_here, monkeypatch, tmp_path):
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "new" / "home"))
    out, _ = run_here("doctor", "--device", "cpu")
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"ok   {name}"
        for name in ("python", "numpy", "torch", "scipy", "safetensors", "device", "folder", "pymol", "round trip")
    ]  # fmt: skip
    assert "GB free" in lines[6] and "PyMOL " in lines[7]
    assert os.listdir(tmp_path) == []


@pytest.mark.system
def test_the_doctor_names_what_fails_and_the_remedy(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "safetensors.py").write_text("raise ImportError('cannot load libsafetensors.so')")
    out, _ = dsr(
        "doctor", "--device", "cuda:7", code=1,
        env={"DSR_HOME": "/proc", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"},
    )  # fmt: skip
    failed = {line.split(":")[0]: line for line in out.splitlines() if line.startswith("FAIL")}
    assert list(failed) == ["FAIL safetensors", "FAIL device", "FAIL folder", "FAIL round trip"]
    assert "cannot load libsafetensors.so — " in failed["FAIL safetensors"]
    assert "pip install safetensors" in failed["FAIL safetensors"]
    assert "--device cpu" in failed["FAIL device"]
    assert "set DSR_HOME" in failed["FAIL folder"]
    assert all(" — " in line for line in failed.values())


@pytest.mark.system
def test_runs_in_one_trajectory_are_cut_and_the_orders_of_the_line_work(run_here, tmp_path):
    words: list[Any] = ["fit", CASES / "villin.pdb", CASES / "runs.xtc", "--states", "1-36:3"]
    words += ["--selection", "resi 45-52", "--preset", "preview", "--budget", "1", "-o", tmp_path / "runs.dsr"]
    _, lines = run_here(*words)
    (line,) = [line for line in lines if "jumps" in line]
    assert "the molecule jumps from state 10 to 13, 22 to 25: cut there into 3 runs" in line
    blend, cut = re.findall(r"--breaks \S+", line)
    assert (blend, cut) == ("--breaks none", "--breaks 10+22")
    for order, breaks in ((blend, ()), (cut, (4, 8))):
        _, lines = run_here(*words, *order.split())
        assert not any("jumps" in line for line in lines)
        fitted: Any = dsr_file.load(tmp_path / "runs.dsr", "cpu")
        assert fitted.motion.kernel.breaks == breaks


@pytest.mark.system
def test_molecules_that_the_box_cuts_are_made_whole_by_the_option_that_the_line_names(run_here, tmp_path):
    words = ("surfaces", CASES / "wrapped.pdb", "-o", tmp_path / "cut.safetensors")
    _, lines = run_here(*words)
    (line,) = [line for line in lines if "warning" in line]
    assert "bonds are cut" in line and line.endswith("give --unwrap")
    _, lines = run_here(*words, "--unwrap")
    assert not any("warning" in line for line in lines)
    with safe_open(tmp_path / "cut.safetensors", "numpy") as file:
        assert np.ptp(file.get_tensor("atoms"), axis=1).max() < 26.0
