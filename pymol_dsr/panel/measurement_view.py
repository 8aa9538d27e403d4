"""Measures of a surface over time: a chart for each quantity, and the residues, the most moving first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymol.Qt import QtCore, QtWidgets

from ..analysis.measures import Measurement, Residue
from .charts import Chart, Line, Plot
from .widgets import quietly

COLUMNS = ("residue", "Å per state", "area (Å²)")
# Name of PyMOL's selection of the residue that was clicked.
SELECTION = "dsr_residue"
# In Å around the residue that is zoomed to: more would show a small protein smaller than before.
SURROUNDINGS = 7.0


class MeasurementView(QtWidgets.QWidget):
    """Charts and a table. columns: of charts; on_residue: called with the residue that is clicked."""

    def __init__(self, columns: int, on_residue: Callable[[Residue], None]) -> None:
        super().__init__()
        self._columns, self._on_residue = columns, on_residue
        self.measured: Measurement | None = None
        self.charts: list[Chart] = []
        self._grid = QtWidgets.QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self.table = QtWidgets.QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(COLUMNS)
        # Bold, the titles of a chosen row's columns would touch.
        self.table.horizontalHeader().setHighlightSections(False)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(self.table.fontMetrics().height() + 6)
        self.table.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setToolTip("A click selects the residue in the scene, and zooms to it")
        self.table.setMinimumHeight(150)
        self.table.hide()
        self.table.cellClicked.connect(self._clicked)
        self.table.currentCellChanged.connect(lambda row, *_: self._clicked(row))
        layout = QtWidgets.QVBoxLayout(self) if columns == 1 else QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._grid, 2)
        layout.addWidget(self.table, 1 if columns == 1 else 0)
        self._ranked: list[Residue] = []
        self._shown_row = -1

    def show_measurement(self, measured: Measurement | None, fitted_range: tuple[float, float]) -> None:
        """Show another measurement, or none."""
        self.measured = measured
        for chart in self.charts:
            self._grid.removeWidget(chart)
            chart.deleteLater()
        self.charts = []
        quantities = list(measured.columns()) if measured is not None else []
        for number, quantity in enumerate(quantities):
            chart = Chart(120, "")
            assert measured is not None
            chart.show_plot(plot_of(measured, quantity, fitted_range))
            fills_row = number == len(quantities) - 1 and number % self._columns == 0
            span = self._columns if fills_row else 1
            self._grid.addWidget(chart, number // self._columns, number % self._columns, 1, span)
            self.charts.append(chart)
        self._fill_table()

    def set_state(self, state: float | None) -> None:
        """Move the line in the charts to a state, or take it away."""
        at = None if state is None or self.measured is None else self.measured.time_of(state)
        for chart in self.charts:
            chart.set_marker(at)

    def _fill_table(self) -> None:
        self._ranked = self.measured.ranked() if self.measured is not None else []
        self._shown_row = -1
        right = QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
        with quietly(self.table):
            self.table.setRowCount(len(self._ranked))
            for line, residue in enumerate(self._ranked):
                texts = (str(residue), f"{residue.speed:.3f}", f"{residue.area:.1f}")
                for column, text in enumerate(texts):
                    item = QtWidgets.QTableWidgetItem(text)
                    if column:
                        item.setTextAlignment(right)
                    self.table.setItem(line, column, item)
            self.table.setCurrentCell(-1, -1)
        self.table.resizeColumnsToContents()
        self.table.setVisible(bool(self._ranked))
        if self._columns > 1:
            self.table.setMinimumWidth(self.table.horizontalHeader().length() + 28)
            self.table.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Expanding)

    def _clicked(self, row: int, _: int = 0) -> None:
        # A click is a change of the current cell, too.
        if 0 <= row < len(self._ranked) and row != self._shown_row:
            self._shown_row = row
            self._on_residue(self._ranked[row])


def plot_of(measured: Measurement, name: str, fitted_range: tuple[float, float]) -> Plot:
    """One of the measures over time; the fitted range is shaded where there are other times."""
    first, last = map(measured.time_of, fitted_range)
    shaded = (first, last, "fitted range") if any(row.extrapolated for row in measured.rows) else None
    panel, start = measured.panels()[name], measured.time_of(measured.states[0])
    # Not to be seen: they give the axis the range it has in the file.
    lines = [Line("", tuple((start, limit) for limit in panel.limits or ()), "transparent")]
    for curve in panel.curves:
        points = tuple(zip(curve.states, curve.values, strict=True))
        if curve.line:
            lines.append(Line(curve.label, points, curve.color, dashed=curve.line != "-"))
        if curve.marks:
            lines.append(Line("", points, curve.color, dots=True))
    return Plot(lines, measured.axis, panel.title, shaded)


def select_residue(residue: Residue, object: str, _self: Any) -> bool:
    """Select a residue of a molecule and zoom to it; False where it is not in the scene."""
    if object not in _self.get_names("objects"):
        return False
    indices: list[int] = []
    _self.iterate(
        f"%{object}",
        "indices.append(index) if (chain or segi, resn, resi) == named and segment in (None, segi) else None",
        space={
            "indices": indices,
            "named": (residue.chain, residue.resn, residue.resi),
            "segment": residue.segi,
        },
    )
    if not indices:
        return False
    _self.select_list(SELECTION, object, indices, mode="index")
    _self.enable(SELECTION)
    _self.zoom(SELECTION, SURROUNDINGS)
    # A zoom brings the clipping planes along, which would cut the surface open.
    _self.clip("atoms", 8, f"%{object}")
    return True
