"""Times of states, which a user may give, and breaks: the last states of runs that are cut apart."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from .values import ValueFault, shown

LARGEST_TIME = 1e30
SHORTEST_GAP = 1e-30
"""Limits of times in a user's unit, far from those of floats: with times near these, widths and slopes overflow."""
LARGEST_RATIO = 1e9
"""Span of all times by the shortest gap; with more, neighbouring states can't be told apart."""
MOST_JUMPS = 4
"""Jumps that a message names."""
FEWEST_COUNTED = 5
"""Fitted states without which other times count for a mean, too."""


def parse_breaks(words: Any) -> tuple[int, ...] | None:
    """Return the last states of runs in 12+24; () for none, None for auto and for nothing. Raises ValueFault."""
    text = str(words).strip().lower()
    if text in ("", "auto"):
        return None
    if text == "none":
        return ()
    if not re.fullmatch(r"[0-9]{1,9}(\+[0-9]{1,9})*", text.replace(" ", "")):
        raise ValueFault(f"breaks {shown(words)}: write the last states of runs as 12+24, or none, or auto")
    return tuple(sorted({int(state) for state in text.split("+")}))


def format_breaks(breaks: Iterable[float]) -> str:
    """Return the last states of runs as `parse_breaks` takes them."""
    return "+".join(f"{state:g}" for state in breaks) or "none"


def check_breaks(breaks: Iterable[float], states: Sequence[float]) -> None:
    """Check that each cut is between two of the states, which rise. Raises ValueFault."""
    for last in breaks:
        if not states[0] <= last < states[-1]:
            raise ValueFault(
                f"breaks {last:g}: there is nothing to cut after it in the states {states[0]:g} to {states[-1]:g}; "
                "name the last state of a run that another one follows"
            )


def jump_line(breaks: Sequence[float], states: Sequence[float], option: str = "breaks=") -> str:
    """One line for the user on jumps that were found after the states `breaks` among `states`, and cut.

    option: how the user writes the option.
    """
    pairs = [(last, min(state for state in states if state > last)) for last in breaks[:MOST_JUMPS]]
    jumps = ", ".join(f"{last:g} to {first:g}" for last, first in pairs) + (", ..." if len(breaks) > MOST_JUMPS else "")
    return (
        f"the molecule jumps from state {jumps}: cut there into {len(breaks) + 1} runs, between which the nearer state "
        f"is held; {option}none blends them, {option}{format_breaks(breaks[:MOST_JUMPS])} cuts where you say"
    )


def counted_states(states: Sequence[float], fitted: Collection[float]) -> list[int]:
    """Return the places of the states that count for means of areas, volumes and speeds: the fitted ones.

    All where fewer than FEWEST_COUNTED of them are fitted. Elsewhere a surface is an average of states, with less
    detail and a smaller area than theirs: a mean over both kinds would depend on how many there are of each.
    """
    known = frozenset(fitted)
    places = [index for index, state in enumerate(states) if state in known]
    return places if len(places) >= FEWEST_COUNTED else list(range(len(states)))


def inner_states(states: Sequence[float], fitted_range: tuple[float, float]) -> list[int]:
    """Return the places of the states whose speeds count for a mean: those inside the fitted range, all without any.

    At the ends a velocity has one side only, and past them it is damped.
    """
    first, last = fitted_range
    return [index for index, state in enumerate(states) if first < state < last] or list(range(len(states)))


def check_times(times: Sequence[float]) -> tuple[float, ...]:
    """Return the times of state 1, 2, 3, …. Raises ValueFault where they are fewer than two or do not rise."""
    if len(times) < 2:
        raise ValueFault(f"times must be of two states at least, got {len(times)}")
    for state, time in enumerate(times, 1):
        if not math.isfinite(time):
            raise ValueFault(f"the time of state {state} is not finite")
        if abs(time) > LARGEST_TIME:
            raise ValueFault(f"the time of state {state} is {time:g}; it must lie within ±{LARGEST_TIME:g}")
    for state, (before, after) in enumerate(itertools.pairwise(times), 1):
        if not before < after:
            raise ValueFault(
                f"times must rise from state to state; state {state} is at {before:g} and "
                f"state {state + 1} at {after:g}"
            )
    shortest = max(SHORTEST_GAP, (times[-1] - times[0]) / LARGEST_RATIO)
    for state, (before, after) in enumerate(itertools.pairwise(times), 1):
        if after - before < shortest:
            raise ValueFault(
                f"the times of states {state} and {state + 1} are {after - before:g} apart; of these times, from "
                f"{times[0]:g} to {times[-1]:g}, neighbours must be at least {shortest:g} apart"
            )
    return tuple(float(time) for time in times)


def read_times(path: str | os.PathLike[str]) -> tuple[float, ...]:
    """Return the numbers in a text file, one time for each state; a # starts a comment.

    Raises OSError, and ValueFault with the line where a word is not a number or a time does not rise.
    """
    with open(os.path.expanduser(path), encoding="utf-8") as stream:
        try:
            return _times_in(os.fspath(path), stream)
        except UnicodeDecodeError:
            raise ValueFault(f"times {os.fspath(path)}: it is no text file; give one number for each state") from None


def _times_in(path: str, lines: Iterable[str]) -> tuple[float, ...]:
    times: list[float] = []
    for number, line in enumerate(lines, 1):
        for word in line.partition("#")[0].replace(",", " ").split():
            label = f"times {path}, line {number}"
            try:
                time = float(word)
            except ValueError:
                raise ValueFault(f"{label}: {shown(word)!r} is not a number; give one time for each state") from None
            if math.isnan(time):
                raise ValueFault(f"{label}: {word} is not a number; give one time for each state")
            if not math.isfinite(time):
                raise ValueFault(f"{label}: {word} is not finite")
            if abs(time) > LARGEST_TIME:
                raise ValueFault(f"{label}: {word} must lie within ±{LARGEST_TIME:g}; give the times in another unit")
            if times and not time > times[-1]:
                raise ValueFault(f"{label}: {time:g} comes after {times[-1]:g}; times must rise from state to state")
            times.append(time)
    return check_times(times)
