"""Display matrices of objects (TTT), by which a result lies where its molecule is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Å; what is moved by less is seen in its place.
SEEN = 0.1
IDENTITY = [1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0]


def object_ttt(name: str, _self: Any) -> list[float]:
    """Return the display matrix of an object in PyMOL's own layout (TTT), the identity where there is none."""
    # Not get_object_ttt, which crashes PyMOL 2.5, nor matrix_copy, which also takes the history of moves that are in
    # the coordinates already: that history is removed here.
    exists = name in _self.get_names("objects")
    for state in range(1, _self.count_states(f"%{name}") + 1 if exists else 0):
        displayed = _self.get_object_matrix(name, state=state, incl_ttt=1)
        history = _self.get_object_matrix(name, state=state, incl_ttt=0) or IDENTITY
        # An empty state has no matrix.
        if displayed is not None and list(displayed) != list(history):
            placed = np.reshape(displayed, (4, 4)) @ np.linalg.inv(np.reshape(history, (4, 4)))
            return [float(number) for number in placed.ravel()]
    return list(IDENTITY)


@contextmanager
def without_keys(_self: Any) -> Iterator[None]:
    """Keep PyMOL from storing a key in its movie for each object that is placed, or created from a placed one."""
    stores_keys = _self.get_setting_int("movie_auto_store")
    _self.set("movie_auto_store", 0)
    try:
        yield
    finally:
        _self.set("movie_auto_store", stores_keys)


def place(name: str, ttt: Sequence[float], _self: Any) -> None:
    """Give an object a display matrix (TTT)."""
    with without_keys(_self):
        _self.set_object_ttt(name, list(ttt))


def object_matrix(name: str, _self: Any) -> NDArray[np.float32]:
    """Return the display matrix of an object as f4[4,4] for columns: matrix @ (x, y, z, 1)."""
    return ttt_matrix(object_ttt(name, _self)).astype(np.float32)


def shown_elsewhere(atoms: Mapping[str, NDArray[np.floating[Any]]], _self: Any) -> list[str]:
    """Say which of several objects are shown elsewhere than their coordinates say, where that parts them.

    atoms: [A,3] in Å of a state of each object. Returns a line for each object that its display matrix moves; none
    where all are moved alike.
    """
    matrices = {name: object_matrix(name, _self) for name in atoms}
    first = next(iter(matrices.values()), np.eye(4))
    if all(np.allclose(matrix, first, atol=1e-3) for matrix in matrices.values()):
        return []
    lines = []
    for name, xyz in atoms.items():
        moved = float(np.sqrt(np.mean(np.sum((transform(xyz, matrices[name]) - xyz) ** 2, axis=1))))
        if moved > SEEN:
            lines.append(
                f"{name} is shown elsewhere than its coordinates say: its display matrix moves it by {moved:.1f} A, "
                f"which does not count here; 'reset {name}' shows it where its coordinates are"
            )
    return lines


def ttt_matrix(ttt: Sequence[float]) -> NDArray[np.float64]:
    """Convert PyMOL's own layout of a display matrix (TTT) to f8[4,4] for columns."""
    layout = np.array(ttt, np.float64).reshape(4, 4)
    matrix = np.eye(4)
    matrix[:3, :3] = layout[:3, :3]
    # TTT moves by its last row, turns, and moves by its last column.
    matrix[:3, 3] = layout[:3, :3] @ layout[3, :3] + layout[:3, 3]
    return matrix


def transform(points: NDArray[np.floating[Any]], matrix: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Move points [N,3] by a matrix [4,4] for columns."""
    moved: NDArray[np.floating[Any]] = points @ matrix[:3, :3].T + matrix[:3, 3]
    return moved
