"""Meshes to the scene: multi-state CGO objects or maps, colours, the atoms that go with them, the movie.

Every change of the scene is one short call in the window's thread, a state at a time, so that the window
stays alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..fits.fit import Cancelled, Trajectory
from ..shared import states
from ..surfaces import selections
from ..surfaces.coordinates import put_coordinates
from .atoms import atom_colors
from .cgo import cgo_floats, vertex_colors
from .gui_thread import in_gui
from .maps import load_map
from .placement import SceneError, object_ttt
from .timeline import LoadedMovie, MovieState

Say = Callable[[str], None]


FUTURE_TRANSPARENCY = 0.4


def check_names(frames: Sequence[MovieState], object: str, _self: Any) -> set[str]:
    """The names that a movie named `object` may take; SceneError where one belongs to something else."""
    names = {f.object for f in frames} | {object, f"{object}_future", f"{object}_atoms", f"{object}_time"}
    names |= {f"{name}_map" for name in names}
    for name in sorted(names & set(_self.get_names("all"))):
        kind = _self.get_type(name)
        ours = kind in ("object:cgo", "object:group", "object:surface", "object:map") or (
            kind == "object:molecule" and _self.get_title(name, 1) == selections.ATOMS_TITLE
        )
        if not ours:
            raise SceneError(f"the name {name} is taken by a {kind.split(':')[-1]}; give another one with object=")
    return names


def show_movie(
    trajectory: Trajectory,
    frames: Sequence[MovieState],
    answers: Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]],
    *,
    object: str,
    color: str = "",
    as_map: bool = False,
    level: float = 0.0,
    say: Say,
    _self: Any,
) -> LoadedMovie:
    """Load the answers to `mesh` (or `grid` for maps) as the planned frames, and return what is in the scene.

    trajectory: whose atoms give the colours. A fault takes everything away again; a cancelled movie keeps its
    finished states and says so.
    """
    loaded = LoadedMovie()
    stopped: Cancelled | None = None
    base = None if color else in_gui(_self, atom_colors, trajectory, _self)
    if base is None and not color and not as_map:
        say(f"{trajectory.object or 'its molecule'} is not in the scene as it was; one colour is used")
    place = in_gui(_self, object_ttt, trajectory.object, _self)
    whole = all(float(f.time).is_integer() for f in frames)
    companion = None if whole or as_map else _Companion(trajectory, f"{object}_atoms", _self)
    in_gui(_self, _delete, in_gui(_self, check_names, frames, object, _self), _self)
    try:
        for frame, (result, arrays) in zip(frames, answers, strict=False):
            if frame.future and result.get("expected_error") is not None:
                loaded.expected[frame.time] = float(result["expected_error"])
            if as_map:
                in_gui(_self, load_map, frame, result, arrays, _self)
            elif len(arrays["faces"]):
                floats = cgo_floats(
                    arrays["points"],
                    arrays["normals"],
                    arrays["faces"],
                    vertex_colors(frame, arrays, base, color, _self),
                )
                in_gui(_self, _load_mesh, frame, floats, _self)
            else:
                loaded.empty.append(frame.time)
                continue
            if companion is not None and "atoms" in arrays:
                in_gui(_self, companion.add, frame.state, arrays["atoms"])
            loaded.frames.append(frame)
            if frame.object not in loaded.objects:
                loaded.objects.append(frame.object)
                in_gui(_self, _dress, frame, color, place, as_map, _self)
    except Cancelled as error:
        stopped = error
    except BaseException:
        names = loaded.objects + [f"{n}_map" for n in loaded.objects] + ([companion.name] if companion else [])
        in_gui(_self, _delete, names, _self)
        raise
    in_gui(_self, _finish, loaded, object, as_map, level, place, _self)
    if companion is not None and companion.made:
        in_gui(_self, companion.finish, place)
        loaded.objects.append(companion.name)
    if stopped is not None:
        done, asked = len(loaded.frames), len(frames)
        say(f"cancelled; the first {done} of {asked} states are in {object}")
        raise stopped
    return loaded


def set_movie(frames: Sequence[MovieState], _self: Any) -> None:
    """A movie that plays the states of the frames in their order."""
    parts: list[str] = []
    numbers = [f.state for f in frames]
    at = 0
    while at < len(numbers):
        end = at
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        parts.append(str(numbers[at]))
        if end > at:
            parts.append(f"-{numbers[end]}")
        at = end + 1
    _self.mset(" ".join(parts))
    _self.frame(1)


class _Companion:
    """The fitted atoms at times between states, as a molecule drawn like the source, so that cartoons move
    along.
    """

    def __init__(self, source: Trajectory, name: str, _self: Any) -> None:
        self.source, self.name, self._self = source, name, _self
        self.made = 0

    def add(self, state: int, atoms: np.ndarray) -> None:
        cmd, source = self._self, self.source
        if source.atoms is None or len(atoms) != len(source.atoms) or source.object not in cmd.get_names("objects"):
            return
        if not self.made:
            # Without this PyMOL may sort the atoms anew, away from the order of the fit.
            retain = cmd.get("retain_order")
            cmd.set("retain_order", 1)
            try:
                cmd.select_list("_dsr", source.object, [int(i) + 1 for i in source.atoms], mode="index")
                cmd.create(self.name, "_dsr", int(min(source.states)), state, zoom=0)
            finally:
                cmd.set("retain_order", retain)
                cmd.delete("_dsr")
            self.made = state
        else:
            cmd.create(self.name, self.name, self.made, state, zoom=0)
        put_coordinates(self.name, state, atoms, cmd)

    def finish(self, place: list[float]) -> None:
        cmd = self._self
        cmd.set_object_ttt(self.name, place)
        cmd.set_title(self.name, 1, selections.ATOMS_TITLE)
        # Its states are not the movie's, so it would play beside its own surface.
        cmd.disable(self.source.object)


def _delete(names: Iterable[str], _self: Any) -> None:
    for name in set(names) & set(_self.get_names("all")):
        _self.delete(name)


def _load_mesh(frame: MovieState, floats: list[float], _self: Any) -> None:
    # PyMOL 2.5 breaks its memory when a state is skipped, so those before get a mesh without triangles.
    there = _self.count_states(f"%{frame.object}") if frame.object in _self.get_names("objects") else 0
    for state in range(there + 1, frame.state):
        _self.load_cgo([0.0], frame.object, state, zoom=0)
    _self.load_cgo(floats, frame.object, frame.state, zoom=0)


def _dress(frame: MovieState, color: str, place: list[float], as_map: bool, _self: Any) -> None:
    if as_map:
        return
    _self.set_object_ttt(frame.object, place)
    if frame.future:
        _self.set("cgo_transparency", FUTURE_TRANSPARENCY, frame.object)
    elif color:
        _self.color(color, frame.object)


def _finish(loaded: LoadedMovie, object: str, as_map: bool, level: float, place: list[float], _self: Any) -> None:
    if as_map:
        before = {name: _self.get(name) for name in ("isosurface_algorithm", "auto_zoom")}
        # The other algorithms are not in every build and complain at each state.
        _self.set("isosurface_algorithm", 1)
        _self.set("auto_zoom", 0)
        try:
            for name in list(loaded.objects):
                _self.isosurface(name, f"{name}_map", -level)
                for made in (name, f"{name}_map"):
                    _self.set_object_ttt(made, place)
                _self.disable(f"{name}_map")
                loaded.objects.append(f"{name}_map")
                if name.startswith(f"{object}_future"):
                    _self.color("orange", name)
                    _self.set("transparency", FUTURE_TRANSPARENCY, name)
        finally:
            for setting, value in before.items():
                _self.set(setting, value)
    for group in (object, f"{object}_future"):
        members = [n for n in loaded.objects if n.startswith(group + "_") and n[len(group) + 1 :].isdigit()]
        if members:
            _self.group(group, " ".join(members))


def describe(trajectory: Trajectory, loaded: LoadedMovie) -> list[str]:
    """Lines on what came out of the ordinary: extrapolated times, empty times, atoms between states."""
    lines = []
    future = [f for f in loaded.frames if f.future]
    if future:
        names = sorted({f.object for f in future})
        error = ""
        if loaded.expected:
            low, high = min(loaded.expected.values()), max(loaded.expected.values())
            error = f", expected error {low:.2f} A" if low == high else f", expected error {low:.2f} to {high:.2f} A"
        times = states.format([f.time for f in future])
        which = f"state {times} is" if len(future) == 1 else f"states {times} are"
        lines.append(
            f"{which} past the fitted "
            f"{min(trajectory.states):g} to {max(trajectory.states):g}: extrapolated{error}, in {names[0]}"
        )
    if loaded.empty:
        lines.append(f"states {states.format(loaded.empty)} have no surface at this level and stay empty")
    atoms = [n for n in loaded.objects if n.endswith("_atoms")]
    if atoms:
        source = trajectory.object
        lines.append(
            f"{atoms[0]} holds the atoms at these times; {source} is switched off, as its states are not these"
        )
    return lines
