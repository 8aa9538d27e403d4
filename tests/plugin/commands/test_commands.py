"""The commands as a user meets them: what they refuse, and the whole way from a trajectory to a movie."""

from __future__ import annotations

import csv
import itertools
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from pymol import CmdException

from pymol_dsr.commands import fit as commands_fit
from pymol_dsr.commands.evaluate import dsr_eval
from pymol_dsr.commands.files import dsr_export, dsr_load, dsr_save, dsr_surfaces
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.levels import dsr_levels
from pymol_dsr.commands.manage import dsr_cancel, dsr_set, dsr_status
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.fits.fit import Fit, Phase
from pymol_dsr.scene.objects import SceneError
from pymol_dsr.session import session_of
from pymol_dsr.surfaces import surfaces_file, workers
from support.paths import SUPPORT
from support.scene import build_peptide, coordinates, idtf_points
from support.session import begin_another_session, ready, refused
from support.waiting import wait_for

# Refusals: at once, one line, no backend


@pytest.mark.parametrize(
    "line, message",
    [
        ("dsr_fit pep, 1, 5, 9", "join states with + as in 1+5+9"),
        ("dsr_fit pep, sates=1", "unexpected keyword argument 'sates'"),
        ("dsr_fit pepp", 'selection pepp: Invalid selection name "pepp"'),
        ("dsr_fit none", "selection none: it holds no atoms"),
        (
            "dsr_fit pep, 1-9",
            "states 1-9: the object pep has 6 states; 9 is past the end; dsr_continue makes states after the last one",
        ),
        ("dsr_fit pep, 1-3:0.5", "not whole"),
        ("dsr_fit pep, preset=slow", "preset slow: choose one of fast, fine, preview, paper"),
        ("dsr_fit pep, device=tpu", "device tpu"),
        ("dsr_fit pep, smooth=-1", "smooth -1: it must lie between 0 and 100 states, or be auto"),
        ("dsr_fit pep, budget=0", "budget 0: it must be above 0"),
        ("dsr_fit pep, seed=x", "seed x: it is not a whole number"),
        ("dsr_fit , 1-3", "dsr_fit: selection is empty; see 'help dsr_fit'"),
        # An argument that is left empty between commas has its default.
        ("dsr_fit pep, , device=tpu", "device tpu"),
        ("dsr_fit pep, preset=fast, , device=tpu", "device tpu"),
        ("dsr_fit pep, 5-2", "the range runs backwards, from 5 to 2; write 2-5"),
        ("dsr_fit pep+pep", "selection pep+pep: the object pep occurs twice"),
        ("dsr_fit pep+nope", 'selection nope: Invalid selection name "nope"'),
        ("dsr_fit pep, 1-5:1..", "'1-5:1..' is not a state or a range"),
        ("dsr_fit pep, family=nope", "there is no fit nope"),
        ("dsr_fit pep, times=/no/such/file.txt", "No such file"),
        ("dsr_fit pep, frozen=1", "frozen 1: it keeps the network of a family; give family= too"),
        ("dsr_movie nope", "there is no fit nope (there: none)"),
        ("dsr_levels nope, 1", "there is no fit nope"),
        ("dsr_eval nope", "there is no fit nope"),
        ("dsr_export nope, x.ply", "there is no fit nope"),
        ("dsr_save nope, x.dsr", "there is no fit nope"),
        ("dsr_cancel nope", "there is no fit nope"),
        ("dsr_status nope", "there is no fit nope"),
        ("dsr_load /no/such/file.dsr", "filename /no/such/file.dsr is missing"),
        ("dsr_surfaces pep, /no/such/x.npz", "the folder /no/such does not exist"),
        ("dsr_surfaces pep, x.txt", "x.txt: it must end in .safetensors, .npz"),
        ("dsr_set color, red", "color is no setting; there are backend, device, folder, workers"),
        ("dsr_set workers, many", "workers many"),
        ("dsr_set folder, /no/such", "/no/such is not a folder"),
        ("dsr_set backend, /no/such/program serve", "/no/such/program"),
    ],
)
def test_typed_mistakes_are_one_line_at_once(plugin, capfd, line, message):
    plugin.do(line)
    out = capfd.readouterr().out
    errors = [text for text in out.splitlines() if text.startswith(" Error: ")]
    assert len(errors) == 1 and message in errors[0], out
    assert "Traceback" not in out
    assert session_of(plugin).jobs.connection.running is None


def test_usage_is_printed_for_a_question_mark(plugin, capfd):
    plugin.do("dsr_fit ?")
    assert "Usage: dsr_fit selection [, states" in capfd.readouterr().out


def test_names_are_completed(plugin):
    build_peptide(plugin, "another", 1)
    session_of(plugin).jobs.fits["my_fit"] = Fit("my_fit")
    assert plugin.auto_arg[0]["dsr_fit"] == plugin.auto_arg[0]["zoom"]
    complete, _, _ = plugin.auto_arg[0]["dsr_movie"]
    assert complete().interpret("my") == "my_fit"


def test_a_fit_that_is_not_ready_is_not_used(plugin):
    fit = Fit("early")
    fit.phase, fit.fraction = Phase.FIT, 0.43
    session_of(plugin).jobs.fits["early"] = fit
    assert refused(plugin, dsr_movie, "early") == "early: fit 43 %; it can be used when it is ready"


def test_a_fit_whose_preview_fails_is_not_entered_and_the_one_before_it_stays(plugin, monkeypatch):
    jobs = session_of(plugin).jobs
    before = ready(plugin, "pep_dsr", "")

    def failing(*args):
        raise SceneError("a fault of the scene")

    monkeypatch.setattr(commands_fit, "Preview", failing)
    assert "a fault of the scene" in refused(plugin, dsr_fit, "pep", watch=1)
    assert list(jobs.fits.values()) == [before] and before.activity is None


@pytest.mark.parametrize("command", ["dsr_movie fam, 1", "dsr_levels fam, 1", "dsr_eval fam", "dsr_export fam, x.ply"])
@pytest.mark.parametrize(
    "arguments, message",
    [
        ("", "fam holds several trajectories: choose one with trajectory= (pep, two)"),
        ("trajectory=three", "trajectory three: fam does not hold it; choose one of pep, two"),
        ("trajectory=pep, towards=three", "towards three: fam does not hold it; choose one of pep, two"),
        ("trajectory=pep, towards=pep", "towards pep: it is the trajectory itself"),
        ("trajectory=pep, towards=two, share=1.5", "share 1.5: it must lie between 0 and 1"),
        ("trajectory=pep, towards=two, share=-1", "share -1: it must lie between 0 and 1"),
        ("trajectory=pep, share=0.5", "share 0.5: it says how far towards another trajectory; give towards= too"),
    ],
)
def test_which_trajectory_is_said_clearly(plugin, capfd, command, arguments, message):
    ready(plugin, "fam", "pep", "two")
    if command.startswith("dsr_eval") and ("towards" in arguments or "share" in arguments):
        message = "unexpected keyword argument"
    plugin.do(command + (f", {arguments}" if arguments else ""))
    assert message in capfd.readouterr().out
    assert session_of(plugin).jobs.connection.running is None


@pytest.mark.parametrize(
    "line, message",
    [
        ("dsr_movie one, trajectory=pep", "one is a fit of one trajectory: leave trajectory=pep out"),
        ("dsr_movie one, towards=pep", "one is a fit of one trajectory: leave towards=pep out"),
        ("dsr_fit pep, family=one", "family one: it is a fit of one trajectory; dsr_fit one+two makes a family"),
        ("dsr_fit pep or two, family=fam", "a family takes one new trajectory at a time, not pep, two"),
        ("dsr_fit two, family=fam, name=fam", "name fam: the fit would take the place of the family"),
        ("dsr_eval one, baselines=hold cubic", "baselines cubic: choose one of hold, linear, smooth, surface3"),
        ("dsr_levels one", "missing a required argument: 'state'"),
        ("dsr_levels one, 1-3", "state 1-3: the levels of one time are shown at once"),
        ("dsr_levels one, 1, 0, 2", "a comma ends an argument, so '2' belongs to nothing"),
        ("dsr_levels one, 1, levels=0, 2", "a comma ends an argument, so '2' does not belong to levels=0; join"),
        ("dsr_levels one, levels=0, 2", "write spaces between numbers as in levels=10 50"),
        ("dsr_occupancy one, levels=10, 50", "so '50' does not belong to levels=10"),
        ("dsr_movie one, states=1, 3, movie=0", "so '3' does not belong to states=1; join states with + as in 1+5+9"),
        ("dsr_fit pep, breaks=2, 4", "so '4' does not belong to breaks=2"),
        ("dsr_measure one, selection=resi 1, 2", "so '2' does not belong to selection=resi 1"),
        ("dsr_levels one, 1, 0 1+2", "levels 1+2: it is not a number"),
        ("dsr_levels one, 1, transparency=2", "transparency 2: it must lie between 0 and 1"),
        ("dsr_levels one, 1, resolution=0", "resolution 0: it must lie between 0.01 and 10 Å"),
        ("dsr_levels one, 1, object=pep", "the name pep is taken by a molecule"),
    ],
)
def test_more_mistakes_with_fits_that_are_there(plugin, capfd, line, message):
    jobs = session_of(plugin).jobs
    build_peptide(plugin, "two", 3)
    ready(plugin, "one", "")
    ready(plugin, "fam", "pep", "two")
    plugin.do(line)
    out = capfd.readouterr().out
    assert message in out and "Traceback" not in out
    assert jobs.connection.running is None and not any(fit.activity for fit in jobs.fits.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 2", "it has 3 numbers and pep 6 states; give one for each state"),
        ("0 1 2 2 3 4", "line 1: 2 comes after 2; times must rise from state to state"),
        ("0, 1\n2\n4 ns 8 9", "line 3: 'ns' is not a number"),
    ],
)
def test_times_that_do_not_go_with_the_states_are_refused(plugin, tmp_path, text, message):
    path = tmp_path / "times.txt"
    path.write_text(text)
    assert message in refused(plugin, dsr_fit, "pep", times=str(path))


@pytest.mark.system
def test_uneven_times_and_a_loop(backend, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(commands_fit, "POORLY", 2.0)
    path = tmp_path / "times.txt"
    path.write_text("# ns\n0 1 2\n4 8 16")
    dsr_fit("pep", name="uneven", preset="preview", times=str(path), loop=1, _self=backend)
    fit = session_of(backend).jobs.get("uneven")
    assert fit.report.members()[""].states == (1, 2, 3, 4, 5, 6)
    forecast = fit.report.members()[""].forecast
    assert forecast is not None and forecast.startswith("none, the states are a loop of")
    assert " uneven: warning: states that were held out were predicted with an IoU of 0." in capsys.readouterr().out
    dsr_movie("uneven", "1-6", _self=backend)
    assert backend.count_states("uneven") == 6


def test_status_lists_the_trajectories_of_a_family(plugin):
    ready(plugin, "fam", "pep", "two").trajectories[1].states = [1.0, 2.0, 3.0]
    ready(plugin, "one", "")
    assert dsr_status(_self=plugin) == [
        "fam: ready, trajectories pep, two",
        "  pep: states 1+3",
        "  two: states 1-3",
        "one: ready, states 1+3 of pep",
    ]


def test_a_missing_backend_is_one_line(plugin):
    session_of(plugin).settings.put("backend", f"{sys.executable} -c pass")
    with pytest.raises(CmdException) as error:
        dsr_fit("pep", "1-2", _self=plugin)
    assert "ended with exit code 0" in str(error.value)
    assert dsr_status(_self=plugin)[0].startswith("pep_dsr: failed: ")
    assert not session_of(plugin).jobs.fits["pep_dsr"].activity


# Settings


def test_settings_are_checked_kept_and_reset(plugin):
    assert dsr_set("workers", "3", _self=plugin) == {"workers": "3"}
    assert session_of(plugin).settings.get("workers") == "3"
    refused(plugin, dsr_set, "workers", "-1")
    assert session_of(plugin).settings.get("workers") == "3"
    assert dsr_set("workers", "default", _self=plugin) == {"workers": "0"}
    assert set(dsr_set(_self=plugin)) == {"backend", "device", "folder", "workers", "wait", "session"}


def test_preferences_that_were_not_loaded_are_not_overwritten(plugin, monkeypatch):
    from pymol import plugins

    written = []
    monkeypatch.setattr(plugins, "pref_set", lambda key, value: written.append((key, value)))
    monkeypatch.setattr(plugins, "plugins", {})
    assert session_of(plugin).settings.put("workers", "2") is False and written == []
    monkeypatch.setattr(plugins, "plugins", {"any": None})
    assert session_of(plugin).settings.put("workers", "4") is True and written == [("dsr_workers", "4")]


# Without a backend


def test_surfaces_file_by_command(plugin, tmp_path):
    path = dsr_surfaces("pep", str(tmp_path / "pep.npz"), states="1-3:2", _self=plugin)
    with np.load(path, allow_pickle=False) as file:
        assert file["states"].tolist() == [1, 3]


def test_a_surfaces_file_is_written_a_surface_at_a_time_and_can_be_cancelled(plugin, tmp_path, monkeypatch):
    jobs, file, events = session_of(plugin).jobs, tmp_path / "pep.npz", []
    compute, write = workers.compute_surfaces, surfaces_file.write

    def watched(source, *args):
        for surface in compute(source, *args):
            events.append("made")
            yield surface
            [task] = jobs.listed()
            if source.states == [1, 2, 3]:
                jobs.cancel(task.name)

    def noted(surfaces):
        for surface in surfaces:
            events.append("written")
            yield surface

    def counted(path, source, surfaces):
        write(path, source, noted(surfaces))

    monkeypatch.setattr(workers, "compute_surfaces", watched)
    monkeypatch.setattr(surfaces_file, "write", counted)
    dsr_surfaces("pep", str(file), states="1-2", _self=plugin)
    assert events == ["made", "written"] * 2 and not jobs.fits
    file.unlink()
    line = refused(plugin, dsr_surfaces, "pep", str(file), states="1-3")
    assert line == f"pep_surfaces: cancelled; {file} is not written"
    assert not jobs.fits and not list(tmp_path.glob("*pep*"))


def test_surfaces_file_by_module(plugin, tmp_path, capfd):
    from pymol_dsr.__main__ import main

    structure, out = tmp_path / "pep.pdb", tmp_path / "out.npz"
    plugin.save(str(structure), "pep", state=0)
    assert main([str(structure), "--states", "1-5:4", "--out", str(out)]) == 0
    with np.load(out, allow_pickle=False) as file:
        assert file["states"].tolist() == [1, 5]
    assert main([str(structure), "--states", "1-9", "--out", str(out)]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"pymol_dsr: {structure}: states 1-9: the object pep has 6 states; 9 is past the end"
    )
    assert main([str(tmp_path / "none.pdb"), "--out", str(out)]) == 1
    assert main([str(structure), "--selection", "chain Q", "--out", str(out)]) == 1


# The whole way, with the real backend


@pytest.mark.system
def test_from_trajectory_to_movie(backend, monkeypatch, capfd, tmp_path):
    cmd = backend
    cmd.rotate("y", 30, object="pep", camera=0)
    name = dsr_fit("pep", "1-5:2", preset="preview", quiet=0, _self=cmd)
    assert name == "pep_dsr"
    output = capfd.readouterr().out
    assert "pep_dsr: 3 states fitted" in output and "cpu" in output.lower()
    assert dsr_status(_self=cmd)[0].startswith("pep_dsr: ready, states 1-5:2 of pep")

    assert dsr_movie(name, _self=cmd) == "pep_dsr"
    assert cmd.get_type("pep_dsr") == "object:cgo" and cmd.count_states("pep_dsr") == 5
    assert cmd.count_frames() == 5
    cmd.set("defer_builds_mode", 3)
    cmd.show_as("surface", "pep")
    from scipy.spatial import cKDTree

    for state in (1, 2, 5):
        volumes = []
        for shape in ("pep", "pep_dsr"):
            cmd.disable("all")
            cmd.enable(shape)
            cmd.set("state", state)
            volumes.append(idtf_points(cmd))
        assert len(volumes[1]) > 200
        distance = cKDTree(volumes[0]).query(volumes[1])[0]
        assert np.median(distance) < 0.6, (state, np.median(distance))

    # Past the end, between states, as a map
    dsr_movie(name, "4-7", object="late", _self=cmd)
    assert "late_future" in cmd.get_names() and cmd.count_states("late_future") == 7
    assert "extrapolated" in capfd.readouterr().out
    dsr_movie(name, "1-2:0.5", object="slow", _self=cmd)
    assert cmd.count_states("slow") == cmd.count_states("slow_atoms") == 3
    dsr_movie(name, "1+3", object="grid", as_="map", resolution=1.0, _self=cmd)
    assert cmd.get_type("grid") == "object:surface" and cmd.count_states("grid") == 3

    # Files, in the frame of the scene
    path = str(tmp_path / "one.npz")
    assert dsr_export(name, path, states="3", _self=cmd) == [path]
    with np.load(path) as mesh:
        exported = mesh["points"]
    cmd.disable("all")
    cmd.enable("pep_dsr")
    cmd.set("state", 3)
    assert np.median(cKDTree(idtf_points(cmd)).query(exported)[0]) < 0.3
    dsr_export(name, path, states="3", steady=1, _self=cmd)
    with np.load(path) as mesh:
        distances = cKDTree(exported).query(mesh["points"])[0]
    # State 3 averaged with its neighbours: another surface, of the same molecule.
    assert 0.01 < np.median(distances) < 0.6
    paths = dsr_export(name, str(tmp_path / "m.ply"), states="1-2:0.25", resolution=1.0, _self=cmd)
    assert [os.path.basename(p) for p in paths] == [
        f"m_{t}.ply" for t in ("0001.00", "0001.25", "0001.50", "0001.75", "0002.00")
    ]
    assert all(os.path.getsize(p) > 1000 for p in paths)
    film = str(tmp_path / "m.glb")
    cmd.set("movie_fps", 5)
    assert dsr_export(name, film, states="1-2:0.25", resolution=1.0, _self=cmd) == [film]
    with open(film, "rb") as stream:
        played = stream.read()
    assert played.startswith(b"glTF") and played.count(b'"mesh":') == 5 and b'"max":[1.0]' in played
    (solid,) = dsr_export(name, str(tmp_path / "one.stl"), states="3", resolution=1.0, _self=cmd)
    assert os.path.getsize(solid) % 50 == 84 % 50
    line = refused(cmd, dsr_export, name, str(tmp_path / "one.obj"), binary=1)
    assert line == "binary 1: only .ply comes in two kinds, .obj in one"

    # Saved, and loaded into a backend that never saw it
    saved = dsr_save(name, str(tmp_path / "pep.dsr"), _self=cmd)
    begin_another_session(cmd)
    assert dsr_load(saved, "again", _self=cmd) == "again"
    fit = session_of(cmd).jobs.get("again")
    (trajectory,) = fit.trajectories
    assert (trajectory.name, trajectory.object, trajectory.selection, trajectory.states) == (
        "",
        "pep",
        "pep",
        [1, 3, 5],
    )
    assert trajectory.atoms.tolist() == list(range(cmd.count_atoms("pep")))
    dsr_movie("again", "2", _self=cmd)
    assert cmd.count_states("again") == 2


@pytest.mark.system
def test_evaluation_beside_the_baselines(backend, capfd, tmp_path):
    build_peptide(backend, "four", 4)
    name = dsr_fit("four", "1-3:2", preset="preview", _self=backend)
    rows = dsr_eval(name, file=str(tmp_path / "four.csv"), quiet=0, _self=backend)
    methods = {(r.state, r.method) for r in rows}
    between = {(2, method) for method in ("field", "hold nearest", "atoms linear")}
    assert methods == {(1, "field"), (3, "field"), (4, "field"), (4, "hold nearest")} | between
    assert all(0 < r.iou <= 1 and 0 < r.nc <= 1 and r.chamfer_l1 > 0 for r in rows)
    assert min(r.iou for r in rows if r.group == "training") > 0.8
    for row in rows:
        expected = float("nan") if row.state == 1 else backend.intra_rms("four", row.state - 1)[row.state - 1]
        assert row.rmsd == pytest.approx(expected, abs=1e-4, nan_ok=True)
    out = capfd.readouterr().out
    assert "training" in out and "future 1-10" in out and "±" in out
    with open(tmp_path / "four.csv", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == len(rows) and float(table[0]["iou"]) == rows[0].iou
    # Atoms bend evenly here: straight lines are right, and smoothing them or another tessellation costs little.
    rows = dsr_eval(name, "2", baselines="linear smooth surface3", _self=backend)
    assert [r.method for r in rows] == ["field", "atoms linear", "atoms smoothed", "surface_type 3"]
    assert min(r.iou for r in rows[1:]) > 0.98
    assert [r.method for r in dsr_eval(name, "2+4", baselines="none", _self=backend)] == ["field", "field"]
    pytest.importorskip("matplotlib")
    assert (tmp_path / "four.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.system
def test_the_network_of_the_paper(backend, capsys):
    jobs = session_of(backend).jobs
    # A small network of few steps: its work is counted in steps, and the budget is never reached.
    session_of(backend).settings.put("backend", f"{sys.executable} {SUPPORT / 'problem_backend.py'} small 1 300")
    assert dsr_fit("pep", "1-3:2", preset="paper", budget=100_000, _self=backend) == "pep_dsr"
    assert jobs.get("pep_dsr").report.steps == 300
    assert jobs.get("pep_dsr").report.preset == "paper"
    dsr_movie("pep_dsr", "1-3", resolution=1, _self=backend)
    assert backend.count_states("pep_dsr") == 3
    assert "hours" not in capsys.readouterr().out
    dsr_fit("pep", "1-3:2", name="long", preset="paper", device="cpu", async_=1, _self=backend)
    wait_for(lambda: jobs.fits["long"].phase is Phase.FIT)
    dsr_cancel("long", _self=backend)
    wait_for(lambda: not jobs.fits["long"].activity)
    assert "long: warning: the network of the paper takes hours on a CPU; budget=600" in capsys.readouterr().out


@pytest.mark.system
def test_a_family_from_the_scene_to_the_scene(backend, monkeypatch, capfd, tmp_path):
    jobs = session_of(backend).jobs
    cmd = backend
    build_peptide(cmd, "two", 4)
    cmd.translate([15, 0, 0], "two", state=0, camera=0)
    cmd.translate([0, 40, 0], object="two", camera=0)
    cmd.color("red", "two")
    name = dsr_fit("two+pep", "1-4:1..2", preset="preview", quiet=0, _self=cmd)
    assert name == "two_dsr"
    assert "6 states fitted" in capfd.readouterr().out
    fit = jobs.get(name)
    assert [(t.name, t.object, t.states) for t in fit.trajectories] == [(o, o, [1.0, 2.0, 3.0]) for o in ("two", "pep")]

    # Each trajectory lies on its own molecule, wherever that is drawn.
    cmd.set("defer_builds_mode", 3)
    from scipy.spatial import cKDTree

    for trajectory in ("pep", "two"):
        assert dsr_movie(name, "1-3", trajectory=trajectory, _self=cmd) == f"two_dsr_{trajectory}"
        cmd.show_as("surface", trajectory)
        shapes_shown = []
        for shape in (trajectory, f"two_dsr_{trajectory}"):
            cmd.disable("all")
            cmd.enable(shape)
            cmd.set("state", 2)
            shapes_shown.append(idtf_points(cmd))
        assert len(shapes_shown[1]) > 200 and np.median(cKDTree(shapes_shown[0]).query(shapes_shown[1])[0]) < 0.6
    assert dsr_movie(name, "1-2", trajectory="pep", towards="two", share=0.25, _self=cmd) == "two_dsr_pep_two"
    path = str(tmp_path / "pep.npz")
    dsr_export(name, path, states="2", trajectory="two", _self=cmd)
    with np.load(path) as mesh:
        # 8 bits for each channel: all vertices have the colour of the molecule that was asked for.
        assert (mesh["colors"] == [255, 0, 0]).all()
        centre = coordinates(cmd, "two", 2).mean(axis=0) + np.array([0, 40, 0])
        assert np.abs(mesh["points"].mean(axis=0) - centre).max() < 2.0
    rows = dsr_eval(name, "1-2", trajectory="pep", baselines="none", _self=cmd)
    assert [r.group for r in rows] == ["training", "training"] and min(r.iou for r in rows) > 0.8

    # Another molecule like these, from the network of the family; the preset is the family's.
    for frozen in (1, 0):
        dsr_fit("pep and resi 1-6", "1-2", name="more", family=name, frozen=frozen, _self=cmd)
        third_fit = jobs.get("more")
        assert third_fit.report.preset == "preview" and not third_fit.family
    assert dsr_movie("more", "1-2", _self=cmd) == "more"
    with pytest.raises(CmdException, match="preset"):
        dsr_fit("pep", "1-2", name="more", family=name, preset="fast", _self=cmd)

    # As a file, in a backend that never saw it
    saved = dsr_save(name, str(tmp_path / "both.dsr"), _self=cmd)
    begin_another_session(cmd)
    assert dsr_load(saved, "again", _self=cmd) == "again"
    reloaded = session_of(cmd).jobs.get("again")
    for old, new in zip(fit.trajectories, reloaded.trajectories, strict=True):
        assert (old.name, old.object, old.selection, old.states) == (new.name, new.object, new.selection, new.states)
        assert np.array_equal(old.atoms, new.atoms)
    assert dsr_movie("again", "2", trajectory="two", object="loaded", _self=cmd) == "loaded"
    cmd.delete("two")
    dsr_load(saved, "third", _self=cmd)
    assert "the object two is not in the scene" in capfd.readouterr().out


@pytest.mark.system
def test_a_warning_of_a_surface_names_its_molecule_in_a_family(backend, monkeypatch, capfd):
    build_peptide(backend, "two", 2)
    compute = workers.compute_surfaces

    def warned(source, *args):
        for surface in compute(source, *args):
            if source.object == "pep":
                source.warnings.append("state 1: its surface is open")
            yield surface

    monkeypatch.setattr(workers, "compute_surfaces", warned)
    dsr_fit("two+pep", "1", name="fam", preset="preview", watch=0, _self=backend)
    assert "pep: state 1: its surface is open" in session_of(backend).jobs.fits["fam"].warnings
    assert " pep: warning: state 1: its surface is open" in capfd.readouterr().out


@pytest.mark.system
def test_a_killed_family_resumes_with_the_surfaces_it_had(backend, capsys):
    jobs = session_of(backend).jobs
    build_peptide(backend, "two", 4)
    options = {"name": "fam", "preset": "preview", "quiet": 0, "_self": backend}
    dsr_fit("pep+two", async_=1, **options)
    fit = jobs.fits["fam"]
    wait_for(lambda: fit.fraction > 0.7 or fit.phase is Phase.FIT)
    os.kill(jobs.connection.running.info.pid, 9)
    wait_for(lambda: fit.phase is Phase.FAILED)
    capsys.readouterr()
    dsr_fit("pep+two", resume=1, **options)
    assert "of 10 surfaces are there from before" in capsys.readouterr().out
    assert jobs.get("fam").report.members()["two"].states == (1, 2, 3, 4)


@pytest.mark.system
def test_levels_at_one_time(backend, capsys):
    cmd = backend
    name = dsr_fit("pep", "1-3:2", preset="preview", _self=cmd)
    dsr_movie(name, "1-3", _self=cmd)
    capsys.readouterr()
    assert dsr_levels(name, "2.5", quiet=0, _self=cmd) == "pep_dsr_levels"
    output = capsys.readouterr().out
    assert "pep_dsr is switched off, as it would hide the levels" in output
    assert "5 levels of state 2.5 loaded as pep_dsr_levels" in output or "is empty at this time" in output
    names = [n for n in cmd.get_names("all") if n.startswith("pep_dsr_levels_")]
    assert {"pep_dsr_levels_-1", "pep_dsr_levels_0", "pep_dsr_levels_+2", "pep_dsr_levels_+4"} <= set(names)
    extents = [np.array(cmd.get_extent(f"pep_dsr_levels_{level}")) for level in ("0", "+2", "+4")]
    for inner, outer in itertools.pairwise(extents):
        assert (outer[0] < inner[0] - 0.5).all() and (outer[1] > inner[1] + 0.5).all()

    dsr_levels(name, "5", "-40 0 1", object="nest", cut=1, resolution=1.0, _self=cmd)
    output = capsys.readouterr().out
    assert "level -40 is empty at this time" in output and "state 5 is extrapolated" in output
    assert [n for n in cmd.get_names("all") if n.startswith("nest")] == ["nest_0", "nest_+1", "nest"]
    with pytest.raises(CmdException, match="levels -40 are empty"):
        dsr_levels(name, "2", "-40", _self=cmd)
    with pytest.raises(CmdException, match="resolution"):
        dsr_levels(name, "2", resolution=0.001, _self=cmd)
    assert not session_of(backend).jobs.fits[name].activity


@pytest.mark.system
def test_background_queue_and_cancel(backend, capfd):
    first = dsr_fit("pep", "all", name="one", async_=1, quiet=0, _self=backend)
    second = dsr_fit("pep", "all", name="two", async_=1, quiet=0, _self=backend)
    assert (first, second) == ("one", "two")
    line = refused(backend, dsr_fit, "pep", name="one")
    assert line.startswith("one is busy with its fit; wait for it, dsr_cancel one")
    fits = session_of(backend).jobs.fits
    wait_for(lambda: fits["one"].phase in (Phase.FIT, Phase.READY))
    dsr_cancel("two", _self=backend)
    wait_for(lambda: fits["two"].phase is Phase.CANCELLED)
    if fits["one"].phase is not Phase.READY:
        dsr_cancel("one", _self=backend)
        wait_for(lambda: not fits["one"].activity)
        assert fits["one"].phase in (Phase.CANCELLED, Phase.READY)
    assert "two: waits for the fit before it" in capfd.readouterr().out
    third = dsr_fit("pep", "1+3", name="one", preset="preview", _self=backend)
    assert fits[third].phase is Phase.READY


@pytest.mark.system
def test_cancelled_while_surfaces_are_made(backend):
    dsr_fit("pep", "all", async_=1, _self=backend)
    fit = session_of(backend).jobs.fits["pep_dsr"]
    wait_for(lambda: fit.phase is Phase.SURFACES)
    dsr_cancel("pep_dsr", _self=backend)
    wait_for(lambda: not fit.activity)
    assert fit.phase is Phase.CANCELLED


@pytest.mark.system
def test_a_killed_backend_fails_the_fit_and_the_next_one_works(backend):
    jobs = session_of(backend).jobs
    dsr_fit("pep", "all", name="one", async_=1, _self=backend)
    fit = jobs.fits["one"]
    wait_for(lambda: fit.phase is Phase.FIT)
    os.kill(jobs.connection.running.info.pid, 9)
    wait_for(lambda: fit.phase is Phase.FAILED)
    assert "killed by signal 9" in fit.error and "\n" not in fit.error
    assert "; dsr_resume one goes on from the surfaces it had (the backend" in fit.error
    dsr_fit("pep", "1+3", name="two", preset="preview", _self=backend)
    assert jobs.fits["two"].phase is Phase.READY


@pytest.mark.system
@pytest.mark.parametrize("end", ["cancelled", "killed"])
def test_a_finished_fit_is_kept_until_the_next_of_its_name_is_ready(backend, capsys, end):
    jobs = session_of(backend).jobs
    dsr_fit("pep", "1+3", name="one", preset="preview", _self=backend)
    first, path = jobs.get("one"), Path(os.environ["DSR_HOME"], "fits", "one.dsr")
    content = path.read_bytes()
    dsr_fit("pep", "all", name="one", async_=1, quiet=0, _self=backend)
    second = jobs.fits["one"]
    assert second.replaces is first
    assert "one: the fit of this name is kept until the new one is ready" in capsys.readouterr().out
    wait_for(lambda: second.phase in (Phase.SURFACES, Phase.FIT))
    if end == "cancelled":
        dsr_cancel("one", _self=backend)
    else:
        os.kill(jobs.connection.running.info.pid, 9)
    wait_for(lambda: not second.activity)
    assert second.phase is (Phase.CANCELLED if end == "cancelled" else Phase.FAILED)
    outcome = "was cancelled" if end == "cancelled" else "failed: lost"
    assert f"the fit that was to replace it {outcome}" in dsr_status("one", _self=backend)[0]
    assert path.read_bytes() == content
    dsr_movie("one", "1+3", _self=backend)
    assert jobs.get("one").trajectory().states == [1, 3] and backend.count_states("one") == 3


@pytest.mark.system
def test_a_fit_takes_the_place_of_the_one_before_when_it_is_ready(backend, capsys):
    jobs = session_of(backend).jobs
    dsr_fit("pep", "1+3", name="one", preset="preview", _self=backend)
    dsr_movie("one", "1-3", object="shown", as_="map", resolution=1.5, _self=backend)
    assert "fit before" not in capsys.readouterr().out
    dsr_fit("pep", "1+2+3", name="one", preset="preview", _self=backend)
    assert jobs.get("one").trajectory().states == [1, 2, 3] and jobs.get("one").replaces is None
    line = (
        "the movie shown in the scene is still that of the fit before; 'dsr_movie one, 1-3, object=shown, "
        "resolution=1.5, as_=map' makes it anew"
    )
    assert f" one: {line}\n" in capsys.readouterr().out
    backend.delete("shown*")
    dsr_fit("pep", "1+3", name="one", preset="preview", _self=backend)
    assert "fit before" not in capsys.readouterr().out


@pytest.mark.system
def test_a_loaded_fit_outlives_a_cancelled_one_of_its_name(backend, tmp_path):
    jobs, file = session_of(backend).jobs, str(tmp_path / "kept.dsr")
    dsr_fit("pep", "1+3", name="one", preset="preview", _self=backend)
    dsr_save("one", file, _self=backend)
    dsr_load(file, "loaded", _self=backend)
    os.remove(file)
    # The folder has no file of that name, only the backend's memory has the fit.
    dsr_fit("pep", "all", name="loaded", async_=1, _self=backend)
    second = jobs.fits["loaded"]
    wait_for(lambda: second.phase is Phase.FIT)
    dsr_cancel("loaded", _self=backend)
    wait_for(lambda: not second.activity)
    dsr_movie("loaded", "1+3", _self=backend)
    assert second.phase is Phase.CANCELLED and jobs.get("loaded").trajectory().states == [1, 3]


@pytest.mark.system
def test_a_killed_fit_resumes_with_the_surfaces_it_had(backend, capsys):
    jobs = session_of(backend).jobs
    dsr_fit("pep", "all", name="one", preset="preview", _self=backend)
    dsr_fit("pep", "all", name="two", preset="preview", async_=1, _self=backend)
    surfaces_folder = os.path.join(os.environ["DSR_HOME"], "fits", "two.surfaces")
    wait_for(lambda: any(name.endswith(".safetensors") for _, _, names in os.walk(surfaces_folder) for name in names))
    os.kill(jobs.connection.running.info.pid, 9)
    wait_for(lambda: jobs.fits["two"].phase is Phase.FAILED)
    capsys.readouterr()
    dsr_fit("pep", "all", name="two", preset="preview", resume=1, quiet=0, _self=backend)
    assert "surfaces are there from before" in capsys.readouterr().out
    first, second = (jobs.fits[name].report.members()[""] for name in ("one", "two"))
    assert second.loss == first.loss, "not the fit that was interrupted"
    assert not os.path.exists(surfaces_folder)


@pytest.mark.system
def test_one_state_is_a_static_fit_and_no_movie(backend, capsys):
    dsr_fit("pep", "2", name="still", preset="preview", quiet=0, async_=0, _self=backend)
    output = capsys.readouterr().out
    assert "one state" in output and "'dsr_movie still, movie=0' shows it" in output
    line = refused(backend, dsr_movie, "still")
    assert "nothing moves" in line and "movie=0" in line
    assert "still" not in backend.get_names()
    dsr_movie("still", movie=0, _self=backend)
    assert backend.get_type("still") == "object:cgo"
