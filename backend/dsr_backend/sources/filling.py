"""Methods that fill in states between two known ones.

Each takes a `Gap` and fractions of the way, and returns states f8[F,A,3] in Å, in the frame of the first state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.superpose import superpose

from ..motion import statistics
from ..motion.rigid_parts import MIN_ANGLE, RigidPartInterpolation
from ..motion.superpose import superpose_states
from .backmap import Hydrogens, Relaxation
from .carry import carried_along
from .continuation import smoothed_path
from .elastic_path import chain_numbers, elastic_path
from .projection import BondProjection
from .topology import Topology

Floats = NDArray[np.floating[Any]]
States = NDArray[np.float64]

# RMSD in Å between two states from which the elastic path is taken untested. Between AdK's end states (6.8 Å) it is
# nearer to three real paths than straight lines are; on ten stretches of these (2.7 to 7.2 Å) it was worse six times.
FAR = 5.0
# An end state must be as near to another trajectory as this fraction of the distance between the ends.
ANALOG_REACH = 0.5
# Steps of known trajectories that a step of a bridge is drawn from, the nearest by conformation.
BRIDGE_NEIGHBORS = 20
BRIDGE_ROUNDS = 4
# States that a bridge draws from at most.
BRIDGE_STATES = 2_000


@dataclass(frozen=True, eq=False)
class Gap:
    """Two known states, f8[A,3] in Å, the second superposed on the first; others: further trajectories f8[T,A,3]."""

    first: NDArray[np.float64]
    last: NDArray[np.float64]
    topology: Topology
    others: tuple[States, ...] = ()

    @classmethod
    def of(cls, first: Floats, last: Floats, topology: Topology, others: Sequence[Floats] = ()) -> Gap:
        """Return the gap between two states f[A,3] (Å) in any pose."""
        start = np.asarray(first, np.float64)
        end = superpose_states(np.asarray(last, np.float64)[None], start, topology.trace)[0]
        return cls(start, end, topology, tuple(np.asarray(coordinates, np.float64) for coordinates in others))

    @property
    def rmsd(self) -> float:
        """RMSD in Å between the two states, of the trace."""
        trace = self.topology.trace
        return float(statistics.rmsd_to(self.last[trace][None], self.first[trace])[0])


def hold(gap: Gap, fractions: Floats) -> States:
    """Repeat the nearer state."""
    return np.where(np.asarray(fractions)[:, None, None] > 0.5, gap.last, gap.first)


def straight(gap: Gap, fractions: Floats) -> States:
    """Move all atoms on straight lines; parts that turn by more than 60° as rigid bodies."""
    weights = np.asarray(fractions, np.float64)[:, None, None]
    path = (1.0 - weights) * gap.first + weights * gap.last
    turning = RigidPartInterpolation.between(gap.first.astype(np.float32), gap.last.astype(np.float32))
    if turning is not None:
        path = path + np.stack([turning.offset(float(fraction)) for fraction in fractions])
    return np.asarray(path)


def elastic(gap: Gap, fractions: Floats, check: Callable[[], None] = lambda: None) -> States:
    """Pull the trace out of the first state against its elastic network, and carry the residues along."""
    trace = gap.topology.trace
    number = chain_numbers(len(gap.first), gap.topology.chain_next, trace)
    first, last = gap.first[trace], superpose_states(gap.last[trace][None], gap.first[trace])[0]
    return carried(gap, elastic_path(first, last, number, fractions, check), fractions)


def carried(gap: Gap, path: Floats, fractions: Floats) -> States:
    """Return all atoms f8[F,A,3] along a path f[F,K,3] (Å) of the trace.

    Each residue moves rigidly with the trace atoms around it from both end states, whose places are mixed by the
    fraction; the trace itself lies on the path.
    """
    trace = gap.topology.trace
    rides_on = gap.topology.rides_on(gap.first)
    weights = np.asarray(fractions, np.float64)[:, None, None]
    first, last = (carried_along(end, trace, rides_on, path) for end in (gap.first, gap.last))
    placed = (1.0 - weights) * first + weights * last
    placed[:, trace] = path
    return np.asarray(placed)


def analog(gap: Gap, fractions: Floats) -> States | None:
    """Follow other trajectories between their states nearest to the ends; None where none comes near to both.

    The difference of the ends from the other trajectory is added, mixed by the fraction.
    """
    trace = gap.topology.trace
    paths, weights = [], []
    for trajectory in gap.others:
        path = smoothed_path(trajectory, trace)
        distances = [statistics.rmsd_to(path[:, trace], end[trace]) for end in (gap.first, gap.last)]
        begin, end = (int(distance.argmin()) for distance in distances)
        nearness = [float(distance.min()) for distance in distances]
        if begin == end or max(nearness) > ANALOG_REACH * gap.rmsd:
            continue
        rotation, translation = superpose(path[begin][trace], gap.first[trace])
        walk = path[begin : end + 1] if begin < end else path[end : begin + 1][::-1]
        walk = superpose_states(walk, path[begin], trace) @ rotation.T + translation
        at = np.asarray(fractions, np.float64) * (len(walk) - 1)
        low = np.minimum(at.astype(int), len(walk) - 2)
        between = (at - low)[:, None, None]
        along = (1.0 - between) * walk[low] + between * walk[low + 1]
        fraction = np.asarray(fractions, np.float64)[:, None, None]
        paths.append(along + (1.0 - fraction) * (gap.first - walk[0]) + fraction * (gap.last - walk[-1]))
        weights.append(1.0 / max(sum(nearness), 1e-6))
    if not paths:
        return None
    return np.asarray(np.einsum("n,nfai->fai", np.array(weights) / sum(weights), np.stack(paths)))


@dataclass(frozen=True, eq=False)
class StepLibrary:
    """Steps of known trajectories: displacements f8[N,A,3] (Å) of consecutive states, in local frames of the first.

    states: f8[N,K,3], the trace of the states that the steps start from. size: mean RMSD of the steps of the trace, Å.
    """

    steps: NDArray[np.float32]
    states: NDArray[np.float64]
    size: float

    @classmethod
    def of(cls, trajectories: Sequence[Floats], topology: Topology) -> StepLibrary | None:
        """Return the steps of trajectories f[T,A,3] (Å), of at most 2000 states; None where there are fewer than 3."""
        starts, ends = [], []
        for states in trajectories:
            x = np.asarray(states, np.float64)
            starts.append(x[:-1])
            ends.append(x[1:])
        if sum(map(len, starts)) < 3:
            return None
        first = statistics.thinned(np.concatenate(starts), BRIDGE_STATES)
        last = statistics.thinned(np.concatenate(ends), BRIDGE_STATES)
        trace = topology.trace
        moved = np.stack([superpose_states(b[None], a, trace)[0] for a, b in zip(first, last, strict=True)])
        local = np.einsum("saji,saj->sai", topology.frames(first), moved - first)
        size = float(statistics.rmsd_to(last[:, trace], first[:, trace]).mean())
        return cls(local.astype(np.float32), np.asarray(first[:, trace]), size)

    def draw(self, state: Floats, topology: Topology, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return a step f8[A,3] (Å) from a state f[A,3]: that of one of the nearest states, forward or backward."""
        distance = statistics.rmsd_to(self.states, np.asarray(state)[topology.trace])
        nearest = np.argsort(distance)[:BRIDGE_NEIGHBORS]
        step = self.steps[rng.choice(nearest)] * rng.choice([-1.0, 1.0])
        return np.asarray(np.einsum("aij,aj->ai", topology.frames(np.asarray(state)[None])[0], step))


def bridge(
    gap: Gap,
    mean: States,
    library: StepLibrary,
    projection: BondProjection,
    rng: np.random.Generator,
    step: float,
) -> States:
    """Return a path with fluctuations about a mean path f8[F,A,3]: it meets both ends, and its steps have a given size.

    A random walk of steps from the library is pinned to the mean path at both ends (a Brownian bridge), and projected
    onto the known bond lengths. step: mean RMSD of its steps in Å; the amplitude is found in a few rounds.
    """
    trace = gap.topology.trace
    amplitude, best = 1.0, mean
    least = np.inf
    seed = int(rng.integers(2**31))
    for _ in range(BRIDGE_ROUNDS):
        path = _walk(gap, mean, library, projection, np.random.default_rng(seed), amplitude)
        full_path = np.concatenate([gap.first[None], path, gap.last[None]])
        size = statistics.step_rmsd(full_path[:, trace])
        if abs(size - step) < least:
            best, least = path, abs(size - step)
        amplitude *= float(np.clip(step / max(size, 1e-6), 0.3, 3.0))
    return best


def _walk(
    gap: Gap,
    mean: States,
    library: StepLibrary,
    projection: BondProjection,
    rng: np.random.Generator,
    amplitude: float,
) -> States:
    """Return one bridge: at each state the way to the end that is left is shared among the steps that are left."""
    current, states = gap.first, []
    count = len(mean)
    ends = np.concatenate([gap.first[None], mean, gap.last[None]])
    for k in range(count):
        left = count - k
        # Along the mean path, and back to it over the steps that are left.
        drift = ends[k + 1] - ends[k] - (current - ends[k]) / (left + 1)
        noise = amplitude * np.sqrt(left / (left + 1.0)) * library.draw(current, gap.topology, rng)
        current = projection((current + drift + noise)[None])[0]
        states.append(current)
    return np.stack(states)


class ClashRemoval:
    """Pushes apart the heavy atoms of filled states that clash: a side chain halfway may lie in another one."""

    def __init__(self, molecule: Molecule, topology: Topology, states: Floats) -> None:
        """states: known ones f[S,A,3] (Å), whose bond lengths tell which bonds turn."""
        bonds, known = topology.bonds, np.asarray(states, np.float64)
        self._relaxation = Relaxation(
            molecule.elements, bonds, known[[0, -1]], topology.heavy, topology.trace, keep_contacts=True
        )
        self._hydrogens = Hydrogens(topology.heavy, bonds)

    def __call__(self, path: States, gap: Gap, fractions: Floats, check: Callable[[], None] = lambda: None) -> States:
        """Return a path f8[F,A,3] (Å) without clashes, as it is where it has none. The trace stays where it is.

        check: called for each state, may raise.
        """
        ends = np.stack([gap.first, gap.last])
        relaxation = self._relaxation.of(ends)
        if not any(relaxation.clashes(state) for state in path):
            return path
        states = []
        for state, fraction in zip(path, fractions, strict=True):
            check()
            nearer = np.full(len(state), int(fraction > 0.5))
            states.append(self._hydrogens.placed(relaxation.relaxed(state, nearer), ends, nearer))
        return np.stack(states)


def in_scene(path: States, gap: Gap, last: Floats, fractions: Floats) -> States:
    """Return a path f8[F,A,3] in the frame of the first state in the scene, where the last one is at `last` f[A,3].

    Each state is put onto straight lines of the trace in the scene. A molecule that turns by more than 60° turns about
    one axis at constant speed.
    """
    trace = gap.topology.trace
    end = np.asarray(last, np.float64)
    rotation, _ = superpose(gap.last[trace], end[trace])
    turn = Rotation.from_matrix(rotation).as_rotvec()
    placed = []
    for state, fraction in zip(path, fractions, strict=True):
        straight = (1.0 - fraction) * gap.first[trace] + fraction * end[trace]
        if np.linalg.norm(turn) > MIN_ANGLE:
            centred = state[trace] - state[trace].mean(0)
            straight = centred @ Rotation.from_rotvec(fraction * turn).as_matrix().T + straight.mean(0)
        matrix, shift = superpose(state[trace], straight)
        placed.append(state @ matrix.T + shift)
    return np.stack(placed)
