"""Atoms before the first and after the last state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

# States whose speed a forecast goes on with. Longer windows, more than two motions and damping over more than
# two gaps did better in back-tests while a motion was steady and worse than holding once it ended.
FORECAST_WINDOW = 6


@dataclass(frozen=True)
class Forecast:
    """How the motion goes on beyond the last training state, chosen by back-tests (`Motion.backtest`).

    The last state is held and `rank` principal motions go on from there at the speed of the last `window`
    states, damped: their path is damping · (1 − exp(−lead / damping)) states long. rank 0 holds. `leads` and
    `errors` are the back-tested error (Å, RMSD of atoms) at each lead (states).
    """

    rank: int = 0
    window: int = 0
    damping: float = 0.0
    leads: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()

    def way(self, lead: float) -> float:
        """How many states of motion at full speed lie within `lead` states beyond the training range."""
        return self.damping * (1.0 - float(np.exp(-lead / self.damping))) if self.rank else 0.0

    def error(self, lead: float) -> float:
        """Expected error in Å at `lead` states beyond the training range.

        Beyond the leads of the back-test it grows as √lead. NaN where nothing could be back-tested.
        """
        if lead <= 0.0:
            return 0.0
        if not self.leads:
            return float("nan")
        if lead <= self.leads[-1]:
            return float(np.interp(lead, (0.0, *self.leads), (0.0, *self.errors)))
        return float(self.errors[-1] * np.sqrt(lead / self.leads[-1]))


# Forecast ---------------------------------------------------------------------------------------------------


def continue_motion(
    atoms: NDArray[np.float32], times: NDArray[np.float64], forecast: Forecast, lead: float
) -> NDArray[np.float32]:
    """Atoms f4[A,3] in Å, `lead` states after the last of f4[S,A,3] at increasing times f8[S]."""
    last = atoms[-1]
    if forecast.rank == 0:
        return last
    return (last + forecast.way(lead) * mode_velocities(atoms, times, forecast.rank, forecast.window)).astype(
        np.float32
    )


def mode_velocities(
    atoms: NDArray[np.float32], times: NDArray[np.float64], rank: int, window: int
) -> NDArray[np.float64]:
    """Velocity f8[A,3] in Å per state over the last `window` states of f4[S,A,3] at increasing times f8[S].

    Only the first `rank` principal motions count.
    """
    flat = atoms.reshape(len(atoms), -1).astype(np.float64)
    flat -= flat.mean(0)
    # Principal motions from the S × S products: A may be large and S is not.
    _, vectors = np.linalg.eigh(flat @ flat.T)
    leading = vectors[:, -rank:]
    recent = slice(-window, None)
    slope = np.polyfit(times[recent] - times[-1], leading[recent], 1)[0]
    # leading.T @ flat are the motions, in Å per unit of coefficient, since the vectors are orthonormal.
    return (slope @ (leading.T @ flat)).reshape(atoms[-1].shape)


def fit_forecast(atoms: NDArray[np.float32], times: NDArray[np.float64]) -> Forecast:
    """The forecast of least error from some origins inside f4[S,A,3] Å at increasing times f8[S].

    From each origin only the states before it are known. Damped motion is taken when its mean error over all
    leads is below that of holding by 1 %; otherwise the last state is held.
    """
    count = len(atoms)
    reach = min(10, count // 3)
    first = max(FORECAST_WINDOW, count // 2)
    if first >= count - reach:
        return Forecast()
    origins = sorted({int(k) for k in np.linspace(first, count - 1 - reach, 6)})
    picked = atoms[:, :: max(1, atoms.shape[1] // 2000)]
    gap = float(np.median(np.diff(times)))
    steps = range(1, reach + 1)

    def errors(forecast: Forecast, velocities: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        table = np.zeros((len(origins), reach))
        for row, (origin, velocity) in enumerate(zip(origins, velocities, strict=True)):
            for step in steps:
                way = forecast.way(float(times[origin + step] - times[origin]))
                missed = picked[origin] + way * velocity - picked[origin + step]
                table[row, step - 1] = np.sqrt((missed**2).sum(-1).mean())
        return table.mean(0)

    held = errors(Forecast(), [np.zeros(picked[0].shape)] * len(origins))
    best, best_errors = Forecast(), held
    for rank in (1, 2):
        velocities = [mode_velocities(picked[: k + 1], times[: k + 1], rank, FORECAST_WINDOW) for k in origins]
        for damping in (gap, 2.0 * gap):
            tried = Forecast(rank, FORECAST_WINDOW, damping)
            found = errors(tried, velocities)
            if found.mean() < 0.99 * held.mean() and found.mean() < best_errors.mean():
                best, best_errors = tried, found
    leads = tuple(gap * k for k in steps)
    return replace(best, leads=leads, errors=tuple(float(e) for e in best_errors))
