"""Methods that generate more states like those of an ensemble, in no order of time, and the choice between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pymol_dsr.shared.messages import BackTestRow

from ..motion import statistics
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
STEPS = "step / known"


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
    held = max(2, round(HELD_OUT * len(states)))
    if len(states) - held < MIN_STATES:
        return "bootstrap", (BackTestRow("bootstrap", {}, chosen=True, note="too few states for a test"),)
    scores = _back_test(states[:-held], states[-held:], topology, projection, seed, check)
    rmsf = float(statistics.rmsf(states[:-held][:, topology.trace]).mean())
    chosen = best_sampler(scores, rmsf)
    return chosen, tuple(BackTestRow(method, row, chosen=method == chosen) for method, row in scores.items())


def _back_test(
    known: States,
    truth: States,
    topology: Topology,
    projection: BondProjection,
    seed: int,
    check: Callable[[], None],
) -> dict[str, dict[str, float]]:
    """Return the scores of each sampler of known states, by their names in the table.

    Where the known states are a time series, the length of steps over theirs is among the scores.
    """
    trace, bonds = topology.trace, topology.heavy_bonds
    lengths = statistics.bond_lengths(known, bonds).mean(0)
    # Copies of one state have no steps.
    steps = statistics.step_rmsd(known[:, trace])
    ordered = steps > 0.0 and gate.memory(known, trace) >= gate.UNORDERED
    count = min(max(FEWEST_DRAWN, len(known)), MOST_DRAWN)
    scores: dict[str, dict[str, float]] = {}
    for method in SAMPLERS:
        check()
        drawn = sample(method, known, count, np.random.default_rng(seed))
        if method != "bootstrap":
            drawn = projection(drawn)
        comparison = metrics.compare_ensembles(drawn[:, trace], truth[:, trace])
        scores[method] = {
            "JS (bit)": comparison.js,
            "recall (A)": comparison.recall,
            "RMSF (A)": comparison.rmsf,
            "RMSF r": comparison.rmsf_correlation,
            "broken (%)": 100.0 * statistics.broken_bonds(drawn, bonds, lengths),
        }
        if ordered:
            scores[method][STEPS] = statistics.step_rmsd(drawn[:, trace]) / steps
    return scores


def best_sampler(scores: Mapping[str, Mapping[str, float]], rmsf: float) -> str:
    """Return the sampler to take by its scores in a test. rmsf: of the known states, Å."""
    base = scores["bootstrap"]

    def loss(method: str) -> float:
        return sum(scores[method][key] / max(base[key], 1e-9) for key in ("JS (bit)", "recall (A)"))

    def is_like_the_known(method: str) -> bool:
        row = scores[method]
        return abs(row["RMSF (A)"] - rmsf) <= RMSF_LOSS * rmsf and row["broken (%)"] <= 100.0 * BROKEN

    fit = [method for method in scores if method == "bootstrap" or is_like_the_known(method)]
    chosen = min(fit, key=loss)
    limit = STEP_PRICE * loss(chosen)
    with_steps = [m for m in fit if abs(scores[m].get(STEPS, np.inf) - 1.0) <= STEP_LOSS and loss(m) <= limit]
    return min(with_steps, key=loss, default=chosen)
