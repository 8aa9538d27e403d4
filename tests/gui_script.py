"""Runs inside a real PyMOL window (see test_gui.py): a user's clicks, one step per turn of the event loop."""

import json
import os
import time
import traceback

from pymol import cmd
from pymol.Qt import QtCore, QtWidgets
from PyQt5 import QtTest

OUT = os.environ["DSR_GUI_OUT"]
report = {"stall": 0.0, "steps": []}
last_tick = [time.monotonic()]
watching = [False]


def tick():
    now = time.monotonic()
    if watching[0]:
        report["stall"] = max(report["stall"], now - last_tick[0])
    last_tick[0] = now


def window():
    import pymol.gui

    return pymol.gui.get_qtwindow()


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        yield 30


def click(widget):
    QtTest.QTest.mouseClick(widget, QtCore.Qt.MouseButton.LeftButton)


def picture(name):
    window().pymolwidget.repaint()
    QtWidgets.QApplication.primaryScreen().grabWindow(0).save(os.path.join(OUT, name))


def steps():
    yield 500
    cmd.fab("ACDEFGHIKLMNPQ", "pep", ss=1)
    for state in range(2, 6):
        cmd.create("pep", "pep", 1, state)
        cmd.translate([0, 0.4 * state, 0], "resi 1-5", state, camera=0)
    cmd.show_as("sticks")
    cmd.zoom()
    (entry,) = [a for a in window().menudict["PluginQt"].actions() if a.text() == "Dynamical Surface…"]
    report["steps"].append("menu")
    entry.trigger()
    yield 200

    import pymol_dsr.panel
    from pymol_dsr.jobs import jobs

    panel = pymol_dsr.panel._panel
    assert panel.isVisible() and not panel.isModal()
    assert panel.selection.currentText() == "pep"
    assert panel.verdict.text() == "5 of 5 states" and panel.fit_button.isEnabled()
    panel.states.setText("1-9")
    assert "has 5 states" in panel.verdict.text() and not panel.fit_button.isEnabled()
    panel.states.setText("1-5:2")
    assert panel.verdict.text() == "3 of 5 states" and panel.fit_button.isEnabled()
    panel.preset.setCurrentText("preview")
    picture("panel.png")
    report["steps"].append("panel")

    watching[0] = True
    last_tick[0] = time.monotonic()
    click(panel.fit_button)
    assert panel.fit_button.text() == "Cancel"
    yield from until(lambda: jobs.fits["pep_dsr"].phase != "queued", 30)
    click(panel.fit_button)
    yield from until(lambda: panel.fit_button.text() == "Fit", 15)
    report["cancelled"] = jobs.fits["pep_dsr"].phase
    report["steps"].append("cancel")

    click(panel.fit_button)
    yield from until(lambda: panel.movie_button.isEnabled(), 100)
    assert jobs.fits["pep_dsr"].phase == "ready", jobs.fits["pep_dsr"].line()
    report["steps"].append("fit")
    click(panel.movie_button)
    yield from until(lambda: "pep_dsr" in cmd.get_names() and not jobs.fits["pep_dsr"].activity, 60)
    yield 300
    watching[0] = False
    assert cmd.count_states("pep_dsr") == 5 and cmd.count_frames() == 5
    cmd.zoom("pep_dsr")
    cmd.frame(3)
    yield 1000
    picture("movie.png")
    report["steps"].append("movie")

    QtTest.QTest.keyClicks(window().lineedit, "dsr_fit pep, 1, 5")
    QtTest.QTest.keyClick(window().lineedit, QtCore.Qt.Key.Key_Return)
    QtTest.QTest.keyClicks(window().lineedit, "dsr_movie pep_dsr, 1-3:0.5, object=typed")
    QtTest.QTest.keyClick(window().lineedit, QtCore.Qt.Key.Key_Return)
    report["typed_returns_at_once"] = "typed" not in cmd.get_names()
    yield from until(lambda: "typed_atoms" in cmd.get_names() and not jobs.fits["pep_dsr"].activity, 60)
    yield 1200
    report["log"] = window().browser.toPlainText()
    report["steps"].append("typed")
    jobs.close()


def run(generator):
    try:
        wait = next(generator)
    except StopIteration:
        finish("")
    except BaseException:
        finish(traceback.format_exc())
    else:
        QtCore.QTimer.singleShot(wait, lambda: run(generator))


def finish(error):
    report["error"] = error
    if error:
        report["log"] = window().browser.toPlainText()
    with open(os.path.join(OUT, "report.json"), "w") as stream:
        json.dump(report, stream)
    cmd.quit()


ticker = QtCore.QTimer()
ticker.timeout.connect(tick)
ticker.start(20)
QtCore.QTimer.singleShot(1500, lambda: run(steps()))
