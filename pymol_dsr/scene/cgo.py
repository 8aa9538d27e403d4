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
# Bytes of a number in a session file, which is a pickle.
FLOAT_BYTES = 9
# Numbers made into Python's at once: a few milliseconds.
PIECE = 100_000


def cgo_floats(mesh: Mesh, colors: NDArray[np.float32] | None) -> list[float]:
    """Write a mesh as PyMOL's list of CGO numbers, with colors f4[N,3] of its vertices or without.

    A corner with the colour of the one before it in its fan does not repeat it: PyMOL keeps a colour until the next.
    """
    # BEGIN is the form that every drawing path shows, and only plain Python floats are taken.
    columns = [(NORMAL, mesh.normals), (VERTEX, mesh.points)]
    if colors is not None:
        columns.insert(0, (COLOR, colors))
    operations = np.empty((len(mesh.points), len(columns), OPERATION), np.float32)
    for number, (code, values) in enumerate(columns):
        operations[:, number, 0] = code
        operations[:, number, 1:] = values
    fans = fans_of(mesh.faces)
    is_written = np.ones((len(fans.corners), len(columns)), bool)
    if colors is not None:
        in_order = colors[fans.corners]
        is_written[1:, 0] = (in_order[1:] != in_order[:-1]).any(1)
        is_written[fans.starts, 0] = True
    written = (len(columns) * fans.corners[:, None] + np.arange(len(columns)))[is_written]
    omitted = np.add.reduceat(~is_written[:, 0], fans.starts, dtype=np.int64)
    lengths = OPENING + OPERATION * (len(columns) * fans.sizes - omitted) + 1
    ends = np.cumsum(lengths)
    numbers = np.empty(lengths.sum(), np.float32)
    is_corner = np.ones(len(numbers), bool)
    for place, code in ((ends - lengths, BEGIN), (ends - lengths + 1, TRIANGLE_FAN), (ends - 1, END)):
        numbers[place] = code
        is_corner[place] = False
    numbers[is_corner] = operations.reshape(-1, OPERATION).take(written, 0).ravel()
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
    colors: list[Sequence[float]] = []
    at, color = 0, floats[:0]
    for size in fans.sizes.tolist():
        at += OPENING
        for _ in range(size):
            if floats[at] == COLOR:
                color = floats[at + 1 : at + OPERATION]
                at += OPERATION
            colors.append(color)
            at += 2 * OPERATION
        at += 1
    corners = np.zeros(1 + max(int(faces.max()), int(vertices.max())), np.int64)
    corners[fans.corners] = np.arange(len(fans.corners))
    return np.array([colors[corner] for corner in corners[vertices].tolist()], np.float32)
