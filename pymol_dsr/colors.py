"""Colours of surface movies: what is kept of a movie so that it can be coloured anew, and values as colours.

For each state 1.05 MB are kept at 50 000 triangles (25 000 vertices), 105 MB for 100 states; PyMOL's own copy of these
takes 1.1 GB. Velocities, once asked for, are another 0.1 MB a state.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pymol.constants_palette import palette_dict

from . import jobs, scene
from .jobs import Cancelled, Fit, Trajectory
from .scene import Frame, SceneError, in_gui

VIRIDIS = np.array(
    [
        (0.267, 0.005, 0.329),
        (0.282, 0.095, 0.417),
        (0.279, 0.175, 0.483),
        (0.259, 0.252, 0.525),
        (0.230, 0.322, 0.546),
        (0.199, 0.388, 0.555),
        (0.173, 0.449, 0.558),
        (0.149, 0.508, 0.557),
        (0.128, 0.567, 0.551),
        (0.121, 0.626, 0.533),
        (0.158, 0.684, 0.502),
        (0.246, 0.739, 0.452),
        (0.369, 0.789, 0.383),
        (0.516, 0.831, 0.294),
        (0.678, 0.864, 0.190),
        (0.846, 0.887, 0.100),
        (0.993, 0.906, 0.144),
    ],
    np.float32,
)
# Colours taken of one of PyMOL's palettes, which are up to 1000 long.
TAKEN = 21
# The default range is between these percentiles of all states, so that a few odd vertices do not set it.
INNER = 2.0, 98.0
NORMAL_STEPS = 32767.0
SHARE_STEPS = 255.0
MOTIONS = ("motion", "speed", "velocity")
PROPERTIES = ("b", "q", "vdw", "partial_charge", "formal_charge", "elec_radius", "resv", "index", "rank", "ID")
KINDS = ("atoms", *MOTIONS, "values", "map", *PROPERTIES)
UNITS = {"motion": "A", "speed": "A_per_state", "velocity": "A_per_state", "vdw": "A", "elec_radius": "A"}
# What has a sign is shown around zero, in PyMOL's colours of charges, or blue inwards and red outwards.
SIGNED = {
    "velocity": "blue_white_red",
    "map": "red_white_blue",
    "partial_charge": "red_white_blue",
    "formal_charge": "red_white_blue",
}
COLUMNS = ("state", "index", "value")


@dataclass
class Mesh:
    """One state of a movie. points f4[N,3] (Å), normals i2[N,3] (steps of 1/32767), faces u2 or i4 [M,3]; near u2 or
    i4 [N,K], the atoms a vertex is blended from, the nearest first, with shares u1[N,K] (of 255), or None for a fit
    without atoms; velocity f4[N] (Å per state, outwards) once it has been asked for.
    """

    frame: Frame
    points: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    near: np.ndarray | None
    shares: np.ndarray | None
    velocity: np.ndarray | None = None

    @classmethod
    def of(cls, frame: Frame, arrays: dict[str, np.ndarray]) -> Mesh:
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
        return scene.cgo_floats(self.points, self.normals / np.float32(NORMAL_STEPS), self.faces, colors)


@dataclass
class Movie:
    """A movie in the scene. which: what requests say of the trajectory. seen: by object, how many states it has and
    their extent, by which it is told from another of its name. excursions: f4[A] in Å, once they have been asked for.
    """

    name: str
    fit: Fit
    trajectory: Trajectory
    which: dict[str, Any]
    meshes: list[Mesh] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)
    excursions: np.ndarray | None = None

    def watch(
        self, frames: Sequence[Frame], answers: Iterable[tuple[dict[str, Any], dict[str, np.ndarray]]]
    ) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Pass the answers to `mesh` on, and keep those that are not empty; grids are only passed on."""
        for frame, answer in zip(frames, answers, strict=False):
            if len(answer[1].get("faces", ())):
                self.meshes.append(Mesh.of(frame, answer[1]))
            yield answer

    @property
    def bar(self) -> str:
        return f"{self.name}_bar"


kept: dict[str, Movie] = {}


@dataclass(frozen=True)
class Scale:
    """Values and their colours: levels f4[L], rising, and colors f4[L,3]; between them in straight lines."""

    levels: np.ndarray
    colors: np.ndarray

    @classmethod
    def between(cls, low: float, high: float, colors: np.ndarray) -> Scale:
        return cls(np.linspace(low, high, len(colors), dtype=np.float32), colors)

    def paint(self, values: np.ndarray) -> np.ndarray:
        """Colours f4[N,3] of values f4[N]; those that are not there (nan) are grey."""
        painted = np.stack([np.interp(values, self.levels, channel) for channel in self.colors.T], 1)
        painted[np.isnan(values)] = scene.PLAIN
        return painted.astype(np.float32)


@dataclass(frozen=True)
class Grid:
    """A state of a map: values f4[nx,ny,nz]; to_grid f8[4,4] makes places in the scene places in it, in cells."""

    values: np.ndarray
    to_grid: np.ndarray

    def sample(self, points: np.ndarray) -> np.ndarray:
        """Values f4[N] at points f4[N,3] (Å, in the scene), trilinear; nan outside."""
        at = points @ self.to_grid[:3, :3].T + self.to_grid[:3, 3]
        last = np.array(self.values.shape) - 1
        # A vertex on the border may lie a rounding outside.
        inside = ((at > -1e-3) & (at < last + 1e-3)).all(1)
        at = np.clip(at, 0, last)
        corner = np.minimum(at.astype(np.int64), np.maximum(last - 1, 0))
        part = at - corner
        found = np.zeros(len(points))
        for step in np.ndindex(2, 2, 2):
            index = np.minimum(corner + step, last)
            weight = np.where(step, part, 1.0 - part).prod(1)
            found += weight * self.values[tuple(index.T)]
        found[~inside] = np.nan
        return found.astype(np.float32)


def blend(values: np.ndarray, near: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Values f4[N] of vertices from those of atoms f4[A], of which some may be nan."""
    found = values[near]
    weights = np.where(np.isnan(found), 0.0, shares)
    total = weights.sum(1)
    sums = (weights * np.nan_to_num(found)).sum(1)
    return np.where(total > 0, sums / np.maximum(total, 1e-9), np.nan).astype(np.float32)


def value_range(
    values: Sequence[np.ndarray], minimum: float | None, maximum: float | None, signed: bool
) -> tuple[float, float]:
    """The range of a scale: as given, else between percentiles of all values, and around zero for signed ones.

    Raises SceneError for a range that is none.
    """
    there = np.concatenate([v[~np.isnan(v)] for v in values]) if values else np.zeros(0)
    low, high = (float(p) for p in np.percentile(there, INNER)) if len(there) else (0.0, 0.0)
    if signed:
        given = [abs(m) for m in (minimum, maximum) if m is not None]
        high = max(given) if given else max(abs(low), abs(high))
        low = -high
    low, high = (low if minimum is None else minimum), (high if maximum is None else maximum)
    if low >= high:
        if minimum is not None and maximum is not None:
            raise SceneError(f"minimum {low:g} and maximum {high:g}: the maximum must be the larger one")
        # All alike, or all on one side of what is given.
        return (high - 1.0, high) if maximum is not None else (low, low + 1.0)
    return low, high


def palette(name: str, _self: Any) -> np.ndarray:
    """A palette's colours f4[P,3]: viridis, one of those of `spectrum`, or colours joined by _. Raises SceneError."""
    if name == "viridis":
        return VIRIDIS
    if name in palette_dict:
        prefix, digits, first, last = palette_dict[name]
        words = [f"{prefix}{round(n):0{digits}d}" for n in np.linspace(first, last, TAKEN)]
    else:
        words = name.replace(" ", "_").split("_")
    unknown = [word for word in words if _self.get_color_index(word) < 0]
    if unknown or len(words) < 2:
        why = f"PyMOL has no colour {unknown[0]}" if unknown else "it takes two colours or more"
        raise SceneError(f"palette {name}: {why}; write viridis, one of spectrum's or white_red")
    return np.array([_self.get_color_tuple(word) for word in words], np.float32)


def read_values(path: str) -> dict[int, tuple[list[float], list[float]]]:
    """Values over time from a CSV file with the columns state, index and value: by index from 1, states that rise and
    values. Raises SceneError with the line that is at fault, OSError.
    """
    try:
        return _read_values(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SceneError(f"{path} is no table in plain text (UTF-8): {error}") from error


def _read_values(path: str) -> dict[int, tuple[list[float], list[float]]]:
    found: dict[int, dict[float, float]] = {}
    with open(path, newline="", encoding="utf-8-sig") as stream:
        rows = csv.reader(stream)
        names = [word.strip().lower() for word in next(rows, [])]
        if any(column not in names for column in COLUMNS):
            raise SceneError(f"{path}, line 1: it reads '{','.join(names)[:80]}'; write the columns state,index,value")
        places = [names.index(column) for column in COLUMNS]
        for row in rows:
            if not row:
                continue
            line = f"{path}, line {rows.line_num}"
            if len(row) <= max(places):
                raise SceneError(f"{line}: {len(row)} columns, where the first line has {len(names)}")
            numbers = []
            for column, place in zip(COLUMNS, places, strict=True):
                try:
                    number = float(row[place])
                except ValueError as error:
                    raise SceneError(f"{line}: {column} '{row[place][:40]}' is not a number") from error
                if not np.isfinite(number):
                    raise SceneError(f"{line}: {column} '{row[place][:40]}' is not finite")
                numbers.append(number)
            state, index, value = numbers
            if not index.is_integer() or index < 1:
                raise SceneError(f"{line}: index {index:g} is no atom; PyMOL's index counts from 1")
            of_atom = found.setdefault(int(index), {})
            if state in of_atom:
                raise SceneError(f"{line}: index {index:g} has a value for state {state:g} already")
            of_atom[state] = value
    if not found:
        raise SceneError(f"{path}: it holds no values")
    return {index: tuple(map(list, zip(*sorted(pairs.items()), strict=True))) for index, pairs in found.items()}  # type: ignore[misc]


def over_time(
    given: dict[int, tuple[list[float], list[float]]], atoms: np.ndarray, times: Sequence[float]
) -> np.ndarray:
    """Values f4[T,A] of the atoms i4[A] (from 0) at times: straight lines between the given states, held outside; nan
    for an atom without values.
    """
    table = np.full((len(times), len(atoms)), np.nan, np.float32)
    for column, atom in enumerate(atoms):
        if int(atom) + 1 in given:
            table[:, column] = np.interp(times, *given[int(atom) + 1])
    return table


def read_map(name: str, _self: Any) -> tuple[list[Grid | None], Scale | None]:
    """The states of a map object, or of the map of a ramp with the ramp's colours. Raises SceneError."""
    scale = None
    kind = _self.get_type(name) if name in _self.get_names("objects") else "nothing"
    if kind == "object:ramp":
        ramp = _contents(name, _self)
        if ramp[1] != 1 or not ramp[4]:
            raise SceneError(f"map {name}: the ramp is not one of a map with colours of its own")
        scale = Scale(np.array(ramp[3], np.float32), np.array(ramp[4], np.float32).reshape(-1, 3))
        name = str(ramp[6])
        kind = _self.get_type(name) if name in _self.get_names("objects") else "nothing"
    if kind != "object:map":
        is_what = "there is no such object" if kind == "nothing" else f"it is a {kind.split(':')[-1]}, not a map"
        raise SceneError(f"map {name}: {is_what}; 'load x.dx' or map_new make one")
    header, _, states = _contents(name, _self)
    placed = scene.as_matrix(header[11]) if header[7] else np.eye(4)
    grids = [_grid(state, placed) if state and state[0] else None for state in states]
    if not any(grids):
        raise SceneError(f"map {name}: it is empty")
    return grids, scale


def _contents(name: str, _self: Any) -> list[Any]:
    # get_volume_field is broken in some builds; the session has all of it.
    found = _self.get_session(name, partial=1, binary=1, cache=0, compress=0, version=0)
    return next(entry[5] for entry in found["names"] if entry and entry[0] == name)


def _grid(state: list[Any], placed: np.ndarray) -> Grid:
    corners = np.array(state[6], np.float64).reshape(8, 3)
    shape = tuple(int(n) for n in state[13][:3])
    data = state[14][2][6]
    values = np.frombuffer(data, np.float32) if isinstance(data, bytes) else np.array(data, np.float32)
    to_scene = np.eye(4)
    to_scene[:3, 3] = corners[0]
    for axis, corner in enumerate((1, 2, 4)):
        to_scene[:3, axis] = (corners[corner] - corners[0]) / max(shape[axis] - 1, 1)
    # Of the state's own matrix comes the origin of maps that have one.
    if state[15] and state[15][0]:
        to_scene = np.reshape(state[15][0], (4, 4)) @ to_scene
    return Grid(values.reshape(shape), np.linalg.inv(placed @ to_scene))


def keep(movie: Movie, _self: Any) -> None:
    """Remember a movie that was loaded, in place of the one of its name."""
    prune(_self)
    kept.pop(movie.name, None)
    movie.seen = {name: _looks(name, _self) for name in {mesh.frame.object for mesh in movie.meshes}}
    if movie.seen and None not in movie.seen.values():
        kept[movie.name] = movie


def prune(_self: Any) -> None:
    """Forget the movies, and parts of movies, that were deleted, and movies of which a part is something else now."""
    there = set(_self.get_names("objects"))
    for name, movie in list(kept.items()):
        movie.seen = {object: seen for object, seen in movie.seen.items() if object in there}
        movie.meshes = [mesh for mesh in movie.meshes if mesh.frame.object in there]
        if not movie.seen or any(_looks(object, _self) != seen for object, seen in movie.seen.items()):
            del kept[name]
            _remove_bar(movie, _self)


def _looks(name: str, _self: Any) -> Any:
    if name not in _self.get_names("objects") or _self.get_type(name) != "object:cgo":
        return None
    return _self.count_states(f"%{name}"), _self.get_extent(name)


def find(name: str, _self: Any) -> list[Movie]:
    """The movies of a fit, or the one that an object belongs to. Raises SceneError."""
    prune(_self)
    found = [movie for movie in kept.values() if name == movie.name or name in movie.seen]
    found = found or [movie for movie in kept.values() if movie.fit.name == name]
    if found:
        return found
    if name in _self.get_names("all"):
        kind = _self.get_type(name).split(":")[-1]
        if kind in ("cgo", "group"):
            raise SceneError(f"{name}: what its colours are made of is not in memory any more; run dsr_movie again")
        raise SceneError(f"{name} is a {kind}; dsr_color takes a fit or what dsr_movie made of meshes")
    if name in jobs.jobs.fits:
        raise SceneError(f"{name}: no movie of it is loaded; dsr_movie {name} makes one")
    there = ", ".join(sorted({*kept, *jobs.jobs.fits})) or "none"
    raise SceneError(f"there is no fit or movie {name} (there: {there})")


Values = Callable[[int, Mesh], np.ndarray]  # number of the mesh in the movie -> f4[N]


def atom_values(trajectory: Trajectory, what: str, _self: Any) -> np.ndarray:
    """A property of the fitted atoms as f4[A], nan where an atom has none. Raises SceneError."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*", what):
        raise SceneError(f"by {what}: {_choices()}")
    try:
        found = scene.of_atoms(trajectory, what, _self)
    except NameError as error:
        raise SceneError(f"by {what}: {_choices()}") from error
    if found is None:
        raise SceneError(f"by {what}: {trajectory.object or 'the molecule'} is not in the scene as it was fitted")
    try:
        return np.array([np.nan if value is None else value for value in found], np.float32)
    except ValueError as error:
        raise SceneError(f"by {what}: it is not a number (the first atom has '{found[0]}')") from error


def is_color(by: str, _self: Any) -> bool:
    """Whether it names a colour and nothing else; PyMOL takes b for blue."""
    return by not in KINDS and _self.get_color_index(by) >= 0


def _choices() -> str:
    listed = ", ".join(("atoms", *MOTIONS, "values", "map"))
    return f"choose one of {listed}, a number that iterate knows ({', '.join(PROPERTIES[:4])}, ...) or a colour"


def source(movie: Movie, by: str, file: str, map: str, _self: Any) -> tuple[Values, Scale | None]:
    """Where a movie's values come from; with a ramp, its colours. Reads scene and files now, the backend when called.

    Raises SceneError, OSError, JobError or BackendError.
    """
    trajectory = movie.trajectory
    if by in ("speed", "velocity"):
        turn = np.abs if by == "speed" else np.positive
        return lambda _, mesh: turn(_velocity(movie, mesh)), None
    if by == "map":
        grids, scale = read_map(map, _self)
        place = scene.matrix(trajectory.object, _self)

        def sampled(_: int, mesh: Mesh) -> np.ndarray:
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
        return lambda _, mesh: blend(_excursions(movie), mesh.near, mesh.shares), None
    of_atoms = atom_values(trajectory, by, _self)
    return lambda _, mesh: blend(of_atoms, mesh.near, mesh.shares), None


def _excursions(movie: Movie) -> np.ndarray:
    if movie.excursions is None:
        nowhere = np.zeros((0, 3), np.float32)
        movie.excursions = np.array(_ask(movie, movie.trajectory.states[0], nowhere)["excursions"])
    return movie.excursions


def _velocity(movie: Movie, mesh: Mesh) -> np.ndarray:
    if mesh.velocity is None:
        mesh.velocity = np.array(_ask(movie, mesh.frame.time, mesh.points)["velocity"])
    return mesh.velocity


def _ask(movie: Movie, time: float, points: np.ndarray) -> dict[str, np.ndarray]:
    if jobs.jobs.fits.get(movie.fit.name) is not movie.fit:
        raise SceneError(f"the fit {movie.fit.name} has given way to another; run dsr_movie again")
    return dict(jobs.jobs.ask(movie.fit, "paint", {**movie.which, "time": float(time)}, {"points": points})[1])


def recolor(
    movie: Movie,
    values: Values,
    scale: Scale | None,
    colors: np.ndarray,
    limits: tuple[float | None, float | None],
    signed: bool,
    bar: str,
    _self: Any,
) -> Scale:
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
        scale = Scale.between(*value_range(found, *limits, signed), colors)
    in_gui(_self, _remove_bar, movie, _self)
    used = scale
    _load(movie, lambda k, mesh: used.paint(found[k]), _self)
    if own:
        in_gui(_self, _show_bar, movie, bar, scale, _self)
    return scale


def recolor_plain(movie: Movie, color: str, _self: Any) -> None:
    """Give a movie the atoms' present colours, or one colour. Raises SceneError, Cancelled."""
    if color:
        rgb = np.array(_self.get_color_tuple(color), np.float32)
        for name in movie.seen:
            in_gui(_self, _self.color, color, name)
        # Without colours in the mesh the object's own counts, which PyMOL's color then changes, too.
        paint = lambda _, mesh: np.tile(rgb, (len(mesh.points), 1)) if mesh.frame.future else None  # noqa: E731
    else:
        base = in_gui(_self, scene.atom_colors, movie.trajectory, _self)
        if base is None or any(mesh.near is None for mesh in movie.meshes):
            missing = movie.trajectory.object or "its molecule"
            raise SceneError(f"by atoms: {missing} is not in the scene as it was fitted; give a colour as by=white")
        paint = lambda _, mesh: base[mesh.near[:, 0]]  # noqa: E731
    in_gui(_self, _remove_bar, movie, _self)
    _load(movie, paint, _self)


def dye(
    movie: Movie,
    by: str,
    *,
    color: str = "",
    values: Values | None = None,
    scale: Scale | None = None,
    colors: np.ndarray = VIRIDIS,
    limits: tuple[float | None, float | None] = (None, None),
    transparency: float | None = None,
    _self: Any,
) -> str:
    """Colour a movie by `values`, or without any by its atoms or with `color`; what came of it, as a line.

    Other arguments as of `recolor` and `set_transparency`. Raises what these raise.
    """
    if values is None:
        recolor_plain(movie, color, _self)
        line = f"{len(movie.meshes)} states coloured {color or 'like the atoms'}"
    else:
        used = recolor(movie, values, scale, colors, limits, by in SIGNED, bar_name(movie, by), _self)
        unit = f" {UNITS[by].replace('_', ' ')}" if by in UNITS else ""
        line = f"{len(movie.meshes)} states coloured by {by}, {used.levels[0]:.3g} to {used.levels[-1]:.3g}{unit}"
    if transparency is not None:
        in_gui(_self, set_transparency, movie, transparency, _self)
    return line


def set_transparency(movie: Movie, transparency: float, _self: Any) -> None:
    """Extrapolated parts stay as transparent as they are, or become more so."""
    for name in movie.seen:
        future = any(mesh.frame.future for mesh in movie.meshes if mesh.frame.object == name)
        value = max(transparency, scene.FUTURE_TRANSPARENCY) if future else transparency
        _self.set("cgo_transparency", value, name)


def _load(movie: Movie, paint: Callable[[int, Mesh], np.ndarray | None], _self: Any) -> None:
    count = len(movie.meshes)
    for k, mesh in enumerate(movie.meshes):
        _go_on(movie, 0.5 + 0.5 * k / count, f"{k} of {count} states have their new colours")
        colors = paint(k, mesh)
        if colors is not None and mesh.frame.future:
            colors = scene.tinted(colors)
        in_gui(_self, _put, mesh, mesh.floats(colors), _self)


def _put(mesh: Mesh, floats: list[float], _self: Any) -> None:
    if mesh.frame.object not in _self.get_names("objects"):
        raise SceneError(f"{mesh.frame.object} was deleted while it was coloured")
    _self.load_cgo(floats, mesh.frame.object, mesh.frame.state, zoom=0)


def _go_on(movie: Movie, fraction: float, so_far: str = "no state has its new colours") -> None:
    if movie.fit.stop.is_set():
        raise Cancelled(f"cancelled; {so_far}")
    movie.fit.doing, movie.fit.fraction = "colours", fraction


def bar_name(movie: Movie, by: str) -> str:
    """The bar says what it shows, and in which unit: PyMOL gives a ramp no title."""
    unit = UNITS.get(by, "")
    return "_".join([movie.bar, by.replace(".", "_"), *([unit] if unit else [])])


def _show_bar(movie: Movie, name: str, scale: Scale, _self: Any) -> None:
    # PyMOL draws all bars in one place.
    for other in kept.values():
        for bar in _bars(other, _self) if other is not movie else []:
            _self.disable(bar)
    hexadecimal = ["0x" + "".join(f"{round(255 * float(c)):02x}" for c in rgb) for rgb in scale.colors]
    # Names and not numbers: PyMOL 3 ends itself on lists of numbers.
    _self.ramp_new(name, "none", [float(level) for level in scale.levels], hexadecimal)


def _remove_bar(movie: Movie, _self: Any) -> None:
    for name in _bars(movie, _self):
        _self.delete(name)


def _bars(movie: Movie, _self: Any) -> list[str]:
    names = [name for name in _self.get_names("all") if name.startswith(f"{movie.bar}_")]
    return [name for name in names if _self.get_type(name) == "object:ramp"]


def _short(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.uint16) if not len(numbers) or numbers.max() < 65536 else numbers
