"""Recipes of movies: all that makes the meshes of a movie again from its fit, for session files."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ..shared.options import ColorOptions, FieldOptions, MeshOptions
from ..shared.values import Record, Value, ValueFault
from .kept_movies import KeptMovie
from .palettes import Colors, ColorScale
from .timeline import MovieState

MOST_STATES = 10_000


@dataclass(frozen=True, eq=False)
class MovieRecipe(Record):
    """A movie as a session file describes it.

    times, members, states, extrapolated: of each mesh its time, the number of its object among `objects`, the state
    of that, and 1 where it lies past the fitted states. levels, level_colors: the scale of values, three numbers a
    level; without levels, the colours are those of atoms, or `color`. atom_palette, atom_indices: three numbers of
    each colour, and of each atom the number of its colour; empty where the atoms were not in the scene.
    """

    trajectory: Annotated[str, Value("trajectory of a family, empty for the only one")]
    field: Annotated[FieldOptions, Value("which surface of the fit")]
    mesh: Annotated[MeshOptions, Value("how it is made a mesh")]
    objects: Annotated[tuple[str, ...], Value("names of its objects")]
    tags: Annotated[tuple[str, ...], Value("their tags")]
    times: Annotated[tuple[float, ...], Value("time of each mesh", unit="states")]
    members: Annotated[tuple[int, ...], Value("number of its object", least=0)]
    states: Annotated[tuple[int, ...], Value("its state", least=1, most=1_000_000)]
    extrapolated: Annotated[tuple[int, ...], Value("whether it is past the fitted states", least=0, most=1)]
    color: Annotated[str, Value("one colour for all")] = ""
    coloring: Annotated[ColorOptions, Value("what its colours show")] = dataclasses.field(default_factory=ColorOptions)
    levels: Annotated[tuple[float, ...], Value("values of the scale of colours")] = ()
    level_colors: Annotated[tuple[float, ...], Value("their colours", least=0, most=1)] = ()
    atom_palette: Annotated[tuple[float, ...], Value("colours of atoms", least=0, most=1)] = ()
    atom_indices: Annotated[tuple[int, ...], Value("the colour of each atom", least=0)] = ()

    def check_together(self) -> None:
        """Check that the lists fit together. Raises ValueFault."""
        lengths = {len(self.times), len(self.members), len(self.states), len(self.extrapolated)}
        if len(lengths) > 1 or not 0 < len(self.times) <= MOST_STATES:
            raise ValueFault(f"its lists of meshes must be equally long, with 1 to {MOST_STATES} entries")
        if len(self.objects) != len(self.tags) or max(self.members) >= len(self.objects):
            raise ValueFault("its meshes are of other objects than it lists")
        if len(self.level_colors) != 3 * len(self.levels) or len(self.atom_palette) % 3:
            raise ValueFault("a colour has three numbers, and the scale one colour for each level")
        if self.atom_indices and 3 * max(self.atom_indices) >= len(self.atom_palette):
            raise ValueFault("its atoms have colours that it does not list")

    @property
    def scale(self) -> ColorScale | None:
        """The scale of the values that colour the movie, where values do."""
        if not self.levels:
            return None
        return ColorScale(np.array(self.levels, np.float32), np.array(self.level_colors, np.float32).reshape(-1, 3))

    @property
    def atom_colors(self) -> Colors | None:
        """Colours f4[A,3] of the fitted atoms."""
        if not self.atom_indices:
            return None
        return np.array(self.atom_palette, np.float32).reshape(-1, 3)[list(self.atom_indices)]

    def movie_states(self, objects: list[str]) -> list[MovieState]:
        """Return the states of the movie whose objects have these names now."""
        return [
            MovieState(time, state, objects[member], bool(future))
            for time, member, state, future in zip(
                self.times, self.members, self.states, self.extrapolated, strict=True
            )
        ]


def recipe_of(movie: KeptMovie, tags: dict[str, str]) -> MovieRecipe:
    """Describe a movie. tags: of its objects, by name."""
    objects = sorted(movie.identities)
    palette, indices = np.zeros((0, 3)), np.zeros(0, np.int64)
    if movie.atom_colors is not None:
        palette, indices = np.unique(movie.atom_colors, axis=0, return_inverse=True)
    scale, coloring = movie.scale, movie.coloring
    if coloring.file:
        coloring = dataclasses.replace(coloring, file=os.path.abspath(coloring.file))
    states = [mesh.state for mesh in movie.meshes]
    return MovieRecipe(
        trajectory=movie.trajectory.name,
        field=movie.field,
        mesh=movie.mesh,
        objects=tuple(objects),
        tags=tuple(tags[name] for name in objects),
        times=tuple(float(state.time) for state in states),
        members=tuple(objects.index(state.object) for state in states),
        states=tuple(state.state for state in states),
        extrapolated=tuple(int(state.future) for state in states),
        color=movie.color,
        coloring=coloring,
        levels=() if scale is None else tuple(scale.levels.tolist()),
        level_colors=() if scale is None else tuple(scale.colors.ravel().tolist()),
        atom_palette=tuple(palette.ravel().tolist()),
        atom_indices=tuple(indices.ravel().tolist()),
    )
