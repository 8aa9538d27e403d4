"""dsr_measure in real PyMOL: what it refuses, says, returns and writes; and what its plots show."""

from __future__ import annotations

import csv
import importlib.util
import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from pymol import CmdException

from pymol_dsr.analysis import measures
from pymol_dsr.analysis.measures import Measurement, Residue, StateMeasures
from pymol_dsr.commands.fit import dsr_fit
from pymol_dsr.commands.measure import dsr_measure
from pymol_dsr.fits.fit import Trajectory
from pymol_dsr.scene.atoms import PresentAtoms
from pymol_dsr.session import Session, session_of
from pymol_dsr.shared.messages import MeasureResult
from pymol_dsr.shared.plots import MEASURES
from support.scene import build_peptide, coordinates
from support.session import ready, refused


def row(state, **values):
    usual = {"area": 100.0, "volume": 300.0, "speed": 0.5, "fitted": True, "extrapolated": False, "expected_error": 0.0}
    unmeasured = {"selection_area": None, "selection_volume": None, "pocket_volume": None}
    return StateMeasures(float(state), **{**usual, **unmeasured, **values})


# Refusals


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("5-1", "states 5-1: the range runs backwards"),
        ("file=x.txt", "file x.txt: it must end in .csv"),
        ("file=/no/such/x.csv", "the folder /no/such does not exist"),
        ("resolution=0", "resolution 0: it must lie between 0.01 and 10 Å"),
        ("top=-1", "top -1: it must be at least 0"),
        ("trajectory=pep", "one is a fit of one trajectory: leave trajectory=pep out"),
        ("plot=1", "plot 1: PyMOL has no window here; file=NAME.csv writes NAME.png"),
        ("selection=nope", 'selection nope: Invalid selection name "nope" (there: pep, other)'),
        ("selection=other", "selection other: none of its 133 atoms is among the 40 of pep that were fitted"),
        ("selection=none", "selection none: it holds no atoms"),
        ("pocket=resi 9", "pocket resi 9: none of its"),
        ("selection=resi 1, pocket=other", "pocket other: none of its 133 atoms"),
    ],
)
def test_mistakes_are_one_line_and_leave_the_fit_free(plugin, capfd, arguments, message):
    jobs = session_of(plugin).jobs
    build_peptide(plugin, "other", 1)
    ready(plugin, "one", "").trajectories[0].atoms = np.arange(40, dtype=np.int32)
    plugin.do(f"dsr_measure one, {arguments}")
    errors = [text for text in capfd.readouterr().out.splitlines() if text.startswith(" Error: ")]
    assert len(errors) == 1 and message in errors[0], errors
    assert jobs.connection.running is None and not jobs.fits["one"].activity


def test_atoms_that_are_not_there_cannot_be_chosen(plugin):
    ready(plugin, "one", "")
    assert "this fit knows no atoms of pep" in refused(plugin, dsr_measure, "one", pocket="all")
    plugin.delete("pep")
    assert refused(plugin, dsr_measure, "one", pocket="all") == (
        "pocket all: the object pep is not in the scene; load it first"
    )


# Tables and plots


def test_the_default_times_are_the_fitted_states_or_all_of_the_range_of_a_few():
    def times(*states):
        return measures.default_times(Trajectory("", "pep", "pep", None, list(states)))

    assert times(1.0, 3.0, 5.5, 7.0, 9.0) == [1, 3, 5.5, 7, 9]
    assert times(3.0, 5.0, 7.0) == [3, 4, 5, 6, 7]
    assert times(4.0) == [4]
    for most_times in (times(1.0, 1000.0), times(*map(float, range(1, 1001)))):
        assert len(most_times) == 100 and most_times[0] == 1 and most_times[-1] == 1000
        assert all(t.is_integer() for t in most_times) and set(np.diff(most_times)) <= {10, 11}


def test_residues_are_weighted_by_their_area():
    labels = [("A", "S", "GLY", "1"), ("A", "S", "GLY", "1"), ("A", "S", "ALA", "2"), ("B", "S", "GLY", "1")]
    answers = [
        MeasureResult(
            time=t,
            area=0.0,
            volume=0.0,
            speed=0.0,
            extrapolated=False,
            atom_area=np.array(a, np.float32),
            atom_speed=np.array(v, np.float32),
        )
        for t, a, v in (
            (2.0, [10.0, 30.0, 4.0, 0.0], [1.0, 2.0, 9.0, 0.0]),
            (1.0, [20.0, 20.0, 6.0, 0.0], [0.5, 0.0, 9.0, 0.0]),
        )
    ]
    measurement = measures.collect(answers, [1.0], labels)
    assert [(r.state, r.fitted) for r in measurement.rows] == [(1.0, True), (2.0, False)]
    assert measurement.residues == [
        Residue("A", "GLY", "1", 40.0, (10 + 60 + 10 + 0) / 80),
        Residue("A", "ALA", "2", 5.0, 9.0),
        Residue("B", "GLY", "1", 0.0, 0.0),
    ]
    five_fitted = [replace(answer, time=float(t)) for answer in answers[:1] for t in range(1, 6)]
    fitted_only = measures.collect(five_fitted, [1.0, 2.0, 3.0, 4.0, 5.0], labels)
    with_another = measures.collect([*five_fitted, replace(answers[1], time=2.5)], [1.0, 2.0, 3.0, 4.0, 5.0], labels)
    assert with_another.residues == fitted_only.residues and len(with_another.rows) == 6
    # Five square Angstrom of a residue are not enough to tell how fast it is.
    assert measurement.ranked() == measurement.residues[:1]
    assert measures.collect(answers, [1.0], None).residues == []


def two_segments(cmd):
    """`twice`, one chain of two copies of a peptide, segments P1 and P2; a residue of chain B; and a trajectory."""
    for segment, chain in (("P1", "A"), ("P2", "A"), ("P2", "B")):
        cmd.create("copy", "pep", 1, 1)
        cmd.alter("copy", f"segi, chain = '{segment}', '{chain}'")
        cmd.create("twice", "copy or twice" if "twice" in cmd.get_names() else "copy")
        cmd.delete("copy")
    cmd.remove("twice and chain B and not resi 1")
    return Trajectory("", "twice", "twice", np.arange(cmd.count_atoms("twice"), dtype=np.int32), [1.0])


def measured_atoms(count):
    ones = np.ones(count, np.float32)
    return MeasureResult(
        time=1.0, area=1.0, volume=1.0, speed=1.0, extrapolated=False, atom_area=10 * ones, atom_speed=ones
    )


def test_segments_tell_residues_apart_where_nothing_else_does(peptide, tmp_path):
    trajectory = two_segments(peptide)
    answer = measured_atoms(len(trajectory.atoms))
    measurement = measures.collect([answer], [1.0], PresentAtoms.of(trajectory, peptide).residues())
    assert len(measurement.residues) == 9 + 9 + 1
    by_name = {str(residue): residue.area for residue in measurement.residues}
    assert by_name["P1/A/ALA`1"] == by_name["P2/A/ALA`1"] == by_name["B/ALA`1"]
    with open(measures.write_measures(str(tmp_path / "twice.csv"), measurement)[1]) as stream:
        rows = list(csv.DictReader(stream))
    assert [row["segi"] for row in rows] == ["P1"] * 9 + ["P2"] * 9 + [""]

    # One segment in each chain: no word of it, in the tables neither.
    peptide.remove("twice and segi P2 and chain A")
    trajectory.atoms = np.arange(peptide.count_atoms("twice"), dtype=np.int32)
    answer = measured_atoms(len(trajectory.atoms))
    measurement = measures.collect([answer], [1.0], PresentAtoms.of(trajectory, peptide).residues())
    assert str(measurement.residues[0]) == "A/ALA`1"
    with open(measures.write_measures(str(tmp_path / "once.csv"), measurement)[1]) as stream:
        assert next(stream).strip() == "chain,resn,resi,area,speed"


def test_a_residue_of_a_segment_is_selected_alone(peptide):
    pytest.importorskip("PyQt5")
    from pymol_dsr.panel.measurement_view import select_residue

    two_segments(peptide)
    size = peptide.count_atoms("pep and resi 1")
    for segment, count in (("P2", size), (None, 2 * size)):
        assert select_residue(Residue("A", "ALA", "1", 20.0, 0.1, segment), "twice", peptide)
        assert peptide.count_atoms("dsr_residue") == count
    assert not select_residue(Residue("A", "ALA", "1", 20.0, 0.1, "P3"), "twice", peptide)


def test_the_summary_says_how_much_and_when():
    rows = [row(1, pocket_volume=50.0), row(2, volume=330.0, speed=0.9, pocket_volume=10.0)]
    residues = [Residue("A", "GLY", "1", 20.0, 0.1), Residue("A", "LYS", "2", 30.0, 0.7)]
    text = "\n".join(measures.summary(Measurement(rows, residues), (1, 2), 1))
    assert "315 ± 15      A^3      from 300 (state 1) to 330 (state 2)" in text
    assert "0.700 ± 0.200" in text and "to 0.900 (state 2)" in text
    assert "pocket volume" in text and "from 10 (state 2) to 50 (state 1)" in text
    assert "A/LYS`2" in text and "A/GLY`1" not in text
    assert "selection" not in text and "warning" not in text


def test_surfaces_between_five_fitted_states_are_not_in_the_summary():
    """They are averages of states, with a smaller area: the mean over both kinds is of neither."""
    fitted = [row(k, area=1500.0, volume=2500.0, speed=0.3) for k in range(1, 10, 2)]
    averages = [row(k, area=1300.0, volume=2600.0, speed=0.5, fitted=False) for k in (2, 4)]
    rows = sorted([*fitted, *averages], key=lambda measures: measures.state)
    lines = measures.summary(Measurement(rows, []), (1, 9), 10)
    assert [" ".join(line.split()[:4]) for line in lines[:3]] == [
        "volume 2500 ± 0",
        "area 1500 ± 0",
        "speed 0.300 ± 0.000",
    ]
    assert lines[3:] == [
        " these are of the 5 fitted states; surfaces at 2 other states are averages or predicted, with less detail: "
        "volume 2600 A^3, area 1300 A^2"
    ]
    [line] = measures.summary(Measurement([*fitted, averages[0]], []), (1, 9), 10)[3:]
    assert "; surfaces at 1 other state are averages or predicted, with less detail: volume" in line
    # Four are too few, as where two structures are joined.
    assert "area 1400 ± 100" in " ".join(measures.summary(Measurement(rows[1:5], []), (1, 9), 10)[1].split())


def test_tables_and_plots_have_times_where_dt_says_how_long_a_state_is(tmp_path):
    measured = Measurement([row(1), row(3), row(3.5)], [], dt=0.2)
    assert (measured.axis, [round(measured.time_of(s), 9) for s in measured.states]) == ("time (ns)", [0.0, 0.4, 0.5])
    measures.write_measures(str(tmp_path / "a.csv"), measured)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0].startswith("state,") and lines[0].endswith(",time_ns") and lines[3].startswith("3.5,")
    assert float(lines[3].split(",")[-1]) == pytest.approx(0.5)
    assert Measurement([row(2)], []).axis == "state" and Measurement([row(2)], []).time_of(2.0) == 2.0


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("soon", "dt soon: it is not a number"),
        ("0", "dt 0: it must be above 0 ns"),
        ("inf", "dt inf: it is not a finite number"),
    ],
)
def test_dt_is_a_time_above_0(cmd, word, message):
    with pytest.raises(CmdException) as error:
        dsr_measure("a", dt=word, _self=cmd)
    assert message in str(error.value)


def test_the_speed_of_the_summary_is_that_within_the_fitted_range():
    rows = [row(1, speed=9.0), row(3, speed=0.5), row(5, speed=0.7), row(7, speed=9.0), row(8, speed=0.0)]
    (line,) = [line for line in measures.summary(Measurement(rows, []), (1, 7), 10) if "speed" in line]
    assert " ".join(line.split()) == "speed 0.600 ± 0.100 A/state from 0.500 (state 3) to 0.700 (state 5)"


def test_the_summary_of_extrapolated_states_warns():
    rows = [row(79), row(90, extrapolated=True, expected_error=1.3), row(95, extrapolated=True, expected_error=None)]
    lines = measures.summary(Measurement(rows, []), (1, 79), 10)
    assert lines[-1] == (" warning: 2 of 3 states are extrapolated (fitted: 1 to 79), expected error up to 1.30 A")
    (volume_line,) = [line for line in measures.summary(Measurement(rows[:1], []), (1, 79), 10) if "volume" in line]
    assert volume_line.split() == ["volume", "300", "A^3"]


@pytest.mark.system
def test_a_plot_is_written_where_matplotlib_is_installed(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    residues = [Residue("A", "GLY", str(k), 20.0, 0.01 * k) for k in range(1, 30)]
    rows = [row(k, pocket_volume=40.0 * k, fitted=k % 2 == 1, extrapolated=k > 8) for k in range(1, 11)]
    measured = Measurement(rows, residues)
    assert measures.write_measure_plot(str(tmp_path / "all.png"), measured, (1, 8), 3, "pep_dsr")
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
    # One time, of a fit whose molecule is not there
    assert measures.write_measure_plot(str(tmp_path / "one.png"), Measurement([row(1)], []), (1, 8), 3, "pep_dsr")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not measures.write_measure_plot(str(tmp_path / "none.png"), measured, (1, 8), 3, "pep_dsr")


# The whole way


@pytest.mark.system
def test_a_bending_peptide_is_measured(backend, capfd, tmp_path):
    jobs = session_of(backend).jobs
    cmd = backend
    name = dsr_fit("pep", "1-5:2", preset="preview", _self=cmd)
    capfd.readouterr()
    path = tmp_path / "pep.csv"
    measurement = dsr_measure(
        name,
        "1-6:0.5",
        file=str(path),
        selection="resi 1-4 or resn XYZ",
        pocket="resi 1-9",
        top=3,
        resolution=0.7,
        quiet=0,
        _self=cmd,
    )
    output = capfd.readouterr().out
    assert (
        f"selection of {cmd.count_atoms('resi 1-4')} fitted atoms" in output and "pocket of 133 fitted atoms" in output
    )
    assert "warning: 2 of 11 states are extrapolated (fitted: 1 to 5)" in output
    assert not jobs.fits[name].activity

    rows, residues = measurement.rows, measurement.residues
    assert [r.state for r in rows] == [1 + 0.5 * k for k in range(11)]
    assert [r.state for r in rows if r.fitted] == [1, 3, 5]
    assert [r.state for r in rows if r.extrapolated] == [5.5, 6]
    cmd.set("dot_solvent", 0)
    for r in rows:
        assert 0 < r.selection_area < r.area and 0 < r.selection_volume < r.volume
        assert r.pocket_volume > 0 and (r.speed > 0 or r.extrapolated)
    # PyMOL's area of spheres without grooves is larger than that of a solvent-excluded surface, by less than a half.
    assert 0.5 * cmd.get_area("pep", 1) < rows[0].area < cmd.get_area("pep", 1)
    assert [(r.resn, r.resi) for r in residues] == [
        (resn, str(k)) for k, resn in enumerate(["ALA", "CYS", "ASP", "GLU", "PHE", "GLY", "HIS", "ILE", "LYS"], 1)
    ]
    assert sum(r.area for r in residues) == pytest.approx(np.mean([r.area for r in rows]), rel=1e-3)
    # An atom moves with the square of its height over the middle.
    height = coordinates(cmd, "pep", 1)[:, 2]
    of = np.array([int(atom.resi) for atom in cmd.get_model("pep").atom])
    moves = [((height - height.mean())[of == k] ** 2).mean() for k in range(1, 10)]
    assert np.corrcoef(moves, [r.speed for r in residues])[0, 1] > 0.7

    with path.open() as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == 11 and float(table[3]["volume"]) == rows[3].volume and table[0]["fitted"] == "True"
    with (tmp_path / "pep_residues.csv").open() as stream:
        assert [line["resn"] for line in csv.DictReader(stream)] == [r.resn for r in residues]
    if importlib.util.find_spec("matplotlib"):
        assert (tmp_path / "pep.png").read_bytes().startswith(b"\x89PNG")

    # By default every state that was fitted or lies between; no table of what was not asked for
    plain = dsr_measure(name, resolution=1.0, _self=cmd)
    assert [r.state for r in plain.rows] == [1, 2, 3, 4, 5]
    assert plain.rows[0].pocket_volume is None and capfd.readouterr().out == ""
    # Extrapolated numbers look like any others, so it is said even in scripts.
    dsr_measure(name, "9", resolution=1.0, _self=cmd)
    assert "warning: 1 of 1 states are extrapolated" in capfd.readouterr().out

    line = refused_late(cmd, dsr_measure, name, "2", pocket="resi 5 and name CA")
    assert "pocket: 1 atom encloses no space at state 2; choose at least 4 that do not lie in a plane" in line
    assert not jobs.fits[name].activity

    # Without the molecule there are no residues to name, and the rest stays.
    cmd.delete("pep")
    bare = dsr_measure(name, "1+3", resolution=1.0, file=str(tmp_path / "bare.csv"), _self=cmd)
    assert bare.residues == [] and bare.rows[0].volume == pytest.approx(plain.rows[0].volume)
    assert not os.path.exists(tmp_path / "bare_residues.csv")


def refused_late(cmd, function, *args, **kwargs):
    with pytest.raises(CmdException) as error:
        function(*args, **kwargs, _self=cmd)
    return str(error.value.args[0])


def test_a_window_shows_it(monkeypatch, tmp_path):
    pytest.importorskip("PyQt5")
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    from pymol.Qt import QtWidgets

    from pymol_dsr.panel.charts import Chart
    from pymol_dsr.panel.windows import Windows

    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    residues = [Residue("A", "GLY", str(k), 20.0, 0.01 * k) for k in range(1, 30)]
    rows = [row(k, pocket_volume=40.0 * k, fitted=k % 2 == 1, extrapolated=k > 8) for k in range(1, 11)]
    windows = Windows(Session())
    windows.show_measurement(Measurement(rows, residues), (1, 8), "pep_dsr: surface of pep", "pep_dsr")
    [window] = windows.measures
    plots = [chart.plot for chart in window.findChildren(Chart)]
    quantities = ["volume", "area", "speed", "pocket_volume"]
    assert [plot.y_label for plot in plots] == [MEASURES[name].title for name in quantities]
    ends, line, dots, averages = plots[-1].lines
    assert line.points == dots.points == tuple((float(k), 40.0 * k) for k in (1, 3, 5, 7, 9))
    assert averages.points == tuple((float(k), 40.0 * k) for k in (2, 4, 6, 8, 10)) and averages.dashed
    assert (line.label, averages.label) == ("fitted states", "other states")
    assert ends.points[0][1] == 0.0 and plots[-1].shaded == (1, 8, "fitted range")
    table = window.findChild(QtWidgets.QTableWidget)
    assert table.rowCount() == 29 and table.item(0, 0).text() == "A/GLY`29" and table.item(0, 1).text() == "0.290"

    target = tmp_path / "table"
    monkeypatch.setattr(QtWidgets.QFileDialog, "getSaveFileName", lambda *a: (str(target), ""))
    window.save_table()
    assert (tmp_path / "table.csv").exists() and (tmp_path / "table_residues.csv").exists()
    monkeypatch.setattr(QtWidgets.QFileDialog, "getSaveFileName", lambda *a: ("/no/such/table.csv", ""))
    window.save_table()
    assert "the folder /no/such does not exist" in window.status.text()
    app.processEvents()
    assert not window.grab().isNull()
    window.close()
    assert windows.measures == [], "Qt deletes it"
