"""Arrays of f4 as fewer bytes, without loss: differences of integers, in planes of bytes, deflated.

Neighbouring states and nodes differ little, so that their differences have few bits. What is left of them is noise
without repetitions, only some bytes are frequent: deflate codes these best, and ten times faster, when it looks for
nothing but runs.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Bytes of one array: the modes of the largest fit take about 2 GB.
MOST_BYTES = 2**32
# Deflate makes at most this many bytes of one.
MOST_RATIO = 1032
# Values that are multiples of one of these are coded as such.
STEPS = [2.0**-k for k in range(17)]


def encode(values: NDArray[np.float32]) -> tuple[bytes, dict[str, Any]]:
    """Bytes, and what `decode` must be told besides, in JSON values.

    Values that are all multiples of a step (1 to 2⁻¹⁶) are coded as whole numbers of steps, which takes half as many
    bytes as the bits of others.
    """
    values = np.ascontiguousarray(values, np.float32)
    # A few of them refuse nearly all steps that are too wide.
    few = values.reshape(-1)[:: values.size // 1000 + 1]
    for step in STEPS:
        if _steps(few, step) is not None and (whole := _steps(values, step)) is not None:
            how: dict[str, Any] = {"step": step, "shift": 0}
            break
    else:
        shift = _shift(values)
        whole = _ordered(values.view(np.int32) >> np.int32(shift), shift)
        how = {"step": None, "shift": shift}
    axes = []
    for axis in range(whole.ndim):
        rest = np.diff(whole, axis=axis, prepend=np.int32(0))
        if _bits(rest) < _bits(whole):
            whole = rest
            axes.append(axis)
    # Small numbers of either sign have small codes: 0, −1, 1, −2, …
    folded = ((whole << np.int32(1)) ^ (whole >> np.int32(31))).astype("<i4")
    planes = np.ascontiguousarray(folded.reshape(-1).view(np.uint8).reshape(-1, 4).T)
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    data = packer.compress(planes.data) + packer.flush()
    return data, {"shape": list(values.shape), "axes": axes, **how}


def decode(data: bytes | memoryview, how: dict[str, Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The values that `encode` was given, which must be of this shape.

    Raises ValueError, before anything is allocated for the values, where `how` or the number of bytes cannot be.
    """
    step, shift, axes = how["step"], how["shift"], how["axes"]
    if how["shape"] != list(shape):
        raise ValueError(f"it has shape {str(how['shape'])[:80]}, the rest of the file wants {list(shape)}")
    if step is not None and not (isinstance(step, float) and 0.0 < step < math.inf):
        raise ValueError(f"its step is {step!r}")
    if type(shift) is not int or not 0 <= shift < 32:
        raise ValueError(f"its bits are shifted by {shift!r}")
    if not isinstance(axes, list) or axes != sorted({axis for axis in range(len(shape)) if axis in axes}):
        raise ValueError(f"its differences are along {str(axes)[:80]} of {len(shape)} axes")
    size = 4 * math.prod(shape)
    if size > min(MOST_BYTES, MOST_RATIO * len(data)):
        raise ValueError(f"its {len(data)} bytes can't become {size}, which shape {list(shape)} takes")
    unpacker = zlib.decompressobj()
    try:
        # One byte more than there must be tells a stream that goes on.
        planes = unpacker.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"it can't be unpacked: {error}") from error
    if len(planes) != size or not unpacker.eof or unpacker.unused_data:
        more = "more than " if len(planes) > size else ""
        raise ValueError(f"it unpacks to {more}{min(len(planes), size)} bytes, shape {list(shape)} takes {size}")
    folded = np.ascontiguousarray(np.frombuffer(planes, np.uint8).reshape(4, -1).T).view("<u4").reshape(shape)
    del planes
    whole = (folded >> np.uint32(1)).astype(np.int32) ^ -(folded & np.uint32(1)).astype(np.int32)
    del folded
    for axis in axes:
        np.cumsum(whole, axis=axis, dtype=np.int32, out=whole)
    if step is not None:
        return whole.astype(np.float32) * np.float32(step)
    return np.asarray(_ordered(whole, shift) << np.int32(shift)).view(np.float32)


def _steps(values: NDArray[np.float32], step: float) -> NDArray[np.int32] | None:
    """Values as multiples of `step`, or None where some are none."""
    count = values / np.float32(step)
    # No NaN passes the comparison.
    if values.size and not np.abs(count).max() < 2.0**31:
        return None
    whole = count.astype(np.int32)
    return whole if np.array_equal(whole.astype(np.float32) * np.float32(step), values) else None


def _shift(values: NDArray[np.float32]) -> int:
    """Low bits that are 0 in all values: 13 in those that were in half precision."""
    used = int(np.bitwise_or.reduce(values.view(np.uint32), axis=None))
    return (used & -used).bit_length() - 1 if used else 0


def _ordered(bits: NDArray[np.int32], shift: int) -> NDArray[np.int32]:
    """Bits of f4, shifted by `shift`, as integers in the order of the values; or back."""
    return np.asarray(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF >> shift)))


def _bits(whole: NDArray[np.int32]) -> float:
    """About how many bits integers take, in all."""
    return float(np.log2(1.0 + np.abs(whole.astype(np.float32))).sum(dtype=np.float64))
