"""The titles of the bars of colours over PyMOL's scene."""

from __future__ import annotations

from typing import Any

from pymol.Qt import QtCore, QtWidgets

from ..scene.bar_title import bar_title, enabled_bars
from ..scene.palettes import luminance

# Height of the upper edge of PyMOL's ramps, in shorter sides of the scene.
RAMP_TOP = 0.12
# Luminance of the background from which the text is dark.
BRIGHT = 0.2
# Pixels between the text and the bar.
GAP = 3


class BarTitle(QtWidgets.QLabel):
    """A line of text above the bars, on a plate in the colour of the background; the mouse goes through it."""

    def __init__(self, canvas: Any, cmd: Any) -> None:
        super().__init__(canvas)
        self._cmd = cmd
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    def refresh(self) -> None:
        """Show the titles of the bars that are switched on now, above their usual place."""
        cmd = self._cmd
        titles = [bar_title(bar, cmd) for bar in enabled_bars(cmd)]
        if not titles:
            self.hide()
            return
        background = cmd.get_color_tuple(cmd.get("bg_rgb"))
        shades = ", ".join(f"{round(255 * channel)}" for channel in background)
        ink = "black" if luminance(background) > BRIGHT else "white"
        # On a plate: nothing is seen through a widget over PyMOL's scene.
        self.setStyleSheet(f"background-color: rgb({shades}); color: {ink}; padding: 0 4px")
        self.setText("; ".join(titles))
        self.adjustSize()
        width, height = cmd.get_viewport()
        scale = self.devicePixelRatioF()
        top = (height - RAMP_TOP * min(width, height)) / scale
        self.move(round(0.5 * (width / scale - self.width())), round(top - self.height() - GAP))
        self.show()
