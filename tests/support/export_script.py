"""Runs inside a real PyMOL window (see test_gui.py): PyMOL's own menu writes pictures of a movie of ours."""

import os
from typing import Any

from pymol import cmd
from pymol.Qt import QtCore, QtWidgets

from support.window_steps import OUT, click, run, wait_until, window

COUNT = 4
report: dict[str, Any] = {"pictures": {}}


def load_the_movie():
    """Load a sphere that moves and grows, as dsr_movie loads surfaces, and set up its movie."""
    from pymol_dsr.fits.fit import Trajectory
    from pymol_dsr.scene import timeline
    from pymol_dsr.scene.movie import MovieRecorder
    from pymol_dsr.scene.movie_objects import MovieAppearance, show_movie
    from pymol_dsr.shared.options import MovieOptions
    from support.meshes import mesh_result, sphere

    trajectory = Trajectory("", "none", "none", None, [float(state) for state in range(1, COUNT + 1)])
    movie_states = timeline.plan(trajectory, trajectory.states, "ball")
    replies = [mesh_result(sphere(2.0 + state, (3.0 * state, 0.0, 0.0))) for state in range(COUNT)]
    recorder = MovieRecorder(MovieOptions())
    watched = recorder.watch(movie_states, replies)
    appearance = MovieAppearance(color="red")
    show_movie(trajectory, movie_states, watched, object="ball", appearance=appearance, say=print, _self=cmd)
    recorder.set_up(movie_states, "none", cmd)
    cmd.zoom("ball")


def written(stem):
    return [path for k in range(1, COUNT + 1) if os.path.exists(path := os.path.join(OUT, f"{stem}{k:04d}.png"))]


def visible_buttons():
    """The button that ends the dialog of PyMOL's pictures."""
    return [w for w in QtWidgets.QApplication.allWidgets() if w.objectName() == "button_ok" and w.isVisible()]


def entry_of(menu, text):
    return next(action for action in menu.actions() if action.text().replace("&", "") == text)


def steps():
    load_the_movie()
    yield 500
    export = entry_of(window().menudict["File"], "Export Movie As").menu()
    entry_of(export, "PNG Images...").trigger()
    yield from wait_until(visible_buttons)
    # Later: the click comes back when the next dialog is closed.
    QtCore.QTimer.singleShot(0, lambda: click(visible_buttons()[0]))
    yield from wait_until(lambda: isinstance(QtWidgets.QApplication.activeModalWidget(), QtWidgets.QFileDialog))
    dialog = QtWidgets.QApplication.activeModalWidget()
    # Not key by key: the list of files that completes the name may take Return for itself.
    dialog.findChild(QtWidgets.QLineEdit).setText(os.path.join(OUT, "menu.png"))
    save = dialog.findChild(QtWidgets.QDialogButtonBox).button(QtWidgets.QDialogButtonBox.StandardButton.Save)
    yield from wait_until(save.isEnabled)
    QtCore.QTimer.singleShot(0, lambda: click(save))
    yield from wait_until(lambda: len(written("menu")) == COUNT)
    yield 500
    cmd.mpng(os.path.join(OUT, "typed"), modal=1)
    yield from wait_until(lambda: len(written("typed")) == COUNT)
    yield 300
    report["pictures"] = {stem: written(stem) for stem in ("menu", "typed")}


def guarded():
    try:
        yield from steps()
    finally:
        # A dialog that waits would keep PyMOL from ending.
        for widget in QtWidgets.QApplication.topLevelWidgets():
            if isinstance(widget, QtWidgets.QDialog):
                widget.reject()


run(guarded(), report)
