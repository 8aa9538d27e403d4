"""The page My surfaces: those of this session and those kept in the folder."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from pymol.Qt import QtCore, QtWidgets

from ...commands.files import load_fit, save_fit
from ...commands.fit import resume_fit
from ...commands.running import Runner
from ...fits.fit import ENDED, Fit, JobError, Phase
from ...fits.interrupted import interrupted_in
from ...fits.jobs import Jobs
from ...fits.removal import FINISHED, INTERRUPTED, files_of, remove_fit
from ...runtime.folders import fits_folder
from ...shared import states
from ...shared.fits_folder import FIT, SURFACES
from ...shared.text import error_line
from ..widgets import flow, question_box, with_ending, wrapped_label

COLUMNS = ("Surface", "States", "When", "Size", "")
# A size in MB that is worth naming.
LEAST_MEGABYTES = 1.0


@dataclass(frozen=True)
class StoredFit:
    """A fit's file in the folder: size in bytes, time of its writing in seconds."""

    name: str
    path: str
    size: int
    written: float


def empty_list() -> Any:
    """Return the widget of the list."""
    rows = QtWidgets.QTreeWidget()
    rows.setHeaderLabels(COLUMNS)
    rows.setRootIsDecorated(False)
    rows.setAlternatingRowColors(True)
    header = rows.header()
    header.setStretchLastSection(False)
    for column in range(len(COLUMNS)):
        header.setSectionResizeMode(column, QtWidgets.QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(1, QtWidgets.QHeaderView.ResizeMode.Stretch)
    # Whether one is ready stands beside its name, so that a narrow window cuts off the size instead.
    header.moveSection(4, 1)
    return rows


def stored_fits(folder: str) -> list[StoredFit]:
    """Return the files of fits in a folder, the newest first; none where the folder can't be read."""
    out = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(FIT) and entry.is_file():
                    status = entry.stat()
                    out.append(StoredFit(entry.name[:-4], entry.path, status.st_size, status.st_mtime))
    except OSError:
        return []
    return sorted(out, key=lambda file: -file.written)


class FitsTab(QtWidgets.QWidget):
    """Lists fits, loads and saves them. play: emitted with a fit's name, to show its surface."""

    play = QtCore.Signal(str)

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self.panel = panel
        self.jobs: Jobs = panel.session.jobs
        self._listed: Any = None
        self._asked = ""
        """Name of the fit that the user was last asked about."""
        self._endings: tuple[str, ...] = FINISHED
        self._make_widgets()
        self._lay_out()
        self._connect()
        self._show_sessions()
        self._choose()

    def _make_widgets(self) -> None:
        self.list = empty_list()
        self.open_button = QtWidgets.QPushButton("Play")
        self.open_button.setToolTip("Look at this surface; one from the folder is loaded first")
        self.resume_button = QtWidgets.QPushButton("Resume")
        self.resume_button.setToolTip("Go on with an interrupted one; its molecule must be in the scene (dsr_resume)")
        self.delete_button = QtWidgets.QPushButton("Delete …")
        self.delete_button.setToolTip("Delete it for good, here and in the folder (dsr_delete)")
        self.save_button = QtWidgets.QPushButton("Save as …")
        self.load_button = QtWidgets.QPushButton("Load file …")
        self.question_text = wrapped_label()
        self.yes_button, self.no_button = QtWidgets.QPushButton("Delete"), QtWidgets.QPushButton("Keep")
        self.question = question_box(self.question_text, self.yes_button, self.no_button)
        self.where = wrapped_label()
        self.whole_sessions = QtWidgets.QCheckBox()
        self.whole_sessions.setToolTip(
            "Without it, a session file (.pse) holds fits and a coarse movie, and opening it makes the meshes again; "
            "with it, the file is large and needs no compute program (dsr_set session, full)"
        )

    def _lay_out(self) -> None:
        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.where)
        layout.addWidget(self.whole_sessions)
        layout.addWidget(self.question)
        layout.addLayout(
            flow(self.open_button, self.resume_button, self.delete_button, self.save_button, self.load_button)
        )

    def _connect(self) -> None:
        self.list.itemSelectionChanged.connect(self._choose)
        self.list.itemDoubleClicked.connect(lambda *_: self.open())
        self.open_button.clicked.connect(self.open)
        self.resume_button.clicked.connect(self.resume)
        self.delete_button.clicked.connect(self.ask_to_delete)
        self.yes_button.clicked.connect(self.delete)
        self.no_button.clicked.connect(self.question.hide)
        self.save_button.clicked.connect(self.save)
        self.load_button.clicked.connect(self.load)
        self.whole_sessions.clicked.connect(self._choose_sessions)

    @property
    def folder(self) -> str:
        """The folder in which a backend on this machine keeps finished fits."""
        return fits_folder(self.jobs.settings)

    def refresh(self) -> None:
        """List them anew where something has changed."""
        self._show_sessions()
        left = self._interrupted()
        names_left = {name for name, _ in left}
        # The remains of a cancelled or failed one have a line of their own, which can be resumed.
        session_fits = [
            (fit.name, states_text(fit), _stage(fit))
            for fit in self.jobs.listed()
            if not (fit.phase in ENDED and fit.name in names_left)
        ]
        # The file of a fit that is ready is in its own line.
        finished = [fit for fit in self.jobs.listed() if fit.is_finished]
        names = {fit.name for fit in finished if fit.in_folder or fit.detached}
        paths = {os.path.abspath(fit.file) for fit in finished if fit.file}
        files = [
            file
            for file in stored_fits(self.folder)
            if file.name not in names and os.path.abspath(file.path) not in paths
        ]
        if (session_fits, files, left) == self._listed:
            return
        self._listed = session_fits, files, left
        chosen = self._chosen()
        if chosen not in [
            *((name, "") for name, _, _ in session_fits),
            *((file.name, file.path) for file in files),
            *left,
        ]:
            same_name = [key for key in left if chosen is not None and key[0] == chosen[0]]
            chosen = same_name[0] if same_name else (session_fits[-1][0], "") if session_fits else None
        self.list.clear()
        for name, fitted_states, stage in session_fits:
            self._add((name, fitted_states, "this session", "", stage), (name, ""), chosen)
        for file in files:
            when = time.strftime("%Y-%m-%d", time.localtime(file.written))
            self._add(
                (file.name, "", when, f"{file.size / 1e6:.1f} MB", "in the folder"), (file.name, file.path), chosen
            )
        for name, path in left:
            self._add((name, left[name, path], "", "", "interrupted"), (name, path), chosen)
        is_empty = not (session_fits or files or left)
        self.where.setText(
            f"{'None yet: Make surface makes one. ' if is_empty else ''}Finished surfaces are kept in {self.folder}; "
            "dsr_set folder takes another place"
        )
        self._choose()

    def _show_sessions(self) -> None:
        """Show whether session files hold all meshes, and what those of the present movies would take."""
        references, present = self.panel.session.references, set(self.panel.cmd.get_names("objects"))
        movies = [name for name, movie in references.movies.items() if present.intersection(movie.objects)]
        megabytes = sum(references.megabytes.get(name, 0.0) for name in movies)
        size = f" ({megabytes:.0f} MB now)" if megabytes >= LEAST_MEGABYTES else ""
        self.whole_sessions.setText(f"Session files hold all meshes{size}")
        self.whole_sessions.setChecked(self.jobs.settings.get("session") == "full")

    def _choose_sessions(self, whole: bool) -> None:
        self.jobs.settings.put("session", "full" if whole else "light")

    def _interrupted(self) -> dict[tuple[str, str], str]:
        """Return what interrupted fits have left in the folder: their surfaces, by name and path."""
        try:
            left = interrupted_in(self.folder)
        except OSError:
            return {}
        busy = {fit.name for fit in self.jobs.listed() if fit.activity}
        return {
            (name, os.path.join(self.folder, f"{name}{SURFACES}")): f"{interrupted.record.surfaces} surfaces"
            for name, interrupted in left.items()
            if name not in busy
        }

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
        is_stored = fit is not None and fit.phase is Phase.STORED
        is_left = chosen is not None and chosen[1].endswith(SURFACES)
        in_folder = chosen is not None and bool(chosen[1]) and not is_left
        self.open_button.setEnabled(ready or is_stored or in_folder)
        self.resume_button.setEnabled(is_left)
        self.delete_button.setEnabled(in_folder or is_left or (fit is not None and not fit.activity))
        self.save_button.setEnabled(ready)
        if chosen is None or chosen[0] != self._asked:
            self.question.hide()

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

    def resume(self) -> None:
        """Go on with the chosen interrupted fit."""
        chosen = self._chosen()
        if chosen is None:
            return
        name, session, cmd = chosen[0], self.panel.session, self.panel.cmd
        runner = Runner("dsr_resume", watch=True)
        self.panel.say("")
        self.panel.run("dsr_resume", lambda: resume_fit(session, name, runner, cmd))

    def ask_to_delete(self) -> None:
        """Ask whether the chosen fit is to be deleted."""
        chosen = self._chosen()
        if chosen is None:
            return
        self._asked = chosen[0]
        self._endings = INTERRUPTED if chosen[1].endswith(SURFACES) else FINISHED
        paths = files_of(self.jobs.settings, self._asked, self._endings)
        files = f" and {', '.join(path.name for path in paths)}" if paths else ""
        self.question_text.setText(f"Delete {self._asked}{files} for good? Surfaces in the scene stay.")
        self.question.show()

    def delete(self) -> None:
        """Delete the fit that was asked about."""
        self.question.hide()
        try:
            remove_fit(self.jobs, self._asked, self._endings)
        except (JobError, OSError) as error:
            self.panel.say(error_line(error), bad=True)
        else:
            self.panel.say(f"{self._asked} is deleted")
        self.refresh()

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
            filename = with_ending(path, (".dsr",))
            self.panel.run(
                f"{name}: saving",
                lambda: save_fit(self.panel.session, name, filename, print),
                lambda written: self.panel.say(f"written: {written}"),
            )


def states_text(fit: Fit) -> str:
    """Return the states of a fit as they are written, with the owner of each trajectory."""
    texts = []
    for trajectory in fit.trajectories:
        owner = trajectory.name or trajectory.object
        texts.append(f"{states.format(trajectory.states)}{f' of {owner}' if owner else ''}")
    return ", ".join(texts)


def _stage(fit: Fit) -> str:
    if fit.phase is Phase.STORED:
        return "named by the session"
    return str(fit.phase) if fit.phase in {Phase.READY, Phase.QUEUED, *ENDED} else "being made"
