"""Lists of levels, as a user gives them for level sets and occupancies."""

from __future__ import annotations

from collections.abc import Sequence

from .values import ValueFault

MOST_LEVELS = 20


def rising_levels(levels: Sequence[float], example: str) -> tuple[float, ...]:
    """Return levels in rising order. Raises ValueFault where there are none, too many, or one twice."""
    if not levels:
        raise ValueFault(f"levels are empty: write {example}, with spaces")
    if len(levels) > MOST_LEVELS:
        raise ValueFault(f"levels: {len(levels)} levels are asked for; {MOST_LEVELS} is the most at once")
    twice = [level for level in set(levels) if list(levels).count(level) > 1]
    if twice:
        raise ValueFault(f"levels: {twice[0]:g} is given twice")
    # -0 is 0.
    return tuple(sorted(level + 0.0 for level in levels))
