"""Continues a trajectory: states after its last one, by the method that the gate takes or the user names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pymol_dsr.shared.messages import BackTestRow
from pymol_dsr.shared.source_options import GenerateOptions
from pymol_dsr.shared.values import ValueFault

from . import continuation, gate
from .continuation import History, States
from .contract import Generated, GenerationTask, Trajectory
from .projection import BondProjection
from .topology import Topology

# Fraction by which gaps between times may differ in an even series.
UNEVEN = 0.01


def continue_trajectory(task: GenerationTask) -> Generated:
    """Return states after the last one."""
    trajectory, topology, options = task.first_trajectory, task.topology, task.options
    if len(trajectory) < 2:
        raise ValueFault(f"a trajectory is continued, and there is {len(trajectory)} state: give two states or more")
    gap = float(np.median(np.diff(trajectory.times)))
    states = even_states(trajectory, gap)
    ensure_time_series(states, topology, options)
    other_states = [even_states(companion, gap) for companion in task.trajectories[1:] if len(companion) > 1]
    history = History.of(states, topology.trace, other_states, topology.rides_on(states[-1]))
    table: tuple[BackTestRow, ...] = ()
    notes: tuple[str, ...] = ()
    if options.method == "auto":
        verdict = _tested(task, states, other_states)
        name, method, table, notes = verdict.name, verdict.method, verdict.table, verdict.notes
        drawn = verdict.draws
    else:
        name, method = options.method, continuation.METHODS[options.method]
        transition = gate.drift_ratio(states, topology.trace) > gate.DRIFT
        drawn = name in gate.STOCHASTIC and not (name == "analog" and transition)
    projection = BondProjection.of(topology.bonds, topology.heavy, states)
    forecasts = []
    for replica in range(options.replicas):
        task.check()
        task.report(gate.TESTED + (1.0 - gate.TESTED) * replica / options.replicas, "generating")
        rng = np.random.default_rng([options.seed, replica]) if drawn else None
        ahead = method(history, options.frames, rng)
        forecasts.append(ahead if name in ("hold", "bootstrap") else projection(ahead))
        task.check()
        task.report.frames(forecasts[-1].astype(np.float32))
    times = trajectory.times[-1] + gap * np.arange(1, options.frames + 1)
    if options.replicas > 1 and not drawn:
        notes = (*notes, f"{name} draws no random numbers: all {options.replicas} replicas are the same")
    return Generated(np.concatenate(forecasts).astype(np.float32), np.tile(times, options.replicas), name, table, notes)


def _tested(task: GenerationTask, states: States, other_states: Sequence[States]) -> gate.Verdict:
    """Return the verdict of the gate on the methods, tested on the trace. Raises ValueFault for too many frames."""
    trace = task.topology.trace
    _ensure_tested(task.options.frames, [len(states), *map(len, other_states)])
    task.report(0.0, "testing methods")
    of_trace = History.of(states[:, trace], np.arange(len(trace)), [x[:, trace] for x in other_states])
    return gate.choose_continuation(
        of_trace,
        task.options.frames,
        task.options.seed,
        task.check,
        lambda fraction: task.report(gate.TESTED * fraction, "testing methods"),
        task.options.replicas,
    )


def even_states(trajectory: Trajectory, gap: float) -> States:
    """Return the states f8[S,A,3] at even times, on straight lines between them where their times are uneven."""
    x, times = np.asarray(trajectory.coordinates, np.float64), trajectory.times
    if np.abs(np.diff(times) - gap).max() <= UNEVEN * gap:
        return x
    even_times = np.arange(times[-1], times[0] - UNEVEN * gap, -gap)[::-1]
    after = np.clip(np.searchsorted(times, even_times), 1, len(times) - 1)
    fraction = ((even_times - times[after - 1]) / (times[after] - times[after - 1]))[:, None, None]
    return np.asarray((1.0 - fraction) * x[after - 1] + fraction * x[after])


def ensure_time_series(states: States, topology: Topology, options: GenerateOptions) -> None:
    """Raise ValueFault where the states do not follow each other in time."""
    if options.ordered:
        return
    memory = gate.memory(states, topology.trace)
    if options.ordered is False or memory < gate.UNORDERED:
        because = (
            "ordered=0 says so"
            if options.ordered is False
            else f"the autocorrelation from state to state is {memory:.2f}"
        )
        raise ValueFault(
            f"these {len(states)} states are not a time series ({because}), so nothing comes after the last one: "
            f"dsr_sample generates more states like them; ordered=1 continues them all the same"
        )


def _ensure_tested(frames: int, lengths: list[int]) -> None:
    """Raise ValueFault for more frames than methods could be tested for."""
    longest = gate.allowed_horizon(lengths)
    if frames > longest >= 1:
        states = f"{lengths[0]} states" if len(lengths) == 1 else f"trajectories of up to {max(lengths)} states"
        raise ValueFault(
            f"frames={frames}: {states} are enough to test a forecast of {longest} frames at most; "
            f"ask for frames={longest} or fewer, or name a method yourself, as method=straight, which is not tested"
        )
