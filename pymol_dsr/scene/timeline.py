"""The times of a movie: which there are, which state of which object each becomes, and in which order they play."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..fits.fit import Trajectory
from .objects import SceneError

# Loading a state takes longer the more states an object has, so long movies go into several objects.
STATES_PER_OBJECT = 200
# Most triangles of a movie of any length: about 110 bytes of memory per triangle.
ALL_TRIANGLES = 5_000_000
MOST_TRIANGLES, LEAST_TRIANGLES = 50_000, 10_000
# With the 10 000 triangles that each still has, they take 0.7 GB of memory.
MOST_MESHES = 600
# PyMOL's own, where its setting movie_fps is 0.
DEFAULT_FPS = 30.0


@dataclass(frozen=True)
class MovieState:
    """One time of a movie: state number `state` of the object `object`. future: outside the fitted states."""

    time: float
    state: int
    object: str
    future: bool


def plan(trajectory: Trajectory, times: Sequence[float], object: str, *, loop: bool = False) -> list[MovieState]:
    """Assign a state of an object to each time.

    Whole times keep their number, so that the molecule plays along; otherwise states count from 1. Times
    outside the fitted states go into `<object>_future`, whose states go on where the others end; in a loop there are
    none.
    """
    are_integers = all_whole(times)
    first, last = min(trajectory.states), max(trajectory.states)
    states = []
    counts = {False: 0, True: 0}
    are_future = [not (loop or first <= time <= last) for time in times]
    totals = {future: are_future.count(future) for future in (False, True)}
    for number, (time, future) in enumerate(zip(times, are_future, strict=True), 1):
        name = f"{object}_future" if future else object
        if totals[future] > STATES_PER_OBJECT:
            name += f"_{counts[future] // STATES_PER_OBJECT + 1:02d}"
        counts[future] += 1
        states.append(MovieState(time, int(time) if are_integers else number, name, future))
    return states


def all_whole(times: Sequence[float]) -> bool:
    """Say whether all times are states of the object, without fractions."""
    return all(float(time).is_integer() for time in times)


def fluent_triangles(count: int) -> int:
    """Return the triangles per state of `count` states with which none holds up the window for more than about 50 ms.

    On the safe side: 0.4 µs a triangle, and 0.034 µs for each triangle of the states before, whose extent PyMOL takes
    anew. Fans take 0.3 and 0.02 µs.
    """
    fluent = 0.05 / (0.4e-6 + 0.034e-6 * count)
    return int(min(most_triangles(count), max(LEAST_TRIANGLES, fluent)))


def most_triangles(count: int) -> int:
    """Return the most triangles per state of a movie of `count` states that memory is meant for."""
    return int(min(MOST_TRIANGLES, max(LEAST_TRIANGLES, ALL_TRIANGLES // max(count, 1))))


def movie_times(first: float, last: float, seconds: float, fps: float, play: str) -> list[float]:
    """Spread times evenly from `first` to `last`, for a movie of seconds × fps frames. Raises SceneError.

    play: with bounce, the way back shows the same times again.
    """
    count = round(seconds * fps)
    # There and back, without showing the ends twice.
    meshes = count // 2 + 1 if play == "bounce" else count
    if meshes < 2:
        raise SceneError(
            f"seconds {seconds:g}: at {fps:g} frames a second that is {meshes} state, and at least 2 can move; "
            "take more seconds, or a larger fps"
        )
    if meshes > MOST_MESHES:
        raise SceneError(
            f"seconds {seconds:g}: at {fps:g} frames a second that is {meshes} surfaces, and {MOST_MESHES} is the "
            f"most; take at most {seconds * MOST_MESHES / meshes:.4g} seconds, or a smaller fps"
        )
    if last <= first:
        raise SceneError(f"seconds {seconds:g}: state {first:g} alone does not move; give states= a range")
    # Rounded, so that messages can name them, and never past the last one, which may be the last that is fitted.
    step = np.floor(1e4 * (last - first) / (meshes - 1)) / 1e4
    times = [round(first + number * step, 4) for number in range(meshes - 1)] + [last]
    return [int(time) if float(time).is_integer() else float(time) for time in times]


def frames_per_second(_self: Any) -> float:
    """Return the rate at which PyMOL plays and writes movies."""
    fps = _self.get_setting_float("movie_fps")
    return float(fps) if fps > 0 else DEFAULT_FPS


def play_order(states: Sequence[MovieState], play: str) -> list[MovieState]:
    """Return the states in the order in which they play, with bounce forth and back."""
    return [*states, *reversed(states[1:-1])] if play == "bounce" else list(states)


def mset_text(states: Sequence[MovieState]) -> str:
    """Write the state numbers of a movie for PyMOL's mset, as `1 -79` for a run."""
    numbers = [state.state for state in states]
    words: list[str] = []
    start = 0
    while start < len(numbers):
        end = start
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        words.append(str(numbers[start]))
        if end > start:
            words.append(f"-{numbers[end]}")
        start = end + 1
    return " ".join(words)
