"""The page Simulate: new states, from physics, from a learned potential, or like those that the scene has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymol.Qt import QtCore, QtWidgets

from ...commands.generate import plan_states
from ...commands.running import Runner, count_of_states
from ...commands.simulate import plan_simulation
from ...fits.jobs import Jobs
from ...runtime.folders import learned_models
from ...scene.gui_thread import in_gui
from ...shared import messages
from ...shared.simulation_options import ALL_ATOMS, SimulationOptions
from ...shared.source_options import FRAMES, GenerateOptions
from ...shared.values import ValueFault
from ...sources.run import SourceWork, run_source
from ...sources.simulation import SimulationWork, estimate_text, object_names, run_simulation, time_simulation
from ..learn_block import LearnBlock
from ..scene_choices import molecules, offers
from ..source_kinds import KINDS, PHYSICS, SourceKind
from ..source_run import SourceRun
from ..widgets import ReportBox, label, narrow, offer_beside_typed, spin, typed_combo, wrapped_label

EMPTY = "The atoms that are added, the time that it takes, and the back-test of a method stand here"
LANDSCAPE = ("deeptime", "MDAnalysis")
PIP = 'pip install "pymol-dsr[simulate]"'
LEAST_LANDSCAPE = 10
NO_MOLECULE, NO_TRAJECTORY = "load a molecule first", "load several states first"
NO_GENERATOR = "none: the method that tests best"
MOST_FRAMES, MOST_REPLICAS, MOST_NS = 10_000, 100, 1000.0


class SimulateTab(QtWidgets.QWidget):
    """Generates states. surface: emitted with a selection to fit; landscape: with an ensemble and a reference."""

    surface = QtCore.Signal(str)
    landscape = QtCore.Signal(str, str)

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self.panel = panel
        self.jobs: Jobs = panel.session.jobs
        self.objects: list[str] = []
        """Names of the objects that the last run made."""
        self._reference = ""
        self._simulated = False
        self._offered: Any = None
        self._packages: Sequence[str] | None = None
        self._run = SourceRun(panel)
        self._shown_lines = 0
        self._timed: tuple[str, messages.PreparedMolecule] | None = None
        self._make_widgets()
        self._lay_out()
        self.source.currentIndexChanged.connect(self._choose_source)
        for signal in (
            self.molecule.editTextChanged,
            self.length.valueChanged,
            self.replicas.valueChanged,
            self.temperature.valueChanged,
        ):
            signal.connect(self._show_estimate)
        self.estimate_button.clicked.connect(self.estimate)
        self.button.clicked.connect(self.start_or_cancel)
        self.resume_button.clicked.connect(self.resume)
        self.landscape_button.clicked.connect(self.show_landscape)
        self.surface_button.clicked.connect(self.make_surface)
        self._choose_source()

    def _make_widgets(self) -> None:
        self.source = QtWidgets.QComboBox()
        for number, kind in enumerate(KINDS):
            self.source.addItem(kind.label)
            self.source.setItemData(number, f"{kind.hint} ({kind.command})", QtCore.Qt.ItemDataRole.ToolTipRole)
        self.missing = wrapped_label()
        self.missing.setTextInteractionFlags(QtCore.Qt.TextInteractionFlag.TextSelectableByMouse)
        self.molecule = typed_combo("A molecule of the scene, or some of its atoms, as in: 1abc and polymer.protein")
        self.model = typed_combo("", "learn one below, or name it")
        for combo in (self.source, self.molecule, self.model):
            narrow(combo)
        self.length = spin(0.001, MOST_NS, 0.05, 3, " ns")
        self.length.setValue(SimulationOptions.ns)
        self.length.setToolTip("Length of the simulation, a state every ps; of each replica")
        self.frames = QtWidgets.QSpinBox()
        self.frames.setRange(1, MOST_FRAMES)
        self.temperature = spin(1.0, 1000.0, 10.0, 0, " K")
        self.temperature.setValue(SimulationOptions.temperature)
        self.replicas = QtWidgets.QSpinBox()
        self.replicas.setRange(1, MOST_REPLICAS)
        self.replicas.setToolTip("Independent runs, an object each")
        self.estimated = wrapped_label()
        self.estimate_button = QtWidgets.QPushButton("Estimate")
        self.estimate_button.setToolTip("Prepares the molecule and times a few steps here; nothing is simulated")
        self.button = QtWidgets.QPushButton("Start")
        self.resume_button = QtWidgets.QPushButton("Resume")
        self.resume_button.setToolTip(
            "Goes on with this molecule's simulation that was cancelled or ended, up to the length above (resume=1)"
        )
        self.report = ReportBox(EMPTY)
        self.report.setMinimumHeight(4 * self.fontMetrics().lineSpacing())
        self.landscape_button = QtWidgets.QPushButton("Landscape")
        self.landscape_button.setToolTip("Slow axes, free energy and macrostates of the new states (dsr_ensemble)")
        self.surface_button = QtWidgets.QPushButton("Make surface")
        self.surface_button.setToolTip(
            "Opens the page Make surface with the new states; those of a simulation are superposed first"
        )

        self.learn = LearnBlock(self.panel)

    def _lay_out(self) -> None:
        self._rows = [
            (label(text, field), field)
            for text, field in (
                ("S&ource", self.source),
                ("", self.missing),
                ("&Molecule", self.molecule),
                ("&Model", self.model),
                ("&Length", self.length),
                ("&Frames", self.frames),
                ("&Temperature", self.temperature),
                ("&Replicas", self.replicas),
            )
        ]
        self.form = QtWidgets.QFormLayout()
        self.form.setHorizontalSpacing(10)
        self.form.setFieldGrowthPolicy(QtWidgets.QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        start = QtWidgets.QHBoxLayout()
        start.addWidget(self.estimate_button, 1)
        start.addWidget(self.button, 2)
        start.addWidget(self.resume_button, 1)
        after = QtWidgets.QHBoxLayout()
        after.addWidget(self.landscape_button)
        after.addWidget(self.surface_button)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addLayout(self.form)
        layout.addWidget(self.estimated)
        layout.addLayout(start)
        layout.addWidget(self.report, 1)
        layout.addLayout(after)
        layout.addWidget(self.learn)

    # The choices

    def kind(self) -> SourceKind:
        """Return the chosen source."""
        return KINDS[self.source.currentIndex()]

    def refresh(self) -> None:
        """Offer the molecules of the scene and the models that the source takes, where these have changed."""
        kind, counts = self.kind(), molecules(self.panel.cmd)
        settings = self.panel.session.settings
        models = (
            [NO_GENERATOR, *learned_models(settings, "generator")]
            if kind.task
            else learned_models(settings, "potential")
        )
        self.learn.refresh(counts)
        if (kind, counts, models) == self._offered:
            return
        self._offered = kind, counts, models
        chosen = {name: count for name, count in counts.items() if count > 1 or not kind.moving}
        offered = [
            selection_text for name, count in chosen.items() for selection_text in offers({name: count}, self.panel.cmd)
        ]
        for combo, items in ((self.molecule, offered), (self.model, models)):
            offer_beside_typed(combo, items)
        self._show_estimate()

    def _choose_source(self, *_: Any) -> None:
        """Show the fields of the chosen source."""
        kind = self.kind()
        self.estimate_button.setVisible(bool(kind.packages))
        self.resume_button.setVisible(not kind.task)
        self.source.setToolTip(f"{kind.hint} ({kind.command})")
        if kind.task:
            self.frames.setValue(FRAMES[kind.task])
        self.molecule.lineEdit().setPlaceholderText(NO_TRAJECTORY if kind.moving else NO_MOLECULE)
        self._show_rows()
        # A name of the other kind of models.
        self.model.clear()
        self._offered = None
        self.refresh()
        self._enable()

    def _show_rows(self) -> None:
        """Lay out the rows of the chosen source. A row that is only hidden would leave its spacing."""
        kind = self.kind()
        is_shown = {
            self.missing: bool(self.missing.text()),
            self.model: bool(kind.model),
            self.length: not kind.task,
            self.frames: bool(kind.task),
            self.temperature: kind.has_temperature,
            self.replicas: kind.has_replicas,
        }
        while self.form.rowCount():
            self.form.takeRow(0)
        for title, field in self._rows:
            if field in (self.frames, self.model):
                title.setText(kind.frames if field is self.frames else kind.model)
            visible = is_shown.get(field, True)
            if visible:
                self.form.addRow(title, field)
            title.setVisible(visible)
            field.setVisible(visible)

    def show_packages(self, packages: Sequence[str]) -> None:
        """Enable the sources whose packages are installed where the backend runs, and say how to get the others."""
        if packages == self._packages:
            return
        self._packages = packages
        lacking = [kind for kind in KINDS if not set(kind.packages) <= set(packages)]
        for number, kind in enumerate(KINDS):
            self.source.model().item(number).setEnabled(kind not in lacking)
        needs = [f"{kind.label} needs OpenMM" for kind in lacking]
        if not set(LANDSCAPE) <= set(packages):
            needs.append("a landscape needs deeptime")
        text = f"{'; '.join(needs)} where the backend runs: {PIP}" if needs else ""
        self.missing.setText(text[:1].upper() + text[1:])
        self._show_rows()
        if self.kind() in lacking:
            self.source.setCurrentIndex(next(k for k, kind in enumerate(KINDS) if kind not in lacking))

    def has_packages(self, packages: Sequence[str]) -> bool:
        """Whether packages are installed where the backend runs, or that is not known yet."""
        return self._packages is None or set(packages) <= set(self._packages)

    # The duration

    def simulation_options(self, resume: bool = False) -> SimulationOptions:
        """Return the options of a simulation as they are chosen. Raises ValueFault."""
        kind = self.kind()
        return SimulationOptions.parse(
            ns=round(self.length.value(), 3),
            temperature=self.temperature.value() if kind.has_temperature else SimulationOptions.temperature,
            replicas=self.replicas.value(),
            model=self.model.currentText().strip() if kind.model else ALL_ATOMS,
            resume=resume,
        )

    def estimate(self) -> None:
        """Time a few steps of the simulation, in the background."""
        selection, session, cmd = self.molecule.currentText().strip(), self.panel.session, self.panel.cmd
        try:
            options = self.simulation_options()
        except ValueFault as fault:
            self.panel.complain(str(fault))
            return
        self._begin()

        def work() -> messages.PreparedMolecule:
            plan = in_gui(cmd, plan_simulation, session, selection, 1, "", options, "dsr_simulate", cmd)
            self._run.enter(plan.job)
            return time_simulation(session.sources, plan, self._keep_quiet)

        def timed(prepared: messages.PreparedMolecule) -> None:
            self._ended()
            self._timed = selection, prepared
            for line in prepared.added:
                self.report.appendPlainText(line)
            self._show_estimate()
            self.panel.say("")

        self.panel.run("dsr_simulate", work, timed, self._ended)

    def _show_estimate(self, *_: Any) -> None:
        """Show how long the simulation takes, where its molecule has been timed."""
        text = ""
        timed = self._timed
        if self.kind().packages and timed is not None and timed[0] == self.molecule.currentText().strip():
            try:
                text = estimate_text(timed[1], self.simulation_options())
            except ValueFault as fault:
                text = str(fault)
        self.estimated.setText(text)
        self.estimated.setVisible(bool(text))

    # A run

    def start_or_cancel(self) -> None:
        """Begin to generate states, or cancel that."""
        if self._run.running:
            self._run.cancel()
            return
        self._start(resume=False)

    def resume(self) -> None:
        """Go on with a simulation that was cancelled or ended."""
        self._start(resume=True)

    def _start(self, resume: bool) -> None:
        session, cmd = self.panel.session, self.panel.cmd
        kind, selection = self.kind(), self.molecule.currentText().strip()
        runner = Runner(
            kind.command, say=self.report.print_line, progress=self._keep_quiet, note=self.report.print_line
        )
        try:
            options = self._generate_options(kind) if kind.task else self.simulation_options(resume)
        except ValueFault as fault:
            self.panel.complain(str(fault))
            return
        self.report.clear()
        self._begin()

        def work() -> list[str]:
            plan: SourceWork | SimulationWork
            if isinstance(options, GenerateOptions):
                plan = in_gui(cmd, plan_states, session, selection, "all", "", options, runner, cmd)
            else:
                plan = in_gui(cmd, plan_simulation, session, selection, 1, "", options, kind.command, cmd)
            self._run.enter(plan.job)
            self._reference, self.objects = plan.atoms.object, _objects(plan)
            if isinstance(plan, SourceWork):
                run_source(session.sources, plan, self.report.print_line, cmd, self._keep_quiet)
            else:
                run_simulation(session.sources, plan, self.report.print_line, cmd, self._keep_quiet)
            return self.objects

        self._simulated = kind.packages == PHYSICS
        self.panel.run(kind.command, work, self._finished, self._ended, next_step=self._next_step)

    def _next_step(self) -> str:
        """Say how a simulation that was cancelled goes on."""
        job = self._run.job
        if job is None or not job.arrived or job.command != "dsr_simulate":
            return ""
        return f"its states stay, and {self.resume_button.text()} goes on"

    def _generate_options(self, kind: SourceKind) -> GenerateOptions:
        replicas = self.replicas.value() if kind.has_replicas else 1
        model = self.model.currentText().strip()
        method = GenerateOptions.method if model in ("", NO_GENERATOR) else "net"
        return GenerateOptions.parse(
            task=kind.task,
            frames=self.frames.value(),
            replicas=replicas,
            method=method,
            model=model if method == "net" else "",
        )

    def _begin(self) -> None:
        self._run.begin()
        self.objects = []
        self._shown_lines = 0
        self.panel.say("")
        self._enable()

    def poll(self) -> None:
        """Show how far it is."""
        backend = self.jobs.connection.running
        if backend is not None and backend.info is not None:
            self.show_packages(backend.info.packages)
        self.learn.poll()
        self._show_lines()
        if not self.isVisible():
            return
        job = self._run.job
        if self._run.running and job is not None and job.arrived:
            self.panel.say(f"{job.name}: {count_of_states(job.arrived)} so far")
        self._enable()

    def _show_lines(self) -> None:
        """Show what the backend has said about the run, such as how long it takes."""
        job = self._run.job
        lines = job.lines[self._shown_lines :] if job is not None else []
        self._shown_lines += len(lines)
        for line in lines:
            self.report.appendPlainText(line)

    def _enable(self) -> None:
        has_molecule = bool(self.molecule.currentText().strip())
        self.button.setText("Cancel" if self._run.running else "Start")
        self.button.setEnabled(self._run.running or has_molecule)
        self.estimate_button.setEnabled(has_molecule and not self._run.running)
        self.resume_button.setEnabled(has_molecule and not self._run.running)
        names = set(self.panel.cmd.get_names("objects")) if self.objects and not self._run.running else set()
        counts = [self.panel.cmd.count_states(f"%{name}") for name in self.objects if name in names]
        self.surface_button.setEnabled(max(counts, default=0) > 1)
        self.landscape_button.setEnabled(sum(counts) >= LEAST_LANDSCAPE and self.has_packages(LANDSCAPE))

    def _keep_quiet(self, line: str) -> None:
        """Leave out a line of progress, which the bar shows."""

    def _finished(self, objects: list[str]) -> None:
        self._ended()
        self.panel.say(f"{'+'.join(objects[:3])}{' …' if len(objects) > 3 else ''}: ready")

    def _ended(self, *_: Any) -> None:
        self._run.end()
        self._show_lines()
        self._enable()

    # After a run

    def show_landscape(self) -> None:
        """Show the landscape of the new states, on the axes of the molecule's where that has enough states."""
        cmd = self.panel.cmd
        has_reference = (
            self._reference in cmd.get_names("objects")
            and cmd.count_states(f"%{self._reference}") >= LEAST_LANDSCAPE
            and not self._simulated
        )
        self.landscape.emit("+".join(self._present()), self._reference if has_reference else "")

    def make_surface(self) -> None:
        """Open the page Make surface with the new states; those of a simulation tumble, and are superposed first."""
        objects = self._present()
        if self._simulated:
            for name in objects:
                self.panel.cmd.intra_fit(f"%{name} and name CA", 1)
            self.report.print_line(f" {'+'.join(objects)}: states superposed on CA atoms (intra_fit)")
        self.surface.emit("+".join(objects))

    def _present(self) -> list[str]:
        names = set(self.panel.cmd.get_names("objects"))
        return [name for name in self.objects if name in names]


def _objects(plan: SourceWork | SimulationWork) -> list[str]:
    """Return the names of the objects that a run makes of its states."""
    if isinstance(plan, SourceWork):
        return list(dict.fromkeys(state_place.object for state_place in plan.places(plan.expected)))
    replicas = [name for name in object_names(plan.job.name, plan.options) if name not in (plan.job.name, plan.start)]
    return replicas or [plan.job.name]
