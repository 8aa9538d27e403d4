"""The states grammar, both ways: ``1-150``, ``1-79:2``, ``1+5+9``, ``1-40+60-80:2``, ``all``, ``1-102:0.25``.

``1-300:1..10`` is a range whose interval grows gradually: each step is what a straight line from 1 at state 1 to 10 at
state 300 says at the state it starts from, rounded to whole states (a half up); the range ends with the last state that
is not past 300. The interval may shrink as well, ``1-300:10..1``.

It uses the standard library only.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

MAX_STATES = 100_000
MAX_STATE = 10**9

_NUMBER = r"\d{1,10}(?:\.\d{1,17})?"
_ITEM = re.compile(rf"({_NUMBER})(?:-({_NUMBER})(?::({_NUMBER})(?:\.\.({_NUMBER}))?)?)?", re.ASCII)
_GRAMMAR = "write 1-150, 1-79:2, 1-300:1..10, 1+5+9, 1-40+60-80:2 or all"


class StatesError(ValueError):
    """A states text that can't be read, or that asks for more than there is. One line for the user."""


class PastEndError(StatesError):
    """States after the last one that there is."""


def parse(
    text: str,
    last: int | None = None,
    fractional: bool = False,
    owner: str = "the object",
    most: int = MAX_STATES,
) -> list[float]:
    """State numbers in the order they are written, whole ones as int.

    last: the number of states there are; needed for ``all``, and the bound when given.
    fractional: allow ``1-102:0.25`` and ``12.5``.
    owner: who has `last` states, for the message. most: how many numbers at most.
    Raises StatesError.
    """
    text = str(text).strip()
    label = f"states {_short(text)}"
    if not text:
        raise StatesError(f"states are empty: {_GRAMMAR}")
    if text.lower() == "all":
        if last is None:
            raise StatesError("states all: how many states there are is not known here; give a range such as 1-150")
        if last < 1:
            raise StatesError(f"states all: {owner} has {last} states")
        _check_count(label, last, most)
        return list(range(1, last + 1))
    if "," in text:
        fractions = ", and write fractions with a point, as in 1-9:0.5" if fractional else ""
        raise StatesError(f"{label}: a comma ends an argument in PyMOL; join ranges with +, as in 1+5+9{fractions}")

    # As many as there are parts, at least.
    _check_count(label, text.count("+") + 1, most)
    exact: list[Fraction] = []
    for item in map(str.strip, text.split("+")):
        start, stop, step, last_step = _parse_item(item, label, fractional)
        if last_step is not None:
            # One more than there may be is enough to refuse them.
            exact.extend(itertools.islice(_growing(start, stop, int(step), int(last_step)), most + 1))
            if len(exact) > most:
                raise StatesError(f"{label}: more than {most} states are asked for, which is the most at once")
            continue
        count = (stop - start) // step + 1
        _check_count(label, len(exact) + int(count), most)
        exact.extend(start + k * step for k in range(int(count)))

    if last is not None and max(exact) > last:
        plural = "state" if last == 1 else "states"
        raise PastEndError(f"{label}: {owner} has {last} {plural}; {_text(max(exact))} is past the end")
    distinct: set[Fraction] = set()
    for value in exact:
        if value in distinct:
            raise StatesError(f"{label}: state {_text(value)} is given twice")
        distinct.add(value)
    return [int(v) if v.denominator == 1 else float(v) for v in exact]


def _parse_item(item: str, label: str, fractional: bool) -> tuple[Fraction, Fraction, Fraction, Fraction | None]:
    """Return first and last state of a state or a range, its step, and the last step of one that grows.

    Raises StatesError.
    """
    match = _ITEM.fullmatch(item)
    if match is None:
        raise StatesError(f"{label}: '{_short(item)}' is not a state or a range; {_GRAMMAR}")
    if not fractional and "." in item.replace("..", ""):
        raise StatesError(f"{label}: '{item}' is not whole; fractions of states are for movies and exports")
    start = Fraction(match.group(1))
    stop = Fraction(match.group(2) or match.group(1))
    step = Fraction(match.group(3) or 1)
    last_step = None if match.group(4) is None else Fraction(match.group(4))
    if start < 1:
        raise StatesError(f"{label}: states count from 1, and {_text(start)} is asked for")
    if stop < start:
        raise StatesError(
            f"{label}: the range runs backwards, from {_text(start)} to {_text(stop)}; write "
            f"{_text(stop)}-{_text(start)}"
        )
    if stop > MAX_STATE:
        raise StatesError(f"{label}: {_text(stop)} is past {MAX_STATE}, the largest state number")
    if step == 0 or last_step == 0:
        raise StatesError(f"{label}: the step of '{item}' is 0; it must be above 0")
    if last_step is not None and (step.denominator > 1 or last_step.denominator > 1):
        raise StatesError(f"{label}: '{item}' has steps that grow in fractions; write whole ones, as in 1..10")
    return start, stop, step, last_step


def format(values: Sequence[float]) -> str:
    """Return the shortest text of ranges for `values`; ``parse(format(v), fractional=True) == v``.

    Raises StatesError for an empty list.
    """
    if not values:
        raise StatesError("no states to write: the list is empty")
    exact = [_exact(v) for v in values]
    items = []
    at = 0
    while at < len(exact):
        end = at + 1
        if end < len(exact) and exact[end] > exact[at]:
            step = exact[end] - exact[at]
            while end < len(exact) and exact[end] - exact[end - 1] == step:
                end += 1
        # A range of two is longer to read than two states.
        if end - at < 3:
            items.append(_text(exact[at]))
            at += 1
            continue
        tail = "" if step == 1 else f":{_text(step)}"
        items.append(f"{_text(exact[at])}-{_text(exact[end - 1])}{tail}")
        at = end
    return "+".join(items)


def _growing(start: Fraction, stop: Fraction, first_step: int, last_step: int) -> Iterator[Fraction]:
    """From `start` on, by steps that a straight line from `first_step` there to `last_step` at `stop` says, rounded."""
    # In whole numbers, as fractions are slow: the range is length / denominator, and offset of it lies behind.
    length, denominator = (stop - start).as_integer_ratio()
    offset = 0
    yield start
    while length:
        step = first_step * length + (last_step - first_step) * offset * denominator
        offset += (2 * step + length) // (2 * length)
        if offset * denominator > length:
            return
        yield start + offset


def _exact(value: float) -> Fraction:
    # A float means the decimal it prints as: 1.1 is 11/10 here, so that steps add up without error.
    return Fraction(value) if isinstance(value, int) else Fraction(repr(float(value)))


def _text(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    # Exact decimals only: every Fraction here came from a decimal, so its denominator divides a power of ten.
    digits = 1
    while (value * 10**digits).denominator != 1:
        digits += 1
    scaled = str(int(value * 10**digits)).rjust(digits + 1, "0")
    return f"{scaled[:-digits]}.{scaled[-digits:]}"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _check_count(label: str, count: int, limit: int) -> None:
    if count > limit:
        raise StatesError(f"{label}: {count} states are asked for; {limit} is the most at once")
