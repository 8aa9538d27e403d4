"""States saved at uneven times: conversion between state numbers and times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymol_dsr.shared.state_times import check_times


class TimeAxis:
    """The times of a trajectory's states, in units of the median time between neighbouring states.

    In these units, widths in states keep their meaning. Between states the time is linear. Before the first and after
    the last state it goes on as in the first and last gap.
    """

    def __init__(self, times: Sequence[float]) -> None:
        """Take the times of state 1, 2, 3, …, in any unit. Raises ValueError unless two or more rise."""
        self.times = check_times(times)
        values = np.asarray(self.times, np.float64)
        self._marks = 1.0 + (values - values[0]) / np.median(np.diff(values))
        self._numbers = np.arange(1.0, len(values) + 1.0)

    def __call__(self, state: ArrayLike) -> NDArray[np.float64]:
        """Return the times of state numbers, which may have fractions."""
        return _interpolated(np.asarray(state, np.float64), self._numbers, self._marks)

    def state(self, time: ArrayLike) -> NDArray[np.float64]:
        """Return the state numbers at these times."""
        return _interpolated(np.asarray(time, np.float64), self._marks, self._numbers)


def _interpolated(
    x: NDArray[np.float64], known: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate values at `known` linearly at x, and extrapolate them by the slopes of the first and last gap."""
    slopes = np.diff(values) / np.diff(known)
    inside = np.interp(x, known, values)
    before, after = np.minimum(x - known[0], 0.0), np.maximum(x - known[-1], 0.0)
    return np.asarray(inside + before * slopes[0] + after * slopes[-1])
