"""Writes a movie as MP4 or GIF."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import gui_thread
from .movie import MovieError, Say

FILMS = ("mp4", "gif")


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


def write_film(path: str, width: int, height: int, fps: float, ray: bool, say: Say, _self: Any) -> str:
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
    count = gui_thread.in_gui(_self, _self.count_frames)
    before = gui_thread.in_gui(_self, _prepare, width, height, _self)
    try:
        for number in range(1, count + 1):
            target = os.path.join(folder, f"{number:04d}.png")
            if gui_thread.in_gui(_self, _self.count_frames) != count:
                raise MovieError("the movie was changed while its pictures were made; start dsr_film again")
            gui_thread.in_gui(_self, _picture, number, target, before.width, before.height, ray, _self)
            if number % 20 == 0 and number < count:
                say(f" dsr_film: {number} of {count} pictures")
    finally:
        gui_thread.in_gui(_self, _restore, before, _self)
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
