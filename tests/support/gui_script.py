"""Runs inside a real PyMOL window (see test_gui.py): a user's clicks and keys, one step per turn of the event loop."""

import itertools
import os
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pymol import cmd
from pymol.Qt import QtCore, QtWidgets

from support.window_steps import OUT, QTEST, click, run, wait_until, window

report: dict[str, Any] = {"turns": {}, "steps": [], "told": {}}
watched: list[tuple[str, Callable[[], Any]]] = []


def tick():
    for task, busy in watched:
        report["turns"][task] = report["turns"].get(task, 0) + bool(busy())


def watch(task="", busy=None):
    """Count the turns of the event loop, in which the window answers, while the task is busy."""
    watched[:] = [(task, busy)] if busy else []


def made_by():
    from pymol_dsr.session import session_of

    return session_of(cmd).references.movies["pep_dsr"].command


def write(widget, text):
    widget.setFocus()
    widget.selectAll()
    QTEST.keyClicks(widget, text)


def typed(line):
    QTEST.keyClicks(window().lineedit, line)
    QTEST.keyClick(window().lineedit, QtCore.Qt.Key.Key_Return)


def picture(name):
    window().pymolwidget.repaint()
    QtWidgets.QApplication.primaryScreen().grabWindow(0).save(os.path.join(OUT, name))


def covered():
    """Which pixels of the scene are not background, bool[height, width]."""
    window().pymolwidget.repaint()
    image = window().pymolwidget.grabFrameBuffer().convertToFormat(4)
    bits = image.bits()
    bits.setsize(image.byteCount())
    pixels = np.frombuffer(bits, np.uint8).reshape(image.height(), image.width(), 4)[:, :, :3]
    # Without PyMOL's own list of objects at the right.
    width = cmd.get_viewport()[0]
    return (pixels[:, :width] < 250).any(axis=2)


def alike(first, second):
    return (first & second).sum() / max(1, (first | second).sum())


def peptide(name, sequence, shift):
    cmd.fab(sequence, name, ss=1)
    for state in range(2, 6):
        cmd.create(name, name, 1, state)
        cmd.translate([0, shift * state, 0], "%" + name + " and resi 1-3", state, camera=0)


def size(name):
    low, high = map(np.array, cmd.get_extent(name))
    return high - low


def steps():
    yield 300
    cmd.set("bg_rgb", "white")
    cmd.fab("GG", "single")
    peptide("pep", "ACDEFGHIK", 0.4)
    cmd.disable("single")
    cmd.frame(3)
    cmd.zoom("pep", 4)
    (entry,) = [a for a in window().menudict["PluginQt"].actions() if a.text() == "Dynamical Surface…"]
    entry.trigger()
    yield 100
    from pymol_dsr.session import session_of

    session: Any = session_of(cmd)
    jobs, panel = session.jobs, session.windows.panel
    fit, play = panel.fit, panel.play
    yield from opened(panel)
    yield from cancelled(panel, jobs)
    yield from fitted(panel, jobs, entry)
    yield from played(panel, jobs)
    yield from filmed(panel, jobs)
    yield from measured(panel, jobs)
    yield from measured_over_time(panel, jobs)
    yield from as_an_ensemble(panel, jobs)
    yield from reloaded(panel, jobs)
    yield from replace_or_keep(panel, jobs)
    yield from typed_in(panel, jobs)
    yield from in_a_family(panel, jobs)
    yield from morphed(panel)
    assert not (fit.isVisible() and play.isVisible())
    yield 1200
    report["log"] = window().browser.toPlainText()
    jobs.close()


def opened(panel):
    """The molecule that moves is offered first; states are judged while they are typed."""
    fit = panel.fit
    assert panel.isVisible() and not panel.isModal()
    # Docked right of PyMOL's own list of objects.
    scene = window().pymolwidget
    assert not panel.isFloating() and panel.mapTo(window(), QtCore.QPoint()).x() >= scene.geometry().right()
    # No page needs more width than the narrowest window has.
    window().resizeDocks([panel], [375], QtCore.Qt.Orientation.Horizontal)
    for title, page in zip(panel.tabs.titles(), panel.tabs.pages(), strict=True):
        assert page.minimumSizeHint().width() <= 345, (title, page.minimumSizeHint().width())
    assert [fit.selection.itemText(k) for k in range(fit.selection.count())] == ["pep", "single"]
    assert fit.selection.currentText() == "pep" and fit.verdict.text() == "5 of 5 states of pep"
    write(fit.states, "1-9")
    yield from wait_until(lambda: "pep has 5 states; 9 is past the end" in fit.verdict.text())
    assert not fit.fit_button.isEnabled() and "#c62828" in fit.verdict.styleSheet()
    write(fit.selection.lineEdit(), "pep and resn")
    yield from wait_until(lambda: "selection pep and resn: " in fit.verdict.text())
    write(fit.selection.lineEdit(), "pep")
    write(fit.states, "1-5:2")
    yield from wait_until(lambda: fit.verdict.text() == "3 of 5 states of pep")
    assert fit.fit_button.isEnabled() and "#2e7d32" in fit.verdict.styleSheet()
    click(fit.advanced)
    write(fit.breaks, "5")
    yield from wait_until(
        lambda: "breaks 5: there is nothing to cut after it in the states 1 to 5" in fit.verdict.text()
    )
    assert not fit.fit_button.isEnabled()
    write(fit.breaks, "auto")
    yield from wait_until(lambda: fit.verdict.text() == "3 of 5 states of pep")
    assert fit.fit_name.placeholderText() == "pep_dsr"
    # The backend is started by then and has said what it computes on.
    yield from wait_until(lambda: "GB)" in fit.device.currentText())
    report["told"]["device"] = fit.device.currentText()
    fit.preset.setCurrentIndex(fit.preset.findData("preview"))
    picture("panel.png")
    report["steps"].append("panel")


def cancelled(panel, jobs):
    fit = panel.fit
    # It reaches the reading of the scene: a molecule without a unit cell can't be unwrapped.
    click(fit.unwrap)
    click(fit.fit_button)
    yield from wait_until(lambda: "unwrap 1: state 1 of pep has no unit cell" in panel.status.text())
    yield from wait_until(fit.fit_button.isEnabled)
    click(fit.unwrap)
    watch("fit", lambda: jobs.fits["pep_dsr"].activity)
    click(fit.fit_button)
    yield from wait_until(lambda: fit.fit_button.text() == "Cancel")
    # Fields are locked, and Return cancels nothing, not even on the button.
    assert not fit.states.isEnabled() and not fit.selection.isEnabled()
    fit.fit_button.setFocus()
    for widget in (fit.fit_button, fit, panel):
        QTEST.keyClick(widget, QtCore.Qt.Key.Key_Return)
    assert not jobs.fits["pep_dsr"].stop.is_set()
    # The page Play says what is under way.
    panel.tabs.setCurrentWidget(panel.play)
    yield from wait_until(lambda: panel.play.message.text().startswith("pep_dsr is being made"))
    panel.tabs.setCurrentWidget(fit)
    yield from wait_until(lambda: str(jobs.fits["pep_dsr"].phase) != "queued")
    yield from wait_until(lambda: " s left" in panel.progress.text.text() and panel.progress.bar.isVisible())
    click(fit.fit_button)
    yield from wait_until(lambda: fit.fit_button.text() == "Make surface")
    assert str(jobs.fits["pep_dsr"].phase) == "cancelled"
    # The button follows the fit; this comes from the thread that worked on it, a moment later.
    yield from wait_until(lambda: panel.status.text() == "pep_dsr: cancelled")
    # It is said once.
    yield from wait_until(lambda: not panel.progress.isVisible())
    assert "pep_dsr_preview" not in cmd.get_names()
    report["steps"].append("cancel")


def fitted(panel, jobs, entry):
    """The surface of the state in view is there long before the fit; closing the window stops nothing."""
    fit = panel.fit
    cmd.disable("pep")
    click(fit.fit_button)
    yield from wait_until(lambda: "pep_dsr_preview" in cmd.get_names())
    report["told"]["phase at preview"] = str(jobs.fits["pep_dsr"].phase)
    report["told"]["early preview"] = covered().mean()
    panel.close()
    assert not panel.isVisible()
    yield from wait_until(lambda: str(jobs.fits["pep_dsr"].phase) in ("fit", "saving", "ready"))
    entry.trigger()
    yield from wait_until(
        lambda: (
            "pep_dsr" in panel.progress.text.text()
            and (panel.progress.bar.value() > 0 or str(jobs.fits["pep_dsr"].phase) == "ready")
        )
    )
    assert panel.isVisible()
    yield from wait_until(lambda: fit.play_button.isEnabled())
    watch()
    yield 300
    # Return plays what was made of these fields, until one is changed.
    assert fit.play_button.isDefault() and fit.fields.isEnabled()
    text = panel.progress.text.text()
    assert text.startswith("pep_dsr is ready: surfaces ") and ", fit " in text and text.endswith(" s"), text
    # PyMOL's own surface of that state covers the same pixels. Both pictures are of one window: PyMOL lays out the
    # space below the scene anew when the window beside it is closed and opened.
    area = covered()
    cmd.disable("pep_dsr_preview")
    cmd.enable("pep")
    cmd.show_as("surface", "pep")
    report["told"]["preview covers"] = alike(area, covered())
    cmd.show_as("sticks", "pep")
    cmd.enable("pep_dsr_preview")
    picture("fitted.png")
    report["steps"].append("fit")


def played(panel, jobs):
    """The surface follows time, level, smoothing and colour; what is dragged past is not waited for."""
    play = panel.play
    drawn: list[Any] = []
    play.live.shown.connect(drawn.append)

    def rests():
        return drawn and drawn[-1].request.fine and drawn[-1].request.time == play.player.slider.value() / 100

    click(panel.fit.play_button)
    assert panel.tabs.currentWidget() is play and play.fit.currentText() == "pep_dsr"
    yield from wait_until(rests)
    assert "pep_dsr_live" in cmd.get_names() and "pep_dsr_preview" not in cmd.get_names()
    assert play.player.slider.value() == 300 and drawn[-1].result.time == 3.0
    cmd.disable("pep")
    report["told"]["live covers"] = covered().mean()
    at_3 = size("pep_dsr_live")

    play.player.slider.setSliderDown(True)
    drawn.clear()
    for value in range(300, 100, -5):
        play.player.slider.setValue(value)
        if value % 25 == 0:
            yield 10
    yield from wait_until(lambda: drawn and drawn[-1].request.time == 1.05)
    assert all(not mesh.request.fine for mesh in drawn)
    report["told"]["dragged"] = len(drawn)
    play.player.slider.setSliderDown(False)
    play.player.slider.sliderReleased.emit()
    yield from wait_until(rests)
    assert drawn[-1].triangles > 1.2 * drawn[0].triangles or drawn[-1].triangles > 8000
    assert abs(size("pep_dsr_live") - at_3).max() > 0.2
    assert cmd.get_state() == 1, cmd.get_state()

    volume = drawn[-1].result.volume
    play.controls.level.setValue(1.0)
    yield from wait_until(lambda: rests() and drawn[-1].request.level == 1.0)
    assert drawn[-1].result.volume > 1.2 * volume
    play.controls.level.setValue(0.0)
    play.player.slider.setValue(200)
    yield from wait_until(lambda: rests() and drawn[-1].request.level == 0.0)
    volume = drawn[-1].result.volume
    play.controls.smooth_slider.setValue(30)
    assert play.controls.smooth.value() == 3.0
    yield from wait_until(lambda: rests() and drawn[-1].request.smooth == 3.0)
    assert drawn[-1].result.volume != volume
    assert not play.controls.auto_smooth.isChecked()
    click(play.controls.auto_smooth)
    assert play.controls.smooth.text().startswith("auto") and play.controls.width is None
    index = play.controls.color.findText("salmon")
    play.controls.color.setCurrentIndex(index)
    play.controls.color.activated.emit(index)
    yield from wait_until(lambda: rests() and drawn[-1].request.color == "salmon")
    for text, by in (("by motion", "motion"), ("by velocity", "velocity"), ("by B factor", "b")):
        index = play.controls.color.findText(text)
        play.controls.color.setCurrentIndex(index)
        play.controls.color.activated.emit(index)
        yield from wait_until(lambda by=by: rests() and drawn[-1].request.by == by)
    # All B factors are 0.
    assert play.message.text().endswith("Å² · calm · colours 0 to 1"), play.message.text()
    assert "pep_dsr_live_bar_b" in cmd.get_names("all")
    play.controls.transparency.setValue(40)
    assert abs(cmd.get_setting_float("cgo_transparency", "pep_dsr_live") - 0.4) < 1e-6
    yield from wait_until(lambda: panel.bar_title.text().startswith("B factor: "))
    assert panel.bar_title.isVisible()
    picture("colours.png")
    play.controls.transparency.setValue(0)
    play.controls.color.setCurrentIndex(0)
    play.controls.color.activated.emit(0)
    play.player.slider.setValue(play.player.slider.maximum())
    yield from wait_until(lambda: rests() and not drawn[-1].request.color)
    assert play.message.text().startswith("state 6 is predicted")
    assert play.player.state.text() == "6.00, predicted"
    left, right = play.player.slider.shaded_range()
    assert 0 <= left < 20 and 0.7 < right / play.player.slider.width() < 0.9, (left, right)
    picture("live.png")

    drawn.clear()
    play.player.speed.setValue(20.0)
    click(play.player.button)
    times: list[float] = []

    def went_round():
        times[:] = [mesh.request.time for mesh in drawn]
        return len(times) > 5 and any(after < before for before, after in itertools.pairwise(times))

    yield from wait_until(went_round)
    click(play.player.button)
    yield from wait_until(rests)
    assert max(times) <= 5.0 and min(times) >= 1.0, times
    report["steps"].append("play")


def filmed(panel, jobs):
    """The movie takes the place of the live surface."""
    play = panel.play
    # A movie of the user's is replaced at the second click only, or kept.
    cmd.mset("1 x30")
    cmd.mview("store", 1)
    click(play.actions.movie_button)
    assert "PyMOL has a movie of 30 frames with 1 camera key: click again" in panel.status.text(), panel.status.text()
    play.actions.keep.setChecked(True)
    gaps = []
    click(play.actions.movie_button)
    while "the movie is loaded" not in panel.status.text():
        gaps.append(not {"pep_dsr", "pep_dsr_live"} & set(cmd.get_names("all", enabled_only=1)))
        yield 5
    assert gaps and not any(gaps)
    assert cmd.count_frames() == 30 and cmd.count_states("pep_dsr") == 5
    play.actions.keep.setChecked(False)
    watch("movie", lambda: jobs.fits["pep_dsr"].activity)
    click(play.actions.movie_button)
    yield from wait_until(lambda: "the movie is loaded" in panel.status.text() and cmd.count_frames() == 5)
    watch()
    assert set(cmd.get_names()) == {"single", "pep", "pep_dsr"}
    assert cmd.count_states("pep_dsr") == 5 and cmd.count_frames() == 5
    cmd.enable("pep")
    yield 700
    assert set(cmd.get_names()) == {"single", "pep", "pep_dsr"}
    cmd.frame(4)
    picture("movie.png")
    play.controls.color.setCurrentIndex(play.controls.color.findText("by B factor"))
    click(play.actions.movie_button)
    yield from wait_until(lambda: "pep_dsr_bar_b" in cmd.get_names("all") and not jobs.fits["pep_dsr"].activity)
    play.controls.color.setCurrentIndex(0)
    # Back to live: the movie's surface and bar are switched off, and the molecule follows although there is a movie.
    play.player.slider.setValue(200)
    yield from wait_until(lambda: "pep_dsr_live" in cmd.get_names())
    assert not {"pep_dsr", "pep_dsr_bar_b"} & set(cmd.get_names("all", enabled_only=1))
    cmd.delete("pep_dsr_bar_b")
    # PyMOL's own command on its object, which has colours of vertices.
    cmd.color("salmon", "pep_dsr")
    yield from wait_until(lambda: panel.session.movies.by_name["pep_dsr"].color == "salmon")
    yield from wait_until(lambda: not jobs.fits["pep_dsr"].activity)
    yield from wait_until(lambda: cmd.get_state() == 2)
    yield from renamed(panel)

    play.player.mode.setCurrentText("bounce")
    play.actions.fps.setValue(10)
    play.actions.camera.setChecked(True)
    play.actions.overlay.setChecked(True)
    play.controls.steady.setCurrentIndex(play.controls.steady.findData(True))
    click(play.actions.movie_button)
    yield from wait_until(lambda: cmd.count_frames() == 8 and "steady=1" in made_by())
    assert cmd.get_setting_float("movie_fps") == 10 and "pep_dsr_time" in cmd.get_names()
    target = os.path.join(OUT, "pep.gif")
    size, picture_before = cmd.get_viewport(), covered()
    original_dialog = QtWidgets.QFileDialog.getSaveFileName
    QtWidgets.QFileDialog.getSaveFileName = staticmethod(lambda *_: (target[:-4], "GIF (*.gif)"))
    click(play.actions.film_button)
    dialog = play.actions.dialog
    assert dialog.summary.text().startswith("0.8 s, 8 frames at 10 a second, "), dialog.summary.text()
    dialog.seconds.setValue(2.0)
    assert dialog.summary.text().startswith("2.0 s, 8 frames at 4 a second, ")
    dialog.size_name.setCurrentIndex(dialog.size_name.findData("4K"))
    assert "3840 × 2160 pixels" in dialog.summary.text()
    yield 100
    picture("film.png")
    dialog.size_name.setCurrentIndex(0)
    watch("film", lambda: panel.status.text() != f"written: {target}")
    click(dialog.save)
    yield from wait_until(lambda: panel.status.text() == f"written: {target}")
    watch()
    QtWidgets.QFileDialog.getSaveFileName = original_dialog
    assert os.path.getsize(target) > 10_000
    # The window shows what it showed.
    yield 300
    assert cmd.get_viewport() == size and alike(picture_before, covered()) > 0.95
    still_path = os.path.join(OUT, "still.png")
    QtWidgets.QFileDialog.getSaveFileName = staticmethod(lambda *_: (still_path[:-4], "PNG (*.png)"))
    click(play.actions.still_button)
    dialog = play.actions.dialog
    assert "pixels, with a mesh of 0.35 Å" in dialog.summary.text() and dialog.ray.isChecked()
    # A second click brings no second dialog.
    click(play.actions.still_button)
    assert play.actions.dialog is not dialog
    dialog = play.actions.dialog
    dialog.ray.setChecked(False)
    yield 100
    click(dialog.save)
    yield from wait_until(lambda: panel.status.text() == f"written: {still_path}")
    assert play.actions.dialog is None
    # OpenGL's picture leaves the window as large as it was.
    yield 300
    assert cmd.get_viewport() == size and alike(picture_before, covered()) > 0.95
    QtWidgets.QFileDialog.getSaveFileName = original_dialog
    assert os.path.getsize(still_path) > 5_000 and "pep_dsr_still" not in cmd.get_names("all")
    report["steps"].append("movie")


def renamed(panel):
    """The menu A ▸ rename object asks for the other name in the scene; the movie is followed."""
    cmd.wizard("renaming", "pep_dsr")
    yield 100
    QTEST.keyClicks(window().pymolwidget, "_b")
    QTEST.keyClick(window().pymolwidget, QtCore.Qt.Key.Key_Return)
    yield from wait_until(lambda: "pep_dsr_b" in cmd.get_names())
    # The window follows it within a second, and PyMOL's own transparency acts on it.
    cmd.set("transparency", 0.5, "pep_dsr_b")
    yield from wait_until(lambda: "pep_dsr_b" in panel.session.movies.by_name)
    yield from wait_until(lambda: cmd.get_setting_float("cgo_transparency", "pep_dsr_b") == 0.5)
    # The live surface lies in its place.
    cmd.enable("pep_dsr_b")
    panel.play.player.slider.setValue(300)
    yield from wait_until(lambda: "pep_dsr_b" not in cmd.get_names("all", enabled_only=1))
    panel.play.player.slider.setValue(200)
    yield from wait_until(lambda: cmd.get_state() == 2)
    cmd.set_name("pep_dsr_b", "pep_dsr")
    report["steps"].append("rename")


def measured(panel, jobs):
    quality = panel.quality
    panel.tabs.setCurrentWidget(quality)
    yield 100
    assert quality.fit.currentText() == "pep_dsr"
    write(quality.states, "1-4")
    watch("quality", lambda: jobs.fits["pep_dsr"].activity)
    click(quality.button)
    yield from wait_until(lambda: quality.save.isEnabled())
    watch()
    assert quality.chart.plot.shaded == (1.0, 5.0, "fitted range")
    assert [line.label for line in quality.chart.plot.lines] == [
        "hold nearest",
        "atoms linear",
        "field",
        "field, fitted",
    ]
    assert [x for x, _ in quality.chart.plot.lines[2].points] == [2.0, 4.0]
    assert all(0.9 < y <= 1 for _, y in quality.chart.plot.lines[3].points)
    assert "All of these states were fitted" not in quality.means.text()
    quality.metric.setCurrentIndex(1)
    assert quality.chart.plot.y_label == "direction (NC)"
    picture("quality.png")
    report["steps"].append("quality")


def measured_over_time(panel, jobs):
    """Curves with a line at the time of the slider; a click on a residue shows it in the scene."""
    tab = panel.measure
    panel.tabs.setCurrentWidget(tab)
    yield from wait_until(lambda: tab.fit.currentText() == "pep_dsr" and tab.button.isEnabled())
    write(tab.pocket, "resi 2+5+8")
    tab.dt.setValue(0.5)
    watch("measures", lambda: jobs.fits["pep_dsr"].activity)
    click(tab.button)
    yield from wait_until(lambda: tab.save.isEnabled() and tab.button.text() == "Measure")
    watch()
    assert [chart.plot.y_label.split(" (")[0] for chart in tab.view.charts] == [
        "volume",
        "area",
        "mean speed of the surface",
        "volume of the pocket",
    ]
    volume = tab.view.charts[0]
    assert volume.plot.x_label == "time (ns)" and [x for x, _ in volume.plot.lines[1].points] == [0, 0.5, 1, 1.5, 2]
    tab.slider.setValue(400)
    assert panel.play.player.time == 4.0 and volume.marker == 1.5
    assert tab.time.text() == "state 4.00 of 5, 1.5 ns", tab.time.text()
    yield from wait_until(lambda: cmd.get_state() == 4)
    ranked = tab.view.measured.ranked()
    QTEST.mouseClick(
        tab.view.table.viewport(),
        QtCore.Qt.MouseButton.LeftButton,
        pos=tab.view.table.visualItemRect(tab.view.table.item(1, 0)).center(),
    )
    residues: list[str] = []
    cmd.iterate("dsr_residue", "residues.append(resi)", space={"residues": residues})
    assert set(residues) == {ranked[1].resi}
    yield 700
    picture("measures.png")
    cmd.delete("dsr_residue")
    cmd.zoom("pep", 4)
    report["steps"].append("measures")


def as_an_ensemble(panel, jobs):
    """The occupancy of a fit; the landscape of a molecule, on whose map a click shows the nearest state."""
    tab = panel.ensembles
    panel.tabs.setCurrentWidget(tab)
    yield from wait_until(lambda: tab.ensemble.findText("pep_dsr") >= 0 and tab.ensemble.findText("pep") >= 0)
    tab.ensemble.setEditText("pep_dsr")
    write(tab.levels, "50 101")
    click(tab.occupancy_button)
    assert "levels 101: it must be above 0 and at most 100" in panel.status.text()
    write(tab.levels, "50 90")
    click(tab.occupancy_button)
    finished = "pep_dsr_occupancy is in the scene"
    assert tab.occupancy_button.text() == "Cancel"
    assert tab.landscape_button.text() == "Landscape" and not tab.landscape_button.isEnabled()
    yield from wait_until(lambda: panel.status.text() == finished)
    assert "pep_dsr_occupancy_90" in cmd.get_names("all") and "volume of a state" in tab.figures.text()
    assert tab.occupancy_button.text() == "Show occupancy" or not jobs.fits["pep_dsr"].activity
    tab.ensemble.setEditText("pep")
    click(tab.landscape_button)
    yield from wait_until(lambda: "4 residues and 10 states at least, and here are 9 and 5" in panel.status.text())
    yield from wait_until(lambda: tab.landscape_button.isEnabled())
    cmd.create("many", "pep", 1, 1)
    for state in range(2, 13):
        cmd.create("many", "pep", 1, state)
        cmd.translate([0, 3 * (state % 2), 0.1 * state], "%many and resi 1-3", state, camera=0)
    tab.ensemble.setEditText("many")
    click(tab.landscape_button)
    yield from wait_until(lambda: tab.map.landscape is not None and tab.save.isEnabled())
    picture("ensembles.png")
    position = tab.map.place(*tab.map.landscape.result.axes[6]).toPoint()
    QTEST.mouseClick(tab.map, QtCore.Qt.MouseButton.LeftButton, pos=position)
    status = panel.status.text()
    assert "of many: macrostate" in status and int(status.split()[1]) == cmd.get_state() and cmd.get_state() % 2, status
    cmd.delete("many")
    cmd.delete("pep_dsr_occupancy")
    report["steps"].append("ensembles")


def reloaded(panel, jobs):
    """A fit of another session, from the folder."""
    fits = panel.fits
    # Live colours by values, of a fit that goes and comes again.
    panel.tabs.setCurrentWidget(panel.play)
    drawn: list[Any] = []
    panel.play.live.shown.connect(drawn.append)
    panel.play.controls.color.setCurrentIndex(panel.play.controls.color.findText("by motion"))
    panel.play.player.slider.setValue(250)
    yield from wait_until(lambda: drawn and drawn[-1].request.by == "motion" and drawn[-1].request.fine)
    del jobs.fits["pep_dsr"]
    panel.tabs.setCurrentWidget(fits)
    yield from wait_until(lambda: fits.list.topLevelItemCount() == 1 and fits.list.topLevelItem(0).text(4) != "ready")
    row = fits.list.topLevelItem(0)
    assert row.text(0) == "pep_dsr" and row.text(3).endswith(" MB") and row.text(4) == "in the folder"
    assert row.text(2)[:4] == time.strftime("%Y")
    fits.list.setCurrentItem(row)
    click(fits.open_button)
    yield from wait_until(lambda: "pep_dsr" in jobs.fits and panel.tabs.currentWidget() is panel.play)
    assert panel.play.fit.currentText() == "pep_dsr" and panel.play.player.state.maximum() == 6.0
    fit = jobs.fits["pep_dsr"]
    yield from wait_until(lambda: drawn[-1].request.fit is fit and drawn[-1].request.fine)
    panel.play.controls.color.setCurrentIndex(0)
    report["steps"].append("reload")


def whole_sessions(panel):
    """A box says how session files hold the movies; dsr_set does the same."""
    box = panel.fits.whole_sessions
    panel.tabs.setCurrentWidget(panel.fits)
    yield 100
    assert re.fullmatch(r"Session files hold all meshes \(\d+ MB now\)", box.text()) and not box.isChecked(), box.text()
    click(box)
    assert panel.session.settings.get("session") == "full"
    cmd.do("dsr_set session, light")
    yield from wait_until(lambda: not box.isChecked())


def replace_or_keep(panel, jobs):
    """A fit under the name of a finished one asks first, and a cancelled one leaves the finished one as it was."""
    yield from whole_sessions(panel)
    fit, fits, first = panel.fit, panel.fits, jobs.fits["pep_dsr"]
    panel.tabs.setCurrentWidget(fit)
    click(fit.fit_button)
    yield from wait_until(fit.question.isVisible)
    assert fit.question_text.text() == "There is a finished surface pep_dsr." and not first.activity
    yield 200
    picture("question.png")
    click(fit.replace_button)
    yield from wait_until(lambda: fit.fit_button.text() == "Cancel" and str(jobs.fits["pep_dsr"].phase) != "queued")
    panel.tabs.setCurrentWidget(fits)
    yield from wait_until(lambda: fits.list.topLevelItemCount() == 2)
    assert [fits.list.topLevelItem(k).text(4) for k in (0, 1)] == ["being made", "in the folder"]
    panel.tabs.setCurrentWidget(fit)
    click(fit.fit_button)
    yield from wait_until(lambda: jobs.fits["pep_dsr"] is first and panel.status.text() == "pep_dsr: cancelled")
    yield from wait_until(lambda: fit.fit_button.text() == "Make surface" and fit.play_button.isEnabled())
    assert not fit.question.isVisible()
    click(fit.fit_button)
    yield from wait_until(fit.question.isVisible)
    click(fit.keep_button)
    yield from wait_until(lambda: "pep_dsr_2" in jobs.fits and str(jobs.fits["pep_dsr_2"].phase) == "ready")
    assert jobs.fits["pep_dsr"] is first and first.is_finished
    fit.fit_name.setText("")
    # The list shows what is on disk; Delete asks first.
    panel.tabs.setCurrentWidget(fits)
    yield from wait_until(lambda: [fits.list.topLevelItem(k).text(0) for k in range(2)] == ["pep_dsr", "pep_dsr_2"])
    # Whether each is ready stands beside its name, and is in view.
    header = fits.list.header()
    assert header.visualIndex(4) == 1
    assert header.sectionViewportPosition(4) + header.sectionSize(4) <= fits.list.viewport().width()
    fits.list.setCurrentItem(fits.list.topLevelItem(1))
    click(fits.delete_button)
    assert "Delete pep_dsr_2 and pep_dsr_2.dsr for good?" in fits.question_text.text(), fits.question_text.text()
    file = os.path.join(fits.folder, "pep_dsr_2.dsr")
    click(fits.no_button)
    assert os.path.exists(file) and "pep_dsr_2" in jobs.fits
    click(fits.delete_button)
    yield 200
    picture("list.png")
    click(fits.yes_button)
    assert not os.path.exists(file) and "pep_dsr_2" not in jobs.fits
    rows = lambda: [(fits.list.topLevelItem(k).text(0), fits.list.topLevelItem(k).text(4)) for k in range(2)]  # noqa: E731
    # The rest of the cancelled one can be resumed, or deleted without the finished one.
    yield from wait_until(lambda: rows() == [("pep_dsr", "ready"), ("pep_dsr", "interrupted")])
    fits.list.setCurrentItem(fits.list.topLevelItem(1))
    assert fits.resume_button.isEnabled() and not fits.open_button.isEnabled()
    click(fits.delete_button)
    click(fits.yes_button)
    yield from wait_until(lambda: fits.list.topLevelItemCount() == 1)
    assert os.path.exists(os.path.join(fits.folder, "pep_dsr.dsr")) and "pep_dsr" in jobs.fits
    panel.tabs.setCurrentWidget(fit)
    report["steps"].append("kept")


def served_together():
    from pymol_dsr.fits.background import Background
    from pymol_dsr.scene.gui_thread import in_gui

    counts: list[int] = []

    def work():
        counts.append(sum(in_gui(cmd, cmd.count_states, "%pep") == 5 for _ in range(40)))

    for _ in range(4):
        Background(target=work, daemon=True).start()
    yield from wait_until(lambda: len(counts) == 4)
    assert counts == [40] * 4


def typed_in(panel, jobs):
    # Jobs that change the scene at the same time are served without a word of PyMOL's.
    yield from served_together()
    typed("dsr_fit pep, 1, 5")
    typed("dsr_movie pep_dsr, 1-3:0.5, object=typed")
    report["typed_returns_at_once"] = "typed" not in cmd.get_names()
    yield from wait_until(lambda: "typed_atoms" in cmd.get_names() and not jobs.fits["pep_dsr"].activity)
    cmd.delete("typed")
    # Commands that follow a fit wait for it, in the order in which they are typed.
    typed("dsr_fit pep, 1-3, name=chained, preset=preview, watch=0")
    typed("dsr_movie chained, 1-3:0.5, movie=0")
    typed("dsr_color chained, motion")
    typed("dsr_levels chained, 2, levels=0 2")
    assert "chained" not in cmd.get_names()
    yield from wait_until(lambda: "chained_levels" in cmd.get_names("all") and not jobs.fits["chained"].activity)
    assert any("_motion" in name for name in cmd.get_names("all")) and cmd.count_states("chained") == 5
    # Commands that wait for a fit that is cancelled are not run.
    typed("dsr_fit pep, 1-3, name=stopped, watch=0")
    typed("dsr_measure stopped")
    typed("dsr_cancel stopped")
    yield from wait_until(lambda: "dsr_measure: not run, since the fit stopped" in window().browser.toPlainText())
    assert str(jobs.fits["stopped"].phase) == "cancelled"
    for name in list(cmd.get_names("all")):
        if name.startswith("chained"):
            cmd.delete(name)
    report["steps"].append("typed")


def in_a_family(panel, jobs):
    """Two molecules typed as one fit: the window finds it, and offers its trajectories."""
    peptide("two", "ACDEF", 0.5)
    fit, play = panel.fit, panel.play
    panel.tabs.setCurrentWidget(fit)
    yield from wait_until(lambda: fit.selection.findText("pep+two") >= 0)
    typed("dsr_fit pep+two, 1-5:2, name=fam, preset=preview")
    yield from wait_until(lambda: fit.name == "fam" and fit.busy())
    yield from wait_until(lambda: "fam_preview" in cmd.get_names())
    yield from wait_until(lambda: fit.play_button.isEnabled() and not fit.busy())
    click(fit.play_button)
    assert play.fit.currentText() == "fam" and play.family.isVisible()
    assert [play.trajectory.itemText(k) for k in range(play.trajectory.count())] == ["pep", "two"]
    yield from wait_until(lambda: "fam_live" in cmd.get_names())
    full_size = size("fam_live")
    play.trajectory.setCurrentIndex(1)
    assert [play.towards.itemText(k) for k in range(play.towards.count())] == ["nothing else", "pep"]
    yield from wait_until(lambda: size("fam_live")[0] < full_size[0] - 3.0)
    play.towards.setCurrentIndex(1)
    assert play.share.isEnabled()
    meshes_shown: list[Any] = []
    play.live.shown.connect(meshes_shown.append)
    yield from wait_until(lambda: meshes_shown and meshes_shown[-1].request.field.share == 0.5)
    picture("family.png")
    report["steps"].append("family")


def morphed(panel):
    """Two objects chosen in the tab Morph; the slider of their surface appears by itself."""
    cmd.create("bent", "pep and not resi 1", 5, 1)
    morph, play = panel.morph, panel.play
    panel.tabs.setCurrentWidget(morph)
    yield from wait_until(lambda: morph.second.findText("bent") >= 0)
    write(morph.first.lineEdit(), "pep")
    write(morph.second.lineEdit(), "bent")
    morph.frames.setValue(4)
    click(morph.button)
    yield from wait_until(lambda: morph.button.text() == "Cancel")
    yield from wait_until(lambda: panel.tabs.currentWidget() is play and play.fit.currentText() == "pep_morph_dsr")
    assert "pep: left out: 1 residue (1)" in morph.report.toPlainText()
    assert cmd.count_states("pep_morph") == 4 and cmd.get_title("pep_morph", 4) == "state 1 of bent"
    assert play.player.state.minimum() == 1.0 and play.player.state.maximum() >= 4.0
    picture("morph.png")
    report["steps"].append("morph")


ticker = QtCore.QTimer()
ticker.timeout.connect(tick)
ticker.start(10)
run(steps(), report)
