"""Writes the loaded movie as a film file: pictures of its frames by PyMOL, the film by ffmpeg or PIL."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymol import gui

from ..fits.fit import Say
from ..shared.atomic_write import replace_when_whole
from ..shared.scratch import ScratchFolder
from .bar_title import titled_bars
from .gui_thread import in_gui
from .objects import SceneError

SUFFIXES = ("mp4", "gif")
# Frames between two lines of progress.
PROGRESS_FRAMES = 20
# Colours of a GIF, and the number of frames that its one palette is made from.
GIF_COLORS, GIF_SAMPLES = 256, 8
# Pictures a second; players show one for a tenth of a second where it has less than two hundredths.
MOST_GIF_RATE = 50.0


@dataclass(frozen=True)
class Encoder:
    """A program that makes a film of pictures: ffmpeg by its path, or PIL where that is empty."""

    ffmpeg: str = ""


def find_encoder(suffix: str) -> Encoder | None:
    """Find an encoder for mp4 or gif on this machine; None where there is none."""
    if suffix == "gif" and can_import("PIL"):
        return Encoder()
    path = shutil.which("ffmpeg")
    if path is None and can_import("imageio_ffmpeg"):
        with contextlib.suppress(RuntimeError):
            path = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    return Encoder(path) if path else None


def can_import(module: str) -> bool:
    """Say whether an optional package is installed."""
    return importlib.util.find_spec(module) is not None


@dataclass(frozen=True)
class FilmFormat:
    """The size of a film in pixels, its frames per second, and the drawing of its pictures.

    drawn: how many times as wide and high its pictures are drawn. bounce: they go back again at the end.
    """

    width: int
    height: int
    fps: float
    ray: bool
    drawn: int = 1
    bounce: bool = False

    def frames(self, count: int) -> list[int]:
        """Return the numbers of the pictures, from 1 to `count`, in the order in which the film shows them."""
        forth = list(range(1, count + 1))
        return forth + forth[-2:0:-1] if self.bounce else forth

    def describe(self, count: int) -> str:
        """Describe the film of a movie of `count` frames."""
        frames = len(self.frames(count))
        traced = ", ray-traced" if self.ray else ""
        return (
            f"{frames / self.fps:.1f} s, {frames} frames at {self.fps:.4g} a second, "
            f"{self.width} × {self.height} pixels{traced}"
        )


def ffmpeg_arguments(program: str, pictures: str, film: FilmFormat, target: str) -> list[str]:
    """Return the command that makes a film of numbered pictures (pattern with %04d)."""
    command = [program, "-v", "error", "-y", "-framerate", f"{film.fps:g}", "-i", pictures]
    scaled = f"scale={film.width}:{film.height}:flags=area," if film.drawn > 1 else ""
    if target.endswith(".gif"):
        shown = f"{scaled}split[a][b];[a]palettegen[p];[b][p]paletteuse"
        return [*command, "-vf", shown, "-r", f"{min(film.fps, MOST_GIF_RATE):g}", target]
    # The kind of mp4 that every player shows; its sides must be even.
    return [*command, "-vf", f"{scaled}crop=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p", "-crf", "18", target]


def write_film(path: str, film: FilmFormat, say: Say, _self: Any) -> str:
    """Write the loaded movie as the film `path` (.mp4 or .gif), or without an encoder as a folder of pictures.

    Returns the path of film or folder. Raises SceneError.
    """
    stem, suffix = os.path.splitext(path)
    encoder = find_encoder(suffix[1:].lower())
    kept_folder = f"{stem}_frames"
    if encoder is None and os.path.isdir(kept_folder) and os.listdir(kept_folder):
        raise SceneError(
            f"there is no encoder for {suffix.lower()} here, and the folder {kept_folder} for its pictures is not empty"
        )
    with ScratchFolder() as scratch:
        folder = os.fspath(scratch)
        count = _write_pictures(folder, film, say, _self)
        order = film.frames(count)
        # Once more, under the numbers of the way back.
        for number, picture in enumerate(order[count:], count + 1):
            shutil.copyfile(_picture_path(folder) % picture, _picture_path(folder) % number)
        count = len(order)
        if encoder is None:
            _keep_pictures(folder, kept_folder, count, film, path)
            return kept_folder
        say(f" dsr_film: {count} pictures; writing {path}")
        draft = os.path.join(folder, f"film{suffix.lower()}")
        if encoder.ffmpeg:
            _encode(ffmpeg_arguments(encoder.ffmpeg, _picture_path(folder), film, draft))
        else:
            _write_gif([_picture_path(folder) % number for number in range(1, count + 1)], film, draft)
        with open(draft, "rb") as written, replace_when_whole(path, os.path.getsize(draft)) as stream:
            shutil.copyfileobj(written, stream)
        return path


def _picture_path(folder: str) -> str:
    """Return the pattern of the pictures' paths, to be filled with the number of the frame."""
    return os.path.join(folder, "%04d.png")


def _keep_pictures(folder: str, kept_folder: str, count: int, film: FilmFormat, path: str) -> None:
    """Move the pictures to a folder that stays, and print the command that makes the film."""
    os.makedirs(kept_folder, exist_ok=True)
    for number in range(1, count + 1):
        shutil.move(_picture_path(folder) % number, _picture_path(kept_folder) % number)
    command = ffmpeg_arguments("ffmpeg", _picture_path(kept_folder), film, path)
    quoted = " ".join(f'"{word}"' if set(word) & set(" ;[]*()") else word for word in command)
    suffix = os.path.splitext(path)[1].lower()
    print(f" dsr_film: there is no encoder for {suffix} here; the {count} pictures are in {kept_folder}")
    print(f" dsr_film: where there is ffmpeg, this makes the film: {quoted}")


def _write_pictures(folder: str, film: FilmFormat, say: Say, _self: Any) -> int:
    """Write each frame as a picture 0001.png, …, one short call in the window's thread each; returns their number."""
    count = in_gui(_self, _self.count_frames)
    scene = in_gui(_self, _prepare, film, _self)
    try:
        for number in range(1, count + 1):
            if in_gui(_self, _self.count_frames) != count:
                raise SceneError("the movie was changed while its pictures were made; start dsr_film again")
            in_gui(_self, _write_picture, number, _picture_path(folder) % number, scene, film.ray, _self)
            if number % PROGRESS_FRAMES == 0 and number < count:
                say(f" dsr_film: {number} of {count} pictures")
    finally:
        in_gui(_self, scene.restore, _self)
    return int(count)


@dataclass(frozen=True)
class _SceneBefore:
    """The view before the film, and the size of its pictures in pixels."""

    frame: int
    view: list[float]
    opaque: str
    width: int
    height: int

    def restore(self, _self: Any) -> None:
        """Give the scene its view again."""
        _self.set("opaque_background", self.opaque)
        _self.frame(self.frame)
        _self.set_view(self.view)


def _prepare(film: FilmFormat, _self: Any) -> _SceneBefore:
    width, height = film.drawn * film.width, film.drawn * film.height
    scene = _SceneBefore(_self.get_frame(), list(_self.get_view()), _self.get("opaque_background"), width, height)
    _self.mstop()
    # Films know no transparency.
    _self.set("opaque_background", 1)
    return scene


def _write_picture(number: int, target: str, scene: _SceneBefore, ray: bool, _self: Any) -> None:
    _self.frame(number)
    if ray:
        # PyMOL 3.2 shows another text where it ray-traces a label for the second time.
        for name in _self.get_object_list("rep labels") or ():
            _self.rebuild(name, "labels")
    # PyMOL 2.5 names every picture, quiet or not.
    _self.feedback("push")
    _self.feedback("disable", "scene", "actions")
    try:
        # Software OpenGL draws labels as white boxes; ray-traced, they are right.
        with titled_bars(_self) if ray else contextlib.nullcontext():
            _self.png(target, scene.width, scene.height, ray=int(ray), quiet=1)
    finally:
        _self.feedback("pop")
    if not ray:
        restore_window_size()
    if not os.path.exists(target):
        raise SceneError(f"PyMOL wrote no picture of frame {number}; try ray=1")


def restore_window_size() -> None:
    """Tell PyMOL the size of its window.

    PyMOL 3.2 takes the size of a picture for that of its window, which then shows a section of itself, ever larger.
    """
    window = gui.get_qtwindow()
    if window is None:
        return
    widget = window.pymolwidget
    with widget:
        widget.pymol.reshape(int(widget.fb_scale * widget.width()), int(widget.fb_scale * widget.height()), True)


def _encode(command: list[str]) -> None:
    process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if process.returncode:
        lines = process.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise SceneError(f"{command[0]} failed with exit status {process.returncode}: {lines[-1]}")


def _write_gif(pictures: Sequence[str], film: FilmFormat, target: str) -> None:
    # Optional.
    from PIL import Image

    shown = gif_pictures(len(pictures), film.fps)
    images = []
    for path in (pictures[index] for index, _ in shown):
        with Image.open(path) as picture:
            image = picture.convert("RGB")
        images.append(image if film.drawn == 1 else image.resize((film.width, film.height), Image.Resampling.BOX))
    # One palette for all, of frames from everywhere in the film, so that colours don't flicker.
    samples = images[:: max(1, len(images) // GIF_SAMPLES)]
    sheet = Image.new("RGB", (samples[0].width, samples[0].height * len(samples)))
    for number, image in enumerate(samples):
        sheet.paste(image, (0, number * image.height))
    palette = sheet.quantize(GIF_COLORS)
    frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [duration for _, duration in shown]
    frames[0].save(target, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False)


def gif_pictures(count: int, fps: float) -> list[tuple[int, int]]:
    """Return the pictures of `count` that a GIF shows, from 0, and how long each is shown in ms.

    Above 50 pictures a second some are left out, so that the film lasts as long as it should.
    """
    rate = min(fps, MOST_GIF_RATE)
    # Hundredths of a second are all that GIF knows.
    ends = [round(100 * number / rate) for number in range(max(1, round(count * rate / fps)) + 1)]
    return [
        (int(k * (fps / rate)), 10 * (after - before)) for k, (before, after) in enumerate(itertools.pairwise(ends))
    ]
