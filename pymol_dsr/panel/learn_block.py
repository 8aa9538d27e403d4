"""The block that learns a model from trajectories, with the curve of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymol.Qt import QtWidgets

from ..commands.learn import GENERATOR, KINDS, plan_learning
from ..commands.running import Runner
from ..scene.gui_thread import in_gui
from ..shared import messages
from ..shared.learn_options import GeneratorOptions, LearnOptions
from ..shared.plots import BLUE
from ..sources.jobs import TrainingErrors
from ..sources.learning import run_learning
from .charts import Chart, Line, Plot
from .source_run import SourceRun
from .widgets import fold_button, narrow, offer_beside_typed, spin, typed_combo, wrapped_label

KIND_LABELS = {LearnOptions.kind: "a potential, to simulate with", GENERATOR: "a generator, to continue with"}
EMPTY = "the errors of the training appear here"
TITLE = "Learn from these trajectories"
GREY = "#7f7f7f"
MOST_JOINED = 8


class LearnBlock(QtWidgets.QWidget):
    """Learns from the states of objects. It is folded up until its title is clicked."""

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self.panel = panel
        self._run = SourceRun(panel)
        self._offered: Mapping[str, int] | None = None
        self.title = fold_button(TITLE)
        self.objects = typed_combo(
            "Objects with some hundred states or more; several proteins joined with +", "load several states first"
        )
        narrow(self.objects)
        self.kind = QtWidgets.QComboBox()
        for kind in KINDS:
            self.kind.addItem(KIND_LABELS[kind], kind)
        narrow(self.kind)
        self.budget = spin(1.0, 1e6, 60.0, 0, " s")
        self.budget.setValue(LearnOptions.budget)
        self.budget.setToolTip("Most seconds to learn")
        self.model_name = QtWidgets.QLineEdit()
        self.model_name.setPlaceholderText("<object>_model or <object>_net")
        self.button = QtWidgets.QPushButton("Learn")
        self.resume_button = QtWidgets.QPushButton("Resume")
        self.resume_button.setToolTip(
            "Goes on with the model of this name, from the same objects, for the seconds above (resume=1)"
        )
        self.curve = Chart(100, EMPTY)
        self.notes = wrapped_label()
        self.body = QtWidgets.QWidget()
        self.body.hide()
        self._lay_out()
        self.title.toggled.connect(self.body.setVisible)
        self.button.clicked.connect(self.learn_or_cancel)
        self.resume_button.clicked.connect(self.resume)

    def _lay_out(self) -> None:
        form = QtWidgets.QFormLayout()
        form.addRow("Ob&jects", self.objects)
        form.addRow("&Kind", self.kind)
        form.addRow("&Budget", self.budget)
        form.addRow("&Name", self.model_name)
        form.setFieldGrowthPolicy(QtWidgets.QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        inside = QtWidgets.QVBoxLayout(self.body)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addLayout(form)
        start = QtWidgets.QHBoxLayout()
        start.addWidget(self.button, 2)
        start.addWidget(self.resume_button, 1)
        inside.addLayout(start)
        for widget in (self.curve, self.notes):
            inside.addWidget(widget)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.title)
        layout.addWidget(self.body)

    def refresh(self, counts: Mapping[str, int]) -> None:
        """Offer the molecules with several states; counts: states of all molecules of the scene."""
        if counts == self._offered:
            return
        self._offered = dict(counts)
        several = [name for name, count in counts.items() if count > 1]
        if 1 < len(several) <= MOST_JOINED:
            several.append("+".join(several))
        offer_beside_typed(self.objects, several)

    def learn_or_cancel(self) -> None:
        """Begin to learn, or cancel that."""
        if self._run.running:
            self._run.cancel()
            return
        self._start(resume=False)

    def resume(self) -> None:
        """Go on with a learning that was cancelled or has ended."""
        self._start(resume=True)

    def _start(self, resume: bool) -> None:
        session, cmd = self.panel.session, self.panel.cmd
        objects, name = self.objects.currentText().strip(), self.model_name.text().strip()
        options: LearnOptions | GeneratorOptions = LearnOptions(budget=self.budget.value(), resume=resume)
        if self.kind.currentData() == GENERATOR:
            options = GeneratorOptions(budget=self.budget.value(), resume=resume)
        runner = Runner("dsr_learn")
        self._run.begin()
        self.notes.clear()
        self.curve.show_plot(Plot(empty=EMPTY))
        self.panel.say("")
        self.poll()

        def work() -> messages.LearnResult:
            job, request = in_gui(cmd, plan_learning, session, objects, "all", name, options, runner, cmd)
            self._run.enter(job)
            return run_learning(session.sources, job, request, runner.say)

        self.panel.run("dsr_learn", work, self._finished, self._ended, next_step=self._next_step)

    def _next_step(self) -> str:
        """Say how a learning that was cancelled goes on, where it has said that it has kept something."""
        job = self._run.job
        return f"it can be used, and {self.resume_button.text()} goes on" if job is not None and job.lines else ""

    def poll(self) -> None:
        """Draw the errors so far."""
        has_objects = bool(self.objects.currentText().strip())
        self.button.setText("Cancel" if self._run.running else "Learn")
        self.button.setEnabled(self._run.running or has_objects)
        self.resume_button.setEnabled(has_objects and not self._run.running)
        job = self._run.job
        if self._run.running and job is not None and job.errors:
            self.curve.show_plot(plot_of_gaps(job.gaps) if job.gaps else plot_of(job.errors))

    def _finished(self, result: messages.LearnResult) -> None:
        self.poll()
        self._ended()
        self.notes.setText("\n".join(result.notes))
        if self._run.job is not None:
            self.panel.say(f"{self._run.job.name} is learned")

    def _ended(self, *_: Any) -> None:
        self._run.end()
        if self._run.job is not None:
            # A cancelled learning says what it has kept.
            self.notes.setText("\n".join(self._run.job.lines))
        self.poll()


def plot_of(errors: Sequence[TrainingErrors]) -> Plot:
    """Return the curves of a training, over the percentage of the work."""
    training = tuple((100.0 * entry.fraction, entry.training) for entry in errors)
    held_out = tuple((100.0 * entry.fraction, entry.held_out) for entry in errors if entry.held_out is not None)
    baseline = tuple((100.0 * entry.fraction, entry.baseline) for entry in errors if entry.baseline is not None)
    lines = [Line("training", training, dashed=True), Line("held out", held_out, BLUE)]
    if baseline:
        lines.append(Line("at the start", baseline, GREY))
    return Plot(lines, "% of the time", "error")


def plot_of_gaps(gaps: Sequence[tuple[float, float]]) -> Plot:
    """Return the curve of a calibration, over the percentage of the work."""
    points = tuple((100.0 * fraction, gap) for fraction, gap in gaps)
    return Plot([Line("gap of the averages", points, BLUE)], "% of the time", "deviations")
