"""The pages of the window: buttons that wrap where it is narrow, and pages that scroll where it is low."""

from __future__ import annotations

from typing import Any

from pymol.Qt import QtCore, QtWidgets

from .widgets import Flow

STYLE = (
    "QToolButton { border: none; border-bottom: 3px solid transparent; padding: 4px 7px; }"
    "QToolButton:checked { border-bottom-color: palette(highlight); }"
    "QToolButton:hover, QToolButton:focus { background: palette(midlight); }"
)


class PageArea(QtWidgets.QScrollArea):
    """A page that scrolls where it is low, as high as the rows that wrap need at its width.

    Where its bar decides whether a row wraps, Qt gives the page the height that it would have without the bar.
    """

    def __init__(self, page: Any) -> None:
        super().__init__()
        self.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setWidget(page)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Take the events of the page, as Qt does, and fit its height where its width or a row has changed."""
        handled = super().eventFilter(watched, event)
        if watched is self.widget() and event.type() in (QtCore.QEvent.Type.Resize, QtCore.QEvent.Type.LayoutRequest):
            # A form keeps the heights of its rows for the width that it was asked about last.
            forget_sizes(watched.layout())
            needed = max(0, watched.layout().totalHeightForWidth(watched.width()))
            if watched.minimumHeight() != needed:
                watched.setMinimumHeight(needed)
        return bool(handled)


def forget_sizes(layout: Any) -> None:
    """Have a layout and those in it ask their widgets for their sizes again."""
    for number in range(layout.count()):
        inner = layout.itemAt(number).layout()
        if inner is not None:
            forget_sizes(inner)
    layout.invalidate()


class Pages(QtWidgets.QWidget):
    """Shows one of several pages. Qt's tab widget, used alike, hides tabs that a narrow window can't hold."""

    currentChanged = QtCore.Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._buttons = QtWidgets.QButtonGroup(self)
        self._bar = QtWidgets.QWidget()
        self._bar.setStyleSheet(STYLE)
        self._flow = Flow(self._bar, spacing=0)
        self._stack = QtWidgets.QStackedWidget()
        self._pages: list[Any] = []
        line = QtWidgets.QFrame()
        line.setFrameShape(QtWidgets.QFrame.Shape.HLine)
        line.setFrameShadow(QtWidgets.QFrame.Shadow.Sunken)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._bar)
        layout.addWidget(line)
        layout.addWidget(self._stack, 1)
        self._buttons.buttonClicked.connect(lambda button: self._show(self._buttons.id(button)))
        self._stack.currentChanged.connect(self.currentChanged)

    def addTab(self, page: Any, title: str) -> None:
        """Add a page, with a button of that title."""
        button = QtWidgets.QToolButton()
        button.setText(title)
        button.setCheckable(True)
        number = len(self._pages)
        self._buttons.addButton(button, number)
        self._flow.addWidget(button)
        self._pages.append(page)
        self._stack.addWidget(PageArea(page))
        button.setChecked(number == 0)

    def currentWidget(self) -> Any:
        """Return the page in view."""
        return self._pages[self._stack.currentIndex()] if self._pages else None

    def setCurrentWidget(self, page: Any) -> None:
        """Show a page."""
        self._show(self._pages.index(page))

    def pages(self) -> list[Any]:
        """Return all pages."""
        return list(self._pages)

    def titles(self) -> list[str]:
        """Return the titles of all pages."""
        return [button.text() for button in self._buttons.buttons()]

    def _show(self, number: int) -> None:
        self._buttons.button(number).setChecked(True)
        self._stack.setCurrentIndex(number)
