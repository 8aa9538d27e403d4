"""Triangles as PyMOL's CGO floats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..shared.mesh import Mesh

# PyMOL's codes (pymol.cgo).
BEGIN, END, VERTEX, NORMAL, COLOR = 2.0, 3.0, 4.0, 5.0, 6.0
TRIANGLES = 4.0
# An object that is empty but exists.
NOTHING = [0.0]
# Corners of triangles made into Python's numbers at once: a few milliseconds.
CORNERS = 8_192


def cgo_floats(mesh: Mesh, colors: NDArray[np.float32] | None) -> list[float]:
    """Write a mesh as PyMOL's list of CGO numbers, with colors f4[N,3] of its vertices or without."""
    # BEGIN TRIANGLES is the form that every drawing path shows, and only plain Python floats are taken.
    corners = mesh.faces.ravel()
    columns = [(NORMAL, mesh.normals), (VERTEX, mesh.points)]
    if colors is not None:
        columns.insert(0, (COLOR, colors))
    table = np.empty((len(corners), len(columns), 4), np.float32)
    for number, (code, values) in enumerate(columns):
        table[:, number, 0] = code
        table[:, number, 1:] = values[corners]
    floats = [BEGIN, TRIANGLES]
    # In pieces: the window's thread waits while one is converted.
    for start in range(0, len(table), CORNERS):
        floats += table[start : start + CORNERS].ravel().tolist()
    floats.append(END)
    return floats
