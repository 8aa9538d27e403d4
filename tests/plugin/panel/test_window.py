"""The window without a screen: work that fails or is cancelled, results of a fit that gives way."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest
from pymol import CmdException

pytest.importorskip("PyQt5")
from pymol.Qt import QtGui, QtWidgets

from pymol_dsr.analysis.evaluation import StateScores
from pymol_dsr.analysis.measures import Measurement, StateMeasures
from pymol_dsr.commands.learn import plan_learning
from pymol_dsr.commands.morph import read_structures
from pymol_dsr.fits.fit import Activity, Fit, Phase, Trajectory
from pymol_dsr.fits.timing import FitTiming, Rates
from pymol_dsr.panel import learn_block, window
from pymol_dsr.panel.live import Appearance, LiveMesh, MeshRequest
from pymol_dsr.panel.source_kinds import KINDS
from pymol_dsr.panel.tabs import morph
from pymol_dsr.session import session_of
from pymol_dsr.shared.mesh import Mesh
from pymol_dsr.shared.options import FieldOptions
from pymol_dsr.shared.source_options import FRAMES
from support.meshes import mesh_result
from support.waiting import PATIENCE, wait_for


@pytest.fixture
def panel(plugin, monkeypatch):
    """The window of the menu entry, in a PyMOL with the molecule `pep`."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    monkeypatch.setattr(window, "cmd", plugin)
    parent = QtWidgets.QMainWindow()
    yield window.Panel(session_of(plugin), parent)
    app.processEvents()
    parent.deleteLater()


def wait_in_window(condition):
    """Wait as a window does, which takes what its threads send."""

    def is_met():
        QtWidgets.QApplication.processEvents()
        return condition()

    wait_for(is_met)


def slowed(function):
    """The function, which waits for the second event once it has set the first one."""
    has_begun, may_go_on = threading.Event(), threading.Event()

    def slow(*args, **kwargs):
        has_begun.set()
        assert may_go_on.wait(PATIENCE)
        return function(*args, **kwargs)

    return slow, has_begun, may_go_on


def test_a_fault_in_the_work_of_a_page_is_shown_and_ends_the_work(panel, capfd):
    def work():
        raise RuntimeError("a fault of ours")

    ended: list[Any] = []
    panel.run("dsr_learn", work, lambda result: ended.append("result"), ended.append)
    wait_in_window(lambda: ended and panel.status.text())
    assert panel.status.text() == "dsr_learn failed: RuntimeError: a fault of ours"
    assert isinstance(ended[0], RuntimeError) and "Traceback" in capfd.readouterr().err


def test_a_click_on_cancel_counts_while_the_states_are_read_that_a_model_learns_from(panel, monkeypatch):
    slow, has_begun, may_go_on = slowed(plan_learning)
    monkeypatch.setattr(learn_block, "plan_learning", slow)
    block = panel.simulate.learn
    block.objects.setEditText("pep")
    block.button.click()
    wait_for(has_begun.is_set)
    block.button.click()
    assert panel.status.text() == "stopping"
    may_go_on.set()
    wait_in_window(lambda: block.button.text() == "Learn" and panel.status.text() != "stopping")
    assert panel.status.text() == "pep_model: cancelled"
    assert not panel.session.sources.running and panel.session.jobs.connection.running is None


def test_a_click_on_cancel_counts_while_the_structures_of_a_morph_are_read(panel, monkeypatch):
    slow, has_begun, may_go_on = slowed(read_structures)
    monkeypatch.setattr(morph, "read_structures", slow)
    page = panel.morph
    page.first.setEditText("pep")
    page.button.click()
    wait_for(has_begun.is_set)
    page.button.click()
    assert panel.status.text() == "stopping"
    may_go_on.set()

    def has_ended():
        page.poll()
        return page.button.text() == "Morph" and panel.status.text() != "stopping"

    wait_in_window(has_ended)
    assert panel.status.text().startswith("pep_morph: cancelled")


MEASURED = StateMeasures(1.0, 100.0, 50.0, 0.1, None, None, None, fitted=True, extrapolated=False, expected_error=None)
SCORES = StateScores(1, "training", "field", 0.99, 0.01, 0.0001, 0.98, 0.0)


@pytest.mark.parametrize(
    ("page_name", "function", "result", "displayed"),
    [
        ("measure", "measure_fit", Measurement([MEASURED], []), lambda page: page.view.measured),
        ("quality", "evaluate_fit", [SCORES], lambda page: page.means.text()),
    ],
)
def test_the_figures_of_a_fit_are_not_those_of_one_that_takes_its_place(
    panel, monkeypatch, page_name, function, result, displayed
):
    page, fits = getattr(panel, page_name), panel.session.jobs.fits
    monkeypatch.setattr(f"pymol_dsr.panel.tabs.{page_name}.{function}", lambda *args, **options: result)
    trajectories = [Trajectory("", "pep", "%pep", None, [1.0, 2.0])]
    fits["a"] = Fit("a", trajectories, phase=Phase.READY)
    page.refresh()
    page.button.click()
    wait_in_window(lambda: displayed(page) and not any(t.name.startswith("dsr-a:") for t in threading.enumerate()))
    QtWidgets.QApplication.processEvents()
    address = id(fits.pop("a"))
    page.refresh()
    gc.collect()
    # Memory that is free is taken again soon: an address alone tells no fit from another.
    further_fits = [Fit("a", trajectories, phase=Phase.READY) for _ in range(1000)]
    fits["a"] = next((fit for fit in further_fits if id(fit) == address), further_fits[0])
    page.refresh()
    assert not displayed(page)


@pytest.mark.parametrize(
    ("page_name", "function"),
    [("quality", "compare"), ("ensembles", "show_occupancy"), ("ensembles", "show_landscape")],
)
def test_new_work_of_a_page_takes_its_earlier_error_away(panel, monkeypatch, page_name, function):
    page = getattr(panel, page_name)
    panel.session.jobs.fits["a"] = Fit("a", [Trajectory("", "pep", "%pep", None, [1.0, 2.0])], phase=Phase.READY)
    page.refresh()
    monkeypatch.setattr(panel, "run", lambda *args, **options: None)
    panel.complain("states 99: the object pep has 2 states; 99 is past the end")
    getattr(page, function)()
    assert panel.status.text() == ""


def test_a_molecule_that_is_named_twice_is_refused_before_its_surface_begins(panel):
    panel.fit.choose("pep+pep")
    assert panel.fit.verdict.text().endswith("pep+pep: the object pep occurs twice; each object is one trajectory")
    assert not panel.fit.fit_button.isEnabled()


def test_the_page_play_announces_surfaces_and_not_ensembles(panel):
    fits = panel.session.jobs.fits
    fits["pep_ensemble"] = Fit("pep_ensemble", activity=Activity.LANDSCAPE)
    fits["pep_occupancy"] = Fit("pep_occupancy", activity=Activity.OCCUPANCY)
    assert panel.play.no_surface().startswith("no surface is open")
    fits["pep_dsr"] = Fit("pep_dsr", activity=Activity.FIT, timing=FitTiming(1, "fast", Rates()))
    assert panel.play.no_surface().startswith("pep_dsr is being made")


def test_the_page_play_says_where_a_level_has_no_surface_also_past_the_states(panel):
    trajectory, appearance = Trajectory("", "pep", "pep", None, [1.0, 2.0]), Appearance(None, (1.0, 1.0, 1.0), None, [])
    request = MeshRequest(
        Fit("a"),
        trajectory,
        FieldOptions(),
        area=None,
        time=2.5,
        level=-9.0,
        smooth=None,
        resolution=None,
        color="",
        seen=0,
        fine=True,
    )
    empty = mesh_result(
        Mesh(np.zeros((0, 3), "f4"), np.zeros((0, 3), "f4"), np.zeros((0, 3), "i4")), expected_error=1.0
    )
    panel.play.live.shown.emit(LiveMesh(request, appearance, empty, [], triangles=0))
    assert panel.play.message.text() == "there is no surface at -9 Å"


def test_the_page_make_surface_shows_fits_under_way_and_no_ensembles(panel):
    fits = panel.session.jobs.fits
    fits["pep_ensemble"] = Fit("pep_ensemble", activity=Activity.LANDSCAPE)
    fits["pep_occupancy"] = Fit("pep_occupancy", activity=Activity.OCCUPANCY, phase=Phase.SURFACES)
    panel.fit.poll()
    assert panel.fit.current() is None and panel.fit.fit_button.text() == "Make surface"
    fits["pep_dsr"] = Fit("pep_dsr", activity=Activity.FIT)
    panel.fit.poll()
    assert panel.fit.current() is fits["pep_dsr"] and panel.fit.fit_button.text() == "Cancel"


@pytest.mark.parametrize("page_name", ["simulate", "morph"])
def test_columns_of_a_back_test_stand_below_each_other(panel, page_name):
    page = getattr(panel, page_name)
    for line in (" * hold     1.48", "   straight 2.73"):
        page.report.print_line(line)
    assert page.report.toPlainText() == "* hold     1.48\n  straight 2.73"


def test_a_colour_that_is_not_chosen_leaves_the_one_that_the_surface_has(panel, monkeypatch):
    controls = panel.play.controls
    controls.color.setCurrentIndex(controls.color.findText("salmon"))
    controls.color.activated.emit(controls.color.currentIndex())
    monkeypatch.setattr(QtWidgets.QColorDialog, "getColor", lambda **_: QtGui.QColor())
    controls.color.setCurrentIndex(controls.color.count() - 1)
    controls.color.activated.emit(controls.color.currentIndex())
    assert controls.color.currentText() == "salmon" and controls.coloring.color == "salmon"


@pytest.mark.parametrize("task", FRAMES)
def test_the_page_simulate_offers_as_many_states_as_the_command_makes(panel, task):
    page = panel.simulate
    page.source.setCurrentIndex(next(number for number, kind in enumerate(KINDS) if kind.task == task))
    assert page.frames.value() == FRAMES[task]


def test_the_states_of_a_landscape_are_read_in_the_thread_of_the_window(panel, plugin, monkeypatch):
    in_window, read = [], []

    def marshal(call):
        in_window.append(True)
        call()
        in_window.clear()

    def plan(*args, **options):
        read.append(bool(in_window))
        raise CmdException("far enough")

    monkeypatch.setattr(plugin, "_call_in_gui_thread", marshal, raising=False)
    monkeypatch.setattr("pymol_dsr.panel.tabs.ensembles.plan_landscape", plan)
    panel.ensembles.ensemble.setEditText("pep")
    panel.ensembles.landscape_button.click()
    wait_in_window(lambda: panel.status.text() == "far enough")
    assert read == [True]
