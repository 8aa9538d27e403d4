"""The page Make surface: the options of a fit, and its warnings."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

from pymol.Qt import QtCore, QtWidgets

from ...commands.fit import begin_fit
from ...commands.running import Runner
from ...fits.fit import Activity, Fit, Phase
from ...fits.jobs import Jobs
from ...runtime.folders import fits_folder
from ...shared import messages, states
from ...shared.options import PRESETS, FitOptions, StartOptions
from ...shared.state_times import check_breaks, parse_breaks
from ...shared.states import StatesError
from ...shared.values import ValueFault
from ...surfaces import selections
from ...surfaces.source import ExtractError
from ..charts import Chart, Line, Plot
from ..scene_choices import molecules, offers
from ..widgets import (
    fold_button,
    narrow,
    offer_beside_typed,
    question_box,
    quietly,
    spin,
    tone,
    typed_combo,
    wrapped_label,
)

TYPING_MS = 250
AUTO = -0.1
PRESET_LABELS = {
    "fast": "fast: the usual choice",
    "fine": "fine: sharper, takes twice as long",
    "preview": "preview: coarser, faster",
    "paper": "paper: the published network, slow, for comparison",
}
# Few have a use for the others.
USUAL_PRESETS = ("fast", "fine")
MOST_WARNINGS = 6
STANDS_STILL = ": one state does not move. Open its trajectory, or make states with Morph or Simulate"


class FitTab(QtWidgets.QWidget):
    """Begins fits and shows their progress. play: emitted with a fit's name, to show its surface."""

    play = QtCore.Signal(str)

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self.panel = panel
        self.jobs: Jobs = panel.session.jobs
        self.name = ""
        self._problem = ""
        self._offered: Any = None
        self._failed: Fit | None = None
        self._starting = False
        self._made = ""
        """Name of the fit that was begun with these fields; empty once they have changed."""
        self._device: messages.Device | None = None
        self._make_widgets()
        self._lay_out()
        self._typing = QtCore.QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(TYPING_MS)
        self._typing.timeout.connect(self.validate)
        self.states.textChanged.connect(self._typing.start)
        self.breaks.textChanged.connect(self._typing.start)
        self.selection.editTextChanged.connect(self._typing.start)
        self.fit_name.textChanged.connect(self.question.hide)
        self.advanced.toggled.connect(self._show_advanced)
        for changed in (
            self.selection.editTextChanged,
            self.states.textChanged,
            self.preset.currentIndexChanged,
            self.smooth.valueChanged,
            self.breaks.textChanged,
            self.unwrap.toggled,
            self.fit_name.textChanged,
            self.family.currentIndexChanged,
        ):
            changed.connect(self._changed)
        self.fit_button.clicked.connect(self.fit_or_cancel)
        self.replace_button.clicked.connect(lambda: self._begin(self.new_name()))
        self.keep_button.clicked.connect(self._begin_beside)
        self.play_button.clicked.connect(lambda: self.play.emit(self.name))

    def _make_widgets(self) -> None:
        self.selection = typed_combo(
            "A molecule or any selection of its atoms, as in: adk and polymer\n"
            "Several molecules joined with + become a family: one fit, a trajectory of each"
        )
        self.states = QtWidgets.QLineEdit("all")
        self.states.setPlaceholderText("1-150, 1-79:2, 1+5+9 or all")
        self.states.setToolTip("States to fit: 1-150, 1-79:2 (every second), 1+5+9, or all")
        self.verdict = wrapped_label()
        self.preset = QtWidgets.QComboBox()
        self.advanced = fold_button("Advanced")
        self.smooth = spin(AUTO, 100.0, 0.1, 1, " states", "auto")
        self.smooth.setToolTip(
            "Width of the smoothing over time, between the states.\n"
            "auto chooses it by predicting states that are held out; it can be changed after the fit, too"
        )
        self.breaks = QtWidgets.QLineEdit("auto")
        self.breaks.setPlaceholderText("auto, none or 12+24")
        self.breaks.setToolTip(
            "Runs that were saved one after the other are cut apart, so that nothing is blended from one to the next:\n"
            "auto where the molecule jumps, none nowhere, 12+24 after states 12 and 24"
        )
        self.unwrap = QtWidgets.QCheckBox("Make molecules whole (periodic box)")
        self.unwrap.setChecked(StartOptions.unwrap)
        self.unwrap.setToolTip(
            "For a periodic box: a molecule that leaves it on one side comes back on the other, and is cut.\n"
            "The scene stays as it is"
        )
        self.device = QtWidgets.QComboBox()
        self.device.setToolTip("Where it is computed; dsr_set backend takes another machine")
        self.fit_name = QtWidgets.QLineEdit()
        self.fit_name.setToolTip("Name of the surface; its movie is the object of this name")
        self.family = QtWidgets.QComboBox()
        self.family.setToolTip("A family whose network this surface starts from")
        self.watch = QtWidgets.QCheckBox("Show it while it is made")
        self.watch.setChecked(True)
        self.watch.setToolTip("The surface of the state in view, sharper and sharper (watch=1)")
        self.fit_button = QtWidgets.QPushButton("Make surface")
        self.fit_button.setToolTip("Fit these states (dsr_fit)")
        self.question_text = wrapped_label()
        self.replace_button = QtWidgets.QPushButton("Replace")
        self.replace_button.setToolTip("The surface of this name is kept until the new one is ready")
        self.keep_button = QtWidgets.QPushButton("Keep both")
        self.keep_button.setToolTip("The new surface takes a name of its own")
        self.question = question_box(self.question_text, self.replace_button, self.keep_button)
        self.play_button = QtWidgets.QPushButton("Play")
        self.play_button.setToolTip("Look at the surface at any time")
        self.play_button.setEnabled(False)
        self.warnings = wrapped_label()
        self.warnings.setTextInteractionFlags(QtCore.Qt.TextInteractionFlag.TextSelectableByMouse)
        self.warnings.hide()
        self.curve = Chart(130, "")
        self.curve.hide()

    def _lay_out(self) -> None:
        usual, rare = QtWidgets.QFormLayout(), QtWidgets.QFormLayout()
        usual.addRow("&Atoms", self.selection)
        usual.addRow("&States", self.states)
        usual.addRow("", self.verdict)
        usual.addRow("&Preset", self.preset)
        usual.addRow("&Name", self.fit_name)
        usual.addRow("&Family", self.family)
        usual.addRow("", self.watch)
        self._family_label = usual.labelForField(self.family)
        rare.addRow("S&moothing", self.smooth)
        rare.addRow("&Cuts", self.breaks)
        rare.addRow("&Device", self.device)
        rare.addRow(self.unwrap)
        self.rare = QtWidgets.QWidget()
        self.rare.setLayout(rare)
        rare.setContentsMargins(16, 0, 0, 0)
        for form in (usual, rare):
            form.setFieldGrowthPolicy(QtWidgets.QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for combo in (self.selection, self.preset, self.device, self.family):
            narrow(combo)
        self.fields = QtWidgets.QWidget()
        fields = QtWidgets.QVBoxLayout(self.fields)
        fields.setContentsMargins(0, 0, 0, 0)
        fields.addLayout(usual)
        fields.addWidget(self.advanced)
        fields.addWidget(self.rare)
        buttons = QtWidgets.QHBoxLayout()
        buttons.addWidget(self.fit_button, 2)
        buttons.addWidget(self.play_button, 1)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(self.fields)
        layout.addLayout(buttons)
        layout.addWidget(self.question)
        layout.addWidget(self.warnings)
        layout.addWidget(self.curve, 1)
        layout.addStretch()
        self._show_advanced(False)

    def _show_advanced(self, expanded: bool) -> None:
        """Show or hide the fields that few need, and the presets that few use."""
        self.rare.setVisible(expanded)
        chosen = self.preset.currentData() or FitOptions.preset
        with quietly(self.preset):
            self.preset.clear()
            for key in PRESETS:
                if expanded or key in (*USUAL_PRESETS, chosen):
                    self.preset.addItem(PRESET_LABELS[key], key)
            self.preset.setCurrentIndex(self.preset.findData(chosen))

    def keyPressEvent(self, event: Any) -> None:
        """Let Return press the button that stands out: to make the surface, or to play it. It never cancels."""
        if event.key() not in (QtCore.Qt.Key.Key_Return, QtCore.Qt.Key.Key_Enter):
            super().keyPressEvent(event)
            return
        for button in (self.fit_button, self.play_button):
            if button.isDefault() and button.isEnabled() and not self.busy():
                button.click()
                return

    # The scene

    def refresh(self) -> None:
        """Offer the molecules of the scene and the families that are ready, where these have changed."""
        families = [fit.name for fit in self.jobs.listed() if fit.family and fit.phase is Phase.READY]
        counts = molecules(self.panel.cmd)
        if (counts, families) == self._offered:
            return
        self._offered = counts, families
        offer_beside_typed(self.selection, offers(counts, self.panel.cmd))
        if [self.family.itemData(k) for k in range(1, self.family.count())] != families:
            chosen = self.family.currentData()
            with quietly(self.family):
                self.family.clear()
                self.family.addItem("none", "")
                for name in families:
                    self.family.addItem(f"start from {name}", name)
                self.family.setCurrentIndex(max(0, self.family.findData(chosen)))
        for widget in (self.family, self._family_label):
            widget.setVisible(bool(families))
        self.validate()

    def choose(self, selection: str) -> None:
        """Take the atoms of a selection, all their states."""
        self.refresh()
        self.selection.setEditText(selection)
        self.states.setText("all")
        self.validate()

    def validate(self) -> None:
        """Say whether the states of the selection can be fitted."""
        # Typing it further would only start this again.
        self._typing.stop()
        self.question.hide()
        text = self.selection.currentText().strip()
        cmd, problem, counts, name, is_still = self.panel.cmd, "", [], "", False
        try:
            with _without_feedback(cmd):
                object_selections = selections.split_by_object(text, cmd)
                objects = [selections.selected_object(object_selection, cmd) for object_selection in object_selections]
            selections.check_named_once(text, objects)
            name = objects[0]
            for object in objects:
                last = cmd.count_states(f"%{object}")
                if last < 1:
                    # A topology file, as .psf and .prmtop.
                    raise StatesError(f"{object} has no states yet: open its trajectory, too")
                chosen = sorted(states.parse(self.states.text(), last=last, owner=object))
                check_breaks(parse_breaks(self.breaks.text()) or (), chosen)
                counts.append(f"{len(chosen)} of {last} states of {object}")
                is_still = is_still or len(chosen) == 1
        except (ExtractError, StatesError, ValueFault) as error:
            problem = str(error) if text else "load a molecule with several states first"
        self._problem = problem
        self.verdict.setText(problem or ", ".join(counts) + (STANDS_STILL if is_still else ""))
        # Nothing is wrong before anything is loaded.
        self.verdict.setStyleSheet(tone("bad" if problem else "warning" if is_still else "good") if text else "")
        self.fit_name.setPlaceholderText(f"{name}_dsr" if name else "")
        self._enable()

    def show_device(self) -> None:
        """Offer the devices as soon as the backend has reported them."""
        known = self.jobs.connection.device
        if self.device.count() and known is self._device:
            return
        self._device = known
        self.device.clear()
        self.device.addItem(f"auto: {device_text(known)}" if known else "auto", "auto")
        if known and known.device.startswith("cuda"):
            self.device.addItem("the CPU beside it", "cpu")

    # The fit

    def current(self) -> Fit | None:
        """Return the fit that the tab follows."""
        return self.jobs.fits.get(self.name)

    def busy(self) -> bool:
        """Whether that fit has an activity."""
        fit = self.current()
        return fit is not None and bool(fit.activity)

    def new_name(self) -> str:
        """Return the name that a fit begun now would have."""
        return str(self.fit_name.text().strip() or self.fit_name.placeholderText())

    def is_taken(self, name: str) -> bool:
        """Whether a finished fit has that name, in this session or in the folder of fits."""
        fit = self.jobs.fits.get(name)
        file = os.path.join(fits_folder(self.jobs.settings), f"{name}.dsr")
        return (fit is not None and fit.is_finished) or os.path.isfile(file)

    def fit_or_cancel(self) -> None:
        """Begin a fit, or cancel the one that is under way; ask first where its name is that of a finished one."""
        if self.busy():
            self.jobs.cancel(self.name)
            self.panel.say(f"{self.name}: stopping")
            return
        self.validate()
        if self._problem:
            return
        name = self.new_name()
        if self.is_taken(name):
            self.question_text.setText(f"There is a finished surface {name}.")
            self.question.show()
        else:
            self._begin(self.fit_name.text().strip())

    def _begin_beside(self) -> None:
        """Begin a fit under the first free name like the one that is taken."""
        name, scene_names = self.new_name(), set(self.panel.cmd.get_names("all"))
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        free = next(
            candidate
            for candidate in numbered
            if not (self.is_taken(candidate) or candidate in self.jobs.fits or candidate in scene_names)
        )
        self.fit_name.setText(free)
        self._begin(free)

    def _begin(self, name: str) -> None:
        """Begin a fit of that name, empty for the usual one."""
        self.question.hide()
        selection, text = self.selection.currentText(), self.states.text()
        options = FitOptions(
            preset=self.preset.currentData(),
            smooth=None if self.smooth.value() < 0 else round(self.smooth.value(), 1),
            device=self.device.currentData() or FitOptions.device,
            breaks=parse_breaks(self.breaks.text()),
        )
        start = StartOptions(family=self.family.currentData() or "", unwrap=self.unwrap.isChecked())
        session, runner = self.panel.session, Runner("dsr_fit", watch=self.watch.isChecked())
        self._starting = True
        self._enable()
        self.panel.say("")
        # In the background from the start: reading a long trajectory out of the scene takes a while.
        self.panel.run(
            "dsr_fit",
            lambda: begin_fit(session, selection, text, name, options, start, runner, self.panel.cmd),
            self._ended,
            self._ended,
        )

    def _ended(self, _: Any) -> None:
        self._starting = False
        self._enable()

    def _changed(self, *_: Any) -> None:
        """Let Return make the surface: what was made is not of these fields any more."""
        self._made = ""
        self._enable()

    def _enable(self) -> None:
        busy, fit = self.busy(), self.current()
        is_playable = fit is not None and fit.phase is Phase.READY
        self.fit_button.setText("Cancel" if busy else "Make surface")
        self.fit_button.setEnabled(busy or not (self._starting or self._problem))
        self.play_button.setEnabled(is_playable)
        # A surface that was begun elsewhere is not of these fields.
        self.verdict.setVisible(not (self._problem and busy))
        self.fields.setEnabled(not (busy or self._starting))
        plays = is_playable and not busy and fit is not None and self._made == fit.name
        # A button that Return presses stands out.
        self.play_button.setDefault(plays)
        self.fit_button.setDefault(not plays and not busy)

    def poll(self) -> None:
        """Show how far the fit is; asks the list of fits only, never PyMOL or the backend."""
        self.show_device()
        fit = self.current()
        if fit is None or fit.activity is not Activity.FIT:
            # One that was typed, or begun before this window was there.
            running = [f for f in self.jobs.listed() if f.activity is Activity.FIT]
            under_way = [f for f in running if f.phase is not Phase.QUEUED] or running
            if under_way:
                fit = under_way[0]
                self.name = fit.name
        if self.busy():
            self._starting = False
            self._made = self.name
        self._enable()
        if fit is None:
            return
        if fit.phase is Phase.FAILED and fit is not self._failed:
            self._failed = fit
            self.panel.say(f"{fit.name}: {fit.error}", bad=True)
        lines = fit.warnings[:MOST_WARNINGS]
        if len(fit.warnings) > MOST_WARNINGS:
            lines.append(f"{len(fit.warnings) - MOST_WARNINGS} more are in PyMOL's text window")
        self.warnings.setText("\n".join(f"⚠ {line}" for line in lines))
        self.warnings.setStyleSheet(tone("warning"))
        self.warnings.setVisible(bool(lines))
        if fit.losses:
            losses = tuple((100.0 * fraction, loss) for fraction, loss in fit.losses)
            self.curve.show_plot(plot_of_losses(losses))
        self.curve.setVisible(bool(fit.losses))


def plot_of_losses(losses: Sequence[tuple[float, float]]) -> Plot:
    """Return the curve of the loss in Å over the percentage of a fit, on an axis of a factor of two at least.

    A fit that begins near its end would otherwise show its noise as large as the chart.
    """
    values = [loss for _, loss in losses if loss > 0]
    first = losses[0][0]
    middle = math.sqrt(min(values) * max(values)) if values else 1.0
    # Not to be seen.
    ends = Line("", ((first, middle / math.sqrt(2.0)), (first, middle * math.sqrt(2.0))), "transparent")
    return Plot((ends, Line("", losses)), "% of the fit", "mean error of the distance (Å)", logarithmic=True)


def device_text(device: messages.Device) -> str:
    """Return the backend's device in a few words."""
    kind, memory, threads = device.device, device.memory_gb, device.threads
    name = " ".join((device.name or kind).replace("(R)", "").replace("(TM)", "").split())
    processor = "CPU" if kind == "cpu" else kind
    cores = f", {threads} core{'s' if threads != 1 else ''}" if kind == "cpu" and threads else ""
    return f"{name} ({processor}{cores}{f', {memory:.0f} GB' if memory else ''})"


@contextlib.contextmanager
def _without_feedback(_self: Any) -> Iterator[None]:
    """Silence parser errors while the user types."""
    _self.feedback("push")
    _self.feedback("disable", "selector executive", "everything")
    try:
        yield
    finally:
        _self.feedback("pop")
