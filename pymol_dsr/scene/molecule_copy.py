"""Copies of some atoms of a molecule as an object of its own, with the order of its atoms known."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import placement

_TEMPORARY = "_dsr"
_ROW = "rows.append((ID, name, resi, resn, chain, segi, alt))"


def copy_atoms(
    object: str, indices: NDArray[np.int32], name: str, source_state: int, state: int, _self: Any
) -> NDArray[np.int64]:
    """Create the molecule `name` of the atoms i4[A] (from 0, different) of an object, with one state.

    source_state: whose coordinates it takes at first, where it has the atoms. Returns i8[A]: for each atom of the new
    molecule in its order, which of `indices` it is. PyMOL sorts the atoms of a new object, by its setting retain_order.
    """
    cmd = _self
    cmd.select_list(_TEMPORARY, object, [int(index) + 1 for index in indices], mode="index")
    try:
        # In a discrete object only one state has these atoms.
        states = (source_state, *range(1, cmd.count_states(f"%{object}") + 1))
        atom_state = next((k for k in states if cmd.count_atoms(f"{_TEMPORARY} and state {k}")), source_state)
        # By index: the order in which PyMOL goes through them.
        ascending = np.argsort(indices)
        places: dict[tuple[Any, ...], deque[int]] = defaultdict(deque)
        for index, row in zip(ascending.tolist(), _rows(_TEMPORARY, cmd), strict=True):
            places[row].append(index)
        with placement.without_keys(cmd):
            cmd.create(name, _TEMPORARY, atom_state, state, zoom=0)
    finally:
        cmd.delete(_TEMPORARY)
    return np.array([places[row].popleft() for row in _rows(f"%{name}", cmd)], np.int64)


def _rows(selection: str, _self: Any) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    _self.iterate(selection, _ROW, space={"rows": rows})
    return rows
