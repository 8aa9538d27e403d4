"""Evenly spaced numbers, where not all can be taken."""

from __future__ import annotations

import numpy as np


def evenly_spaced(numbers: range, most: int) -> list[int]:
    """Return at most `most` of consecutive numbers, rising, evenly spaced, with the first and the last.

    The first alone where `most` is 1; none of an empty range.
    """
    if not numbers:
        return []
    positions = np.linspace(numbers[0], numbers[-1], min(most, len(numbers)))
    return [int(number) for number in positions.round()]
