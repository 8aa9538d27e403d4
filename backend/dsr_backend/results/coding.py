"""Codes arrays of f4 in `.dsr` files without loss: differences of whole numbers, in byte planes, deflated.

Neighbouring states and nodes have similar values, so that the differences have few bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.codec import MAX_RATIO, pack_planes, unpack_planes

# Bytes of one array: the modes of the largest fit take about 2 GB.
MAX_BYTES = 2**32
# Largest step of values that are multiples of one; those of fits are below 1.
MAX_STEP = 1e6
# Values that are multiples of one of these steps are coded as multiples.
STEPS = [2.0**-k for k in range(17)]
# Values that are tested against a step before all values are.
SAMPLED_VALUES = 1000
# Values whose bits are counted to choose the axes of differences.
COUNTED_VALUES = 2**16


def encode(values: NDArray[np.float32]) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes, and the entry that `decode` needs, in JSON values: shape, axes, step and shift.

    Values that are all multiples of a step (1 to 2⁻¹⁶) are coded as multiples, which takes half as many bytes as the
    bits of other values.
    """
    values = np.ascontiguousarray(values, np.float32)
    # Nearly all steps that are too wide fail on a few values.
    sample = values.ravel()[:: values.size // SAMPLED_VALUES + 1]
    for step in STEPS:
        if _multiples(sample, step) is not None and (integers := _multiples(values, step)) is not None:
            entry: dict[str, Any] = {"step": step, "shift": 0}
            break
    else:
        shift = _zero_bits(values)
        integers = _ordered_bits(values.view(np.int32) >> np.int32(shift), shift)
        entry = {"step": None, "shift": shift}
    axes = []
    for axis in range(integers.ndim):
        differences = np.diff(integers, axis=axis, prepend=np.int32(0))
        if _bit_count(differences) < _bit_count(integers):
            integers = differences
            axes.append(axis)
    return pack_planes(integers), {"shape": list(values.shape), "axes": axes, **entry}


def decode(data: bytes | memoryview, entry: dict[str, Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the values f4 of this shape that `encode` coded.

    Raises ValueError, before the values are allocated, for an entry or a number of bytes that does not fit the shape.
    """
    step, shift, axes = entry["step"], entry["shift"], entry["axes"]
    if entry["shape"] != list(shape):
        raise ValueError(f"it has shape {str(entry['shape'])[:80]}, the rest of the file wants {list(shape)}")
    if step is not None and not (isinstance(step, float) and 0.0 < step <= MAX_STEP):
        raise ValueError(f"its step is {step!r}")
    if type(shift) is not int or not 0 <= shift < 32:
        raise ValueError(f"its bits are shifted by {shift!r}")
    if not isinstance(axes, list) or axes != sorted({axis for axis in range(len(shape)) if axis in axes}):
        raise ValueError(f"its differences are along {str(axes)[:80]} of {len(shape)} axes")
    size = 4 * math.prod(shape)
    if size > min(MAX_BYTES, MAX_RATIO * len(data)):
        raise ValueError(f"its {len(data)} bytes can't become {size}, which shape {list(shape)} takes")
    integers = unpack_planes(data, shape)
    for axis in axes:
        np.cumsum(integers, axis=axis, dtype=np.int32, out=integers)
    if step is not None:
        return integers.astype(np.float32) * np.float32(step)
    return np.asarray(_ordered_bits(integers, shift) << np.int32(shift)).view(np.float32)


def _multiples(values: NDArray[np.float32], step: float) -> NDArray[np.int32] | None:
    """Return the values as multiples of `step`, or None where a value is none."""
    count = values / np.float32(step)
    # No NaN passes the comparison.
    if values.size and not np.abs(count).max() < 2.0**31:
        return None
    integers = count.astype(np.int32)
    return integers if np.array_equal(integers.astype(np.float32) * np.float32(step), values) else None


def _zero_bits(values: NDArray[np.float32]) -> int:
    """Return the number of low bits that are 0 in all values: 13 where the values were in half precision."""
    used = int(np.bitwise_or.reduce(values.view(np.uint32), axis=None))
    return (used & -used).bit_length() - 1 if used else 0


def _ordered_bits(bits: NDArray[np.int32], shift: int) -> NDArray[np.int32]:
    """Convert the bits of f4, shifted by `shift`, to integers in the order of the values, or back."""
    return np.asarray(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF >> shift)))


def _bit_count(integers: NDArray[np.int32]) -> float:
    """Estimate the bits that integers take, by a sum over some of them."""
    # An odd step meets all rows and columns.
    counted = integers.ravel()[:: integers.size // COUNTED_VALUES | 1]
    return float(np.log2(1.0 + np.abs(counted.astype(np.float32))).sum(dtype=np.float64))
