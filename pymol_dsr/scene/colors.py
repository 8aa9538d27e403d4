"""Colours of surface movies: what is kept of a movie so that it can be coloured anew, and values as colours.

For each state 1.05 MB are kept at 50 000 triangles (25 000 vertices), 105 MB for 100 states; PyMOL's own copy of these
takes 1.1 GB. Velocities, once asked for, are another 0.1 MB a state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..fits.fit import Cancelled
from ..fits.jobs import Jobs
from . import atoms, cgo, movie_objects, placement
from .color_sources import UNITS, atom_values, over_time, read_map, read_values
from .gui_thread import in_gui
from .kept_movies import KeptMesh, KeptMovie, KeptMovies, bar_name, bars, blend, remove_bar
from .palettes import SIGNED, VIRIDIS, ColorScale, value_range
from .placement import SceneError

Values = Callable[[int, KeptMesh], np.ndarray]  # number of the mesh in the movie -> f4[N]


def color_source(
    movie: KeptMovie, by: str, file: str, map: str, jobs: Jobs, _self: Any
) -> tuple[Values, ColorScale | None]:
    """Where a movie's values come from; with a ramp, its colours. Reads scene and files now, the backend when called.

    Raises SceneError, OSError, JobError or BackendError.
    """
    trajectory = movie.trajectory
    if by in ("speed", "velocity"):
        turn = np.abs if by == "speed" else np.positive
        return lambda _, mesh: turn(_velocity(movie, mesh, jobs)), None
    if by == "map":
        grids, scale = read_map(map, _self)
        place = placement.object_matrix(trajectory.object, _self)

        def sampled(_: int, mesh: KeptMesh) -> np.ndarray:
            # A map of one state stands still; one of more goes along with the movie.
            grid = grids[min(mesh.frame.state, len(grids)) - 1]
            if grid is None:
                return np.full(len(mesh.points), np.nan, np.float32)
            return grid.sample(mesh.points @ place[:3, :3].T + place[:3, 3])

        return sampled, scale
    if trajectory.atoms is None or any(mesh.near is None for mesh in movie.meshes):
        raise SceneError(f"by {by}: the fit {movie.fit.name} holds no atoms; take speed, velocity, map or a colour")
    if by == "values":
        table = over_time(read_values(file), trajectory.atoms, [mesh.frame.time for mesh in movie.meshes])
        if np.isnan(table).all():
            raise SceneError(f"{file}: none of its atoms is in the fit {movie.fit.name}; index is PyMOL's, from 1")
        return lambda k, mesh: blend(table[k], mesh.near, mesh.shares), None
    if by == "motion":
        return lambda _, mesh: blend(_excursions(movie, jobs), mesh.near, mesh.shares), None
    of_atoms = atom_values(trajectory, by, _self)
    return lambda _, mesh: blend(of_atoms, mesh.near, mesh.shares), None


def _excursions(movie: KeptMovie, jobs: Jobs) -> np.ndarray:
    if movie.excursions is None:
        nowhere = np.zeros((0, 3), np.float32)
        movie.excursions = np.array(_ask(movie, movie.trajectory.states[0], nowhere, jobs)["excursions"])
    return movie.excursions


def _velocity(movie: KeptMovie, mesh: KeptMesh, jobs: Jobs) -> np.ndarray:
    if mesh.velocity is None:
        mesh.velocity = np.array(_ask(movie, mesh.frame.time, mesh.points, jobs)["velocity"])
    return mesh.velocity


def _ask(movie: KeptMovie, time: float, points: np.ndarray, jobs: Jobs) -> dict[str, np.ndarray]:
    if jobs.fits.get(movie.fit.name) is not movie.fit:
        raise SceneError(f"the fit {movie.fit.name} has given way to another; run dsr_movie again")
    return dict(jobs.ask(movie.fit, "paint", {**movie.which, "time": float(time)}, {"points": points})[1])


def recolor(
    movie: KeptMovie,
    values: Values,
    scale: ColorScale | None,
    colors: np.ndarray,
    limits: tuple[float | None, float | None],
    signed: bool,
    bar: str,
    movies: KeptMovies,
    _self: Any,
) -> ColorScale:
    """Colour a movie by its vertices' values, and show the bar `bar` beside it; the scale that was used.

    scale: of a ramp, else colors f4[P,3] over limits (None: from the values). Raises what `source` does, and Cancelled.
    """
    found = []
    for k, mesh in enumerate(movie.meshes):
        _go_on(movie, 0.5 * k / len(movie.meshes))
        found.append(values(k, mesh))
    if all(np.isnan(one).all() for one in found):
        raise SceneError("no vertex has a value: the map lies elsewhere, or the atoms have none")
    own = scale is None
    if scale is None:
        scale = ColorScale.between(*value_range(found, *limits, signed), colors)
    in_gui(_self, remove_bar, movie, _self)
    used = scale
    _load(movie, lambda k, mesh: used.paint(found[k]), _self)
    if own:
        in_gui(_self, _show_bar, movie, bar, scale, movies, _self)
    return scale


def recolor_plain(movie: KeptMovie, color: str, _self: Any) -> None:
    """Give a movie the atoms' present colours, or one colour. Raises SceneError, Cancelled."""
    if color:
        rgb = np.array(_self.get_color_tuple(color), np.float32)
        for name in movie.seen:
            in_gui(_self, _self.color, color, name)
        # Without colours in the mesh the object's own counts, which PyMOL's color then changes, too.
        paint = lambda _, mesh: np.tile(rgb, (len(mesh.points), 1)) if mesh.frame.future else None  # noqa: E731
    else:
        base = in_gui(_self, atoms.atom_colors, movie.trajectory, _self)
        if base is None or any(mesh.near is None for mesh in movie.meshes):
            missing = movie.trajectory.object or "its molecule"
            raise SceneError(f"by atoms: {missing} is not in the scene as it was fitted; give a colour as by=white")
        paint = lambda _, mesh: base[mesh.near[:, 0]]  # noqa: E731
    in_gui(_self, remove_bar, movie, _self)
    _load(movie, paint, _self)


def apply_coloring(
    movie: KeptMovie,
    by: str,
    *,
    color: str = "",
    values: Values | None = None,
    scale: ColorScale | None = None,
    colors: np.ndarray = VIRIDIS,
    limits: tuple[float | None, float | None] = (None, None),
    transparency: float | None = None,
    movies: KeptMovies,
    _self: Any,
) -> str:
    """Colour a movie by `values`, or without any by its atoms or with `color`; what came of it, as a line.

    Other arguments as of `recolor` and `set_transparency`. Raises what these raise.
    """
    if values is None:
        recolor_plain(movie, color, _self)
        line = f"{len(movie.meshes)} states coloured {color or 'like the atoms'}"
    else:
        used = recolor(movie, values, scale, colors, limits, by in SIGNED, bar_name(movie, by), movies, _self)
        unit = f" {UNITS[by].replace('_', ' ')}" if by in UNITS else ""
        line = f"{len(movie.meshes)} states coloured by {by}, {used.levels[0]:.3g} to {used.levels[-1]:.3g}{unit}"
    if transparency is not None:
        in_gui(_self, set_transparency, movie, transparency, _self)
    return line


def set_transparency(movie: KeptMovie, transparency: float, _self: Any) -> None:
    """Extrapolated parts stay as transparent as they are, or become more so."""
    for name in movie.seen:
        future = any(mesh.frame.future for mesh in movie.meshes if mesh.frame.object == name)
        value = max(transparency, movie_objects.FUTURE_TRANSPARENCY) if future else transparency
        _self.set("cgo_transparency", value, name)


def _load(movie: KeptMovie, paint: Callable[[int, KeptMesh], np.ndarray | None], _self: Any) -> None:
    count = len(movie.meshes)
    for k, mesh in enumerate(movie.meshes):
        _go_on(movie, 0.5 + 0.5 * k / count, f"{k} of {count} states have their new colours")
        colors = paint(k, mesh)
        if colors is not None and mesh.frame.future:
            colors = cgo.tinted(colors)
        in_gui(_self, _put, mesh, mesh.floats(colors), _self)


def _put(mesh: KeptMesh, floats: list[float], _self: Any) -> None:
    if mesh.frame.object not in _self.get_names("objects"):
        raise SceneError(f"{mesh.frame.object} was deleted while it was coloured")
    _self.load_cgo(floats, mesh.frame.object, mesh.frame.state, zoom=0)


def _go_on(movie: KeptMovie, fraction: float, so_far: str = "no state has its new colours") -> None:
    if movie.fit.stop.is_set():
        raise Cancelled(f"cancelled; {so_far}")
    movie.fit.doing, movie.fit.fraction = "colours", fraction


def _show_bar(movie: KeptMovie, name: str, scale: ColorScale, movies: KeptMovies, _self: Any) -> None:
    # PyMOL draws all bars in one place.
    for other in movies.by_name.values():
        for bar in bars(other, _self) if other is not movie else []:
            _self.disable(bar)
    hexadecimal = ["0x" + "".join(f"{round(255 * float(c)):02x}" for c in rgb) for rgb in scale.colors]
    # Names and not numbers: PyMOL 3 ends itself on lists of numbers.
    _self.ramp_new(name, "none", [float(level) for level in scale.levels], hexadecimal)
