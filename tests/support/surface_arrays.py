"""Two small surfaces, and the arrays of a surfaces file that holds them."""

import numpy as np
from dsr_backend.surfaces.surface import Surface
from dsr_backend.surfaces.surfaces_file import FORMAT

POINTS = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]], np.float32)


NORMALS = POINTS / np.float32(3**0.5)


FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)


def surface(state=1.0, **change):
    values = {
        "points": POINTS,
        "normals": NORMALS,
        "faces": FACES,
        "atoms": np.zeros((5, 3)) + state,
        **change,
    }
    return Surface(state, **values)


def larger(state):
    """Another count of points and faces than `surface`, so that the counts in the file matter."""
    return Surface(
        state,
        np.concatenate([POINTS, POINTS * 2]),
        np.concatenate([NORMALS, NORMALS]),
        np.concatenate([FACES, FACES + 4]),
        np.full((5, 3), state),
    )


def arrays(**change):
    """The arrays of a good file of two states; a change to None leaves the array out."""
    values = {
        "format": np.array(FORMAT),
        "states": np.array([1.0, 2.5]),
        "point_counts": np.array([4, 8]),
        "face_counts": np.array([4, 8]),
        "points": np.concatenate([POINTS] * 3),
        "normals": np.concatenate([NORMALS] * 3),
        "faces": np.concatenate([FACES, FACES, FACES + 4]),
        "atoms": np.zeros((2, 5, 3), np.float32),
        "meta": np.array('{"object": "adk"}'),
        **change,
    }
    return {name: value for name, value in values.items() if value is not None}
