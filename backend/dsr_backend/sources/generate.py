"""Generates states of a molecule from its other states: continues them, fills in between them, samples more of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.messages import BackTestRow
from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.source_options import GenerateOptions
from pymol_dsr.shared.values import ValueFault

from ..results import ensemble_metrics as metrics
from . import continuation, energy_paths, filling, gate, sampling
from .continuation import History, States
from .contract import Check, Generated, Report, Trajectory
from .generator.learn import HELPS, progress_text, rmsd_steps
from .generator.model_file import load
from .generator.training import Training
from .net import OTHER_STEPS, Net, even_runs
from .projection import BondProjection
from .refine import minimised
from .topology import Topology

CONTINUE_METHODS = ("auto", *continuation.METHODS, "net")
FILL_METHODS = ("auto", "hold", "straight", "elastic", "analog", *energy_paths.METHODS, "net")
SAMPLE_METHODS = ("auto", *sampling.SAMPLERS, "net")
# Fraction by which gaps between times may differ in an even series.
UNEVEN = 0.01
# The longest work comes first; what is left is the projection.
TESTED = 0.5
TRAINED = 0.8
# Å. Nearer, two states are the same.
SAME_STATE = 1e-3
# States from which a trajectory holds analogs of its own last state.
OWN_ANALOGS = 100
# Known states in the middle of gaps that filling methods are tested at.
FILL_TESTS = 6
# States below which two far states have no others to test with.
FILL_STATES = 5

Task = Callable[[Topology, Sequence[Trajectory], GenerateOptions, Report, Check], Generated]


def generate(
    molecule: Molecule, trajectories: Sequence[Trajectory], options: GenerateOptions, report: Report, check: Check
) -> Generated:
    """Continue, fill in or sample the first trajectory; the others are of the same molecule.

    Raises ValueFault for what can't be generated, and Cancelled.
    """
    tasks: dict[str, tuple[Task, tuple[str, ...]]] = {
        "continue": (continue_states, CONTINUE_METHODS),
        "fill": (partial(fill_states, molecule), FILL_METHODS),
    }
    task, methods = tasks.get(options.task, (sample_states, SAMPLE_METHODS))
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
    topology = Topology.of(molecule)
    if options.method == "net":
        generated = generate_by_net(molecule, topology, trajectories, options, report, check)
    else:
        generated = task(topology, trajectories, options, report, check)
    if not options.refine:
        return generated
    report(1.0, "refining")
    refined = minimised(molecule, generated.coordinates.astype(np.float64), check).astype(np.float32)
    return replace(
        generated, coordinates=refined, notes=(*generated.notes, "the energy of each state was minimised (refine=1)")
    )


# Continuing --------------------------------------------------------------------------------------------------


def continue_states(
    topology: Topology, trajectories: Sequence[Trajectory], options: GenerateOptions, report: Report, check: Check
) -> Generated:
    """Return states after the last one."""
    first_trajectory = trajectories[0]
    if len(first_trajectory) < 2:
        raise ValueFault(
            f"a trajectory is continued, and there is {len(first_trajectory)} state: give two states or more"
        )
    gap = float(np.median(np.diff(first_trajectory.times)))
    states = _even(first_trajectory, gap)
    _ensure_time_series(states, topology, options)
    other_states = [_even(trajectory, gap) for trajectory in trajectories[1:] if len(trajectory) > 1]
    history = History.of(states, topology.trace, other_states, topology.rides_on(states[-1]))
    table: tuple[BackTestRow, ...] = ()
    notes: tuple[str, ...] = ()
    if options.method == "auto":
        _ensure_tested(options.frames, [len(states), *map(len, other_states)])
        report(0.0, "testing methods")
        of_trace = History.of(
            states[:, topology.trace], np.arange(len(topology.trace)), [x[:, topology.trace] for x in other_states]
        )
        verdict = gate.choose_continuation(
            of_trace,
            options.frames,
            options.seed,
            check,
            lambda f: report(TESTED * f, "testing methods"),
            options.replicas,
        )
        name, method, table, notes = verdict.name, verdict.method, verdict.table, verdict.notes
        drawn = verdict.draws
    else:
        name, method = options.method, continuation.METHODS[options.method]
        transition = gate.drift_ratio(states, topology.trace) > gate.DRIFT
        drawn = name in gate.STOCHASTIC and not (name == "analog" and transition)
    projection = BondProjection.of(topology.bonds, topology.heavy, states)
    forecasts = []
    for replica in range(options.replicas):
        check()
        report(TESTED + (1.0 - TESTED) * replica / options.replicas, "generating")
        rng = np.random.default_rng([options.seed, replica]) if drawn else None
        ahead = method(history, options.frames, rng)
        forecasts.append(ahead if name in ("hold", "bootstrap") else projection(ahead))
        check()
        report.frames(forecasts[-1].astype(np.float32))
    times = first_trajectory.times[-1] + gap * np.arange(1, options.frames + 1)
    if options.replicas > 1 and not drawn:
        notes = (*notes, f"{name} draws no random numbers: all {options.replicas} replicas are the same")
    return Generated(np.concatenate(forecasts).astype(np.float32), np.tile(times, options.replicas), name, table, notes)


def _even(trajectory: Trajectory, gap: float) -> States:
    """Return the states f8[S,A,3] at even times, on straight lines between them where their times are uneven."""
    x, times = np.asarray(trajectory.coordinates, np.float64), trajectory.times
    if np.abs(np.diff(times) - gap).max() <= UNEVEN * gap:
        return x
    even_times = np.arange(times[-1], times[0] - UNEVEN * gap, -gap)[::-1]
    after = np.clip(np.searchsorted(times, even_times), 1, len(times) - 1)
    fraction = ((even_times - times[after - 1]) / (times[after] - times[after - 1]))[:, None, None]
    return np.asarray((1.0 - fraction) * x[after - 1] + fraction * x[after])


def _ensure_time_series(states: States, topology: Topology, options: GenerateOptions) -> None:
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


# Filling in --------------------------------------------------------------------------------------------------


def fill_states(
    molecule: Molecule,
    topology: Topology,
    trajectories: Sequence[Trajectory],
    options: GenerateOptions,
    report: Report,
    check: Check,
) -> Generated:
    """Return states between each two states of the first trajectory."""
    first_trajectory = trajectories[0]
    _ensure_two_states(first_trajectory)
    states = np.asarray(first_trajectory.coordinates, np.float64)
    # One that holds the first state is the same trajectory: it is known for its steps, not for the way.
    other_states = [
        np.asarray(trajectory.coordinates, np.float64)
        for trajectory in trajectories[1:]
        if len(trajectory) > 1
        and np.abs(trajectory.coordinates - first_trajectory.coordinates[0]).max((1, 2)).min() > SAME_STATE
    ]
    fractions = np.arange(1, options.frames + 1) / (options.frames + 1)
    name = options.method
    table: tuple[BackTestRow, ...] = ()
    notes: tuple[str, ...] = ()
    if name == "auto":
        report(0.0, "testing methods")
        name, table, notes = choose_filling(states, first_trajectory.times, other_states, topology, check)
    known = np.concatenate([states, *other_states])
    projection = BondProjection.of(topology.bonds, topology.heavy, known)
    without_clashes = filling.ClashRemoval(molecule, topology, states)
    by_energy = None
    if name in energy_paths.METHODS:
        by_energy = energy_paths.EnergyPaths(name, molecule, topology, projection, options.seed, check)
    library, step = None, 0.0
    if options.sample:
        library, step = _library(first_trajectory, trajectories[1:], topology, options.frames)
        notes = (*notes, f"fluctuations: steps of {step:.2f} A, drawn from the known ones")
    paths, rng = [], np.random.default_rng(options.seed)
    tested_fraction = TESTED if options.method == "auto" else 0.0
    for k in range(len(states) - 1):
        check()

        def filled(fraction: float, text: str = "", k: int = k) -> None:
            report(tested_fraction + (1.0 - tested_fraction) * (k + fraction) / (len(states) - 1), "filling in", text)

        filled(0.0)
        gap = filling.Gap.of(states[k], states[k + 1], topology, other_states)
        if by_energy is None:
            path = projection(_fill(name, gap, fractions, check))
            if name != "hold":
                path = without_clashes(path, gap, fractions, check)
        else:
            path = by_energy.path(gap, fractions, filled)
        if library is not None:
            path = filling.bridge(gap, path, library, projection, rng, step)
        if name == "hold":
            path = np.where(fractions[:, None, None] > 0.5, states[k + 1], states[k])
        else:
            path = filling.in_scene(path, gap, states[k + 1], fractions)
        paths.append(path)
        check()
        report.frames(paths[-1].astype(np.float32))
    times = (first_trajectory.times[:-1, None] + np.diff(first_trajectory.times)[:, None] * fractions).ravel()
    if by_energy is not None:
        notes = (*notes, *by_energy.notes())
    return Generated(np.concatenate(paths).astype(np.float32), times, name, table, notes)


def _fill(name: str, gap: filling.Gap, fractions: NDArray[np.float64], check: Check) -> States:
    """Return the path of a method; straight lines where no other trajectory comes near to both ends."""
    if name == "hold":
        return filling.hold(gap, fractions)
    if name == "elastic":
        return filling.elastic(gap, fractions, check)
    path = filling.analog(gap, fractions) if name == "analog" else None
    return filling.straight(gap, fractions) if path is None else path


def choose_filling(
    states: States, times: NDArray[np.float64], other_states: Sequence[States], topology: Topology, check: Check
) -> tuple[str, tuple[BackTestRow, ...], tuple[str, ...]]:
    """Return the filling method, the table of its test, and notes.

    Known states in the middle are held out and filled in between their neighbours. From two to four states nothing can
    be held out: other trajectories are followed where they come near to both ends, far states are joined by the elastic
    path, and near ones by straight lines.
    """
    far = max(filling.Gap.of(a, b, topology).rmsd for a, b in itertools.pairwise(states)) > filling.FAR
    names = ["hold", "straight", *(["elastic"] if far else []), *(["analog"] if other_states else [])]
    if len(states) < FILL_STATES:
        gap = filling.Gap.of(states[0], states[1], topology, other_states)
        reached = bool(other_states) and filling.analog(gap, np.array([0.5])) is not None
        name = "analog" if reached else "elastic" if far else "straight"
        note = f"{len(states)} states leave none to hold out: {name} was taken untested"
        return name, (BackTestRow(name, {}, chosen=True, note="untested: too few states"),), (note,)
    middles = np.unique(np.linspace(1, len(states) - 2, FILL_TESTS).round().astype(int))
    errors: dict[str, list[float]] = {name: [] for name in names}
    for k in middles:
        gap = filling.Gap.of(states[k - 1], states[k + 1], topology, other_states)
        fraction = np.array([(times[k] - times[k - 1]) / (times[k + 1] - times[k - 1])])
        for name in names:
            check()
            path = _fill(name, gap, fraction, check)[:, topology.trace]
            errors[name].append(float(metrics.rmsd_to(path, states[k][topology.trace])[0]))
    means = {name: float(np.mean(values)) for name, values in errors.items()}
    chosen = min(means, key=lambda name: means[name] * (1.0 if name == "straight" else 1.0 / gate.REQUIRED_GAIN))
    rows = tuple(
        BackTestRow(
            name,
            {"RMSD (A)": means[name]},
            chosen=name == chosen,
            note=f"{len(middles)} held-out states, gaps twice as wide" if name == chosen else "",
        )
        for name in names
    )
    return chosen, rows, ()


def _library(
    first_trajectory: Trajectory, other_trajectories: Sequence[Trajectory], topology: Topology, frames: int
) -> tuple[filling.StepLibrary, float]:
    """Return the steps that fluctuations are drawn from, and the size in Å that the steps of the path shall have.

    Raises ValueFault where nothing is known about steps.
    """
    sources = [trajectory for trajectory in other_trajectories if len(trajectory) > 2] or (
        [first_trajectory] if len(first_trajectory) > 3 else []
    )
    library = filling.StepLibrary.of([source.coordinates for source in sources], topology)
    if library is None:
        raise ValueFault(
            f"sample=1 draws fluctuations from the steps of known states, and {len(first_trajectory)} states are too "
            f"few: load a trajectory of the same atoms, or leave sample=0"
        )
    known_gap = float(np.median(np.concatenate([np.diff(source.times) for source in sources])))
    wanted_gap = float(np.median(np.diff(first_trajectory.times))) / (frames + 1)
    # A random walk: steps grow as the square root of their time.
    return library, library.size * float(np.sqrt(wanted_gap / known_gap))


# Sampling ----------------------------------------------------------------------------------------------------


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
    report(TESTED, "generating")
    drawn = sampling.sample(name, states, options.frames, np.random.default_rng(options.seed))
    if name != "bootstrap":
        drawn = projection(drawn)
    check()
    report.frames(drawn.astype(np.float32))
    gap = float(np.median(np.diff(first_trajectory.times)))
    return Generated(drawn.astype(np.float32), gap * np.arange(1, options.frames + 1), name, table)


def _ensure_two_states(trajectory: Trajectory) -> None:
    if len(trajectory) < 2:
        raise ValueFault(f"states are filled in between two, and there is {len(trajectory)}: give two states or more")


# The trained net ---------------------------------------------------------------------------------------------


def generate_by_net(
    molecule: Molecule,
    topology: Topology,
    trajectories: Sequence[Trajectory],
    options: GenerateOptions,
    report: Report,
    check: Check,
) -> Generated:
    """Generate states of any task by a net: by one that was learned, or by one that is trained on the trajectories."""
    first_trajectory = trajectories[0]
    if options.task == "continue" and len(first_trajectory) > 2:
        _ensure_time_series(
            _even(first_trajectory, float(np.median(np.diff(first_trajectory.times)))), topology, options
        )
    if options.task == "fill":
        _ensure_two_states(first_trajectory)
    net, stride, lines = (
        _learned_net(options.model, molecule, topology, trajectories, report)
        if options.model
        else _trained_net(molecule, topology, trajectories, options, report, check)
    )
    report(TRAINED if options.model is None else 0.0, "generating")
    count, ratio = options.frames, net.best.ratio
    states = np.asarray(first_trajectory.coordinates, np.float64)
    if options.task == "continue":
        moments = ((first_trajectory.times - first_trajectory.times[-1]) / stride).tolist()
        coordinates = net.continued(states, moments, count, options.replicas, options.seed, check)
        times = np.tile(first_trajectory.times[-1] + stride * np.arange(1, count + 1), options.replicas)
    elif options.task == "fill":
        pairs = list(itertools.pairwise(states))
        coordinates = np.concatenate(
            [net.filled(a, b, count, options.seed + k, check) for k, (a, b) in enumerate(pairs)]
        )
        fractions = np.arange(1, count + 1) / (count + 1)
        times = (first_trajectory.times[:-1, None] + np.diff(first_trajectory.times)[:, None] * fractions).ravel()
    else:
        coordinates = net.sampled(count, states[0], options.seed, check)
        times = stride * np.arange(1, count + 1)
    report.frames(coordinates.astype(np.float32))
    if ratio >= HELPS:
        lines = (*lines, "the net adds nothing to its closed-form baseline here, and other methods do as well")
    row = BackTestRow("net", {"held-out loss / prior": ratio}, chosen=True)
    return Generated(coordinates.astype(np.float32), times, "net", (row,), lines)


def _trained_net(
    molecule: Molecule,
    topology: Topology,
    trajectories: Sequence[Trajectory],
    options: GenerateOptions,
    report: Report,
    check: Check,
) -> tuple[Net, float, tuple[str, ...]]:
    """Return a net that is trained on the trajectories, the gap between its states, and lines for the user."""
    learned = trajectories[1:] if options.task == "fill" else trajectories
    learned = [trajectory for trajectory in learned if len(trajectory) > 2]
    if not learned:
        raise ValueFault(
            f"method net learns from trajectories, and there is {len(trajectories[0])} state: choose auto, or name a "
            "generator that dsr_learn has made, as model=NAME"
        )
    gap = float(np.median(np.diff(learned[0].times)))
    runs = [run for trajectory in learned for run in even_runs(trajectory, gap)]

    def trained_so_far(fraction: float, training: Training) -> None:
        report(TRAINED * fraction, "training", progress_text(training))

    net = Net.train(molecule, topology, runs, options.seed, check, trained_so_far)
    last = net.curve[-1]
    line = f"trained {last.steps} steps in {last.seconds:.0f} s: {net.best.ratio:.3f} of the baseline's held-out error"
    return net, gap, (line,)


def _learned_net(
    name: str, molecule: Molecule, topology: Topology, trajectories: Sequence[Trajectory], report: Report
) -> tuple[Net, float, tuple[str, ...]]:
    """Return the net of a model, the gap between its states in the unit of the trajectories, and lines for the user."""
    report(0.0, "reading the model")
    saved = load(name)
    known = np.concatenate([np.asarray(trajectory.coordinates, np.float64) for trajectory in trajectories])
    net, protein = Net.of_model(name, saved, molecule, topology, known)
    spacing = f", {saved.picoseconds:g} ps apart" if saved.picoseconds else ""
    lines = [
        f"model {name}, learned from {protein.steps} steps of {protein.name}{spacing}: {net.best.ratio:.3f} of the "
        "baseline's held-out error"
    ]
    first_trajectory = trajectories[0]
    if len(first_trajectory) > 2:
        moved = float(rmsd_steps(first_trajectory.coordinates[:, net.backbone[:, 1]]).mean())
        even = np.allclose(np.diff(first_trajectory.times), saved.stride, rtol=0.01)
        if even and not 1.0 / OTHER_STEPS < moved / max(protein.step, 1e-6) < OTHER_STEPS:
            lines.append(
                f"warning: from state to state the selection moves {moved:.2f} A, and {protein.name} moved "
                f"{protein.step:.2f} A: are its states as far apart in time?"
            )
    return net, saved.stride, tuple(lines)
