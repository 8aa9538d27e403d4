"""Buttons that stand above the tabs until there is something to work with."""

from __future__ import annotations

import os
import shlex
from typing import Any

from pymol.Qt import QtWidgets

from ..backend.process import LaunchError
from ..commands.example import ExampleOptions, show_example
from ..commands.install import install_program
from ..commands.running import Runner
from ..runtime.install import torch_index
from ..runtime.settings import SettingsError
from ..shared.text import error_line
from .scene_choices import molecules
from .widgets import Flow, wrapped_label


class FirstSteps(QtWidgets.QWidget):
    """Offers to install the compute program where there is none, and the example while nothing is loaded."""

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self._panel = panel
        self._is_trying = self._is_installing = False
        self.missing = wrapped_label()
        self.install_button = QtWidgets.QPushButton("Install here")
        self.install_button.setToolTip("Into an environment of its own, in the folder of fits (dsr_install)")
        self.install_button.clicked.connect(self.install_or_cancel)
        self.choose_button = QtWidgets.QPushButton("Choose a program …")
        self.choose_button.setToolTip("dsr-backend, or a Python that has it (dsr_set backend)")
        self.choose_button.clicked.connect(self.choose)
        self.remote_button = QtWidgets.QPushButton("Another computer …")
        self.remote_button.setToolTip("One that ssh reaches without a password, and that has dsr-backend")
        self.remote_button.clicked.connect(self.ask_computer)
        self.places = QtWidgets.QWidget()
        row = Flow(self.places)
        for button in (self.install_button, self.choose_button, self.remote_button):
            row.addWidget(button)
        self.try_button = QtWidgets.QPushButton("Try it: the moving surface of a small protein")
        self.try_button.setToolTip("Loads Trp-cage, which comes with the plugin, and plays its surface (dsr_example)")
        self.try_button.clicked.connect(self.try_it)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.missing, self.places, self.try_button):
            layout.addWidget(widget)

    def refresh(self) -> None:
        """Show what there is to begin with."""
        session = self._panel.session
        failure = self._panel.start_failure
        has_program = self._has_program()
        is_missing = self._is_installing or bool(failure) or not has_program
        is_empty = not (session.jobs.fits or molecules(self._panel.cmd))
        self.missing.setText(
            f"Installing: {session.installer.line}"
            if self._is_installing
            else f"The compute program did not start: {failure}"
            if has_program
            else "The compute program is not on this machine yet. Installing it takes minutes, and 1.1 GB in the "
            "folder of fits (several GB with an NVIDIA card)."
        )
        self.install_button.setText("Cancel" if self._is_installing else "Install here")
        self.missing.setVisible(is_missing)
        self.places.setVisible(is_missing)
        for button in (self.choose_button, self.remote_button):
            button.setVisible(not self._is_installing)
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

    def choose(self) -> None:
        """Ask for a program, and compute with it from now on."""
        path, _ = QtWidgets.QFileDialog.getOpenFileName(self, "Choose dsr-backend, or a Python that has it")
        if path:
            is_python = os.path.basename(path).lower().startswith("python")
            self._set(shlex.quote(path) + (" -m dsr_backend serve" if is_python else " serve"))

    def ask_computer(self) -> None:
        """Ask for another computer, and compute there from now on."""
        text, is_given = QtWidgets.QInputDialog.getText(
            self, "Another computer", "Its name, as ssh takes it (user@host):"
        )
        host = text.strip()
        if not is_given or not host:
            return
        if host.startswith("-") or len(host.split()) > 1:
            self._panel.complain(f"{host}: this is no name of a computer; write it as user@host")
            return
        self._set(f"ssh -T {shlex.quote(host)} dsr-backend serve")

    def _set(self, command: str) -> None:
        """Take a command that starts a compute program; the window then starts it."""
        session = self._panel.session
        try:
            session.settings.put("backend", command)
        except (SettingsError, LaunchError) as error:
            self._panel.complain(error_line(error))
            return
        session.jobs.restart_unused()
        self._panel.start_failure = ""
        self._panel.say(f"The compute program is now: {command}")
        self.refresh()

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
