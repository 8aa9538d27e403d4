"""Methods that generate more states like those of an ensemble, in no order of time, and the choice between them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pymol_dsr.shared.messages import BackTestRow

from ..motion.superpose import superpose_states
from ..results import ensemble_metrics as metrics
from . import gate
from .continuation import States, ou_coefficients
from .modes import Modes
from .projection import BondProjection
from .topology import Topology

SAMPLERS = ("bootstrap", "gaussian", "ou")
# States of the first four fifths that are compared with the last fifth, and drawn states whose spread is set, at least.
MIN_STATES = 10
HELD_OUT = 0.2
# States that each sampler draws for the test: as many as are known, between these. In a shorter series, slow motions
# are stretched to the spread that is known, and the steps with them.
FEWEST_DRAWN, MOST_DRAWN = 50, 200
# The RMSF of a sampler may be off by this fraction, and this fraction of its bonds may be broken.
RMSF_LOSS = 0.10
BROKEN = 0.02
# Where the states are a time series: the steps of a sampler may be off by this fraction, and it is taken if its loss is
# at most this factor of the best one's. Without memory each step goes anywhere, and a movie of the states jumps.
STEP_LOSS = 0.15
STEP_PRICE = 1.1


def sample(method: str, states: States, frames: int, rng: np.random.Generator) -> States:
    """Return `frames` states f8[F,A,3] (Å) like the superposed states f8[S,A,3].

    bootstrap draws them again; gaussian draws from the normal distribution of their principal motions; ou lets these
    fluctuate with the memory that they have in the given order. The last two get the known mean and spread of each
    motion exactly: by chance alone a slow motion would cover less in a short series.
    """
    if method == "bootstrap":
        return np.asarray(states[rng.integers(len(states), size=frames)])
    modes = Modes.of(states)
    sizes = np.sqrt((modes.coefficients**2).mean(0))
    drawn = rng.normal(size=(frames, len(sizes))) * sizes
    if method == "ou":
        drawn = ou_coefficients(modes.coefficients, drawn[0], frames, rng)
    if frames >= MIN_STATES:
        drawn -= drawn.mean(0)
        drawn *= sizes / np.maximum(np.sqrt((drawn**2).mean(0)), 1e-9)
    return modes.states(drawn)


def mean_superposed(states: States, topology: Topology) -> States:
    """Return states f8[S,A,3] (Å) superposed by the trace on its mean, in the frame of the first state."""
    aligned = superpose_states(states, states[0], topology.trace)
    for _ in range(3):
        aligned = superpose_states(aligned, aligned.mean(0), topology.trace)
    return aligned


def choose_sampler(
    states: States, topology: Topology, projection: BondProjection, seed: int, check: Callable[[], None]
) -> tuple[str, tuple[BackTestRow, ...]]:
    """Return the sampler that comes nearest to held-out states, and the table of all.

    states: f8[S,A,3] Å, superposed. The last fifth is held out. The bootstrap is taken unless another sampler has a
    lower recall and divergence together, with the fluctuation and the bonds of the known states. Where these are a
    time series, a sampler with their steps goes before others that are little better.
    """
    count = len(states)
    held = max(2, round(HELD_OUT * count))
    if count - held < MIN_STATES:
        return "bootstrap", (BackTestRow("bootstrap", {}, chosen=True, note="too few states for a test"),)
    known, truth = states[:-held], states[-held:]
    trace, bonds = topology.trace, topology.heavy_bonds
    lengths = metrics.bond_lengths(known, bonds).mean(0)
    ordered = gate.memory(known, trace) >= gate.UNORDERED
    drawn_states = min(max(FEWEST_DRAWN, len(known)), MOST_DRAWN)
    scores: dict[str, dict[str, float]] = {}
    for method in SAMPLERS:
        check()
        drawn = sample(method, known, drawn_states, np.random.default_rng(seed))
        if method != "bootstrap":
            drawn = projection(drawn)
        comparison = metrics.compare_ensembles(drawn[:, trace], truth[:, trace])
        scores[method] = {
            "JS (bit)": comparison.js,
            "recall (A)": comparison.recall,
            "RMSF (A)": comparison.rmsf,
            "RMSF r": comparison.rmsf_correlation,
            "broken (%)": 100.0 * metrics.broken_bonds(drawn, bonds, lengths),
        }
        if ordered:
            scores[method]["step / known"] = metrics.step_rmsd(drawn[:, trace]) / metrics.step_rmsd(known[:, trace])
    known_rmsf = float(metrics.rmsf(known[:, trace]).mean())
    base = scores["bootstrap"]

    def loss(method: str) -> float:
        row = scores[method]
        return row["JS (bit)"] / max(base["JS (bit)"], 1e-9) + row["recall (A)"] / max(base["recall (A)"], 1e-9)

    fit = [
        method
        for method in SAMPLERS
        if method == "bootstrap"
        or (
            abs(scores[method]["RMSF (A)"] - known_rmsf) <= RMSF_LOSS * known_rmsf
            and scores[method]["broken (%)"] <= 100.0 * BROKEN
        )
    ]
    chosen = min(fit, key=loss)
    if ordered:
        limit = STEP_PRICE * loss(chosen)
        with_steps = [m for m in fit if abs(scores[m]["step / known"] - 1.0) <= STEP_LOSS and loss(m) <= limit]
        chosen = min(with_steps, key=loss, default=chosen)
    rows = tuple(BackTestRow(method, scores[method], chosen=method == chosen) for method in SAMPLERS)
    return chosen, rows
