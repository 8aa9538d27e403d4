"""The look of the live surface: smoothing, level, resolution, colour."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymol.Qt import QtCore, QtWidgets

from ...shared.options import FINE_RESOLUTION, RESOLUTION, AppearanceOptions, MeshOptions
from ..widgets import flow, label, narrow, quietly, spin, swatch

AUTO_SMOOTH, AUTO_RESOLUTION = -0.1, 0.0
# In points: the arrows and the frame of a field for a number, and the slider of the transparency.
ARROWS, SLIDER_WIDTH = 26, 60
COLORS = ("white", "gray70", "skyblue", "palegreen", "wheat", "salmon")


@dataclass(frozen=True)
class ColorChoice:
    """An entry of the colours: one colour for all, or `by` as dsr_color calls it; both are empty for the atoms'."""

    color: str = ""
    by: str = ""


# Between the states, and while the time moves, the surface is calm in either of the first two.
STEADY = {"Calm between the states": None, "Always calm": True, "Exact at the states": False}
BY = {"by motion": "motion", "by speed": "speed", "by velocity": "velocity", "by B factor": "b"}


class SurfaceControls(QtCore.QObject):
    """Widgets for the look. moved: one has changed; recolored: the colour has; faded: the transparency has."""

    moved = QtCore.Signal()
    recolored = QtCore.Signal()
    faded = QtCore.Signal()

    def __init__(self, parent: Any, cmd: Any) -> None:
        super().__init__(parent)
        self._parent = parent
        self._own: float | None = None
        self._color_index = 0
        """That of the colour that the surface has."""
        self.smooth = spin(AUTO_SMOOTH, 100.0, 0.1, 1, " states", "auto")
        self.smooth_slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self.smooth_slider.setRange(0, 100)
        self.smooth_slider.setMinimumWidth(40)
        self.auto_smooth = QtWidgets.QCheckBox("auto")
        self.auto_smooth.setChecked(True)
        for widget in (self.smooth, self.smooth_slider, self.auto_smooth):
            widget.setToolTip("Width of the smoothing over time between the states; needs no new fit")
        self.steady = QtWidgets.QComboBox()
        for text, steady in STEADY.items():
            self.steady.addItem(text, steady)
        self.steady.setToolTip(
            "Calm: averaged over time, so that no detail of a single state comes and goes (steady=1)\n"
            "Exact: meets each fitted state as it is (steady=0)"
        )
        self.transparency = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self.transparency.setRange(0, 100)
        self.transparency.setToolTip("Transparency of the surface, here and in the movie (transparency=)")
        self.level = spin(-10.0, 10.0, 0.1, 2)
        self.level.setToolTip("Distance from the molecular surface in Å, outside positive (level=)")
        self.resolution = spin(AUTO_RESOLUTION, 5.0, 0.1, 2, " Å", "auto")
        self.resolution.setToolTip(
            f"Spacing of the mesh. auto: as fine as keeps this window fluent, and {RESOLUTION} Å in files, or "
            f"{FINE_RESOLUTION} Å of a fit of preset fine"
        )
        self.color = QtWidgets.QComboBox()
        self.color.addItem("by atom", ColorChoice())
        for text, by in BY.items():
            self.color.addItem(text, ColorChoice(by=by))
        for name in COLORS:
            self.color.addItem(swatch(cmd.get_color_tuple(name)), name, ColorChoice(name))
        self.color.addItem("another …", None)
        self.smooth.valueChanged.connect(self._changed_smooth)
        self.smooth_slider.valueChanged.connect(lambda tenths: self.smooth.setValue(tenths / 10.0))
        self.auto_smooth.clicked.connect(self._switch_auto)
        self.steady.activated.connect(self.moved)
        self.transparency.valueChanged.connect(self.faded)
        self.level.valueChanged.connect(self.moved)
        self.resolution.valueChanged.connect(self.moved)
        self.color.activated.connect(self._choose_color)

    def smoothing_row(self) -> Any:
        """Return the widgets of the smoothing beside each other."""
        row = QtWidgets.QHBoxLayout()
        # Narrower than the longest text, which is that of a width that hardly anybody takes.
        self.smooth.setMinimumWidth(self.smooth.fontMetrics().horizontalAdvance("10.0 states") + ARROWS)
        row.addWidget(self.auto_smooth)
        row.addWidget(self.smooth_slider, 1)
        row.addWidget(self.smooth)
        return row

    def color_row(self) -> Any:
        """Return the widgets of colour and transparency beside each other."""
        narrow(self.color)
        self.transparency.setMaximumWidth(SLIDER_WIDTH)
        # They stay together where the row wraps.
        fading = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(fading)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(label("t&ransparent", self.transparency))
        row.addWidget(self.transparency)
        return flow(self.color, fading)

    def set_smoothing(self, states: Sequence[float], own: float | None) -> None:
        """Take the range of widths for these fitted states. own: the fit's own width, None where it is not known."""
        gap = (max(states) - min(states)) / max(1, len(states) - 1)
        widest = max(4.0 * (own or 0.0), 3.0 * gap, 1.0)
        self._own = own
        with quietly(self.smooth_slider):
            self.smooth_slider.setRange(0, round(10 * widest))
        self.smooth.setSpecialValueText("auto" if own is None else f"auto ({own:.1f})")
        self.smooth.setValue(AUTO_SMOOTH)
        self._show_smooth()

    @property
    def width(self) -> float | None:
        """The width of the smoothing in states; None for the fit's own."""
        return None if self.smooth.value() < 0 else float(self.smooth.value())

    @property
    def spacing(self) -> float | None:
        """The resolution in Å; None for auto."""
        return float(self.resolution.value()) or None

    @property
    def coloring(self) -> ColorChoice:
        """The chosen colour."""
        return self.color.currentData() or ColorChoice()

    @property
    def appearance(self) -> AppearanceOptions:
        """The chosen colour, transparency and smoothing at the states."""
        chosen = self.coloring
        transparency = self.transparency.value() / 100.0 or None
        return AppearanceOptions(chosen.color or chosen.by, transparency, self.steady.currentData())

    def mesh_options(self) -> MeshOptions:
        """Return the options of the meshes of movies and files."""
        options = MeshOptions(level=self.level.value(), smooth=self.width)
        return options if self.spacing is None else dataclasses.replace(options, resolution=self.spacing)

    def _switch_auto(self, auto: bool) -> None:
        self.smooth.setValue(AUTO_SMOOTH if auto else round(self._own or 0.0, 1))

    def _changed_smooth(self, _: float) -> None:
        self._show_smooth()
        self.moved.emit()

    def _show_smooth(self) -> None:
        """Show the width in the slider and the box; on auto, the slider stands at the fit's own."""
        width = self.width
        with quietly(self.smooth_slider, self.auto_smooth):
            self.smooth_slider.setValue(round(10.0 * ((self._own or 0.0) if width is None else width)))
            self.auto_smooth.setChecked(width is None)

    def _choose_color(self, index: int) -> None:
        if self.color.itemData(index) is None:
            picked = QtWidgets.QColorDialog.getColor(parent=self._parent)
            if not picked.isValid():
                self.color.setCurrentIndex(self._color_index)
                return
            name = f"0x{picked.red():02x}{picked.green():02x}{picked.blue():02x}"
            self.color.insertItem(index, swatch(picked.getRgbF()[:3]), name, ColorChoice(name))
            self.color.setCurrentIndex(index)
        self._color_index = index
        self.recolored.emit()
