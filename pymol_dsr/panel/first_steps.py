"""Buttons that stand above the tabs until there is something to work with."""

from __future__ import annotations

from typing import Any

from pymol.Qt import QtWidgets

from ..backend.process import LaunchError
from ..commands.example import ExampleOptions, show_example
from ..commands.install import install_program
from ..commands.running import Runner
from ..runtime.install import torch_index
from .tabs.fit import molecules


class FirstSteps(QtWidgets.QWidget):
    """Offers to install the compute program where there is none, and the example while nothing is loaded."""

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self._panel = panel
        self._is_trying = self._is_installing = False
        self.missing = QtWidgets.QLabel()
        self.missing.setWordWrap(True)
        self.install_button = QtWidgets.QPushButton("Install here")
        self.install_button.clicked.connect(self.install_or_cancel)
        self.try_button = QtWidgets.QPushButton("Try it: the moving surface of a small protein")
        self.try_button.setToolTip("Loads Trp-cage, which comes with the plugin, and plays its surface (dsr_example)")
        self.try_button.clicked.connect(self.try_it)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.missing, self.install_button, self.try_button):
            layout.addWidget(widget)

    def refresh(self) -> None:
        """Show what there is to begin with."""
        session = self._panel.session
        is_missing = self._is_installing or not self._has_program()
        is_empty = not (session.jobs.fits or molecules(self._panel.cmd))
        self.missing.setText(
            f"Installing: {session.installer.line}"
            if self._is_installing
            else "The compute program is not on this machine yet. Installing it takes minutes, and 1.1 GB in the "
            "folder of fits (several GB with an NVIDIA card). For one that is elsewhere: dsr_set backend"
        )
        self.install_button.setText("Cancel" if self._is_installing else "Install here")
        self.missing.setVisible(is_missing)
        self.install_button.setVisible(is_missing)
        self.try_button.setVisible(self._is_trying or (is_empty and not is_missing))
        self.try_button.setEnabled(not self._is_trying)
        self.setVisible(is_missing or self._is_trying or is_empty)

    def _has_program(self) -> bool:
        session = self._panel.session
        if session.jobs.connection.running:
            return True
        try:
            session.settings.backend_command()
        except LaunchError:
            return False
        return True

    def install_or_cancel(self) -> None:
        """Install the compute program in the background, or stop that."""
        panel, session = self._panel, self._panel.session
        if self._is_installing:
            session.installer.cancel()
            return
        self._is_installing = True
        self.refresh()
        panel.say("")
        panel.run(
            "dsr_install",
            lambda: install_program(session, torch_index(), Runner("dsr_install")),
            self._installed,
            self._ended,
        )

    def _installed(self, _: Any) -> None:
        self._ended(None)
        self._panel.say("The compute program is installed")

    def try_it(self) -> None:
        """Show the example, in the background."""
        self._is_trying = True
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
        self._is_trying = self._is_installing = False
        self.refresh()
