"""From the live surface to a movie, a film and mesh files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from pymol.Qt import QtWidgets

from ...commands.files import export_meshes
from ...commands.film import describe_film, plan_film, write_film
from ...commands.movie import foreign_movie, load_movie
from ...commands.running import Runner
from ...commands.still import write_still
from ...fits.fit import Activity, Fit
from ...scene.bar_title import missing_bars
from ...scene.present_movie import PresentMovie
from ...scene.timeline import frames_per_second
from ...shared.options import FORMATS, FieldOptions, MeshOptions, MovieOptions, SurfaceOptions
from ...shared.picture_options import STILL_RESOLUTION, FilmOptions, PictureOptions
from ..picture_dialogs import FilmDialog, PictureDialog
from ..widgets import flow, spin, with_ending
from .surface_controls import SurfaceControls

AUTO_FPS = 0.0
INTRO_NAMES = {"Plays at once": "", "Turns around first": "turn", "Comes nearer first": "approach"}
STILLS = "PNG (*.png)"
# Filters of dialogs for files, and the endings that they stand for.
FILMS = {"MPEG-4 (*.mp4)": ".mp4", "GIF (*.gif)": ".gif"}
MESHES = {f"{title} (*.{ending})": f".{ending}" for ending, title in FORMATS.items()}


class MovieActions:
    """Widgets for the movie and its files, and what they do.

    fit, field, time: functions that say what is chosen. on_load, on_loaded: called with the fit's name before and after
    a movie is loaded: the live surface would lie in the same place.
    """

    def __init__(
        self,
        tab: Any,
        controls: SurfaceControls,
        mode: Any,
        fit: Callable[[], Fit | None],
        field: Callable[[], FieldOptions],
        time: Callable[[], float],
        on_load: Callable[[str], None],
        on_loaded: Callable[[str], None],
    ) -> None:
        self._tab, self._panel, self._controls, self._mode = tab, tab.panel, controls, mode
        self._fit, self._field, self._time, self._on_load, self._on_loaded = fit, field, time, on_load, on_loaded
        self._replaceable: PresentMovie | None = None
        self.dialog: PictureDialog | None = None
        self.states = QtWidgets.QLineEdit()
        self.states.setToolTip("Times of the movie, as 1-79 or 1-79:0.25")
        self.movie_button = QtWidgets.QPushButton("Load movie")
        self.movie_button.setToolTip("Make the meshes of all these times one multi-state object, and the movie")
        self.fps = spin(AUTO_FPS, 120.0, 1.0, 0, " fps", f"{frames_per_second(self._panel.cmd):g} fps")
        self.fps.setToolTip("Frames per second of the movie; it plays once, in a loop or back and forth as above")
        self.camera = QtWidgets.QCheckBox("Camera follows")
        self.camera.setToolTip("The molecule stays in its place in the view, and unturned")
        self.overlay = QtWidgets.QCheckBox("Time in view")
        self.overlay.setToolTip("The time in the corner, and the expected error where it is extrapolated")
        self.keep = QtWidgets.QCheckBox("Keep PyMOL's movie")
        self.keep.setToolTip("Load the surfaces, and leave the movie that PyMOL has, with its camera keys, as it is")
        self.film_button = QtWidgets.QPushButton("Save film …")
        self.film_button.setToolTip("Write the movie that is loaded as .mp4 or .gif")
        self.still_button = QtWidgets.QPushButton("Save still …")
        self.still_button.setToolTip("Write a picture of this time, with a fine mesh and ray-traced")
        self.intro = QtWidgets.QComboBox()
        for text, intro in INTRO_NAMES.items():
            self.intro.addItem(text, intro)
        self.intro.setToolTip("Motion of the camera before the states of the movie play")
        self.export_button = QtWidgets.QPushButton("Export …")
        self.export_button.setToolTip("Write meshes for other programs")
        menu = QtWidgets.QMenu(self.export_button)
        menu.addAction("This time …", lambda: self.export([self._time()]))
        menu.addAction("The movie's times …", lambda: self.export(self._movie_times()))
        self.export_button.setMenu(menu)
        self.movie_button.clicked.connect(self.load_or_cancel)
        self.film_button.clicked.connect(self.ask_for_film)
        self.still_button.clicked.connect(self.ask_for_still)

    def movie_row(self) -> Any:
        """Return the widgets for the movie beside each other."""
        row = QtWidgets.QHBoxLayout()
        self.states.setMinimumWidth(44)
        row.addWidget(self.states, 1)
        row.addWidget(self.movie_button)
        return row

    def film_row(self) -> Any:
        """Return the widgets for the film and other files beside each other."""
        buttons = (self.film_button, self.still_button, self.export_button)
        return flow(self.fps, self.camera, self.overlay, self.keep, self.intro, *buttons)

    def set_enabled(self, enabled: bool) -> None:
        """Enable or disable the widgets that need a fit."""
        for widget in (self.movie_button, self.export_button, self.still_button):
            widget.setEnabled(enabled)

    def poll(self) -> None:
        """Let the button of the movie cancel the one that is being loaded."""
        fit = self._fit()
        loading = fit is not None and fit.activity is Activity.MOVIE
        self.movie_button.setText("Cancel" if loading else "Load movie")

    def load_or_cancel(self) -> None:
        """Load the movie of the chosen fit, or cancel what that is busy with."""
        fit = self._fit()
        if fit is None:
            return
        if fit.activity:
            self._panel.session.jobs.cancel(fit.name)
            return
        session, cmd, name = self._panel.session, self._panel.cmd, fit.name
        present = None if self.keep.isChecked() else foreign_movie(session, cmd)
        if present and present != self._replaceable:
            self._replaceable = present
            self._panel.say(
                f"PyMOL has {present.describe()}: click again to replace it, or tick “{self.keep.text()}” first"
            )
            return
        self._panel.say("")
        self._on_load(name)
        times, surface = self._movie_times(), self._surface(self._controls.mesh_options())
        options = MovieOptions(overlay=self.overlay.isChecked(), movie=not self.keep.isChecked())
        if options.movie:
            options = dataclasses.replace(
                options,
                fps=self.fps.value() if self.fps.value() > AUTO_FPS else None,
                play=self._mode.currentText(),
                intro=self.intro.currentData(),
                camera="follow" if self.camera.isChecked() else MovieOptions.camera,
            )

        def work() -> None:
            load_movie(session, name, times, surface, options, Runner("dsr_movie"), cmd)

        self._panel.run(f"{name}: its movie", work, lambda _: self._loaded(name))

    def ask_for_film(self) -> None:
        """Show the dialog for the film of the loaded movie."""
        cmd = self._panel.cmd
        # PyMOL counts the states of a molecule as frames, too.
        if cmd.get_movie_length() < 2:
            self._panel.complain("there is no movie to write; Load movie makes one")
            return
        self._open(FilmDialog(self._tab, lambda options: describe_film(plan_film(options, cmd), cmd), self._save_film))

    def _open(self, dialog: PictureDialog) -> None:
        """Show a dialog in place of the one before."""
        if self.dialog is not None:
            self.dialog.close()
        self.dialog = dialog
        dialog.finished.connect(partial(self._closed, dialog))
        dialog.open_with_summary()

    def _closed(self, dialog: PictureDialog, _: int) -> None:
        if self.dialog is dialog:
            self.dialog = None

    def _save_film(self, options: FilmOptions) -> None:
        """Ask for a file, and write the loaded movie to it."""
        fit = self._fit()
        name = fit.name if fit is not None else "movie"
        path, kind = QtWidgets.QFileDialog.getSaveFileName(self._tab, "Save the movie", f"{name}.mp4", ";;".join(FILMS))
        if not path:
            return
        path = with_ending(path, tuple(FILMS.values()), FILMS.get(kind, ""))
        cmd = self._panel.cmd
        runner = Runner("dsr_film", say=self._tell)
        self._panel.run("the film", lambda: write_film(path, options, runner, cmd), self._film_written)

    def _tell(self, line: str) -> None:
        """Print a line of a film, and show how far it is; called in the thread that writes it."""
        print(line)
        self._panel.said.emit(line.strip())

    def ask_for_still(self) -> None:
        """Show the dialog for a still of this time."""
        cmd, time = self._panel.cmd, self._time()

        def describe(options: PictureOptions) -> str:
            width, height = options.pixels(cmd.get_viewport())
            text = f"State {time:g}, {width} × {height} pixels, with a mesh of {self._still_mesh().resolution:g} Å"
            return "; ".join(filter(None, [text, missing_bars(bool(options.ray), cmd)]))

        dialog = PictureDialog(self._tab, "Save a still", describe, partial(self._save_still, time))
        dialog.ray.setChecked(True)
        self._open(dialog)

    def _surface(self, mesh: MeshOptions) -> SurfaceOptions:
        return SurfaceOptions(self._field(), mesh, self._controls.appearance)

    def _still_mesh(self) -> MeshOptions:
        mesh = self._controls.mesh_options()
        return mesh if self._controls.spacing else dataclasses.replace(mesh, resolution=STILL_RESOLUTION)

    def _save_still(self, time: float, options: PictureOptions) -> None:
        """Ask for a file, and write a picture of the surface at this time to it."""
        fit = self._fit()
        if fit is None:
            return
        path, _ = QtWidgets.QFileDialog.getSaveFileName(self._tab, "Save a still", f"{fit.name}_{time:g}.png", STILLS)
        if not path:
            return
        path = with_ending(path, (".png",))
        session, cmd, name = self._panel.session, self._panel.cmd, fit.name
        surface = self._surface(self._still_mesh())
        runner = Runner("dsr_still")

        def work() -> str:
            return write_still(session, name, path, time, surface, options, runner, cmd)

        self._panel.run(f"{name}: its still", work, lambda written: self._panel.say(f"written: {written}"))

    def export(self, times: str | list[float]) -> None:
        """Ask for a file, and write the meshes of these times to it."""
        fit = self._fit()
        if fit is None:
            return
        path, kind = QtWidgets.QFileDialog.getSaveFileName(
            self._tab, "Export surfaces", f"{fit.name}.ply", ";;".join(MESHES)
        )
        if not path:
            return
        path = with_ending(path, tuple(MESHES.values()), MESHES.get(kind, ""))
        session, cmd, name = self._panel.session, self._panel.cmd, fit.name
        surface = self._surface(self._controls.mesh_options())

        def work() -> list[str]:
            return export_meshes(session, name, path, times, surface, say=print, _self=cmd)

        self._panel.run(f"{name}: its export", work, lambda paths: self._panel.say(f"written: {', '.join(paths)}"))

    def _movie_times(self) -> str:
        return str(self.states.text().strip() or self.states.placeholderText())

    def _loaded(self, name: str) -> None:
        self._on_loaded(name)
        self._panel.say(f"{name}: the movie is loaded; it plays with PyMOL's own controls")

    def _film_written(self, path: str) -> None:
        if os.path.exists(path):
            self._panel.say(f"written: {path}")
            return
        stem, suffix = os.path.splitext(path)
        self._panel.complain(
            f"nothing here can write {suffix}, so the pictures are in {stem}_frames; PyMOL's text window has the "
            "ffmpeg command that joins them"
        )
