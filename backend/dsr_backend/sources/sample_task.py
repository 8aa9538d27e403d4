"""Samples more states like those of a trajectory, by the sampler that does best in a test or the user names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pymol_dsr.shared.messages import BackTestRow
from pymol_dsr.shared.source_options import GenerateOptions
from pymol_dsr.shared.values import ValueFault

from . import gate, sampling
from .contract import Check, Generated, Report, Trajectory
from .projection import BondProjection
from .topology import Topology

METHODS = ("auto", *sampling.SAMPLERS, "net")


def sample_states(
    topology: Topology, trajectories: Sequence[Trajectory], options: GenerateOptions, report: Report, check: Check
) -> Generated:
    """Return more states like those of the first trajectory."""
    first_trajectory = trajectories[0]
    if len(first_trajectory) < 3:
        raise ValueFault(
            f"states are sampled like three known ones or more, not like {len(first_trajectory)}: give more states"
        )
    states = sampling.mean_superposed(np.asarray(first_trajectory.coordinates, np.float64), topology)
    projection = BondProjection.of(topology.bonds, topology.heavy, states)
    name = options.method
    table: tuple[BackTestRow, ...] = ()
    if name == "auto":
        report(0.0, "testing methods")
        name, table = sampling.choose_sampler(states, topology, projection, options.seed, check)
    check()
    report(gate.TESTED, "generating")
    drawn = sampling.sample(name, states, options.frames, np.random.default_rng(options.seed))
    if name != "bootstrap":
        drawn = projection(drawn)
    check()
    report.frames(drawn.astype(np.float32))
    gap = float(np.median(np.diff(first_trajectory.times)))
    return Generated(drawn.astype(np.float32), gap * np.arange(1, options.frames + 1), name, table)
