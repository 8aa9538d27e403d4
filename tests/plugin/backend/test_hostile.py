"""A broken or hostile backend, file name or setting can do nothing to PyMOL but print one line."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from pymol import CmdException

from pymol_dsr import register
from pymol_dsr.backend.process import Process, find_command
from pymol_dsr.commands.color import dsr_color
from pymol_dsr.commands.files import dsr_export, dsr_load, dsr_save, dsr_surfaces
from pymol_dsr.commands.levels import dsr_levels
from pymol_dsr.commands.measure import dsr_measure
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.fits import connection
from pymol_dsr.fits.background import in_background
from pymol_dsr.fits.connection import LOG_LINES
from pymol_dsr.fits.fit import Fit, Phase, Trajectory
from pymol_dsr.scene.preview import Preview
from pymol_dsr.session import close_session, session_of
from pymol_dsr.shared import messages, states, text
from pymol_dsr.shared.messages.reports import parse_atom_indices
from pymol_dsr.shared.values import ValueFault
from support.hostile_backend import ATOMS, ESCAPE, FILES, GRID, MEASURE, MESH, PAINT, REPORTS
from support.paths import ROOT
from support.processes import raw
from support.scene import build_peptide
from support.waiting import PATIENCE, wait_for


@pytest.fixture(scope="module")
def scene_of_all():
    """One PyMOL with `pep`, and one backend for all."""
    import pymol2

    pymol = pymol2.PyMOL()
    pymol.start()
    pymol.cmd.feedback("disable", "all", "everything")
    build_peptide(pymol.cmd, count=3)
    assert pymol.cmd.count_atoms("pep") == ATOMS
    yield pymol.cmd
    pymol.stop()


@pytest.fixture(scope="module")
def shared_scene(scene_of_all, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        register(scene_of_all)
        patch.setenv("DSR_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "backend"), str(ROOT)]))
        command = f"'{sys.executable}' '{ROOT / 'tests/support/hostile_backend.py'}'"
        session_of(scene_of_all).settings.put("backend", command)
        yield scene_of_all
        close_session(scene_of_all)


@pytest.fixture
def hostile(shared_scene, tmp_path, monkeypatch):
    """PyMOL with the fit `fit` of a backend that does what the fault named last says; works in an empty folder."""
    monkeypatch.chdir(tmp_path)
    fault(shared_scene, "")
    (tmp_path / "fit.dsr").write_bytes(b"what the backend makes of it")
    dsr_load("fit.dsr", _self=shared_scene)
    yield shared_scene
    for name in shared_scene.get_names("all"):
        if name != "pep":
            shared_scene.delete(name)


def fault(cmd, name):
    session_of(cmd).jobs.connection.backend().call(raw("ping", {"fault": name}), timeout=PATIENCE)


def refused(function, *args, **kwargs):
    """The one line that a command ends with, made harmless."""
    with pytest.raises(CmdException) as error:
        function(*args, **kwargs)
    line = str(error.value)
    assert line.replace("Å", "A").isprintable() and len(line) < 1_300, line
    return line


def names(cmd):
    return set(cmd.get_names("all")) - {"pep"}


def test_a_good_answer_passes(hostile):
    """Else everything below is refused for another reason."""
    cmd = hostile
    dsr_movie("fit", "1-3", _self=cmd)
    assert cmd.count_states("fit") == 3
    dsr_color("fit", "velocity", _self=cmd)
    dsr_color("fit", "motion", _self=cmd)
    dsr_levels("fit", "2", "0 1", _self=cmd)
    dsr_movie("fit", "1-3", as_="map", object="maps", _self=cmd)
    assert len(dsr_measure("fit", _self=cmd).rows) == 3
    dsr_save("fit", "saved.dsr", _self=cmd)
    dsr_export("fit", "saved.ply", _self=cmd)
    assert Path("saved.dsr").read_bytes() == Path("saved.ply").read_bytes() == b"content"


@pytest.mark.parametrize("name", MESH)
def test_a_wrong_mesh_never_reaches_the_scene(hostile, name):
    fault(hostile, name)
    line = refused(dsr_movie, "fit", "1-3", _self=hostile)
    assert "the backend's answer to 'mesh' can't be used: " in line and not names(hostile)
    # The backend was not given up.
    fault(hostile, "")
    dsr_movie("fit", "1-3", _self=hostile)


@pytest.mark.parametrize("name", GRID)
def test_a_wrong_grid_never_becomes_a_map(hostile, name):
    fault(hostile, name)
    assert "answer to 'grid'" in refused(dsr_movie, "fit", "1-3", as_="map", _self=hostile)
    assert not names(hostile)


@pytest.mark.parametrize("name", PAINT)
def test_wrong_velocities_are_no_colours(hostile, name):
    dsr_movie("fit", "1-3", _self=hostile)
    fault(hostile, name)
    assert "answer to 'paint'" in refused(dsr_color, "fit", "velocity", _self=hostile)


@pytest.mark.parametrize("name", MEASURE)
def test_wrong_measures_are_no_table(hostile, name):
    fault(hostile, name)
    assert "answer to 'measure'" in refused(dsr_measure, "fit", file="t.csv", _self=hostile)
    assert os.listdir() == ["fit.dsr"]


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_not_written(hostile, name):
    fault(hostile, name)
    assert "answer to 'save'" in refused(dsr_save, "fit", "saved.dsr", _self=hostile)
    assert os.listdir() == ["fit.dsr"]


@pytest.mark.parametrize("name", REPORTS)
def test_a_wrong_report_is_no_fit(hostile, name):
    fault(hostile, name)
    assert "answer to 'load'" in refused(dsr_load, "fit.dsr", "other", _self=hostile)
    assert "other" not in session_of(hostile).jobs.fits and os.listdir() == ["fit.dsr"]


def test_escape_sequences_of_an_error_are_not_printed(hostile):
    fault(hostile, "error with escape sequences")
    line = refused(dsr_movie, "fit", "1-3", _self=hostile)
    assert "evil" in line and "\x1b" not in line and line.endswith("…")


@pytest.mark.parametrize("name", ["answers what nobody asked", "asks itself"])
def test_a_backend_out_of_turn_is_given_up(hostile, name):
    fault(hostile, name)
    assert "broke the protocol" in refused(dsr_movie, "fit", "1-3", _self=hostile)
    fault(hostile, "")  # another one was started


class NeverShown:
    """A preview for which the backend sends nothing that may be shown."""

    options = messages.PreviewOptions(1.0, triangles=100)
    radii: NDArray[np.float32] | None = None

    def show_surface(self, surface):
        pytest.fail("it was shown")

    def show_preview(self, preview):
        pytest.fail("it was shown")


def test_events_that_are_wrong_of_nobody_or_too_many(hostile, capfd, monkeypatch):
    jobs = session_of(hostile).jobs
    # However long they take, they come at once.
    moment = time.monotonic()
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: moment, sleep=time.sleep))
    fault(hostile, "noise")
    running_fit = Fit("a", [Trajectory("", "pep", "pep", None, [1.0])], phase=Phase.FIT)
    jobs.fits["a"] = running_fit
    running_fit.preview = NeverShown()
    dsr_movie("fit", "1", movie=0, _self=hostile)
    output, errors = capfd.readouterr()
    lines = output.splitlines()
    assert not errors and len(lines) <= LOG_LINES + 5
    assert all(line.isprintable() and len(line) < 1_100 for line in lines)
    assert "the backend says more than can be read" in output
    # None of them has made the fit something that it is not, and the last one was a good one.
    assert (running_fit.phase, running_fit.fraction, running_fit.loss) == (Phase.FIT, 0.5, None)
    # It comes with each of the requests of a movie.
    assert set(running_fit.losses) == {(0.0, 1e300)}
    assert jobs.fits["fit"].phase is Phase.READY
    assert jobs.connection.device is None, "a device that is a list"
    del jobs.fits["a"]


def test_long_texts_of_an_event_are_cut(hostile, capfd):
    fault(hostile, "long device")
    dsr_movie("fit", "1", movie=0, _self=hostile)
    device_name = session_of(hostile).jobs.connection.device_name()
    assert len(device_name) <= text.LONGEST_LINE + 10 and device_name.startswith("xxx")
    dsr_load("fit.dsr", "other", quiet=0, _self=hostile)
    del session_of(hostile).jobs.fits["other"]
    lines = capfd.readouterr().out.splitlines()
    assert lines and all(len(line) < 1_100 for line in lines)


def test_a_flood_of_previews_takes_one_thread(hostile):
    fit = session_of(hostile).jobs.fits["fit"]
    live_preview = Preview(fit, hostile)
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
    faces = np.array([[0, 1, 2]], "<i4")
    preview = messages.Preview(fit="fit", time=1.0, points=points, normals=points, faces=faces)
    peak = 0
    for _ in range(300):
        live_preview.show_preview(preview)
        peak = max(peak, sum(thread.name == "dsr-preview" for thread in threading.enumerate()))
    assert peak == 1
    wait_for(lambda: live_preview.name in hostile.get_names())


# Texts


def test_what_a_terminal_would_obey_is_taken_out():
    assert text.one_line(ESCAPE) == "]0;owned [2J evil"
    assert text.one_line("a\x9b31mb\x00c") == "a 31mb c"
    assert text.strip_control_characters({"a\n": ["\x1b[0m", 1, None, {"Å": "σ"}]}) == {
        "a ": [" [0m", 1, None, {"Å": "σ"}]
    }
    assert len(text.one_line("x" * 10**6)) == text.LONGEST_LINE + 1


def test_errors_of_work_in_the_background_are_printable_and_bounded(capsys):
    def fail():
        raise ValueError(ESCAPE + "x" * 100_000)

    in_background("dsr_movie", fail)
    wait_for(lambda: not any(thread.name == "dsr-dsr_movie" for thread in threading.enumerate()))
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(" Error: dsr_movie: ]0;owned [2J evil") and line.isprintable() and len(line) < 1100


def test_atoms_are_read_as_the_states_grammar_has_them():
    for line in ("1", "1-5", "1-9:2+20+30-40", "3+1"):
        np.testing.assert_array_equal(parse_atom_indices(line), states.parse(line))
    for line in ("", "0", "5-1", "1-5:0", "1-10000001", "1+1", "1.5", "٣", "1-5:1..2"):
        with pytest.raises(ValueFault):
            parse_atom_indices(line)


# File names and commands

NAMES = [
    "with space",
    "semi;colon",
    "$(touch owned)",
    "`touch owned`",
    "a'b\"c",
    "-rf",
    "Ånström 表面",
    "line\nend",
    "a|b&c>d",
]


@pytest.mark.system
@pytest.mark.parametrize("stem", NAMES)
def test_names_of_files_are_names_and_nothing_else(hostile, stem):
    cmd = hostile
    for suffix, write in ((".dsr", dsr_save), (".ply", dsr_export), (".npz", dsr_export)):
        write("fit", stem + suffix, _self=cmd)
        assert Path(stem + suffix).read_bytes() == b"content"
    dsr_measure("fit", file=f"{stem}.csv", _self=cmd)
    name = dsr_load(f"{stem}.dsr", _self=cmd)
    # The next file's name may be the same one to PyMOL, which would be refused.
    assert session_of(hostile).jobs.fits.pop(name).phase is Phase.READY and name == cmd.get_legal_name(name)
    expected = {stem + suffix for suffix in (".dsr", ".ply", ".npz", ".csv", ".png", "_residues.csv")} | {"fit.dsr"}
    assert set(os.listdir()) == expected, "a file that nobody named"


def test_a_name_for_dsr_surfaces_is_not_expanded_by_a_shell(hostile):
    dsr_surfaces("pep", "a; b $(touch owned) 'c'.npz", states="1", _self=hostile)
    assert set(os.listdir()) == {"fit.dsr", "a; b $(touch owned) 'c'.npz"}


def test_a_load_of_what_no_frame_holds_is_refused_unread(hostile):
    with open("large.dsr", "wb") as stream:
        stream.truncate(2**34)
    assert "17179869184 bytes" in refused(dsr_load, "large.dsr", _self=hostile)


def test_the_backend_setting_meets_no_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "a program; touch owned"
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\" >&2\n")
    program.chmod(0o755)
    command = find_command(f"'{program}' '$(touch owned)' a\\;b '; touch owned' `x` && touch owned")
    assert command[1:] == ["$(touch owned)", "a;b", "; touch owned", "`x`", "&&", "touch", "owned"]
    process = Process(command)
    assert process.wait(PATIENCE)
    assert process.stderr_tail() == command[1:]
    process.stop(lambda: None, lambda: None, 0.0)
    for stream in (process.stdin, process.stdout):
        stream.close()
    assert os.listdir() == [program.name]


@pytest.mark.system
def test_nothing_in_the_sources_runs_what_it_reads():
    """No pickle, no eval, no shell; numpy and torch never unpickle."""
    import ast

    banned_modules = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
    imports = []
    for path in [*(ROOT / "pymol_dsr").rglob("*.py"), *(ROOT / "backend/dsr_backend").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            location = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                imports += [f"{location} import {m}" for m in modules if m.split(".")[0] in banned_modules]
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in (
                    "eval",
                    "exec",
                    "compile",
                    "os.system",
                    "os.popen",
                    "np.load",
                    "numpy.load",
                    "torch.load",
                ):
                    imports.append(f"{location} {called}")
                for keyword in node.keywords:
                    if keyword.arg in ("shell", "allow_pickle") and ast.unparse(keyword.value) != "False":
                        imports.append(f"{location} {keyword.arg}={ast.unparse(keyword.value)}")
    assert not imports


def test_colours_come_from_values_only(hostile):
    """`iterate` runs Python, so that what reaches it is a name."""
    dsr_movie("fit", "1-3", _self=hostile)
    for line in ("__import__('os').system('touch owned')", "b)+(1", "b;x", "b\nx", "open('owned','w')"):
        refused(dsr_color, "fit", line, _self=hostile)
    assert os.listdir() == ["fit.dsr"] and session_of(hostile).movies.by_name
