"""Widgets and helpers of several tabs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pymol.Qt import QtCore, QtGui, QtWidgets

from ..shared.paths import file_to_write

# Colours of texts on a light and on a dark window.
TONES = {"good": ("#2e7d32", "#81c784"), "bad": ("#c62828", "#ef9a9a"), "warning": ("#9a5b00", "#ffcc80")}


def tone(kind: str) -> str:
    """Return the style of a good or bad text, or of a warning, that is readable on this window's colours."""
    palette = QtWidgets.QApplication.palette()
    return f"color: {TONES[kind][palette.color(palette.ColorRole.Window).lightness() < 128]}"


class Flow(QtWidgets.QLayout):
    """Places widgets beside each other, and goes on below where the width ends."""

    def __init__(self, parent: Any = None, spacing: int = 6) -> None:
        super().__init__(parent)
        self._items: list[Any] = []
        self._spacing = spacing
        self.setContentsMargins(0, 0, 0, 0)

    def addItem(self, item: Any) -> None:
        """Take an item after the others."""
        self._items.append(item)

    def count(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def itemAt(self, number: int) -> Any:
        """Return an item, or None."""
        return self._items[number] if 0 <= number < len(self._items) else None

    def takeAt(self, number: int) -> Any:
        """Remove an item and return it, or None."""
        return self._items.pop(number) if 0 <= number < len(self._items) else None

    def expandingDirections(self) -> Any:
        """Take no more room than the items need."""
        return QtCore.Qt.Orientations(QtCore.Qt.Orientation.Horizontal)

    def hasHeightForWidth(self) -> bool:
        """Say that a narrow row is higher."""
        return True

    def heightForWidth(self, width: int) -> int:
        """Return the height at this width."""
        return self._place(QtCore.QRect(0, 0, width, 0), moves=False)

    def setGeometry(self, area: Any) -> None:
        """Place the items in this area."""
        super().setGeometry(area)
        self._place(area, moves=True)

    def sizeHint(self) -> Any:
        """Return the size of all items in one row."""
        sizes = [item.sizeHint() for item in self._items if not item.isEmpty()]
        width = sum(size.width() for size in sizes) + self._spacing * max(0, len(sizes) - 1)
        return QtCore.QSize(width, max((size.height() for size in sizes), default=0))

    def minimumSize(self) -> Any:
        """Return the size of the largest item."""
        size = QtCore.QSize()
        for item in self._items:
            size = size.expandedTo(item.minimumSize())
        return size

    def _place(self, area: Any, moves: bool) -> int:
        """Place the items row by row; the height that they take."""
        rows: list[list[Any]] = [[]]
        x = 0
        for item in self._items:
            if item.isEmpty():
                continue
            width = item.sizeHint().width()
            if rows[-1] and x + width > area.width():
                rows.append([])
                x = 0
            rows[-1].append(item)
            x += width + self._spacing
        y = 0
        for row in rows:
            height = max((item.sizeHint().height() for item in row), default=0)
            x = 0
            for item in row:
                size = item.sizeHint()
                if moves:
                    top = area.y() + y + (height - size.height()) // 2
                    item.setGeometry(QtCore.QRect(area.x() + x, top, min(size.width(), area.width()), size.height()))
                x += size.width() + self._spacing
            y += height + self._spacing
        return max(0, y - self._spacing)


def flow(*widgets: Any) -> Any:
    """Return a row of widgets that wraps where the window is narrow."""
    row = Flow()
    for widget in widgets:
        row.addWidget(widget)
    return row


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


def offer_beside_typed(combo: Any, names: Sequence[str], usual: int = 0) -> None:
    """Fill an editable combo box without a signal. A typed text stays; one that was offered, and is no more, gives way.

    usual: number of the name that is chosen then.
    """
    text, known = combo.currentText(), [combo.itemText(number) for number in range(combo.count())]
    lost, added = set(known) - set(names), set(names) - set(known)
    if lost == {text} and len(added) == 1:
        # The molecule has another name now.
        [text] = added
    stays = bool(text) and (text in names or text not in known)
    with quietly(combo):
        combo.clear()
        combo.addItems(names)
        combo.setEditText(text if stays else names[usual] if usual < len(names) else "")


def typed_combo(hint: str, placeholder: str = "") -> Any:
    """Return a combo box that a user may also type into."""
    combo = QtWidgets.QComboBox()
    combo.setEditable(True)
    combo.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
    combo.setToolTip(hint)
    combo.lineEdit().setPlaceholderText(placeholder)
    return combo


def narrow(combo: Any) -> None:
    """Let a combo box be narrower than its longest entry."""
    combo.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)


class NumberField(QtWidgets.QDoubleSpinBox):
    """A field for a number, with the decimal point of commands in all countries. A typed comma becomes a point.

    Qt would take 0,5 for 5 where numbers have a point, and 0.5 for 5 where they have a comma: for thousands. Whole
    numbers take neither, so that 1,000 is 1000.
    """

    def __init__(self) -> None:
        super().__init__()
        plain = QtCore.QLocale.c()
        plain.setNumberOptions(QtCore.QLocale.NumberOption.OmitGroupSeparator)
        self.setLocale(plain)

    def validate(self, text: str, position: int) -> Any:
        """Say whether a typed text is a number, or may become one; the text has a point in place of a comma.

        A key that makes neither is not taken.
        """
        text = self._with_point(text)
        if not self.decimals() and "." in text.removesuffix(self.suffix()):
            return QtGui.QValidator.State.Invalid, text, position
        return super().validate(text, position)

    def valueFromText(self, text: str) -> float:
        """Return the number of a text."""
        return float(super().valueFromText(self._with_point(text)))

    def _with_point(self, text: str) -> str:
        number = text.removesuffix(self.suffix())
        return number.replace(",", ".") + text[len(number) :]


def spin(low: float, high: float, step: float, decimals: int, suffix: str = "", special: str = "") -> Any:
    """Return a field for a number, at 0 or the nearest to it; at the lowest one where `special` stands for that."""
    box = NumberField()
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setDecimals(decimals)
    box.setSuffix(suffix)
    box.setSpecialValueText(special)
    box.setValue(low if special else max(low, min(high, 0.0)))
    # A half-typed number must not count.
    box.setKeyboardTracking(False)
    return box


class ReportBox(QtWidgets.QPlainTextEdit):
    """A field for lines and tables, whose columns stand below each other. empty: its text without any."""

    _said = QtCore.Signal(str)

    def __init__(self, empty: str) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setPlaceholderText(empty)
        self.document().setDefaultFont(QtGui.QFontDatabase.systemFont(QtGui.QFontDatabase.SystemFont.FixedFont))
        self._said.connect(self.appendPlainText)

    def print_line(self, line: str) -> None:
        """Print a line, and show it here; called in any thread."""
        print(line)
        self._said.emit(line.removeprefix(" "))


def fold_button(title: str) -> Any:
    """Return a button that folds something out and in, with an arrow that says which."""
    button = QtWidgets.QToolButton()
    button.setText(title)
    button.setCheckable(True)
    button.setAutoRaise(True)
    button.setToolButtonStyle(QtCore.Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    button.setArrowType(QtCore.Qt.ArrowType.RightArrow)
    arrows = QtCore.Qt.ArrowType.RightArrow, QtCore.Qt.ArrowType.DownArrow
    button.toggled.connect(lambda unfolded: button.setArrowType(arrows[unfolded]))
    return button


def question_box(text: Any, *answers: Any) -> Any:
    """Return a hidden row with the label of a question and the buttons that answer it."""
    box = QtWidgets.QWidget()
    row = QtWidgets.QHBoxLayout(box)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(text, 1)
    for button in answers:
        row.addWidget(button)
    box.hide()
    return box


def label(text: str, buddy: Any) -> Any:
    """Return a label whose underlined letter leads to `buddy`, for rows that are layouts."""
    widget = QtWidgets.QLabel(text)
    widget.setBuddy(buddy)
    # Qt draws the letter apart from the others, without their kerning, and does not count that.
    widget.setMinimumWidth(widget.sizeHint().width() + 2)
    return widget


class WrappedLabel(QtWidgets.QLabel):
    """A label that wraps its text, and is as narrow as its row.

    Qt would make the window as wide as its longest word, as the name of an object. With a least width that is set, a
    form gives the label the height that it needs at that width: a row for each word.
    """

    def minimumSizeHint(self) -> Any:
        """Ask for no width."""
        return QtCore.QSize(1, super().minimumSizeHint().height())


def wrapped_label(text: str = "") -> Any:
    """Return a label that wraps its text, and is as narrow as its row."""
    return WrappedLabel(text, wordWrap=True)


def with_ending(path: str, endings: Sequence[str], usual: str = "") -> str:
    """Return a path with one of these endings, each with its dot; without one it gets `usual`, or the first one."""
    return path if path.lower().endswith(tuple(endings)) else path + (usual or endings[0])


def save_table(parent: Any, name: str, write: Callable[[str], list[str]], say: Callable[[str, bool], None]) -> None:
    """Ask where, and write a table to that path.

    write: returns the files that it wrote. say: called with a line about them, or with the reason why there are none
    and True.
    """
    path, _ = QtWidgets.QFileDialog.getSaveFileName(parent, "Save table", name, "Table (*.csv)")
    if not path:
        return
    try:
        written = write(file_to_write(with_ending(path, (".csv",)), (".csv",), "file"))
    except (OSError, ValueError) as error:
        say(str(error), True)
    else:
        say(f"written: {', '.join(written)}", False)


def swatch(rgb: Sequence[float]) -> Any:
    """Return an icon of one colour."""
    pixmap = QtGui.QPixmap(12, 12)
    pixmap.fill(QtGui.QColor.fromRgbF(*rgb))
    return QtGui.QIcon(pixmap)
