"""The page Measure: volume, area and pockets over time, and the residues that move most."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from pymol.Qt import QtWidgets

from ...analysis import measures
from ...analysis.measures import Measurement, Residue
from ...commands.measure import measure_fit
from ...commands.running import Runner
from ...fits.fit import Activity, Fit
from ...shared.options import FieldOptions, MeasureOptions
from ..measurement_view import MeasurementView, select_residue
from ..widgets import flow, label, quietly, save_table, spin
from .fit_page import FitPage
from .player import Player, TimeSlider

NO_TIME = 0.0


class MeasureTab(FitPage):
    """Measures a fit over time. player: that of the page Play, which the slider here moves."""

    def __init__(self, panel: Any, player: Player) -> None:
        super().__init__(panel, Activity.MEASUREMENT, "Measure")
        self._player = player
        self.measured: WeakKeyDictionary[Fit, dict[str, Measurement]] = WeakKeyDictionary()
        """By fit and name of the trajectory, empty for a single one."""
        self.states = QtWidgets.QLineEdit()
        self.states.setPlaceholderText("fitted states, 100 at most")
        self.states.setToolTip("Times, as 1-79 or 1-102:0.25")
        self.selection, self.pocket = QtWidgets.QLineEdit(), QtWidgets.QLineEdit()
        self.selection.setPlaceholderText("none; as resi 122-159")
        self.selection.setToolTip("Atoms whose part of the area and of the volume is measured (selection=)")
        self.pocket.setPlaceholderText("none; the residues around it")
        self.pocket.setToolTip("Atoms that line a pocket on all sides, whose volume is measured (pocket=)")
        self.dt = spin(NO_TIME, 1e6, 0.01, 4, " ns", "unknown")
        self.dt.setToolTip("Nanoseconds from one state of the trajectory to the next; the curves then have times (dt=)")
        self.save = QtWidgets.QPushButton("Save table …")
        self.save.setToolTip("Write the tables and the curves; Measure comes first")
        self.save.setEnabled(False)
        self.slider = TimeSlider()
        self.slider.setToolTip("The time of the surface in the scene; the line in the curves stands there")
        self.time = QtWidgets.QLabel()
        self.time.setMinimumWidth(self.time.fontMetrics().horizontalAdvance("100.00 of 100, predicted"))
        self.view = MeasurementView(1, self._show_residue)
        self.form.addRow("&States", self.states)
        self.form.addRow("&Part", self.selection)
        self.form.addRow("Poc&ket", self.pocket)
        self.form.addRow(label("A st&ate is", self.dt), flow(self.dt, self.button, self.save))
        self.form.addRow("&Time", self.slider)
        self.form.addRow("", self.time)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addLayout(self.form)
        layout.addWidget(self.view, 1)
        layout.addStretch()
        self.follow_choices()
        self.fit.activated.connect(lambda _: panel.play.choose(self.fit.currentText()))
        self.button.clicked.connect(self.measure)
        self.save.clicked.connect(self.save_table)
        self.slider.valueChanged.connect(player.slider.setValue)
        player.moved.connect(self.follow)

    def follow(self) -> None:
        """Show the time of the surface in the scene."""
        source = self._player.slider
        with quietly(self.slider):
            self.slider.setRange(source.minimum(), source.maximum())
            self.slider.setValue(source.value())
        self.slider.set_fitted(*source.fitted)
        self.view.set_state(self._player.time)
        text, measured = self._player.state.text(), self.view.measured
        if measured is not None and measured.dt is not None:
            text += f", {measured.time_of(self._player.time):.4g} ns"
        self.time.setText(f"state {text}")

    def measure(self) -> None:
        """Measure the fit, or cancel that."""
        fit = self.fit_or_cancel()
        if fit is None:
            return
        name, trajectory = fit.name, self.trajectory.currentText()
        field = FieldOptions(trajectory=trajectory)
        options = MeasureOptions(
            selection=self.selection.text().strip(),
            pocket=self.pocket.text().strip(),
            dt=float(self.dt.value()) or None,
        )
        text = self.states.text().strip()
        session, cmd, runner = self.panel.session, self.panel.cmd, Runner("dsr_measure")
        self.panel.say("")

        def work() -> Measurement | None:
            return measure_fit(session, name, text, field, options, runner, cmd)

        def show_measures(measured: Measurement) -> None:
            self.measured.setdefault(fit, {})[trajectory] = measured
            outside = sum(row.extrapolated for row in measured.rows)
            if outside:
                self.panel.say(f"{outside} of {len(measured.rows)} states are predicted, and so are their numbers")
            self.draw()

        self.panel.run(f"{name}: its measures", work, show_measures)

    def save_table(self) -> None:
        """Ask for a file, and write the tables."""
        measured = self.view.measured
        if measured is not None:
            name = f"{self.fit.currentText()}_measures.csv"
            save_table(self, name, lambda path: measures.write_measures(path, measured), self.panel.say)

    def draw(self) -> None:
        """Show what was measured of the chosen fit."""
        fit, trajectory = self.current(), self.current_trajectory()
        measured = self.measured.get(fit, {}).get(self.trajectory.currentText()) if fit is not None else None
        fitted = (min(trajectory.states), max(trajectory.states)) if trajectory is not None else (0.0, 0.0)
        self.view.show_measurement(measured, fitted)
        self.save.setEnabled(measured is not None)
        self.follow()

    def _show_residue(self, residue: Residue) -> None:
        trajectory = self.current_trajectory()
        molecule = trajectory.object if trajectory is not None else ""
        if not select_residue(residue, molecule, self.panel.cmd):
            self.panel.say(f"{residue}: {molecule or 'its molecule'} is not in the scene", bad=True)
