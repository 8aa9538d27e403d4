"""Generates states of a molecule from its other states: continues them, fills in between them, samples more of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.source_options import TASK_METHODS, GenerateOptions
from pymol_dsr.shared.values import ValueFault

from .continue_task import continue_trajectory
from .contract import Check, Generated, GenerationTask, Report, Trajectory
from .fill_task import fill_trajectory
from .net_task import generate_by_net
from .refine import minimised
from .sample_task import sample_trajectory
from .topology import Topology

# States from which a trajectory holds analogs of its own last state.
OWN_ANALOGS = 100

TASKS = {"continue": continue_trajectory, "fill": fill_trajectory, "sample": sample_trajectory}


def generate(
    molecule: Molecule, trajectories: Sequence[Trajectory], options: GenerateOptions, report: Report, check: Check
) -> Generated:
    """Continue, fill in or sample the first trajectory; the others are of the same molecule.

    Raises ValueFault for what can't be generated, and Cancelled.
    """
    methods = TASK_METHODS[options.task]
    if options.method not in methods:
        raise ValueFault(f"method {options.method} can't {options.task}: choose {', '.join(methods)}")
    if (
        options.method == "analog"
        and len(trajectories) < 2
        and (options.task == "fill" or len(trajectories[0]) < OWN_ANALOGS)
    ):
        raise ValueFault(
            f"method analog follows other trajectories of the same atoms, and there is none (of {OWN_ANALOGS} states "
            f"on, a trajectory continues by its own): load one, or choose auto"
        )
    task = GenerationTask(molecule, Topology.of(molecule), trajectories, options, report, check)
    generated = generate_by_net(task) if options.method == "net" else TASKS[options.task](task)
    if not options.refine:
        return generated
    report(1.0, "refining")
    refined = minimised(molecule, generated.coordinates.astype(np.float64), check).astype(np.float32)
    return replace(
        generated, coordinates=refined, notes=(*generated.notes, "the energy of each state was minimised (refine=1)")
    )
