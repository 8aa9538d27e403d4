"""Runs inside a real PyMOL window (see test_gui.py): the page Simulate, from a molecule to its surface."""

import os
from typing import Any

from pymol import cmd
from pymol.Qt import QtCore, QtWidgets

from support.window_steps import OUT, QTEST, click, clipped, run, wait_until, window

WIDTH = 375
report: dict[str, Any] = {"steps": [], "error": "", "clipped": []}


def states(name):
    return cmd.count_states(name) if name in cmd.get_names() else 0


def picture(panel, name):
    QtWidgets.QApplication.processEvents()
    panel.grab().save(os.path.join(OUT, name))


def steps():
    import pymol_dsr
    from pymol_dsr.session import session_of

    cmd.set("bg_rgb", "white")
    cmd.fab("ACDEF", "pep", ss=1)
    session: Any = session_of(cmd)
    pymol_dsr.open_panel()
    yield 100
    panel = session.windows.panel
    page = panel.simulate
    panel.tabs.setCurrentWidget(page)
    window().resizeDocks([panel], [WIDTH], QtCore.Qt.Orientation.Horizontal)
    yield from wait_until(lambda: page.molecule.currentText() == "pep" and session.jobs.connection.running)
    report["width"] = panel.width()
    items = page.source.model()
    assert [items.item(k).isEnabled() for k in range(items.rowCount())] == [True] * 5
    # A backend without OpenMM: its entry can't be chosen, and the page says how to get it.
    page.show_packages(())
    assert not items.item(0).isEnabled() and page.source.currentText() == "A learned potential"
    assert 'pip install "pymol-dsr[simulate]"' in page.missing.text() and page.missing.isVisible()
    report["clipped"] += clipped(page)
    yield from wait_until(lambda: not page.missing.isVisible() and items.item(0).isEnabled())
    page.source.setCurrentIndex(0)
    report["steps"].append("packages")

    page.length.setValue(0.01)
    assert page.temperature.isVisible() and not page.frames.isVisible() and not page.estimated.isVisible()
    click(page.estimate_button)
    assert page.button.text() == "Cancel"
    yield from wait_until(page.estimated.isVisible)
    assert "atoms, 0.01 ns take about" in page.estimated.text() and "ns/day on" in page.estimated.text()
    assert cmd.get_names() == ["pep"]
    page.replicas.setValue(2)
    assert "0.01 ns in 2 replicas each take about" in page.estimated.text()
    page.replicas.setValue(1)
    report["steps"].append("estimate")

    page.length.setValue(10.0)
    click(page.button)
    yield from wait_until(lambda: states("pep_md") > 2)
    assert page.button.text() == "Cancel" and not page.surface_button.isEnabled()
    yield from wait_until(lambda: " left" in panel.progress.text.text() and " so far" in panel.status.text())
    assert "simulating" in panel.progress.text.text() and panel.progress.bar.isVisible()
    assert "take about" in page.report.toPlainText()
    yield from wait_until(lambda: states("pep_md") >= 20)
    click(page.button)
    yield from wait_until(lambda: page.button.text() == "Start")
    yield from wait_until(lambda: panel.status.text() == "pep_md: cancelled; its states stay, and Resume goes on")
    # It goes on; the states so far are of use.
    earlier = states("pep_md")
    click(page.resume_button)
    yield from wait_until(lambda: "are there from before" in page.report.toPlainText())
    yield from wait_until(lambda: states("pep_md") > earlier)
    click(page.button)
    yield from wait_until(lambda: page.button.text() == "Start")
    count = states("pep_md")
    assert count >= 20 and page.surface_button.isEnabled()
    origin = session.sources.provenance.get("pep_md", cmd)
    assert origin["simulation"] == "pep_md" and origin["cancelled"] and origin["object"] == "pep_md_start"
    report["clipped"] += clipped(page)
    picture(panel, "simulate.png")
    report["steps"].append("simulated")

    click(page.landscape_button)
    tab = panel.ensembles
    assert panel.tabs.currentWidget() is tab and tab.ensemble.currentText() == "pep_md"
    yield from wait_until(lambda: tab.map.landscape is not None and len(tab.map.landscape.states) == count)
    assert "divergence between the halves of the states" in tab.figures.text()
    point = tab.map.place(*tab.map.landscape.result.axes[10]).toPoint()
    QTEST.mouseClick(tab.map, QtCore.Qt.MouseButton.LeftButton, pos=point)
    words = panel.status.text().split()
    assert words[:1] == ["state"] and int(words[1]) == cmd.get_state() and "of pep_md: " in panel.status.text()
    click(tab.split_button)
    yield from wait_until(lambda: "pep_md_macro1" in cmd.get_names() and tab.split_button.isEnabled())
    # States of a macrostate are fitted as any others.
    panel.show_fit("pep_md_macro1")
    members = cmd.count_states("pep_md_macro1")
    assert members > 1 and panel.fit.verdict.text() == f"{members} of {members} states of pep_md_macro1"
    assert panel.fit.fit_button.isEnabled()
    report["steps"].append("landscape")
    panel.tabs.setCurrentWidget(page)
    before = cmd.get_coords("pep_md", count)
    click(page.surface_button)
    assert panel.tabs.currentWidget() is panel.fit and panel.fit.selection.currentText() == "pep_md"
    # Superposed for the surface.
    assert abs(cmd.get_coords("pep_md", count) - before).max() > 0.1
    yield from wait_until(panel.fit.fit_button.isEnabled)
    report["steps"].append("surface")

    panel.tabs.setCurrentWidget(page)
    page.source.setCurrentIndex(4)
    assert page.frames.isVisible() and not page.replicas.isVisible() and not page.estimate_button.isVisible()
    page.molecule.setEditText("pep_md")
    page.frames.setValue(12)
    click(page.button)
    yield from wait_until(lambda: panel.status.text() == "pep_md_sample: ready")
    assert cmd.count_states("pep_md_sample") == 12 and "bootstrap" in page.report.toPlainText()
    report["steps"].append("sample")
    yield from learned(panel, page)
    page.molecule.setEditText("nothing")
    click(page.button)
    yield from wait_until(lambda: "nothing" in panel.status.text() and page.button.text() == "Start")
    report["steps"].append("refused")
    session.jobs.close()


def learned(panel, page):
    """A potential is learned from the states of a trajectory, and simulated with."""
    folder = os.path.join(os.environ["DSR_DATA"], "trpcage_300k")
    cmd.load(f"{folder}.pdb", "warm")
    # A part of its states and residues, for the time that frames and pairs of residues take.
    cmd.load_traj(f"{folder}.xtc", "warm", state=1, stop=110)
    cmd.remove("warm and not resi 1-8")
    block = page.learn
    assert not block.body.isVisible()
    click(block.title)
    yield from wait_until(lambda: block.objects.findText("warm") >= 0)
    block.objects.setEditText("warm")
    block.budget.setValue(2.0)
    click(block.button)
    assert block.button.text() == "Cancel"
    yield from wait_until(lambda: panel.status.text() == "warm_model is learned")
    # It is cancelled before.
    block.budget.setValue(3600.0)
    click(block.resume_button)
    assert not block.resume_button.isEnabled()
    running = panel.session.sources.running
    yield from wait_until(lambda: "warm_model" in running and len(running["warm_model"].errors) > 1)
    click(block.button)
    sentence = "warm_model: cancelled; it can be used, and Resume goes on"
    yield from wait_until(lambda: panel.status.text() == sentence)
    assert "resume=1 goes on" in block.notes.text()
    block.budget.setValue(2.0)
    click(block.resume_button)
    yield from wait_until(lambda: panel.status.text() == "warm_model is learned")
    report["clipped"] += clipped(page)
    lines = block.curve.plot.lines
    assert lines and all(line.points and line.points[-1][0] <= 100.0 for line in lines)
    assert "held-out force error" in block.notes.text() or "priors stay alone" in block.notes.text()
    picture(panel, "learned.png")
    page.source.setCurrentIndex(1)
    yield from wait_until(lambda: page.model.currentText() == "warm_model")
    assert not page.temperature.isVisible() and not page.estimate_button.isVisible()
    page.molecule.setEditText("warm")
    page.length.setValue(0.002)
    page.replicas.setValue(2)
    click(page.button)
    yield from wait_until(lambda: panel.status.text() == "warm_cg_01+warm_cg_02: ready")
    assert states("warm_cg_02") == 2 and page.surface_button.isEnabled()
    assert "replicas each take about" in page.report.toPlainText() and "ms a step" in page.report.toPlainText()
    page.length.setValue(0.004)
    click(page.resume_button)
    assert not page.resume_button.isEnabled() and page.button.text() == "Cancel"
    yield from wait_until(lambda: states("warm_cg_02") == 4 and page.button.text() == "Start")
    report["steps"].append("learned")


run(steps(), report)
