"""Object matrices (TTT) and visibility of objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

IDENTITY = [1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0]


class SceneError(ValueError):
    """What keeps a result out of the scene, as one line for the user."""


def object_ttt(name: str, _self: Any) -> list[float]:
    """The display matrix of an object in PyMOL's own layout (TTT), the identity where there is none."""
    # Not get_object_ttt, which crashes PyMOL 2.5, nor matrix_copy, which also takes the history of moves that are in
    # the coordinates already: that history is what is taken off here.
    there = name in _self.get_names("objects")
    for state in range(1, _self.count_states(f"%{name}") + 1 if there else 0):
        shown = _self.get_object_matrix(name, state=state, incl_ttt=1)
        history = _self.get_object_matrix(name, state=state, incl_ttt=0) or IDENTITY
        # An empty state has no matrix.
        if shown is not None and list(shown) != list(history):
            placed = np.reshape(shown, (4, 4)) @ np.linalg.inv(np.reshape(history, (4, 4)))
            return [float(number) for number in placed.ravel()]
    return list(IDENTITY)


def object_matrix(name: str, _self: Any) -> np.ndarray:
    """The display matrix of an object as f4[4,4] for columns: matrix @ (x, y, z, 1)."""
    return ttt_matrix(object_ttt(name, _self)).astype(np.float32)


def ttt_matrix(ttt: Sequence[float]) -> np.ndarray:
    """PyMOL's own layout of a display matrix (TTT) as f8[4,4] for columns."""
    t = np.array(ttt, np.float64).reshape(4, 4)
    m = np.eye(4)
    m[:3, :3] = t[:3, :3]
    # TTT moves by its last row, turns, and moves by its last column.
    m[:3, 3] = t[:3, :3] @ t[3, :3] + t[:3, 3]
    return m


def switch_off(name: str, _self: Any) -> bool:
    """Disable an object, if it is one of ours; whether there was one and it was on."""
    if name not in _self.get_names("objects", enabled_only=1) or _self.get_type(name) == "object:molecule":
        return False
    _self.disable(name)
    return True
