"""Triangles as PyMOL's CGO floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared.mesh import Mesh
from .fans import fans_of

# PyMOL's codes (pymol.cgo).
BEGIN, END, VERTEX, NORMAL, COLOR = 2.0, 3.0, 4.0, 5.0, 6.0
TRIANGLE_FAN = 6.0
# An object that is empty but exists.
NOTHING = [0.0]
# Numbers of a code and its three values, and of BEGIN with its kind.
OPERATION, OPENING = 4, 2
# Numbers made into Python's at once: a few milliseconds.
PIECE = 100_000


def cgo_floats(mesh: Mesh, colors: NDArray[np.float32] | None) -> list[float]:
    """Write a mesh as PyMOL's list of CGO numbers, with colors f4[N,3] of its vertices or without."""
    # BEGIN is the form that every drawing path shows, and only plain Python floats are taken.
    columns = [(NORMAL, mesh.normals), (VERTEX, mesh.points)]
    if colors is not None:
        columns.insert(0, (COLOR, colors))
    table = np.empty((len(mesh.points), len(columns), OPERATION), np.float32)
    for number, (code, values) in enumerate(columns):
        table[:, number, 0] = code
        table[:, number, 1:] = values
    fans = fans_of(mesh.faces)
    lengths = OPENING + fans.sizes * OPERATION * len(columns) + 1
    ends = np.cumsum(lengths)
    numbers = np.empty(lengths.sum(), np.float32)
    is_corner = np.ones(len(numbers), bool)
    for place, code in ((ends - lengths, BEGIN), (ends - lengths + 1, TRIANGLE_FAN), (ends - 1, END)):
        numbers[place] = code
        is_corner[place] = False
    numbers[is_corner] = table[fans.corners].ravel()
    floats: list[float] = []
    # In pieces: the window's thread waits while one is converted.
    for start in range(0, len(numbers), PIECE):
        floats += numbers[start : start + PIECE].tolist()
    return floats


def colors_of_vertices(
    floats: Sequence[float], faces: NDArray[np.integer[Any]], vertices: NDArray[np.integer[Any]]
) -> NDArray[np.float32] | None:
    """Return the colours f4[B,3] of vertices in the numbers of a mesh with faces [M,3]; None where it has none.

    A vertex without a triangle has the colour of the first corner.
    """
    if len(floats) <= OPENING or floats[OPENING] != COLOR:
        return None
    fans = fans_of(faces)
    fan = np.repeat(np.arange(len(fans.sizes)), fans.sizes)
    starts = np.full(1 + max(int(faces.max()), int(vertices.max())), OPENING)
    starts[fans.corners] = (OPENING + 1) * fan + OPENING + 3 * OPERATION * np.arange(len(fans.corners))
    return np.array([floats[start + 1 : start + OPERATION] for start in starts[vertices].tolist()], np.float32)
