"""Methods that continue a trajectory: closed forms, from holding the last state to analogs of other trajectories.

Each takes a `History` and a number of states, and returns states f8[F,A,3] in Å, one gap apart, in the frame of the
last state. Methods that draw random numbers take a generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from pymol_dsr.shared.superpose import superpose

from ..motion.forecast import extrapolate_atoms, fit_forecast
from ..motion.statistics import rmsd_to
from ..motion.superpose import superpose_states
from .drift import LEAST_STATES, continued_drift
from .modes import Modes
from .topology import nearest_places

Floats = NDArray[np.floating[Any]]
States = NDArray[np.float64]

# States whose straight line is continued.
STRAIGHT_WINDOW = 20
# States that give the velocity of a trend.
TREND_WINDOW = 10
# Principal motions of the linear models.
DMD_RANK = 3
AR_RANK, AR_ORDER, AR_RIDGE = 3, 4, 1e-2
# Largest factor of a linear model from state to state: a larger one grows without end.
MAX_FACTOR = 0.995
# Analogs: standard deviation in states of the smoothing of other trajectories, states in which the distance from them
# fades, those in which they take over from the molecule's own drift, and the distance in Å that their weights fall
# over. Chosen on other DIMS paths of AdK than the scored one, and on FRODA.
ANALOG_SMOOTHING = 2.5
ANALOG_FADING = 20.0
ANALOG_OWN = 10.0
ANALOG_RANGE = 1.0
# States that a drawn analog is one of, and the states in which the distance from it fades.
ANALOG_NEIGHBORS = 10
ANALOG_DRAWN_FADING = 3.0


@dataclass(frozen=True, eq=False)
class History:
    """The known states of a trajectory, evenly spaced in time.

    states: f8[S,A,3] Å, superposed on the last one by the atoms `trace` i8[K]. rides_on: i8[A], the place in the trace
    that each atom moves with. others: further trajectories f8[T,A,3] with the same spacing.
    """

    states: States
    trace: NDArray[np.int64]
    rides_on: NDArray[np.int64]
    others: tuple[States, ...] = ()

    @classmethod
    def of(
        cls,
        states: Floats,
        trace: NDArray[np.int64],
        others: Sequence[Floats] = (),
        rides_on: NDArray[np.int64] | None = None,
    ) -> History:
        """Return the history of states f[S,A,3] (Å) in any pose.

        rides_on: i8[A]; without it, each atom moves with the nearest of the trace.
        """
        x = np.asarray(states, np.float64)
        if rides_on is None:
            rides_on = nearest_places(x[-1], trace, np.arange(x.shape[1]))
        return cls(
            _onto_last(x, trace), trace, rides_on, tuple(np.asarray(coordinates, np.float64) for coordinates in others)
        )

    def until(self, count: int) -> History:
        """Return the history of the first `count` states."""
        return replace(self, states=_onto_last(self.states[:count], self.trace))


def _onto_last(states: States, trace: NDArray[np.int64]) -> States:
    """Return states f8[S,A,3] (Å) superposed on the last one, which stays as it is to the last bit."""
    return np.concatenate([superpose_states(states[:-1], states[-1], trace), states[-1:]])


def hold(history: History, frames: int) -> States:
    """Repeat the last state."""
    return np.repeat(history.states[-1:], frames, 0)


def straight(history: History, frames: int) -> States:
    """Go straight on from the last state, at the mean velocity of the last 20 states."""
    recent = history.states[-STRAIGHT_WINDOW:]
    if len(recent) < 2:
        return hold(history, frames)
    return _moved(recent[-1], _slope(recent), np.arange(1.0, frames + 1.0))


def damped(history: History, frames: int) -> States:
    """Continue by the rule of the fields: up to two principal motions, damped, if back-tests say so."""
    states = history.states.astype(np.float32)
    times = np.arange(len(states), dtype=np.float64)
    forecast = fit_forecast(states, times)
    return np.stack(
        [extrapolate_atoms(states, times, forecast, float(k)) for k in range(1, frames + 1)], dtype=np.float64
    )


def trend(history: History, frames: int, rank: int, damping: float) -> States:
    """Continue the first `rank` principal motions at the velocity of the last 10 states, damped.

    `damping`: gaps after which the velocity has fallen to 1/e.
    """
    states = history.states
    if len(states) < 3:
        return straight(history, frames)
    modes = Modes.of(states, rank)
    velocity = (_slope(modes.coefficients[-TREND_WINDOW:]) @ modes.axes).reshape(states[-1].shape)
    ahead = damping * (1.0 - np.exp(-np.arange(1.0, frames + 1.0) / damping))
    return _moved(states[-1], velocity, ahead)


def drift(history: History, frames: int) -> States:
    """Continue the soft motions by what drifts in their known steps; hold the rest."""
    return continued_drift(history.states, history.trace, history.rides_on, frames)


def dmd(history: History, frames: int) -> States:
    """Continue by a linear map from state to state in three principal motions (dynamic mode decomposition)."""
    return _autoregressive(history, frames, DMD_RANK, 1, 0.0)


def autoregressive(history: History, frames: int) -> States:
    """Continue by a linear map from the last four states in three principal motions, with ridge regression."""
    return _autoregressive(history, frames, AR_RANK, AR_ORDER, AR_RIDGE)


def _autoregressive(history: History, frames: int, rank: int, order: int, ridge: float) -> States:
    if len(history.states) < rank * order + order + 2:
        return straight(history, frames)
    modes = Modes.of(history.states, rank)
    c = modes.coefficients
    past = np.concatenate([c[order - 1 - lag : len(c) - 1 - lag] for lag in range(order)], 1)
    past = np.concatenate([past, np.ones((len(past), 1))], 1)
    penalty = ridge * float((c**2).mean()) * len(past) * np.diag([1.0] * (past.shape[1] - 1) + [0.0])
    matrix = np.linalg.lstsq(past.T @ past + penalty, past.T @ c[order:], rcond=None)[0]
    recent = list(c[-order:])
    limit = 2.0 * np.abs(c).max()
    for _ in range(frames):
        row = np.concatenate([*recent[: -order - 1 : -1], [1.0]])
        recent.append(np.clip(row @ matrix, -limit, limit))
    moved = (np.stack(recent[order:]) - c[-1]) @ modes.axes
    return np.asarray(history.states[-1] + moved.reshape(frames, *history.states[-1].shape))


def ornstein_uhlenbeck(history: History, frames: int, rng: np.random.Generator | None = None) -> States:
    """Let each principal motion relax to the mean with its own memory, with noise that keeps its spread.

    Without a generator the mean of such continuations is returned.
    """
    if len(history.states) < 3:
        return hold(history, frames)
    modes = Modes.of(history.states)
    return modes.states(ou_coefficients(modes.coefficients, modes.coefficients[-1], frames, rng))


def ou_coefficients(known: Floats, start: Floats, frames: int, rng: np.random.Generator | None) -> NDArray[np.float64]:
    """Return coefficients f8[F,K] after `start` f[K], of independent processes fitted to known ones f[S,K] in time."""
    variance = np.maximum((known**2).mean(0), 1e-12)
    factor = np.clip((known[1:] * known[:-1]).mean(0) / variance, 0.0, MAX_FACTOR)
    noise = np.sqrt(variance * (1.0 - factor**2))
    rows, current = [], np.asarray(start, np.float64)
    for _ in range(frames):
        current = factor * current
        if rng is not None:
            current = current + noise * rng.normal(size=len(noise))
        rows.append(current)
    return np.stack(rows)


def gaussian(history: History, frames: int, rng: np.random.Generator | None = None) -> States:
    """Draw states of a normal distribution in the principal motions, without memory; the mean without a generator."""
    if len(history.states) < 3:
        return hold(history, frames)
    modes = Modes.of(history.states)
    if rng is None:
        return np.repeat(modes.mean[None], frames, 0)
    sizes = np.sqrt((modes.coefficients**2).mean(0))
    return modes.states(rng.normal(size=(frames, len(sizes))) * sizes)


def bootstrap(history: History, frames: int, rng: np.random.Generator | None = None) -> States:
    """Draw known states again; without a generator the mean state is returned."""
    if rng is None:
        return np.repeat(history.states.mean(0)[None], frames, 0)
    return np.asarray(history.states[rng.integers(len(history.states), size=frames)])


def analog(history: History, frames: int, rng: np.random.Generator | None = None) -> States:
    """Follow known trajectories from their states nearest to the last one.

    Without a generator the mean of such ways: each other trajectory is smoothed over time, what the last state differs
    by from it is added and fades within some 20 states, and nearer trajectories weigh more. Over the first ten states,
    the ways take over from the molecule's own drift. With a generator one way is drawn: that from one of the nearest
    states of all known ones.
    """
    return _mean_analog(history, frames) if rng is None else _drawn_analog(history, frames, rng)


def _drawn_analog(history: History, frames: int, rng: np.random.Generator) -> States:
    """Return the states after one of the ten nearest states; where its trajectory ends, another one is drawn there."""
    trace = history.trace
    library = [np.asarray(states) for states in (*history.others, history.states) if len(states) > 1]
    starts = np.concatenate([states[:-1, trace] for states in library])
    owner = np.repeat(np.arange(len(library)), [len(states) - 1 for states in library])
    offset = np.concatenate([np.arange(len(states) - 1) for states in library])
    current, ahead = history.states[-1], np.zeros((0, *history.states[-1].shape))
    while len(ahead) < frames:
        distance = rmsd_to(starts, current[trace])
        chosen = int(rng.choice(np.argsort(distance)[:ANALOG_NEIGHBORS]))
        states, begin = library[owner[chosen]], int(offset[chosen])
        rotation, translation = superpose(states[begin][trace], current[trace])
        # Each state on the one before, so that the molecule does not drift away with a tumbling one.
        segment = _chained(states[begin : begin + 1 + frames - len(ahead)], trace) @ rotation.T + translation
        fading = np.exp(-np.arange(1.0, len(segment)) / ANALOG_DRAWN_FADING)[:, None, None]
        ahead = np.concatenate([ahead, segment[1:] + fading * (current - segment[0])])
        current = ahead[-1]
    return ahead


def _chained(states: Floats, trace: NDArray[np.int64]) -> States:
    """Return states f8[S,A,3] (Å), each superposed on the one before."""
    chain = [np.asarray(states[0], np.float64)]
    for state in states[1:]:
        chain.append(superpose_states(np.asarray(state)[None], chain[-1], trace)[0])
    return np.stack(chain)


def _mean_analog(history: History, frames: int) -> States:
    last = history.states[-1]
    leads = np.arange(1.0, frames + 1.0)
    predictions, distances = [], []
    for trajectory in history.others:
        path = smoothed_path(trajectory, history.trace)
        aligned = superpose_states(path, last, history.trace)[:, history.trace]
        distance = np.sqrt(((aligned - last[history.trace]) ** 2).sum(2).mean(1))
        nearest = int(distance.argmin())
        rotation, translation = superpose(path[nearest][history.trace], last[history.trace])
        path = superpose_states(path, path[nearest], history.trace) @ rotation.T + translation
        ahead = path[np.minimum(nearest + leads.astype(int), len(path) - 1)]
        predictions.append(ahead + np.exp(-leads / ANALOG_FADING)[:, None, None] * (last - path[nearest]))
        distances.append(distance[nearest])
    weights = np.exp(-(((np.array(distances) - min(distances)) / ANALOG_RANGE) ** 2))
    predicted = np.einsum("n,nfai->fai", weights / weights.sum(), np.stack(predictions))
    if len(history.states) < LEAST_STATES:
        return np.asarray(predicted)
    drift_weight = np.exp(-leads / ANALOG_OWN)[:, None, None]
    return np.asarray(drift_weight * drift(history, frames) + (1.0 - drift_weight) * predicted)


def smoothed_path(states: Floats, trace: NDArray[np.int64]) -> States:
    """Return states f8[S,A,3] (Å) superposed on the middle one and smoothed over time."""
    aligned = superpose_states(states, states[len(states) // 2], trace)
    return np.asarray(gaussian_filter1d(aligned, ANALOG_SMOOTHING, axis=0, mode="nearest"))


def _slope(values: Floats) -> NDArray[np.float64]:
    """Return the slope per row of the straight line of least squares through values f[S,...]."""
    times = np.arange(len(values)) - 0.5 * (len(values) - 1)
    return np.asarray(np.tensordot(times, values, 1) / (times @ times))


def _moved(last: States, velocity: States, ahead: Floats) -> States:
    return np.asarray(last + ahead[:, None, None] * velocity)


Method = Callable[[History, int, "np.random.Generator | None"], States]


def _plain(method: Callable[[History, int], States]) -> Method:
    return lambda history, frames, rng: method(history, frames)


METHODS: dict[str, Method] = {
    "hold": _plain(hold),
    "straight": _plain(straight),
    "damped": _plain(damped),
    "trend": _plain(lambda history, frames: trend(history, frames, 1, 10.0)),
    "drift": _plain(drift),
    "dmd": _plain(dmd),
    "ar": _plain(autoregressive),
    "analog": analog,
    "ou": ornstein_uhlenbeck,
    "gaussian": gaussian,
    "bootstrap": bootstrap,
}
"""Methods by the names of options. The last four draw random numbers where they get a generator."""
