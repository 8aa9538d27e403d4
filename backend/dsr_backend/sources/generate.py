"""Generates states of a molecule from its other states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.source_options import GenerateOptions
from pymol_dsr.shared.values import ValueFault

from .contract import Check, Generated, Report, Trajectory


def generate(
    molecule: Molecule, trajectories: Sequence[Trajectory], options: GenerateOptions, report: Report, check: Check
) -> Generated:
    """Continue, fill in or sample the first trajectory; the others are of the same molecule.

    Raises ValueFault for what can't be generated, and Cancelled.
    """
    if options.method not in ("auto", "hold"):
        raise ValueFault(f"method {options.method}: choose auto or hold")
    coordinates, times = trajectories[0].coordinates, trajectories[0].times
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    if options.task == "fill":
        fractions = np.arange(1, options.frames + 1) / (options.frames + 1)
        new_times = (times[:-1, None] + np.diff(times)[:, None] * fractions).ravel()
        nearest = (np.arange(len(times) - 1)[:, None] + (fractions > 0.5)).ravel()
    else:
        new_times = np.tile(times[-1] + step * np.arange(1, options.frames + 1), options.replicas)
        nearest = np.full(len(new_times), len(times) - 1)
    check()
    report(1.0, "generating")
    return Generated(coordinates[nearest], new_times, "hold")
