"""The time of the live surface: a slider, a number, and playing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pymol.Qt import QtCore, QtGui, QtWidgets

from ...shared.options import PLAYS
from ..widgets import flow, quietly, spin

# Steps of the time slider per state.
PER_STATE = 100
TICK_MS = 33
PREDICTED = ", predicted"
# The first one is the usual one.
MODES = sorted(PLAYS, key=("loop", "bounce", "once").index)


class TimeSlider(QtWidgets.QSlider):
    """The slider of the time, with the range of the fitted states shaded."""

    def __init__(self) -> None:
        super().__init__(QtCore.Qt.Orientation.Horizontal)
        self.fitted = 0, 0

    def set_fitted(self, first: int, last: int) -> None:
        """Shade the range between these values of the slider."""
        self.fitted = first, last
        self.update()

    def shaded_range(self) -> tuple[int, int]:
        """Return the left and the right end of the shaded range, in pixels."""
        style, option = self.style(), QtWidgets.QStyleOptionSlider()
        self.initStyleOption(option)
        sub_controls = QtWidgets.QStyle.SubControl
        groove, handle = (
            style.subControlRect(QtWidgets.QStyle.ComplexControl.CC_Slider, option, control, self)
            for control in (sub_controls.SC_SliderGroove, sub_controls.SC_SliderHandle)
        )
        span = groove.width() - handle.width()
        left, right = (
            groove.left()
            + handle.width() // 2
            + QtWidgets.QStyle.sliderPositionFromValue(self.minimum(), self.maximum(), value, span)
            for value in self.fitted
        )
        return left, right

    def paintEvent(self, event: Any) -> None:
        """Draw the shade, and the slider over it."""
        left, right = self.shaded_range()
        if right > left:
            painter = QtGui.QPainter(self)
            color = QtGui.QColor(self.palette().color(self.palette().ColorRole.Highlight))
            color.setAlpha(70)
            painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
            painter.setPen(QtCore.Qt.PenStyle.NoPen)
            painter.setBrush(color)
            painter.drawRoundedRect(QtCore.QRectF(left, 1, right - left, self.height() - 2), 3, 3)
            painter.end()
        super().paintEvent(event)


class Player(QtCore.QObject):
    """Widgets for the time, and the clock that moves it. moved: the time has changed; paused: it stands still again."""

    moved = QtCore.Signal()
    started = QtCore.Signal()
    paused = QtCore.Signal()

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        self.slider = TimeSlider()
        self.slider.setSingleStep(PER_STATE // 10)
        self.slider.setPageStep(PER_STATE)
        self.slider.setToolTip(
            "Time in states; the fitted range is shaded, and past it the surface is predicted.\n"
            "Continue on the page Simulate makes further states, with atoms"
        )
        self.state = spin(1.0, 1.0, 0.25, 2)
        self.button = QtWidgets.QToolButton()
        self.button.setToolTip("Play and pause (Ctrl+Space)")
        self.button.setShortcut(QtGui.QKeySequence("Ctrl+Space"))
        self.speed = spin(0.1, 500.0, 1.0, 1, " states/s")
        self.speed.setValue(5.0)
        self.mode = QtWidgets.QComboBox()
        self.mode.addItems(MODES)
        self.mode.setToolTip("What happens at the last fitted state")
        self.playing = False
        self._first = self._last = 1.0
        self._direction, self._position, self._last_tick = 1.0, 0.0, 0.0
        self._ticker = QtCore.QTimer(self)
        self._ticker.setInterval(TICK_MS)
        self._ticker.timeout.connect(self._tick)
        self.slider.valueChanged.connect(self._slid)
        self.state.valueChanged.connect(lambda value: self.slider.setValue(round(value * PER_STATE)))
        self.button.clicked.connect(self.toggle)
        self._show_icon()

    def row(self) -> Any:
        """Return the widgets beside each other, without the slider."""
        return flow(self.button, self.state, self.speed, self.mode)

    def set_enabled(self, enabled: bool) -> None:
        """Enable or disable the widgets that need a fit."""
        for widget in (self.slider, self.state, self.button):
            widget.setEnabled(enabled)

    @property
    def time(self) -> float:
        """The time in states."""
        return float(self.slider.value()) / PER_STATE

    def set_range(self, states: Sequence[float], ahead: float, now: float) -> None:
        """Take the range of the fitted states, and `ahead` states after it. now: the time to begin with."""
        self._first, self._last = min(states), max(states)
        with quietly(self.slider, self.state):
            self.slider.setRange(round(self._first * PER_STATE), round((self._last + ahead) * PER_STATE))
            self.slider.setValue(round(now * PER_STATE))
            self.state.setRange(self._first, self._last + ahead)
            self.state.setValue(now)
            # So that the row stands still when the words change.
            self.state.setSuffix(PREDICTED)
            self.state.setMinimumWidth(self.state.sizeHint().width())
        self.slider.set_fitted(round(self._first * PER_STATE), round(self._last * PER_STATE))
        self._show_suffix()

    def toggle(self) -> None:
        """Play, or pause."""
        self.pause() if self.playing else self.play()

    def play(self) -> None:
        """Let the time go on, from the first state where it is past the last one."""
        self.playing = True
        self._show_icon()
        self.started.emit()
        self._last_tick, self._position = time.monotonic(), self.time
        if self.slider.value() >= PER_STATE * self._last:
            self._direction = 1.0
            self.slider.setValue(round(PER_STATE * self._first))
        self._ticker.start()

    def pause(self) -> None:
        """Stop the time."""
        was_playing, self.playing = self.playing, False
        self._show_icon()
        self._ticker.stop()
        if was_playing:
            self.paused.emit()

    def _show_icon(self) -> None:
        icons = QtWidgets.QStyle.StandardPixmap
        icon = icons.SP_MediaPause if self.playing else icons.SP_MediaPlay
        self.button.setIcon(self.button.style().standardIcon(icon))

    def _show_suffix(self) -> None:
        self.state.setSuffix(PREDICTED if self.time > self._last else f" of {self._last:g}")

    def _slid(self, value: int) -> None:
        with quietly(self.state):
            self.state.setValue(value / PER_STATE)
        self._show_suffix()
        if value != round(self._position * PER_STATE):
            self._position = value / PER_STATE
        self.moved.emit()

    def _tick(self) -> None:
        clock = time.monotonic()
        step = self._direction * self.speed.value() * (clock - self._last_tick)
        self._last_tick = clock
        self._position, self._direction, goes_on = advance(
            self._position + step, self._first, self._last, self._direction, self.mode.currentText()
        )
        self.slider.setValue(round(self._position * PER_STATE))
        if not goes_on:
            self.pause()


def advance(at: float, first: float, last: float, direction: float, mode: str) -> tuple[float, float, bool]:
    """Bring a time that went past the ends back as `mode` says.

    Returns the time, the direction from there, and whether it goes on.
    """
    if first <= at <= last:
        return at, direction, True
    if last <= first or mode == "once":
        return (last if at > last else first), 1.0, False
    length = last - first
    if mode == "loop":
        return first + (at - first) % length, direction, True
    # Before the first state is as far after it, on the way back.
    turns, remainder = divmod(abs(at - first), length)
    return (last - remainder, -1.0, True) if turns % 2 else (first + remainder, 1.0, True)
