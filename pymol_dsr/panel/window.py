"""The window of the menu entry: fits, their surfaces at any time, movies and quality without typing.

The only room that knows Qt. It calls the commands that a user types; what takes long runs in a background thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymol import CmdException, cmd
from pymol.Qt import QtCore, QtWidgets

from ..commands.command import EXPECTED
from ..fits.background import Background
from ..fits.fit import Cancelled
from ..session import Session
from ..shared.text import error_line, one_line
from .first_steps import FirstSteps
from .tabs.ensembles import EnsemblesTab
from .tabs.fit import BAD, FitTab
from .tabs.fits import FitsTab
from .tabs.morph import MorphTab
from .tabs.play import PlayTab
from .tabs.quality import QualityTab

POLL_MS = 200
# Polls between two looks at the scene and the folder.
SELDOM = 5


class Panel(QtWidgets.QDialog):
    """Several tabs and a line of text. Closing it stops nothing; it is the same one when it is opened again."""

    _finished = QtCore.Signal(object, object)
    _failed = QtCore.Signal(str)

    def __init__(self, session: Session, parent: Any) -> None:
        super().__init__(parent)
        self.session = session
        self.cmd = cmd
        self.setWindowTitle("Dynamical Surface")
        self.fit = FitTab(self)
        self.play = PlayTab(self, getattr(parent, "pymolwidget", None))
        self.quality = QualityTab(self)
        self.ensembles = EnsemblesTab(self)
        self.fits = FitsTab(self)
        self.morph = MorphTab(self)
        self.tabs = QtWidgets.QTabWidget()
        named = {
            "Fit": self.fit,
            "Play": self.play,
            "Quality": self.quality,
            "Ensembles": self.ensembles,
            "Morph": self.morph,
            "Fits": self.fits,
        }
        for name, tab in named.items():
            self.tabs.addTab(tab, name)
        self.status = QtWidgets.QLabel()
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(QtCore.Qt.TextInteractionFlag.TextSelectableByMouse)
        self.first_steps = FirstSteps(self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(self.first_steps)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.status)
        self.setMinimumWidth(self.fontMetrics().horizontalAdvance("M") * 34)

        for button in self.findChildren(QtWidgets.QPushButton):
            # Return in a field of another tab must press nothing.
            button.setAutoDefault(button is self.fit.fit_button)

        self._ticks = 0
        self._tried: str | None = None
        # Slots of this object, so that they run in its thread.
        self._finished.connect(self._call)
        self._failed.connect(self.complain)
        self.fit.play.connect(self.show_play)
        self.fits.play.connect(self.show_play)
        self.morph.play.connect(self.show_play)
        self.tabs.currentChanged.connect(self._changed_tab)
        self._timer = QtCore.QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self.poll)

    def place_beside(self, window: Any) -> None:
        """To the right of PyMOL's window, as far as the screen allows, so that the scene stays in view."""
        self.adjustSize()
        screen = QtWidgets.QApplication.desktop().availableGeometry(window)
        around = window.frameGeometry()
        left = max(screen.left(), min(around.right() + 8, screen.right() - self.width()))
        top = max(screen.top(), min(around.top(), screen.bottom() - self.height()))
        self.move(left, top)

    def showEvent(self, event: Any) -> None:
        """Look at the fits from now on."""
        super().showEvent(event)
        self._ticks = 0
        self.poll()
        self._timer.start()
        self._changed_tab()

    def hideEvent(self, event: Any) -> None:
        """Stop looking at the fits."""
        super().hideEvent(event)
        self._timer.stop()
        self.play.sleep()

    def poll(self) -> None:
        """Show how things are; the scene is looked at once a second."""
        jobs, command = self.session.jobs, self.session.settings.get("backend")
        if not jobs.connection.device and self._tried != command:
            # It takes seconds to start, and knows the devices.
            self._tried = command
            self.run("the backend", jobs.connection.backend, lambda _: self.say(""))
        self.fit.poll()
        self.quality.poll()
        self.morph.poll()
        self.ensembles.poll()
        if self._ticks % SELDOM == 0:
            jobs.unload_lost()
            self.first_steps.refresh()
            if self.tabs.currentWidget() is self.fit and not self.fit.busy():
                self.fit.refresh()
            self.play.refresh()
            self.quality.refresh()
            if self.tabs.currentWidget() is self.ensembles:
                self.ensembles.refresh()
            if self.tabs.currentWidget() is self.fits:
                self.fits.refresh()
            if self.tabs.currentWidget() is self.morph:
                self.morph.refresh()
        self._ticks += 1
        self.play.poll()

    def _changed_tab(self, *_: Any) -> None:
        if self.tabs.currentWidget() is self.play:
            self.play.refresh()
            self.play.wake()
        else:
            self.play.sleep()
        self._ticks = 0
        self.say("")

    def show_play(self, name: str) -> None:
        """Show the surface of the fit of that name in the tab Play."""
        self.tabs.setCurrentWidget(self.play)
        self.play.choose(name)
        self.quality.choose(name)
        self.say("")

    def say(self, text: str, bad: bool = False) -> None:
        """Show a line of text; a bad one is red."""
        self.status.setText(text)
        self.status.setStyleSheet(BAD if bad else "")

    def complain(self, text: str) -> None:
        """Show an error."""
        self.say(text, bad=True)

    def _call(self, then: Callable[[Any], None], result: Any) -> None:
        then(result)

    def run(
        self,
        title: str,
        work: Callable[[], Any],
        then: Callable[[Any], None] = lambda result: None,
        otherwise: Callable[[Any], None] = lambda error: None,
    ) -> None:
        """Do the work in the background; here `then` with its result, or `otherwise` with a fault, which is told."""

        def guarded() -> None:
            try:
                result = work()
            except (CmdException, *EXPECTED) as error:
                text = one_line(error.args[0]) if isinstance(error, CmdException) else error_line(error)
                self._finished.emit(otherwise, error)
                if isinstance(error, Cancelled):
                    print(f" {title}: {text}")
                    self._finished.emit(self.say, text)
                else:
                    print(f" Error: {title}: {text}")
                    self._failed.emit(text)
            else:
                self._finished.emit(then, result)

        Background(target=guarded, name=f"dsr-{title}", daemon=True).start()
