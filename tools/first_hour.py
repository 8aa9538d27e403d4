"""`python tools/first_hour.py FOLDER [ACT …]`: the first hour of a new user in PyMOL's window, with mouse and keyboard.

Each act is a PyMOL of its own, with the same new home folder. Mouse and keys are those of the X server (xdotool).
FOLDER gets a picture of each step; log.txt, which has the lines that the window showed and its pauses; and pauses.txt,
which has the Python lines of those of more than a second. Needs Xvfb, xdotool, PyQt5, MDAnalysisTests and an installed
backend, which PyMOL knows only after the user has named it.
FIRST_HOUR_ROOT names another checkout to play. `… pairs BEFORE AFTER` writes the pictures of docs/panel.md.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("FIRST_HOUR_ROOT") or Path(__file__).resolve().parent.parent)
# The packages of a PyMOL without a backend.
PACKAGES = ("pymol", "pymol2", "pmg_qt", "chempy", "numpy", "numpy.libs", "PyQt5")
WIDTH, HEIGHT = 1440, 900
DATA = ROOT / "benchmarks/data"
SETTLE, LOOK = 250, 50
# Seconds of a pause after which its place is written down.
LONG_PAUSE = 1.0
# Rectangles of the screen: left, upper, right, lower.
PANEL, CHART = (864, 20, 1256, 692), (864, 352, 1256, 692)
GAP = 12
# The picture of a step, its part, and its scale.
PAIRS = {
    "program": ("install-no-program", PANEL, 1.0),
    "simulate": ("install-empty-Simulate", PANEL, 1.0),
    "one-state": ("own-one-state", PANEL, 1.0),
    "curve": ("install-plays", CHART, 1.0),
}


# The user's hands, inside PyMOL


def wait_until(condition: Callable[[], Any], seconds: float = 120) -> Iterator[int]:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        yield LOOK


def xdo(*words: Any) -> None:
    subprocess.run(["xdotool", *map(str, words)], check=True)


def click_at(point: Any, button: int = 1, count: int = 1) -> Iterator[int]:
    xdo("mousemove", point.x(), point.y())
    yield 60
    xdo("click", "--repeat", count, "--delay", 40, button)
    yield SETTLE


def click(widget: Any, **options: Any) -> Iterator[int]:
    """Click the middle of a widget; the user scrolls the page where it is out of view."""
    assert widget.isVisible() and widget.isEnabled(), (widget, getattr(widget, "text", str)())
    scroll_to(widget)
    yield 50
    yield from click_at(widget.mapToGlobal(widget.rect().center()), **options)


def tick(box: Any) -> Iterator[int]:
    from pymol.Qt import QtCore

    scroll_to(box)
    yield 50
    yield from click_at(box.mapToGlobal(QtCore.QPoint(10, box.height() // 2)))


def scroll_to(widget: Any) -> None:
    from pymol.Qt import QtWidgets

    parent = widget.parentWidget()
    while parent is not None:
        if isinstance(parent, QtWidgets.QScrollArea) and not widget.visibleRegion().boundingRect().contains(
            widget.rect().center()
        ):
            note(f"(scrolled to reach {getattr(widget, 'text', widget.objectName)() or type(widget).__name__})")
            parent.ensureWidgetVisible(widget)
        parent = parent.parentWidget()


def drag(start: Any, end: Any, steps: int = 12) -> Iterator[int]:
    xdo("mousemove", start.x(), start.y(), "mousedown", 1)
    yield 60
    for step in range(1, steps + 1):
        fraction = step / steps
        xdo(
            "mousemove",
            round(start.x() + fraction * (end.x() - start.x())),
            round(start.y() + fraction * (end.y() - start.y())),
        )
        yield 60
    xdo("mouseup", 1)
    yield SETTLE


def slide(slider: Any, fraction: float) -> Iterator[int]:
    """Drag the handle of a slider to a fraction of its way."""
    from pymol.Qt import QtCore, QtWidgets

    scroll_to(slider)
    yield 50
    option = QtWidgets.QStyleOptionSlider()
    slider.initStyleOption(option)
    handle = slider.style().subControlRect(
        QtWidgets.QStyle.ComplexControl.CC_Slider, option, QtWidgets.QStyle.SubControl.SC_SliderHandle, slider
    )
    end = QtCore.QPoint(round(8 + fraction * (slider.width() - 16)), handle.center().y())
    yield from drag(slider.mapToGlobal(handle.center()), slider.mapToGlobal(end))


def keys(*names: str) -> Iterator[int]:
    xdo("key", *names)
    yield SETTLE


def write(field: Any, text: str) -> Iterator[int]:
    """Replace the text of a field."""
    yield from click(field)
    xdo("key", "ctrl+a")
    if text:
        xdo("type", "--delay", 12, text)
    else:
        xdo("key", "Delete")
    yield SETTLE + 15 * len(text)


def choose(combo: Any, text: str) -> Iterator[int]:
    """Choose an entry of a list by its text."""
    from pymol.Qt import QtCore

    row = combo.findText(text)
    assert row >= 0, (text, [combo.itemText(k) for k in range(combo.count())])
    scroll_to(combo)
    yield 50
    yield from click_at(combo.mapToGlobal(QtCore.QPoint(combo.width() - 8, combo.height() // 2)))
    view = combo.view()
    yield from wait_until(view.isVisible, 5)
    position = view.visualRect(combo.model().index(row, 0)).center()
    yield from click_at(view.viewport().mapToGlobal(position))


def page(title: str) -> Iterator[int]:
    tabs = panel().tabs
    (button,) = [button for button in tabs._buttons.buttons() if button.text() == title]
    yield from click(button)


def menu(*titles: str) -> Iterator[int]:
    """Open PyMOL's menus one after the other."""
    bar = window().menuBar()
    menu_owner: Any = bar
    for title in titles:
        (action,) = [action for action in menu_owner.actions() if action.text().replace("&", "") == title]
        yield from click_at(menu_owner.mapToGlobal(menu_owner.actionGeometry(action).center()))
        menu_owner = action.menu()


def button_of(dialog: Any, text: str) -> Any:
    from pymol.Qt import QtWidgets

    (button,) = [
        button
        for button in dialog.findChildren(QtWidgets.QAbstractButton)
        if button.text().replace("&", "").startswith(text) and button.isVisible()
    ]
    return button


def dialog() -> Any:
    from pymol.Qt import QtWidgets

    return QtWidgets.QApplication.activeModalWidget()


def name_file(path: Any) -> Iterator[int]:
    """Name a file in the dialog of files, at once: its list of similar names would take the keys."""
    from pymol.Qt import QtWidgets

    yield from wait_until(lambda: isinstance(dialog(), QtWidgets.QFileDialog), 20)
    yield 300
    file_dialog = dialog()
    file_dialog.findChild(QtWidgets.QLineEdit, "fileNameEdit").setText(str(path))
    yield 200
    box = file_dialog.findChild(QtWidgets.QDialogButtonBox)
    (accept,) = [b for b in box.buttons() if box.buttonRole(b) == QtWidgets.QDialogButtonBox.ButtonRole.AcceptRole]
    yield from click(accept)
    yield 400


def command(line: str) -> Iterator[int]:
    """Type a line in PyMOL's command line."""
    yield from write(window().lineedit, line)
    xdo("key", "Return")
    yield 400


def window() -> Any:
    import pymol.gui

    return pymol.gui.get_qtwindow()


def session() -> Any:
    from pymol import cmd

    (name,) = [name for name in sys.modules if name.endswith("pymol_dsr.session")]
    return sys.modules[name].session_of(cmd)


def panel() -> Any:
    return session().windows.panel


def idle() -> bool:
    return not panel()._tasks and not any(fit.activity for fit in session().jobs.fits.values())


# Its records


def note(text: str) -> None:
    with open(os.path.join(os.environ["FIRST_HOUR_OUT"], "log.txt"), "a") as log:
        print(f"{time.monotonic() - BEGAN:7.1f} {os.environ['FIRST_HOUR_ACT']}: {text}", file=log)


def picture(name: str) -> None:
    """Save the whole screen."""
    from pymol.Qt import QtWidgets

    window().pymolwidget.repaint()
    path = os.path.join(os.environ["FIRST_HOUR_OUT"], f"{os.environ['FIRST_HOUR_ACT']}-{name}.png")
    QtWidgets.QApplication.primaryScreen().grabWindow(0).save(path)
    note(f"picture {name}")


class Watcher:
    """Writes down each new line of the window, and each pause in which it does not answer."""

    def __init__(self) -> None:
        from pymol.Qt import QtCore

        self._last, self._said = time.monotonic(), {}
        self._pauses = open(os.path.join(os.environ["FIRST_HOUR_OUT"], "pauses.txt"), "a")  # noqa: SIM115
        self._timer = QtCore.QTimer()
        self._timer.setInterval(15)
        self._timer.timeout.connect(self._look)
        self._timer.start()

    def _look(self) -> None:
        moment = time.monotonic()
        faulthandler.dump_traceback_later(LONG_PAUSE, file=self._pauses)
        if moment - self._last > 0.3:
            note(f"PAUSE of {moment - self._last:.2f} s")
        try:
            window_panel = panel()
        except ValueError:
            window_panel = None
        if window_panel is not None:
            texts = {
                "status": window_panel.status.text(),
                "progress": window_panel.progress.text.text() if window_panel.progress.isVisible() else "",
                "first steps": window_panel.first_steps.missing.text()
                if window_panel.first_steps.missing.isVisible()
                else "",
                "verdict": window_panel.fit.verdict.text(),
                "play": window_panel.play.message.text(),
            }
            for label, text in texts.items():
                if self._said.get(label, "") != text:
                    self._said[label] = text
                    note(f"{label}: {text}")
        self._last = time.monotonic()


# The acts


def act_install() -> Iterator[int]:
    """Install the zip with the Plugin Manager, name the program, and try the example."""
    from pymol.Qt import QtWidgets

    picture("pymol")
    yield from menu("Plugin", "Plugin Manager")
    yield 800
    (manager,) = [w for w in QtWidgets.QApplication.topLevelWidgets() if w.windowTitle() == "Plugin Manager"]
    tabs = manager.findChild(QtWidgets.QTabWidget)
    bar = tabs.tabBar()
    (number,) = [k for k in range(bar.count()) if bar.tabText(k).startswith("Install New")]
    yield from click_at(bar.mapToGlobal(bar.tabRect(number).center()))
    yield from click(button_of(manager, "Choose file"))
    yield from name_file(os.environ["FIRST_HOUR_ZIP"])
    yield 800
    for _ in range(4):
        if dialog() is None or dialog() is manager:
            break
        box = dialog()
        texts = [w.text() for w in box.findChildren(QtWidgets.QLabel)]
        note(f"dialog {box.windowTitle()!r}: {texts}")
        picture(f"manager-{box.windowTitle() or 'dialog'}")
        yield from keys("Return")
        yield 500
    manager.close()
    yield 300
    xdo("mousemove", 5, 5)
    yield from menu("Plugin")
    picture("menu")
    yield from keys("Escape", "Escape")
    yield from menu("Plugin", "Dynamical Surface…")
    yield 1500
    picture("no-program")
    # Pages without anything to work on.
    for title in panel().tabs.titles():
        yield from page(title)
        picture(f"empty-{title}")
    yield from page("Make surface")
    yield from click(panel().first_steps.choose_button)
    picture("choose")
    yield from name_file(os.environ["FIRST_HOUR_PROGRAM"])
    yield 300
    picture("chosen")
    yield from wait_until(lambda: panel().first_steps.try_button.isVisible())
    yield from wait_until(lambda: "GB)" in panel().fit.device.currentText())
    picture("offered")
    yield from click(panel().first_steps.try_button)
    yield 2500
    picture("trying")
    yield from wait_until(lambda: "plays" in panel().status.text(), 200)
    yield 500
    picture("plays")
    yield from page("Play")
    yield 1500
    picture("play")
    yield from command("reinitialize")
    yield 1500
    picture("reinitialized")


def opened() -> Iterator[int]:
    """Open the window from PyMOL's menu."""
    yield from menu("Plugin", "Dynamical Surface…")
    yield from wait_until(lambda: panel() is not None and panel().isVisible(), 10)
    yield from wait_until(lambda: "GB)" in panel().fit.device.currentText())


def loaded(structure: Path, trajectory: Path | None = None) -> Iterator[int]:
    """Open a structure and its trajectory with File ▸ Open…."""
    from pymol import cmd
    from pymol.Qt import QtWidgets

    yield from menu("File", "Open...")
    yield from name_file(structure)
    yield 500
    if trajectory is None:
        return
    yield from menu("File", "Open...")
    yield from name_file(trajectory)
    yield 800
    box = dialog()
    if box is None:
        (box,) = [w for w in QtWidgets.QApplication.topLevelWidgets() if w.isVisible() and w is not window()]
    picture("load-trajectory")
    yield from click(button_of(box, "Load"))
    yield from wait_until(lambda: cmd.count_states() > 1, 60)


def act_own() -> Iterator[int]:
    """Wrong inputs first; then a surface of a trajectory that the user opens, cancelled once."""
    from pymol import cmd

    yield from opened()
    fit = panel().fit
    picture("empty")
    yield from write(fit.selection.lineEdit(), "nothing_here")
    yield 600
    picture("no-such")
    yield from write(fit.selection.lineEdit(), "")
    yield from loaded(DATA / "trpcage_300k.pdb")
    yield 1500
    picture("one-state")
    yield from click(panel().play.fit) if panel().play.fit.isVisible() else iter(())
    yield from menu("File", "Open...")
    yield from name_file(DATA / "trpcage_300k.xtc")
    yield 800
    picture("load-trajectory")
    yield from keys("Return")
    yield from wait_until(lambda: cmd.count_states() > 1, 60)
    yield 1800
    picture("loaded")
    note(f"states {fit.verdict.text()}; objects {cmd.get_names()}")
    yield from write(fit.states, "1-500")
    yield 500
    picture("past-the-end")
    yield from write(fit.selection.lineEdit(), "trpcage_300k and resn XYZ")
    yield 500
    picture("empty-selection")
    yield from write(fit.selection.lineEdit(), "trpcage_300k")
    yield from write(fit.states, "1-60:2")
    yield 500
    yield from click(fit.fit_button)
    yield from wait_until(lambda: fit.busy() and str(fit.current().phase) != "queued", 60)
    yield 1200
    picture("working")
    yield from click(fit.fit_button)
    yield 300
    picture("cancelling")
    yield from wait_until(idle, 60)
    yield 500
    picture("cancelled")
    yield from page("My surfaces")
    yield 1200
    picture("left")
    yield from page("Make surface")
    yield from click(fit.fit_button)
    yield from wait_until(lambda: "trpcage_300k_dsr_preview" in cmd.get_names(), 60)
    yield 500
    picture("preview")
    yield from page("Play")
    yield 600
    picture("play-too-early")
    yield from page("Make surface")
    yield from wait_until(lambda: idle() and fit.play_button.isEnabled(), 200)
    yield 600
    picture("ready")
    yield from click(fit.play_button)
    yield 2500
    picture("play")


def opened_fit(name: str = "trpcage_300k_dsr") -> Iterator[int]:
    """Open the molecule and its surface from the folder."""
    yield from opened()
    yield from loaded(DATA / "trpcage_300k.pdb", DATA / "trpcage_300k.xtc")
    yield from page("My surfaces")
    yield 1300
    listed = panel().fits.list
    (item,) = [
        listed.topLevelItem(k) for k in range(listed.topLevelItemCount()) if listed.topLevelItem(k).text(0) == name
    ]
    yield from click_at(listed.viewport().mapToGlobal(listed.visualItemRect(item).center()))
    picture("listed")
    yield from click(panel().fits.open_button)
    yield from wait_until(lambda: panel().play.isVisible() and panel().play.current() is not None, 60)
    yield 2000


def act_look() -> Iterator[int]:
    """Play, colours, transparency, movie, film and still."""
    from pymol import cmd

    yield from opened_fit()
    play, controls = panel().play, panel().play.controls
    picture("play")
    yield from click(play.player.button)
    yield 3000
    picture("playing")
    yield from click(play.player.button)
    yield from slide(play.player.slider, 0.97)
    yield 1500
    picture("past-the-end")
    yield from slide(play.player.slider, 0.3)
    yield 1200
    for text in ("by motion", "by speed", "by B factor"):
        yield from choose(controls.color, text)
        yield 1500
        picture(f"colour-{text}")
    yield from choose(controls.color, "by motion")
    yield from slide(controls.transparency, 0.5)
    yield 1200
    picture("transparent")
    yield from slide(controls.smooth_slider, 0.9)
    yield 1500
    picture("smooth")
    yield from tick(controls.auto_smooth)
    yield 500
    yield from click(play.actions.film_button)
    yield 600
    picture("film-without-movie")
    yield from write(play.actions.states, "1-20:0.5")
    yield from click(play.actions.movie_button)
    yield 1500
    picture("movie-loading")
    yield from wait_until(idle, 120)
    yield 1500
    picture("movie")
    note(f"objects {cmd.get_names()}, enabled {cmd.get_names('all', 1)}, frames {cmd.count_frames()}")
    yield from click(play.actions.film_button)
    yield 600
    picture("film-dialog")
    yield from click(play.actions.dialog.save)
    yield from name_file(Path.home() / "film.gif")
    yield 1500
    picture("film-writing")
    yield from wait_until(idle, 120)
    yield 400
    picture("film-written")
    note(f"home {os.listdir(Path.home())}")
    yield from click(play.actions.still_button)
    yield 600
    picture("still-dialog")
    yield from tick(play.actions.dialog.ray)
    yield from click(play.actions.dialog.save)
    yield from name_file(Path.home() / "still.png")
    yield from wait_until(idle, 120)
    yield 800
    picture("still-written")
    # The slider again, after the movie.
    yield from slide(play.player.slider, 0.6)
    yield 1500
    picture("slider-after-movie")
    note(f"enabled {cmd.get_names('all', 1)}")
    yield from click(play.actions.export_button)
    yield 500
    picture("export-menu")
    yield from keys("Down", "Return")
    yield from name_file(Path.home() / "mesh.glb")
    yield from wait_until(idle, 60)
    yield 500
    picture("exported")


def act_measure() -> Iterator[int]:
    """Measure and Quality."""

    yield from opened_fit()
    measure, quality = panel().measure, panel().quality
    yield from page("Measure")
    yield 600
    picture("measure")
    yield from write(measure.states, "1-40:2")
    yield from write(measure.pocket, "resi 3+6+12+19")
    yield from click(measure.button)
    yield 1000
    picture("measuring")
    yield from wait_until(idle, 120)
    yield 800
    picture("measured")
    table = measure.view.table
    scroll_to(table)
    yield 200
    yield from click_at(table.viewport().mapToGlobal(table.visualItemRect(table.item(1, 0)).center()))
    yield 1200
    picture("residue")
    yield from slide(measure.slider, 0.8)
    yield 1200
    picture("later")
    yield from page("Quality")
    yield 500
    picture("quality")
    yield from write(quality.states, "1-40:6")
    yield from click(quality.button)
    yield 1500
    picture("comparing")
    yield from wait_until(idle, 150)
    yield 800
    picture("compared")


def act_ensembles() -> Iterator[int]:
    """Occupancy and landscape; then an object of few states."""
    from pymol import cmd

    yield from opened()
    yield from loaded(DATA / "trpcage_300k.pdb", DATA / "trpcage_300k.xtc")
    page_ = panel().ensembles
    yield from page("Ensembles")
    yield 1300
    picture("first")
    yield from write(page_.states, "1-40:2")
    yield from click(page_.occupancy_button)
    yield 1500
    picture("occupancy-working")
    yield from wait_until(idle, 150)
    yield 1000
    picture("occupancy")
    note(f"enabled {cmd.get_names('all', 1)}")
    yield from write(page_.states, "")
    yield from click(page_.landscape_button)
    yield 800
    picture("landscape-working")
    yield from wait_until(idle, 120)
    yield 800
    picture("landscape")
    yield from click(page_.map)
    yield 800
    picture("nearest")
    yield from click(page_.split_button)
    yield from wait_until(idle, 60)
    yield 800
    picture("objects")
    note(f"objects {cmd.get_names()}")


def act_morph() -> Iterator[int]:
    """Morph two structures."""
    from pymol import cmd

    yield from opened()
    yield from loaded(DATA / "trpcage_300k.pdb")
    yield from page("Morph")
    yield 1300
    picture("one")
    if panel().morph.button.isEnabled():
        yield from click(panel().morph.button)
        yield 1500
    picture("one-refused")
    yield from loaded(DATA / "trpcage_450k.pdb", DATA / "trpcage_450k.xtc")
    yield from command("create open, trpcage_450k, 160, 1")
    yield from command("delete trpcage_450k")
    yield 1300
    picture("two")
    yield from write(panel().morph.second.lineEdit(), "open")
    yield from click(panel().morph.button)
    yield 2000
    picture("working")
    yield from wait_until(idle, 200)
    yield 1500
    picture("done")
    note(f"objects {cmd.get_names()}")


def act_simulate() -> Iterator[int]:
    """Simulate briefly, the landscape, the surface; learn; continue."""
    from pymol import cmd

    yield from opened()
    simulate = panel().simulate
    yield from page("Simulate")
    yield 1300
    picture("nothing")
    if simulate.button.isEnabled():
        yield from click(simulate.button)
        yield 1000
    picture("nothing-started")
    yield from loaded(DATA / "trpcage_300k.pdb")
    yield 1300
    picture("first")
    yield from click(simulate.estimate_button)
    yield 1000
    picture("estimating")
    yield from wait_until(idle, 120)
    yield 500
    picture("estimated")
    yield from write(simulate.length, "0.02")
    yield from click(simulate.button)
    yield from wait_until(lambda: simulate._run.job is not None and simulate._run.job.arrived > 3, 120)
    yield 300
    picture("simulating")
    yield from wait_until(idle, 200)
    yield 800
    picture("simulated")
    note(f"objects {cmd.get_names()}")
    if simulate.landscape_button.isEnabled():
        yield from click(simulate.landscape_button)
        yield from wait_until(idle, 60)
        yield 800
        picture("landscape")
        yield from page("Simulate")
    yield from click(simulate.surface_button)
    yield 1300
    picture("surface")
    yield from page("Simulate")
    yield from choose(simulate.source, "Continue")
    yield 1300
    picture("continue")
    yield from click(simulate.button)
    yield 1000
    picture("continuing")
    yield from wait_until(idle, 100)
    yield 800
    picture("continued")
    yield from click(simulate.learn.title)
    yield 600
    picture("learn")
    scroll_to(simulate.learn.button)
    yield 300
    picture("learn-scrolled")
    yield from write(simulate.learn.budget, "10")
    yield from click(simulate.learn.button)
    yield 4000
    picture("learning")
    yield from wait_until(idle, 60)
    yield 800
    picture("learned")


def act_keep() -> Iterator[int]:
    """Mishaps, then a session that is saved."""
    from pymol import cmd

    yield from opened()
    yield from loaded(DATA / "trpcage_300k.pdb", DATA / "trpcage_300k.xtc")
    fit = panel().fit
    yield from page("Make surface")
    yield 1300
    yield from write(fit.states, "1-40")
    yield from write(fit.fit_name, "kept")
    yield from click(fit.fit_button)
    yield from wait_until(lambda: fit.busy() and str(fit.current().phase) == "fit", 100)
    os.kill(session().jobs.connection.running.process.pid, signal.SIGKILL)
    note("the backend is killed")
    yield from wait_until(idle, 60)
    yield 1500
    picture("killed")
    yield from page("My surfaces")
    yield 1300
    picture("killed-left")
    listed = panel().fits.list
    rows = [listed.topLevelItem(k) for k in range(listed.topLevelItemCount())]
    note(f"rows {[[row.text(c) for c in range(5)] for row in rows]}")
    (row,) = [row for row in rows if row.text(4) == "interrupted" and row.text(0) == "kept"]
    yield from click_at(listed.viewport().mapToGlobal(listed.visualItemRect(row).center()))
    yield from click(panel().fits.resume_button)
    yield 1500
    picture("resuming")
    yield from wait_until(idle, 200)
    yield 1300
    picture("resumed")
    yield from page("Make surface")
    yield from write(fit.fit_name, "gone")
    yield from click(fit.fit_button)
    yield from wait_until(lambda: fit.busy() and str(fit.current().phase) == "surfaces", 100)
    yield from command("delete trpcage_300k")
    yield 500
    picture("deleted-meanwhile")
    yield from wait_until(idle, 200)
    yield 1300
    picture("deleted-done")
    note(f"objects {cmd.get_names()}")
    yield from page("Play")
    yield 2500
    picture("without-molecule")
    yield from menu("File", "Save Session As...")
    yield from name_file(Path.home() / "work.pse")
    yield 1500
    picture("session-saved")


def act_again() -> Iterator[int]:
    """The session again; then surfaces are deleted."""

    yield from menu("File", "Open...")
    yield from name_file(Path.home() / "work.pse")
    yield 2500
    picture("session")
    yield from opened()
    yield 1500
    picture("opened")
    yield from page("Play")
    yield 2500
    picture("play")
    yield from page("My surfaces")
    yield 1300
    picture("listed")
    listed = panel().fits.list
    yield from click_at(listed.viewport().mapToGlobal(listed.visualItemRect(listed.topLevelItem(0)).center()))
    yield from click(panel().fits.delete_button)
    yield 300
    picture("ask")
    yield from click(panel().fits.yes_button)
    yield 1300
    picture("deleted")


def act_readme() -> Iterator[int]:
    """Type the lines of the README one after the other, without waiting."""
    from pymol import cmd

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.split("With a trajectory of your own, type:")[1].split("```")[1]
    for line in block.strip().splitlines():
        yield from command(line)
    printed = window().browser.toPlainText
    yield from wait_until(lambda: "Shannon divergence" in printed() and os.path.exists("adk.dsr"), 360)
    yield from wait_until(lambda: not any(fit.activity for fit in session().jobs.fits.values()), 60)
    yield 1500
    picture("done")
    note(printed())
    note(f"objects {cmd.get_names('all')}, home {sorted(os.listdir())}")


# In PyMOL


def run(steps: Iterator[int]) -> None:
    from pymol import cmd
    from pymol.Qt import QtCore

    try:
        wait = next(steps)
    except StopIteration:
        note("end")
        cmd.quit()
    except BaseException:
        note(traceback.format_exc())
        picture("error")
        cmd.quit(1)
    else:
        QtCore.QTimer.singleShot(wait, lambda: run(steps))


# Outside


def prepare(folder: Path) -> None:
    """Make the home folder, the plugin's zip, the program and PyMOL's packages."""
    home = folder / "home"
    if home.exists():
        return
    home.mkdir(parents=True)
    subprocess.run([sys.executable, ROOT / "tools/plugin_zip.py", folder / "pymol_dsr.zip"], check=True)
    program = home / "dsr-backend"
    program.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{ROOT}:{ROOT / "backend"}"\nexec "{sys.executable}" -m dsr_backend "$@"\n'
    )
    program.chmod(0o755)
    import pymol

    site, packages = Path(pymol.__file__).parent.parent, folder / "packages"
    packages.mkdir()
    for name in PACKAGES:
        if (site / name).exists():
            (packages / name).symlink_to(site / name)
    from MDAnalysisTests import datafiles

    shutil.copy(datafiles.PSF, home / "adk.psf")
    shutil.copy(datafiles.DCD2, home / "adk.dcd")
    # The Plugin Manager may write here.
    shutil.copytree(site / "pmg_tk", packages / "pmg_tk")


def play(act: str, folder: Path, display: str) -> int:
    """Play one act in a PyMOL of its own; its exit status."""
    prefixes = ("DSR_", "FIRST_HOUR_")
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(prefixes)},
        "DISPLAY": display,
        "HOME": str(folder / "home"),
        "PATH": os.defpath + ":/usr/local/bin",
        "PYTHONPATH": str(folder / "packages"),
        "QT_API": "pyqt5",
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "FIRST_HOUR_ROOT": str(ROOT),
        "FIRST_HOUR_OUT": str(folder),
        "FIRST_HOUR_ACT": act,
        "FIRST_HOUR_ZIP": str(folder / "pymol_dsr.zip"),
        "FIRST_HOUR_PROGRAM": str(folder / "home/dsr-backend"),
    }
    with open(folder / f"{act}.txt", "w") as output:
        python = os.path.realpath(sys.executable)
        return subprocess.run(
            [python, "-m", "pymol", "-W", "720", "-H", "600", os.path.abspath(__file__)],
            cwd=folder / "home",
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode


def write_pairs(before: Path, after: Path) -> None:
    """Write the pictures of docs/panel.md: each of one step, before on the left and after on the right."""
    from PIL import Image

    for name, (step, box, scale) in PAIRS.items():
        sides = []
        for folder in (before, after):
            with Image.open(folder / f"{step}.png") as screen:
                side = screen.convert("RGB").crop(box)
            sides.append(side.resize((round(scale * side.width), round(scale * side.height)), Image.Resampling.LANCZOS))
        width, height = sides[0].size
        pair = Image.new("RGB", (2 * width + GAP, height), "white")
        for number, side in enumerate(sides):
            pair.paste(side, (number * (width + GAP), 0))
        pair.save(ROOT / "docs" / f"first-hour-{name}.png", optimize=True)


def main() -> None:
    if sys.argv[1] == "pairs":
        write_pairs(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    folder = Path(sys.argv[1]).resolve()
    acts = sys.argv[2:] or [name[4:] for name in globals() if name.startswith("act_")]
    prepare(folder)
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{WIDTH}x{HEIGHT}x24", "+extension", "GLX"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as pipe:
        display = f":{pipe.readline().strip()}"
    try:
        for act in acts:
            began_act = time.monotonic()
            print(act, play(act, folder, display), f"{time.monotonic() - began_act:.0f} s", flush=True)
    finally:
        server.terminate()


BEGAN = time.monotonic()
if "FIRST_HOUR_ACT" in os.environ:
    from pymol.Qt import QtCore as _QtCore

    watcher = Watcher()
    _act = globals()[f"act_{os.environ['FIRST_HOUR_ACT']}"]
    _QtCore.QTimer.singleShot(2000, lambda: run(_act()))
elif __name__ == "__main__":
    main()
