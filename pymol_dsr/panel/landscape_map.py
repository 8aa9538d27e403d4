"""The map of a landscape: free energy on the first two axes, macrostates, and a place that is clicked."""

from __future__ import annotations

import math
from typing import Any

from pymol.Qt import QtCore, QtGui, QtWidgets

from ..analysis.landscape import EnsembleLandscape
from ..scene.palettes import VIRIDIS
from ..shared.landscape_plot import MOST_KT, macrostate_color

EMPTY = "Landscape shows the free energy of an ensemble here; a click then shows the nearest state"
MARGIN = 8
RADIUS = 7.0


class LandscapeMap(QtWidgets.QWidget):
    """Shows a landscape. clicked: emitted with the place on both axes."""

    clicked = QtCore.Signal(float, float)

    def __init__(self, height: int) -> None:
        super().__init__()
        self.landscape: EnsembleLandscape | None = None
        self.chosen: tuple[float, float] | None = None
        self.setMinimumHeight(height)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Expanding)

    def show_landscape(self, landscape: EnsembleLandscape) -> None:
        """Show another landscape."""
        self.landscape, self.chosen = landscape, None
        self.setCursor(QtCore.Qt.CursorShape.CrossCursor)
        self.update()

    def mark(self, first: float, second: float) -> None:
        """Mark a place on the axes."""
        self.chosen = first, second
        self.update()

    def place(self, first: float, second: float) -> Any:
        """Return the place on the widget of a place on the axes."""
        (left, right), (bottom, top) = self._ranges()
        area = self._area()
        return QtCore.QPointF(
            area.left() + area.width() * (first - left) / (right - left),
            area.bottom() - area.height() * (second - bottom) / (top - bottom),
        )

    def mousePressEvent(self, event: Any) -> None:
        """Tell the place on the axes."""
        if self.landscape is None or not self._area().contains(QtCore.QPointF(event.pos())):
            return
        (left, right), (bottom, top) = self._ranges()
        area = self._area()
        self.clicked.emit(
            left + (right - left) * (event.pos().x() - area.left()) / area.width(),
            bottom + (top - bottom) * (area.bottom() - event.pos().y()) / area.height(),
        )

    def paintEvent(self, event: Any) -> None:
        """Draw the map."""
        painter = QtGui.QPainter(self)
        try:
            painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
            if self.landscape is None:
                flags = QtCore.Qt.AlignmentFlag.AlignCenter | QtCore.Qt.TextFlag.TextWordWrap
                painter.drawText(self.rect().adjusted(20, 0, -20, 0), int(flags), EMPTY)
            else:
                self._draw(painter, self.landscape)
        finally:
            # A painter that is left open blocks the widget for good.
            painter.end()

    def _draw(self, painter: Any, landscape: EnsembleLandscape) -> None:
        result, area = landscape.result, self._area()
        firsts, seconds = result.edges
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        for column, energies in enumerate(result.free_energy):
            for row, energy in enumerate(energies):
                if math.isfinite(energy):
                    painter.setBrush(energy_color(float(energy)))
                    corner = self.place(firsts[column], seconds[row + 1])
                    # A little larger, so that no seam shows between two of them.
                    far = self.place(firsts[column + 1], seconds[row]) + QtCore.QPointF(0.7, 0.7)
                    painter.drawRect(QtCore.QRectF(corner, far))
        white = QtGui.QColor("white")
        for number, macrostate in enumerate(result.macrostates):
            middle = self.place(*result.axes[macrostate.place])
            painter.setPen(QtGui.QPen(white, 1.2))
            painter.setBrush(QtGui.QColor(macrostate_color(number)))
            painter.drawEllipse(middle, RADIUS, RADIUS)
            box = QtCore.QRectF(middle.x() - RADIUS, middle.y() - RADIUS, 2 * RADIUS, 2 * RADIUS)
            painter.drawText(box, QtCore.Qt.AlignmentFlag.AlignCenter, str(number + 1))
        if self.chosen is not None:
            painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
            painter.setPen(QtGui.QPen(QtGui.QColor("#ff5722"), 2.0))
            painter.drawEllipse(self.place(*self.chosen), RADIUS + 2, RADIUS + 2)
        painter.setPen(self.palette().color(self.palette().ColorRole.WindowText))
        below = QtCore.QRectF(area.left(), area.bottom() + 2, area.width(), self.fontMetrics().height())
        painter.drawText(below, QtCore.Qt.AlignmentFlag.AlignRight, f"{result.kind} 1 →, {result.kind} 2 ↑")
        painter.drawText(below, QtCore.Qt.AlignmentFlag.AlignLeft, f"free energy: dark 0, light {MOST_KT:g} kT")
        painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
        painter.setPen(self.palette().color(self.palette().ColorRole.Mid))
        painter.drawRect(area)

    def _ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        assert self.landscape is not None, "a map without a landscape has no axes"
        first, second = self.landscape.result.edges
        return (float(first[0]), float(first[-1])), (float(second[0]), float(second[-1]))

    def _area(self) -> Any:
        line = self.fontMetrics().height()
        return QtCore.QRectF(MARGIN, MARGIN, self.width() - 2 * MARGIN, self.height() - 2 * MARGIN - line)


def energy_color(energy: float) -> Any:
    """Return the colour of a free energy in kT."""
    fraction = min(1.0, max(0.0, energy / MOST_KT))
    return QtGui.QColor.fromRgbF(*(float(channel) for channel in VIRIDIS[round(fraction * (len(VIRIDIS) - 1))]))
