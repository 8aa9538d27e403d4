"""Cα of trajectories in files, by MDAnalysis (optional), to learn from without forces."""

from __future__ import annotations

import warnings

import numpy as np

from pymol_dsr.shared import states as state_lists
from pymol_dsr.shared.chains import LONGEST_CALPHA_STEP, chain_numbers
from pymol_dsr.shared.learn_options import LearnOptions
from pymol_dsr.shared.values import ValueFault

from ..contract import Check
from .beads import Protein
from .learn import LearningData, of_frames

INSTALL = 'pip install "pymol-dsr[stream]"'


def read_trajectory(
    name: str, topology: str, trajectory: str, states: str, options: LearnOptions, check: Check
) -> LearningData:
    """Return the Cα of the wanted states. trajectory: empty where the topology has the states. Raises ValueFault."""
    try:
        # Optional, and slow to import.
        import MDAnalysis
    except ImportError as error:
        raise ValueFault(f"trajectories are read by MDAnalysis, which is not installed ({error}): {INSTALL}") from error
    path = trajectory or topology
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            universe = MDAnalysis.Universe(topology, *filter(None, [trajectory]))
            alphas = universe.select_atoms("protein and name CA")
            last = len(universe.trajectory)
            state_numbers = (
                range(1, last + 1) if states.lower() == "all" else state_lists.parse(states, last=last, owner=path)
            )
            frames = []
            for state in state_numbers:
                check()
                universe.trajectory[int(state) - 1]
                frames.append(alphas.positions.copy())
    except (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise ValueFault(f"{path} can't be read: {error}") from error
    if not len(alphas):
        raise ValueFault(f"{topology} has no protein with Cα")
    beads = np.array(frames, np.float32)
    steps = np.linalg.norm(np.diff(beads[0], axis=0), axis=1)
    chains = chain_numbers(alphas.segids, steps, LONGEST_CALPHA_STEP)
    return of_frames(name, Protein(tuple(alphas.resnames.tolist()), chains), beads, options)
