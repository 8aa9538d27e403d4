"""What makes a movie of the loaded states: their times, their order, the camera, the time label, the film."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..shared import states
from ..shared.superpose import superpose
from ..surfaces import selections
from . import movie_objects, placement
from .timeline import MovieState

Answers = Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]
Say = Callable[[str], None]

PLAYS = ("once", "loop", "bounce")
CAMERAS = ("still", "follow")
# With the 10 000 triangles that each still has, they take 1.3 GB of memory.
MOST_MESHES = 600
# Of PyMOL's own movies, where movie_fps is 0.
USUAL_FPS = 30.0
LABEL_SIZE = 18
# From -1 to 1 on the screen: the upper left corner, near the front plane; in the middle, what is transparent hides it.
LABEL_AT = (-0.95, 0.9, -0.9)


class MovieError(ValueError):
    """What keeps a movie from being made, as one line for the user."""


@dataclass
class MovieOptions:
    """How a movie is to play, and what is seen of its frames while they are loaded.

    fps: frames per second, None for PyMOL's own. play: once, loop, bounce, or empty for PyMOL's own.
    atoms: f4[A,3] by time, in the object's frame. centres: f4[3] by time, of the surface. told: label by time.
    """

    fps: float | None = None
    play: str = ""
    follow: bool = False
    overlay: bool = False
    atoms: dict[float, np.ndarray] = field(default_factory=dict)
    centres: dict[float, np.ndarray] = field(default_factory=dict)
    told: dict[float, str] = field(default_factory=dict)

    def watch(self, frames: Sequence[MovieState], answers: Answers) -> Answers:
        """Pass the answers to `mesh` or `grid` on, and keep what the camera and the label need."""
        for frame, (result, arrays) in zip(frames, answers, strict=False):
            if self.overlay:
                self.centres[frame.time] = _centre(result, arrays)
                self.told[frame.time] = label(frame, result.get("expected_error"))
            if self.follow:
                if "atoms" not in arrays:
                    raise MovieError("camera follow: this fit knows no atoms to follow; leave camera= out")
                self.atoms[frame.time] = arrays["atoms"]
            yield result, arrays


def movie_times(first: float, last: float, seconds: float, fps: float, play: str) -> list[float]:
    """Times from `first` to `last`, evenly, of which seconds × fps frames are played. Raises MovieError."""
    count = round(seconds * fps)
    # There and back, without showing the ends twice.
    meshes = count // 2 + 1 if play == "bounce" else count
    if meshes < 2:
        raise MovieError(f"seconds {seconds:g}: at {fps:g} frames a second that is {meshes} state; at least 2 can move")
    if meshes > MOST_MESHES:
        raise MovieError(
            f"seconds {seconds:g}: at {fps:g} frames a second that is {meshes} surfaces, and {MOST_MESHES} is the "
            f"most; take at most {seconds * MOST_MESHES / meshes:.4g} seconds, or a smaller fps"
        )
    if last <= first:
        raise MovieError(f"seconds {seconds:g}: state {first:g} alone does not move; give states= a range")
    # Rounded, so that messages can name them, and never past the last one, which may be the last that is fitted.
    step = np.floor(1e4 * (last - first) / (meshes - 1)) / 1e4
    found = [round(first + k * step, 4) for k in range(meshes - 1)] + [last]
    return [int(t) if float(t).is_integer() else float(t) for t in found]


def frames_per_second(_self: Any) -> float:
    """PyMOL's own, as its movies are played and written."""
    fps = _self.get_setting_float("movie_fps")
    return float(fps) if fps > 0 else USUAL_FPS


def label(frame: MovieState, expected: float | None) -> str:
    """What the picture says of its time."""
    text = f"state {states.format([frame.time])}"
    if not frame.future:
        return text
    return f"{text} · extrapolated" if expected is None else f"{text} · expected error {expected:.1f} Å"


def played(frames: Sequence[MovieState], play: str) -> list[MovieState]:
    """The frames as they follow each other."""
    return [*frames, *reversed(frames[1:-1])] if play == "bounce" else list(frames)


def set_up_movie(film: MovieOptions, frames: Sequence[MovieState], source: str, _self: Any) -> None:
    """The movie of these frames, with its camera, of the molecule `source`; in the window's thread."""
    order = played(frames, film.play)
    movie_objects.set_movie(order, _self)
    if film.fps is not None:
        _self.set("movie_fps", film.fps)
    if film.play:
        _self.set("movie_loop", int(film.play != "once"))
    if film.follow:
        _follow(film, order, placement.object_matrix(source, _self), _self)
    _self.frame(1)


def put_labels(film: MovieOptions, frames: Sequence[MovieState], name: str, source: str, _self: Any) -> None:
    """The labels as the molecule `name`: one atom for each state, in that state only, at a place of the screen."""
    if frames[0].state != 1:
        # Its title is what says that it is no molecule to fit.
        _self.pseudoatom(name, pos=film.centres[frames[0].time].tolist(), state=1)
    for k, frame in enumerate(frames, 1):
        _self.pseudoatom(
            name, name=f"T{k}", pos=film.centres[frame.time].tolist(), state=frame.state, label=film.told[frame.time]
        )
        if frame.future:
            _self.set("label_color", "orange", f"%{name} and name T{k}")
    _self.show_as("labels", name)
    for setting, value in (
        ("label_relative_mode", 1),
        ("label_screen_point", list(LABEL_AT)),
        ("label_position", [1.0, 0.0, 0.0]),
        ("label_size", LABEL_SIZE),
    ):
        _self.set(setting, value, name)
    _self.set_title(name, 1, selections.ATOMS_TITLE)
    _self.set_object_ttt(name, placement.object_ttt(source, _self))


def moved_view(view: Sequence[float], rotation: np.ndarray, shift: np.ndarray) -> list[float]:
    """PyMOL's view (18 numbers) that shows a point where `view` shows rotation @ point + shift."""
    # The nine are a rotation by columns; three the camera, then the origin, which the rotation is about.
    turn = np.reshape(view[:9], (3, 3)).T
    origin = rotation.T @ (np.array(view[12:15]) - shift)
    return [*(turn @ rotation).T.ravel().tolist(), *view[9:12], *origin.tolist(), *view[15:]]


def _follow(film: MovieOptions, order: Sequence[MovieState], to_scene: np.ndarray, _self: Any) -> None:
    # Keys and no commands in the frames: PyMOL asks for trust before it opens a session with commands.
    before = _self.get_view()
    where = {t: atoms @ to_scene[:3, :3].T + to_scene[:3, 3] for t, atoms in film.atoms.items()}
    first = where[order[0].time]
    motions = {t: superpose(atoms, first) for t, atoms in where.items()}
    for number, frame in enumerate(order, 1):
        _self.set_view(moved_view(before, *motions[frame.time]))
        _self.mview("store", first=number, freeze=1, auto=0)


def _centre(result: dict[str, Any], arrays: dict[str, np.ndarray]) -> np.ndarray:
    for name in ("atoms", "points"):
        if len(arrays.get(name, ())):
            return np.asarray(arrays[name].mean(axis=0), np.float64)
    if "shape" in result:
        return np.array(result["origin"]) + 0.5 * float(result["spacing"]) * np.array(result["shape"])
    return np.zeros(3)
