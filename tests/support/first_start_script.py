"""Runs inside a real PyMOL window in which nothing is loaded (see test_gui.py): the two first buttons are clicked."""

import os
from typing import Any

from pymol import cmd
from pymol.Qt import QtCore, QtWidgets

from support.window_steps import OUT, QTEST, run, wait_until

report: dict[str, Any] = {"steps": [], "error": ""}


def pages_without_a_molecule(panel):
    """Nothing is red, no button begins what can't work, and each page says what it needs."""
    assert panel.fit.verdict.text() == "load a molecule with several states first"
    assert not panel.fit.verdict.styleSheet()
    for page, button, hint in (
        (panel.morph, panel.morph.button, panel.morph.first.lineEdit().placeholderText),
        (panel.simulate, panel.simulate.button, panel.simulate.molecule.lineEdit().placeholderText),
        (panel.ensembles, panel.ensembles.landscape_button, panel.ensembles.ensemble.lineEdit().placeholderText),
        (panel.measure, panel.measure.button, panel.measure.missing.text),
        (panel.quality, panel.quality.button, panel.quality.missing.text),
    ):
        panel.tabs.setCurrentWidget(page)
        yield from wait_until(lambda button=button: not button.isEnabled())
        assert "first" in hint() or "Make surface makes one" in hint(), hint()
    assert panel.quality.missing.isVisible() and not panel.quality.trajectory.isVisible()
    panel.tabs.setCurrentWidget(panel.fit)


def a_fault_of_the_plugin(panel):
    """The page that began the work goes on, and the line says what happened."""
    ended: list[BaseException] = []
    panel.run("a fault", lambda: 1 // 0, otherwise=ended.append)
    yield from wait_until(lambda: ended)
    yield from wait_until(lambda: panel.status.text().startswith("a fault failed: ZeroDivisionError"))


def without_a_movie(panel):
    """States of a molecule are no movie to write."""
    cmd.mset()
    assert cmd.count_frames() > 1
    panel.tabs.setCurrentWidget(panel.play)
    yield from wait_until(panel.play.actions.film_button.isVisible)
    QTEST.mouseClick(panel.play.actions.film_button, QtCore.Qt.MouseButton.LeftButton)
    assert panel.status.text() == "there is no movie to write; Load movie makes one"
    assert panel.play.actions.dialog is None


def steps():
    import pymol_dsr
    from pymol_dsr.session import session_of

    session: Any = session_of(cmd)
    program = os.path.join(OUT, "dsr-backend")
    with open(program, "w") as stream:
        stream.write("#!/bin/sh\n")
    os.chmod(program, 0o755)
    session.settings.put("backend", program)
    os.remove(program)
    pymol_dsr.open_panel()
    yield 100
    panel = session.windows.panel
    card = panel.first_steps
    assert card.install_button.isVisible() and not card.try_button.isVisible()
    # The card says it in plain words; the line below the pages does not say it again.
    yield from wait_until(lambda: panel.start_failure)
    yield 100
    assert not panel.status.text(), panel.status.text()
    panel.grab().save(os.path.join(OUT, "missing.png"))
    # A program that is elsewhere: a wrong one says why it does not start, and the three ways stay.
    QtWidgets.QFileDialog.getOpenFileName = staticmethod(lambda *_: ("/bin/false", ""))
    QTEST.mouseClick(card.choose_button, QtCore.Qt.MouseButton.LeftButton)
    assert session.settings.get("backend") == "/bin/false serve"
    yield from wait_until(lambda: "did not start" in card.missing.text() and "/bin/false" in card.missing.text())
    assert card.choose_button.isVisible() and card.remote_button.isVisible()
    yield 300
    panel.grab().save(os.path.join(OUT, "failed.png"))
    QtWidgets.QInputDialog.getText = staticmethod(lambda *_: ("-oProxyCommand=x", True))
    QTEST.mouseClick(card.remote_button, QtCore.Qt.MouseButton.LeftButton)
    assert "this is no name of a computer" in panel.status.text()
    QtWidgets.QInputDialog.getText = staticmethod(lambda *_: ("me@no.such.host.invalid", True))
    QTEST.mouseClick(card.remote_button, QtCore.Qt.MouseButton.LeftButton)
    backend = session.settings.get("backend")
    assert backend == "ssh -T me@no.such.host.invalid dsr-backend serve", (backend, panel.status.text())
    # pip then has no package to install.
    os.environ["PIP_CONFIG_FILE"] = os.devnull
    os.environ["PIP_NO_INDEX"] = "1"
    os.environ["PIP_FIND_LINKS"] = OUT
    QTEST.mouseClick(card.install_button, QtCore.Qt.MouseButton.LeftButton)
    yield from wait_until(lambda: "making the environment" in card.missing.text())
    assert card.install_button.text() == "Cancel"
    yield from wait_until(lambda: "installing torch failed" in panel.status.text())
    assert card.install_button.text() == "Install here"
    report["steps"].append("missing")
    session.settings.put("backend", "default")
    yield from wait_until(lambda: not card.install_button.isVisible())
    assert card.isVisible() and card.try_button.isVisible()
    yield from pages_without_a_molecule(panel)
    cmd.fab("GG", "other")
    yield from wait_until(lambda: not card.isVisible())
    yield from wait_until(lambda: "1 of 1 states of other: one state does not move" in panel.fit.verdict.text())
    assert panel.fit.selection.currentText() == "other"
    cmd.delete("other")
    yield from wait_until(card.isVisible)
    # A name that was offered goes with its object.
    yield from wait_until(lambda: not panel.fit.selection.currentText())
    yield from a_fault_of_the_plugin(panel)
    report["steps"].append("offered")
    QTEST.mouseClick(card.try_button, QtCore.Qt.MouseButton.LeftButton)
    assert not card.try_button.isEnabled()
    yield from wait_until(lambda: "plays" in panel.status.text())
    assert not card.isVisible()
    names = cmd.get_names("public_objects")
    report["states"] = {name: cmd.count_states(name) for name in names}
    frames: set[int] = set()

    def plays():
        frames.add(cmd.get_frame())
        return len(frames) > 3

    yield from wait_until(plays)
    QtWidgets.QApplication.primaryScreen().grabWindow(0).save(os.path.join(OUT, "example.png"))
    report["steps"].append("moving")
    yield from without_a_movie(panel)
    session.jobs.close()


run(steps(), report)
