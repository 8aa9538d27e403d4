"""Widgets and helpers of several tabs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pymol.Qt import QtGui, QtWidgets

from ..shared.paths import file_to_write


@contextlib.contextmanager
def quietly(*widgets: Any) -> Iterator[None]:
    """Block the signals of the widgets within the block."""
    before = [widget.blockSignals(True) for widget in widgets]
    try:
        yield
    finally:
        for widget, blocked in zip(widgets, before, strict=True):
            widget.blockSignals(blocked)


def offer(combo: Any, names: Sequence[str], chosen: str = "") -> None:
    """Fill a combo box without a signal; `chosen` stays chosen, otherwise the first is."""
    with quietly(combo):
        combo.clear()
        combo.addItems(names)
        combo.setCurrentIndex(max(0, combo.findText(chosen)) if names else -1)


def spin(low: float, high: float, step: float, decimals: int, suffix: str = "", special: str = "") -> Any:
    """Return a field for a number, at 0 or the nearest to it; at the lowest one where `special` stands for that."""
    box = QtWidgets.QDoubleSpinBox()
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setDecimals(decimals)
    box.setSuffix(suffix)
    box.setSpecialValueText(special)
    box.setValue(low if special else max(low, min(high, 0.0)))
    # A half-typed number must not count.
    box.setKeyboardTracking(False)
    return box


def label(text: str, buddy: Any) -> Any:
    """Return a label whose underlined letter leads to `buddy`, for rows that are layouts."""
    widget = QtWidgets.QLabel(text)
    widget.setBuddy(buddy)
    return widget


def save_table(parent: Any, name: str, write: Callable[[str], Any]) -> str:
    """Ask where, and `write` a table to that path; the path, or an empty text where the user cancels.

    Raises OSError, and ValueError where it can't be written there.
    """
    path: str
    path, _ = QtWidgets.QFileDialog.getSaveFileName(parent, "Save table", name, "Table (*.csv)")
    if path:
        path = file_to_write(path if path.lower().endswith(".csv") else f"{path}.csv", (".csv",), "file")
        write(path)
    return path


def swatch(rgb: Sequence[float]) -> Any:
    """Return an icon of one colour."""
    pixmap = QtGui.QPixmap(12, 12)
    pixmap.fill(QtGui.QColor.fromRgbF(*rgb))
    return QtGui.QIcon(pixmap)
