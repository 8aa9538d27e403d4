"""dsr_film."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from pymol import CmdException, cmd

from ..scene import film
from ..scene.bar_title import missing_bars
from ..scene.timeline import frames_per_second
from ..shared.picture_options import FilmOptions
from .arguments import path_to_write
from .command import command
from .running import Runner, has_window


@command
def dsr_film(
    filename: str,
    width: str = "",
    height: str = "",
    *commas: str,
    size: str = "",
    fps: str = "",
    seconds: str = "",
    bounce: int = int(FilmOptions.bounce),
    ray: int = -1,
    supersampling: int = FilmOptions.supersampling,
    async_: int = -1,
    quiet: int = 1,
    _self: Any = cmd,
) -> str:
    """
    DESCRIPTION

        Writes PyMOL's movie as a film, with a picture for each of its frames. This needs ffmpeg, or the Python
        package PIL for .gif. Without them, the pictures stay in the folder <filename>_frames, and the command that
        makes the film is printed. You can use the window meanwhile, but changes there are seen in the film.

    USAGE

        dsr_film filename [, width [, height [, size=..., fps=..., seconds=..., bounce=..., ray=...,
            supersampling=..., async_=... ]]]

    ARGUMENTS

        filename = str: file to write, ending in .mp4 or .gif

        width, height = int: size in pixels; if you give one, the other follows {default: those of the view}

        size = 720p, 1080p or 4K: the size by its name

        fps = float: frames per second {default: movie_fps, which dsr_movie fps= sets}

        seconds = float: length of the film, for which its frames are slower or faster {default: that of fps}

        bounce = 0/1: go back again at the end {default: 0}

        ray = 0/1: ray-trace the pictures, slow and fine {default: -1, only where there is no window}

        supersampling = 1 to 4: draw the pictures so many times as wide and high, and make them smaller, for smooth
        edges {default: 1}

        async_ = 0/1: write in the background {default: -1, in the background when typed, blocking in scripts}

    EXAMPLE

        dsr_movie adk_dsr, 1-90, seconds=6, fps=25, overlay=1
        dsr_film adk.mp4, size=720p, supersampling=2

    SEE ALSO

        dsr_movie, dsr_still, mpng, movie.produce
    """
    options = FilmOptions.parse(
        width=width,
        height=height,
        size=size,
        fps=fps,
        seconds=seconds,
        bounce=bounce,
        ray="" if int(ray) < 0 else ray,
        supersampling=supersampling,
    )
    return write_film(str(filename), options, Runner.of("dsr_film", async_, quiet, _self), _self)


def write_film(filename: str, options: FilmOptions, runner: Runner, _self: Any) -> str:
    """Write the movie that is loaded as a film; the whole path of the file. Raises CmdException or SceneError."""
    path = path_to_write(filename, [f".{suffix}" for suffix in film.SUFFIXES], "filename")
    film_format = plan_film(options, _self)
    runner.say(f" dsr_film: {describe_film(film_format, _self)}")

    def work() -> None:
        written = film.write_film(path, film_format, runner.say, _self)
        if written == path:
            runner.say(f" dsr_film: written {path}, {os.path.getsize(path) / 1e6:.1f} MB")

    runner.run(work)
    return path


def describe_film(film_format: film.FilmFormat, _self: Any) -> str:
    """Describe the film of the loaded movie in a line."""
    return "; ".join(filter(None, [film_format.describe(_self.count_frames()), missing_bars(film_format.ray, _self)]))


def plan_film(options: FilmOptions, _self: Any) -> film.FilmFormat:
    """Return the format of a film of the loaded movie. Raises CmdException where there is no movie."""
    count = _self.count_frames()
    if count < 2:
        raise CmdException("there is no movie to write; dsr_movie loads one")
    width, height = options.pixels(_self.get_viewport())
    traced = not has_window() if options.ray is None else options.ray
    rate = options.fps or frames_per_second(_self)
    planned = film.FilmFormat(width, height, rate, traced, options.supersampling, options.bounce)
    if options.seconds is None:
        return planned
    return dataclasses.replace(planned, fps=len(planned.frames(count)) / options.seconds)
