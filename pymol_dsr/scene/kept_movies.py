"""Loaded movies, kept so that they can be coloured anew without new meshes.

For each state 1.05 MB are kept at 50 000 triangles (25 000 vertices), 105 MB for 100 states; PyMOL's own copy of these
takes 0.6 GB. Velocities, once asked for, are another 0.1 MB a state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Fit, Trajectory
from ..fits.jobs import Jobs
from ..shared.mesh import Mesh
from ..shared.messages import MeshResult
from ..shared.options import ColorOptions, FieldOptions, MeshOptions
from . import cgo
from .atoms import blend
from .color_bar import remove_bars, rename_bars
from .objects import SceneError
from .palettes import Colors, ColorScale
from .replies import Reply
from .tags import MOVIE, Tag, put_tag, tag_of
from .timeline import MovieState

NORMAL_STEPS = 32767.0
WEIGHT_STEPS = 255.0
# Numbers that two bytes hold.
SHORT_RANGE = 65536

Indices = NDArray[np.uint16] | NDArray[np.int32]
# Number of states and tag of an object, which tell it from another of its name.
Identity = tuple[int, Tag]


@dataclass(eq=False)
class KeptMesh:
    """One state of a movie, in few bytes.

    points: f4[N,3] in Å. normals: i2[N,3], steps of 1/32767. faces: [M,3]. neighbor_indices [N,K]: the atoms a vertex
    is blended from, the nearest first, with weights u1[N,K] (of 255); None for a fit without atoms. velocity: f4[N], Å
    per state outwards, once it has been asked for.
    """

    state: MovieState
    points: NDArray[np.float32]
    normals: NDArray[np.int16]
    faces: Indices
    neighbor_indices: Indices | None
    weights: NDArray[np.uint8] | None
    velocity: NDArray[np.float32] | None = None

    @classmethod
    def from_reply(cls, state: MovieState, reply: MeshResult) -> KeptMesh:
        """Keep a reply that has neighbours and weights."""
        neighbors, weights = None, None
        if reply.neighbor_indices is not None and reply.weights is not None:
            order = np.argsort(-reply.weights, axis=1, kind="stable")
            neighbors = _shortened(np.take_along_axis(reply.neighbor_indices, order, 1))
            weights = np.rint(np.take_along_axis(reply.weights, order, 1) * WEIGHT_STEPS).astype(np.uint8)
        return cls(
            state,
            # A copy: the arrays of a frame are one block, and would be kept whole.
            np.array(reply.points),
            np.rint(reply.normals * NORMAL_STEPS).astype(np.int16),
            _shortened(reply.faces),
            neighbors,
            weights,
            None if reply.velocity is None else np.array(reply.velocity),
        )

    @property
    def has_atoms(self) -> bool:
        """Whether the atoms of each vertex are known."""
        return self.neighbor_indices is not None

    def blend(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Average values f4[A] of atoms at the vertices, f4[N]. The mesh must have atoms."""
        assert self.neighbor_indices is not None and self.weights is not None
        return blend(values, self.neighbor_indices, self.weights)

    def nearest_colors(self, atom_colors: Colors) -> Colors:
        """Return colours f4[N,3] of the nearest atoms from colours f4[A,3]. The mesh must have atoms."""
        assert self.neighbor_indices is not None
        colors: Colors = atom_colors[self.neighbor_indices[:, 0]]
        return colors

    def mesh(self) -> Mesh:
        """Return the triangles."""
        normals = (self.normals / np.float32(NORMAL_STEPS)).astype(np.float32)
        return Mesh(self.points, normals, self.faces.astype(np.int32))

    def floats(self, colors: Colors | None) -> list[float]:
        """Write PyMOL's list of CGO numbers, with colors f4[N,3] or none."""
        return cgo.cgo_floats(self.mesh(), colors)


@dataclass(frozen=True)
class UserSettings:
    """The colour of an object, as PyMOL's index, and its setting `transparency`."""

    color: int
    transparency: float

    @classmethod
    def of(cls, object: str, _self: Any) -> UserSettings:
        """Read them."""
        return cls(_self.get_object_color_index(object), _self.get_setting_float("transparency", object))


@dataclass(eq=False)
class KeptMovie:
    """A movie in the scene.

    field, mesh: which surface of the fit it shows, and how that is made a mesh. identities: of its objects,
    by name; settings: what these objects had when they were last looked at. rmsf: f4[A] in Å, once it has been asked
    for. color: the one that all its objects have, empty where their vertices have colours. coloring: what these show;
    scale: of the values that they show; atom_colors: f4[A,3], of the atoms that they show. digest: the SHA-256 of the
    fit's file when the movie was loaded, where it had one.
    """

    name: str
    fit: Fit
    trajectory: Trajectory
    field: FieldOptions
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    meshes: list[KeptMesh] = dataclasses.field(default_factory=list)
    identities: dict[str, Identity] = dataclasses.field(default_factory=dict)
    settings: dict[str, UserSettings] = dataclasses.field(default_factory=dict)
    rmsf: NDArray[np.float32] | None = None
    color: str = ""
    coloring: ColorOptions = dataclasses.field(default_factory=ColorOptions)
    scale: ColorScale | None = None
    atom_colors: Colors | None = None
    digest: str = ""

    @property
    def has_atoms(self) -> bool:
        """Whether the fit knows atoms and all meshes do."""
        return self.trajectory.atoms is not None and all(mesh.has_atoms for mesh in self.meshes)

    def rename(self, object: str, name: str) -> None:
        """Follow one of its objects to another name."""
        self.identities[name] = self.identities.pop(object)
        self.settings[name] = self.settings.pop(object)
        for mesh in self.meshes:
            if mesh.state.object == object:
                mesh.state = dataclasses.replace(mesh.state, object=name)
        if self.name == object:
            self.name = name

    def watch(
        self, movie_states: Sequence[MovieState], replies: Iterable[Reply]
    ) -> Iterator[tuple[Reply, KeptMesh | None]]:
        """Keep the meshes that are not empty, and yield each reply with its mesh, None for an empty one or a map."""
        for state, reply in zip(movie_states, replies, strict=False):
            mesh = None
            if isinstance(reply, MeshResult) and len(reply.faces):
                mesh = KeptMesh.from_reply(state, reply)
                self.meshes.append(mesh)
            yield reply, mesh


class KeptMovies:
    """The movies in the scene, by name.

    jobs: the fits, for messages that name those that exist. on_rename: called with the old and the new name of an
    object that the user has renamed.
    """

    def __init__(self, jobs: Jobs, on_rename: Callable[[str, str], None]) -> None:
        self.jobs, self._on_rename = jobs, on_rename
        self.by_name: dict[str, KeptMovie] = {}

    def keep(self, movie: KeptMovie, _self: Any) -> None:
        """Enter a movie that was loaded, in place of the one of its name; one without a mesh has replaced none."""
        self.prune(_self)
        if not movie.meshes:
            return
        self.by_name.pop(movie.name, None)
        names = {mesh.state.object for mesh in movie.meshes} & set(_self.get_names("objects"))
        for name in names:
            put_tag(name, Tag.new(MOVIE, movie.fit.name, movie.trajectory.object), _self)
        movie.identities = _identities(names, _self)
        movie.settings = {name: UserSettings.of(name, _self) for name in names}
        if movie.identities and len(movie.identities) == len(names):
            self.by_name[movie.name] = movie

    def prune(self, _self: Any) -> None:
        """Drop the movies and objects of movies that were deleted, and movies of which an object was replaced.

        Objects that have another name now (`set_name`) are followed.
        """
        self.follow_names(_self)
        objects = set(_self.get_names("objects"))
        for name, movie in list(self.by_name.items()):
            movie.identities = {object: known for object, known in movie.identities.items() if object in objects}
            movie.meshes = [mesh for mesh in movie.meshes if mesh.state.object in movie.identities]
            unchanged = _identities(movie.identities, _self) == movie.identities
            if not movie.identities or not unchanged:
                del self.by_name[name]
                remove_bars(movie.name, _self)

    def follow_names(self, _self: Any) -> None:
        """Give objects that are not there the names of those that are as they were and belong to no movie."""
        objects = set(_self.get_names("objects"))
        known = {object for movie in self.by_name.values() for object in movie.identities}
        free = _identities(sorted(objects - known), _self) if known - objects else {}
        for movie in list(self.by_name.values()):
            for object in set(movie.identities) - objects:
                name = next((new for new, identity in free.items() if identity == movie.identities[object]), None)
                if name is not None:
                    del free[name]
                    if object == movie.name:
                        rename_bars(object, name, movie.scale, _self)
                    movie.rename(object, name)
                    self._on_rename(object, name)
        self.by_name = {movie.name: movie for movie in self.by_name.values()}

    def read_tags(self, _self: Any) -> None:
        """Know the objects of movies by their present tags, which were changed just now; deleted ones are dropped."""
        for movie in self.by_name.values():
            movie.identities = _identities(movie.identities, _self)

    def objects_at(self, molecule: str, _self: Any) -> list[str]:
        """Return the objects of all movies of a molecule, which lie in one place."""
        self.prune(_self)
        movies = [movie for movie in self.by_name.values() if movie.trajectory.object == molecule]
        return [object for movie in movies for object in movie.identities]

    def find(self, name: str, _self: Any) -> list[KeptMovie]:
        """Return the movies of a fit, or the one that an object belongs to. Raises SceneError."""
        self.prune(_self)
        movies = list(self.by_name.values())
        chosen = [movie for movie in movies if name == movie.name or name in movie.identities]
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


def _identities(names: Iterable[str], _self: Any) -> dict[str, Identity]:
    """Describe those of the names that are CGO objects with a tag."""
    objects = set(_self.get_names("objects"))
    identities = {}
    for name in names:
        if name in objects and _self.get_type(name) == "object:cgo":
            tag = tag_of(name, _self)
            if tag is not None:
                identities[name] = (_self.count_states(f"%{name}"), tag)
    return identities


def _shortened(numbers: NDArray[np.int32]) -> Indices:
    return numbers.astype(np.uint16) if not len(numbers) or numbers.max() < SHORT_RANGE else numbers
