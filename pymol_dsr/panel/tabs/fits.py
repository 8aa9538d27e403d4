"""The page My surfaces: those of this session and those kept in the folder."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from pymol.Qt import QtCore, QtWidgets

from ...commands.files import load_fit, save_fit
from ...fits.fit import ENDED, Fit, Phase
from ...fits.jobs import Jobs
from ...runtime.folders import fits_folder
from ...shared import states

COLUMNS = ("Surface", "States", "When", "Size", "")


@dataclass(frozen=True)
class StoredFit:
    """A fit's file in the folder: size in bytes, time of its writing in seconds."""

    name: str
    path: str
    size: int
    written: float


def stored_fits(folder: str) -> list[StoredFit]:
    """Return the files of fits in a folder, the newest first; none where the folder can't be read."""
    out = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".dsr") and entry.is_file():
                    status = entry.stat()
                    out.append(StoredFit(entry.name[:-4], entry.path, status.st_size, status.st_mtime))
    except OSError:
        return []
    return sorted(out, key=lambda one: -one.written)


class FitsTab(QtWidgets.QWidget):
    """Lists fits, loads and saves them. play: emitted with a fit's name, to show its surface."""

    play = QtCore.Signal(str)

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self.panel = panel
        self.jobs: Jobs = panel.session.jobs
        self._listed: Any = None
        self.list = QtWidgets.QTreeWidget()
        self.list.setHeaderLabels(COLUMNS)
        self.list.setRootIsDecorated(False)
        self.list.setAlternatingRowColors(True)
        header = self.list.header()
        header.setStretchLastSection(False)
        for column in range(len(COLUMNS)):
            header.setSectionResizeMode(column, QtWidgets.QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QtWidgets.QHeaderView.ResizeMode.Stretch)
        self.open_button = QtWidgets.QPushButton("Play")
        self.open_button.setToolTip("Look at this surface; one from the folder is loaded first")
        self.save_button = QtWidgets.QPushButton("Save as …")
        self.load_button = QtWidgets.QPushButton("Load file …")
        buttons = QtWidgets.QHBoxLayout()
        for button in (self.open_button, self.save_button, self.load_button):
            buttons.addWidget(button)
        self.where = QtWidgets.QLabel()
        self.where.setWordWrap(True)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.where)
        layout.addLayout(buttons)
        self.list.itemSelectionChanged.connect(self._choose)
        self.list.itemDoubleClicked.connect(lambda *_: self.open())
        self.open_button.clicked.connect(self.open)
        self.save_button.clicked.connect(self.save)
        self.load_button.clicked.connect(self.load)
        self._choose()

    @property
    def folder(self) -> str:
        """The folder in which a backend on this machine keeps finished fits."""
        return fits_folder(self.jobs.settings)

    def refresh(self) -> None:
        """List them anew where something has changed."""
        own = [(fit.name, states_text(fit), _stage(fit)) for fit in self.jobs.fits.values()]
        # The file of a fit that is ready is in its own line.
        finished = [fit for fit in self.jobs.fits.values() if fit.is_finished]
        names = {fit.name for fit in finished if fit.in_folder or fit.detached}
        paths = {os.path.abspath(fit.file) for fit in finished if fit.file}
        files = [
            one for one in stored_fits(self.folder) if one.name not in names and os.path.abspath(one.path) not in paths
        ]
        if (own, files) == self._listed:
            return
        self._listed = own, files
        chosen = self._chosen()
        if chosen not in [*((name, "") for name, _, _ in own), *((one.name, one.path) for one in files)]:
            chosen = (own[-1][0], "") if own else None
        self.list.clear()
        for name, shown, stage in own:
            self._add((name, shown, "this session", "", stage), (name, ""), chosen)
        for one in files:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.written))
            self._add((one.name, "", when, f"{one.size / 1e6:.1f} MB", "in the folder"), (one.name, one.path), chosen)
        self.where.setText(f"Finished surfaces are kept in {self.folder}; dsr_set folder takes another place")
        self._choose()

    def _add(self, texts: tuple[str, ...], data: tuple[str, str], chosen: tuple[str, str] | None) -> None:
        item = QtWidgets.QTreeWidgetItem(list(texts))
        item.setData(0, QtCore.Qt.ItemDataRole.UserRole, data)
        item.setTextAlignment(3, QtCore.Qt.AlignmentFlag.AlignRight)
        item.setToolTip(1, texts[1])
        self.list.addTopLevelItem(item)
        if data == chosen:
            item.setSelected(True)

    def _chosen(self) -> tuple[str, str] | None:
        items = self.list.selectedItems()
        return tuple(items[0].data(0, QtCore.Qt.ItemDataRole.UserRole)) if items else None

    def _choose(self) -> None:
        chosen = self._chosen()
        fit = self.jobs.fits.get(chosen[0]) if chosen and not chosen[1] else None
        ready = fit is not None and fit.phase is Phase.READY
        stored = fit is not None and fit.phase is Phase.STORED
        self.open_button.setEnabled(bool(chosen) and (ready or stored or bool(chosen and chosen[1])))
        self.save_button.setEnabled(ready)

    def open(self) -> None:
        """Show the surface of the chosen fit; a stored one is loaded first."""
        chosen = self._chosen()
        if chosen is None or not self.open_button.isEnabled():
            return
        name, path = chosen
        if path:
            self._load(path)
        elif self.jobs.fits[name].phase is Phase.STORED:
            self.panel.run(f"loading {name}", lambda: self.jobs.get(name).name, self.play.emit)
        else:
            self.play.emit(name)

    def _load(self, path: str) -> None:
        session, cmd = self.panel.session, self.panel.cmd
        self.panel.run(f"loading {path}", lambda: load_fit(session, path, "", print, cmd), self.play.emit)

    def load(self) -> None:
        """Ask for a file, and load the fit in it."""
        path, _ = QtWidgets.QFileDialog.getOpenFileName(self, "Load a surface", self.folder, "Surfaces (*.dsr)")
        if path:
            self._load(path)

    def save(self) -> None:
        """Ask for a file, and save the chosen fit."""
        chosen = self._chosen()
        if chosen is None:
            return
        name = chosen[0]
        path, _ = QtWidgets.QFileDialog.getSaveFileName(self, "Save the surface", f"{name}.dsr", "Surfaces (*.dsr)")
        if path:
            whole = path if path.endswith(".dsr") else f"{path}.dsr"
            self.panel.run(
                f"{name}: saving",
                lambda: save_fit(self.panel.session, name, whole, print),
                lambda written: self.panel.say(f"written: {written}"),
            )


def states_text(fit: Fit) -> str:
    """Return the states of a fit as they are written, with the owner of each trajectory."""
    texts = []
    for one in fit.trajectories:
        owner = one.name or one.object
        texts.append(f"{states.format(one.states)}{f' of {owner}' if owner else ''}")
    return ", ".join(texts)


def _stage(fit: Fit) -> str:
    if fit.phase is Phase.STORED:
        return "named by the session"
    return str(fit.phase) if fit.phase in {Phase.READY, Phase.QUEUED, *ENDED} else "being made"
