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

from ...runtime.errors import Cancelled
from ..contract import Check
from .beads import Protein
from .forces import ClosedForces
from .langevin import Langevin
from .potential import Potential, far_feature_count, features
from .train import Frames

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


@dataclass(frozen=True)
class Calibration:
    """Outcome of a calibration. gaps: root mean square of the features' differences from the data, in deviations, of
    each update. flown_apart: replicas that were started anew. cancelled: `check` ended it before its time.
    """

    gaps: tuple[float, ...]
    flown_apart: int
    cancelled: bool = False


def feature_statistics(frames: Frames) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means and deviations of the features, f8[K] each."""
    x = torch.as_tensor(frames.beads)
    values = torch.cat([features(chunk, frames.protein) for chunk in torch.split(x, 2048)]).double()
    return values.mean(0).numpy(), values.std(0, correction=0).clamp_min(LEAST_DEVIATION).numpy()


def replicas_of(protein: Protein) -> int:
    """Return the number of replicas whose averages calibrate a protein."""
    return min(REPLICAS, max(LEAST_REPLICAS, MOST_DISTANCES // len(protein.pairs)))


def calibrate(
    potential: Potential,
    frames: Frames,
    seed: int,
    seconds: float,
    report: Callable[[float, float], None],
    check: Check,
    start: NDArray[np.float64] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[NDArray[np.float64], Calibration]:
    """Return the offsets f8[K] of the protein's features, after so many seconds at most.

    report: takes the fraction that is done and the gap, after each update. start: offsets to begin with. clock: tells
    the seconds.
    """
    device = potential.device
    protein, generator = frames.protein, torch.Generator(device).manual_seed(seed)
    means, deviations = feature_statistics(frames)
    bonds = torch.as_tensor(protein.runs(2), device=device)
    targets, spread = torch.as_tensor(means, device=device), torch.as_tensor(deviations, device=device)
    scale = RATE * (potential.thermal / spread**2)
    far = far_feature_count(protein)
    if far:
        scale[-far:] /= far**0.5
    offsets = torch.zeros(len(means), dtype=torch.float64) if start is None else torch.tensor(start)
    offsets = offsets.to(device)
    replicas = replicas_of(protein)
    chosen = np.random.default_rng(seed).integers(len(frames.beads), size=replicas)
    starts = torch.as_tensor(frames.beads[chosen], device=device)

    forces = ClosedForces(potential, protein, offsets)
    dynamics = Langevin(forces, starts, potential.temperature, generator)
    history: list[torch.Tensor] = []
    gaps: list[float] = []
    flown_apart, cancelled = 0, False

    def sampled_features() -> torch.Tensor:
        check()
        dynamics.run(SAMPLED)
        return features(dynamics.x, protein).double()

    try:
        with forces.suitable_threads(replicas):
            for _ in range(SETTLE // SAMPLED):
                check()
                dynamics.run(SAMPLED)
            started = clock()
            for number in range(1, MOST_UPDATES + 1):
                sampled = [sampled_features() for _ in range(BLOCK // SAMPLED)]
                lost = dynamics.flown_apart(bonds)
                if bool(lost.any()):
                    flown_apart += int(lost.sum())
                    dynamics.restart(lost, starts[lost])
                if bool(lost.all()):
                    continue
                difference = torch.stack(sampled)[:, ~lost].mean((0, 1)) - targets
                gaps.append(float((difference / spread).square().mean().sqrt()))
                offsets += scale * difference
                forces.set_offsets(offsets)
                history.append(offsets.clone())
                if gaps[-1] > FAR_GAP:
                    dynamics.restart(torch.ones_like(lost), starts)
                spent = clock() - started
                report(min(1.0, max(spent / seconds, number / MOST_UPDATES)), gaps[-1])
                if spent > seconds:
                    break
    except Cancelled:
        cancelled = True
    averaged = torch.stack(history[-max(1, int(AVERAGED * len(history))) :]).mean(0) if history else offsets
    return averaged.cpu().numpy(), Calibration(tuple(gaps), flown_apart, cancelled)
