"""Lines over states or steps, drawn with the window's own colours: the loss curve and the quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymol.Qt import QtCore, QtGui, QtWidgets

Point = tuple[float, float]
# Width of the sign of a line in the legend, with the gaps beside it.
KEY_WIDTH = 34


@dataclass(frozen=True)
class Line:
    """One line or row of dots. color: a name Qt knows; empty for that of the text."""

    label: str
    points: Sequence[Point]
    color: str = ""
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Plot:
    """The contents of a chart.

    shaded: a range of x and its name. logarithmic: the y axis is. empty: text where there are no points.
    """

    lines: Sequence[Line] = ()
    x_label: str = ""
    y_label: str = ""
    shaded: tuple[float, float, str] | None = None
    logarithmic: bool = False
    empty: str = ""


class Chart(QtWidgets.QWidget):
    """Shows a Plot; its size is what the layout gives."""

    def __init__(self, height: int, empty: str) -> None:
        super().__init__()
        self.plot = Plot(empty=empty)
        self.marker: float | None = None
        self.setMinimumHeight(height)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Expanding)

    def show_plot(self, plot: Plot) -> None:
        """Show another plot."""
        if plot != self.plot:
            self.plot = plot
            self.update()

    def set_marker(self, x: float | None) -> None:
        """Draw a line at this x, or none."""
        if x != self.marker:
            self.marker = x
            self.update()

    def paintEvent(self, event: Any) -> None:
        """Draw the chart."""
        painter = QtGui.QPainter(self)
        try:
            painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
            self._paint(painter)
        finally:
            # An exception would leave the painter on the widget, which ends the program.
            painter.end()

    def _paint(self, painter: Any) -> None:
        palette = self.palette()
        painter.fillRect(self.rect(), palette.color(palette.ColorRole.Base))
        points = finite_points(self.plot)
        if not points:
            painter.setPen(palette.color(palette.ColorRole.Mid))
            wrapped = QtGui.QTextOption(QtCore.Qt.AlignmentFlag.AlignCenter)
            painter.drawText(QtCore.QRectF(self.rect()).adjusted(8, 4, -8, -4), self.plot.empty, wrapped)
            return
        drawing = _Drawing(painter, self, points)
        if drawing.area.width() < 20 or drawing.area.height() < 20:
            return
        drawing.draw_shade()
        drawing.draw_axes()
        for line in self.plot.lines:
            drawing.draw_line(line)
        if self.marker is not None:
            drawing.draw_marker(self.marker, palette.color(palette.ColorRole.Highlight))
        drawing.draw_legend()


class _Drawing:
    """One painting of a chart: the place of the plot on the widget, and its parts."""

    def __init__(self, painter: Any, chart: Chart, points: Sequence[Point]) -> None:
        self.painter, self.plot, self.width = painter, chart.plot, chart.width()
        palette = chart.palette()
        self.text = palette.color(palette.ColorRole.WindowText)
        self.faint = palette.color(palette.ColorRole.Mid)
        self.shade = palette.color(palette.ColorRole.AlternateBase)
        self.metrics = painter.fontMetrics()
        self.line_height = self.metrics.height()
        self.legend = [line for line in self.plot.lines if line.label]
        to_y = math.log10 if self.plot.logarithmic else float
        xs = [x for x, _ in points] + list(self.plot.shaded[:2] if self.plot.shaded else ())
        self.x_range, self.y_range = padded_range(xs, 0.015), padded_range([to_y(y) for _, y in points], 0.06)
        if self.plot.logarithmic:
            self.y_marks = decades(*self.y_range)
        else:
            self.y_marks = [(value, _short(value)) for value in round_values(*self.y_range, 4)]
        left = max(self.metrics.horizontalAdvance(label) for _, label in self.y_marks) + 12
        named = self.metrics.horizontalAdvance(self.plot.y_label) + 8 if self.plot.y_label else 0
        self.legend_rows = self._rows(self.legend, self.width - 12)
        # Where the chart is narrow, the lines are named below the name of the axis.
        beside = len(self.legend_rows) == 1 and named + sum(map(self._key_width, self.legend)) <= self.width
        self.legend_top = 2 if beside or not named else 2 + self.line_height
        lines = max(len(self.legend_rows), bool(named)) + (self.legend_top > 2 and bool(self.legend))
        top = lines * self.line_height + 6 if lines else 8
        height = chart.height() - top - 2 * self.line_height - 8
        self.area = QtCore.QRectF(left, top, self.width - left - 12, height)

    def place(self, x: float, y: float) -> Any:
        """Return the place of a point on the widget."""
        (left, right), (bottom, top) = self.x_range, self.y_range
        return QtCore.QPointF(
            self.area.left() + self.area.width() * (x - left) / (right - left),
            self.area.bottom() - self.area.height() * (y - bottom) / (top - bottom),
        )

    def draw_shade(self) -> None:
        """Shade a range of x, and name it."""
        if not self.plot.shaded:
            return
        first, last, name = self.plot.shaded
        shade = QtCore.QRectF(self.place(first, self.y_range[1]), self.place(last, self.y_range[0]))
        self.painter.fillRect(shade, self.shade)
        self.painter.setPen(self.faint)
        corner = QtCore.Qt.AlignmentFlag.AlignBottom | QtCore.Qt.AlignmentFlag.AlignRight
        self.painter.drawText(shade.adjusted(4, 0, -4, -2), corner, name)

    def draw_marker(self, x: float, color: Any) -> None:
        """Draw a line from bottom to top, where x is within the axis."""
        if self.x_range[0] <= x <= self.x_range[1]:
            self.painter.setPen(QtGui.QPen(color, 1.6))
            self.painter.drawLine(self.place(x, self.y_range[0]), self.place(x, self.y_range[1]))

    def draw_axes(self) -> None:
        """Draw the frame, the grid, the numbers and the labels of both axes."""
        painter, area, line = self.painter, self.area, self.line_height
        center, right = QtCore.Qt.AlignmentFlag.AlignCenter, QtCore.Qt.AlignmentFlag.AlignRight
        grid = QtGui.QColor(self.faint)
        grid.setAlpha(90)
        for value, label in self.y_marks:
            at = self.place(self.x_range[0], value)
            painter.setPen(grid)
            painter.drawLine(at, QtCore.QPointF(area.right(), at.y()))
            painter.setPen(self.text)
            box = QtCore.QRectF(0, at.y() - line, area.left() - 6, 2 * line)
            painter.drawText(box, right | QtCore.Qt.AlignmentFlag.AlignVCenter, label)
        painter.setPen(self.text)
        for value in round_values(*self.x_range, max(2, int(area.width() // 45))):
            at = self.place(value, self.y_range[0])
            painter.drawText(QtCore.QRectF(at.x() - 60, area.bottom() + 2, 120, line), center, _short(value))
        below = QtCore.QRectF(area.left(), area.bottom() + 2 + line, area.width(), line)
        painter.drawText(below, center, self.plot.x_label)
        above = QtCore.QRectF(4, 2, self.width, line)
        painter.drawText(above, QtCore.Qt.AlignmentFlag.AlignLeft, self.plot.y_label)
        painter.setPen(self.faint)
        painter.drawRect(area)

    def draw_line(self, line: Line) -> None:
        """Draw one line, or its dots."""
        to_y = math.log10 if self.plot.logarithmic else float
        places = [self.place(x, to_y(y)) for x, y in _drawable(line.points, self.plot.logarithmic)]
        self.painter.setPen(self._pen(line))
        # A line of a single point would not be seen.
        if line.dots or len(places) == 1:
            self.painter.setBrush(self.painter.pen().color())
            for at in places:
                self.painter.drawEllipse(at, 1.8, 1.8)
        elif places:
            self.painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
            self.painter.drawPolyline(QtGui.QPolygonF(places))

    def draw_legend(self) -> None:
        """Name the lines above the plot, from the right."""
        painter = self.painter
        for number, row in enumerate(self.legend_rows):
            top = self.legend_top + number * self.line_height
            x, middle = self.width - 12.0, top + self.line_height / 2
            for line in reversed(row):
                x -= self.metrics.horizontalAdvance(line.label)
                painter.setPen(self.text)
                painter.drawText(QtCore.QPointF(x, top + self.metrics.ascent()), line.label)
                x -= 22
                painter.setPen(self._pen(line))
                if line.dots:
                    painter.setBrush(painter.pen().color())
                    painter.drawEllipse(QtCore.QPointF(x + 10, middle), 2.5, 2.5)
                else:
                    painter.drawLine(QtCore.QPointF(x, middle), QtCore.QPointF(x + 18, middle))
                x -= 12

    def _key_width(self, line: Line) -> int:
        return int(self.metrics.horizontalAdvance(line.label)) + KEY_WIDTH

    def _rows(self, lines: Sequence[Line], width: int) -> list[list[Line]]:
        """Return the lines of the legend in rows that are not wider than this."""
        rows: list[list[Line]] = []
        for line in lines:
            if rows and sum(map(self._key_width, [*rows[-1], line])) <= width:
                rows[-1].append(line)
            else:
                rows.append([line])
        return rows

    def _pen(self, line: Line) -> Any:
        pen = QtGui.QPen(QtGui.QColor(line.color) if line.color else self.text, 1.6)
        if line.dashed:
            pen.setStyle(QtCore.Qt.PenStyle.DashLine)
        return pen


def finite_points(plot: Plot) -> list[Point]:
    """Return the points of all lines that can be drawn."""
    return [point for line in plot.lines for point in _drawable(line.points, plot.logarithmic)]


def _drawable(points: Sequence[Point], logarithmic: bool) -> list[Point]:
    return [point for point in points if all(map(math.isfinite, point)) and (point[1] > 0 or not logarithmic)]


def padded_range(values: Sequence[float], margin: float) -> tuple[float, float]:
    """Return the range of the values and `margin` of its length to both sides; a single value has 0.5 to both."""
    low, high = min(values), max(values)
    if high == low:
        return low - 0.5, high + 0.5
    extra = margin * (high - low)
    return low - extra, high + extra


def round_values(low: float, high: float, count: int) -> list[float]:
    """About `count` values with few digits from low to high."""
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def decades(low: float, high: float) -> list[tuple[float, str]]:
    """Return the marks of a logarithmic axis from 10^low to 10^high, at powers of ten only where it is long."""
    if high - low < 1.0:
        marks = round_values(10.0**low, 10.0**high, 4)
    else:
        digits = (1, 2, 5) if high - low < 2.0 else (1,)
        marks = [m * 10.0**p for p in range(math.floor(low), math.ceil(high) + 1) for m in digits]
    return [(math.log10(m), _short(m)) for m in marks if m > 0 and low <= math.log10(m) <= high]


def _short(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:.6g}"
