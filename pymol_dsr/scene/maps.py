"""Distance grids as PyMOL map objects."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from .timeline import MovieState

# A map without an inside. PyMOL's marching cubes read past the end of much smaller ones, and draw what they find.
NOTHING = np.full((16, 16, 16), -100.0, np.float32)


def mrc_bytes(values: np.ndarray, spacing: float, origin: Sequence[float]) -> bytes:
    """A grid f4[nx,ny,nz] as an MRC map; its origin (Å) may lie anywhere, unlike that of a CCP4 map."""
    header = np.zeros(256, "<i4")
    floats = header.view("<f4")
    shape = values.shape
    header[0:3] = shape
    header[3] = 2
    header[7:10] = shape
    floats[10:13] = np.array(shape) * spacing
    floats[13:16] = 90.0
    header[16:19] = 1, 2, 3
    floats[19:22] = values.min(), values.max(), values.mean()
    header[22] = 1
    floats[49:52] = origin
    header[52] = struct.unpack("<i", b"MAP ")[0]
    header[53] = 0x00004144
    return header.tobytes() + np.ascontiguousarray(values.transpose(2, 1, 0), "<f4").tobytes()


def load_map(frame: MovieState, result: dict[str, Any], arrays: dict[str, np.ndarray], _self: Any) -> None:
    name = f"{frame.object}_map"
    spacing, origin = float(result["spacing"]), result["origin"]
    there = _self.count_states(name) if name in _self.get_names("objects") else 0
    normalize = _self.get("normalize_ccp4_maps")
    _self.set("normalize_ccp4_maps", 0)
    try:
        # An isosurface of states that have no map breaks PyMOL's session; a map without an inside has no surface.
        for gap in range(there + 1, frame.state):
            _self.load_raw(mrc_bytes(NOTHING, spacing, origin), "mrc", name, gap, zoom=0)
        # PyMOL's inside is where a map is high.
        _self.load_raw(mrc_bytes(-arrays["values"], spacing, origin), "mrc", name, frame.state, zoom=0)
    finally:
        _self.set("normalize_ccp4_maps", normalize)
