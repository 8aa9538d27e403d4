"""What makes a movie of the loaded states: their times, their order, the camera, the time label, the film."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import extract, scene, states
from .superposition import superpose

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
FILMS = ("mp4", "gif")


class MovieError(ValueError):
    """What keeps a movie from being made, as one line for the user."""


@dataclass
class Film:
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

    def watch(self, frames: Sequence[scene.Frame], answers: Answers) -> Answers:
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


def times(first: float, last: float, seconds: float, fps: float, play: str) -> list[float]:
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


def label(frame: scene.Frame, expected: float | None) -> str:
    """What the picture says of its time."""
    text = f"state {states.format([frame.time])}"
    if not frame.future:
        return text
    return f"{text} · extrapolated" if expected is None else f"{text} · expected error {expected:.1f} Å"


def played(frames: Sequence[scene.Frame], play: str) -> list[scene.Frame]:
    """The frames as they follow each other."""
    return [*frames, *reversed(frames[1:-1])] if play == "bounce" else list(frames)


def set_up(film: Film, frames: Sequence[scene.Frame], source: str, _self: Any) -> None:
    """The movie of these frames, with its camera, of the molecule `source`; in the window's thread."""
    order = played(frames, film.play)
    scene.set_movie(order, _self)
    if film.fps is not None:
        _self.set("movie_fps", film.fps)
    if film.play:
        _self.set("movie_loop", int(film.play != "once"))
    if film.follow:
        _follow(film, order, scene.matrix(source, _self), _self)
    _self.frame(1)


def put_labels(film: Film, frames: Sequence[scene.Frame], name: str, source: str, _self: Any) -> None:
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
    _self.set_title(name, 1, extract.ATOMS_TITLE)
    _self.set_object_ttt(name, scene.ttt(source, _self))


def moved_view(view: Sequence[float], rotation: np.ndarray, shift: np.ndarray) -> list[float]:
    """PyMOL's view (18 numbers) that shows a point where `view` shows rotation @ point + shift."""
    # The nine are a rotation by columns; three the camera, then the origin, which the rotation is about.
    turn = np.reshape(view[:9], (3, 3)).T
    origin = rotation.T @ (np.array(view[12:15]) - shift)
    return [*(turn @ rotation).T.ravel().tolist(), *view[9:12], *origin.tolist(), *view[15:]]


def _follow(film: Film, order: Sequence[scene.Frame], to_scene: np.ndarray, _self: Any) -> None:
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


# Files


@dataclass(frozen=True)
class Encoder:
    """What makes a film of pictures: ffmpeg (its path), or PIL where that is empty."""

    ffmpeg: str = ""


def find_encoder(suffix: str) -> Encoder | None:
    """The encoder for mp4 or gif that is here, if there is one."""
    if suffix == "gif" and _importable("PIL.Image"):
        return Encoder()
    path = shutil.which("ffmpeg")
    if path is None and _importable("imageio_ffmpeg"):
        with contextlib.suppress(RuntimeError):
            path = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    return Encoder(path) if path else None


def ffmpeg_arguments(program: str, pictures: str, fps: float, target: str) -> list[str]:
    """The command that makes a film of numbered pictures (pattern with %04d)."""
    command = [program, "-v", "error", "-y", "-framerate", f"{fps:g}", "-i", pictures]
    if target.endswith(".gif"):
        return [*command, "-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse", target]
    # The kind of mp4 that every player shows; its sides must be even.
    return [*command, "-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p", "-crf", "18", target]


def write(path: str, width: int, height: int, fps: float, ray: bool, say: Say, _self: Any) -> str:
    """The loaded movie as the film `path` (.mp4 or .gif), and where it is: without an encoder, the folder of pictures.

    width, height: pixels, 0 for those of the viewport or in its proportion. Raises MovieError.
    """
    suffix = path.rsplit(".", 1)[1].lower()
    encoder = find_encoder(suffix)
    kept = f"{os.path.splitext(path)[0]}_frames"
    if encoder is None and os.path.isdir(kept) and os.listdir(kept):
        raise MovieError(f"there is no encoder for .{suffix} here, and the folder {kept} for its pictures is not empty")
    folder = tempfile.mkdtemp(prefix="dsr_film_")
    try:
        count = _draw(folder, width, height, ray, say, _self)
        pictures = os.path.join(folder, "%04d.png")
        if encoder is None:
            os.makedirs(kept, exist_ok=True)
            for k in range(1, count + 1):
                shutil.move(pictures % k, os.path.join(kept, f"{k:04d}.png"))
            line = ffmpeg_arguments("ffmpeg", os.path.join(kept, "%04d.png"), fps, path)
            quoted = " ".join(f'"{word}"' if set(word) & set(" ;[]*()") else word for word in line)
            print(f" dsr_film: there is no encoder for .{suffix} here; the {count} pictures are in {kept}")
            print(f" dsr_film: where there is ffmpeg, this makes the film: {quoted}")
            return kept
        say(f" dsr_film: {count} pictures; writing {path}")
        draft = os.path.join(folder, f"film.{suffix}")
        if encoder.ffmpeg:
            _encode(ffmpeg_arguments(encoder.ffmpeg, pictures, fps, draft))
        else:
            _animate([pictures % k for k in range(1, count + 1)], fps, draft)
        shutil.move(draft, path)
        return path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _draw(folder: str, width: int, height: int, ray: bool, say: Say, _self: Any) -> int:
    """Each frame as a picture 0001.png, …; one short call in the window's thread each. How many there are."""
    count = scene.in_gui(_self, _self.count_frames)
    before = scene.in_gui(_self, _prepare, width, height, _self)
    try:
        for number in range(1, count + 1):
            target = os.path.join(folder, f"{number:04d}.png")
            if scene.in_gui(_self, _self.count_frames) != count:
                raise MovieError("the movie was changed while its pictures were made; start dsr_film again")
            scene.in_gui(_self, _picture, number, target, before.width, before.height, ray, _self)
            if number % 20 == 0 and number < count:
                say(f" dsr_film: {number} of {count} pictures")
    finally:
        scene.in_gui(_self, _restore, before, _self)
    return count


@dataclass(frozen=True)
class _Before:
    frame: int
    view: list[float]
    opaque: str
    width: int
    height: int


def _prepare(width: int, height: int, _self: Any) -> _Before:
    shown = _self.get_viewport()
    if width and not height:
        height = round(width * shown[1] / shown[0])
    elif height and not width:
        width = round(height * shown[0] / shown[1])
    elif not width:
        width, height = shown
    before = _Before(_self.get_frame(), list(_self.get_view()), _self.get("opaque_background"), width, height)
    _self.mstop()
    # Films know no transparency.
    _self.set("opaque_background", 1)
    return before


def _picture(number: int, target: str, width: int, height: int, ray: bool, _self: Any) -> None:
    _self.frame(number)
    if ray:
        # PyMOL 3.2 shows another text where it ray-traces a label for the second time.
        _self.rebuild("all", "labels")
    # PyMOL 2.5 names every picture, quiet or not.
    _self.feedback("push")
    _self.feedback("disable", "scene", "actions")
    try:
        _self.png(target, width, height, ray=int(ray), quiet=1)
    finally:
        _self.feedback("pop")
    if not ray:
        _give_window_its_size()
    if not os.path.exists(target):
        raise MovieError(f"PyMOL wrote no picture of frame {number}; try ray=1")


def _give_window_its_size() -> None:
    """PyMOL 3.2 takes the size of a picture for that of its window, which shows a part of itself, ever larger, then."""
    from pymol import gui

    window = gui.get_qtwindow()
    if window is None:
        return
    widget = window.pymolwidget
    with widget:
        widget.pymol.reshape(int(widget.fb_scale * widget.width()), int(widget.fb_scale * widget.height()), True)


def _restore(before: _Before, _self: Any) -> None:
    _self.set("opaque_background", before.opaque)
    _self.frame(before.frame)
    _self.set_view(before.view)


def _encode(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise MovieError(f"{command[0]} failed with exit status {done.returncode}: {told[-1]}")


def _animate(pictures: Sequence[str], fps: float, target: str) -> None:
    image = importlib.import_module("PIL.Image")
    images = []
    for path in pictures:
        with image.open(path) as opened:
            images.append(opened.convert("RGB"))
    # One palette for all, of frames from everywhere in the film, so that colours don't flicker.
    some = images[:: max(1, len(images) // 8)]
    sample = image.new("RGB", (some[0].width, some[0].height * len(some)))
    for k, one in enumerate(some):
        sample.paste(one, (0, k * one.height))
    palette = sample.quantize(256)
    flat = [one.quantize(palette=palette, dither=0) for one in images]
    # Hundredths of a second are all that GIF knows, and players take less than two for ten.
    ends = [max(2 * k, round(100 * k / fps)) for k in range(len(flat) + 1)]
    durations = [10 * (b - a) for a, b in itertools.pairwise(ends)]
    flat[0].save(target, save_all=True, append_images=flat[1:], duration=durations, loop=0, optimize=False)


def _importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True
