"""Lossless packing of arrays on the wire."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Exact in f4 to 16 000 A, and what a fit keeps of its atoms.
STEP = 2.0**-10
STEPPED = ("points", "normals", "atoms")
# Values; fewer are not worth it.
LEAST_PACKED = 1024


# Deflate makes at most this many bytes of one.
MAX_RATIO = 1032


def whole_numbers(name: str, array: NDArray[Any]) -> NDArray[np.int32] | None:
    """The array as whole numbers; None where it has no steps, values that are not finite, or too large ones."""
    if array.dtype.str == "<i4":
        return np.asarray(array)
    if array.dtype.str != "<f4" or name not in STEPPED:
        return None
    steps = array * np.float32(1 / STEP)
    # No NaN passes the comparison.
    return np.rint(steps).astype(np.int32) if np.abs(steps).max() < 2.0**30 else None


def pack(whole: NDArray[np.int32]) -> tuple[bytes, dict[str, Any]]:
    """Bytes, and what `_unpack` must be told besides dtype and shape."""
    rest = np.diff(whole, axis=0, prepend=np.zeros_like(whole[:1]))
    differences = bool(np.abs(rest, dtype=np.float32).sum() < np.abs(whole, dtype=np.float32).sum())
    if differences:
        whole = rest
    folded = ((whole << np.int32(1)) ^ (whole >> np.int32(31))).astype("<i4")
    planes = np.ascontiguousarray(folded.reshape(-1).view(np.uint8).reshape(-1, 4).T)
    # What is left is noise without repetitions, of which only some bytes are frequent: looking for nothing but runs
    # packs better, and four times as fast.
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return packer.compress(planes.data) + packer.flush(), {"differences": differences}


def unpack(data: bytes, entry: dict[str, Any], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The array of a shape whose size was checked. Raises ValueError or zlib.error."""
    size = 4 * math.prod(shape)
    unpacker = zlib.decompressobj()
    # One byte more than there must be tells a stream that goes on.
    planes = unpacker.decompress(data, size + 1)
    if len(planes) != size or not unpacker.eof or unpacker.unused_data:
        raise ValueError(f"its {len(data)} bytes do not unpack to the {size} of its shape")
    folded = np.ascontiguousarray(np.frombuffer(planes, np.uint8).reshape(4, -1).T).view("<u4").reshape(shape)
    whole = (folded >> np.uint32(1)).astype(np.int32) ^ -(folded & np.uint32(1)).astype(np.int32)
    if entry["differences"]:
        np.cumsum(whole, axis=0, dtype=np.int32, out=whole)
    if dtype == "<i4":
        return whole.astype("<i4", copy=False)
    return whole.astype("<f4") * np.float32(STEP)
