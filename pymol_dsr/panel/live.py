"""One surface in the scene that follows the controls: the newest request counts, and one is computed at a time."""

from __future__ import annotations

import dataclasses
import math
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic, perf_counter, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol.Qt import QtCore

from ..backend.client import Call
from ..backend.process import BackendError
from ..backend.reply_checks import AnyResult
from ..fits.background import Background
from ..fits.fit import Fit, JobError, Trajectory
from ..fits.jobs import Jobs
from ..scene import atoms, cgo, color_bar, color_sources, palettes, placement, single_surface
from ..scene.objects import SceneError
from ..scene.palettes import Colors, ColorScale
from ..scene.replies import mesh_of, vertex_colors
from ..scene.tags import LIVE, Tag
from ..shared import messages
from ..shared.options import TRIANGLES_PER_CELL, FieldOptions, MeshOptions, mesh_resolution
from ..surfaces import selections

# Å. The backend takes no wider spacing.
WIDEST = 10.0
# Between two looks at whether a newer request has come.
POLL_SECONDS = 0.02
# A window that takes longer to draw a mesh gets the next one all the same.
DRAWING_SECONDS = 5.0


class TriangleBudget:
    """Number of triangles that keeps the pauses of the window near `seconds`, learned from those that were drawn."""

    def __init__(self, triangles: int, seconds: float, least: int, most: int) -> None:
        self.triangles, self._seconds = float(triangles), seconds
        self._least, self._most = least, most

    def learn(self, triangles: int, seconds: float) -> None:
        """Move half of the way to what a pause says. A single one may have had another reason."""
        fitting = triangles * self._seconds / max(seconds, 1e-4)
        self.triangles = min(max(0.5 * (self.triangles + fitting), self._least), self._most)


@dataclass(frozen=True, eq=False)
class Appearance:
    """The part of the scene that a live surface takes: colours f4[A,3] and radii f4[A] of the atoms, their TTT matrix.

    rgb: the colour of all, where there is one.
    """

    colors: Colors | None
    rgb: Sequence[float]
    radii: NDArray[np.float32] | None
    ttt: list[float]

    @classmethod
    def of(cls, trajectory: Trajectory, color: str, _self: Any) -> Appearance:
        """Read it from the scene as it is now."""
        present = atoms.PresentAtoms.of(trajectory, _self)
        colors = None if color else present.colors()
        rgb = _self.get_color_tuple(color) if color else palettes.GREY
        return cls(colors, rgb, present.radii(), placement.object_ttt(trajectory.object, _self))


class ValueColors:
    """Colours by values. The scale grows with the values, so that colours stay as they are while time goes on.

    atom_values: f4[A], where the values are those of atoms; key: what they were read for.
    """

    def __init__(self, request: MeshRequest, _self: Any) -> None:
        self.by, self._request = request.by, request
        self.atom_values: NDArray[np.float32] | None = None
        self.key: Any = None
        self._low, self._high = math.inf, -math.inf
        self._palette = palettes.palette(palettes.SIGNED.get(request.by, "viridis"), _self)

    def serves(self, request: MeshRequest) -> bool:
        """Whether the scale is one for this request, too."""
        # By identity: a fit that was loaded anew has arrays, which know no equality.
        same_fit = self._request.fit is request.fit and self._request.trajectory is request.trajectory
        return same_fit and (self.by, self._request.members) == (request.by, request.members)

    @property
    def scale(self) -> ColorScale | None:
        """The values and their colours; None before there was a value."""
        return ColorScale.between(self._low, self._high, self._palette) if self._low <= self._high else None

    def paint(self, mesh: messages.MeshResult) -> Colors:
        """Colours f4[N,3] of a mesh's vertices. Raises SceneError where it came without what they are made of."""
        values = self._values(mesh)
        if not len(values):
            return np.zeros((0, 3), np.float32)
        low, high = palettes.value_range([values], None, None, self.by in palettes.SIGNED)
        self._low, self._high = palettes.out_to_round_numbers(min(low, self._low), max(high, self._high))
        return ColorScale.between(self._low, self._high, self._palette).paint(values)

    def _values(self, mesh: messages.MeshResult) -> NDArray[np.float32]:
        """Return the values f4[N] of the vertices."""
        if self.atom_values is None:
            if mesh.velocity is None:
                raise SceneError(f"by {self.by}: the surface came without velocities; choose other colours")
            return np.abs(mesh.velocity) if self.by == "speed" else mesh.velocity
        if mesh.neighbor_indices is None or mesh.weights is None:
            raise SceneError(f"by {self.by}: the surface came without its nearest atoms; choose other colours")
        return atoms.blend(self.atom_values, mesh.neighbor_indices, mesh.weights)


@dataclass(frozen=True, eq=False)
class MeshRequest:
    """A surface that is asked for. area: Å², to choose a resolution from.

    smooth, resolution: None for the fit's own and for what keeps up. color: one for all, as PyMOL names it, or empty.
    by: what colours it instead, as dsr_color calls it: motion, speed, velocity, b. seen: a number that changes when
    colours and matrix are to be read again. transparency: 0 to 1. fine: at rest; otherwise a control is moving.
    """

    fit: Fit
    trajectory: Trajectory
    field: FieldOptions
    area: float | None
    time: float
    level: float
    smooth: float | None
    resolution: float | None
    color: str
    seen: int
    fine: bool
    by: str = ""
    transparency: float = 0.0
    created: float = dataclasses.field(default_factory=monotonic)

    @property
    def members(self) -> list[str]:
        """The trajectories of a family that it is about."""
        return [name for name in (self.field.trajectory, self.field.towards) if name]


@dataclass(frozen=True, eq=False)
class LiveMesh:
    """A mesh for the scene, as CGO floats. scale: the values and their colours, where values give the colours."""

    request: MeshRequest
    appearance: Appearance
    result: messages.MeshResult
    floats: list[float]
    triangles: int
    scale: ColorScale | None = None

    @property
    def span(self) -> tuple[float, float] | None:
        """Values of the first and last colour, where values give the colours."""
        return None if self.scale is None else (float(self.scale.levels[0]), float(self.scale.levels[-1]))


class Live(QtCore.QObject):
    """Computes meshes in a thread of its own; the scene is changed in the window's thread, a mesh at a time.

    shown: a LiveMesh that is in the scene; failed: why there is none, for the user.
    """

    shown = QtCore.Signal(object)
    failed = QtCore.Signal(str)
    _computed = QtCore.Signal(object)

    def __init__(
        self,
        parent: Any,
        jobs: Jobs,
        canvas: Any,
        _self: Any,
        objects_at: Callable[[str], list[str]] = lambda molecule: [],
    ) -> None:
        """canvas: the widget of the scene, drawn at once, or None. objects_at: the movies' objects of a molecule."""
        super().__init__(parent)
        self._objects_at = objects_at
        self._jobs, self._canvas, self._self = jobs, canvas, _self
        # While a control moves, there are to be several a second.
        self.coarse = TriangleBudget(8_000, 0.04, 4_000, 20_000)
        self.fine = TriangleBudget(20_000, 0.045, 8_000, 100_000)
        self.longest = 0.0
        self._next: MeshRequest | None = None
        self._changed = threading.Condition()
        self._drawn = threading.Event()
        # Time of the removal by fit: older requests are not drawn any more.
        self._removed: dict[str, float] = {}
        self._appearance: tuple[MeshRequest, Appearance] | None = None
        self._value_colors: ValueColors | None = None
        # Surface, kind of values and their range that the bar was made for.
        self._bar: tuple[str, str, tuple[float, float] | None] | None = None
        self._computed.connect(self.draw)
        self._thread = Background(target=self._work, name="dsr-live", daemon=True)
        self._thread.start()

    def request(self, request: MeshRequest) -> None:
        """Ask for a surface, in place of the one that was asked for before."""
        with self._changed:
            self._next = request
            self._changed.notify()

    def hold(self, fit: str) -> None:
        """Leave the live surface of a fit as it is, whatever was asked for before."""
        with self._changed:
            self._next = None
        self._removed[fit] = monotonic()

    def forget(self, fit: str) -> None:
        """Remove the live surface of a fit."""
        self.hold(fit)
        single_surface.remove([single_surface.live_name(fit, self._self)], self._self)

    def fade(self, fit: str, transparency: float) -> None:
        """Give the live surface of a fit this transparency, 0 to 1."""
        name = single_surface.live_name(fit, self._self)
        if name in self._self.get_names("objects"):
            self._self.set("cgo_transparency", transparency, name)

    # In the thread

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._next is None:
                    self._changed.wait()
                request, self._next = self._next, None
            try:
                mesh = self._mesh(request)
            except (BackendError, JobError, SceneError) as error:
                self.failed.emit(str(error))
                continue
            except Exception as error:
                # The thread goes on: a fault of ours must not leave the window without surfaces.
                traceback.print_exc()
                self.failed.emit(f"the live surface failed: {type(error).__name__}: {error}")
                continue
            if mesh is None:
                continue
            self._drawn.clear()
            self._computed.emit(mesh)
            # Until it is drawn, so that the window is never asked for two at once.
            if self._drawn.wait(DRAWING_SECONDS):
                _free_slowly(mesh.floats)

    def _mesh(self, request: MeshRequest) -> LiveMesh | None:
        """Return the mesh; None where a newer request has taken its place."""
        appearance = self._appearance_of(request)
        value_colors = None
        if request.by:
            value_colors = self._value_colors_of(request)
            if value_colors is None:
                return None
        message = messages.Mesh(
            fit=request.fit.name,
            field=request.field,
            time=request.time,
            mesh=self.mesh_options(request),
            blend=value_colors is not None and value_colors.atom_values is not None,
            motion=value_colors is not None and value_colors.atom_values is None,
            radii=appearance.radii,
        )
        result = self._answer(self._jobs.connection.backend().submit(message), request)
        if result is None:
            return None
        colors = None if request.color else vertex_colors(result, appearance.colors)
        if value_colors is not None:
            colors = value_colors.paint(result)
        if result.extrapolated and value_colors is not None and colors is not None:
            colors = palettes.paler(colors)
        elif result.extrapolated:
            colors = palettes.tinted(vertex_colors(result, None, appearance.rgb) if colors is None else colors)
        triangles = len(result.faces)
        floats = cgo.cgo_floats(mesh_of(result), colors) if triangles else list(cgo.NOTHING)
        return LiveMesh(request, appearance, result, floats, triangles, value_colors.scale if value_colors else None)

    def _appearance_of(self, request: MeshRequest) -> Appearance:
        last = self._appearance
        if last is None or last[0].trajectory is not request.trajectory or last[0].seen != request.seen:
            last = self._appearance = request, Appearance.of(request.trajectory, request.color, self._self)
        return last[1]

    def _value_colors_of(self, request: MeshRequest) -> ValueColors | None:
        """Return the colours by values, with those of the atoms; None where a newer request has taken its place."""
        colors = self._value_colors
        if colors is None or not colors.serves(request):
            colors = ValueColors(request, self._self)
        if request.by == "motion" and colors.key != request.field:
            message = messages.Paint(
                fit=request.fit.name,
                field=request.field,
                time=request.trajectory.states[0],
                points=np.zeros((0, 3), np.float32),
            )
            result = self._answer(self._jobs.connection.backend().submit(message), request)
            if result is None:
                return None
            if result.rmsf is None:
                raise SceneError(f"by motion: the fit {request.fit.name} holds no atoms")
            colors.atom_values, colors.key = np.array(result.rmsf), request.field
        elif request.by == "b" and colors.key != request.seen:
            colors.atom_values = color_sources.atom_values(request.trajectory, "b", self._self)
            colors.key = request.seen
        self._value_colors = colors
        return colors

    def mesh_options(self, request: MeshRequest) -> MeshOptions:
        """Level and smoothing of a mesh, and how fine it is."""
        options = MeshOptions(level=request.level, smooth=request.smooth)
        budget = self.fine if request.fine else self.coarse
        least = request.resolution or mesh_resolution(request.fit.report.preset)
        if request.fine and request.resolution is not None:
            return dataclasses.replace(options, resolution=least)
        if not request.area:
            return dataclasses.replace(options, resolution=least, triangles=int(budget.triangles))
        # Not the backend's own limit, which meshes again when a guess was too fine.
        fitting = math.sqrt(TRIANGLES_PER_CELL * request.area / budget.triangles)
        return dataclasses.replace(options, resolution=min(WIDEST, max(least, fitting)))

    def _answer(self, call: Call[AnyResult], request: MeshRequest) -> AnyResult | None:
        """Return the answer, or None where a newer request has taken its place."""
        cancelling = False
        while True:
            try:
                return call.result(POLL_SECONDS)
            except BackendError as error:
                if error.code == "cancelled":
                    return None
                if error.code != "timeout":
                    raise
            newer = self._next
            # A coarse one comes soon; were it dropped for each newer one, none would come while a control moves.
            if newer is not None and not cancelling and (request.fine or newer.fit is not request.fit):
                cancelling = True
                call.cancel()

    # In the window

    def draw(self, mesh: LiveMesh) -> None:
        """Load a mesh into the scene, unless the live surface was removed after it was asked for."""
        request, cmd = mesh.request, self._self
        try:
            if request.created < self._removed.get(request.fit.name, 0.0):
                return
            started_at = perf_counter()
            name = single_surface.live_name(request.fit.name, cmd)
            fresh = name not in cmd.get_names("objects")
            if fresh:
                # Movies of the same molecule and the preview would lie in the same place.
                default = "_".join([request.fit.name, *request.members])
                for movie in (request.fit.name, default, *self._objects_at(request.trajectory.object)):
                    single_surface.switch_off_movie(movie, request.trajectory.object, cmd)
                    _switch_off_legend(movie, cmd)
                single_surface.remove([single_surface.preview_name(request.fit.name, cmd)], cmd)
            molecule = request.trajectory.object
            single_surface.clear_place(molecule, name, cmd)
            tag = Tag(LIVE, request.fit.name, molecule)
            if not single_surface.put_mesh(name, mesh.floats, mesh.appearance.ttt, request.color, tag, cmd):
                self.failed.emit(f"the name {name} is taken by something else; rename or delete that object")
                return
            if fresh:
                cmd.set("cgo_transparency", request.transparency, name)
            self._show_bar(name, mesh)
            if self._canvas is not None:
                # Now, so that the whole pause is measured.
                self._canvas.repaint()
            seconds = perf_counter() - started_at
            self.longest = max(self.longest, seconds)
            if mesh.triangles:
                (self.fine if request.fine else self.coarse).learn(mesh.triangles, seconds)
        finally:
            self._drawn.set()
        self.shown.emit(mesh)

    def _show_bar(self, name: str, mesh: LiveMesh) -> None:
        """Show the bar of the surface's values as they are now; none where other things colour it."""
        bar_state = (name, mesh.request.by, mesh.span)
        if bar_state == self._bar and (mesh.scale is None or color_bar.bars_of(name, self._self)):
            return
        self._bar = bar_state
        current_bar = color_bar.bar_name(name, mesh.request.by)
        for bar in color_bar.bars_of(name, self._self):
            if mesh.scale is None or bar != current_bar:
                self._self.delete(bar)
        if mesh.scale is not None:
            color_bar.show_bar(current_bar, mesh.scale, self._self)


def _switch_off_legend(movie: str, _self: Any) -> None:
    """Switch off the bar of a movie's colours and its time in the corner: they are not those of the live surface."""
    color_bar.disable_bars(movie, _self)
    label = f"{movie}_time"
    if label in _self.get_names("objects") and _self.get_title(label, 1) == selections.ATOMS_TITLE:
        _self.disable(label)


def _free_slowly(floats: list[float]) -> None:
    # All at once, the interpreter would be busy with it for as long as with filling the list.
    while floats:
        del floats[-50_000:]
        sleep(0)
