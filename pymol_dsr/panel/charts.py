"""Lines over states or steps, drawn with the window's own colours: the loss curve and the quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymol.Qt import QtCore, QtGui, QtWidgets

Point = tuple[float, float]


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
    """What a chart shows. shaded: a range of x and its name; logarithmic: the y axis; empty: said without points."""

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
        self.setMinimumHeight(height)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Expanding)

    def show_plot(self, plot: Plot) -> None:
        if plot != self.plot:
            self.plot = plot
            self.update()

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        try:
            painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
            self._paint(painter)
        finally:
            # An exception would leave the painter on the widget, which ends the program.
            painter.end()

    def _paint(self, painter: Any) -> None:
        plot, palette = self.plot, self.palette()
        text, faint = palette.color(palette.ColorRole.WindowText), palette.color(palette.ColorRole.Mid)
        metrics = painter.fontMetrics()
        line = metrics.height()
        painter.fillRect(self.rect(), palette.color(palette.ColorRole.Base))
        points = [p for one in plot.lines for p in one.points if all(map(math.isfinite, p))]
        if plot.logarithmic:
            points = [p for p in points if p[1] > 0]
        if not points:
            painter.setPen(faint)
            painter.drawText(self.rect(), QtCore.Qt.AlignmentFlag.AlignCenter, plot.empty)
            return
        to_y = math.log10 if plot.logarithmic else float
        xs, ys = [p[0] for p in points], [to_y(p[1]) for p in points]
        if plot.shaded:
            xs += plot.shaded[:2]
        (low_x, high_x), (low, high) = _room(xs, 0.015), _room(ys, 0.06)
        marks_y = _decades(low, high) if plot.logarithmic else [(v, _short(v)) for v in _round_values(low, high, 4)]
        legend = [one for one in plot.lines if one.label]
        left = max(metrics.horizontalAdvance(label) for _, label in marks_y) + 12
        top = line + 6 if plot.y_label or legend else 8
        area = QtCore.QRectF(left, top, self.width() - left - 12, self.height() - top - 2 * line - 8)
        if area.width() < 20 or area.height() < 20:
            return

        def place(x: float, y: float) -> Any:
            return QtCore.QPointF(
                area.left() + area.width() * (x - low_x) / (high_x - low_x),
                area.bottom() - area.height() * (y - low) / (high - low),
            )

        if plot.shaded:
            first, last, name = plot.shaded
            shade = QtCore.QRectF(place(first, high), place(last, low))
            painter.fillRect(shade, palette.color(palette.ColorRole.AlternateBase))
            painter.setPen(faint)
            painter.drawText(
                shade.adjusted(4, 0, -4, -2),
                QtCore.Qt.AlignmentFlag.AlignBottom | QtCore.Qt.AlignmentFlag.AlignRight,
                name,
            )
        grid = QtGui.QColor(faint)
        grid.setAlpha(90)
        for value, label in marks_y:
            at = place(low_x, value)
            painter.setPen(grid)
            painter.drawLine(at, QtCore.QPointF(area.right(), at.y()))
            painter.setPen(text)
            painter.drawText(
                QtCore.QRectF(0, at.y() - line, left - 6, 2 * line),
                QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter,
                label,
            )
        for value in _round_values(low_x, high_x, max(2, int(area.width() // 45))):
            at = place(value, low)
            painter.setPen(text)
            painter.drawText(
                QtCore.QRectF(at.x() - 60, area.bottom() + 2, 120, line),
                QtCore.Qt.AlignmentFlag.AlignCenter,
                _short(value),
            )
        painter.drawText(
            QtCore.QRectF(area.left(), area.bottom() + 2 + line, area.width(), line),
            QtCore.Qt.AlignmentFlag.AlignCenter,
            plot.x_label,
        )
        painter.drawText(QtCore.QRectF(4, 2, self.width(), line), QtCore.Qt.AlignmentFlag.AlignLeft, plot.y_label)
        painter.setPen(faint)
        painter.drawRect(area)
        for one in plot.lines:
            self._draw_line(painter, one, plot, place, text)
        at_x = self.width() - 12.0
        for one in reversed(legend):
            at_x -= metrics.horizontalAdvance(one.label)
            painter.setPen(text)
            painter.drawText(QtCore.QPointF(at_x, 2 + metrics.ascent()), one.label)
            at_x -= 22
            painter.setPen(self._pen(one, text))
            middle = 2 + line / 2
            if one.dots:
                painter.setBrush(painter.pen().color())
                painter.drawEllipse(QtCore.QPointF(at_x + 10, middle), 2.5, 2.5)
            else:
                painter.drawLine(QtCore.QPointF(at_x, middle), QtCore.QPointF(at_x + 18, middle))
            at_x -= 12

    def _pen(self, one: Line, text: Any) -> Any:
        pen = QtGui.QPen(QtGui.QColor(one.color) if one.color else text, 1.6)
        if one.dashed:
            pen.setStyle(QtCore.Qt.PenStyle.DashLine)
        return pen

    def _draw_line(self, painter: Any, one: Line, plot: Plot, place: Any, text: Any) -> None:
        shown = [p for p in one.points if all(map(math.isfinite, p)) and not (plot.logarithmic and p[1] <= 0)]
        places = [place(x, math.log10(y) if plot.logarithmic else y) for x, y in shown]
        painter.setPen(self._pen(one, text))
        # A line of a single point would not be seen.
        if one.dots or len(places) == 1:
            painter.setBrush(painter.pen().color())
            for at in places:
                painter.drawEllipse(at, 1.8, 1.8)
        elif places:
            painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
            painter.drawPolyline(QtGui.QPolygonF(places))


def _room(values: Sequence[float], margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high == low:
        return low - 0.5, high + 0.5
    extra = margin * (high - low)
    return low - extra, high + extra


def _round_values(low: float, high: float, count: int) -> list[float]:
    """About `count` values with few digits from low to high."""
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _decades(low: float, high: float) -> list[tuple[float, str]]:
    """Marks of a logarithmic axis from 10^low to 10^high, at powers of ten only where it is long."""
    if high - low < 1.0:
        marks = _round_values(10.0**low, 10.0**high, 4)
    else:
        digits = (1, 2, 5) if high - low < 2.0 else (1,)
        marks = [m * 10.0**p for p in range(math.floor(low), math.ceil(high) + 1) for m in digits]
    return [(math.log10(m), _short(m)) for m in marks if m > 0 and low <= math.log10(m) <= high]


def _short(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:.6g}"
