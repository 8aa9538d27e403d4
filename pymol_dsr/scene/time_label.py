"""The time in the corner of the picture, as a molecule with one labelled atom for each state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared import states
from ..surfaces.selections import ATOMS_TITLE
from . import placement
from .timeline import MovieState

SIZE = 18
# From -1 to 1 on the screen: the upper left corner, near the front plane; in the middle, transparent objects hide it.
PLACE = (-0.95, 0.9, -0.9)


def label_text(state: MovieState, expected_error: float | None, generated: str = "") -> str:
    """Write the time, and the expected error (Å) of an extrapolated one.

    generated: the origin of the fitted states where they were generated, in a few words.
    """
    text = f"state {states.format([state.time])}"
    if not state.future:
        return f"{text} · {generated}" if generated else text
    return f"{text} · extrapolated" if expected_error is None else f"{text} · expected error {expected_error:.1f} Å"


def put_labels(
    name: str,
    movie_states: Sequence[MovieState],
    texts: Mapping[float, str],
    centers: Mapping[float, NDArray[np.float64]],
    source: str,
    _self: Any,
) -> None:
    """Load the labels as the molecule `name`: each is an atom in its state only, at a place of the screen.

    texts, centers: by time; the centre f8[3] of the surface in Å. source: the object whose display matrix is taken.
    """
    if movie_states[0].state != 1:
        # Its title is the mark that it is no molecule to fit.
        _self.pseudoatom(name, pos=centers[movie_states[0].time].tolist(), state=1)
    for number, state in enumerate(movie_states, 1):
        position, text = centers[state.time].tolist(), texts[state.time]
        _self.pseudoatom(name, name=f"T{number}", pos=position, state=state.state, label=text)
        if state.future:
            _self.set("label_color", "orange", f"%{name} and name T{number}")
    _self.show_as("labels", name)
    for setting, value in (
        ("label_relative_mode", 1),
        ("label_screen_point", list(PLACE)),
        ("label_position", [1.0, 0.0, 0.0]),
        ("label_size", SIZE),
    ):
        _self.set(setting, value, name)
    _self.set_title(name, 1, ATOMS_TITLE)
    placement.place(name, placement.object_ttt(source, _self), _self)
