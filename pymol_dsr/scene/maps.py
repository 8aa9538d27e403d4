"""Signed distances on a lattice as PyMOL map objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import placement

# A map without an inside. PyMOL's marching cubes read past the end of much smaller ones, and draw that.
NOTHING = np.full((16, 16, 16), -100.0, np.float32)
# Numbers of the MRC format: 32-bit floats, byte order of this machine.
MODE_FLOAT, LITTLE_ENDIAN = 2, 0x00004144


@dataclass(frozen=True, eq=False)
class Lattice:
    """Values f4[nx,ny,nz] on nodes; origin: of the first node, spacing: between nodes, both in Å."""

    values: NDArray[np.float32]
    origin: Sequence[float]
    spacing: float

    def to_mrc(self) -> bytes:
        """Write an MRC map; its origin may lie anywhere, unlike that of a CCP4 map."""
        header = np.zeros(256, "<i4")
        floats = header.view("<f4")
        shape = self.values.shape
        header[0:3] = shape
        header[3] = MODE_FLOAT
        header[7:10] = shape
        floats[10:13] = np.array(shape) * self.spacing
        floats[13:16] = 90.0
        header[16:19] = 1, 2, 3
        floats[19:22] = self.values.min(), self.values.max(), self.values.mean()
        header[22] = 1
        floats[49:52] = self.origin
        header[52] = int.from_bytes(b"MAP ", "little")
        header[53] = LITTLE_ENDIAN
        return header.tobytes() + np.ascontiguousarray(self.values.transpose(2, 1, 0), "<f4").tobytes()


def load_map(name: str, state: int, distances: Lattice, _self: Any) -> None:
    """Load distances, positive outside, as a state of the map `name`; earlier states that are missing become empty."""
    # PyMOL's inside is where a map is high.
    load_values(name, state, Lattice(-distances.values, distances.origin, distances.spacing), _self)


def empty_map(name: str, _self: Any) -> None:
    """Take the values out of all states of a map that is to be deleted."""
    for state in range(1, _self.count_states(name) + 1):
        _self.load_raw(Lattice(NOTHING, (0.0, 0.0, 0.0), 1.0).to_mrc(), "mrc", name, state, zoom=0)


def load_values(name: str, state: int, values: Lattice, _self: Any) -> None:
    """Load values, higher inside, as a state of the map `name`; earlier states that are missing become empty."""
    existing = _self.count_states(name) if name in _self.get_names("objects") else 0
    empty = Lattice(NOTHING, values.origin, values.spacing)
    normalize = _self.get("normalize_ccp4_maps")
    _self.set("normalize_ccp4_maps", 0)
    try:
        # An isosurface of states that have no map breaks PyMOL's session; a map without an inside has no surface.
        for gap in range(existing + 1, state):
            _self.load_raw(empty.to_mrc(), "mrc", name, gap, zoom=0)
        _self.load_raw(values.to_mrc(), "mrc", name, state, zoom=0)
    finally:
        _self.set("normalize_ccp4_maps", normalize)


def show_isosurface(name: str, map_name: str, level: float, ttt: list[float], _self: Any) -> None:
    """Show the level (Å, outwards) of a loaded map as the isosurface `name`, both with this display matrix."""
    show_isovalue(name, map_name, -level, ttt, _self)


def show_isovalue(name: str, map_name: str, value: float, ttt: list[float], _self: Any) -> None:
    """Show the surface around the higher values of a loaded map as `name`, both with this display matrix."""
    before = {setting: _self.get(setting) for setting in ("isosurface_algorithm", "auto_zoom")}
    # The other algorithms are not in every build and complain at each state.
    _self.set("isosurface_algorithm", 1)
    _self.set("auto_zoom", 0)
    try:
        _self.isosurface(name, map_name, value)
        for object in (name, map_name):
            placement.place(object, ttt, _self)
        _self.disable(map_name)
    finally:
        for setting, was in before.items():
            _self.set(setting, was)
