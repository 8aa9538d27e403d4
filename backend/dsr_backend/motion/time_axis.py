"""States that were saved at uneven times: from state numbers to the times that motion is smooth in, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymol_dsr.shared.options import check_times


class TimeAxis:
    """When each state of a trajectory was, in units of the median time between two neighbours.

    So widths in states keep their meaning. Between states time goes evenly, and before the first and after the last
    as between the two there.
    """

    def __init__(self, times: Sequence[float]) -> None:
        """times: of state 1, 2, 3, …, in any unit. Raises ValueError where they are fewer than two or do not rise."""
        self.times = check_times(times)
        given = np.asarray(self.times, np.float64)
        self._marks = 1.0 + (given - given[0]) / np.median(np.diff(given))
        self._numbers = np.arange(1.0, len(given) + 1.0)

    def __call__(self, state: ArrayLike) -> NDArray[np.float64]:
        """The time of state numbers, fractions allowed."""
        return _interpolated(np.asarray(state, np.float64), self._numbers, self._marks)

    def state(self, time: ArrayLike) -> NDArray[np.float64]:
        """The state numbers at these times."""
        return _interpolated(np.asarray(time, np.float64), self._marks, self._numbers)


def _interpolated(
    x: NDArray[np.float64], known: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    slopes = np.diff(values) / np.diff(known)
    inside = np.interp(x, known, values)
    return inside + np.minimum(x - known[0], 0.0) * slopes[0] + np.maximum(x - known[-1], 0.0) * slopes[-1]
