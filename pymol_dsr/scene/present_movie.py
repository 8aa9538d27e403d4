"""The movie that PyMOL has, which `mset` replaces: its frames, the keys of its camera, its commands."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

# Places in the list that describes PyMOL's movie in a session, and in that of a frame's view.
SEQUENCE, COMMANDS, VIEWS = 4, 5, 6
LEVEL, SCENE = 12, 14
# The level of a view that the user stored; others lie between two of them.
KEY = 2
# A selection of no atoms: the session of it holds the movie and none of the objects, which may be large.
NOTHING = "_dsr_nothing"


@dataclass(frozen=True)
class PresentMovie:
    """PyMOL's movie. keys: views that were stored (`mview`), `scenes` of them by a scene. commands: of `mdo`."""

    frames: int
    keys: int
    scenes: int
    commands: int
    digest: str

    def describe(self) -> str:
        """Describe the movie for a message."""
        contents = [
            _count(self.keys, "camera key") + (f" ({_count(self.scenes, 'scene')})" if self.scenes else ""),
            _count(self.commands, "command"),
        ]
        held = " and ".join(text for text in contents if text)
        return f"a movie of {_count(self.frames, 'frame')}" + (f" with {held}" if held else "")


def show_state(state: int, _self: Any) -> None:
    """Show a state of all objects. A movie stays at its frame, which need not be of that state."""
    if _self.get_movie_length() > 0:
        _self.set("state", state)
    else:
        _self.frame(state)


def read_movie(_self: Any) -> PresentMovie | None:
    """Read PyMOL's movie; None where it has none."""
    if _self.get_movie_length() < 1:
        return None
    _self.select(NOTHING, "none", enable=0)
    try:
        movie = _self.get_session(NOTHING, partial=0, binary=1, cache=0, compress=0, version=0)["movie"]
    finally:
        _self.delete(NOTHING)
    sequence, commands = movie[SEQUENCE] or [], [text for text in movie[COMMANDS] or [] if text]
    keys = [view[SCENE] for view in movie[VIEWS] or [] if view and view[LEVEL] == KEY]
    places = [index for index, view in enumerate(movie[VIEWS] or []) if view and view[LEVEL] == KEY]
    described = json.dumps([sequence, movie[COMMANDS], places, keys])
    return PresentMovie(
        frames=len(sequence),
        keys=len(keys),
        scenes=sum(map(bool, keys)),
        commands=len(commands),
        digest=hashlib.sha256(described.encode()).hexdigest(),
    )


def _count(number: int, noun: str) -> str:
    """Return a number with its noun; empty for none."""
    return f"{number} {noun}{'s' * (number != 1)}" if number else ""
