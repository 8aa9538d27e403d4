"""The surface of one state in the scene while its fit goes on, as the object `<fit>_preview`."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.background import Background
from ..fits.fit import Fit
from ..shared import messages
from ..surfaces.source import Surface
from . import cgo, placement
from .atoms import PresentAtoms
from .gui_thread import in_gui
from .replies import mesh_of, vertex_colors
from .single_surface import clear_place, live_name, preview_name, put_mesh, remove, switch_off_movie
from .tags import PREVIEW, Tag

# Å between the nodes of the first mesh; the later ones are finer, as far as TRIANGLES lets them.
RESOLUTION = 1.0
# Loading and first drawing a mesh of this size takes the window about 75 ms.
TRIANGLES = 30_000
# Points compared with all atoms at a time.
POINTS = 1024


class Preview:
    """Shows the previews of an unfinished fit; created in the window's thread, called in the reading one."""

    def __init__(self, fit: Fit, _self: Any) -> None:
        self.name = preview_name(fit.name, _self)
        self._fit, self._self = fit, _self
        # Number of previews that have come, which is that of the newest.
        self._count = 0
        self._newest: messages.Preview | None = None
        self._loading = self._shown = self._ended = False
        self._lock = threading.Lock()
        trajectory = fit.trajectories[0]
        self._trajectory = trajectory
        present = PresentAtoms.of(trajectory, _self)
        self._colors, self.radii = present.colors(), present.radii()
        self._ttt = placement.object_ttt(trajectory.object, _self)
        displayed = _self.get_state()
        time = min(trajectory.states, key=lambda state: (abs(state - displayed), state))
        self.options = messages.PreviewOptions(time, RESOLUTION, TRIANGLES)

    def show_surface(self, surface: Surface) -> None:
        """Show PyMOL's own surface of the state soon, until the backend's first preview of the field.

        A larger surface would make the window wait; the backend sends a coarser mesh of that one.
        """
        if surface.state == self.options.time and len(surface.faces) <= TRIANGLES and not self._count:
            self.show_preview(
                messages.Preview(
                    fit=self._fit.name,
                    time=surface.state,
                    final=False,
                    points=surface.points,
                    normals=surface.normals,
                    faces=surface.faces,
                    nearest=nearest_spheres(surface.points, surface.atoms, self.radii),
                )
            )

    def show_preview(self, preview: messages.Preview) -> None:
        """Show a preview soon."""
        with self._lock:
            self._count += 1
            self._newest = preview
            # One thread, however fast they come; those in between are passed over.
            start, self._loading = not self._loading, True
        if start:
            Background(target=self._work, name="dsr-preview", daemon=True).start()

    def end(self) -> None:
        """Take the preview away: the fit has failed."""
        with self._lock:
            self._ended = True
        in_gui(self._self, lambda: remove([preview_name(self._fit.name, self._self)], self._self))

    def _work(self) -> None:
        try:
            while True:
                with self._lock:
                    number, preview, self._newest = self._count, self._newest, None
                    if preview is None:
                        self._loading = False
                        return
                self._load(number, preview)
        except BaseException:
            self._loading = False
            raise

    def _load(self, number: int, preview: messages.Preview) -> None:
        if len(preview.faces):
            floats = cgo.cgo_floats(mesh_of(preview), vertex_colors(preview, self._colors))
            in_gui(self._self, self.show, number, floats)

    def show(self, number: int, floats: list[float]) -> None:
        """Show the mesh with this number, in PyMOL's thread, unless a newer one has come or the fit has failed."""
        # A sharper one may have overtaken this one.
        if self._ended or number < self._count:
            return
        name = preview_name(self._fit.name, self._self)
        if self._shown and name not in self._self.get_names("objects"):
            # The user has deleted it, as by `reinitialize`, or looks at another surface of the molecule.
            return
        if not self._shown:
            self._shown = True
            # Objects that an earlier fit of this name has left would hide it.
            switch_off_movie(self._fit.name, self._trajectory.object, self._self)
            clear_place(self._trajectory.object, self.name, self._self)
            remove([live_name(self._fit.name, self._self)], self._self)
        tag = Tag(PREVIEW, self._fit.name, self._trajectory.object)
        put_mesh(name, floats, self._ttt, "", tag, self._self)


def nearest_spheres(
    points: NDArray[np.float32], atoms: NDArray[np.float32], radii: NDArray[np.float32] | None
) -> NDArray[np.int32]:
    """Return the atom i4[N] whose sphere is nearest to each point f4[N,3] (Å).

    atoms f4[A,3] and radii f4[A] in Å; without radii the nearest centre counts.
    """
    # Relative to the middle: squares of coordinates far from the origin would lose the digits that matter.
    middle = atoms.mean(axis=0)
    centres = atoms - middle
    squares = (centres**2).sum(axis=1)
    nearest = np.empty(len(points), np.int32)
    for start in range(0, len(points), POINTS):
        x = points[start : start + POINTS] - middle
        distances = np.sqrt(np.maximum((x**2).sum(axis=1)[:, None] + squares - 2.0 * x @ centres.T, 0.0))
        nearest[start : start + POINTS] = (distances if radii is None else distances - radii).argmin(axis=1)
    return nearest
