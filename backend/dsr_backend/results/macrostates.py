"""Macrostates of an ensemble: by a Markov model of states in order of time, else by clusters.

k-means divides the states into microstates, a Markov model counts the transitions between them, and PCCA+ joins
microstates that exchange fast. States without an order have macrostates of k-means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

SEED = 0
# Microstates, which macrostates are made of.
MOST_MICROSTATES = 100
# Fraction of the states that the Markov model must hold for its populations to count.
CONNECTED = 0.8
# Lags at which the implied time scales are computed, and how many of these.
LAGS, SCALES = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200), 3


@dataclass(frozen=True)
class Macrostate:
    """A macrostate. population: 0 to 1; place: the state (from 0, over all series) nearest to its middle."""

    population: float
    place: int


@dataclass(frozen=True, eq=False)
class Macrostates:
    """Macrostates of S states. assignment: i8[S]; weights: f8[S], of the states, which add up to 1."""

    assignment: NDArray[np.int64]
    weights: NDArray[np.float64]
    lags: tuple[int, ...] = ()
    timescales: tuple[tuple[float, ...], ...] = ()


def _kmeans(placed: Floats, count: int, modules: SimpleNamespace) -> Any:
    estimator = modules.KMeans(
        n_clusters=count, init_strategy="kmeans++", max_iter=500, fixed_seed=SEED, n_jobs=1, progress=None
    )
    return estimator.fit(placed).fetch_model()


def markov_macrostates(
    placed: Sequence[NDArray[np.float64]], lag: int, states: int, modules: SimpleNamespace, notes: list[str]
) -> Macrostates | None:
    """Return the macrostates of a Markov model; None, with a note, where the states are not connected enough."""
    pooled = np.concatenate(placed)
    count = int(min(MOST_MICROSTATES, max(states, math.sqrt(len(pooled)))))
    clusters = _kmeans(pooled, count, modules)
    paths = [np.asarray(clusters.transform(x), np.int64) for x in placed]
    counts = modules.Counts(lagtime=lag, count_mode="sliding").fit(paths).fetch_model()
    connected = counts.submodel_largest()
    visited = np.concatenate(paths)
    active = np.isin(visited, connected.state_symbols)
    if active.mean() < CONNECTED or connected.n_states <= states:
        reason = (
            f"the states do not return: {100 * active.mean():.0f} % of them are connected both ways at a lag of {lag}"
            if active.mean() < CONNECTED
            else f"the states are too few for {states} macrostates: they make {connected.n_states} microstates"
        )
        notes.append(f"{reason}; no Markov model, and the populations are those of the states as they are")
        return None
    model = modules.Markov(reversible=True).fit(connected).fetch_model()
    groups = model.pcca(states).assignments
    place_of = {int(symbol): index for index, symbol in enumerate(connected.state_symbols)}
    places = np.array([place_of.get(int(symbol), -1) for symbol in visited])
    assignment = np.where(places >= 0, groups[places], -1)
    visits = np.bincount(places[places >= 0], minlength=connected.n_states)
    weights = np.where(places >= 0, (model.stationary_distribution / np.maximum(visits, 1))[places], 0.0)
    lags, scales = _timescales(paths, min(map(len, placed)), modules)
    return Macrostates(assignment.astype(np.int64), weights / weights.sum(), lags, scales)


def _timescales(
    paths: Sequence[NDArray[np.int64]], shortest: int, modules: SimpleNamespace
) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...]]:
    """Return lags and the implied time scales (states) at each, SCALES of them, NaN where there are fewer."""
    lags = tuple(lag for lag in LAGS if 4 * lag <= shortest)
    rows = []
    for lag in lags:
        counts = modules.Counts(lagtime=lag, count_mode="sliding").fit(list(paths)).fetch_model().submodel_largest()
        scales = [math.nan] * SCALES
        if counts.n_states > 1:
            computed = modules.Markov(reversible=True).fit(counts).fetch_model().timescales(k=SCALES)
            for index, scale in enumerate(np.asarray(computed, np.float64)[:SCALES]):
                scales[index] = float(scale) if np.isfinite(scale) else math.nan
        rows.append(tuple(scales))
    return lags, tuple(rows)


def clustered_macrostates(placed: Sequence[NDArray[np.float64]], states: int, modules: SimpleNamespace) -> Macrostates:
    """Return macrostates of k-means, all states alike."""
    pooled = np.concatenate(placed)
    assignment = np.asarray(_kmeans(pooled, min(states, len(pooled)), modules).transform(pooled), np.int64)
    return Macrostates(assignment, np.full(len(pooled), 1.0 / len(pooled)))


def numbered_macrostates(plane: NDArray[np.float64], model: Macrostates) -> tuple[Macrostate, ...]:
    """Return the macrostates by falling population, and number the assignment so."""
    populations = {
        int(number): float(model.weights[model.assignment == number].sum())
        for number in np.unique(model.assignment[model.assignment >= 0])
    }
    order = sorted(populations, key=lambda number: -populations[number])
    numbered = np.full_like(model.assignment, -1)
    macrostates = []
    for position, number in enumerate(order):
        members = np.flatnonzero(model.assignment == number)
        numbered[members] = position
        middle = np.average(plane[members], axis=0, weights=model.weights[members] + 1e-12)
        nearest = members[int(np.argmin(((plane[members] - middle) ** 2).sum(1)))]
        macrostates.append(Macrostate(populations[number], int(nearest)))
    model.assignment[:] = numbered
    return tuple(macrostates)
