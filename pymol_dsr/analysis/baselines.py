"""Ways to do without a fit: atoms between two fitted states, whose surfaces PyMOL then computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..shared.scoring import TRAINING, group_of, nearest_fitted
from ..shared.superpose import turn_onto
from ..surfaces import workers
from ..surfaces.source import Coordinates, Source


def fitted_neighbors(state: int, fitted: Sequence[int]) -> tuple[int, int]:
    """Return the fitted states before and after a state between them."""
    return max(known for known in fitted if known < state), min(known for known in fitted if known > state)


def needed_states(wanted: Iterable[int], fitted: Sequence[int], baselines: Sequence[str]) -> list[int]:
    """List the states whose surfaces or atoms an evaluation of `wanted` takes, rising."""
    needed = set(wanted)
    if "smooth" in baselines:
        needed.update(fitted)
    for state in list(needed):
        group = group_of(state, fitted)
        if group != TRAINING:
            needed.add(int(nearest_fitted(state, fitted)))
        if group == "between":
            needed.update(fitted_neighbors(state, fitted))
    return sorted(needed)


def baseline_atoms(
    baseline: str, source: Source, fitted: Sequence[int], states: Sequence[int]
) -> tuple[Source, dict[int, Coordinates]]:
    """Predict the atoms f4[A,3] of states between fitted ones, by state, and the source of their surfaces.

    baseline: linear, smooth or surface3. source: holds the fitted states. Raises ExtractError where PyMOL fails.
    """
    if baseline == "smooth":
        first, last = min(fitted), max(fitted)
        path = np.stack([linear_atoms(source, fitted, state) for state in range(first, last + 1)])
        smoothed = workers.smooth_coordinates(source, path)
        return source, {state: smoothed[state - first] for state in states}
    if baseline == "surface3":
        source = dataclasses.replace(source, settings={**source.settings, "surface_type": "3"})
    return source, {state: linear_atoms(source, fitted, state) for state in states}


def linear_atoms(source: Source, fitted: Sequence[int], state: int) -> Coordinates:
    """Return the atoms f4[A,3] of a fitted state, or those in between by `interpolate`."""
    if state in fitted:
        return source.coordinates[state]
    before, after = fitted_neighbors(state, fitted)
    fraction = (state - before) / (after - before)
    return interpolate(source.coordinates[before], source.coordinates[after], fraction)


def interpolate(before: Coordinates, after: Coordinates, fraction: float) -> Coordinates:
    """Move atoms a fraction of the way from `before` f4[A,3] to `after` f4[A,3]: superposed, then in straight lines.

    The rigid motion is done for the same fraction: the centre moves in a straight line, the turn is about one axis.
    """
    start, end = (np.mean(atoms, axis=0, dtype=np.float64) for atoms in (before, after))
    first, second = before - start, after - end
    rotation = turn_onto(first, second)
    shape = (1.0 - fraction) * first + fraction * second @ rotation
    turned = shape @ partial_rotation(rotation, fraction).T
    return np.asarray(turned + (1.0 - fraction) * start + fraction * end, np.float32)


def partial_rotation(rotation: NDArray[np.float64], fraction: float) -> NDArray[np.float64]:
    """Turn by a fraction of the angle of a rotation f8[3,3], about the same axis (Rodrigues)."""
    # The axis is what a rotation leaves in place; the angle is counted about it.
    x, y, z = np.linalg.svd(rotation - np.eye(3))[2][-1]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = fraction * np.arctan2(-0.5 * np.trace(cross @ rotation), 0.5 * (np.trace(rotation) - 1.0))
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross)
