"""Colours a loaded movie anew, and shows the bar of its colours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Cancelled
from ..shared.messages import MeshResult
from .atoms import atom_colors
from .color_bar import bar_name, bars_of, disable_bars, remove_bars, show_bar, unit_text
from .color_sources import Values
from .gui_thread import in_gui, step_in_gui
from .kept_movies import KeptMesh, KeptMovie, KeptMovies
from .movie_objects import FUTURE_TRANSPARENCY
from .objects import SceneError
from .palettes import GREY, SIGNED, VIRIDIS, Colors, ColorScale, one_color, paler, tinted, value_range
from .replies import Reply
from .timeline import MovieState

# From the number of a mesh in its movie, and the mesh, to f4[N,3], or None for the object's own colour.
Paint = Callable[[int, KeptMesh], Colors | None]
Recolor = Callable[[Colors], Colors]


@dataclass(frozen=True, eq=False)
class Coloring:
    """The colours that a movie is to have.

    by: kind of values, `atoms`, or a colour. values: None for colours of atoms or one colour. scale: of a ramp; else
    colors f4[P,3] are spread over the limits (None: from the values). transparency: None leaves it as it is.
    """

    by: str
    color: str = ""
    values: Values | None = None
    scale: ColorScale | None = None
    colors: Colors = field(default_factory=lambda: VIRIDIS)
    limits: tuple[float | None, float | None] = (None, None)
    transparency: float | None = None


def apply_coloring(movie: KeptMovie, coloring: Coloring, movies: KeptMovies, _self: Any) -> str:
    """Colour a movie; returns a line that says how.

    movies: the loaded ones, whose bars give way. Raises SceneError, Cancelled, and the errors of the values.
    """
    if coloring.values is None:
        _paint_plain(movie, coloring.color, _self)
        movie.color, movie.scale = coloring.color, None
        line = f"{len(movie.meshes)} states coloured {coloring.color or 'like the atoms'}"
    else:
        scale, note = _paint_values(movie, coloring, coloring.values, movies, _self)
        movie.color, movie.scale = "", scale
        line = _describe(movie, coloring, scale) + note
    if coloring.transparency is not None:
        in_gui(_self, set_transparency, movie, coloring.transparency, _self)
    return line


def set_transparency(movie: KeptMovie, transparency: float, _self: Any) -> None:
    """Set the transparency (0 to 1) of a movie; extrapolated states stay at least as transparent as they are."""
    for name in movie.identities:
        future = any(mesh.state.future for mesh in movie.meshes if mesh.state.object == name)
        value = max(transparency, FUTURE_TRANSPARENCY) if future else transparency
        _self.set("cgo_transparency", value, name)


class ColoredReplies:
    """The meshes of a movie that is being loaded, which get their final colours at once.

    The colours depend on the values of all meshes, so the replies wait until the last one has come.
    """

    def __init__(self, movie: KeptMovie, coloring: Coloring) -> None:
        """Wait for the meshes of a movie that `KeptMovie.watch` keeps. The coloring must have values."""
        assert coloring.values is not None
        self._movie, self._coloring, self._values = movie, coloring, coloring.values
        self._by_time: dict[float, Colors] = {}
        self.scale: ColorScale | None = None

    def watch(self, pairs: Iterable[tuple[Reply, KeptMesh | None]]) -> Iterator[Reply]:
        """Pass the replies on when all have come, or those that have come when the user cancels.

        pairs: each reply with its mesh, as `KeptMovie.watch` yields them. Raises SceneError where no vertex has a
        value, Cancelled, and the errors of the values.
        """
        movie, waiting, cancelled = self._movie, list[tuple[Reply, KeptMesh | None]](), None
        by_mesh: list[NDArray[np.float32]] = []
        try:
            for reply, mesh in pairs:
                if mesh is not None:
                    by_mesh.append(self._values(len(by_mesh), mesh))
                waiting.append((_without_arrays(reply), mesh))
        except Cancelled as error:
            cancelled = error
            del movie.meshes[len(by_mesh) :]
        self.scale = _scale_of(by_mesh, self._coloring) if by_mesh else None
        count = 0
        for number, (reply, mesh) in enumerate(waiting):
            if cancelled is None:
                try:
                    _report_progress(movie, 0.5 + 0.5 * number / len(waiting), f"{number} states are loaded")
                except Cancelled:
                    del movie.meshes[count:]
                    raise
            if mesh is None:
                yield reply
            else:
                yield self._painted(reply, mesh, by_mesh[count])
                count += 1
        if cancelled is not None:
            raise cancelled

    def _painted(self, reply: Reply, mesh: KeptMesh, values: NDArray[np.float32]) -> Reply:
        """Return a reply with the triangles of its mesh again, and know the colours of its vertices."""
        assert self.scale is not None and isinstance(reply, MeshResult), "there is a mesh"
        colors, triangles = self.scale.paint(values), mesh.mesh()
        self._by_time = {mesh.state.time: paler(colors) if mesh.state.future else colors}
        return dataclasses.replace(reply, points=triangles.points, normals=triangles.normals, faces=triangles.faces)

    def colors(self, state: MovieState) -> Colors:
        """Return the colours f4[N,3] of the vertices of the reply that was passed on last, which is that of a state."""
        return self._by_time[state.time]

    def paint(self, number: int, mesh: KeptMesh) -> Colors:
        """Return the colours f4[N,3] of a mesh that was passed on, once more."""
        assert self.scale is not None, "a mesh was passed on"
        return self.scale.paint(self._values(number, mesh))

    def show_bar(self, movies: KeptMovies, _self: Any) -> str:
        """Show the bar of a movie that is loaded; returns a line that says how it is coloured."""
        movie, coloring, scale = self._movie, self._coloring, self.scale
        if scale is None:
            return "no state has a surface"
        in_gui(_self, remove_bars, movie.name, _self)
        note = ""
        if coloring.scale is None:
            note = in_gui(_self, _show_only_bar, movie, bar_name(movie.name, coloring.by), scale, movies, _self)
        return _describe(movie, coloring, scale) + note


def _without_arrays(reply: Reply) -> Reply:
    """Return a reply without the arrays of its mesh, which are kept in fewer bytes."""
    if not isinstance(reply, MeshResult):
        return reply
    no_points = np.zeros((0, 3), np.float32)
    return dataclasses.replace(
        reply,
        points=no_points,
        normals=no_points,
        faces=np.zeros((0, 3), np.int32),
        nearest=None,
        neighbor_indices=None,
        weights=None,
        velocity=None,
        # A copy: the arrays of a frame are one block, and would be kept whole.
        atoms=None if reply.atoms is None else np.array(reply.atoms),
    )


def _scale_of(by_mesh: list[NDArray[np.float32]], coloring: Coloring) -> ColorScale:
    """Return the scale for the values f4[N] of the vertices of each mesh. Raises SceneError where there are none."""
    if all(np.isnan(array).all() for array in by_mesh):
        raise SceneError("no vertex has a value: the map lies elsewhere, or the atoms have none")
    if coloring.scale is not None:
        return coloring.scale
    low, high = value_range(by_mesh, *coloring.limits, coloring.by in SIGNED)
    return ColorScale.between(low, high, coloring.colors)


def _describe(movie: KeptMovie, coloring: Coloring, scale: ColorScale) -> str:
    low, high = scale.levels[0], scale.levels[-1]
    return f"{len(movie.meshes)} states coloured by {coloring.by}, {low:.3g} to {high:.3g}{unit_text(coloring.by)}"


def _paint_values(
    movie: KeptMovie, coloring: Coloring, values: Values, movies: KeptMovies, _self: Any
) -> tuple[ColorScale, str]:
    """Colour a movie by its vertices' values, and show the bar beside it.

    Returns the scale that was used, and a note on the bars of other movies.
    """
    by_mesh = []
    for number, mesh in enumerate(movie.meshes):
        _report_progress(movie, 0.5 * number / len(movie.meshes))
        by_mesh.append(values(number, mesh))
    scale = _scale_of(by_mesh, coloring)
    in_gui(_self, remove_bars, movie.name, _self)
    _load(movie, lambda number, mesh: scale.paint(by_mesh[number]), _self, paler)
    note = ""
    if coloring.scale is None:
        note = in_gui(_self, _show_only_bar, movie, bar_name(movie.name, coloring.by), scale, movies, _self)
    return scale, note


def _paint_plain(movie: KeptMovie, color: str, _self: Any) -> None:
    """Give a movie the atoms' present colours, or one colour."""
    if color:
        for name in movie.identities:
            in_gui(_self, _self.color, color, name)
    else:
        base, absence = in_gui(_self, atom_colors, movie.trajectory, _self)
        if base is None or not movie.has_atoms:
            raise SceneError(f"by atoms: {absence or 'this movie knows no atoms'}; or give a colour as by=white")
        movie.atom_colors = base
    in_gui(_self, remove_bars, movie.name, _self)
    _load(movie, plain_paint(color, movie.atom_colors, _self), _self)


def plain_paint(color: str, base: Colors | None, _self: Any) -> Paint:
    """Return what paints a movie in one colour, or where that is empty like the atoms, whose colours are f4[A,3]."""
    rgb = in_gui(_self, _self.get_color_tuple, color) if color else GREY

    def paint(_: int, mesh: KeptMesh) -> Colors | None:
        if color and not mesh.state.future:
            # Without colours in the mesh the object's own counts, which PyMOL's color then changes, too.
            return None
        if color or base is None or not mesh.has_atoms:
            return one_color(len(mesh.points), rgb)
        return mesh.nearest_colors(base)

    return paint


def paint_values_again(movie: KeptMovie, values: Values, scale: ColorScale, _self: Any) -> None:
    """Load the meshes of a movie in the colours that its values have on a scale, whose bar stays as it is."""
    _load(movie, lambda number, mesh: scale.paint(values(number, mesh)), _self, paler)


def paint_again(movie: KeptMovie, paint: Paint, _self: Any) -> None:
    """Load the meshes of a movie in colours of atoms, or in one, whose bars stay as they are."""
    _load(movie, paint, _self)


def floats_of_state(movie: KeptMovie, colored: ColoredReplies | None, _self: Any, state: MovieState) -> list[float]:
    """Return PyMOL's numbers of a state of a movie that was loaded, in the colours that it has.

    colored: what has coloured it by values; None for colours of atoms, or one colour.
    """
    number = next(number for number, mesh in enumerate(movie.meshes) if mesh.state == state)
    if colored is not None:
        return _painted(movie, number, colored.paint, paler)
    return _painted(movie, number, plain_paint(movie.color, movie.atom_colors, _self), tinted)


def _painted(movie: KeptMovie, number: int, paint: Paint, extrapolated: Recolor) -> list[float]:
    mesh = movie.meshes[number]
    colors = paint(number, mesh)
    return mesh.floats(extrapolated(colors) if colors is not None and mesh.state.future else colors)


def _load(movie: KeptMovie, paint: Paint, _self: Any, extrapolated: Recolor = tinted) -> None:
    """Load the meshes of a movie in new colours. extrapolated: changes the colours of times past the fitted ones."""
    count = len(movie.meshes)
    for number, mesh in enumerate(movie.meshes):
        _report_progress(movie, 0.5 + 0.5 * number / count, f"{number} of {count} states have their new colours")
        step_in_gui(_self, _put, mesh, _painted(movie, number, paint, extrapolated), _self)


def _put(mesh: KeptMesh, floats: list[float], _self: Any) -> None:
    if mesh.state.object not in _self.get_names("objects"):
        raise SceneError(f"{mesh.state.object} was deleted while it was coloured")
    _self.load_cgo(floats, mesh.state.object, mesh.state.state, zoom=0)


def _report_progress(movie: KeptMovie, fraction: float, so_far: str = "no state has its new colours") -> None:
    if movie.fit.stop.is_set():
        raise Cancelled(f"cancelled; {so_far}")
    movie.fit.stage, movie.fit.fraction = "colours", fraction


def _show_only_bar(movie: KeptMovie, name: str, scale: ColorScale, movies: KeptMovies, _self: Any) -> str:
    """Show a bar, and switch those of other movies off; returns a note that says so, empty where none was on."""
    enabled = set(_self.get_names("all", enabled_only=1))
    hidden = []
    for known in movies.by_name.values():
        if known is not movie:
            hidden += [bar for bar in bars_of(known.name, _self) if bar in enabled]
            disable_bars(known.name, _self)
    show_bar(name, scale, _self)
    if not hidden:
        return ""
    verb = "is" if len(hidden) == 1 else "are"
    return (
        f"; {', '.join(hidden)} {verb} switched off, as PyMOL draws all bars in one place: "
        f"'disable {name}; enable {hidden[0]}' shows it again"
    )
