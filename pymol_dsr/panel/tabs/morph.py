"""The tab Morph: the way from one structure to another."""

from __future__ import annotations

from typing import Any

from pymol.Qt import QtCore, QtWidgets

from ...commands.morph import morph_structures, read_structures
from ...commands.running import Runner
from ...fits.fit import Phase
from ...fits.jobs import Jobs
from ...scene.gui_thread import in_gui
from ...shared.options import FitOptions
from ...shared.source_options import GenerateOptions, MorphOptions
from ..scene_choices import molecules
from ..widgets import ReportBox, narrow, offer_beside_typed, typed_combo

EMPTY = "Which atoms both have, and how the path was tested, stands here"
MOST_FRAMES = 300


class MorphTab(QtWidgets.QWidget):
    """Makes morphs of two objects. play: emitted with the name of the surface's fit, to show it."""

    play = QtCore.Signal(str)

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self.panel = panel
        self.jobs: Jobs = panel.session.jobs
        self.name = ""
        """Name of the morph under way, or of the last one."""
        self._offered: list[str] = []
        self._running = self._is_cancelled = False
        self.first = typed_combo("The structure to begin with, or a selection of its atoms", "load a structure first")
        self.second = typed_combo(
            "The structure to end with; empty for the first and the last state of one object",
            "the last state of the same one",
        )
        for combo in (self.first, self.second):
            narrow(combo)
        self.frames = QtWidgets.QSpinBox()
        self.frames.setRange(3, MOST_FRAMES)
        self.frames.setValue(MorphOptions.frames)
        self.frames.setToolTip("States from one structure to the other, both counted")
        self.superpose = QtWidgets.QCheckBox("Superpose the part that moves least")
        self.superpose.setChecked(MorphOptions.align)
        self.surface = QtWidgets.QCheckBox("Make their surface, too")
        self.surface.setChecked(MorphOptions.surface)
        self.button = QtWidgets.QPushButton("Morph")
        self.report = ReportBox(EMPTY)
        form = QtWidgets.QFormLayout()
        form.addRow("F&rom", self.first)
        # The space keeps Qt, which places the letters of this word closer for its size, from cutting it off.
        form.addRow("&To ", self.second)
        form.addRow("&Frames", self.frames)
        form.addRow(self.superpose)
        form.addRow(self.surface)
        form.setFieldGrowthPolicy(QtWidgets.QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.button)
        layout.addWidget(self.report, 1)
        self.first.editTextChanged.connect(lambda _: self.poll())
        self.button.clicked.connect(self.morph_or_cancel)

    def refresh(self) -> None:
        """Offer the molecules of the scene, where these have changed."""
        offered = list(molecules(self.panel.cmd))
        if offered == self._offered:
            return
        self._offered = offered
        for combo, usual in ((self.first, 0), (self.second, 1)):
            offer_beside_typed(combo, offered, usual)

    def morph_or_cancel(self) -> None:
        """Begin a morph, or cancel the one that is under way."""
        session, cmd = self.panel.session, self.panel.cmd
        if self._running:
            self._is_cancelled = True
            self.panel.say(f"{self.name}: stopping" if self.name else "stopping")
            self.poll()
            return
        selections = list(filter(None, (combo.currentText().strip() for combo in (self.first, self.second))))
        morph = MorphOptions(
            frames=self.frames.value(), align=self.superpose.isChecked(), surface=self.surface.isChecked()
        )
        fill = GenerateOptions(task="fill", frames=morph.frames - 2)
        # A path has no jumps.
        fit = FitOptions(breaks=())
        runner = Runner(
            "dsr_morph", say=self.report.print_line, progress=lambda line: None, note=self.report.print_line
        )
        self.report.clear()
        self.panel.say("")
        self._running, self._is_cancelled, self.name = True, False, ""

        def work() -> str:
            structures = in_gui(cmd, read_structures, selections, "", cmd)
            self.name = f"{structures[0].object}_morph"
            return morph_structures(session, structures, morph, fill, fit, runner, cmd)

        self.panel.run("dsr_morph", work, self._finished, self._ended)

    def poll(self) -> None:
        """Let the button cancel the morph that is under way, and stop one that was cancelled as soon as it can be."""
        self.button.setText("Cancel" if self._running else "Morph")
        self.button.setEnabled(self._running or bool(self.first.currentText().strip()))
        if self._running and self._is_cancelled:
            # While the structures are read and paired, there is no job to stop yet.
            fit = self.jobs.fits.get(self._fit_name())
            if not self.panel.session.sources.cancel(self.name) and fit is not None and fit.activity:
                self.jobs.cancel(fit.name)

    def _fit_name(self) -> str:
        return f"{self.name}_dsr"

    def _finished(self, name: str) -> None:
        self._ended(None)
        self.name = name
        fit = self.jobs.fits.get(self._fit_name())
        if self.surface.isChecked() and fit is not None and fit.phase is Phase.READY:
            self.play.emit(fit.name)

    def _ended(self, _: Any) -> None:
        self._running = False
        self.poll()
