"""PyMOL's own `color` and `set transparency` on objects of a movie, whose meshes take neither by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .kept_movies import KeptMovies

# PyMOL's indices of colours above this one stand for a colour by its red, green and blue.
DIRECT_COLORS = 0x40000000


@dataclass(frozen=True)
class UserSettings:
    """The colour of an object, as PyMOL's index, and its setting `transparency`."""

    color: int
    transparency: float

    @classmethod
    def of(cls, object: str, _self: Any) -> UserSettings:
        """Read them."""
        return cls(_self.get_object_color_index(object), _self.get_setting_float("transparency", object))


@dataclass(frozen=True)
class ColorRequest:
    """A movie, by the name of its object, that the user has given one colour."""

    movie: str
    color: str


class SettingsWatch:
    """Notices what the user has set on the objects of movies since the last time."""

    def __init__(self, movies: KeptMovies) -> None:
        self._movies = movies
        # By the name and the identity of a movie: another one may have its name.
        self._known: dict[tuple[str, int], dict[str, UserSettings]] = {}

    def changes(self, _self: Any) -> list[ColorRequest]:
        """Give objects the transparency that was set on them; return the movies that are to have another colour."""
        requests = []
        known, self._known = self._known, {}
        for movie in list(self._movies.by_name.values()):
            present = set(_self.get_names("objects"))
            settings = {name: UserSettings.of(name, _self) for name in movie.identities if name in present}
            before = known.get((movie.name, id(movie)), settings)
            self._known[movie.name, id(movie)] = settings
            for name, current in settings.items():
                previous = before.get(name, current)
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
