"""Buttons that stand above the tabs until there is something to work with."""

from __future__ import annotations

from typing import Any

from pymol.Qt import QtWidgets

from ..commands.example import ExampleOptions, show_example
from ..commands.running import Runner
from .tabs.fit import molecules


class FirstSteps(QtWidgets.QWidget):
    """Offers the example while the scene has no molecule and the session no fit."""

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self._panel = panel
        self._busy = False
        self.try_button = QtWidgets.QPushButton("Try it: the moving surface of a small protein")
        self.try_button.setToolTip("Loads Trp-cage, which comes with the plugin, and plays its surface (dsr_example)")
        self.try_button.clicked.connect(self.try_it)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.try_button)

    def refresh(self) -> None:
        """Show the button where nothing is loaded yet."""
        self.try_button.setEnabled(not self._busy)
        self.setVisible(self._busy or not (self._panel.session.jobs.fits or molecules(self._panel.cmd)))

    def try_it(self) -> None:
        """Show the example, in the background."""
        self._busy = True
        self.refresh()
        panel, session = self._panel, self._panel.session
        panel.say("")
        panel.run(
            "dsr_example",
            lambda: show_example(session, ExampleOptions(), Runner("dsr_example"), panel.cmd),
            self._shown,
            self._ended,
        )

    def _shown(self, name: str) -> None:
        self._ended(None)
        self._panel.say(f"{name} plays; the page Play shows it at any time")

    def _ended(self, _: Any) -> None:
        self._busy = False
        self.refresh()
