"""The tab Ensembles: the space that states fill, and their landscape, on whose map a click shows the nearest state."""

from __future__ import annotations

from functools import partial
from typing import Any

from pymol.Qt import QtWidgets

from ...analysis import landscape as landscapes
from ...analysis.landscape import EnsembleLandscape
from ...commands.ensemble_states import EnsembleSelection
from ...commands.landscape import EnsembleObjects, plan_landscape
from ...commands.occupancy import occupy
from ...commands.running import Runner
from ...fits.fit import Phase
from ...fits.jobs import Jobs
from ...scene.gui_thread import in_gui
from ...scene.occupancy import SPREAD
from ...scene.present_movie import show_state
from ...shared.ensemble_options import LandscapeOptions, OccupancyOptions, OccupancyShow
from ...shared.values import ValueFault
from ..landscape_map import LandscapeMap
from ..scene_choices import molecules, offers
from ..widgets import offer, offer_beside_typed, save_table, spin, typed_combo, wrapped_label

NO_REFERENCE = "none"
SPREAD_LABEL = "spread"
COLORS = (SPREAD_LABEL, "white", "marine", "orange", "lime")


class EnsemblesTab(QtWidgets.QWidget):
    """Shows occupancies and landscapes of what is in the scene or fitted."""

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self.panel = panel
        self.jobs: Jobs = panel.session.jobs
        self.landscape: EnsembleLandscape | None = None
        self._offered: Any = None
        self._running: set[str] = set()
        self._pressed: Any = None
        """The button of the work under way, which cancels it."""
        self._make_widgets()
        self._lay_out()
        self.occupancy_button.clicked.connect(self.show_occupancy)
        self.landscape_button.clicked.connect(self.show_landscape)
        self.split_button.clicked.connect(lambda: self.show_landscape(split=True))
        self.save.clicked.connect(self.save_tables)
        self.map.clicked.connect(self.show_nearest)

    def _make_widgets(self) -> None:
        self.ensemble = typed_combo(
            "A fit, whose surfaces are there already; a molecule or any selection; or several molecules joined with +",
            "load several states first",
        )
        self.states = QtWidgets.QLineEdit()
        self.states.setPlaceholderText("all")
        self.states.setToolTip("States of the ensemble: 1-150, 1-79:2, 1+5+9, or all; they need no order in time")
        self.levels = QtWidgets.QLineEdit(" ".join(f"{level:g}" for level in OccupancyOptions().levels))
        self.levels.setToolTip("Least percentages of the states that fill the space inside each surface")
        self.resolution = spin(0.2, 10.0, 0.1, 1, " Å")
        self.resolution.setValue(OccupancyOptions.resolution)
        self.color = QtWidgets.QComboBox()
        self.color.addItems(COLORS)
        self.color.setToolTip("The spread of the surface over the states, or one colour")
        self.as_map = QtWidgets.QCheckBox("as a map with isosurfaces")
        self.occupancy_button = QtWidgets.QPushButton("Show occupancy")
        self.reference = QtWidgets.QComboBox()
        self.reference.setToolTip("An ensemble to compare with, on whose axes the landscape is shown")
        self.macrostates = QtWidgets.QSpinBox()
        self.macrostates.setRange(2, 20)
        self.macrostates.setValue(LandscapeOptions.states)
        self.macrostates.setToolTip("Number of groups of states that change into one another fast")
        self.landscape_button = QtWidgets.QPushButton("Landscape")
        self.landscape_button.setToolTip("Slow axes, free energy and macrostates of a protein's CA atoms")
        self.split_button = QtWidgets.QPushButton("Make objects")
        self.split_button.setToolTip(
            "An object of the states of each macrostate, for dsr_fit or an occupancy; Landscape comes first"
        )
        self.save = QtWidgets.QPushButton("Save table …")
        self.save.setToolTip("Write the tables and the picture of the landscape; Landscape comes first")
        self.map = LandscapeMap(190)
        self.figures = wrapped_label()
        for button in (self.split_button, self.save):
            button.setEnabled(False)

    def _lay_out(self) -> None:
        form = QtWidgets.QFormLayout()
        form.addRow("&Ensemble", self.ensemble)
        form.addRow("&States", self.states)
        form.addRow("&Levels (%)", self.levels)
        form.addRow("&Resolution", self.resolution)
        form.addRow("&Colour", self.color)
        form.addRow("", self.as_map)
        form.addRow("", self.occupancy_button)
        form.addRow("Re&ference", self.reference)
        form.addRow("&Macrostates", self.macrostates)
        form.setFieldGrowthPolicy(QtWidgets.QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        row = QtWidgets.QHBoxLayout()
        for button in (self.landscape_button, self.split_button, self.save):
            row.addWidget(button)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addLayout(form)
        layout.addLayout(row)
        layout.addWidget(self.map, 1)
        layout.addWidget(self.figures)

    def refresh(self) -> None:
        """Offer the fits that are ready and the molecules of the scene, where these have changed."""
        fits = [fit.name for fit in self.jobs.listed() if fit.phase is Phase.READY]
        counts = molecules(self.panel.cmd)
        if (fits, counts) == self._offered:
            return
        self._offered = fits, counts
        several = offers({name: count for name, count in counts.items() if count > 1}, self.panel.cmd)
        offer_beside_typed(self.ensemble, [*fits, *several])
        offer(self.reference, [NO_REFERENCE, *several], self.reference.currentText() or NO_REFERENCE)
        self.poll()

    def poll(self) -> None:
        """Show what is under way."""
        busy = next((fit for fit in map(self.jobs.fits.get, self._running) if fit is not None), None)
        has_ensemble = bool(self.ensemble.currentText().strip())
        for button, text in ((self.occupancy_button, "Show occupancy"), (self.landscape_button, "Landscape")):
            cancels = busy is not None and button is self._pressed
            button.setText("Cancel" if cancels else text)
            button.setEnabled(cancels or (busy is None and has_ensemble))
        self.split_button.setEnabled(busy is None and self.landscape is not None)

    def show_occupancy(self) -> None:
        """Show the occupancy of the ensemble, or cancel what is under way."""
        if self._cancelled():
            return
        name, states = self.ensemble.currentText().strip(), self.states.text().strip()
        session, cmd = self.panel.session, self.panel.cmd
        color = self.color.currentText()
        try:
            options = OccupancyOptions.parse(levels=self.levels.text(), resolution=self.resolution.value())
            representation = "map" if self.as_map.isChecked() else "surface"
            show = OccupancyShow(color=SPREAD if color == SPREAD_LABEL else color, representation=representation)
        except ValueFault as fault:
            self.panel.complain(str(fault))
            return
        lines: list[str] = []
        warnings: list[str] = []

        def warn(line: str) -> None:
            print(line)
            warnings.append(line)

        self._pressed = self.occupancy_button
        self.panel.say("")
        runner = Runner("dsr_occupancy", say=lines.append, note=warn)
        self._running = {name, f"{name}_occupancy", *(f"{molecule}_occupancy" for molecule in molecules(cmd))}

        def show_figures(group: str) -> None:
            self._ended()
            self.figures.setText("\n".join(line.strip() for line in [*warnings, *lines[:2]]))
            self.panel.say(f"{group} is in the scene")

        self.panel.run(
            "dsr_occupancy",
            lambda: occupy(session, EnsembleSelection(name, states), options, show, runner, cmd),
            show_figures,
            self._ended,
        )
        self.poll()

    def show_landscape(self, *_: Any, split: bool = False) -> None:
        """Compute the landscape of the ensemble, with `split` also objects of its macrostates, or cancel that."""
        if self._cancelled():
            return
        self._pressed = self.landscape_button
        self.panel.say("")
        reference = self.reference.currentText()
        chosen = EnsembleObjects(
            self._molecules(), "" if reference == NO_REFERENCE else reference, self.states.text().strip() or "all"
        )
        session, cmd = self.panel.session, self.panel.cmd
        options = LandscapeOptions(states=self.macrostates.value())
        runner = Runner("dsr_ensemble")
        self._running = {f"{molecule}_ensemble" for molecule in molecules(cmd)}

        def show_result(landscape: EnsembleLandscape) -> None:
            self._ended()
            self.landscape = landscape
            self.map.show_landscape(landscape)
            for button in (self.split_button, self.save):
                button.setEnabled(True)
            lines = [*landscapes.heading(landscape), *landscapes.figures(landscape)]
            self.figures.setText("\n".join(lines))
            count = len(landscape.result.macrostates)
            self.panel.say(
                f"{count} objects with the states of one macrostate each are in the scene"
                if split
                else f"{len(landscape.states)} states, {count} macrostates"
            )

        self.panel.run(
            "dsr_ensemble",
            lambda: in_gui(cmd, plan_landscape, session, chosen, options, runner, cmd, split=split)(),
            show_result,
            self._ended,
        )

    def describe(self, ensemble: str, reference: str) -> None:
        """Show the landscape of an ensemble, on the axes of a reference unless that is empty."""
        self.refresh()
        self.ensemble.setEditText(ensemble)
        self.states.clear()
        self.reference.setCurrentIndex(max(0, self.reference.findText(reference or NO_REFERENCE)))
        if not any(name in self.jobs.fits for name in self._running):
            self.show_landscape()

    def show_nearest(self, first: float, second: float) -> None:
        """Show the state nearest to a place of the map."""
        if self.landscape is None:
            return
        name, state = self.landscape.nearest(first, second)
        row = self.landscape.states.index((name, state))
        self.map.mark(*map(float, self.landscape.result.axes[row]))
        cmd = self.panel.cmd
        if name in cmd.get_names("objects"):
            cmd.enable(name)
            show_state(state, cmd)
        number = int(self.landscape.result.macrostate[row])
        of = f"macrostate {number + 1}" if number >= 0 else "no macrostate"
        self.panel.say(f"state {state} of {name}: {of}, RMSD {self.landscape.result.rmsd[row]:.2f} Å")

    def save_tables(self) -> None:
        """Ask for a file, and write the tables and the picture."""
        landscape = self.landscape
        if landscape is not None:
            title = f"{len(landscape.states)} states of {landscape.states[0][0]}"
            write = partial(landscapes.write_landscape, landscape=landscape, title=title)
            save_table(self, "landscape.csv", write, self.panel.say)

    def _molecules(self) -> str:
        """Return the ensemble as a selection: of a fit, the objects that were fitted."""
        text = self.ensemble.currentText().strip()
        fit = self.jobs.fits.get(text)
        return "+".join(trajectory.object for trajectory in fit.trajectories) if fit is not None else text

    def _cancelled(self) -> bool:
        """Cancel what is under way, and return whether there was something."""
        busy = [name for name in self._running if name in self.jobs.fits]
        for name in busy:
            self.jobs.cancel(name)
        return bool(busy)

    def _ended(self, *_: Any) -> None:
        self._running = set()
        self.poll()
