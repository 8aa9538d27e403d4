"""Colours: scales from values, palettes, and the colours of vertices without values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol.constants_palette import palette_dict

from .objects import SceneError

Colors = NDArray[np.float32]

# Of vertices without a colour of their own, from 0 to 1.
GREY = (0.8, 0.8, 0.8)
ORANGE = np.array([1.0, 0.55, 0.1])
VIRIDIS = np.array(
    [
        (0.267, 0.005, 0.329),
        (0.282, 0.095, 0.417),
        (0.279, 0.175, 0.483),
        (0.259, 0.252, 0.525),
        (0.230, 0.322, 0.546),
        (0.199, 0.388, 0.555),
        (0.173, 0.449, 0.558),
        (0.149, 0.508, 0.557),
        (0.128, 0.567, 0.551),
        (0.121, 0.626, 0.533),
        (0.158, 0.684, 0.502),
        (0.246, 0.739, 0.452),
        (0.369, 0.789, 0.383),
        (0.516, 0.831, 0.294),
        (0.678, 0.864, 0.190),
        (0.846, 0.887, 0.100),
        (0.993, 0.906, 0.144),
    ],
    np.float32,
)
# Colours sampled from one of PyMOL's palettes, which are up to 1000 long.
SAMPLES = 21
# The default range is between these percentiles of all states, so that a few odd vertices do not set it.
PERCENTILES = 2.0, 98.0
# Values with a sign are shown around zero, in PyMOL's colours of charges, or blue inwards and red outwards.
SIGNED = {
    "velocity": "blue_white_red",
    "map": "red_white_blue",
    "partial_charge": "red_white_blue",
    "formal_charge": "red_white_blue",
}


@dataclass(frozen=True, eq=False)
class ColorScale:
    """Values and their colours: levels f4[L], rising, and colors f4[L,3]; between them in straight lines."""

    levels: NDArray[np.float32]
    colors: Colors

    @classmethod
    def between(cls, low: float, high: float, colors: Colors) -> ColorScale:
        """Spread colors f4[P,3] evenly from `low` to `high`."""
        return cls(np.linspace(low, high, len(colors), dtype=np.float32), colors)

    def paint(self, values: NDArray[np.floating[Any]]) -> Colors:
        """Return colours f4[N,3] of values f4[N]; grey for NaN."""
        painted = np.stack([np.interp(values, self.levels, channel) for channel in self.colors.T], 1)
        painted[np.isnan(values)] = GREY
        return painted.astype(np.float32)


def value_range(
    values: Sequence[NDArray[np.floating[Any]]], minimum: float | None, maximum: float | None, signed: bool
) -> tuple[float, float]:
    """Choose the range of a scale: the limits of the user, else percentiles of all values; around zero if signed.

    Raises SceneError where the minimum is not below the maximum.
    """
    defined = np.concatenate([array[~np.isnan(array)] for array in values]) if values else np.zeros(0)
    low, high = (float(value) for value in np.percentile(defined, PERCENTILES)) if len(defined) else (0.0, 0.0)
    if signed:
        limits = [abs(limit) for limit in (minimum, maximum) if limit is not None]
        high = max(limits) if limits else max(abs(low), abs(high))
        low = -high
    low, high = (low if minimum is None else minimum), (high if maximum is None else maximum)
    if low >= high:
        if minimum is not None and maximum is not None:
            raise SceneError(f"minimum {low:g} and maximum {high:g}: the maximum must be the larger one")
        # All values are alike, or all are on one side of the user's limit.
        return (high - 1.0, high) if maximum is not None else (low, low + 1.0)
    return low, high


def palette(name: str, _self: Any) -> Colors:
    """Return the colours f4[P,3] of viridis, of a palette of `spectrum`, or of colours joined by _.

    Raises SceneError.
    """
    if name == "viridis":
        return VIRIDIS
    if name in palette_dict:
        prefix, digits, first, last = palette_dict[name]
        words = [f"{prefix}{round(number):0{digits}d}" for number in np.linspace(first, last, SAMPLES)]
    else:
        words = name.replace(" ", "_").split("_")
    unknown = [word for word in words if _self.get_color_index(word) < 0]
    if unknown or len(words) < 2:
        reason = f"PyMOL has no colour {unknown[0]}" if unknown else "it takes two colours or more"
        raise SceneError(f"palette {name}: {reason}; write viridis, one of spectrum's or white_red")
    return np.array([_self.get_color_tuple(word) for word in words], np.float32)


def hexadecimal(rgb: Sequence[float] | Colors) -> str:
    """Write a colour, from 0 to 1, as PyMOL takes it by number: 0xff8000."""
    return "0x" + "".join(f"{round(255 * float(channel)):02x}" for channel in rgb)


def one_color(count: int, rgb: Sequence[float]) -> Colors:
    """Return one colour for `count` vertices, f4[count,3]."""
    return np.tile(np.array(rgb, np.float32), (count, 1))


def tinted(colors: Colors) -> Colors:
    """Tint colours f4[N,3] orange, as extrapolated surfaces are shown."""
    return (0.5 * colors + 0.5 * ORANGE).astype(np.float32)
