"""Meshes of loaded movies, kept for new colours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..fits.fit import Fit, Trajectory
from ..fits.jobs import Jobs
from . import cgo
from .color_sources import UNITS
from .placement import SceneError
from .timeline import MovieState

NORMAL_STEPS = 32767.0
SHARE_STEPS = 255.0


@dataclass
class KeptMesh:
    """One state of a movie. points f4[N,3] (Å), normals i2[N,3] (steps of 1/32767), faces u2 or i4 [M,3]; near u2 or
    i4 [N,K], the atoms a vertex is blended from, the nearest first, with shares u1[N,K] (of 255), or None for a fit
    without atoms; velocity f4[N] (Å per state, outwards) once it has been asked for.
    """

    frame: MovieState
    points: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    near: np.ndarray | None
    shares: np.ndarray | None
    velocity: np.ndarray | None = None

    @classmethod
    def of(cls, frame: MovieState, arrays: dict[str, np.ndarray]) -> KeptMesh:
        """From the arrays of `mesh`."""
        near, shares = arrays.get("near"), arrays.get("shares")
        if near is not None and shares is not None:
            order = np.argsort(-shares, axis=1, kind="stable")
            near, shares = (np.take_along_axis(numbers, order, 1) for numbers in (near, shares))
        return cls(
            frame,
            # A copy: what came from the backend is one block, and would be kept whole.
            np.array(arrays["points"]),
            np.rint(arrays["normals"] * NORMAL_STEPS).astype(np.int16),
            _short(arrays["faces"]),
            None if near is None else _short(near),
            None if shares is None else np.rint(shares * SHARE_STEPS).astype(np.uint8),
        )

    def floats(self, colors: np.ndarray | None) -> list[float]:
        """As PyMOL's list of CGO numbers, with colors f4[N,3] or none."""
        return cgo.cgo_floats(self.points, self.normals / np.float32(NORMAL_STEPS), self.faces, colors)


@dataclass
class KeptMovie:
    """A movie in the scene. which: what requests say of the trajectory. seen: by object, how many states it has and
    their extent, by which it is told from another of its name. excursions: f4[A] in Å, once they have been asked for.
    """

    name: str
    fit: Fit
    trajectory: Trajectory
    which: dict[str, Any]
    meshes: list[KeptMesh] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)
    excursions: np.ndarray | None = None

    def watch(
        self, frames: Sequence[MovieState], answers: Iterable[tuple[dict[str, Any], dict[str, np.ndarray]]]
    ) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Pass the answers to `mesh` on, and keep those that are not empty; grids are only passed on."""
        for frame, answer in zip(frames, answers, strict=False):
            if len(answer[1].get("faces", ())):
                self.meshes.append(KeptMesh.of(frame, answer[1]))
            yield answer

    @property
    def bar(self) -> str:
        return f"{self.name}_bar"


def blend(values: np.ndarray, near: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Values f4[N] of vertices from those of atoms f4[A], of which some may be nan."""
    found = values[near]
    weights = np.where(np.isnan(found), 0.0, shares)
    total = weights.sum(1)
    sums = (weights * np.nan_to_num(found)).sum(1)
    return np.where(total > 0, sums / np.maximum(total, 1e-9), np.nan).astype(np.float32)


class KeptMovies:
    """The movies in the scene, by name. jobs: the fits, for messages that name those that exist."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.by_name: dict[str, KeptMovie] = {}

    def keep(self, movie: KeptMovie, _self: Any) -> None:
        """Enter a movie that was loaded, in place of the one of its name."""
        self.prune(_self)
        self.by_name.pop(movie.name, None)
        movie.seen = {name: _extent(name, _self) for name in {mesh.frame.object for mesh in movie.meshes}}
        if movie.seen and None not in movie.seen.values():
            self.by_name[movie.name] = movie

    def prune(self, _self: Any) -> None:
        """Drop the movies and objects of movies that were deleted, and movies of which an object was replaced."""
        objects = set(_self.get_names("objects"))
        for name, movie in list(self.by_name.items()):
            movie.seen = {object: seen for object, seen in movie.seen.items() if object in objects}
            movie.meshes = [mesh for mesh in movie.meshes if mesh.frame.object in objects]
            if not movie.seen or any(_extent(object, _self) != seen for object, seen in movie.seen.items()):
                del self.by_name[name]
                remove_bar(movie, _self)

    def find(self, name: str, _self: Any) -> list[KeptMovie]:
        """The movies of a fit, or the one that an object belongs to. Raises SceneError."""
        self.prune(_self)
        movies = list(self.by_name.values())
        chosen = [movie for movie in movies if name == movie.name or name in movie.seen]
        chosen = chosen or [movie for movie in movies if movie.fit.name == name]
        if chosen:
            return chosen
        if name in _self.get_names("all"):
            kind = _self.get_type(name).split(":")[-1]
            if kind in ("cgo", "group"):
                raise SceneError(f"{name}: what its colours are made of is not in memory any more; run dsr_movie again")
            raise SceneError(f"{name} is a {kind}; dsr_color takes a fit or what dsr_movie made of meshes")
        if name in self.jobs.fits:
            raise SceneError(f"{name}: no movie of it is loaded; dsr_movie {name} makes one")
        names = ", ".join(sorted({*self.by_name, *self.jobs.fits})) or "none"
        raise SceneError(f"there is no fit or movie {name} (there: {names})")


def _extent(name: str, _self: Any) -> Any:
    """Number of states and extent of a CGO object; None of anything else."""
    if name not in _self.get_names("objects") or _self.get_type(name) != "object:cgo":
        return None
    return _self.count_states(f"%{name}"), _self.get_extent(name)


def bar_name(movie: KeptMovie, by: str) -> str:
    """The bar says what it shows, and in which unit: PyMOL gives a ramp no title."""
    unit = UNITS.get(by, "")
    return "_".join([movie.bar, by.replace(".", "_"), *([unit] if unit else [])])


def remove_bar(movie: KeptMovie, _self: Any) -> None:
    for name in bars(movie, _self):
        _self.delete(name)


def bars(movie: KeptMovie, _self: Any) -> list[str]:
    names = [name for name in _self.get_names("all") if name.startswith(f"{movie.bar}_")]
    return [name for name in names if _self.get_type(name) == "object:ramp"]


def _short(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.uint16) if not len(numbers) or numbers.max() < 65536 else numbers
