"""Steps of a user in a real PyMOL window: generators that yield the milliseconds to wait before they go on."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Iterator
from typing import Any

from pymol import cmd
from pymol.Qt import QtCore, QtWidgets
from PyQt5 import QtTest

# PyQt5's stubs take its static methods for others.
QTEST: Any = QtTest.QTest
OUT = os.environ["DSR_GUI_OUT"]
# Milliseconds until the window is complete, and between two looks at a condition; seconds to wait for one at most.
START, LOOK, PATIENCE = 1500, 20, 150
# Pixels of a field beside its text.
FIELD_MARGIN = 8


def wait_until(condition: Any) -> Iterator[int]:
    """Wait until condition() is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        yield LOOK


def click(widget: Any) -> None:
    assert widget.isVisible() and widget.isEnabled(), widget
    QTEST.mouseClick(widget, QtCore.Qt.MouseButton.LeftButton)


def window() -> Any:
    import pymol.gui

    return pymol.gui.get_qtwindow()


def run(steps: Iterator[int], report: dict[str, Any]) -> None:
    """Go through the steps, write the report, with the error that ended them, to report.json, and quit PyMOL."""
    QtCore.QTimer.singleShot(START, lambda: _next_step(steps, report))


def _next_step(steps: Iterator[int], report: dict[str, Any]) -> None:
    try:
        wait = next(steps)
    except StopIteration:
        _finish(report, "")
    except BaseException:  # noqa: BLE001 - whatever it is, the test reports it
        _finish(report, traceback.format_exc())
    else:
        QtCore.QTimer.singleShot(wait, lambda: _next_step(steps, report))


def _finish(report: dict[str, Any], error: str) -> None:
    report["error"] = error
    if error:
        QtWidgets.QApplication.primaryScreen().grabWindow(0).save(os.path.join(OUT, "error.png"))
        report["log"] = window().browser.toPlainText()
    with open(os.path.join(OUT, "report.json"), "w") as stream:
        json.dump(report, stream)
    cmd.quit()


def clipped(page):
    """Names of visible widgets of a page that are narrower than their text or hint needs, or past its edge."""
    names = []
    for field in page.findChildren(QtWidgets.QLineEdit):
        hint = field.placeholderText()
        if hint and field.isVisible() and field.fontMetrics().horizontalAdvance(hint) > field.width() - FIELD_MARGIN:
            names.append(f"QLineEdit {hint}")
    for widget in page.findChildren(QtWidgets.QWidget):
        if not widget.isVisible() or widget.parent() not in (page, getattr(page, "body", None)):
            continue
        is_line = isinstance(widget, QtWidgets.QLabel) and not widget.wordWrap()
        right = widget.mapTo(page, QtCore.QPoint(widget.width(), 0)).x()
        is_button = isinstance(widget, (QtWidgets.QPushButton, QtWidgets.QToolButton, QtWidgets.QCheckBox))
        if right > page.width() or ((is_button or is_line) and widget.width() < widget.sizeHint().width()):
            names.append(f"{type(widget).__name__} {getattr(widget, 'text', str)()}")
    return names


def squeezed(page):
    """Names of visible fields of a page that lie over one another, or that the page cuts off below."""
    kinds = (QtWidgets.QAbstractButton, QtWidgets.QComboBox, QtWidgets.QAbstractSpinBox, QtWidgets.QAbstractSlider)
    fields = [
        widget
        for widget in page.findChildren(QtWidgets.QWidget)
        if isinstance(widget, (*kinds, QtWidgets.QLabel)) and widget.isVisible() and widget.parent() is page
    ]
    areas = [(field, field.geometry()) for field in fields]
    names = [type(field).__name__ for field, area in areas if area.bottom() > page.height()]
    for number, (field, area) in enumerate(areas):
        for neighbor, neighbor_area in areas[:number]:
            common = area.intersected(neighbor_area)
            if common.width() > 2 and common.height() > 2:
                names.append(
                    f"{type(field).__name__} over {type(neighbor).__name__} {getattr(neighbor, 'text', str)()}"
                )
    return names
