"""Runs inside a real PyMOL window (see test_install.py): the zip through PyMOL's own installer, then the plugin's use.

DSR_STEP is install or use: the second start finds the plugin as PyMOL's Plugin Manager has left it.
"""

import json
import os
import time
import traceback
from typing import Any

from pymol import cmd, plugins
from pymol.Qt import QtCore, QtWidgets
from PyQt5 import QtTest

# PyQt5's stubs take its static methods for others.
QTEST: Any = QtTest.QTest

OUT = os.environ["DSR_GUI_OUT"]
STEP = os.environ["DSR_STEP"]
report: dict[str, Any] = {"steps": []}


def window():
    import pymol.gui

    return pymol.gui.get_qtwindow()


def wait_until(condition):
    end = time.monotonic() + 120
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        yield 30


def typed(line):
    QTEST.keyClicks(window().lineedit, line)
    QTEST.keyClick(window().lineedit, QtCore.Qt.Key.Key_Return)


def picture(name):
    window().pymolwidget.repaint()
    QtWidgets.QApplication.primaryScreen().grabWindow(0).save(os.path.join(OUT, name))


def entries():
    return [a for a in window().menudict["PluginQt"].actions() if a.text() == "Dynamical Surface…"]


def answer_boxes():
    """Message boxes would wait for a click; they are written down and answered with yes."""
    from pymol.plugins import legacysupport

    boxes = report["boxes"] = []
    for name, answer in {"showinfo": None, "showerror": None, "askyesno": True, "askokcancel": True}.items():
        answer_box = lambda title, text, answer=answer, **_: boxes.append([title, text]) or answer  # noqa: E731
        setattr(legacysupport.tkMessageBox, name, staticmethod(answer_box))


def install():
    """As the button Install in the Plugin Manager."""
    from pymol.plugins import installation

    answer_boxes()
    yield 500
    folder = os.path.join(OUT, "startup")
    os.mkdir(folder)
    installation.installPluginFromFile(os.environ["DSR_ZIP"], plugdir=folder)
    assert plugins.plugins["pymol_dsr"].module.__name__ == "pmg_tk.startup.pymol_dsr"
    assert len(entries()) == 1, "no menu entry"
    report["steps"].append("installed")
    # And once more over itself, as an update is.
    installation.installPluginFromFile(os.environ["DSR_ZIP"], plugdir=folder)
    report["version"] = plugins.plugins["pymol_dsr"].get_version()
    report["steps"].append("again")
    yield 100


def use():
    yield 500
    import pmg_tk.startup.pymol_dsr as plugin

    report["file"] = plugin.__file__
    report["pymol"] = cmd.get_version()[0]
    cmd.fab("ACDEFGHIKLMNPQ", "pep", ss=1)
    for state in range(2, 6):
        cmd.create("pep", "pep", 1, state)
        cmd.translate([0, 0.4 * state, 0], "resi 1-5", state, camera=0)
    cmd.show_as("sticks")
    cmd.rotate("x", 40, object="pep", camera=0)
    cmd.zoom()
    (entry,) = entries()
    entry.trigger()
    yield 300
    from pmg_tk.startup.pymol_dsr.session import session_of

    jobs = session_of(cmd).jobs

    windows = [
        w for w in QtWidgets.QApplication.allWidgets() if w.windowTitle() == "Dynamical Surface" and w.isVisible()
    ]
    assert len(windows) == 1, windows
    typed(f"dsr_set backend, {os.environ['DSR_BACKEND']}")
    yield 300
    picture("panel.png")
    report["steps"].append("panel")
    typed("dsr_fit pep, preset=preview")
    assert jobs.fits["pep_dsr"].activity
    yield from wait_until(lambda: not jobs.fits["pep_dsr"].activity)
    assert str(jobs.fits["pep_dsr"].phase) == "ready", jobs.fits["pep_dsr"].line()
    report["steps"].append("fit")
    typed("dsr_movie pep_dsr, 2-4")
    report["typed_returns_at_once"] = "pep_dsr" not in cmd.get_names()
    yield from wait_until(lambda: "pep_dsr" in cmd.get_names() and not jobs.fits["pep_dsr"].activity)
    yield 500
    # State 1 was not asked for.
    assert cmd.count_states("pep_dsr") == 4
    cmd.frame(2)
    cmd.zoom("pep_dsr")
    yield 1000
    picture("movie.png")
    report["steps"].append("movie")
    typed("dsr_doctor")
    yield from wait_until(lambda: "dsr_doctor: " in window().browser.toPlainText().replace("PyMOL>dsr_doctor", ""))
    picture("doctor.png")
    report["steps"].append("doctor")
    report["log"] = window().browser.toPlainText()
    jobs.close()
    answer_boxes()
    plugins.plugins["pymol_dsr"].uninstall()
    report["left"] = os.listdir(os.path.join(OUT, "startup"))
    report["steps"].append("uninstalled")


def run(generator):
    try:
        wait = next(generator)
    except StopIteration:
        finish("")
    except BaseException:  # noqa: BLE001 - whatever it is, the test reports it
        finish(traceback.format_exc())
    else:
        QtCore.QTimer.singleShot(wait, lambda: run(generator))


def finish(error):
    report["error"] = error
    if error:
        report["log"] = window().browser.toPlainText()
    with open(os.path.join(OUT, f"{STEP}.json"), "w") as stream:
        json.dump(report, stream)
    cmd.quit()


QtCore.QTimer.singleShot(1500, lambda: run({"install": install, "use": use}[STEP]()))
