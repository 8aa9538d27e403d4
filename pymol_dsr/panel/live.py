"""One surface in the scene that follows the controls: the latest wish wins, one is on its way at a time."""

from __future__ import annotations

import math
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic, perf_counter, sleep
from typing import Any

import numpy as np
from pymol import cmd
from pymol.Qt import QtCore

from ..backend.client import Call
from ..backend.process import BackendError
from ..fits.background import Background
from ..fits.fit import Fit, JobError, Trajectory
from ..fits.jobs import Jobs
from ..scene import atoms, cgo, color_sources, palettes, placement, preview
from ..scene.objects import SceneError, switch_off
from ..scene.palettes import ColorScale
from ..scene.replies import MeshReply
from ..surfaces import selections

# Triangles per Å² of surface and (1 / spacing)², as the mesher makes them.
TRIANGLES_PER_CELL = 2.9
# Å; finer than this the eye sees no difference, and a movie has its own resolution.
FINEST = 0.5
SLICE = 0.02


class TriangleBudget:
    """How many triangles keep the pauses of the window near `seconds`, learned from those that were drawn."""

    def __init__(self, triangles: int, seconds: float, least: int, most: int) -> None:
        self.triangles, self._seconds = float(triangles), seconds
        self._least, self._most = least, most

    def learn(self, triangles: int, seconds: float) -> None:
        # Half way only: a single pause may have had another reason.
        fitting = triangles * self._seconds / max(seconds, 1e-4)
        self.triangles = min(max(0.5 * (self.triangles + fitting), self._least), self._most)


@dataclass(frozen=True, eq=False)
class Appearance:
    """What of the scene a live surface takes: colours f4[A,3] and radii f4[A] of the atoms, the object's matrix.

    rgb: the colour of all, where there is one.
    """

    colors: np.ndarray | None
    rgb: Sequence[float]
    radii: np.ndarray | None
    place: list[float]

    @classmethod
    def of(cls, trajectory: Trajectory, color: str) -> Appearance:
        colors = None if color else atoms.atom_colors(trajectory, cmd)
        rgb = cmd.get_color_tuple(color) if color else palettes.GREY
        return cls(colors, rgb, atoms.atom_radii(trajectory, cmd), placement.object_ttt(trajectory.object, cmd))


class Shading:
    """Colours by values. The scale grows with what was seen, so that colours stay as they are while time goes on."""

    def __init__(self, wish: MeshRequest) -> None:
        self.by, self._wish = wish.by, wish
        # f4[A], where the values are those of atoms, of what was last asked for.
        self.of_atoms: np.ndarray | None = None
        self.known: Any = None
        self._low, self._high = math.inf, -math.inf
        self._palette = palettes.palette(palettes.SIGNED.get(wish.by, "viridis"), cmd)

    def serves(self, wish: MeshRequest) -> bool:
        # By identity: a fit that was loaded anew has arrays, which know no equality.
        same = self._wish.fit is wish.fit and self._wish.trajectory is wish.trajectory
        return same and (self.by, self._wish.names) == (wish.by, wish.names)

    @property
    def span(self) -> tuple[float, float] | None:
        """Values of the first and last colour; None before anything was seen."""
        return (self._low, self._high) if self._low <= self._high else None

    def paint(self, mesh: dict[str, np.ndarray]) -> np.ndarray:
        """Colours f4[N,3] of a mesh's vertices."""
        if self.of_atoms is not None:
            values = atoms.blend(self.of_atoms, mesh["near"], mesh["shares"])
        else:
            values = np.abs(mesh["velocity"]) if self.by == "speed" else mesh["velocity"]
        if not len(values):
            return np.zeros((0, 3), np.float32)
        low, high = palettes.value_range([values], None, None, self.by in palettes.SIGNED)
        self._low, self._high = min(low, self._low), max(high, self._high)
        return ColorScale.between(self._low, self._high, self._palette).paint(values)


@dataclass(frozen=True, eq=False)
class MeshRequest:
    """A surface that is wanted. which: what requests say of the trajectory. area: Å², to choose a resolution from.

    smooth, resolution: None for the fit's own and for what keeps up. color: one for all, as PyMOL names it, or empty.
    seen: a number that changes when colours and matrix are to be read anew. fine: at rest; otherwise a control is
    moving. by: what colours it instead, as dsr_color calls it: motion, speed, velocity, b.
    """

    fit: Fit
    trajectory: Trajectory
    which: dict[str, Any]
    area: float | None
    time: float
    level: float
    smooth: float | None
    resolution: float | None
    color: str
    seen: int
    fine: bool
    by: str = ""
    born: float = field(default_factory=monotonic)

    @property
    def names(self) -> list[str]:
        """The trajectories it is about, of a family."""
        return [self.which[key] for key in ("trajectory", "towards") if key in self.which]


@dataclass(frozen=True, eq=False)
class LiveMesh:
    wish: MeshRequest
    look: Appearance
    result: dict[str, Any]
    floats: list[float]
    triangles: int
    # Values of the first and last colour, where values give the colours.
    span: tuple[float, float] | None = None


class Live(QtCore.QObject):
    """Meshes in a thread of its own; the scene is changed in the window's, a mesh at a time.

    shown: a Made, when it is in the scene; failed: why there is none, for the user.
    """

    shown = QtCore.Signal(object)
    failed = QtCore.Signal(str)
    _made = QtCore.Signal(object)

    def __init__(self, parent: Any, jobs: Jobs, canvas: Any) -> None:
        """canvas: the widget of the scene, drawn at once, or None."""
        super().__init__(parent)
        self._jobs, self._canvas = jobs, canvas
        # While a control moves, there are to be several a second.
        self.coarse = TriangleBudget(8_000, 0.04, 4_000, 20_000)
        self.fine = TriangleBudget(20_000, 0.045, 8_000, 100_000)
        self.longest = 0.0
        self._wish: MeshRequest | None = None
        self._changed = threading.Condition()
        self._drawn = threading.Event()
        self._forgotten: dict[str, float] = {}
        self._look: tuple[MeshRequest, Appearance] | None = None
        self._shading: Shading | None = None
        self._made.connect(self._draw)
        self._thread = Background(target=self._work, name="dsr-live", daemon=True)
        self._thread.start()

    def want(self, wish: MeshRequest) -> None:
        with self._changed:
            self._wish = wish
            self._changed.notify()

    def forget(self, fit: str) -> None:
        """Take the live surface of a fit away."""
        with self._changed:
            self._wish = None
        self._forgotten[fit] = monotonic()
        preview.remove([preview.live_name(fit, cmd)], cmd)

    # In the thread

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._wish is None:
                    self._changed.wait()
                wish, self._wish = self._wish, None
            try:
                made = self._mesh(wish)
            except (BackendError, JobError, SceneError) as error:
                self.failed.emit(str(error))
                continue
            except Exception as error:
                # The thread goes on: a fault of ours must not leave the window without surfaces.
                traceback.print_exc()
                self.failed.emit(f"the live surface failed: {type(error).__name__}: {error}")
                continue
            if made is None:
                continue
            self._drawn.clear()
            self._made.emit(made)
            # Until it is drawn, so that the window is never asked for two at once.
            if self._drawn.wait(5.0):
                _let_go(made.floats)

    def _mesh(self, wish: MeshRequest) -> LiveMesh | None:
        params: dict[str, Any] = {
            "fit": wish.fit.name,
            "time": wish.time,
            "level": wish.level,
            "smooth": wish.smooth,
            **wish.which,
            **self._spacing(wish),
        }
        look = self._look_of(wish)
        arrays = {} if look.radii is None else {"radii": look.radii}
        shading = None
        if wish.by:
            shading = self._shading_of(wish)
            if shading is None:
                return None
            params["motion" if shading.of_atoms is None else "blend"] = True
        answer = self._answer(self._jobs.connection.backend().submit("mesh", params, arrays), wish)
        if answer is None:
            return None
        result, mesh = answer
        reply = MeshReply.from_wire(result, mesh)
        faces = reply.mesh.faces
        painted = None if wish.color else reply.vertex_colors(look.colors)
        if shading is not None:
            painted = shading.paint(mesh)
        if result.get("extrapolated"):
            painted = palettes.tinted(reply.vertex_colors(None, look.rgb) if painted is None else painted)
        floats = cgo.cgo_floats(reply.mesh, painted) if len(faces) else list(cgo.NOTHING)
        span = None if shading is None else shading.span
        return LiveMesh(wish, look, result, floats, len(faces), span)

    def _look_of(self, wish: MeshRequest) -> Appearance:
        known = self._look
        if known is None or known[0].trajectory is not wish.trajectory or known[0].seen != wish.seen:
            self._look = known = wish, Appearance.of(wish.trajectory, wish.color)
        return known[1]

    def _shading_of(self, wish: MeshRequest) -> Shading | None:
        """The colours by values, with those of the atoms; None where a newer wish has taken its place."""
        shading = self._shading
        if shading is None or not shading.serves(wish):
            shading = Shading(wish)
        if wish.by == "motion" and shading.known != wish.which:
            request = {"fit": wish.fit.name, "time": wish.trajectory.states[0], **wish.which}
            nowhere = {"points": np.zeros((0, 3), np.float32)}
            answer = self._answer(self._jobs.connection.backend().submit("paint", request, nowhere), wish)
            if answer is None:
                return None
            if "excursions" not in answer[1]:
                raise SceneError(f"by motion: the fit {wish.fit.name} holds no atoms")
            shading.of_atoms, shading.known = np.array(answer[1]["excursions"]), wish.which
        elif wish.by == "b" and shading.known != wish.seen:
            shading.of_atoms, shading.known = color_sources.atom_values(wish.trajectory, "b", cmd), wish.seen
        self._shading = shading
        return shading

    def _spacing(self, wish: MeshRequest) -> dict[str, Any]:
        pace = self.fine if wish.fine else self.coarse
        least = wish.resolution or FINEST
        if wish.fine and wish.resolution is not None:
            return {"resolution": least}
        if not wish.area:
            return {"resolution": least, "triangles": int(pace.triangles)}
        # Not the backend's own limit, which meshes again when a guess was too fine.
        fitting = math.sqrt(TRIANGLES_PER_CELL * wish.area / pace.triangles)
        return {"resolution": min(10.0, max(least, fitting))}

    def _answer(self, call: Call, wish: MeshRequest) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """The answer, or None where a newer wish has taken its place."""
        asked = False
        while True:
            try:
                return call.result(SLICE)
            except BackendError as error:
                if error.code == "cancelled":
                    return None
                if error.code != "timeout":
                    raise
            newer = self._wish
            # A coarse one is nearly there; were it dropped for each newer one, none would come while a control moves.
            if newer is not None and not asked and (wish.fine or newer.fit is not wish.fit):
                asked = True
                call.cancel()

    # In the window

    def _draw(self, made: LiveMesh) -> None:
        wish = made.wish
        try:
            if wish.born < self._forgotten.get(wish.fit.name, 0.0):
                return
            began = perf_counter()
            name = preview.live_name(wish.fit.name, cmd)
            if name not in cmd.get_names("objects"):
                # The movie and the preview of the same fit would lie in the same place.
                for movie in (wish.fit.name, "_".join([wish.fit.name, *wish.names])):
                    switch_off(movie, cmd)
                    _switch_off_legend(movie)
                preview.remove([preview.preview_name(wish.fit.name, cmd)], cmd)
            if not preview.put_mesh(name, made.floats, made.look.place, wish.color, cmd):
                self.failed.emit(f"the name {name} is taken by something else; rename or delete that object")
                return
            if self._canvas is not None:
                # Now, so that what is measured is the whole pause.
                self._canvas.repaint()
            seconds = perf_counter() - began
            self.longest = max(self.longest, seconds)
            if made.triangles:
                (self.fine if wish.fine else self.coarse).learn(made.triangles, seconds)
        finally:
            self._drawn.set()
        self.shown.emit(made)


def _switch_off_legend(movie: str) -> None:
    """The bar of a movie's colours and its time in the corner, which are not those of the live surface."""
    for name in cmd.get_names("all", enabled_only=1):
        if name.startswith(f"{movie}_bar_") and cmd.get_type(name) == "object:ramp":
            cmd.disable(name)
    if f"{movie}_time" in cmd.get_names("objects") and cmd.get_title(f"{movie}_time", 1) == selections.ATOMS_TITLE:
        cmd.disable(f"{movie}_time")


def _let_go(floats: list[float]) -> None:
    # All at once, the interpreter would be busy with it for as long as with making them.
    while floats:
        del floats[-50_000:]
        sleep(0)
