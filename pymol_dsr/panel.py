"""The window of the menu entry: a fit and its movie without typing. The only room that knows Qt."""

from __future__ import annotations

from typing import Any

from pymol import CmdException, cmd
from pymol.Qt import QtCore, QtWidgets

from . import commands, states
from .jobs import Fit, jobs

POLL_MS = 250
GOOD, BAD = "color: #2e7d32", "color: #c62828"
_panel: Panel | None = None


def show() -> None:
    """Open the window, or bring the open one to the front."""
    global _panel
    if _panel is None:
        from pymol import gui

        _panel = Panel(gui.get_qtwindow())
    _panel.refresh()
    _panel.show()
    _panel.raise_()


class Panel(QtWidgets.QDialog):
    """Selection, states, preset; Fit that turns into Cancel; progress; Movie."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        self.setWindowTitle("Dynamical Surface")
        self.name = ""
        self.selection = QtWidgets.QComboBox()
        self.selection.setEditable(True)
        self.states = QtWidgets.QLineEdit("all")
        self.states.setPlaceholderText("1-150, 1-79:2, 1+5+9 or all")
        self.verdict = QtWidgets.QLabel()
        self.preset = QtWidgets.QComboBox()
        self.preset.addItems(commands.PRESETS)
        self.fit_button = QtWidgets.QPushButton("Fit")
        self.movie_button = QtWidgets.QPushButton("Movie")
        self.movie_button.setEnabled(False)
        self.bar = QtWidgets.QProgressBar()
        self.bar.setRange(0, 1000)
        self.status = QtWidgets.QLabel("Choose a trajectory and its states.")
        self.status.setWordWrap(True)

        form = QtWidgets.QFormLayout()
        form.addRow("Selection", self.selection)
        form.addRow("States", self.states)
        form.addRow("", self.verdict)
        form.addRow("Preset", self.preset)
        buttons = QtWidgets.QHBoxLayout()
        buttons.addWidget(self.fit_button)
        buttons.addWidget(self.movie_button)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        layout.addLayout(buttons)
        self.setMinimumWidth(420)

        self.states.textChanged.connect(self.validate)
        self.selection.editTextChanged.connect(self.validate)
        self.fit_button.clicked.connect(self.fit_or_cancel)
        self.movie_button.clicked.connect(self.movie)
        self.timer = QtCore.QTimer(self)
        self.timer.setInterval(POLL_MS)
        self.timer.timeout.connect(self.poll)

    def refresh(self) -> None:
        """Offer the molecules that the scene has now, those with most states first."""
        names = [n for n in cmd.get_names("public_objects") if cmd.get_type(n) == "object:molecule"]
        names.sort(key=lambda n: -cmd.count_states(f"%{n}"))
        typed = self.selection.currentText()
        self.selection.clear()
        self.selection.addItems(names)
        if typed:
            self.selection.setEditText(typed)
        self.validate()

    def validate(self) -> None:
        """Say while typing whether the states can be fitted."""
        problem = ""
        try:
            names = cmd.get_object_list(f"({self.selection.currentText()})") or []
            if len(names) != 1:
                problem = "the selection must be of one object"
            else:
                last = cmd.count_states(f"%{names[0]}")
                count = len(states.parse(self.states.text(), last=last, owner=names[0]))
        except (CmdException, states.StatesError) as error:
            problem = str(error.args[0] if error.args else error).splitlines()[0]
        self.verdict.setText(problem or f"{count} of {last} states")
        self.verdict.setStyleSheet(BAD if problem else GOOD)
        if not self.busy():
            self.fit_button.setEnabled(not problem)

    def current(self) -> Fit | None:
        return jobs.fits.get(self.name)

    def busy(self) -> bool:
        fit = self.current()
        return fit is not None and bool(fit.activity)

    def fit_or_cancel(self) -> None:
        if self.busy():
            jobs.cancel(self.name)
            self.say("stopping ...")
            return
        try:
            self.name = commands.dsr_fit(
                self.selection.currentText(),
                self.states.text(),
                preset=self.preset.currentText(),
                async_=1,
                quiet=0,
            )
        except CmdException as error:
            self.say(str(error.args[0]), bad=True)
            return
        self.timer.start()
        self.poll()

    def movie(self) -> None:
        try:
            commands.dsr_movie(self.name, async_=1, quiet=0)
        except CmdException as error:
            self.say(str(error.args[0]), bad=True)
            return
        self.timer.start()

    def poll(self) -> None:
        """Show how far the fit is; asks the list of fits only, never PyMOL or the backend."""
        fit = self.current()
        busy = self.busy()
        self.fit_button.setText("Cancel" if busy else "Fit")
        if fit is None:
            return
        self.bar.setValue(int(1000 * fit.fraction))
        self.say(fit.line(), bad=fit.phase == "failed")
        self.movie_button.setEnabled(fit.phase == "ready" and not busy)
        if busy:
            self.fit_button.setEnabled(True)
        else:
            self.timer.stop()
            self.validate()

    def say(self, text: str, bad: bool = False) -> None:
        self.status.setText(text)
        self.status.setStyleSheet(BAD if bad else "")
