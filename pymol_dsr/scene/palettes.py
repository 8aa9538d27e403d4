"""Colours: scales from values, palettes, and the colours of vertices without values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymol.constants_palette import palette_dict

from .objects import SceneError

Colors = NDArray[np.float32]

# Colour of vertices without one of their own, from 0 to 1.
GREY = (0.8, 0.8, 0.8)
# Fraction of a colour of values where they are extrapolated; the rest is white.
PALENESS = 0.6
ORANGE = np.array([1.0, 0.55, 0.1])
# Without its first quarter, which is too dark to be seen on a black background: the first colour stands out by 2.8:1.
VIRIDIS = np.array(
    [
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
# Round numbers, times a power of ten; so many steps of one are in a range.
ROUND = (1.0, 2.0, 2.5, 5.0)
LEAST_STEPS, MOST_STEPS = 2, 4
# Fraction of a step: nearer numbers are alike.
CLOSE = 1e-6
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


def check_limits(minimum: float | None, maximum: float | None) -> None:
    """Check the values of the first and the last colour; None for one that the values give. Raises SceneError."""
    if minimum is not None and maximum is not None and minimum >= maximum:
        raise SceneError(f"minimum {minimum:g} and maximum {maximum:g}: the maximum must be the larger one")


def value_range(
    values: Sequence[NDArray[np.floating[Any]]], minimum: float | None, maximum: float | None, signed: bool
) -> tuple[float, float]:
    """Choose the range of a scale: the limits of the user, else percentiles of all values, out to round numbers.

    It is around zero if signed. Raises SceneError where the minimum is not below the maximum.
    """
    check_limits(minimum, maximum)
    defined = np.concatenate([array[~np.isnan(array)] for array in values]) if values else np.zeros(0)
    low, high = (float(value) for value in np.percentile(defined, PERCENTILES)) if len(defined) else (0.0, 0.0)
    if signed:
        limits = [abs(limit) for limit in (minimum, maximum) if limit is not None]
        high = max(limits) if limits else max(abs(low), abs(high))
        low = -high
    low, high = (low if minimum is None else minimum), (high if maximum is None else maximum)
    if low >= high:
        # All values are alike, or all are on one side of the user's limit.
        return (high - 1.0, high) if maximum is not None else (low, low + 1.0)
    outer = out_to_round_numbers(low, high)
    if signed and minimum is None and maximum is None:
        outer = (-outer[1], outer[1])
    chosen = minimum if minimum is not None else -maximum if signed and maximum is not None else outer[0]
    return chosen, maximum if maximum is not None else -minimum if signed and minimum is not None else outer[1]


def round_step(low: float, high: float) -> float:
    """Return a round number of which few steps reach over a range, with little beyond its ends.

    high: larger than `low`.
    """
    power = math.floor(math.log10(high - low)) - 1
    steps = [mantissa * 10.0**exponent for exponent in range(power, power + 4) for mantissa in ROUND]
    counts = {step: _ceiling(high / step) - _floor(low / step) for step in steps}
    admissible = [step for step in steps if LEAST_STEPS <= counts[step] <= MOST_STEPS]
    return min(admissible, key=lambda step: (round(counts[step] * step / (high - low), 6), step))


def out_to_round_numbers(low: float, high: float) -> tuple[float, float]:
    """Return the next round numbers outside a range."""
    step = round_step(low, high)
    return round(step * _floor(low / step), 12) + 0.0, round(step * _ceiling(high / step), 12) + 0.0


def round_numbers(low: float, high: float) -> list[float]:
    """Return the round numbers between two values, both included."""
    step = round_step(low, high)
    first, last = _ceiling(low / step), _floor(high / step)
    return [round(step * number, 12) + 0.0 for number in range(first, last + 1)]


def _floor(number: float) -> int:
    return math.floor(number + CLOSE)


def _ceiling(number: float) -> int:
    return math.ceil(number - CLOSE)


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


def luminance(rgb: Sequence[float] | Colors) -> float:
    """Return the brightness of a colour for the eye, from 0 (black) to 1 (white), as WCAG defines it."""
    channels = np.asarray(rgb, np.float64)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def one_color(count: int, rgb: Sequence[float]) -> Colors:
    """Return one colour for `count` vertices, f4[count,3]."""
    return np.tile(np.array(rgb, np.float32), (count, 1))


def paler(colors: Colors) -> Colors:
    """Mix colours f4[N,3] of values with white, as extrapolated surfaces are shown: their hue can still be read."""
    return (1.0 - PALENESS + colors * PALENESS).astype(np.float32)


def tinted(colors: Colors) -> Colors:
    """Tint colours f4[N,3] orange, as extrapolated surfaces are shown."""
    return (0.5 * colors + 0.5 * ORANGE).astype(np.float32)
