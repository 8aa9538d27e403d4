"""Calibration of a potential by relative entropy: its ensemble is made to have the averages of the data.

Force matching on some thousand frames leaves the free energy undetermined. So the energy gets a weighted sum of
features, and the weights are moved until replicas under way show the features' averages of the data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.values import ValueFault

from ...runtime.errors import Cancelled
from ..contract import Check
from .beads import Protein
from .forces import ClosedForces
from .langevin import Langevin
from .potential import Potential, far_feature_count, features
from .train import BeadStates

REPLICAS = 64
"""The averages of so many over BLOCK steps have an error of 0.09 deviations; those of 32, 0.14."""
MOST_DISTANCES = 10_000
"""Distances of a step, which limit the replicas of large proteins: so many updates are worth more than less noise."""
LEAST_REPLICAS = 8
BLOCK = 50
"""Steps between two updates."""
SAMPLED = 10
"""Steps between two samples of the features."""
SETTLE = 500
"""Steps before the first update, in which the replicas leave the data for the potential's own ensemble."""
RATE = 0.2
"""Fraction of Newton's step for each feature. Those of far pairs move together, so theirs is smaller."""
FAR_GAP = 1.0
"""Deviations. Replicas farther than this from the data begin again there: no feature leads back from so far."""
AVERAGED = 0.4
"""Last fraction of the updates whose weights are averaged."""
LEAST_DEVIATION = 0.1
"""Deviations of features below this count as this."""
MOST_UPDATES = 400
MOST_LOST = 5
"""Updates one after the other in which all replicas may fly apart: the weights do not change in these, so the next ones
would end like them."""


@dataclass(frozen=True)
class Calibration:
    """Outcome of a calibration. gaps: root mean square of the features' differences from the data, in deviations, of
    each update. flown_apart: replicas that were started anew. cancelled: `check` ended it before its time.
    """

    gaps: tuple[float, ...]
    flown_apart: int
    cancelled: bool = False


def feature_statistics(frames: BeadStates) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means and deviations of the features, f8[K] each."""
    x = torch.as_tensor(frames.beads)
    values = torch.cat([features(chunk, frames.protein) for chunk in torch.split(x, 2048)]).double()
    return values.mean(0).numpy(), values.std(0, correction=0).clamp_min(LEAST_DEVIATION).numpy()


def replicas_of(protein: Protein) -> int:
    """Return the number of replicas whose averages calibrate a protein."""
    return min(REPLICAS, max(LEAST_REPLICAS, MOST_DISTANCES // len(protein.pairs)))


class _Replicas:
    """Replicas of a protein under way in a potential."""

    def __init__(
        self, potential: Potential, frames: BeadStates, offsets: torch.Tensor, seed: int, count: int, check: Check
    ) -> None:
        device = potential.device
        self._protein, self._check = frames.protein, check
        self._bonds = torch.as_tensor(self._protein.runs(2), device=device)
        chosen = np.random.default_rng(seed).integers(len(frames.beads), size=count)
        self._starts = torch.as_tensor(frames.beads[chosen], device=device)
        self.forces = ClosedForces(potential, self._protein, offsets)
        generator = torch.Generator(device).manual_seed(seed)
        self._dynamics = Langevin(self.forces, self._starts, potential.temperature, generator)
        self.flown_apart = 0

    def settle(self) -> None:
        """Leave the data for the potential's own ensemble. Raises Cancelled."""
        for _ in range(SETTLE // SAMPLED):
            self._run()

    def sampled(self) -> torch.Tensor | None:
        """Return means f8[K] of the features over BLOCK steps, without replicas that flew apart; None if all did.

        Lost replicas begin again at the data. Raises Cancelled.
        """
        samples = []
        for _ in range(BLOCK // SAMPLED):
            self._run()
            samples.append(features(self._dynamics.x, self._protein).double())
        lost = self._dynamics.flown_apart(self._bonds)
        if bool(lost.any()):
            self.flown_apart += int(lost.sum())
            self._dynamics.restart(lost, self._starts[lost])
        return None if bool(lost.all()) else torch.stack(samples)[:, ~lost].mean((0, 1))

    def restart(self) -> None:
        """Put all replicas to the data."""
        everywhere = torch.ones(len(self._starts), dtype=torch.bool, device=self._starts.device)
        self._dynamics.restart(everywhere, self._starts)

    def _run(self) -> None:
        self._check()
        self._dynamics.run(SAMPLED)


def calibrate(
    potential: Potential,
    frames: BeadStates,
    seed: int,
    seconds: float,
    report: Callable[[float, float], None],
    check: Check,
    start: NDArray[np.float64] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[NDArray[np.float64], Calibration]:
    """Return the offsets f8[K] of the protein's features, after so many seconds at most.

    report: takes the fraction that is done and the gap, after each update. start: offsets to begin with. clock: tells
    the seconds. Raises ValueFault where all replicas fly apart in MOST_LOST updates one after the other.
    """
    device, count = potential.device, replicas_of(frames.protein)
    targets, spread = (torch.as_tensor(values, device=device) for values in feature_statistics(frames))
    scale = RATE * (potential.thermal / spread**2)
    if far := far_feature_count(frames.protein):
        scale[-far:] /= far**0.5
    offsets = torch.zeros_like(targets) if start is None else torch.tensor(start, device=device)
    replicas = _Replicas(potential, frames, offsets, seed, count, check)
    history: list[torch.Tensor] = []
    gaps: list[float] = []
    lost_updates, cancelled = 0, False
    try:
        with replicas.forces.suitable_threads(count):
            replicas.settle()
            started = clock()
            for number in range(1, MOST_UPDATES + 1):
                means = replicas.sampled()
                if means is None:
                    lost_updates += 1
                    _check_lost(lost_updates, count)
                else:
                    lost_updates = 0
                    gaps.append(float(((means - targets) / spread).square().mean().sqrt()))
                    offsets += scale * (means - targets)
                    replicas.forces.set_offsets(offsets)
                    history.append(offsets.clone())
                    if gaps[-1] > FAR_GAP:
                        replicas.restart()
                spent = clock() - started
                if gaps:
                    report(min(1.0, max(spent / seconds, number / MOST_UPDATES)), gaps[-1])
                if spent > seconds:
                    break
    except Cancelled:
        cancelled = True
    averaged = torch.stack(history[-max(1, int(AVERAGED * len(history))) :]).mean(0) if history else offsets
    return averaged.cpu().numpy(), Calibration(tuple(gaps), replicas.flown_apart, cancelled)


def _check_lost(updates: int, count: int) -> None:
    """Raise ValueFault where too many updates one after the other have lost all replicas."""
    if updates >= MOST_LOST:
        raise ValueFault(
            f"calibration: 0 of {count} replicas held together in {updates} updates one after the other, and one must; "
            "learn from more frames or with a larger budget=, or leave the calibration out with calibrate=0"
        )
