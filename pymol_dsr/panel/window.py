"""The window of the menu entry: fits, their surfaces at any time, movies and quality without typing.

It calls the services of the commands that a user types; what takes long runs in a background thread.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from pymol import CmdException, cmd
from pymol.Qt import QtCore, QtWidgets

from ..commands.color import color_movie
from ..commands.expected import EXPECTED
from ..commands.running import Runner
from ..fits.background import Background, message_of
from ..fits.fit import Cancelled
from ..scene.user_settings import follow_user_settings
from ..session import Session
from ..shared.options import ColorOptions
from ..shared.text import error_line, one_line
from .bar_title import BarTitle
from .first_steps import FirstSteps
from .pages import Pages
from .progress import ProgressLine
from .tabs.ensembles import EnsemblesTab
from .tabs.fit import FitTab
from .tabs.fits import FitsTab
from .tabs.measure import MeasureTab
from .tabs.morph import MorphTab
from .tabs.play import PlayTab
from .tabs.quality import QualityTab
from .tabs.simulate import SimulateTab
from .widgets import tone, wrapped_label

POLL_MS = 200
# Polls between two looks at the scene and the folder.
SELDOM = 5
# In pixels of the screen, as Qt counts them: twice as many points at 200 %.
LEAST_WIDTH, USUAL_WIDTH, USUAL_HEIGHT = 340, 400, 680


class Panel(QtWidgets.QDockWidget):
    """Several pages, a bar for what works, and a line of text, docked beside PyMOL's list of objects.

    said: emitted in any thread with a line to show.
    Closing it stops nothing; it is the same one when it is opened again.
    """

    _finished = QtCore.Signal(object, object)
    _failed = QtCore.Signal(str)
    said = QtCore.Signal(str)

    def __init__(self, session: Session, parent: Any) -> None:
        super().__init__("Dynamical Surface", parent)
        self.setObjectName("dsr_panel")
        self.session = session
        self.cmd = cmd
        self._tasks: list[str] = []
        self.start_failure = ""
        """The reason why the compute program did not start, where that is so."""
        canvas = getattr(parent, "pymolwidget", None)
        self.fit = FitTab(self)
        self.play = PlayTab(self, canvas)
        self.measure = MeasureTab(self, self.play.player)
        self.quality = QualityTab(self)
        self.ensembles = EnsemblesTab(self)
        self.fits = FitsTab(self)
        self.morph = MorphTab(self)
        self.simulate = SimulateTab(self)
        self.tabs = Pages()
        named = {
            "Make surface": self.fit,
            "Play": self.play,
            "Measure": self.measure,
            "Quality": self.quality,
            "Ensembles": self.ensembles,
            "Morph": self.morph,
            "Simulate": self.simulate,
            "My surfaces": self.fits,
        }
        for name, tab in named.items():
            self.tabs.addTab(tab, name)
        self.status = wrapped_label()
        self.status.setTextInteractionFlags(QtCore.Qt.TextInteractionFlag.TextSelectableByMouse)
        self.first_steps = FirstSteps(self)
        self.progress = ProgressLine()
        self.setMinimumWidth(LEAST_WIDTH)
        self._ticks = 0
        self.bar_title = None if canvas is None else BarTitle(canvas, cmd)
        self._tried: str | None = None
        self._timer = QtCore.QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        body = QtWidgets.QWidget()
        layout = QtWidgets.QVBoxLayout(body)
        layout.addWidget(self.first_steps)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.progress)
        layout.addWidget(self.status)
        self.setWidget(body)

    def _connect(self) -> None:
        # Slots of this object, so that they run in its thread.
        self._finished.connect(self._call)
        self._failed.connect(self.complain)
        self.said.connect(self.say)
        self.fit.play.connect(self.show_play)
        self.fits.play.connect(self.show_play)
        self.morph.play.connect(self.show_play)
        self.simulate.surface.connect(self.show_fit)
        self.simulate.landscape.connect(self.show_landscape)
        self.tabs.currentChanged.connect(self._changed_tab)
        self._timer.timeout.connect(self.poll)

    def dock(self, window: Any) -> None:
        """Dock into PyMOL's window, right of its list of objects; the window grows as far as the screen allows."""
        right = QtCore.Qt.DockWidgetArea.RightDockWidgetArea
        for corner in (QtCore.Qt.Corner.TopRightCorner, QtCore.Qt.Corner.BottomRightCorner):
            window.setCorner(corner, right)
        screen = window.screen().availableGeometry()
        # The frame of the window manager is around it.
        frame = window.frameGeometry().size() - window.size()
        width = min(window.width() + USUAL_WIDTH, screen.width() - frame.width())
        height = min(max(window.height(), USUAL_HEIGHT), screen.height() - frame.height())
        window.addDockWidget(right, self)
        window.resize(width, height)
        window.resizeDocks([self], [USUAL_WIDTH], QtCore.Qt.Orientation.Horizontal)
        around = window.frameGeometry()
        left = max(screen.left(), min(around.left(), screen.right() + 1 - width - frame.width()))
        top = max(screen.top(), min(around.top(), screen.bottom() + 1 - height - frame.height()))
        if (left, top) != (around.left(), around.top()):
            window.move(left, top)

    def keyPressEvent(self, event: Any) -> None:
        """Keep keys that no widget wants from PyMOL, which would type them into its command line."""
        event.accept()

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
        if self.bar_title is not None:
            self.bar_title.hide()
        self.play.sleep()

    def poll(self) -> None:
        """Show how things are, and follow renamed molecules; all else in the scene is looked at once a second."""
        jobs, command = self.session.jobs, self.session.settings.get("backend")
        if not jobs.connection.device and self._tried != command:
            # It takes seconds to start, and knows the devices.
            self._tried, self.start_failure = command, ""
            self.run(
                "starting the compute program",
                jobs.connection.backend,
                lambda _: self.say(""),
                self._not_started,
                shows_error=False,
            )
        self.session.molecules.follow(self.cmd)
        for tab in (self.fit, self.measure, self.quality, self.morph, self.simulate, self.ensembles):
            tab.poll()
        if self._ticks % SELDOM == 0:
            jobs.unload_lost()
            self._follow_user_settings()
            if self.bar_title is not None:
                self.bar_title.refresh()
            self.first_steps.refresh()
            self.play.refresh()
            self.measure.refresh()
            self.quality.refresh()
            in_view = self.tabs.currentWidget()
            if in_view in (self.ensembles, self.fits, self.morph, self.simulate):
                in_view.refresh()
            elif in_view is self.fit and not self.fit.busy():
                self.fit.refresh()
        self._ticks += 1
        self.play.poll()
        self.show_progress()

    def _follow_user_settings(self) -> None:
        """Give movies the colour and transparency that were set on their objects (`color`, the menu C)."""
        for request in follow_user_settings(self.session.movies, self.cmd):
            print(f" {request.movie}: coloured {request.color}, as by 'dsr_color {request.movie}, {request.color}'")
            options, runner = ColorOptions(by=request.color), Runner("dsr_color")
            self.run(
                f"{request.movie}: its colours",
                partial(color_movie, self.session, request.movie, options, runner, self.cmd),
            )

    def _not_started(self, error: BaseException) -> None:
        # The lines above the pages say it, and what to do.
        self.start_failure = error_line(error)
        self.first_steps.refresh()

    def show_progress(self) -> None:
        """Show what works, and how far it is."""
        fits, sources = self.session.jobs.listed(), list(self.session.sources.running.values())
        self.progress.show_work(fits, sources, self._tasks, self.fit.current())

    def _changed_tab(self, *_: Any) -> None:
        if self.tabs.currentWidget() in (self.play, self.measure):
            self.play.refresh()
            self.play.wake()
            self.measure.follow()
        else:
            self.play.sleep()
        self._ticks = 0
        self.say("")

    def show_play(self, name: str) -> None:
        """Show the surface of the fit of that name in the tab Play."""
        self.tabs.setCurrentWidget(self.play)
        self.play.choose(name)
        self.measure.choose(name)
        self.quality.choose(name)
        self.say("")

    def show_fit(self, selection: str) -> None:
        """Show the page Make surface with a selection of atoms."""
        self.tabs.setCurrentWidget(self.fit)
        self.fit.choose(selection)

    def show_landscape(self, ensemble: str, reference: str) -> None:
        """Show the landscape of an ensemble on the page Ensembles."""
        self.tabs.setCurrentWidget(self.ensembles)
        self.ensembles.describe(ensemble, reference)

    def say(self, text: str, bad: bool = False) -> None:
        """Show a line of text; a bad one is red."""
        self.status.setText(text)
        self.status.setStyleSheet(tone("bad") if bad else "")

    def complain(self, text: str) -> None:
        """Show an error."""
        self.say(text, bad=True)

    def _end_task(self, title: str) -> None:
        self._tasks.remove(title)

    def _call(self, callback: Callable[[Any], None], result: Any) -> None:
        callback(result)

    def run(
        self,
        title: str,
        work: Callable[[], Any],
        then: Callable[[Any], None] = lambda result: None,
        otherwise: Callable[[Any], None] = lambda error: None,
        *,
        shows_error: bool = True,
        next_step: Callable[[], str] = lambda: "",
    ) -> None:
        """Do the work in the background, then call `then` in the thread of the window with its result.

        otherwise: called there with the error of work that fails. shows_error: also in the line at the bottom, not only
        in PyMOL's text window. next_step: says how work that was cancelled goes on, where it can.
        """
        self._tasks.append(title)

        def guarded() -> None:
            try:
                result = work()
            except (CmdException, *EXPECTED) as error:
                text = message_of(error)
                self._finished.emit(otherwise, error)
                if isinstance(error, Cancelled):
                    print(f" {title}: {text}")
                    self._finished.emit(self.say, "; ".join(filter(None, [text, next_step()])))
                else:
                    print(f" Error: {title}: {text}")
                    if shows_error:
                        self._failed.emit(text)
            except Exception as error:
                # A fault of ours: the page must not wait for good for the end of its work.
                traceback.print_exc()
                self._finished.emit(otherwise, error)
                self._failed.emit(f"{title} failed: {type(error).__name__}: {one_line(error)}")
            else:
                self._finished.emit(then, result)
            finally:
                self._finished.emit(self._end_task, title)

        Background(target=guarded, name=f"dsr-{title}", daemon=True).start()
