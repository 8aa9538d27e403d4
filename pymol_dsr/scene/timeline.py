"""States, objects and triangle budget of a movie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..fits.fit import Trajectory

# Loading a state takes longer the more states an object has, so long movies go into several objects.
STATES_PER_OBJECT = 200
# What a movie of any length may hold in all: about 220 bytes of memory per triangle.
ALL_TRIANGLES = 5_000_000


@dataclass(frozen=True)
class MovieState:
    """One time of a movie: the state it becomes in which object."""

    time: float
    state: int
    object: str
    future: bool


@dataclass
class LoadedMovie:
    """What a movie brought: objects by name, frames loaded, times without a surface, expected errors (Å) by
    time.
    """

    objects: list[str] = field(default_factory=list)
    frames: list[MovieState] = field(default_factory=list)
    empty: list[float] = field(default_factory=list)
    expected: dict[float, float] = field(default_factory=dict)


def plan(trajectory: Trajectory, times: Sequence[float], object: str) -> list[MovieState]:
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
        frames.append(MovieState(time, int(time) if whole else number, name, future))
    return frames


def triangle_budget(count: int) -> int:
    """Triangles per state for a movie of `count` states."""
    return int(min(50_000, max(10_000, ALL_TRIANGLES // max(count, 1))))
