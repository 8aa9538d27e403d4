"""Options of pictures: stills and films."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from .values import Options, Value, ValueFault

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}
"""Width and height of pictures in pixels, by the names that films and stills take."""
MOST_PIXELS = 10_000
"""Longest side of a picture: one of twice as many is ray-traced for minutes, while PyMOL's window waits."""
STILL_RESOLUTION = 0.35
"""Å. A finer mesh looks the same in a picture of a whole protein."""


@dataclass(frozen=True)
class PictureOptions(Options):
    """The size of pictures, and how they are drawn.

    width, height: of one alone, the other follows; None for both is the size of the view. ray: None ray-traces where
    there is no window. Raises ValueFault for a size that is given twice.
    """

    width: Annotated[int | None, Value("width of the pictures", unit="pixels", least=16, most=MOST_PIXELS)] = None
    height: Annotated[int | None, Value("height of the pictures", unit="pixels", least=16, most=MOST_PIXELS)] = None
    size: Annotated[str, Value("size of the pictures by its name", choices=("", *SIZES))] = ""
    ray: Annotated[bool | None, Value("ray-trace the pictures")] = None
    supersampling: Annotated[int, Value("times as wide and high as they are drawn first", least=1, most=4)] = 1

    def check_together(self) -> None:
        """Check that the size is given once. Raises ValueFault."""
        if self.size and (self.width or self.height):
            raise ValueFault(f"size {self.size}: it is width and height already; leave one of them out")

    def pixels(self, view: Sequence[int]) -> tuple[int, int]:
        """Return width and height of the pictures for a view of this width and height."""
        if self.size:
            return SIZES[self.size]
        if self.width and self.height:
            return self.width, self.height
        if self.width:
            return self.width, round(self.width * view[1] / view[0])
        if self.height:
            return round(self.height * view[0] / view[1]), self.height
        return int(view[0]), int(view[1])


@dataclass(frozen=True)
class FilmOptions(PictureOptions):
    """Writing of the movie as a film.

    fps: None for PyMOL's own, or for that of `seconds`. Raises ValueFault where both are given.
    """

    fps: Annotated[float | None, Value("frames per second", above=0)] = None
    seconds: Annotated[
        float | None, Value("length of the film, for which the frames are slower or faster", above=0)
    ] = None
    bounce: Annotated[bool, Value("go back again at the end")] = False

    def check_together(self) -> None:
        """Check that size and rate are given once. Raises ValueFault."""
        super().check_together()
        if self.fps is not None and self.seconds is not None:
            raise ValueFault(f"seconds {self.seconds:g}: it sets the frames per second; leave fps= out")
