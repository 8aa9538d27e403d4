"""Triangles as CGO floats, with colours per vertex."""

from __future__ import annotations

from typing import Any

import numpy as np

from .gui_thread import in_gui
from .timeline import MovieState

# Corners of triangles made into Python's numbers at once: a few milliseconds.
CORNERS = 8_192
ORANGE = np.array([1.0, 0.55, 0.1])


PLAIN = (0.8, 0.8, 0.8)


def cgo_floats(points: np.ndarray, normals: np.ndarray, faces: np.ndarray, colors: np.ndarray | None) -> list[float]:
    """A mesh as PyMOL's list of CGO numbers: points, normals, colors f4[N,3] (or no colours), faces
    i4[M,3].
    """
    # BEGIN TRIANGLES is the form that every drawing path shows, and only plain Python floats are taken.
    corners = faces.ravel()
    width = 8 if colors is None else 12
    a = np.empty((len(corners), width), np.float32)
    at = 0
    if colors is not None:
        a[:, 0] = 6.0
        a[:, 1:4] = colors[corners]
        at = 4
    a[:, at] = 5.0
    a[:, at + 1 : at + 4] = normals[corners]
    a[:, at + 4] = 4.0
    a[:, at + 5 : at + 8] = points[corners]
    numbers = [2.0, 4.0]
    # In pieces: the window's thread waits while one is made.
    for start in range(0, len(a), CORNERS):
        numbers += a[start : start + CORNERS].ravel().tolist()
    numbers.append(3.0)
    return numbers


def vertex_colors(
    frame: MovieState, arrays: dict[str, np.ndarray], base: np.ndarray | None, color: str, _self: Any
) -> np.ndarray | None:
    """f4[N,3], or None where the object's own colour is enough."""
    if color and not frame.future:
        return None
    count = len(arrays["points"])
    if color or base is None or "nearest" not in arrays:
        one = in_gui(_self, _self.get_color_tuple, color) if color else PLAIN
        colors = np.tile(np.array(one, np.float32), (count, 1))
    else:
        colors = base[arrays["nearest"]]
    return tinted(colors) if frame.future else colors


def tinted(colors: np.ndarray) -> np.ndarray:
    """Colours f4[N,3] as extrapolated surfaces have them."""
    return (0.5 * colors + 0.5 * ORANGE).astype(np.float32)
