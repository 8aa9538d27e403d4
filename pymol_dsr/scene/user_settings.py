"""PyMOL's own `color` and `set transparency` on objects of a movie, whose meshes take neither by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .kept_movies import KeptMovies, UserSettings

# PyMOL's indices of colours above this one stand for a colour by its red, green and blue.
DIRECT_COLORS = 0x40000000


@dataclass(frozen=True)
class ColorRequest:
    """A movie, by the name of its object, that the user has given one colour."""

    movie: str
    color: str


def follow_user_settings(movies: KeptMovies, _self: Any) -> list[ColorRequest]:
    """Give movies' objects the transparency that was set on them; return the movies that are to have another colour.

    Looks at what has changed since the last time, or since a movie was loaded. A fit that works is looked at later,
    because its movies can't be coloured meanwhile.
    """
    requests = []
    movies.follow_names(_self)
    present = set(_self.get_names("objects"))
    for movie in movies.by_name.values():
        for name in movie.identities.keys() & present if movie.fit.activity is None else ():
            current, previous = UserSettings.of(name, _self), movie.settings[name]
            movie.settings[name] = current
            if current.transparency != previous.transparency:
                _self.set("cgo_transparency", current.transparency, name)
                print(f" {name}: transparency {current.transparency:g} acts as cgo_transparency")
            # One colour for all is the object's own, which PyMOL shows.
            if current.color != previous.color and not movie.color:
                requests.append(ColorRequest(movie.name, color_name(current.color, _self)))
    return requests


def color_name(index: int, _self: Any) -> str:
    """Return the name of a colour by PyMOL's index, as its commands take it."""
    if index >= DIRECT_COLORS:
        return f"0x{index & 0xFFFFFF:06x}"
    return next((name for name, number in _self.get_color_indices(all=1) if number == index), "white")
