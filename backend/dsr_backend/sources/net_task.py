"""Continues, fills in and samples states by a net: a saved one, or one that is trained on the trajectories."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.messages import BackTestRow
from pymol_dsr.shared.source_options import GenerateOptions
from pymol_dsr.shared.values import ValueFault

from ..motion.statistics import step_rmsd
from .continuation import States
from .continue_task import ensure_time_series, even_states
from .contract import Check, Generated, GenerationTask, Trajectory
from .fill_task import ensure_two_states, fractions_between, times_between
from .generator.learn import HELPS, progress_text
from .generator.model_file import load
from .generator.training import Training
from .net import OTHER_STEPS, Net, even_runs

# Fraction of the work that the training of a net is.
TRAINED = 0.8


def generate_by_net(task: GenerationTask) -> Generated:
    """Generate states of any task by a net: by one that was learned, or by one that is trained on the trajectories."""
    trajectory, options = task.first_trajectory, task.options
    if options.task == "continue" and len(trajectory) > 2:
        gap = float(np.median(np.diff(trajectory.times)))
        ensure_time_series(even_states(trajectory, gap), task.topology, options)
    if options.task == "fill":
        ensure_two_states(trajectory)
    net, stride, lines = _learned_net(task, options.model) if options.model else _trained_net(task)
    task.report(TRAINED if options.model is None else 0.0, "generating")
    coordinates, times = _states_of(net, stride, trajectory, options, task.check)
    task.report.frames(coordinates.astype(np.float32))
    ratio = net.best.ratio
    if ratio >= HELPS:
        lines = (*lines, "the net adds nothing to its closed-form baseline here, and other methods do as well")
    row = BackTestRow("net", {"held-out loss / prior": ratio}, chosen=True)
    return Generated(coordinates.astype(np.float32), times, "net", (row,), lines)


def _states_of(
    net: Net, stride: float, trajectory: Trajectory, options: GenerateOptions, check: Check
) -> tuple[States, NDArray[np.float64]]:
    """Return the states f8[F,A,3] (Å) that a net generates for a task, and their times f8[F].

    stride: the gap between the states of the net, in the unit of the trajectory's times.
    """
    count, states = options.frames, np.asarray(trajectory.coordinates, np.float64)
    if options.task == "continue":
        moments = ((trajectory.times - trajectory.times[-1]) / stride).tolist()
        coordinates = net.continued(states, moments, count, options.replicas, options.seed, check)
        return coordinates, np.tile(trajectory.times[-1] + stride * np.arange(1, count + 1), options.replicas)
    if options.task == "fill":
        pairs = list(itertools.pairwise(states))
        paths = [net.filled(a, b, count, options.seed + k, check) for k, (a, b) in enumerate(pairs)]
        return np.concatenate(paths), times_between(trajectory, fractions_between(count))
    return net.sampled(count, states[0], options.seed, check), stride * np.arange(1, count + 1)


def _trained_net(task: GenerationTask) -> tuple[Net, float, tuple[str, ...]]:
    """Return a net that is trained on the trajectories, the gap between its states, and lines for the user."""
    learned = task.trajectories[1:] if task.options.task == "fill" else task.trajectories
    learned = [trajectory for trajectory in learned if len(trajectory) > 2]
    if not learned:
        kind = "other trajectories" if task.options.task == "fill" else "a trajectory"
        raise ValueFault(
            f"method net learns from {kind} of three states or more, and there is none: give one, choose auto, or name "
            "a generator that dsr_learn has made, as model=NAME"
        )
    gap = float(np.median(np.diff(learned[0].times)))
    runs = [run for trajectory in learned for run in even_runs(trajectory, gap)]

    def trained_so_far(fraction: float, training: Training) -> None:
        task.report(TRAINED * fraction, "training", progress_text(training))

    net = Net.train(task.molecule, task.topology, runs, task.options.seed, task.check, trained_so_far)
    last = net.curve[-1]
    line = f"trained {last.steps} steps in {last.seconds:.0f} s: {net.best.ratio:.3f} of the baseline's held-out error"
    return net, gap, (line,)


def _learned_net(task: GenerationTask, name: str) -> tuple[Net, float, tuple[str, ...]]:
    """Return the net of a model, the gap between its states in the unit of the trajectories, and lines for the user."""
    task.report(0.0, "reading the model")
    saved = load(name)
    known = np.concatenate([np.asarray(trajectory.coordinates, np.float64) for trajectory in task.trajectories])
    net, protein = Net.of_model(name, saved, task.molecule, task.topology, known)
    spacing = f", {saved.picoseconds:g} ps apart" if saved.picoseconds else ""
    lines = [
        f"model {name}, learned from {protein.steps} steps of {protein.name}{spacing}: {net.best.ratio:.3f} of the "
        "baseline's held-out error"
    ]
    first_trajectory = task.first_trajectory
    if len(first_trajectory) > 2:
        moved = step_rmsd(first_trajectory.coordinates[:, net.backbone[:, 1]])
        even = np.allclose(np.diff(first_trajectory.times), saved.stride, rtol=0.01)
        if even and not 1.0 / OTHER_STEPS < moved / max(protein.step, 1e-6) < OTHER_STEPS:
            lines.append(
                f"warning: from state to state the selection moves {moved:.2f} A, and {protein.name} moved "
                f"{protein.step:.2f} A: are its states as far apart in time?"
            )
    return net, saved.stride, tuple(lines)
