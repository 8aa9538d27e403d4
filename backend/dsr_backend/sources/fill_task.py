"""Fills in states between each two states of a trajectory, by the method that does best in a test or the user names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.messages import BackTestRow
from pymol_dsr.shared.spacing import evenly_spaced
from pymol_dsr.shared.values import ValueFault

from ..motion import statistics
from . import energy_paths, filling, gate
from .continuation import States
from .contract import Check, Generated, GenerationTask, Trajectory
from .projection import BondProjection
from .topology import Topology

# Å. Nearer, two states are the same.
SAME_STATE = 1e-3
# Known states in the middle of gaps that filling methods are tested at.
TESTS = 6
# States below which two far states have no others to test with.
FEW_STATES = 5


def fill_trajectory(task: GenerationTask) -> Generated:
    """Return states between each two states of the first trajectory."""
    trajectory, options = task.first_trajectory, task.options
    ensure_two_states(trajectory)
    states = np.asarray(trajectory.coordinates, np.float64)
    # One that holds the first state is the same trajectory: it is known for its steps, not for the way.
    other_states = [
        np.asarray(companion.coordinates, np.float64)
        for companion in task.trajectories[1:]
        if len(companion) > 1
        and np.abs(companion.coordinates - trajectory.coordinates[0]).max((1, 2)).min() > SAME_STATE
    ]
    name = options.method
    table: tuple[BackTestRow, ...] = ()
    notes: tuple[str, ...] = ()
    if name == "auto":
        task.report(0.0, "testing methods")
        name, table, notes = choose_filling(states, trajectory.times, other_states, task.topology, task.check)
    filler = _GapFiller(name, task, other_states)
    fractions = fractions_between(options.frames)
    paths = []
    tested_fraction = gate.TESTED if options.method == "auto" else 0.0
    for k in range(len(states) - 1):
        task.check()

        def filled(fraction: float, text: str = "", k: int = k) -> None:
            task.report(
                tested_fraction + (1.0 - tested_fraction) * (k + fraction) / (len(states) - 1), "filling in", text
            )

        filled(0.0)
        paths.append(filler.fill(states[k], states[k + 1], fractions, filled))
        task.check()
        task.report.frames(paths[-1].astype(np.float32))
    return Generated(
        np.concatenate(paths).astype(np.float32),
        times_between(trajectory, fractions),
        name,
        table,
        (*notes, *filler.notes()),
    )


class _GapFiller:
    """Fills the gaps between known states by one method, with drawn fluctuations where these are asked for."""

    def __init__(self, method: str, task: GenerationTask, other_states: Sequence[States]) -> None:
        """other_states: f8[S,A,3] (Å) of the trajectories that paths may follow.

        Raises ValueFault for what the method needs and is not there.
        """
        molecule, topology, options = task.molecule, task.topology, task.options
        states = np.asarray(task.first_trajectory.coordinates, np.float64)
        self._method, self._topology, self._other_states, self._check = method, topology, other_states, task.check
        known = np.concatenate([states, *other_states])
        self._projection = BondProjection.of(topology.bonds, topology.heavy, known)
        self._without_clashes = filling.ClashRemoval(molecule, topology, states)
        self._by_energy = None
        if method in energy_paths.METHODS:
            self._by_energy = energy_paths.EnergyPaths(
                method, molecule, topology, self._projection, options.seed, task.check
            )
        self._library, self._step = None, 0.0
        if options.sample:
            self._library, self._step = _library(task.first_trajectory, task.trajectories[1:], topology, options.frames)
        self._rng = np.random.default_rng(options.seed)

    def fill(
        self, first: States, last: States, fractions: NDArray[np.float64], progress: Callable[[float, str], None]
    ) -> States:
        """Return states f8[F,A,3] (Å) at fractions f8[F] of the way between two states f8[A,3] (Å)."""
        gap = filling.Gap.of(first, last, self._topology, self._other_states)
        if self._by_energy is not None:
            path = self._by_energy.path(gap, fractions, progress)
        else:
            path = self._projection(_fill(self._method, gap, fractions, self._check))
            if self._method != "hold":
                path = self._without_clashes(path, gap, fractions, self._check)
        if self._library is not None:
            path = filling.bridge(gap, path, self._library, self._projection, self._rng, self._step)
        if self._method == "hold":
            return np.where(fractions[:, None, None] > 0.5, last, first)
        return filling.in_scene(path, gap, last, fractions)

    def notes(self) -> tuple[str, ...]:
        """Return lines for the user about the paths."""
        notes: tuple[str, ...] = ()
        if self._library is not None:
            notes = (f"fluctuations: steps of {self._step:.2f} A, drawn from the known ones",)
        return notes if self._by_energy is None else (*notes, *self._by_energy.notes())


def fractions_between(frames: int) -> NDArray[np.float64]:
    """Return the fractions f8[frames] of the way at which states are filled in."""
    return np.asarray(np.arange(1, frames + 1) / (frames + 1))


def times_between(trajectory: Trajectory, fractions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the times f8[(S-1)*F] at fractions f8[F] of each gap of a trajectory, gap by gap."""
    return np.asarray((trajectory.times[:-1, None] + np.diff(trajectory.times)[:, None] * fractions).ravel())


def ensure_two_states(trajectory: Trajectory) -> None:
    """Raise ValueFault for a trajectory without a gap to fill in."""
    if len(trajectory) < 2:
        raise ValueFault(f"states are filled in between two, and there is {len(trajectory)}: give two states or more")


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
    if len(states) < FEW_STATES:
        gap = filling.Gap.of(states[0], states[1], topology, other_states)
        reached = bool(other_states) and filling.analog(gap, np.array([0.5])) is not None
        name = "analog" if reached else "elastic" if far else "straight"
        note = f"{len(states)} states leave none to hold out: {name} was taken untested"
        return name, (BackTestRow(name, {}, chosen=True, note="untested: too few states"),), (note,)
    middles = evenly_spaced(range(1, len(states) - 1), TESTS)
    errors: dict[str, list[float]] = {name: [] for name in names}
    for k in middles:
        gap = filling.Gap.of(states[k - 1], states[k + 1], topology, other_states)
        fraction = np.array([(times[k] - times[k - 1]) / (times[k + 1] - times[k - 1])])
        for name in names:
            check()
            path = _fill(name, gap, fraction, check)[:, topology.trace]
            errors[name].append(float(statistics.rmsd_to(path, states[k][topology.trace])[0]))
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
