"""Coarse movies of beads, which stand for meshes in a session file where these can't be made again.

PyMOL writes each number of an object in nine bytes: a bead takes 45 of them, a triangle with its normals 120. So many
beads below the surface look closed, which so few triangles do not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cgo import COLOR, FLOAT_BYTES
from .palettes import Colors

# Bytes of the beads of a movie in a session file: with fit and trajectory, one of AdK stays under 20 MB.
MOVIE_BYTES = 1_300_000
# PyMOL's code of a sphere, with its centre and radius.
SPHERE, BEAD_FLOATS = 7.0, 5
MOST_BEADS, LEAST_BEADS = 1_000, 330
# Radius of a bead in widths of its cell, with which the beads of neighbours overlap.
RADIUS = 0.75
# Steps of a colour, so that neighbours share one.
COLOR_STEPS = 8
# Changes of the width of the cells until a state has its number of beads.
ATTEMPTS = 6

Indices = NDArray[np.int64]


def states_per_model(count: int) -> int:
    """Return of how many states of `count` one model of beads is shown."""
    return max(1, math.ceil(count * LEAST_BEADS * BEAD_FLOATS * FLOAT_BYTES / MOVIE_BYTES))


def beads_per_model(count: int) -> int:
    """Return the most beads of each of `count` models."""
    return int(min(MOST_BEADS, MOVIE_BYTES / (BEAD_FLOATS * FLOAT_BYTES * max(count, 1))))


def cell_width(points: NDArray[np.float32], beads: int) -> float:
    """Return the width in Å of the cells of which about as many hold vertices, f4[N,3]; not more."""
    extent = points.max(axis=0) - points.min(axis=0)
    width = math.sqrt(max(float((extent**2).sum()), 1.0) / beads)
    best = 0.0
    for _ in range(ATTEMPTS):
        count = len(bead_vertices(points, width))
        if count <= beads:
            best = min(best, width) if best else width
            if count >= 0.9 * beads:
                break
        width *= math.sqrt(count / (0.95 * beads))
    return best or width


def bead_vertices(points: NDArray[np.float32], width: float) -> Indices:
    """Return the vertex of each cell of a grid that is nearest to the mean of all in it, i8[B].

    points: f4[N,3] in Å. width: of the cells, in Å.
    """
    cells = np.floor(points / width).astype(np.int64)
    cells -= cells.min(axis=0)
    extent = cells.max(axis=0) + 1
    _, cluster = np.unique((cells[:, 0] * extent[1] + cells[:, 1]) * extent[2] + cells[:, 2], return_inverse=True)
    cluster = cluster.ravel()
    counts = np.bincount(cluster)
    means = np.stack([np.bincount(cluster, points[:, axis]) for axis in range(3)], 1) / counts[:, None]
    order = np.lexsort((((points - means[cluster]) ** 2).sum(axis=1), cluster))
    nearest: Indices = order[np.concatenate(([0], np.cumsum(counts)[:-1]))]
    return nearest


def bead_floats(
    points: NDArray[np.float32], normals: NDArray[np.floating[Any]], radius: float, colors: Colors | None
) -> list[float]:
    """Write beads that touch a surface from inside as PyMOL's list of CGO numbers.

    points: f4[B,3] on it, with its normals [B,3], outwards. radius: in Å. colors: f4[B,3], or None for the object's.
    """
    rows = np.empty((len(points), BEAD_FLOATS), np.float32)
    rows[:, 0], rows[:, 1:4], rows[:, 4] = SPHERE, points - radius * normals, radius
    if colors is None:
        return [float(number) for number in rows.ravel()]
    floats: list[float] = []
    steps, group = np.unique(np.rint(colors * COLOR_STEPS), axis=0, return_inverse=True)
    for number, step in enumerate(steps):
        floats += [COLOR, *(step / COLOR_STEPS).tolist(), *rows[group.ravel() == number].ravel().tolist()]
    return floats
