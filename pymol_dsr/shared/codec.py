"""Lossless packing of arrays, on the wire and in `.dsr` files."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Å; exact in f4 up to 16 000 Å. A fit keeps its atoms in the same steps.
STEP = 2.0**-10
STEPPED = ("points", "normals", "atoms")
# Values; packing fewer saves nothing.
LEAST_PACKED = 1024


# A byte of a deflate stream unpacks to this many bytes at most.
MAX_RATIO = 1032


def whole_numbers(name: str, array: NDArray[Any]) -> NDArray[np.int32] | None:
    """Return the array as whole numbers; None where it has no steps, values that are not finite, or too large ones."""
    if array.dtype.str == "<i4":
        return np.asarray(array)
    if array.dtype.str != "<f4" or name not in STEPPED:
        return None
    steps = array * np.float32(1 / STEP)
    # No NaN passes the comparison.
    return np.rint(steps).astype(np.int32) if np.abs(steps).max() < 2.0**30 else None


def pack(whole: NDArray[np.int32]) -> tuple[bytes, dict[str, Any]]:
    """Return the packed bytes, and the entry that `unpack` needs besides dtype and shape."""
    deltas = np.diff(whole, axis=0, prepend=np.zeros_like(whole[:1]))
    differences = bool(np.abs(deltas, dtype=np.float32).sum() < np.abs(whole, dtype=np.float32).sum())
    return pack_planes(deltas if differences else whole), {"differences": differences}


def unpack(data: bytes, entry: dict[str, Any], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array of a shape whose size was checked. Raises ValueError."""
    numbers = unpack_planes(data, shape)
    if entry["differences"]:
        np.cumsum(numbers, axis=0, dtype=np.int32, out=numbers)
    if dtype == "<i4":
        return numbers.astype("<i4", copy=False)
    return numbers.astype("<f4") * np.float32(STEP)


def pack_planes(whole: NDArray[np.int32]) -> bytes:
    """Deflate the four byte planes of whole numbers, lowest bytes first; small numbers of either sign take few bytes.

    The rest after differences is noise without repetitions, of which only some bytes are frequent: deflate that
    searches for runs only packs such bytes better, and four to ten times as fast.
    """
    # 0, −1, 1, −2, … become 0, 1, 2, 3, …
    folded = ((whole << np.int32(1)) ^ (whole >> np.int32(31))).astype("<i4")
    planes = np.ascontiguousarray(folded.ravel().view(np.uint8).reshape(-1, 4).T)
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return packer.compress(planes.data) + packer.flush()


def unpack_planes(data: bytes | memoryview, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Return the whole numbers i4 that `pack_planes` packed; the size of the shape must have been checked.

    Raises ValueError for bytes that do not unpack to exactly this shape; it unpacks one byte more at most.
    """
    size = 4 * math.prod(shape)
    unpacker = zlib.decompressobj()
    try:
        # The additional byte shows a stream that continues.
        planes = unpacker.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"its {len(data)} bytes are no deflate stream: {error}") from error
    if len(planes) != size or not unpacker.eof or unpacker.unused_data:
        raise ValueError(f"its {len(data)} bytes do not unpack to the {size} of its shape")
    folded = np.ascontiguousarray(np.frombuffer(planes, np.uint8).reshape(4, size // 4).T).view("<u4").reshape(shape)
    del planes
    return (folded >> np.uint32(1)).astype(np.int32) ^ -(folded & np.uint32(1)).astype(np.int32)
