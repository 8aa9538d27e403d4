"""The bar beside a coloured movie, which shows which colour stands for which value."""

from __future__ import annotations

from typing import Any

import numpy as np

from .palettes import ColorScale, hexadecimal, luminance, round_numbers

# Width of a line at a round number, as a fraction of the bar's length; its colours; the luminance between both.
LINE = 0.008
DARK, LIGHT, MIDDLE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.2

# Between the names of a movie and of its values, in the name of a bar.
MARK = "_bar_"
# Units of values, as parts of a bar's name.
UNITS = {
    "motion": "A",
    "speed": "A_per_state",
    "velocity": "A_per_state",
    "spread": "A",
    "vdw": "A",
    "elec_radius": "A",
}


def unit_text(by: str) -> str:
    """Return the unit of values by their kind, with a space before it; empty where they have none."""
    return f" {UNITS[by].replace('_', ' ')}" if by in UNITS else ""


def bar_name(movie: str, by: str) -> str:
    """Name the bar of a movie after its values and their unit: PyMOL gives a ramp no title."""
    kind = by.replace(".", "_")
    while MARK in kind:
        # A property may have any name, and the last mark of a bar's name ends that of the movie.
        kind = kind.replace(MARK, "_")
    return movie + MARK + "_".join(filter(None, [kind, UNITS.get(by, "")]))


def bars_of(movie: str, _self: Any) -> list[str]:
    """List the bars of a movie in the scene, and not those of another one whose name begins like them."""
    names = [name for name in _self.get_names("all") if MARK in name and name.rpartition(MARK)[0] == movie]
    return [name for name in names if _self.get_type(name) == "object:ramp"]


def remove_bars(movie: str, _self: Any) -> None:
    """Delete the bars of a movie."""
    for name in bars_of(movie, _self):
        _self.delete(name)


def rename_bars(movie: str, name: str, scale: ColorScale | None, _self: Any) -> None:
    """Name the bars of a movie after its other name; scale: the one that they show.

    They are made anew: PyMOL ends itself where a ramp is renamed after another one was deleted.
    """
    for bar in bars_of(movie, _self):
        if scale is not None:
            renamed = name + bar.removeprefix(movie)
            is_disabled = bar not in _self.get_names("all", enabled_only=1)
            show_bar(renamed, scale, _self)
            if is_disabled:
                _self.disable(renamed)
        _self.delete(bar)


def disable_bars(movie: str, _self: Any) -> None:
    """Switch the bars of a movie off; PyMOL draws all bars in one place."""
    for name in bars_of(movie, _self):
        _self.disable(name)


def show_bar(name: str, scale: ColorScale, _self: Any) -> None:
    """Show a scale as the bar `name`, with a line at each round number; one that was switched off stays so."""
    marked = with_lines(scale)
    was_disabled = name in _self.get_names("all") and name not in _self.get_names("all", enabled_only=1)
    # Names and not numbers: PyMOL 3 ends itself on lists of numbers.
    colors = [hexadecimal(rgb) for rgb in marked.colors]
    _self.ramp_new(name, "none", [float(level) for level in marked.levels], colors)
    if was_disabled:
        _self.disable(name)


def with_lines(scale: ColorScale) -> ColorScale:
    """Return a scale with a thin line at each round number between its ends, dark on light colours and light on dark.

    PyMOL writes the numbers at the ends.
    """
    low, high = float(scale.levels[0]), float(scale.levels[-1])
    half = 0.5 * LINE * (high - low)
    levels = list(map(float, scale.levels))
    colors = [[float(channel) for channel in rgb] for rgb in scale.colors]
    for number in round_numbers(low, high):
        if not low + 2 * half < number < high - 2 * half:
            continue
        sides = [[float(channel) for channel in rgb] for rgb in scale.paint(np.array([number - half, number + half]))]
        ink = list(DARK if luminance(sides[0]) > MIDDLE else LIGHT)
        inside = [index for index, level in enumerate(levels) if abs(level - number) > half]
        levels, colors = [levels[index] for index in inside], [colors[index] for index in inside]
        start = next(index for index, level in enumerate(levels) if level > number)
        edges = [number - half] * 2 + [number + half] * 2
        levels[start:start], colors[start:start] = edges, [sides[0], ink, ink, sides[1]]
    return ColorScale(np.array(levels, np.float32), np.array(colors, np.float32))
