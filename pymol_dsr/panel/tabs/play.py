"""The tab Play: the surface at any time, live, and from there to the movie and to files."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from pymol import cmd
from pymol.Qt import QtCore, QtGui, QtWidgets

from ...commands.color import dsr_color
from ...commands.files import dsr_export
from ...commands.movie import dsr_film, dsr_movie
from ...fits.fit import Activity, Fit, Phase, Trajectory
from ...fits.jobs import Jobs
from ...scene.color_bar import UNITS
from ...scene.timeline import frames_per_second
from ...shared import states
from ...shared.options import STATES_AFTER
from ...shared.states import StatesError
from ..live import Live, LiveMesh, MeshRequest
from ..widgets import label, offer, quietly, spin, swatch

# Steps of the time slider per state.
PER_STATE = 100
TICK_MS = 33
# After the last change of a control, until the surface is made fine.
REST_MS = 200
AUTO_SMOOTH, AUTO_RESOLUTION, AUTO_FPS = -0.1, 0.0, 0.0
BY = {"by motion": "motion", "by speed": "speed", "by velocity": "velocity", "by B factor": "b"}
COLORS = ("white", "gray70", "skyblue", "palegreen", "wheat", "salmon")
# Phases of a fit in which the backend has time for other requests.
BEFORE_FITTING = (Phase.QUEUED, Phase.SURFACES)
NOWHERE = "nothing else"
NO_FIT = "no fit is open: Fit makes one, Fits opens an earlier one"
MODES = ("loop", "bounce", "once")
FILMS = "MPEG-4 (*.mp4);;GIF (*.gif)"
FILTERS = "PLY (*.ply);;Wavefront (*.obj);;STL (*.stl);;glTF, also as a movie (*.glb);;NumPy (*.npz)"


class PlayTab(QtWidgets.QWidget):
    def __init__(self, panel: Any, canvas: Any) -> None:
        super().__init__()
        self.panel = panel
        self.jobs: Jobs = panel.session.jobs
        self.live = Live(self, self.jobs, canvas)
        self.live.shown.connect(self._shown)
        self.live.failed.connect(panel.complain)
        self._seen = 0
        self._listed: list[Fit] = []
        self._direction, self._played, self._last_tick = 1.0, 0.0, 0.0
        self._active = False

        self.fit = QtWidgets.QComboBox()
        self.trajectory = QtWidgets.QComboBox()
        self.towards = QtWidgets.QComboBox()
        self.towards.setToolTip("Another trajectory of the family, to show what lies between the two")
        self.share = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self.share.setRange(0, 100)
        self.share.setValue(50)
        self.share.setToolTip("How far towards it")
        self.time = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self.time.setSingleStep(PER_STATE // 10)
        self.time.setPageStep(PER_STATE)
        self.time.setToolTip("Time in states; past the last fitted one it is extrapolated")
        self.state = spin(1.0, 1.0, 0.25, 2)
        self.play = QtWidgets.QToolButton()
        self.play.setToolTip("Play and pause (Ctrl+Space)")
        self.play.setShortcut(QtGui.QKeySequence("Ctrl+Space"))
        self.speed = spin(0.1, 500.0, 1.0, 1, " states/s")
        self.speed.setValue(5.0)
        self.mode = QtWidgets.QComboBox()
        self.mode.addItems(MODES)
        self.mode.setToolTip("What happens at the last fitted state")
        self.told = QtWidgets.QLabel()
        self.told.setMinimumHeight(self.told.fontMetrics().height())
        self.smooth = spin(AUTO_SMOOTH, 100.0, 0.1, 1, " states", "auto")
        self.smooth_slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self.smooth_slider.setRange(-1, 100)
        for widget in (self.smooth, self.smooth_slider):
            widget.setToolTip("Width of the smoothing over time between the states; needs no new fit")
        self.level = spin(-10.0, 10.0, 0.1, 2, " Å")
        self.level.setToolTip("Distance from the molecular surface, outside positive")
        self.resolution = spin(AUTO_RESOLUTION, 5.0, 0.1, 2, " Å", "auto")
        self.resolution.setToolTip("Spacing of the mesh. auto: as fine as keeps this window fluent, and 0.5 Å in files")
        self.color = QtWidgets.QComboBox()
        self.color.addItem("by atom", "")
        for text in BY:
            self.color.addItem(text, "")
        for name in COLORS:
            self.color.addItem(swatch(cmd.get_color_tuple(name)), name, name)
        self.color.addItem("another …", None)
        self.steady = QtWidgets.QCheckBox("Steady")
        self.steady.setToolTip("Average over time at the states, too: nothing of single states comes and goes")
        self.follow = QtWidgets.QCheckBox("The molecule follows")
        self.follow.setChecked(True)
        self.follow.setToolTip("Show the state nearest to this time beside the surface")
        self.movie_states = QtWidgets.QLineEdit()
        self.movie_states.setToolTip("Times of the movie, as 1-79 or 1-79:0.25")
        self.movie_button = QtWidgets.QPushButton("Load movie")
        self.movie_button.setToolTip("Make the meshes of all these times one multi-state object, and the movie")
        self.fps = spin(AUTO_FPS, 120.0, 1.0, 0, " fps", f"{frames_per_second(cmd):g} fps")
        self.fps.setToolTip("Frames per second of the movie; it plays once, in a loop or back and forth as above")
        self.camera = QtWidgets.QCheckBox("Camera follows")
        self.camera.setToolTip("The molecule stays in its place in the view, and unturned")
        self.overlay = QtWidgets.QCheckBox("Time in view")
        self.overlay.setToolTip("The time in the corner, and the expected error where it is extrapolated")
        self.film_button = QtWidgets.QPushButton("Save film …")
        self.film_button.setToolTip("Write the movie that is loaded as .mp4 or .gif")
        self.export_button = QtWidgets.QPushButton("Export …")
        self.export_button.setToolTip("Write meshes for other programs")
        menu = QtWidgets.QMenu(self.export_button)
        self.export_now = menu.addAction("This time …", lambda: self.export(""))
        self.export_all = menu.addAction("The movie's times …", lambda: self.export(self._movie_text()))
        self.export_button.setMenu(menu)
        self._lay_out()
        self._set_playing(False)

        self._ticker = QtCore.QTimer(self)
        self._ticker.setInterval(TICK_MS)
        self._ticker.timeout.connect(self._tick)
        self._rest = QtCore.QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._at_rest)
        self.fit.currentIndexChanged.connect(self._choose_fit)
        self.trajectory.currentIndexChanged.connect(self._choose_trajectory)
        self.towards.currentIndexChanged.connect(self._changed_towards)
        self.share.valueChanged.connect(self._moved)
        self.time.valueChanged.connect(self._slid)
        self.time.sliderPressed.connect(self._forget_look)
        for slider in (self.time, self.share, self.smooth_slider):
            slider.sliderReleased.connect(self._at_rest)
        self.state.valueChanged.connect(self._typed_state)
        self.smooth.valueChanged.connect(self._changed_smooth)
        self.smooth_slider.valueChanged.connect(lambda tenths: self.smooth.setValue(tenths / 10.0))
        self.steady.toggled.connect(self._moved)
        self.level.valueChanged.connect(self._moved)
        self.resolution.valueChanged.connect(self._moved)
        self.color.activated.connect(self._choose_color)
        self.play.clicked.connect(self.toggle)
        self.movie_button.clicked.connect(self.load_movie)
        self.film_button.clicked.connect(self.save_film)
        self._choose_fit()

    def _lay_out(self) -> None:
        family = QtWidgets.QHBoxLayout()
        family.addWidget(self.trajectory, 2)
        family.addWidget(QtWidgets.QLabel("towards"))
        family.addWidget(self.towards, 2)
        family.addWidget(self.share, 2)
        self.family = QtWidgets.QWidget()
        self.family.setLayout(family)
        family.setContentsMargins(0, 0, 0, 0)
        transport = QtWidgets.QHBoxLayout()
        for widget in (self.play, self.state, self.speed, self.mode):
            transport.addWidget(widget)
        transport.addStretch(1)
        smooth = QtWidgets.QHBoxLayout()
        smooth.addWidget(self.smooth_slider, 1)
        smooth.addWidget(self.smooth)
        smooth.addWidget(self.steady)
        movie = QtWidgets.QHBoxLayout()
        movie.addWidget(self.movie_states, 1)
        movie.addWidget(self.movie_button)
        movie.addWidget(self.export_button)
        film = QtWidgets.QHBoxLayout()
        film.addWidget(self.fps)
        film.addWidget(self.camera)
        film.addWidget(self.overlay)
        film.addStretch(1)
        film.addWidget(self.film_button)
        form = QtWidgets.QFormLayout(self)
        form.addRow("&Fit", self.fit)
        form.addRow("T&rajectory", self.family)
        self._family_label = form.labelForField(self.family)
        form.addRow("&Time", self.time)
        form.addRow("", transport)
        form.addRow("", self.told)
        form.addRow(label("&Smoothing", self.smooth), smooth)
        form.addRow("&Level", self.level)
        form.addRow("R&esolution", self.resolution)
        form.addRow("&Colour", self.color)
        form.addRow("", self.follow)
        form.addRow(label("&Movie", self.movie_states), movie)
        form.addRow("", film)
        form.setFieldGrowthPolicy(QtWidgets.QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)

    # Which fit

    def refresh(self) -> None:
        """Offer the fits that are ready; keep the one that is chosen."""
        ready = [fit for fit in self.jobs.fits.values() if fit.phase is Phase.READY]
        # By identity: a fit may have given way to another of its name.
        if list(map(id, ready)) == list(map(id, self._listed)):
            return
        before = next((fit for fit in self._listed if fit.name == self.fit.currentText()), None)
        self._listed = ready
        offer(self.fit, [fit.name for fit in ready], before.name if before else "")
        if self.current() is not before or before is None:
            self._choose_fit()

    def choose(self, name: str) -> None:
        """Take the fit of that name and show its surface."""
        self.refresh()
        self.fit.setCurrentIndex(self.fit.findText(name))
        self._choose_fit()
        self.wake()

    def wake(self) -> None:
        """The tab is in view: from now on the surface follows."""
        self._active = True
        self._forget_look()
        fit = self.current()
        # A movie that plays stays until a control is touched.
        if fit is not None and fit.name not in cmd.get_names("objects", enabled_only=1):
            self._moved()

    def sleep(self) -> None:
        """The tab is out of view: what is in the scene stays as it is."""
        self._active = False
        self._set_playing(False)

    def current(self) -> Fit | None:
        fit = self.jobs.fits.get(self.fit.currentText())
        return fit if fit is not None and fit.phase is Phase.READY else None

    def chosen(self) -> Trajectory | None:
        fit = self.current()
        if fit is None:
            return None
        return fit.trajectory(self.trajectory.currentText()) if fit.family else fit.trajectory()

    def which(self) -> dict[str, Any]:
        """What requests say of the trajectory, and of its smoothing at the states."""
        fit = self.current()
        out: dict[str, Any] = {"steady": True} if self.steady.isChecked() else {}
        if fit is None or not fit.family:
            return out
        out["trajectory"] = self.trajectory.currentText()
        if self.towards.currentIndex() > 0:
            out.update(towards=self.towards.currentText(), share=self.share.value() / 100.0)
        return out

    def _choose_fit(self) -> None:
        self._set_playing(False)
        fit = self.current()
        self.told.setText("" if fit is not None else NO_FIT)
        names = [t.name for t in fit.trajectories] if fit is not None and fit.family else []
        offer(self.trajectory, names)
        for widget in (self.family, self._family_label):
            widget.setVisible(bool(names))
        for widget in (self.time, self.state, self.play, self.movie_button, self.export_button):
            widget.setEnabled(fit is not None)
        self._choose_trajectory()

    def _choose_trajectory(self) -> None:
        fit, chosen = self.current(), self.chosen()
        if fit is None or chosen is None:
            return
        offer(self.towards, [NOWHERE, *(other.name for other in fit.trajectories if other is not chosen)])
        self.share.setEnabled(False)
        first, last = min(chosen.states), max(chosen.states)
        report = self._report(fit, chosen)
        ahead = min(float(STATES_AFTER), 0.25 * (last - first))
        now = min(max(float(cmd.get_state()), first), last)
        with quietly(self.time, self.state):
            self.time.setRange(round(first * PER_STATE), round((last + ahead) * PER_STATE))
            self.time.setValue(round(now * PER_STATE))
            self.state.setRange(first, last + ahead)
            self.state.setSuffix(f" of {last:g}")
            self.state.setValue(now)
        gap = (last - first) / max(1, len(chosen.states) - 1)
        widest = max(4.0 * float(report.get("smooth") or 0.0), 3.0 * gap, 1.0)
        self.smooth_slider.setRange(-1, round(10 * widest))
        self.smooth_slider.setValue(-1)
        self.movie_states.setPlaceholderText(f"{first:g}-{last:g}")
        own = report.get("smooth")
        self.smooth.setSpecialValueText("auto" if own is None else f"auto ({own:.1f})")
        self._forget_look()
        self._moved()

    def _report(self, fit: Fit, chosen: Trajectory) -> dict[str, Any]:
        reports = fit.report.get("trajectories") or {}
        return dict(reports.get(chosen.name) or {}) if chosen.name else fit.report

    def _changed_towards(self) -> None:
        self.share.setEnabled(self.towards.currentIndex() > 0)
        self._moved()

    # The surface follows

    def _moved(self, *_: Any) -> None:
        """A control moved: a quick surface now, a fine one when it rests."""
        self._want(fine=False)
        if not self._playing and not self.time.isSliderDown():
            self._rest.start()

    def _at_rest(self) -> None:
        held = self.time.isSliderDown() or self.smooth_slider.isSliderDown() or self.share.isSliderDown()
        if not self._playing and not held:
            self._want(fine=True)

    def _want(self, fine: bool) -> None:
        fit, chosen = self.current(), self.chosen()
        if not self._active or fit is None or chosen is None:
            return
        under_way = [
            f.name for f in self.jobs.fits.values() if f.activity is Activity.FIT and f.phase not in BEFORE_FITTING
        ]
        if under_way:
            self.told.setText(f"the backend is at {under_way[0]}; the surface follows when that is done")
        area = self._report(fit, chosen).get("area")
        self.live.want(
            MeshRequest(
                fit,
                chosen,
                self.which(),
                float(area) if area else None,
                self.time.value() / PER_STATE,
                self.level.value(),
                None if self.smooth.value() < 0 else self.smooth.value(),
                self.resolution.value() or None,
                self._color(),
                self._seen,
                fine,
                self._by(),
            )
        )

    def _forget_look(self) -> None:
        # Colours and matrix are read anew: the user may have changed them meanwhile.
        self._seen += 1

    def _shown(self, made: LiveMesh) -> None:
        wish, result = made.wish, made.result
        if result.get("extrapolated"):
            error = result.get("expected_error")
            self.told.setText(
                f"state {wish.time:g} is extrapolated" + (f", expected error {error:.2f} Å" if error else "")
            )
        elif not made.triangles:
            self.told.setText(f"there is no surface at {wish.level:g} Å")
        elif wish.fine:
            self.told.setText(f"{result['volume']:,.0f} Å³, {result['area']:,.0f} Å²{_colours(made)}")
        if self.follow.isChecked():
            self._show_state(wish)

    def _show_state(self, wish: MeshRequest) -> None:
        trajectory = wish.trajectory
        if trajectory.object not in cmd.get_names("objects"):
            return
        state = min(max(1, round(wish.time)), cmd.count_states(f"%{trajectory.object}"))
        if cmd.get_state() != state:
            # A movie has frames that need not be the states.
            if cmd.get_movie_length() > 0:
                cmd.set("state", state)
            else:
                cmd.frame(state)

    # Time

    def _slid(self, value: int) -> None:
        with quietly(self.state):
            self.state.setValue(value / PER_STATE)
        if value != round(self._played * PER_STATE):
            self._played = value / PER_STATE
        self._moved()

    def _typed_state(self, value: float) -> None:
        self.time.setValue(round(value * PER_STATE))

    @property
    def _playing(self) -> bool:
        return bool(self.play.property("playing"))

    def toggle(self) -> None:
        self._set_playing(not self._playing)

    def _set_playing(self, playing: bool) -> None:
        playing = playing and self.current() is not None
        self.play.setProperty("playing", playing)
        kind = QtWidgets.QStyle.StandardPixmap
        self.play.setIcon(self.style().standardIcon(kind.SP_MediaPause if playing else kind.SP_MediaPlay))
        if not hasattr(self, "_ticker"):
            return
        if playing:
            self._forget_look()
            self._last_tick, self._played = time.monotonic(), self.time.value() / PER_STATE
            chosen = self.chosen()
            if chosen is not None and self.time.value() >= PER_STATE * max(chosen.states):
                self._direction = 1.0
                self.time.setValue(round(PER_STATE * min(chosen.states)))
            self._ticker.start()
        elif self._ticker.isActive():
            self._ticker.stop()
            self._rest.start()

    def _tick(self) -> None:
        chosen = self.chosen()
        if chosen is None:
            self._set_playing(False)
            return
        now = time.monotonic()
        step = self._direction * self.speed.value() * (now - self._last_tick)
        self._last_tick = now
        first, last = min(chosen.states), max(chosen.states)
        self._played, self._direction, going = advance(
            self._played + step, first, last, self._direction, self.mode.currentText()
        )
        self.time.setValue(round(self._played * PER_STATE))
        if not going:
            self._set_playing(False)

    # Looks

    def _changed_smooth(self, value: float) -> None:
        with quietly(self.smooth_slider):
            self.smooth_slider.setValue(round(10.0 * value))
        self._moved()

    def _color(self) -> str:
        return str(self.color.currentData() or "")

    def _by(self) -> str:
        """What the surface is coloured by, as dsr_color calls it; empty for atoms and plain colours."""
        return BY.get(self.color.currentText(), "")

    def _choose_color(self, index: int) -> None:
        if self.color.itemData(index) is None:
            picked = QtWidgets.QColorDialog.getColor(parent=self)
            if not picked.isValid():
                self.color.setCurrentIndex(0)
                return
            name = f"0x{picked.red():02x}{picked.green():02x}{picked.blue():02x}"
            self.color.insertItem(index, swatch(picked.getRgbF()[:3]), name, name)
            self.color.setCurrentIndex(index)
        self._forget_look()
        self._want(fine=True)

    # On to the scene and to files

    def _movie_text(self) -> str:
        return self.movie_states.text().strip() or self.movie_states.placeholderText()

    def _shared(self) -> dict[str, Any]:
        shared: dict[str, Any] = {**self.which(), "level": self.level.value(), "quiet": 0}
        if self.resolution.value():
            shared["resolution"] = self.resolution.value()
        return shared

    def load_movie(self) -> None:
        fit = self.current()
        if fit is None:
            return
        if fit.activity:
            self.jobs.cancel(fit.name)
            return
        self._set_playing(False)
        self._rest.stop()
        # Both would lie in the same place while the movie comes.
        self.live.forget(fit.name)
        self.told.setText("")
        name, text, color, settings = fit.name, self._movie_text(), self._color(), self._shared()
        by = self._by()
        settings.update(play=self.mode.currentText(), overlay=int(self.overlay.isChecked()))
        if self.fps.value() > AUTO_FPS:
            settings["fps"] = self.fps.value()
        if self.camera.isChecked():
            settings["camera"] = "follow"
        if "resolution" not in settings:
            # A text that can't be read is the command's to refuse.
            with contextlib.suppress(StatesError):
                settings["triangles"] = movie_triangles(len(states.parse(text, fractional=True)))

        def work() -> None:
            made = dsr_movie(name, text, color=color, async_=0, **settings)
            if by:
                dsr_color(made, by, async_=0, quiet=0)

        self.panel.run(f"{name}: its movie", work, lambda _: self._movie_is_there(name))

    def _movie_is_there(self, name: str) -> None:
        self.live.forget(name)
        self.panel.say(f"{name}: the movie is loaded; it plays with PyMOL's own controls")

    def save_film(self) -> None:
        fit = self.current()
        name = fit.name if fit is not None else "movie"
        path, chosen = QtWidgets.QFileDialog.getSaveFileName(self, "Save the movie", f"{name}.mp4", FILMS)
        if not path:
            return
        if not path.lower().endswith((".mp4", ".gif")):
            path += ".gif" if "gif" in chosen else ".mp4"
        self.panel.run("the film", lambda: dsr_film(path, async_=0, quiet=0), self._film_is_there)

    def _film_is_there(self, path: str) -> None:
        self.panel.say(f"written: {path}" if os.path.exists(path) else "no encoder: the pictures are kept, see the log")

    def export(self, times: str) -> None:
        fit = self.current()
        if fit is None:
            return
        path, _ = QtWidgets.QFileDialog.getSaveFileName(self, "Export surfaces", f"{fit.name}.ply", FILTERS)
        if not path:
            return
        name, settings = fit.name, self._shared()
        at = times or f"{self.time.value() / PER_STATE:g}"

        def work() -> Any:
            return dsr_export(name, path, states=at, **settings)

        self.panel.run(f"{name}: its export", work, lambda files: self.panel.say(f"written: {', '.join(files)}"))


def _colours(made: LiveMesh) -> str:
    """What the first and last colour stand for, where values give the colours."""
    if made.span is None:
        return ""
    unit = UNITS.get(made.wish.by, "").replace("A", "Å").replace("_", " ")
    return f" · colours {made.span[0]:.2g} to {made.span[1]:.2g} {unit}".rstrip()


def movie_triangles(count: int) -> int:
    """Triangles for each of `count` states, such that no state takes the window longer than about 50 ms to load.

    Measured: 0.4 µs a triangle, and 0.034 µs for each triangle of the states before, whose extent PyMOL takes anew.
    """
    return int(min(50_000, max(15_000, 0.05 / (0.4e-6 + 0.034e-6 * count))))


def advance(at: float, first: float, last: float, direction: float, mode: str) -> tuple[float, float, bool]:
    """A time that went past the ends brought back as `mode` says; the direction from there; whether it goes on."""
    if first <= at <= last:
        return at, direction, True
    if last <= first or mode == "once":
        return (last if at > last else first), 1.0, False
    length = last - first
    if mode == "loop":
        return first + (at - first) % length, direction, True
    # Before the first state is as far after it, on the way back.
    turns, rest = divmod(abs(at - first), length)
    return (last - rest, -1.0, True) if turns % 2 else (first + rest, 1.0, True)
