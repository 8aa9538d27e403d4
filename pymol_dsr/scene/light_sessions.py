"""Light session files: fits inside, and for each of their movies a coarse one with the recipe of its meshes.

PyMOL hands over the dictionary that it writes, so the movies in the scene stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..fits.pse import KEY, WHOLE, PseReferences
from ..runtime.session_tasks import SessionTasks
from ..runtime.settings import Settings
from ..shared import text
from ..shared.values import ValueFault
from . import cgo, coarse
from .kept_movies import NORMAL_STEPS, KeptMovie, KeptMovies
from .objects import SceneError
from .recipes import MovieRecipe, recipe_of
from .tags import tagged_objects

# Keys of the references of a session file, beside those of fits.pse.
LIGHT = "light"
# PyMOL's kinds of objects in a session file, and where an entry of one has its kind and its content.
MOLECULE, KIND, CONTENT = 1, 4, 5
# Lists of a molecule's state that are as long as its atoms and mostly alike in all states.
INDEX_LISTS = (3, 4)

# Bytes that a light session saves at least; a smaller movie is kept whole.
WORTHWHILE_BYTES = 5_000_000

# Numbers of meshes in a session's dictionary, by object and state.
MeshFloats = dict[tuple[str, int], list[float]]


@dataclass(eq=False)
class CoarseMovie:
    """A movie of an opened session file, of which the scene has coarse meshes.

    digest: the SHA-256 of its fit. floats: its coarse meshes, by the tag of their object and the state. names: of its
    objects, when they were last looked at.
    """

    name: str
    fit: str
    digest: str
    recipe: MovieRecipe
    floats: MeshFloats
    names: list[str]

    def objects(self, _self: Any) -> list[str]:
        """Return the present names of its objects; an empty one for each that is gone."""
        names = {str(tag): name for name, tag in tagged_objects(_self).items()}
        return [names.get(tag, "") for tag in self.recipe.tags]

    def present_objects(self, _self: Any) -> list[str]:
        """Return the present names of its objects. Raises SceneError where one is gone."""
        names = self.objects(_self)
        if not all(names):
            raise SceneError(f"{self.recipe.objects[names.index('')]} was deleted meanwhile")
        return names

    def show(self, _self: Any) -> None:
        """Put its coarse meshes into those of its objects that are left."""
        names = dict(zip(self.recipe.tags, self.objects(_self), strict=True))
        for (tag, state), floats in self.floats.items():
            if names[tag]:
                _self.load_cgo(floats, names[tag], state, zoom=0)


class LightSessions(SessionTasks):
    """Makes session files light when they are written, and knows the coarse movies of those that were opened."""

    def __init__(self, references: PseReferences, movies: KeptMovies, settings: Settings) -> None:
        self._references, self._movies, self._settings = references, movies, settings
        self.coarse: dict[str, CoarseMovie] = {}
        """By the name of the movie."""
        self.reopened: Callable[[list[str], Any], None] = lambda names, _self: None
        """Called with the names of the coarse movies of a session file that was opened."""

    def prune(self, _self: Any) -> None:
        """Drop coarse movies of which no object is left, and follow those that the user has renamed."""
        for name, movie in list(self.coarse.items()):
            present = movie.objects(_self)
            if not any(present):
                del self.coarse[name]
                continue
            for number, (former, current) in enumerate(zip(movie.names, present, strict=True)):
                if current and current != former:
                    movie.names[number] = current
                    self._references.rename(former, current)
                    if former == movie.name:
                        movie.name = current
        self.coarse = {movie.name: movie for movie in self.coarse.values()}

    # Saving

    def save(self, session: dict[str, Any], *, _self: Any) -> bool:
        """Put coarse meshes in place of those that fits in the file can make again, in a session of the whole scene."""
        described = getattr(session.get("session"), KEY, None)
        if WHOLE not in session or described is None:
            return True
        self._movies.prune(_self)
        contents: dict[str, str] = {}
        light: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        entries = {entry[0]: entry for entry in session["names"] if entry}
        for fit in described["fits"]:
            movies = [name for name, movie in described["movies"].items() if movie["fit"] == fit]
            digest, shrunk, reason = self._shrink(fit, described["fits"][fit]["sha256"], movies, entries, _self)
            light |= shrunk
            reasons |= dict.fromkeys(set(movies) - set(shrunk), reason)
            if shrunk:
                # The fit may have been deleted since its session was opened.
                described["fits"][fit]["sha256"] = described["fits"][fit]["sha256"] or digest
                contents[digest] = self._references.contents.get(digest, "")
        if light:
            described.update({"contents": contents, LIGHT: light})
            share_index_lists(session)
        for name, reason in reasons.items():
            self._references.say_size(name, reason)
        return True

    def _shrink(
        self, fit: str, digest: str, movies: list[str], entries: dict[str, Any], _self: Any
    ) -> tuple[str, dict[str, Any], str]:
        """Make the movies of a fit coarse in a session's dictionary.

        Returns the SHA-256 of the fit that makes them again, their descriptions by name, and why the others stay.
        """
        pending = [self.coarse[name] for name in movies if name in self.coarse]
        light: dict[str, Any] = {movie.name: _put_back(movie, entries, _self) for movie in pending}
        if pending:
            # There are no other meshes of these, so their fit goes into the file in any case.
            digest = pending[0].digest
        elif self._settings.get("session") == "full":
            return digest, light, ""
        if not digest:
            return digest, light, "its fit is not at hand"
        known = [self._movies.by_name[name] for name in movies if name in self._movies.by_name]
        kept = [
            movie for movie in known if self._is_of(movie, fit, digest) and movie.identities.keys() <= entries.keys()
        ]
        packed = self._references.pack(digest, fit) if kept else ""
        sizes = {movie.name: _bytes_of(movie, entries) for movie in kept}
        cost = (0 if pending else len(packed)) + coarse.MOVIE_BYTES * len(kept)
        if packed and sum(sizes.values()) > cost + WORTHWHILE_BYTES:
            tags = {name: str(tag) for name, tag in tagged_objects(_self).items()}
            for movie in kept:
                size = 1e-6 * shrink_movie(movie, entries)
                light[movie.name] = {"sha256": digest, "recipe": recipe_of(movie, tags).to_json()}
                print(
                    f" {movie.name}: {size:.1f} MB in this session, coarse, and its fit {1e-6 * len(packed):.1f} MB; "
                    f"opening it makes the meshes again ('dsr_set session, full' keeps their "
                    f"{1e-6 * sizes[movie.name]:.0f} MB)"
                )
        return digest, light, "its fit has given way to another" if len(kept) < len(known) else ""

    def _is_of(self, movie: KeptMovie, fit: str, digest: str) -> bool:
        """Whether the fit with this SHA-256 makes the meshes of a movie again."""
        return digest == movie.digest or (digest == movie.fit.digest and movie.fit is self._references.fit(fit))

    # Opening

    def restore(self, session: dict[str, Any], *, _self: Any) -> bool:
        """Enter the coarse movies of an opened session file, and have their meshes made again."""
        self.prune(_self)
        value = getattr(_self._pymol.session, KEY, None)
        listed = value.get(LIGHT) if isinstance(value, dict) else None
        if not isinstance(listed, dict):
            return True
        entries = {entry[0]: entry for entry in session.get("names") or () if entry}
        names = []
        for name, entry in listed.items():
            reference = self._references.movies.get(name) if isinstance(name, str) else None
            if reference is None:
                continue
            try:
                movie = _read(name, reference.fit, entry, entries)
            except (ValueError, LookupError, TypeError) as error:
                print(f" {text.one_line(name)}: coarse, since its recipe can't be read ({text.one_line(error)})")
                continue
            if any(movie.objects(_self)):
                # These meshes are no longer in the scene, though its objects may have the same tags.
                for known in [
                    kept for kept in self._movies.by_name.values() if kept.identities.keys() & set(movie.names)
                ]:
                    del self._movies.by_name[known.name]
                self.coarse[name] = movie
                names.append(name)
        if names:
            self.reopened(names, _self)
        return True


def shrink_movie(movie: KeptMovie, entries: dict[str, Any]) -> int:
    """Put beads in place of a movie's meshes in the entries of its objects; returns their bytes in a session file."""
    stride = coarse.states_per_model(len(movie.meshes))
    beads = coarse.beads_per_model(-(-len(movie.meshes) // stride))
    width = coarse.cell_width(max((mesh.points for mesh in movie.meshes), key=len), beads)
    count = 0
    shared: list[Any] = []
    for number, mesh in enumerate(movie.meshes):
        states = entries[mesh.state.object][CONTENT][2]
        if number % stride == 0 or mesh.state.object != movie.meshes[number - 1].state.object:
            vertices = coarse.bead_vertices(mesh.points, width)
            colors = cgo.colors_of_vertices(states[mesh.state.state - 1][0][1], mesh.faces, vertices)
            normals = mesh.normals[vertices] / np.float32(NORMAL_STEPS)
            floats = coarse.bead_floats(mesh.points[vertices], normals, coarse.RADIUS * width, colors)
            # The same list for several states, which a pickle writes once.
            shared = [len(floats), floats]
            count += len(floats)
        states[mesh.state.state - 1] = [shared]
    return cgo.FLOAT_BYTES * count


def share_index_lists(session: dict[str, Any]) -> None:
    """Let the states of a molecule share their lists of atoms' numbers, which a pickle then writes once."""
    for entry in session["names"]:
        if not entry or entry[KIND] != MOLECULE:
            continue
        previous: dict[int, Any] = {}
        for state in entry[CONTENT][4]:
            for position in INDEX_LISTS if state else ():
                if state[position] == previous.get(position):
                    state[position] = previous[position]
                previous[position] = state[position]


def _bytes_of(movie: KeptMovie, entries: dict[str, Any]) -> int:
    """Return the bytes of a movie's meshes in a session file."""
    counts = [len(entries[mesh.state.object][CONTENT][2][mesh.state.state - 1][0][1]) for mesh in movie.meshes]
    return cgo.FLOAT_BYTES * sum(counts)


def _put_back(movie: CoarseMovie, entries: dict[str, Any], _self: Any) -> dict[str, Any]:
    """Put the coarse meshes that a movie was opened with into a session's dictionary; returns its description."""
    names = dict(zip(movie.recipe.tags, movie.objects(_self), strict=True))
    for (tag, state), floats in movie.floats.items():
        if names[tag] in entries:
            entries[names[tag]][CONTENT][2][state - 1] = [[len(floats), floats]]
    recipe = movie.recipe.to_json()
    recipe["objects"] = list(names.values())
    return {"sha256": movie.digest, "recipe": recipe}


def _read(name: str, fit: str, entry: Any, entries: dict[str, Any]) -> CoarseMovie:
    """Read the description of a movie. Raises ValueError, LookupError or TypeError."""
    recipe = MovieRecipe.from_json(text.strip_control_characters(entry["recipe"]))
    floats: MeshFloats = {}
    for member, state in zip(recipe.members, recipe.states, strict=True):
        numbers = entries[recipe.objects[member]][CONTENT][2][state - 1][0][1]
        if not isinstance(numbers, list):
            raise ValueFault("its meshes are no lists of numbers")
        floats[recipe.tags[member], state] = numbers
    return CoarseMovie(name, fit, str(entry["sha256"]), recipe, floats, list(recipe.objects))
