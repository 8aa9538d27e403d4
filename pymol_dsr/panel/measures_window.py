"""The window of dsr_measure: what was measured, over time."""

from __future__ import annotations

from typing import Any

from pymol.Qt import QtCore, QtWidgets

from ..analysis import measures
from ..analysis.measures import Measurement
from ..shared import plots
from .charts import Chart, Line, Plot
from .widgets import save_table, tone

COLUMNS = ("residue", "Å per state", "area (Å²)")


class MeasuresWindow(QtWidgets.QDialog):
    """A chart for each quantity, and the residues, the most moving first."""

    def __init__(
        self, parent: Any, measured: Measurement, fitted_range: tuple[float, float], title: str, name: str
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
        self.measured, self.name = measured, name
        charts = QtWidgets.QGridLayout()
        shown = measured.columns()
        for number, quantity in enumerate(shown):
            chart = Chart(130, "")
            chart.show_plot(plot_of(measured, quantity, fitted_range))
            alone = number == len(shown) - 1 and number % 2 == 0
            charts.addWidget(chart, number // 2, number % 2, 1, 2 if alone else 1)
        self.status = QtWidgets.QLabel()
        self.status.setWordWrap(True)
        save = QtWidgets.QPushButton("Save table …")
        save.setAutoDefault(False)
        save.clicked.connect(self.save_table)
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self.status, 1)
        row.addWidget(save)
        left = QtWidgets.QVBoxLayout()
        left.addLayout(charts, 1)
        left.addLayout(row)
        layout = QtWidgets.QHBoxLayout(self)
        layout.addLayout(left, 1)
        if measured.residues:
            layout.addWidget(table_of(measured))
        self.resize(980, 240 + 190 * ((len(shown) + 1) // 2))

    def save_table(self) -> None:
        """Ask for a file, and write the tables."""
        written: list[str] = []
        try:
            save_table(
                self,
                f"{self.name}_measures.csv",
                lambda path: written.extend(measures.write_measures(path, self.measured)),
            )
        except (OSError, ValueError) as error:
            self.say(str(error), tone("bad"))
            return
        if written:
            self.say(f"written: {', '.join(written)}")

    def say(self, text: str, style: str = "") -> None:
        """Show a line of text."""
        self.status.setText(text)
        self.status.setStyleSheet(style)


def plot_of(measured: Measurement, name: str, fitted_range: tuple[float, float]) -> Plot:
    """One of plots.MEASURES over time; the fitted range is shaded where there are other times."""
    rows = measured.rows
    shaded = (*fitted_range, "fitted range") if any(r.extrapolated for r in rows) else None
    quantity, values = plots.MEASURES[name], measured.columns()[name]
    points = list(zip(measured.states, values, strict=True))
    # Not to be seen: they give the axis the range it has in the file.
    low, high = plots.value_limits(values, quantity.from_zero)
    ends = Line("", ((points[0][0], low), (points[0][0], high)), "transparent")
    known = tuple(point for point, row in zip(points, rows, strict=True) if row.fitted or len(rows) == 1)
    lines = ends, Line("", tuple(points), quantity.color), Line("", known, quantity.color, dots=True)
    return Plot(lines, "state", quantity.title, shaded)


def table_of(measured: Measurement) -> Any:
    """Return the residues at the surface, the most moving first."""
    ranked = measured.ranked()
    table = QtWidgets.QTableWidget(len(ranked), len(COLUMNS))
    table.setHorizontalHeaderLabels(COLUMNS)
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 6)
    table.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
    right = QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
    for line, residue in enumerate(ranked):
        texts = (str(residue), f"{residue.speed:.3f}", f"{residue.area:.1f}")
        for column, text in enumerate(texts):
            item = QtWidgets.QTableWidgetItem(text)
            if column:
                item.setTextAlignment(right)
            table.setItem(line, column, item)
    table.resizeColumnsToContents()
    table.setMinimumWidth(table.horizontalHeader().length() + 28)
    table.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Expanding)
    return table
