"""The camera of a movie: it follows a molecule as a rigid body, and turns or comes nearer before the states play."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared.superpose import superpose
from .placement import transform
from .timeline import MovieState

# Times the distance of the camera, from which it comes nearer.
FAR = 3.0


def followed_views(
    view: Sequence[float],
    order: Sequence[MovieState],
    atoms: Mapping[float, NDArray[np.float32]],
    to_scene: NDArray[np.float32],
) -> list[list[float]]:
    """Return the view of each frame of the movie in which the molecule stays in its place and unturned.

    view: of the first frame. order: the movie's frames. atoms: f4[A,3] by time, in the object's frame. to_scene:
    f4[4,4], its display matrix.
    """
    positions = {time: transform(xyz, to_scene) for time, xyz in atoms.items()}
    first = positions[order[0].time]
    motions = {time: superpose(xyz, first) for time, xyz in positions.items()}
    return [moved_view(view, *motions[state.time]) for state in order]


def intro_views(view: Sequence[float], intro: str, count: int) -> list[list[float]]:
    """Return the views of the `count` frames before `view`, which begin and end slowly.

    intro: `turn` goes once around the vertical axis of the picture, `approach` comes from FAR times the distance.
    """
    fractions = [0.5 - 0.5 * math.cos(math.pi * number / count) for number in range(count)]
    if intro == "turn":
        return [turned_view(view, 2.0 * math.pi * fraction) for fraction in fractions]
    return [distant_view(view, FAR + (1.0 - FAR) * fraction) for fraction in fractions]


def turned_view(view: Sequence[float], angle: float) -> list[float]:
    """Return the view (PyMOL's 18 numbers) turned by an angle (radians) around the vertical axis of the picture."""
    turn = np.reshape(view[:9], (3, 3)).T
    across = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return [*(across @ turn).T.ravel().tolist(), *view[9:]]


def distant_view(view: Sequence[float], times: float) -> list[float]:
    """Return the view (PyMOL's 18 numbers) from so many times the distance; the same things are clipped."""
    step = (times - 1.0) * view[11]
    return [*view[:11], view[11] + step, *view[12:15], view[15] - step, view[16] - step, view[17]]


def store_views(views: Sequence[Sequence[float]], _self: Any) -> None:
    """Store a camera key for each frame of the movie."""
    # Keys and no commands in the frames: PyMOL asks for trust before it opens a session with commands.
    for frame, view in enumerate(views, 1):
        _self.set_view(list(view))
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
