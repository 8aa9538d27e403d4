"""The surface of one state in the scene while its fit goes on, as the object `<fit>_preview`.

Also its names and functions that the panel's live surface needs: one mesh as one object, replaced in place.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.background import Background
from ..fits.fit import Fit
from ..shared import messages
from ..surfaces.source import Surface
from . import cgo, placement
from .atoms import PresentAtoms
from .color_bar import remove_bars
from .gui_thread import in_gui
from .objects import switch_off
from .replies import mesh_of, vertex_colors
from .tags import LIVE, MOVIE, PREVIEW, Tag, object_of, put_tag, tagged_objects

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
            switch_off(self._fit.name, self._self)
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


def preview_name(fit: str, _self: Any) -> str:
    """Return the name of the object of a fit's preview, which the user may have renamed."""
    return object_of(PREVIEW, fit, _self) or str(_self.get_legal_name(f"{fit}_preview"))


def live_name(fit: str, _self: Any) -> str:
    """Return the name of the object of a fit's live surface, which the user may have renamed."""
    return object_of(LIVE, fit, _self) or str(_self.get_legal_name(f"{fit}_live"))


def clear_place(molecule: str, name: str, _self: Any) -> None:
    """Leave `name` as the only surface of a molecule: remove live ones and previews, switch movies off.

    Surfaces of other fits of the molecule would lie in the same place.
    """
    if not molecule:
        return
    for object, tag in tagged_objects(_self).items():
        if tag.molecule != molecule or object == name:
            continue
        if tag.role == MOVIE:
            switch_off(object, _self)
        else:
            remove([object], _self)
            remove_bars(object, _self)


def remove_both(fit: str, _self: Any) -> None:
    """Delete the preview and the live surface of a fit, where its movie takes their place."""
    remove([preview_name(fit, _self), live_name(fit, _self)], _self)


def remove(names: Sequence[str], _self: Any) -> None:
    """Delete objects that are CGOs, with the bars of their colours."""
    for name in names:
        remove_bars(name, _self)
        if name in _self.get_names("objects") and _self.get_type(name) == "object:cgo":
            _self.delete(name)


def put_mesh(name: str, floats: list[float], ttt: Sequence[float], color: str, tag: Tag, _self: Any) -> bool:
    """Load one mesh as the CGO object `name`, in place of its last one; False where another object has that name."""
    if name in _self.get_names("objects"):
        if _self.get_type(name) != "object:cgo":
            return False
    elif color:
        # Coloured before it is first drawn.
        _self.load_cgo(cgo.NOTHING, name, 1, zoom=0)
    if color:
        _self.color(color, name)
    _self.load_cgo(floats, name, 1, zoom=0)
    put_tag(name, tag, _self)
    placement.place(name, ttt, _self)
    return True
