"""The bar beside a coloured movie, which shows which colour stands for which value."""

from __future__ import annotations

from typing import Any

from .palettes import ColorScale, hexadecimal

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
    return "_".join(filter(None, [movie, "bar", by.replace(".", "_"), UNITS.get(by, "")]))


def bars_of(movie: str, _self: Any) -> list[str]:
    """List the bars of a movie in the scene."""
    names = [name for name in _self.get_names("all") if name.startswith(f"{movie}_bar_")]
    return [name for name in names if _self.get_type(name) == "object:ramp"]


def remove_bars(movie: str, _self: Any) -> None:
    """Delete the bars of a movie."""
    for name in bars_of(movie, _self):
        _self.delete(name)


def rename_bars(movie: str, name: str, _self: Any) -> None:
    """Name the bars of a movie after its other name."""
    for bar in bars_of(movie, _self):
        _self.set_name(bar, name + bar.removeprefix(movie))


def disable_bars(movie: str, _self: Any) -> None:
    """Switch the bars of a movie off; PyMOL draws all bars in one place."""
    for name in bars_of(movie, _self):
        _self.disable(name)


def show_bar(name: str, scale: ColorScale, _self: Any) -> None:
    """Show a scale as the bar `name`."""
    # Names and not numbers: PyMOL 3 ends itself on lists of numbers.
    colors = [hexadecimal(rgb) for rgb in scale.colors]
    _self.ramp_new(name, "none", [float(level) for level in scale.levels], colors)
