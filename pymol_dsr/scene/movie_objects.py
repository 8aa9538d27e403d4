"""Loads surfaces as multi-state objects: meshes as CGOs, or maps with isosurfaces.

Every change of the scene is one short call in the window's thread, a state at a time, so that the window
stays alive.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..backend.process import BackendError
from ..fits.fit import Cancelled, Say, Trajectory
from ..shared import states
from ..shared.messages import GridResult, MeshResult
from ..surfaces.object_session import read_object_session
from ..surfaces.selections import ATOMS_TITLE
from . import cgo, maps, placement
from .atoms import atom_colors
from .gui_thread import in_gui, step_in_gui
from .movie_atoms import MovieAtoms
from .objects import SceneError, check_names, delete_objects, object_kind
from .palettes import GREY, Colors, tinted
from .replies import Reply, lattice_of, mesh_of, vertex_colors
from .timeline import MovieState, all_whole

FUTURE_TRANSPARENCY = 0.4
# PyMOL copies all meshes of an object that needs more room, after 32 states, 64, 128, …: a fourth of a second for 64 of
# AdK. So larger objects get all their states, still empty, before the first mesh.
FEW_STATES = 32
# Name of an object that is loaded anew, until that is done.
FORMER = "_dsr_former"
# Kinds of objects that an earlier movie may have left under the names of this one.
REPLACEABLE = ("cgo", "group", "surface", "map", ATOMS_TITLE)


@dataclass(frozen=True)
class MovieAppearance:
    """The appearance of a movie in the scene.

    color: one for all, empty for those of the atoms. paint: gives the colours f4[N,3] of the vertices of each state
    instead, when its reply has come. transparency: 0 to 1. map_level: Å, of the isosurfaces where the replies are maps;
    None for meshes.
    """

    color: str = ""
    paint: Callable[[MovieState], Colors] | None = None
    transparency: float = 0.0
    map_level: float | None = None


@dataclass
class LoadedMovie:
    """The movie in the scene: names of its objects, loaded states, times without a surface, expected errors by time.

    Errors are in Å. floats: the numbers of all meshes. absence: why it has no atoms where the molecule has changed.
    groups: those of the objects of an earlier movie of these names.
    """

    objects: list[str] = field(default_factory=list)
    states: list[MovieState] = field(default_factory=list)
    empty: list[float] = field(default_factory=list)
    expected_errors: dict[float, float] = field(default_factory=dict)
    floats: int = 0
    absence: str = ""
    groups: dict[str, str] = field(default_factory=dict)


def movie_names(movie_states: Sequence[MovieState], object: str) -> set[str]:
    """List the names that a movie named `object` may take."""
    names = {state.object for state in movie_states} | {object}
    names |= {f"{object}_{suffix}" for suffix in ("future", "atoms", "time")}
    return names | {map_name(name) for name in names}


def map_name(object: str) -> str:
    """Name the map of an isosurface."""
    return f"{object}_map"


def check_movie_names(movie_states: Sequence[MovieState], object: str, _self: Any) -> None:
    """Raise SceneError where a name of the movie belongs to something else."""
    check_names(movie_names(movie_states, object), REPLACEABLE, _self)


def show_movie(
    trajectory: Trajectory,
    movie_states: Sequence[MovieState],
    replies: Iterable[Reply],
    *,
    object: str,
    appearance: MovieAppearance,
    on_view: Callable[[], None] = lambda: None,
    floats_again: Callable[[MovieState], list[float]] | None = None,
    say: Say,
    _self: Any,
) -> LoadedMovie:
    """Load the replies to `mesh`, or to `grid` for maps, as the planned states.

    trajectory: its atoms give the colours. on_view: called in the window's thread when the mesh of the state in view is
    loaded. floats_again: returns the numbers of the mesh of a state that was loaded. An earlier movie of these names
    stays until there is a surface of this one. A movie that is cancelled, or whose backend is lost, keeps its finished
    states and says so, and with `floats_again` it ends with the last of them; any other error takes it away again.
    Raises SceneError, Cancelled, and the errors of the replies.
    """
    by_atom = not appearance.color and appearance.paint is None
    base, absence = in_gui(_self, atom_colors, trajectory, _self) if by_atom else (None, "")
    if absence and appearance.map_level is None:
        say(f"{absence}; one colour is used until then")
    ttt = in_gui(_self, placement.object_ttt, trajectory.object, _self)
    are_integers = all_whole([state.time for state in movie_states])
    movie_atoms = None if are_integers else MovieAtoms(trajectory, f"{object}_atoms", _self)
    in_gui(_self, check_movie_names, movie_states, object, _self)
    names = movie_names(movie_states, object)
    answers = iter(replies)
    leading = _until_surface(answers)
    groups = in_gui(_self, _groups_of, names, _self)
    in_gui(_self, _delete_earlier, names, f"{object}_atoms", trajectory.object, _self)
    last_states = {state.object: state.state for state in sorted(movie_states, key=lambda state: state.state)}
    loader = _Loader(base, appearance, ttt, movie_atoms, on_view, last_states, groups, _self)
    cut_short: Cancelled | BackendError | None = None
    try:
        for state, reply in zip(movie_states, itertools.chain(leading, answers), strict=False):
            loader.add(state, reply)
    except (Cancelled, BackendError) as error:
        cut_short = error
    except BaseException:
        in_gui(_self, delete_objects, names, _self)
        raise
    if cut_short is not None and floats_again is not None:
        loader.drop_empty_ends(floats_again)
    in_gui(_self, loader.finish, object)
    if cut_short is not None:
        word = "cancelled" if isinstance(cut_short, Cancelled) else "cut short"
        say(f"{word}; the first {len(loader.movie.states)} of {len(movie_states)} states are in {object}")
        raise cut_short
    return loader.movie


def _until_surface(answers: Iterator[Reply]) -> list[Reply]:
    """Return the answers up to the first one with a surface. Raises SceneError where none has one."""
    leading: list[Reply] = []
    for reply in answers:
        leading.append(reply)
        if isinstance(reply, GridResult) or len(reply.faces):
            return leading
    raise SceneError("no state has a surface at this level, so nothing is loaded; give a higher level")


def _groups_of(names: Iterable[str], _self: Any) -> dict[str, str]:
    """Return the group of each object of an earlier movie that is in one, and empty its meshes and maps.

    PyMOL tells the group of an object only with its whole content, which would be copied.
    """
    groups = {}
    if not any(_self.get_type(name) == "object:group" for name in _self.get_names("all")):
        return {}
    for name in set(names) & set(_self.get_names("objects")):
        kind = object_kind(name, _self)
        if kind == "cgo":
            for state in range(1, _self.count_states(f"%{name}") + 1):
                _self.load_cgo(cgo.NOTHING, name, state, zoom=0)
        elif kind == "map":
            maps.empty_map(name, _self)
        if kind != "group":
            groups[name] = read_object_session(name, _self).group
    return {name: group for name, group in groups.items() if group}


def join_former_group(name: str, groups: Mapping[str, str], _self: Any) -> None:
    """Put an object that was loaded anew into the group of the one before it, unless that group is gone."""
    group = groups.get(name, "")
    if object_kind(group, _self) == "group":
        _self.group(group, name)


def _delete_earlier(names: Iterable[str], atoms: str, molecule: str, _self: Any) -> None:
    """Delete the earlier movie of these objects, and show the molecule again where that showed its atoms."""
    had_atoms = atoms in _self.get_names("objects", enabled_only=1)
    delete_objects(names, _self)
    if had_atoms and molecule in _self.get_names("objects"):
        _self.enable(molecule)


class _Loader:
    """Loads one state after another."""

    def __init__(
        self,
        base: Colors | None,
        appearance: MovieAppearance,
        ttt: list[float],
        movie_atoms: MovieAtoms | None,
        on_view: Callable[[], None],
        last_states: dict[str, int],
        groups: dict[str, str],
        _self: Any,
    ) -> None:
        """Begin a movie.

        base: f4[A,3], colours of the atoms; ttt: the display matrix of the molecule; last_states, groups: by object.
        """
        self.movie = LoadedMovie(groups=groups)
        self._base, self._appearance, self._ttt = base, appearance, ttt
        self._last_states = last_states
        self._movie_atoms, self._on_view, self._self = movie_atoms, on_view, _self
        self._maps: list[str] = []

    def add(self, state: MovieState, reply: Reply) -> None:
        """Load a reply as a state; one without a surface leaves the state empty."""
        if state.future and reply.expected_error is not None:
            self.movie.expected_errors[state.time] = reply.expected_error
        if isinstance(reply, GridResult):
            in_gui(self._self, maps.load_map, map_name(state.object), state.state, lattice_of(reply), self._self)
        elif len(reply.faces):
            floats = cgo.cgo_floats(mesh_of(reply), self._vertex_colors(state, reply))
            step_in_gui(self._self, self._add_mesh, state, floats)
            self.movie.floats += len(floats)
            if self._movie_atoms is not None and reply.atoms is not None:
                in_gui(self._self, self._movie_atoms.add, state.state, reply.atoms)
        else:
            self.movie.empty.append(state.time)
            return
        self.movie.states.append(state)
        if state.object not in self.movie.objects:
            self.movie.objects.append(state.object)
            if isinstance(reply, GridResult):
                self._maps.append(state.object)
            else:
                in_gui(self._self, self._dress, state)

    def _vertex_colors(self, state: MovieState, reply: MeshResult) -> Colors | None:
        """Colours f4[N,3], or None where the object's own colour is enough."""
        if self._appearance.paint is not None:
            return self._appearance.paint(state)
        return movie_colors(state, reply, self._base, self._appearance.color, self._self)

    def _add_mesh(self, state: MovieState, floats: list[float]) -> None:
        name = state.object
        if name in self.movie.objects and name not in self._self.get_names("objects"):
            # Its first states are gone with it, and who deleted it does not want the others.
            raise SceneError(f"{name} was deleted or renamed while it was loaded, so the rest is not loaded")
        self._load_mesh(state, floats)

    def _load_mesh(self, state: MovieState, floats: list[float]) -> None:
        # PyMOL 2.5 breaks its memory when a state is skipped, so those before get a mesh without triangles.
        cmd, name = self._self, state.object
        existing = _count_states(name, cmd)
        last = self._last_states[name]
        for number in range(existing + 1, last + 1 if last > FEW_STATES else state.state):
            cmd.load_cgo(cgo.NOTHING, name, number, zoom=0)
        cmd.load_cgo(floats, name, state.state, zoom=0)
        if state.state == cmd.get_state():
            self._on_view()

    def drop_empty_ends(self, floats_again: Callable[[MovieState], list[float]]) -> None:
        """Load the objects anew that end with empty states, as PyMOL takes no state off a mesh."""
        cmd = self._self
        for name in [object for object in self.movie.objects if object not in self._maps]:
            states = [state for state in self.movie.states if state.object == name]
            end = max(state.state for state in states)
            if in_gui(cmd, _count_states, name, cmd) <= end:
                continue
            self._last_states[name] = end
            # It stays in view until the other one is complete.
            in_gui(cmd, cmd.set_name, name, FORMER)
            try:
                for state in states:
                    step_in_gui(cmd, self._load_mesh, state, floats_again(state))
                in_gui(cmd, self._dress, states[0])
            finally:
                in_gui(cmd, cmd.delete, FORMER)

    def _dress(self, state: MovieState) -> None:
        placement.place(state.object, self._ttt, self._self)
        join_former_group(state.object, self.movie.groups, self._self)
        transparency = self._transparency(state.future)
        if transparency:
            self._self.set("cgo_transparency", transparency, state.object)
        if self._appearance.color and not state.future:
            self._self.color(self._appearance.color, state.object)

    def _transparency(self, future: bool) -> float:
        """Return the transparency of an object; one of extrapolated states is never opaque."""
        own = self._appearance.transparency
        return max(own, FUTURE_TRANSPARENCY) if future else own

    def finish(self, object: str) -> None:
        """Show isosurfaces of the maps, group objects of one movie, and place the atoms."""
        cmd, movie, color = self._self, self.movie, self._appearance.color
        for name in self._maps:
            maps.show_isosurface(name, map_name(name), self._appearance.map_level or 0.0, self._ttt, cmd)
            movie.objects.append(map_name(name))
            for loaded in (name, map_name(name)):
                join_former_group(loaded, movie.groups, cmd)
            future = name.startswith(f"{object}_future")
            if future:
                cmd.color("orange", name)
            elif color:
                cmd.color(color, name)
            transparency = self._transparency(future)
            if transparency:
                cmd.set("transparency", transparency, name)
        for group in (object, f"{object}_future"):
            members = [name for name in movie.objects if re.fullmatch(rf"{re.escape(group)}_\d+", name)]
            if members:
                cmd.group(group, " ".join(members))
        if self._movie_atoms is not None:
            movie.absence = self._movie_atoms.absence
        if self._movie_atoms is not None and self._movie_atoms.exists:
            self._movie_atoms.finish(self._ttt)
            movie.objects.append(self._movie_atoms.name)
            join_former_group(self._movie_atoms.name, movie.groups, cmd)


def _count_states(object: str, _self: Any) -> int:
    """Return the number of states of an object, 0 where there is none of that name."""
    return int(_self.count_states(f"%{object}")) if object in _self.get_names("objects") else 0


def movie_colors(state: MovieState, reply: MeshResult, base: Colors | None, color: str, _self: Any) -> Colors | None:
    """Return colours f4[N,3] of a state, or None where the object's own colour is enough.

    base: f4[A,3], of the atoms. color: one for all, else empty.
    """
    if color and not state.future:
        return None
    rgb = in_gui(_self, _self.get_color_tuple, color) if color else GREY
    colors = vertex_colors(reply, None if color else base, rgb)
    return tinted(colors) if state.future else colors


def session_megabytes(movie: LoadedMovie) -> float:
    """Return the size of the meshes of a movie in a session file, in MB."""
    return 1e-6 * cgo.FLOAT_BYTES * movie.floats


def describe(trajectory: Trajectory, movie: LoadedMovie, *, stays: bool = True) -> list[str]:
    """Write a line for each exception: extrapolated times, empty times, atoms between states.

    stays: the objects stay in the scene, and so are named.
    """
    lines = []
    future = [state for state in movie.states if state.future]
    if future:
        objects = f", in {min(state.object for state in future)}" if stays else ""
        error = ""
        if movie.expected_errors:
            low, high = min(movie.expected_errors.values()), max(movie.expected_errors.values())
            error = f", expected error {low:.2f} A" if low == high else f", expected error {low:.2f} to {high:.2f} A"
        times = states.format([state.time for state in future])
        subject = f"state {times} is" if len(future) == 1 else f"states {times} are"
        lines.append(
            f"{subject} past the fitted "
            f"{min(trajectory.states):g} to {max(trajectory.states):g}: extrapolated{error}{objects}"
        )
    if movie.empty:
        subject, have, stay = ("state", "has no", "stays") if len(movie.empty) == 1 else ("states", "have no", "stay")
        lines.append(f"{subject} {states.format(movie.empty)} {have} surface at this level and {stay} empty")
    if movie.absence:
        lines.append(f"{movie.absence}; the movie has no atoms beside its surfaces until then")
    atoms = [name for name in movie.objects if name.endswith("_atoms")]
    if atoms and stays:
        source = trajectory.object
        lines.append(
            f"{atoms[0]} holds the atoms at these times; {source} is switched off, as its states are not these"
        )
    return lines
