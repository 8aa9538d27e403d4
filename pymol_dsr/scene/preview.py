"""The surface of one state in the scene while its fit goes on, as the object `<fit>_preview`.

Also what it shares with the panel's live surface: one mesh as one object, replaced in place.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..fits.background import Background
from ..fits.fit import Arrays, Fit
from . import atoms, cgo, gui_thread, placement

# Å between the nodes of the first mesh; the later ones are finer, as far as TRIANGLES lets them.
RESOLUTION = 1.0
# Loading and first drawing a mesh of this size takes the window about 50 ms.
TRIANGLES = 20_000


class Preview:
    """Shows what the backend sends of an unfinished fit; made in the window's thread, called in the reading one."""

    def __init__(self, fit: Fit, _self: Any) -> None:
        self.name = preview_name(fit.name, _self)
        self._fit, self._self = fit, _self
        self._count = 0
        self._waiting: Arrays | None = None
        self._loading = self._begun = self._over = False
        self._lock = threading.Lock()
        first = fit.trajectories[0]
        self._colors = atoms.atom_colors(first, _self)
        self._place = placement.object_ttt(first.object, _self)
        now = _self.get_state()
        time = min(first.states, key=lambda s: (abs(s - now), s))
        radii = atoms.atom_radii(first, _self)
        self.request: tuple[dict[str, Any], Arrays] = (
            {"time": time, "resolution": RESOLUTION, "triangles": TRIANGLES},
            {} if radii is None else {"radii": radii},
        )

    def __call__(self, params: dict[str, Any], arrays: Arrays) -> None:
        with self._lock:
            self._count += 1
            self._waiting = arrays
            # One thread, however fast they come; those in between are passed over.
            start, self._loading = not self._loading, True
        if start:
            Background(target=self._work, name="dsr-preview", daemon=True).start()

    def end(self) -> None:
        """Take it away: there will be no fit."""
        with self._lock:
            self._over = True
        gui_thread.in_gui(self._self, remove, [self.name], self._self)

    def _work(self) -> None:
        try:
            while True:
                with self._lock:
                    number, arrays, self._waiting = self._count, self._waiting, None
                    if arrays is None:
                        self._loading = False
                        return
                self._load(number, arrays)
        except BaseException:
            self._loading = False
            raise

    def _load(self, number: int, arrays: Arrays) -> None:
        if not len(arrays["faces"]):
            return
        colors = vertex_colors(arrays, self._colors)
        floats = cgo.cgo_floats(arrays["points"], arrays["normals"], arrays["faces"], colors)
        gui_thread.in_gui(self._self, self._show, number, floats)

    def _show(self, number: int, floats: list[float]) -> None:
        # A sharper one may have overtaken this one.
        if self._over or number < self._count:
            return
        if not self._begun:
            self._begun = True
            # What an earlier fit of this name has left would hide it.
            placement.switch_off(self._fit.name, self._self)
            remove([live_name(self._fit.name, self._self)], self._self)
        put(self.name, floats, self._place, "", self._self)


def preview_name(fit: str, _self: Any) -> str:
    return str(_self.get_legal_name(f"{fit}_preview"))


def live_name(fit: str, _self: Any) -> str:
    return str(_self.get_legal_name(f"{fit}_live"))


def remove_both(fit: str, _self: Any) -> None:
    """Delete the preview and the live surface of a fit, where its movie takes their place."""
    remove([preview_name(fit, _self), live_name(fit, _self)], _self)


def remove(names: Sequence[str], _self: Any) -> None:
    for name in names:
        if name in _self.get_names("objects") and _self.get_type(name) == "object:cgo":
            _self.delete(name)


def vertex_colors(arrays: Arrays, colors: np.ndarray | None) -> np.ndarray:
    """Colours f4[N,3] of a mesh's vertices from those of the atoms f4[A,3], or plain ones."""
    if colors is None or "nearest" not in arrays:
        return plain(arrays, cgo.PLAIN)
    return colors[arrays["nearest"]]


def plain(arrays: Arrays, rgb: Sequence[float]) -> np.ndarray:
    """One colour for all vertices of a mesh, f4[N,3]."""
    return np.tile(np.array(rgb, np.float32), (len(arrays["points"]), 1))


def put(name: str, floats: list[float], place: Sequence[float], color: str, _self: Any) -> bool:
    """One mesh as the CGO object `name`, instead of what it held; False where something else has that name."""
    if name in _self.get_names("objects"):
        if _self.get_type(name) != "object:cgo":
            return False
    elif color:
        # Coloured before it is first drawn.
        _self.load_cgo([0.0], name, 1, zoom=0)
    if color:
        _self.color(color, name)
    _self.load_cgo(floats, name, 1, zoom=0)
    _self.set_object_ttt(name, list(place))
    return True
