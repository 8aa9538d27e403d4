"""Sessions: surfaces that play anywhere, and fits that are there again where the plugin is."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from pymol import CmdException

from pymol_dsr.commands.files import dsr_load, dsr_save
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.manage import dsr_status
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.fits import pse
from pymol_dsr.fits.fit import Fit, Phase, Trajectory
from pymol_dsr.session import session_of
from pymol_dsr.shared import reading
from pymol_dsr.shared.messages import FitReport
from support.paths import TESTS
from support.scene import build_peptide
from support.session import set_up
from support.waiting import PATIENCE, wait_for

GOLDEN = TESTS / "system" / "golden" / "pep.dsr"


@pytest.fixture
def plugin(cmd, monkeypatch, tmp_path):
    """A PyMOL with the commands, a folder of fits of its own, and the backend of this checkout."""
    set_up(cmd, monkeypatch, tmp_path)
    return cmd


def saved(cmd, folder, movie=True):
    """`pep` with a movie that came from the file `kept.dsr`, without a fit being made: which one it is, is not read."""
    jobs = session_of(cmd).jobs
    build_peptide(cmd, count=2)
    (folder / "kept.dsr").write_bytes(b"a fit")
    trajectory = Trajectory("", "pep", "%pep", None, [1.0, 2.0])
    jobs.fits["fit"] = Fit("fit", [trajectory], phase=Phase.READY, file=str(folder / "kept.dsr"))
    for state in (1, 2):
        cmd.load_cgo([2.0, 4.0, 4.0, 0.0, 0.0, 0.0, 4.0, 1.0, 0.0, 0.0, 4.0, 0.0, float(state), 0.0, 3.0], "fit", state)
    if movie:
        session_of(cmd).references.add_movie("fit", "fit", ["fit"], "dsr_movie fit, 1-2")
    cmd.save(str(folder / "scene.pse"))
    session_of(cmd).references.movies.clear()
    jobs.fits.clear()
    return str(folder / "scene.pse")


def test_deleted_bars_do_not_break_a_session(plugin):
    """PyMOL 2.5 aborts on opening one with two ramps of no name, which is what deleted ones are."""
    plugin.pseudoatom("one")
    for name in ("first", "second", "_gone_0", "third"):
        plugin.ramp_new(name, "none", [0, 1], ["red", "blue"])
        if name != "_gone_0":
            plugin.delete(name)
    names = [entry[0] for entry in plugin.get_session()["color_ext"]]
    assert len(set(names)) == 4 and all(names) and "_gone_0" in names


def opened(cmd, path, capsys):
    capsys.readouterr()
    cmd.load(path)
    return [line for line in capsys.readouterr().out.splitlines() if line.strip()]


def fresh(folder, script, plugin):
    """Run a script in a PyMOL of its own; what it printed."""
    lines = "import pymol_dsr\n" if plugin else "import sys\n"
    (folder / "script.py").write_text(f"{lines}from pymol import cmd\n{script}")
    process = subprocess.run(
        [sys.executable, "-m", "pymol", "-cqk", str(folder / "script.py")],
        cwd=folder,
        env=dict(os.environ, HOME=str(folder)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert process.returncode == 0 and not process.stderr.strip(), process.stdout + process.stderr
    return process.stdout


@pytest.mark.system
def test_a_fit_is_there_again_in_another_pymol_and_plays_without_the_plugin(plugin, tmp_path):
    pytest.importorskip("torch")
    build_peptide(plugin)
    dsr_fit("pep", "1-5:2", name="fit", preset="preview", watch=0, _self=plugin)
    dsr_movie("fit", "1-3:0.5", triangles=2000, overlay=1, _self=plugin)
    path = str(tmp_path / "scene.pse")
    plugin.save(path)
    out = fresh(
        tmp_path,
        f"""
cmd.load({path!r})
from pymol_dsr.session import session_of
import sys
jobs = session_of(cmd).jobs
assert str(jobs.fits["fit"].phase) == "stored" and jobs.connection.running is None
session_of(cmd).settings.put("backend", sys.executable + " -m dsr_backend serve")
cmd.do("dsr_status")
cmd.delete("fit")
cmd.do("dsr_movie fit, 1-3:0.5, triangles=2000, overlay=1")
print("STATES", cmd.count_states("fit"), cmd.count_frames(), cmd.get_names())
jobs.close()
""",
        plugin=True,
    )
    file = tmp_path / "home" / "fits" / "fit.dsr"
    order = "dsr_movie fit, 1-3:0.5, triangles=2000, overlay=1"
    assert f" fit: from {file}, loaded when used; made by: {order}\n" in out, out
    assert f" fit: from {file}, loaded when used\n" in out
    assert "STATES 5 5 ['pep', 'fit', 'fit_atoms', 'fit_time']" in out and "Error" not in out, out
    out = fresh(
        tmp_path,
        f"""
cmd.load({path!r})
cmd.disable("pep fit_atoms fit_time")
cmd.set("geometry_export_mode", 1)
assert "pymol_dsr" not in sys.modules
print("STATES", cmd.count_states("fit"), cmd.count_frames(), cmd.get_idtf()[1].count("MODEL_POSITION_LIST"))
""",
        plugin=False,
    )
    assert [line for line in out.splitlines() if not line.startswith("PyMOL>")] == ["STATES 5 5 1"], out


def test_what_is_stored_is_plain(plugin, tmp_path):
    path = saved(plugin, tmp_path)
    plugin.load(path)
    session_data = plugin._pymol.session.dsr
    assert json.loads(json.dumps(session_data)) == session_data
    assert (
        session_data["fits"]["fit"]["path"] == str(tmp_path / "kept.dsr")
        and len(session_data["fits"]["fit"]["sha256"]) == 64
    )


def test_a_session_that_passed_through_a_pymol_without_the_plugin_keeps_its_fits(plugin, tmp_path, capsys):
    path = saved(plugin, tmp_path)
    fresh(tmp_path, f"cmd.load({path!r}); cmd.save({path!r})", plugin=False)
    assert opened(plugin, path, capsys)[-1].startswith(f" fit: from {tmp_path / 'kept.dsr'}, loaded when used")


def test_a_fit_that_is_not_loaded_stays_what_it_was_when_saved_anew(plugin, tmp_path, capsys):
    path = saved(plugin, tmp_path)
    plugin.load(path)
    (tmp_path / "kept.dsr").write_bytes(b"another fit")
    plugin.save(path)
    session_of(plugin).jobs.fits.clear()
    opened(plugin, path, capsys)
    with pytest.raises(CmdException, match=r"is not what it was when the session was saved \(another SHA-256\)"):
        dsr_movie("fit", _self=plugin)


def test_a_missing_file_is_one_line_and_everything_else_is_there(plugin, tmp_path, capsys):
    path = saved(plugin, tmp_path)
    os.unlink(tmp_path / "kept.dsr")
    file = tmp_path / "kept.dsr"
    assert opened(plugin, path, capsys) == [
        f" fit: its file {file} is missing; its surfaces play, and 'dsr_load FILE, fit' brings the fit back"
    ]
    assert plugin.get_names() == ["pep", "fit"] and plugin.count_states("fit") == 2
    with pytest.raises(CmdException, match="is missing; 'dsr_load FILE, fit' brings the fit back"):
        dsr_movie("fit", _self=plugin)
    assert dsr_status(_self=plugin)


def test_a_file_that_moved_with_its_session_is_found_beside_it(plugin, tmp_path):
    path = saved(plugin, tmp_path)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("scene.pse", "kept.dsr"):
        shutil.move(tmp_path / name, moved / name)
    plugin.load(str(moved / "scene.pse"))
    fit = session_of(plugin).jobs.fits["fit"]
    assert fit.phase is Phase.STORED and fit.fetch() == (str(moved / "kept.dsr"), b"a fit")
    assert path != str(moved / "scene.pse")


def test_a_fit_without_a_file_here_is_told_when_the_session_is_saved(plugin, tmp_path, capsys):
    jobs = session_of(plugin).jobs
    build_peptide(plugin, count=2)
    jobs.fits["fit"] = Fit("fit", phase=Phase.READY, report=FitReport(path="/far/away/fit.dsr"))
    session_of(plugin).references.add_movie("pep", "fit", ["pep"], "dsr_movie fit")
    plugin.save(str(tmp_path / "scene.pse"))
    out = capsys.readouterr().out
    assert "fit: its file /far/away/fit.dsr is missing" in out and "dsr_save fit, fit.dsr" in out
    jobs.fits.clear()
    assert "names no file of this fit" in "".join(opened(plugin, str(tmp_path / "scene.pse"), capsys))


def test_the_size_of_large_meshes_is_said_when_a_session_is_saved(plugin, tmp_path, capsys):
    saved(plugin, tmp_path)
    references = session_of(plugin).references
    for size, line in (
        (19.0, ""),
        (
            205.4,
            " fit: its meshes take 205 MB of this session, since its fit is not at hand; 'delete fit' before you save",
        ),
    ):
        references.add_movie("fit", "fit", ["fit"], "dsr_movie fit, 1-2", size)
        capsys.readouterr()
        # A part of the scene is no session file.
        plugin.get_session("fit", partial=1)
        assert "meshes take" not in capsys.readouterr().out
        plugin.save(str(tmp_path / "scene.pse"))
        out = capsys.readouterr().out
        assert line in out and ("meshes take" in out) == bool(line)
    assert "'dsr_movie fit, 1-2' makes them again" in out


def test_a_session_takes_no_fit_of_this_one_away(plugin, tmp_path, capsys):
    jobs = session_of(plugin).jobs
    path = saved(plugin, tmp_path)
    live_fit = jobs.fits["fit"] = Fit("fit", phase=Phase.READY)
    assert opened(plugin, path, capsys) == [] and jobs.fits["fit"] is live_fit


def test_only_what_is_in_a_session_is_named_in_it(plugin, tmp_path, capsys):
    saved(plugin, tmp_path)
    session_of(plugin).references.add_movie("fit", "fit", ["fit"], "dsr_movie fit, 1-2")
    partial_session = plugin.get_session("pep", partial=1)
    assert not hasattr(partial_session["session"], "dsr")
    plugin.delete("fit")
    plugin.save(str(tmp_path / "without.pse"))
    assert opened(plugin, str(tmp_path / "without.pse"), capsys) == [] and not session_of(plugin).jobs.fits


@pytest.mark.parametrize(
    "session_data",
    [
        "text",
        {"format": "dsr session 9", "fits": {}, "movies": {}},
        {"format": "dsr session 1"},
        {"format": "dsr session 1", "fits": {"fit": {"path": 1, "sha256": ""}}, "movies": {}},
        {"format": "dsr session 1", "fits": {}, "movies": {"fit": 3}},
        {"format": "dsr session 1", "fits": 3, "movies": {}},
        {"format": "dsr session 1", "fits": {"../../fit": {"path": "/a.dsr", "sha256": ""}}, "movies": {}},
        {"format": "dsr session 1", "fits": {"x" * 100_000: {"path": "/a.dsr", "sha256": ""}}, "movies": {}},
        {"format": "dsr session 1", "fits": {"fit": {"path": "/a" * 100_000, "sha256": ""}}, "movies": {}},
        {"format": "dsr session 1", "fits": {"fit": {"path": "/a.dsr", "sha256": "\x1b[2J" * 9}}, "movies": {}},
        {"format": "\x1b[2J" * 100_000, "fits": {}, "movies": {}},
        {"format": "dsr session 1", "fits": {}, "movies": {"m": {"fit": "../m", "objects": ["m"], "command": ""}}},
        {"format": "dsr session 1", "fits": {}, "movies": {"m": {"fit": "m", "objects": ["m"], "command": "x" * 9999}}},
        {"format": "dsr session 1", "fits": {str(n): {"path": "", "sha256": ""} for n in range(5000)}, "movies": {}},
    ],
)
def test_what_cannot_be_read_is_one_line(plugin, tmp_path, capsys, session_data):
    path = saved(plugin, tmp_path, movie=False)
    plugin._pymol.session.dsr = session_data
    session = {"session": plugin._pymol.session}
    capsys.readouterr()
    assert session_of(plugin).references.restore(session, _self=plugin)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and "can't be read" in lines[0] and "dsr_load" in lines[0]
    assert lines[0].isprintable() and len(lines[0]) < 400
    assert not session_of(plugin).jobs.fits and path


def test_texts_of_a_session_are_printable_where_they_are_shown(plugin, tmp_path, capsys):
    saved(plugin, tmp_path, movie=False)
    (tmp_path / "kept\x1b[31m.dsr").write_bytes(b"a fit")
    escape = "\x1b]0;owned\x07\x1b[2J\u202e"
    plugin._pymol.session.dsr = {
        "format": "dsr session 1",
        "fits": {"fit": {"path": f"{tmp_path}/{escape}.dsr", "sha256": "0" * 64}},
        "movies": {f"fit{escape}": {"fit": "fit", "objects": [escape], "command": f"dsr_movie fit{escape}"}},
    }
    capsys.readouterr()
    session_of(plugin).references.restore({"session": plugin._pymol.session}, _self=plugin)
    lines = [*capsys.readouterr().out.splitlines(), *dsr_status(_self=plugin)]
    assert len(lines) == 2 and all(line.isprintable() for line in lines), lines
    assert all(name.isprintable() for name in session_of(plugin).references.movies)


def unreadable(folder):
    """Files that no fit is, by the reason that is given."""
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to(folder / "loop")
    with open(folder / "huge", "wb") as stream:
        stream.truncate(6 * 2**30)
    return {
        str(folder / "pipe"): "can't be read: it is no regular file",
        "/dev/zero": "can't be read: it is no regular file",
        str(folder / "folder"): "can't be read: it is no regular file",
        str(folder / "loop"): f"can't be read: {os.strerror(errno.ELOOP)}",
        str(folder / "huge"): f"has {6 * 2**30} bytes, and {2**30} is the most",
        "/proc/self/mem": "can't be read",
        "/" + "x" * 300: f"can't be read: {os.strerror(errno.ENAMETOOLONG)}",
        "/a\0b": "",
    }


def test_a_file_that_can_not_be_read_is_one_line_at_opening_saving_and_use(plugin, tmp_path, capsys):
    """Pipes, devices, folders, loops of links and a file of 6 GiB, none of which is waited for or read."""
    saved(plugin, tmp_path, movie=False)
    jobs, references = session_of(plugin).jobs, session_of(plugin).references
    for path, reason in unreadable(tmp_path).items():
        plugin._pymol.session.dsr = {
            "format": "dsr session 1",
            "fits": {"fit": {"path": path, "sha256": "0" * 64}},
            "movies": {"fit": {"fit": "fit", "objects": ["fit"], "command": "dsr_movie fit"}},
        }
        jobs.fits.clear()
        capsys.readouterr()
        references.restore({"session": plugin._pymol.session}, _self=plugin)
        [line] = capsys.readouterr().out.splitlines()
        if path != "/proc/self/mem":
            assert reason in line and "dsr_load FILE, fit' brings the fit back" in line, line
        with pytest.raises(CmdException) as error:
            dsr_movie("fit", _self=plugin)
        assert reason in str(error.value) and "\n" not in str(error.value.args[0])
        jobs.fits["fit"] = Fit("fit", phase=Phase.READY, file=path)
        capsys.readouterr()
        plugin.save(str(tmp_path / "other.pse"))
        [line] = capsys.readouterr().out.splitlines()
        assert line.startswith(" fit: its file ") and reason in line, line
        if "\0" not in path:
            with pytest.raises(CmdException, match="filename ") as error:
                dsr_load(path, "other", _self=plugin)
            assert reason in str(error.value) and "\n" not in str(error.value.args[0])


def test_a_fit_file_is_only_read_when_it_is_used(plugin, tmp_path, monkeypatch):
    path = saved(plugin, tmp_path)
    file = tmp_path / "kept.dsr"
    monkeypatch.setattr(reading, "_chunks", lambda *args: pytest.fail("read before it is used"))
    plugin.load(path)
    assert dsr_status(_self=plugin) == [f"fit: from {file}, loaded when used"]


def test_the_line_that_makes_a_movie_again_says_what_differs():
    named = {"level": (1.5, 0.0), "color": ("", ""), "play": ("loop", "")}
    line = pse.command_line("dsr_movie", ["fit", ""], named)
    assert line == "dsr_movie fit, level=1.5, play=loop"


def end_backend(cmd):
    """Kill the backend, and wait until the plugin knows."""
    backend = session_of(cmd).jobs.connection.running
    os.kill(backend.info.pid, signal.SIGKILL)
    wait_for(lambda: not backend.alive)


@pytest.mark.system
def test_a_loaded_fit_is_fetched_again_after_its_backend_has_ended(plugin, tmp_path):
    """From its own file and not from another fit of that name in the backend's folder."""
    jobs, file = session_of(plugin).jobs, tmp_path / "one.dsr"
    shutil.copy(GOLDEN, file)
    dsr_load(str(file), "one", _self=plugin)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    before = jobs.fits["one"]
    end_backend(plugin)
    (tmp_path / "home" / "fits").mkdir(parents=True)
    (tmp_path / "home" / "fits" / "one.dsr").write_bytes(b"another fit")
    for _ in range(2):
        assert dsr_status(_self=plugin) == [f"one: from {file}, loaded when used, on {before.device}"]
        assert (jobs.fits["one"].phase, jobs.fits["one"].digest) == (Phase.STORED, digest)
        dsr_save("one", str(tmp_path / "again.dsr"), _self=plugin)
        assert jobs.fits["one"].phase is Phase.READY and jobs.fits["one"].report == before.report
        file = tmp_path / "again.dsr"
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        end_backend(plugin)
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(CmdException, match=r"again\.dsr is not what it was when it was loaded \(another SHA-256\)"):
        dsr_movie("one", _self=plugin)
    file.unlink()
    with pytest.raises(CmdException, match=r"its file .*again\.dsr is missing; 'dsr_load FILE, one'"):
        dsr_movie("one", _self=plugin)


@pytest.mark.system
def test_a_fit_without_a_file_is_lost_with_its_backend_and_says_so(plugin):
    jobs = session_of(plugin).jobs
    jobs.load("one", GOLDEN.read_bytes())
    end_backend(plugin)
    [line] = dsr_status(_self=plugin)
    assert line.startswith(
        "one: failed: lost, since its backend has ended and it has no file; make it again with dsr_fit, or bring"
    )
    with pytest.raises(CmdException, match="lost, since its backend has ended and it has no file"):
        dsr_movie("one", _self=plugin)


@pytest.mark.system
def test_a_fit_in_the_folder_of_fits_is_used_after_its_backend_has_ended(plugin, tmp_path):
    jobs = session_of(plugin).jobs
    (tmp_path / "home" / "fits").mkdir(parents=True)
    shutil.copy(GOLDEN, tmp_path / "home" / "fits" / "one.dsr")
    report = jobs.load("one").report
    for _ in range(2):
        end_backend(plugin)
        assert dsr_status(_self=plugin)[0].startswith("one: fitted, loaded when used")
        assert jobs.get("one").phase is Phase.READY and jobs.fits["one"].report == report
