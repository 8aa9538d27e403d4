"""Colour scales from values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymol.constants_palette import palette_dict

from . import cgo
from .placement import SceneError

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
# Colours taken of one of PyMOL's palettes, which are up to 1000 long.
TAKEN = 21
# The default range is between these percentiles of all states, so that a few odd vertices do not set it.
INNER = 2.0, 98.0


# What has a sign is shown around zero, in PyMOL's colours of charges, or blue inwards and red outwards.
SIGNED = {
    "velocity": "blue_white_red",
    "map": "red_white_blue",
    "partial_charge": "red_white_blue",
    "formal_charge": "red_white_blue",
}


@dataclass(frozen=True)
class ColorScale:
    """Values and their colours: levels f4[L], rising, and colors f4[L,3]; between them in straight lines."""

    levels: np.ndarray
    colors: np.ndarray

    @classmethod
    def between(cls, low: float, high: float, colors: np.ndarray) -> ColorScale:
        return cls(np.linspace(low, high, len(colors), dtype=np.float32), colors)

    def paint(self, values: np.ndarray) -> np.ndarray:
        """Colours f4[N,3] of values f4[N]; those that are not there (nan) are grey."""
        painted = np.stack([np.interp(values, self.levels, channel) for channel in self.colors.T], 1)
        painted[np.isnan(values)] = cgo.PLAIN
        return painted.astype(np.float32)


def value_range(
    values: Sequence[np.ndarray], minimum: float | None, maximum: float | None, signed: bool
) -> tuple[float, float]:
    """The range of a scale: as given, else between percentiles of all values, and around zero for signed ones.

    Raises SceneError for a range that is none.
    """
    there = np.concatenate([v[~np.isnan(v)] for v in values]) if values else np.zeros(0)
    low, high = (float(p) for p in np.percentile(there, INNER)) if len(there) else (0.0, 0.0)
    if signed:
        given = [abs(m) for m in (minimum, maximum) if m is not None]
        high = max(given) if given else max(abs(low), abs(high))
        low = -high
    low, high = (low if minimum is None else minimum), (high if maximum is None else maximum)
    if low >= high:
        if minimum is not None and maximum is not None:
            raise SceneError(f"minimum {low:g} and maximum {high:g}: the maximum must be the larger one")
        # All alike, or all on one side of what is given.
        return (high - 1.0, high) if maximum is not None else (low, low + 1.0)
    return low, high


def palette(name: str, _self: Any) -> np.ndarray:
    """A palette's colours f4[P,3]: viridis, one of those of `spectrum`, or colours joined by _. Raises SceneError."""
    if name == "viridis":
        return VIRIDIS
    if name in palette_dict:
        prefix, digits, first, last = palette_dict[name]
        words = [f"{prefix}{round(n):0{digits}d}" for n in np.linspace(first, last, TAKEN)]
    else:
        words = name.replace(" ", "_").split("_")
    unknown = [word for word in words if _self.get_color_index(word) < 0]
    if unknown or len(words) < 2:
        why = f"PyMOL has no colour {unknown[0]}" if unknown else "it takes two colours or more"
        raise SceneError(f"palette {name}: {why}; write viridis, one of spectrum's or white_red")
    return np.array([_self.get_color_tuple(word) for word in words], np.float32)
