"""The tab Play: the surface of a fit at any time, live."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from pymol.Qt import QtCore, QtWidgets

from ...fits.fit import Activity, Fit, Phase, Trajectory
from ...fits.jobs import Jobs
from ...scene.color_bar import UNITS
from ...scene.present_movie import show_state
from ...shared.options import STATES_AFTER, FieldOptions
from ..live import Live, LiveMesh, MeshRequest
from ..widgets import flow, label, narrow, offer, wrapped_label
from .fit_page import NO_FIT
from .movie_actions import MovieActions
from .player import Player
from .surface_controls import SurfaceControls

# After the last change of a control, until the surface is made fine.
REST_MS = 200
# Phases of a fit in which the backend has time for other requests.
BEFORE_FITTING = (Phase.QUEUED, Phase.SURFACES)
NO_TRAJECTORY = "nothing else"
MOVIE_IN_VIEW = "the movie is in view; move the time to have the live surface instead"


class PlayTab(QtWidgets.QWidget):
    """Chooses a fit and a time, and lets the live surface follow."""

    def __init__(self, panel: Any, canvas: Any) -> None:
        super().__init__()
        self.panel = panel
        self.jobs: Jobs = panel.session.jobs
        self._cmd = panel.cmd
        objects_at = partial(panel.session.movies.objects_at, _self=panel.cmd)
        self.live = Live(self, self.jobs, canvas, panel.cmd, objects_at)
        self.live.shown.connect(self._shown)
        self.live.failed.connect(panel.complain)
        self._seen = 0
        self._listed: list[Fit] = []
        self._active = False

        self.fit = QtWidgets.QComboBox()
        self.trajectory = QtWidgets.QComboBox()
        self.towards = QtWidgets.QComboBox()
        self.towards.setToolTip("Another trajectory of the family, to show what lies between the two")
        self.share = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self.share.setRange(0, 100)
        self.share.setValue(50)
        self.share.setToolTip("How far towards it")
        self.player = Player(self)
        self.message = wrapped_label()
        self.message.setMinimumHeight(self.message.fontMetrics().height())
        self.controls = SurfaceControls(self, panel.cmd)
        self.follow = QtWidgets.QCheckBox("The molecule follows")
        self.follow.setChecked(True)
        self.follow.setToolTip("Show the state nearest to this time beside the surface")
        self.actions = MovieActions(
            self,
            self.controls,
            self.player.mode,
            self.current,
            self.field,
            lambda: self.player.time,
            self._before_movie,
            self.live.forget,
        )
        self._lay_out()
        self._rest = QtCore.QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._at_rest)
        self._connect()
        self._choose_fit()

    def _lay_out(self) -> None:
        for combo in (self.fit, self.trajectory, self.towards):
            narrow(combo)
        self.family = QtWidgets.QWidget()
        self.family.setLayout(flow(self.trajectory, QtWidgets.QLabel("towards"), self.towards, self.share))
        form = QtWidgets.QFormLayout(self)
        form.addRow("Sur&face", self.fit)
        form.addRow("T&rajectory", self.family)
        self._family_label = form.labelForField(self.family)
        form.addRow("&Time", self.player.slider)
        form.addRow("", self.player.row())
        form.addRow("", self.message)
        form.addRow(label("&Smoothing", self.controls.smooth), self.controls.smoothing_row())
        form.addRow("&Offset (Å)", self.controls.level)
        form.addRow("R&esolution", self.controls.resolution)
        form.addRow(label("&Colour", self.controls.color), self.controls.color_row())
        form.addRow("", flow(self.controls.steady, self.follow))
        form.addRow(label("&Movie", self.actions.states), self.actions.movie_row())
        form.addRow("", self.actions.film_row())
        form.setFieldGrowthPolicy(QtWidgets.QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)

    def _connect(self) -> None:
        self.fit.currentIndexChanged.connect(self._choose_fit)
        self.trajectory.currentIndexChanged.connect(self._choose_trajectory)
        self.towards.currentIndexChanged.connect(self._changed_towards)
        self.share.valueChanged.connect(self._moved)
        self.player.moved.connect(self._moved)
        self.player.started.connect(self._read_scene_again)
        self.player.paused.connect(self._rest.start)
        self.player.slider.sliderPressed.connect(self._read_scene_again)
        for slider in (self.player.slider, self.share, self.controls.smooth_slider):
            slider.sliderReleased.connect(self._at_rest)
        self.controls.moved.connect(self._moved)
        self.controls.recolored.connect(self._recolor)
        self.controls.faded.connect(self._fade)

    # The chosen fit

    def refresh(self) -> None:
        """Offer the fits that are ready; keep the one that is chosen."""
        ready = [fit for fit in self.jobs.listed() if fit.phase is Phase.READY]
        # By identity: a fit may have given way to another of its name.
        if list(map(id, ready)) == list(map(id, self._listed)):
            return
        before = next((fit for fit in self._listed if fit.name == self.fit.currentText()), None)
        newest = next((fit for fit in reversed(ready) if id(fit) not in map(id, self._listed)), None)
        is_looked_at = self._active and before is not None and before.phase is Phase.READY
        self._listed = ready
        # A surface that is being looked at stays; the tab opens on the newest.
        chosen = before if newest is None or is_looked_at else newest
        offer(self.fit, [fit.name for fit in ready], chosen.name if chosen else "")
        if self.current() is not before or before is None:
            self._choose_fit()

    def choose(self, name: str) -> None:
        """Take the fit of that name and show its surface."""
        self.refresh()
        self.fit.setCurrentIndex(self.fit.findText(name))
        self._choose_fit()
        self.wake()

    def wake(self) -> None:
        """Let the surface follow from now on: the tab is in view."""
        self._active = True
        self._read_scene_again()
        fit = self.current()
        # A movie that plays stays until a control is touched.
        if fit is not None and fit.name not in self._cmd.get_names("objects", enabled_only=1):
            self._moved()
        elif fit is not None:
            self.message.setText(MOVIE_IN_VIEW)

    def sleep(self) -> None:
        """Leave the scene as it is: the tab is out of view."""
        self._active = False
        self.player.pause()

    def poll(self) -> None:
        """Show whether a movie is being loaded, and without a surface, how to have one."""
        self.actions.poll()
        if self.current() is None:
            self.message.setText(self.no_surface())

    def current(self) -> Fit | None:
        """Return the chosen fit, where it is ready."""
        fit = self.jobs.fits.get(self.fit.currentText())
        return fit if fit is not None and fit.phase is Phase.READY else None

    def current_trajectory(self) -> Trajectory | None:
        """Return the chosen trajectory of the chosen fit."""
        fit = self.current()
        return None if fit is None else fit.trajectory(self.trajectory.currentText() if fit.family else "")

    def field(self) -> FieldOptions:
        """Return the chosen trajectory, or what lies between two."""
        fit = self.current()
        if fit is None or not fit.family:
            return FieldOptions()
        if self.towards.currentIndex() <= 0:
            return FieldOptions(trajectory=self.trajectory.currentText())
        return FieldOptions(
            trajectory=self.trajectory.currentText(),
            towards=self.towards.currentText(),
            share=self.share.value() / 100.0,
        )

    def no_surface(self) -> str:
        """Return the reason why there is no surface to show."""
        under_way = [fit.name for fit in self.jobs.listed() if fit.activity is Activity.FIT]
        return f"{under_way[0]} is being made; it is shown here as soon as it is ready" if under_way else NO_FIT

    def _choose_fit(self) -> None:
        self.player.pause()
        fit = self.current()
        self.message.setText("" if fit is not None else self.no_surface())
        names = [trajectory.name for trajectory in fit.trajectories] if fit is not None and fit.family else []
        offer(self.trajectory, names)
        for widget in (self.family, self._family_label):
            widget.setVisible(bool(names))
        self.player.set_enabled(fit is not None)
        self.actions.set_enabled(fit is not None)
        self._choose_trajectory()

    def _choose_trajectory(self) -> None:
        fit, trajectory = self.current(), self.current_trajectory()
        if fit is None or trajectory is None:
            return
        other_names = [member.name for member in fit.trajectories if member is not trajectory]
        offer(self.towards, [NO_TRAJECTORY, *other_names])
        self.share.setEnabled(False)
        first, last = min(trajectory.states), max(trajectory.states)
        shown_time = min(max(float(self._cmd.get_state()), first), last)
        self.player.set_range(trajectory.states, min(float(STATES_AFTER), 0.25 * (last - first)), shown_time)
        report = fit.trajectory_report(trajectory)
        self.controls.set_smoothing(trajectory.states, report.smooth if report else None)
        self.actions.states.setPlaceholderText(f"{first:g}-{last:g}")
        self._read_scene_again()
        self._moved()

    def _changed_towards(self) -> None:
        self.share.setEnabled(self.towards.currentIndex() > 0)
        self._moved()

    # The surface follows

    def _moved(self, *_: Any) -> None:
        """Ask for a quick surface now, and for a fine one when the controls rest."""
        self._request(fine=False)
        if not self.player.playing and not self.player.slider.isSliderDown():
            self._rest.start()

    def _at_rest(self) -> None:
        sliders = (self.player.slider, self.controls.smooth_slider, self.share)
        if not self.player.playing and not any(slider.isSliderDown() for slider in sliders):
            self._request(fine=True)

    def _request(self, fine: bool) -> None:
        fit, trajectory = self.current(), self.current_trajectory()
        if not self._active or fit is None or trajectory is None:
            return
        fits = [f for f in self.jobs.listed() if f.activity is Activity.FIT and f.phase not in BEFORE_FITTING]
        if fits:
            self.message.setText(f"the compute program is at {fits[0].name}; the surface follows when that is done")
        report = fit.trajectory_report(trajectory)
        area = report.area if report else None
        coloring, appearance = self.controls.coloring, self.controls.appearance
        # Calm throughout while the time moves: a state that it passes would flicker.
        moving = self.player.playing or self.player.slider.isSliderDown()
        steady = appearance.is_steady([self.player.time], trajectory.states)
        steady = steady or (moving and appearance.steady is None)
        self.live.request(
            MeshRequest(
                fit,
                trajectory,
                dataclasses.replace(self.field(), steady=steady),
                area=float(area) if area else None,
                time=self.player.time,
                level=self.controls.level.value(),
                smooth=self.controls.width,
                resolution=self.controls.spacing,
                color=coloring.color,
                transparency=appearance.transparency or 0.0,
                by=coloring.by,
                seen=self._seen,
                fine=fine,
            )
        )

    def _read_scene_again(self) -> None:
        # The user may have changed colours and matrix meanwhile.
        self._seen += 1

    def _recolor(self) -> None:
        self._read_scene_again()
        self._request(fine=True)

    def _fade(self) -> None:
        """Give the live surface the chosen transparency, without a new mesh."""
        fit = self.current()
        if fit is not None:
            self.live.fade(fit.name, self.controls.appearance.transparency or 0.0)

    def _before_movie(self, name: str) -> None:
        self.player.pause()
        self._rest.stop()
        # The movie takes its place, a state at a time.
        self.live.hold(name)
        self.message.setText("")

    def _shown(self, mesh: LiveMesh) -> None:
        request, result = mesh.request, mesh.result
        if not mesh.triangles:
            self.message.setText(f"there is no surface at {request.level:g} Å")
        elif result.extrapolated:
            error = result.expected_error
            expected = f", expected error {error:.2f} Å" if error else ""
            self.message.setText(f"state {request.time:g} is predicted{expected}")
        elif request.fine:
            word = "calm" if request.field.steady else "exact" if request.time in request.trajectory.states else ""
            words = [f"{result.volume:,.0f} Å³, {result.area:,.0f} Å²", word, color_text(mesh)]
            self.message.setText(" · ".join(filter(None, words)))
        if self.follow.isChecked():
            self._show_state(request)

    def _show_state(self, request: MeshRequest) -> None:
        cmd, object = self._cmd, request.trajectory.object
        if object not in cmd.get_names("objects"):
            return
        state = min(max(1, round(request.time)), cmd.count_states(f"%{object}"))
        if cmd.get_state() != state:
            show_state(state, cmd)


def color_text(mesh: LiveMesh) -> str:
    """Return the values of the first and the last colour, where values give the colours."""
    if mesh.span is None:
        return ""
    unit = UNITS.get(mesh.request.by, "").replace("A", "Å").replace("_", " ")
    return f"colours {mesh.span[0]:.3g} to {mesh.span[1]:.3g} {unit}".rstrip()
