"""Titles of the bars of colours, which are PyMOL's ramps and have none: values, unit, and the numbers of the lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..surfaces.object_session import read_object_session
from ..surfaces.selections import ATOMS_TITLE
from .color_bar import MARK, UNITS
from .palettes import round_numbers

TITLES = {
    "motion": "motion of the atoms (RMSF)",
    "speed": "speed of the surface",
    "velocity": "velocity outwards",
    "spread": "spread of the surface",
    "b": "B factor",
    "q": "occupancy",
    "vdw": "van der Waals radius",
    "partial_charge": "partial charge",
    "formal_charge": "formal charge",
    "elec_radius": "electrostatic radius",
    "resv": "residue number",
    "values": "values of the table",
    "map": "values of the map",
}
# Place of a ramp's levels in the list of a session.
LEVELS = 3
# The object that holds the titles while a picture is drawn, and their size.
LABEL, SIZE = "_dsr_title", 20
# Above the bar, on the screen from -1 to 1: it is drawn in the middle, and a title must not cover it.
PLACE = (0.0, -0.70, -0.9)


def enabled_bars(_self: Any) -> list[str]:
    """List the bars that are switched on."""
    names = [name for name in _self.get_names("all", enabled_only=1) if MARK in name]
    return [name for name in names if _self.get_type(name) == "object:ramp"]


def bar_title(bar: str, _self: Any) -> str:
    """Return the title of a bar, with the unit and the round numbers, at which it has lines or ends."""
    kind = bar.rpartition(MARK)[2]
    by = max((by for by in TITLES if f"{kind}_".startswith(f"{by}_")), key=len, default="")
    title = TITLES.get(by, kind.replace("_", " "))
    unit = UNITS.get(by, "").replace("A", "Å").replace("_", " ")
    levels = read_object_session(bar, _self).data[LEVELS]
    numbers = [f"{number:.6g}" for number in round_numbers(float(levels[0]), float(levels[-1]))]
    described = f"{title} in {unit}" if unit else title
    return f"{described}: {', '.join(numbers)}" if len(numbers) > 1 else described


def missing_bars(ray: bool, _self: Any) -> str:
    """Say that pictures lack the bar: PyMOL draws no ramp in those of a given size; empty where they have it.

    ray: whether they are ray-traced.
    """
    return "" if ray or not enabled_bars(_self) else "no bar of colours, which only ray-traced pictures have"


@contextmanager
def titled_bars(_self: Any) -> Iterator[None]:
    """Show the titles of the bars within the block, as a label above them.

    Not for longer: PyMOL 3.2 ray-traces a label rightly once.
    """
    text = "; ".join(bar_title(bar, _self) for bar in enabled_bars(_self))
    if text:
        _put_label(text, _self)
    try:
        yield
    finally:
        _self.delete(LABEL)


def _put_label(text: str, _self: Any) -> None:
    _self.pseudoatom(LABEL, pos=list(_self.get_view()[12:15]), label=text)
    _self.show_as("labels", LABEL)
    for setting, value in (
        ("label_relative_mode", 1),
        ("label_screen_point", list(PLACE)),
        ("label_position", [0.0, 0.0, 0.0]),
        ("label_size", SIZE),
        ("label_color", "front"),
    ):
        _self.set(setting, value, LABEL)
    _self.set_title(LABEL, 1, ATOMS_TITLE)
