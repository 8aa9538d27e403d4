"""A camera that follows a molecule through a movie, as a rigid body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared.superpose import superpose
from .placement import transform
from .timeline import MovieState


def follow(
    order: Sequence[MovieState], atoms: Mapping[float, NDArray[np.float32]], to_scene: NDArray[np.float32], _self: Any
) -> None:
    """Store a camera key for each frame of the movie, so that the molecule stays in its place and unturned.

    order: the movie's frames. atoms: f4[A,3] by time, in the object's frame. to_scene: f4[4,4], its display matrix.
    """
    # Keys and no commands in the frames: PyMOL asks for trust before it opens a session with commands.
    view = _self.get_view()
    positions = {time: transform(xyz, to_scene) for time, xyz in atoms.items()}
    first = positions[order[0].time]
    motions = {time: superpose(xyz, first) for time, xyz in positions.items()}
    for frame, state in enumerate(order, 1):
        _self.set_view(moved_view(view, *motions[state.time]))
        _self.mview("store", first=frame, freeze=1, auto=0)


def moved_view(view: Sequence[float], rotation: NDArray[np.float64], shift: NDArray[np.float64]) -> list[float]:
    """Return the view (PyMOL's 18 numbers) that shows a point where `view` shows rotation @ point + shift."""
    # The nine are a rotation by columns; three the camera, then the origin, which the rotation is about.
    turn = np.reshape(view[:9], (3, 3)).T
    origin = rotation.T @ (np.array(view[12:15]) - shift)
    return [*(turn @ rotation).T.ravel().tolist(), *view[9:12], *origin.tolist(), *view[15:]]


def toward_camera(view: Sequence[float], matrix: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the unit vector f8[3] to the camera, in the frame of an object.

    view: PyMOL's 18 numbers. matrix: [4,4], the object's display matrix.
    """
    turn = np.array(view[:9]).reshape(3, 3)
    direction = matrix[:3, :3].astype(np.float64).T @ turn[:, 2]
    return np.asarray(direction / np.linalg.norm(direction))
