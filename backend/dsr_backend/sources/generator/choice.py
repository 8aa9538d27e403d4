"""Choice of the chart by held-out states: the closed-form model of each chart draws what comes next, and is scored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.spacing import evenly_spaced

from ...motion.statistics import energy_score
from .charts import CHARTS
from .frames import Frames
from .prior import MEMORY, Prior, past_increments

AHEAD, STARTS, DRAWN = 5, 24, 8
"""Gaps ahead, starts in the held-out states of a protein, and states drawn for each."""
MOST_COMPARED = 40
"""Residues between which distances are compared, at most."""


def choose_chart(priors: Sequence[Mapping[str, Prior]], held: Sequence[Sequence[Frames]], seed: int) -> str:
    """Return the name of the chart whose models err least, as a geometric mean over proteins.

    priors: of each protein, by chart. held: trajectories of frames [S,R] of each that the models have not seen.
    """
    names = list(CHARTS)
    totals = dict.fromkeys(names, 0.0)
    for by_chart, trajectories in zip(priors, held, strict=True):
        for name in names:
            error = forecast_error(by_chart[name], trajectories, seed)
            totals[name] += math.log(max(error, 1e-9))
    return min(names, key=lambda name: totals[name])


def forecast_error(prior: Prior, trajectories: Sequence[Frames], seed: int) -> float:
    """Return the mean energy score (Å) of distances between CA, five gaps ahead; 1 where the states are too few."""
    cases = [(states, start) for states in trajectories for start in range(MEMORY, len(states.origins) - AHEAD)]
    if not cases:
        return 1.0
    chosen = [cases[k] for k in evenly_spaced(range(len(cases)), STARTS)]
    known = [
        Frames.stack([states[start - MEMORY + lag] for states, start in chosen], 0).map(
            lambda tensor: tensor.repeat_interleave(DRAWN, 0)
        )
        for lag in range(MEMORY + 1)
    ]
    generator = torch.Generator().manual_seed(seed)
    for _ in range(AHEAD):
        known = [*known[1:], prior.drawn(past_increments(prior.chart, known), known[-1], generator)]
    drawn = _distances(known[-1]).reshape(len(chosen), DRAWN, -1)
    true = _distances(Frames.stack([states[start + AHEAD] for states, start in chosen], 0))
    return float(np.mean([energy_score(samples, truth) for samples, truth in zip(drawn, true, strict=True)]))


def _distances(frames: Frames) -> NDArray[np.float64]:
    """Return distances f8[B,P] between CA of frames [B,R], over √P: their differences are root mean squares."""
    count = frames.origins.shape[1]
    residues = evenly_spaced(range(count), MOST_COMPARED)
    origins = frames.origins[:, residues].double()
    first, second = np.triu_indices(len(residues), 1)
    distances = (origins[:, first] - origins[:, second]).norm(dim=-1) / math.sqrt(len(first))
    return np.asarray(distances.numpy())
