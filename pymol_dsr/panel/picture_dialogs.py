"""Dialogs for the size and the drawing of films and stills, which say before what will be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymol.Qt import QtCore, QtWidgets

from ..shared.picture_options import SIZES, FilmOptions, PictureOptions
from .widgets import spin, wrapped_label

AS_THE_VIEW = "as the view"
AUTO_SECONDS = 0.0


class PictureDialog(QtWidgets.QDialog):
    """Asks for the size of pictures and whether they are ray-traced.

    describe: says in a line what options come to. done: called with the options where the user goes on.
    """

    def __init__(self, parent: Any, title: str, describe: Callable[[Any], str], done: Callable[[Any], None]) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self._describe = describe
        self.size_name = QtWidgets.QComboBox()
        self.size_name.addItem(AS_THE_VIEW, "")
        for name, (width, height) in SIZES.items():
            self.size_name.addItem(f"{name} ({width} × {height})", name)
        self.ray = QtWidgets.QCheckBox("Ray-traced: slow and fine; the window waits for each picture")
        self.summary = wrapped_label()
        self.buttons = QtWidgets.QDialogButtonBox()
        self.save = self.buttons.addButton("Save …", QtWidgets.QDialogButtonBox.ButtonRole.AcceptRole)
        self.buttons.addButton(QtWidgets.QDialogButtonBox.StandardButton.Cancel)
        self.form = QtWidgets.QFormLayout()
        self.form.addRow("Si&ze", self.size_name)
        self.form.addRow("", self.ray)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addLayout(self.form)
        layout.addWidget(self.summary)
        layout.addWidget(self.buttons)
        self.size_name.currentIndexChanged.connect(self.refresh)
        self.ray.toggled.connect(self.refresh)
        self.buttons.rejected.connect(self.reject)
        self.buttons.accepted.connect(self.accept)
        self.accepted.connect(lambda: done(self.options()))
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)

    def options(self) -> PictureOptions:
        """Return the chosen options."""
        return PictureOptions(size=self.size_name.currentData(), ray=self.ray.isChecked())

    def refresh(self, *_: Any) -> None:
        """Say what the chosen options come to."""
        self.summary.setText(self._describe(self.options()))

    def open_with_summary(self) -> None:
        """Show the dialog; the window stays usable meanwhile."""
        self.refresh()
        self.show()


class FilmDialog(PictureDialog):
    """Asks for the length of a film, too."""

    def __init__(self, parent: Any, describe: Callable[[Any], str], done: Callable[[Any], None]) -> None:
        super().__init__(parent, "Save the movie as a film", describe, done)
        self.seconds = spin(AUTO_SECONDS, 3600.0, 1.0, 1, " s", "as the movie plays")
        self.bounce = QtWidgets.QCheckBox("Back and forth")
        self.smooth_edges = QtWidgets.QCheckBox("Smooth edges: pictures are drawn twice as wide and high first")
        self.form.addRow("&Length", self.seconds)
        self.form.addRow("", self.bounce)
        self.form.addRow("", self.smooth_edges)
        self.seconds.valueChanged.connect(self.refresh)
        self.bounce.toggled.connect(self.refresh)
        self.smooth_edges.toggled.connect(self.refresh)

    def options(self) -> FilmOptions:
        """Return the chosen options."""
        return FilmOptions(
            size=self.size_name.currentData(),
            ray=self.ray.isChecked(),
            supersampling=2 if self.smooth_edges.isChecked() else 1,
            seconds=self.seconds.value() or None,
            bounce=self.bounce.isChecked(),
        )
