"""Meshes to the scene: multi-state CGO objects or maps, colours, the atoms that go with them, the movie.

Every change of the scene is one short call in the window's thread, a state at a time, so that the window
stays alive.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from . import extract, states
from .jobs import Background, Cancelled, Trajectory

Say = Callable[[str], None]
T = TypeVar("T")

# Loading a state takes longer the more states an object has, so long movies go into several objects.
STATES_PER_OBJECT = 200
# What a movie of any length may hold in all: about 220 bytes of memory per triangle.
ALL_TRIANGLES = 5_000_000
# Corners of triangles made into Python's numbers at once: a few milliseconds.
CORNERS = 8_192
ORANGE = np.array([1.0, 0.55, 0.1])
FUTURE_TRANSPARENCY = 0.4
PLAIN = (0.8, 0.8, 0.8)
# A map without an inside. PyMOL's marching cubes read past the end of much smaller ones, and draw what they find.
NOTHING = np.full((16, 16, 16), -100.0, np.float32)
IDENTITY = [1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0]


class SceneError(ValueError):
    """What keeps a result out of the scene, as one line for the user."""


@dataclass(frozen=True)
class Frame:
    """One time of a movie: the state it becomes in which object."""

    time: float
    state: int
    object: str
    future: bool


@dataclass
class Loaded:
    """What a movie brought: objects by name, frames loaded, times without a surface, expected errors (Å) by
    time.
    """

    objects: list[str] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    empty: list[float] = field(default_factory=list)
    expected: dict[float, float] = field(default_factory=dict)


def in_gui(_self: Any, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call `function` where the scene may be changed, and return what it returns."""
    marshal = getattr(_self, "_call_in_gui_thread", None)
    if marshal is None or not isinstance(threading.current_thread(), Background):
        return function(*args, **kwargs)
    box: list[T] = []
    raised: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            box.append(function(*args, **kwargs))
        except BaseException as error:
            raised.append(error)
        finally:
            done.set()

    # PyMOL's caller can miss the moment its function is done when that was quick, and then waits until its
    # next call; it waits in a thread of its own here.
    threading.Thread(target=marshal, args=(run,), daemon=True).start()
    done.wait()
    if raised:
        raise raised[0]
    return box[0]


def plan(trajectory: Trajectory, times: Sequence[float], object: str) -> list[Frame]:
    """Which state of which object each time becomes.

    Whole times keep their number, so that the molecule plays along; otherwise states count from 1. Times
    outside the fitted states go into `<object>_future`, whose states go on where the others end.
    """
    whole = all(float(t).is_integer() for t in times)
    first, last = min(trajectory.states), max(trajectory.states)
    frames = []
    counts = {False: 0, True: 0}
    total = {future: sum((not first <= t <= last) == future for t in times) for future in (False, True)}
    for number, time in enumerate(times, 1):
        future = not first <= time <= last
        name = f"{object}_future" if future else object
        if total[future] > STATES_PER_OBJECT:
            name += f"_{counts[future] // STATES_PER_OBJECT + 1:02d}"
        counts[future] += 1
        frames.append(Frame(time, int(time) if whole else number, name, future))
    return frames


def triangle_budget(count: int) -> int:
    """Triangles per state for a movie of `count` states."""
    return int(min(50_000, max(10_000, ALL_TRIANGLES // max(count, 1))))


def atom_colors(trajectory: Trajectory, _self: Any) -> np.ndarray | None:
    """Colours of the fitted atoms as they are now, f4[A,3] from 0 to 1; None where the scene lacks them."""
    numbers = of_atoms(trajectory, "color", _self)
    if numbers is None:
        return None
    tuples = {n: _self.get_color_tuple(n) or PLAIN for n in set(numbers)}
    return np.array([tuples[n] for n in numbers], np.float32)


def atom_radii(trajectory: Trajectory, _self: Any) -> np.ndarray | None:
    """Van der Waals radii of the fitted atoms, f4[A] in Å; None where the scene lacks them."""
    radii = of_atoms(trajectory, "vdw", _self)
    return None if radii is None else np.array(radii, np.float32)


def atom_residues(trajectory: Trajectory, _self: Any) -> list[tuple[str, str, str]] | None:
    """Chain (or segment), resn and resi of each of the fitted atoms; None where the scene lacks them."""
    return of_atoms(trajectory, "(chain or segi, resn, resi)", _self)


def of_atoms(trajectory: Trajectory, what: str, _self: Any) -> list[Any] | None:
    """A property of each of the fitted atoms, as PyMOL's iterate names it."""
    if trajectory.atoms is None or trajectory.object not in _self.get_names("objects"):
        return None
    found: dict[int, Any] = {}
    _self.iterate(f"%{trajectory.object}", f"found[index - 1] = {what}", space={"found": found})
    if any(int(i) not in found for i in trajectory.atoms):
        return None
    return [found[int(i)] for i in trajectory.atoms]


def cgo_floats(points: np.ndarray, normals: np.ndarray, faces: np.ndarray, colors: np.ndarray | None) -> list[float]:
    """A mesh as PyMOL's list of CGO numbers: points, normals, colors f4[N,3] (or no colours), faces
    i4[M,3].
    """
    # BEGIN TRIANGLES is the form that every drawing path shows, and only plain Python floats are taken.
    corners = faces.ravel()
    width = 8 if colors is None else 12
    a = np.empty((len(corners), width), np.float32)
    at = 0
    if colors is not None:
        a[:, 0] = 6.0
        a[:, 1:4] = colors[corners]
        at = 4
    a[:, at] = 5.0
    a[:, at + 1 : at + 4] = normals[corners]
    a[:, at + 4] = 4.0
    a[:, at + 5 : at + 8] = points[corners]
    numbers = [2.0, 4.0]
    # In pieces: the window's thread waits while one is made.
    for start in range(0, len(a), CORNERS):
        numbers += a[start : start + CORNERS].ravel().tolist()
    numbers.append(3.0)
    return numbers


def mrc_bytes(values: np.ndarray, spacing: float, origin: Sequence[float]) -> bytes:
    """A grid f4[nx,ny,nz] as an MRC map; its origin (Å) may lie anywhere, unlike that of a CCP4 map."""
    header = np.zeros(256, "<i4")
    floats = header.view("<f4")
    shape = values.shape
    header[0:3] = shape
    header[3] = 2
    header[7:10] = shape
    floats[10:13] = np.array(shape) * spacing
    floats[13:16] = 90.0
    header[16:19] = 1, 2, 3
    floats[19:22] = values.min(), values.max(), values.mean()
    header[22] = 1
    floats[49:52] = origin
    header[52] = struct.unpack("<i", b"MAP ")[0]
    header[53] = 0x00004144
    return header.tobytes() + np.ascontiguousarray(values.transpose(2, 1, 0), "<f4").tobytes()


def ttt(name: str, _self: Any) -> list[float]:
    """The display matrix of an object in PyMOL's own layout (TTT), the identity where there is none."""
    # Not get_object_ttt, which crashes PyMOL 2.5, nor matrix_copy, which also takes the history of moves that are in
    # the coordinates already: that history is what is taken off here.
    there = name in _self.get_names("objects")
    for state in range(1, _self.count_states(f"%{name}") + 1 if there else 0):
        shown = _self.get_object_matrix(name, state=state, incl_ttt=1)
        history = _self.get_object_matrix(name, state=state, incl_ttt=0) or IDENTITY
        # An empty state has no matrix.
        if shown is not None and list(shown) != list(history):
            placed = np.reshape(shown, (4, 4)) @ np.linalg.inv(np.reshape(history, (4, 4)))
            return [float(number) for number in placed.ravel()]
    return list(IDENTITY)


def matrix(name: str, _self: Any) -> np.ndarray:
    """The display matrix of an object as f4[4,4] for columns: matrix @ (x, y, z, 1)."""
    return as_matrix(ttt(name, _self)).astype(np.float32)


def as_matrix(ttt: Sequence[float]) -> np.ndarray:
    """PyMOL's own layout of a display matrix (TTT) as f8[4,4] for columns."""
    t = np.array(ttt, np.float64).reshape(4, 4)
    m = np.eye(4)
    m[:3, :3] = t[:3, :3]
    # TTT moves by its last row, turns, and moves by its last column.
    m[:3, 3] = t[:3, :3] @ t[3, :3] + t[:3, 3]
    return m


def check_names(frames: Sequence[Frame], object: str, _self: Any) -> set[str]:
    """The names that a movie named `object` may take; SceneError where one belongs to something else."""
    names = {f.object for f in frames} | {object, f"{object}_future", f"{object}_atoms", f"{object}_time"}
    names |= {f"{name}_map" for name in names}
    for name in sorted(names & set(_self.get_names("all"))):
        kind = _self.get_type(name)
        ours = kind in ("object:cgo", "object:group", "object:surface", "object:map") or (
            kind == "object:molecule" and _self.get_title(name, 1) == extract.ATOMS_TITLE
        )
        if not ours:
            raise SceneError(f"the name {name} is taken by a {kind.split(':')[-1]}; give another one with object=")
    return names


def show(
    trajectory: Trajectory,
    frames: Sequence[Frame],
    answers: Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]],
    *,
    object: str,
    color: str = "",
    as_map: bool = False,
    level: float = 0.0,
    say: Say,
    _self: Any,
) -> Loaded:
    """Load the answers to `mesh` (or `grid` for maps) as the planned frames, and return what is in the scene.

    trajectory: whose atoms give the colours. A fault takes everything away again; a cancelled movie keeps its
    finished states and says so.
    """
    loaded = Loaded()
    stopped: Cancelled | None = None
    base = None if color else in_gui(_self, atom_colors, trajectory, _self)
    if base is None and not color and not as_map:
        say(f"{trajectory.object or 'its molecule'} is not in the scene as it was; one colour is used")
    place = in_gui(_self, ttt, trajectory.object, _self)
    whole = all(float(f.time).is_integer() for f in frames)
    companion = None if whole or as_map else _Companion(trajectory, f"{object}_atoms", _self)
    in_gui(_self, _delete, in_gui(_self, check_names, frames, object, _self), _self)
    try:
        for frame, (result, arrays) in zip(frames, answers, strict=False):
            if frame.future and result.get("expected_error") is not None:
                loaded.expected[frame.time] = float(result["expected_error"])
            if as_map:
                in_gui(_self, _load_map, frame, result, arrays, _self)
            elif len(arrays["faces"]):
                floats = cgo_floats(
                    arrays["points"],
                    arrays["normals"],
                    arrays["faces"],
                    _vertex_colors(frame, arrays, base, color, _self),
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


def set_movie(frames: Sequence[Frame], _self: Any) -> None:
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
        positions = iter(atoms.tolist())
        cmd.alter_state(state, self.name, "(x, y, z) = next(positions)", space={"positions": positions, "next": next})

    def finish(self, place: list[float]) -> None:
        cmd = self._self
        cmd.set_object_ttt(self.name, place)
        cmd.set_title(self.name, 1, extract.ATOMS_TITLE)
        # Its states are not the movie's, so it would play beside its own surface.
        cmd.disable(self.source.object)


def switch_off(name: str, _self: Any) -> bool:
    """Disable an object, if it is one of ours; whether there was one and it was on."""
    if name not in _self.get_names("objects", enabled_only=1) or _self.get_type(name) == "object:molecule":
        return False
    _self.disable(name)
    return True


def _delete(names: Iterable[str], _self: Any) -> None:
    for name in set(names) & set(_self.get_names("all")):
        _self.delete(name)


def _vertex_colors(
    frame: Frame, arrays: dict[str, np.ndarray], base: np.ndarray | None, color: str, _self: Any
) -> np.ndarray | None:
    """f4[N,3], or None where the object's own colour is enough."""
    if color and not frame.future:
        return None
    count = len(arrays["points"])
    if color or base is None or "nearest" not in arrays:
        one = in_gui(_self, _self.get_color_tuple, color) if color else PLAIN
        colors = np.tile(np.array(one, np.float32), (count, 1))
    else:
        colors = base[arrays["nearest"]]
    return tinted(colors) if frame.future else colors


def tinted(colors: np.ndarray) -> np.ndarray:
    """Colours f4[N,3] as extrapolated surfaces have them."""
    return (0.5 * colors + 0.5 * ORANGE).astype(np.float32)


def _load_mesh(frame: Frame, floats: list[float], _self: Any) -> None:
    # PyMOL 2.5 breaks its memory when a state is skipped, so those before get a mesh without triangles.
    there = _self.count_states(f"%{frame.object}") if frame.object in _self.get_names("objects") else 0
    for state in range(there + 1, frame.state):
        _self.load_cgo([0.0], frame.object, state, zoom=0)
    _self.load_cgo(floats, frame.object, frame.state, zoom=0)


def _load_map(frame: Frame, result: dict[str, Any], arrays: dict[str, np.ndarray], _self: Any) -> None:
    name = f"{frame.object}_map"
    spacing, origin = float(result["spacing"]), result["origin"]
    there = _self.count_states(name) if name in _self.get_names("objects") else 0
    normalize = _self.get("normalize_ccp4_maps")
    _self.set("normalize_ccp4_maps", 0)
    try:
        # An isosurface of states that have no map breaks PyMOL's session; a map without an inside has no surface.
        for gap in range(there + 1, frame.state):
            _self.load_raw(mrc_bytes(NOTHING, spacing, origin), "mrc", name, gap, zoom=0)
        # PyMOL's inside is where a map is high.
        _self.load_raw(mrc_bytes(-arrays["values"], spacing, origin), "mrc", name, frame.state, zoom=0)
    finally:
        _self.set("normalize_ccp4_maps", normalize)


def _dress(frame: Frame, color: str, place: list[float], as_map: bool, _self: Any) -> None:
    if as_map:
        return
    _self.set_object_ttt(frame.object, place)
    if frame.future:
        _self.set("cgo_transparency", FUTURE_TRANSPARENCY, frame.object)
    elif color:
        _self.color(color, frame.object)


def _finish(loaded: Loaded, object: str, as_map: bool, level: float, place: list[float], _self: Any) -> None:
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


def describe(trajectory: Trajectory, loaded: Loaded) -> list[str]:
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
