"""Samples more states like those of a trajectory, by the sampler that does best in a test or the user names."""

from __future__ import annotations

import numpy as np

from pymol_dsr.shared.messages import BackTestRow
from pymol_dsr.shared.values import ValueFault

from . import gate, sampling
from .contract import Generated, GenerationTask
from .projection import BondProjection

# Superposed states whose atoms lie nearer to each other are one state (Å).
IDENTICAL = 1e-3


def sample_trajectory(task: GenerationTask) -> Generated:
    """Return more states like those of the first trajectory."""
    trajectory, topology, options = task.first_trajectory, task.topology, task.options
    if len(trajectory) < 3:
        raise ValueFault(
            f"states are sampled like three known ones or more, not like {len(trajectory)}: give more states"
        )
    states = sampling.mean_superposed(np.asarray(trajectory.coordinates, np.float64), topology)
    if np.ptp(states, axis=0).max() < IDENTICAL:
        raise ValueFault(f"the {len(trajectory)} states are identical: give states that differ")
    projection = BondProjection.of(topology.bonds, topology.heavy, states)
    name = options.method
    table: tuple[BackTestRow, ...] = ()
    if name == "auto":
        task.report(0.0, "testing methods")
        name, table = sampling.choose_sampler(states, topology, projection, options.seed, task.check)
    task.check()
    task.report(gate.TESTED, "generating")
    drawn = sampling.sample(name, states, options.frames, np.random.default_rng(options.seed))
    if name != "bootstrap":
        drawn = projection(drawn)
    task.check()
    task.report.frames(drawn.astype(np.float32))
    gap = float(np.median(np.diff(trajectory.times)))
    return Generated(drawn.astype(np.float32), gap * np.arange(1, options.frames + 1), name, table)
