"""Forecasts of the atoms before the first and after the last state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

# States that give a forecast's velocity. Longer windows, more than two principal motions and damping over more than two
# gaps did better in back-tests while a motion was steady, and worse than holding the last state once the motion ended.
FORECAST_WINDOW = 6
# Origins of the back-tests, and their longest lead in gaps.
ORIGINS = 6
MAX_LEAD = 10
# Atoms that a back-test compares.
BACKTEST_ATOMS = 2_000
# A forecast must have less than this fraction of the error of holding the last state.
REQUIRED_GAIN = 0.99


@dataclass(frozen=True)
class Forecast:
    """The motion beyond the last training state, chosen by back-tests (`Motion.choose_forecasts`).

    From the last state, `rank` principal motions continue at the velocity of the last `window` states, damped: `lead`
    states ahead they have gone damping · (1 − exp(−lead / damping)) states far. Rank 0 holds the last state. `errors`
    are the back-tested errors (Å, RMSD of atoms) at each of `leads` (states).
    """

    rank: int = 0
    window: int = 0
    damping: float = 0.0
    leads: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()

    def damped_lead(self, lead: float) -> float:
        """Return the states of motion at full velocity within `lead` states beyond the training range."""
        return self.damping * (1.0 - float(np.exp(-lead / self.damping))) if self.rank else 0.0

    def error(self, lead: float) -> float:
        """Return the expected error (Å) at `lead` states beyond the training range.

        Beyond the leads of the back-test it grows as √lead. NaN without a back-test.
        """
        if lead <= 0.0:
            return 0.0
        if not self.leads:
            return float("nan")
        if lead <= self.leads[-1]:
            return float(np.interp(lead, (0.0, *self.leads), (0.0, *self.errors)))
        return float(self.errors[-1] * np.sqrt(lead / self.leads[-1]))


def extrapolate_atoms(
    atoms: NDArray[np.float32], times: NDArray[np.float64], forecast: Forecast, lead: float
) -> NDArray[np.float32]:
    """Return atoms f4[A,3] (Å) `lead` states after the last of atoms f4[S,A,3] at increasing times f8[S]."""
    last: NDArray[np.float32] = atoms[-1]
    if forecast.rank == 0:
        return last
    velocity = principal_velocity(atoms, times, forecast.rank, forecast.window)
    ahead: NDArray[np.float32] = (last + forecast.damped_lead(lead) * velocity).astype(np.float32)
    return ahead


def principal_velocity(
    atoms: NDArray[np.float32], times: NDArray[np.float64], rank: int, window: int
) -> NDArray[np.float64]:
    """Return the velocity f8[A,3] (Å per state) of the first `rank` principal motions over the last `window` states.

    atoms: f4[S,A,3] Å at increasing times f8[S].
    """
    flat = atoms.reshape(len(atoms), -1).astype(np.float64)
    flat -= flat.mean(0)
    # Principal motions from the S × S matrix of products: A may be large, S is not.
    _, vectors = np.linalg.eigh(flat @ flat.T)
    leading = vectors[:, -rank:]
    recent = slice(-window, None)
    slope = np.polyfit(times[recent] - times[-1], leading[recent], 1)[0]
    # leading.T @ flat are the motions in Å per unit of coefficient, because the vectors are orthonormal.
    velocity: NDArray[np.float64] = (slope @ (leading.T @ flat)).reshape(atoms[-1].shape)
    return velocity


def fit_forecast(atoms: NDArray[np.float32], times: NDArray[np.float64]) -> Forecast:
    """Return the forecast of least error from several origins inside atoms f4[S,A,3] (Å) at increasing times f8[S].

    From each origin only the states before it are known. A damped motion is taken if its mean error over all leads is
    at least 1 % below that of holding the last state; otherwise the last state is held.
    """
    count = len(atoms)
    max_lead = min(MAX_LEAD, count // 3)
    first = max(FORECAST_WINDOW, count // 2)
    if first >= count - max_lead:
        return Forecast()
    origins = sorted({int(k) for k in np.linspace(first, count - 1 - max_lead, ORIGINS)})
    compared = atoms[:, :: max(1, atoms.shape[1] // BACKTEST_ATOMS)]
    gap = float(np.median(np.diff(times)))
    steps = range(1, max_lead + 1)

    def errors(forecast: Forecast, velocities: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        table = np.zeros((len(origins), max_lead))
        for row, (origin, velocity) in enumerate(zip(origins, velocities, strict=True)):
            for step in steps:
                lead = forecast.damped_lead(float(times[origin + step] - times[origin]))
                difference = compared[origin] + lead * velocity - compared[origin + step]
                table[row, step - 1] = np.sqrt((difference**2).sum(-1).mean())
        mean: NDArray[np.float64] = table.mean(0)
        return mean

    held = errors(Forecast(), [np.zeros(compared[0].shape)] * len(origins))
    best, best_errors = Forecast(), held
    for rank in (1, 2):
        velocities = [principal_velocity(compared[: k + 1], times[: k + 1], rank, FORECAST_WINDOW) for k in origins]
        for damping in (gap, 2.0 * gap):
            candidate = Forecast(rank, FORECAST_WINDOW, damping)
            candidate_errors = errors(candidate, velocities)
            if candidate_errors.mean() < min(REQUIRED_GAIN * held.mean(), best_errors.mean()):
                best, best_errors = candidate, candidate_errors
    leads = tuple(gap * k for k in steps)
    return replace(best, leads=leads, errors=tuple(float(e) for e in best_errors))
