"""The window of dsr_measure: what was measured, over time."""

from __future__ import annotations

from typing import Any

from pymol import cmd
from pymol.Qt import QtCore, QtWidgets

from ..analysis import measures
from ..analysis.measures import Measurement, Residue
from .measurement_view import MeasurementView, select_residue
from .widgets import save_table, tone, wrapped_label


class MeasuresWindow(QtWidgets.QDialog):
    """A measurement of one fit. molecule: the object in the scene that it is of."""

    def __init__(
        self,
        parent: Any,
        measured: Measurement,
        fitted_range: tuple[float, float],
        title: str,
        name: str,
        molecule: str,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
        self.measured, self.name, self._molecule = measured, name, molecule
        self.view = MeasurementView(2, self._show_residue)
        self.view.show_measurement(measured, fitted_range)
        self.status = wrapped_label()
        save = QtWidgets.QPushButton("Save table …")
        save.setAutoDefault(False)
        save.clicked.connect(self.save_table)
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self.status, 1)
        row.addWidget(save)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(self.view, 1)
        layout.addLayout(row)
        self.resize(980, 240 + 190 * ((len(self.view.charts) + 1) // 2))

    def save_table(self) -> None:
        """Ask for a file, and write the tables."""
        save_table(
            self, f"{self.name}_measures.csv", lambda path: measures.write_measures(path, self.measured), self.say
        )

    def say(self, text: str, bad: bool = False) -> None:
        """Show a line of text; a bad one is red."""
        self.status.setText(text)
        self.status.setStyleSheet(tone("bad") if bad else "")

    def _show_residue(self, residue: Residue) -> None:
        if not select_residue(residue, self._molecule, cmd):
            self.say(f"{residue}: {self._molecule or 'its molecule'} is not in the scene", bad=True)
