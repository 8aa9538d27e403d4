"""States between two others: ends, paths, fluctuations."""

import numpy as np
import pytest
from dsr_backend.motion import statistics
from dsr_backend.motion.superpose import superpose_states
from dsr_backend.sources import filling
from dsr_backend.sources.backmap import Relaxation
from dsr_backend.sources.elastic_path import elastic_path
from dsr_backend.sources.projection import BondProjection
from dsr_backend.sources.topology import Topology
from scipy.spatial.transform import Rotation

from pymol_dsr.shared.molecule import Molecule
from support.molecules import backbone_molecule, bent_helix, helix

MOLECULE = backbone_molecule(10)
TOPOLOGY = Topology.of(MOLECULE)
FIRST = helix(10)
FRACTIONS = np.arange(1, 10) / 10


def bent(angle):
    return bent_helix(10, angle)


LAST = bent(0.8)


def moved(state):
    return state @ Rotation.from_rotvec([0.3, -0.2, 0.9]).as_matrix().T + np.array([5.0, -3.0, 2.0])


@pytest.mark.parametrize("method", [filling.straight, filling.elastic])
def test_a_path_begins_and_ends_at_the_states_and_advances(method):
    gap = filling.Gap.of(FIRST, moved(LAST), TOPOLOGY)
    path = method(gap, np.concatenate([[0.0], FRACTIONS, [1.0]]))
    assert path[0] == pytest.approx(gap.first, abs=1e-6) and path[-1] == pytest.approx(gap.last, abs=1e-3)
    remaining = statistics.rmsd_to(path, gap.last)
    assert (np.diff(remaining) < 0).all()


def test_a_path_in_the_scene_ends_at_the_pose_of_the_last_state():
    gap = filling.Gap.of(FIRST, moved(LAST), TOPOLOGY)
    path = filling.in_scene(filling.straight(gap, np.array([1.0])), gap, moved(LAST), np.array([1.0]))
    assert path[0] == pytest.approx(moved(LAST), abs=1e-6)


def test_the_pulled_path_moves_what_hangs_on_few_contacts_first():
    # Two rods lie beside the middle one; one of them is held by contacts, the other is not.
    rod = np.stack([np.zeros(12), np.zeros(12), 3.8 * np.arange(12)], 1)
    held, free = rod + np.array([5.0, 0.0, 0.0]), rod + np.array([0.0, 12.0, 0.0])
    first = np.concatenate([rod, held, free])
    last = first.copy()
    last[12:24, 0] += 6.0
    last[24:, 1] += 6.0
    number = np.concatenate([np.arange(12), 1000 + np.arange(12), 2000 + np.arange(12)])
    last = superpose_states(last[None], first)[0]
    middle = elastic_path(first, last, number, np.array([0.5]))[0]
    progress = [
        np.linalg.norm(middle[segment].mean(0) - middle[:12].mean(0) - (first[segment].mean(0) - first[:12].mean(0)))
        for segment in (slice(12, 24), slice(24, 36))
    ]
    assert progress[1] > 1.3 * progress[0]


def test_carried_residues_keep_their_shape_where_the_trace_turns_as_a_body():
    turn = Rotation.from_rotvec([0.0, 0.7, 0.0]).as_matrix()
    turned = FIRST @ turn.T
    gap = filling.Gap(FIRST, FIRST.copy(), TOPOLOGY)
    assert filling.carried(gap, turned[TOPOLOGY.trace][None], np.array([0.3]))[0] == pytest.approx(turned, abs=1e-6)


def test_analogs_follow_another_trajectory_backward_too_and_need_one_that_is_near():
    angles = 0.8 * np.linspace(0, 1, 41) ** 2
    other_path = np.stack([moved(bent(angle)) for angle in angles])
    gap = filling.Gap.of(FIRST, LAST, TOPOLOGY, [other_path])
    truth = np.stack([bent(angle) for angle in 0.8 * FRACTIONS**2])
    path = filling.analog(gap, FRACTIONS)
    assert path is not None
    assert (
        statistics.rmsd_to(path, truth).max() < 0.5 * statistics.rmsd_to(filling.straight(gap, FRACTIONS), truth).max()
    )
    backward = filling.Gap.of(FIRST, LAST, TOPOLOGY, [other_path[::-1]])
    assert filling.analog(backward, FRACTIONS) == pytest.approx(path, abs=0.2)
    far = filling.Gap.of(FIRST, LAST, TOPOLOGY, [other_path + 4.0 * np.random.default_rng(0).normal(size=(1, 30, 3))])
    assert filling.analog(far, FRACTIONS) is None


@pytest.mark.system
def test_a_bridge_meets_its_ends_with_steps_of_the_known_size():
    rng = np.random.default_rng(4)
    projection = BondProjection.of(TOPOLOGY.bonds, TOPOLOGY.heavy, np.stack([FIRST, LAST]))
    walk = [FIRST]
    for _ in range(200):
        walk.append(projection((0.97 * (walk[-1] - FIRST) + FIRST + 0.25 * rng.normal(size=FIRST.shape))[None])[0])
    library = filling.StepLibrary.of([np.stack(walk)], TOPOLOGY)
    assert library is not None
    gap = filling.Gap.of(FIRST, LAST, TOPOLOGY)
    path = filling.bridge(gap, filling.straight(gap, FRACTIONS), library, projection, rng, library.size)
    full_path = np.concatenate([gap.first[None], path, gap.last[None]])
    steps = statistics.rmsd_to(full_path[1:, TOPOLOGY.trace], full_path[:-1, TOPOLOGY.trace])
    assert steps.mean() == pytest.approx(library.size, rel=0.15)
    # The last step is one among others: the end is met without a jump.
    assert steps[-1] < 2.0 * library.size
    lengths = statistics.bond_lengths(np.stack([FIRST, LAST]), TOPOLOGY.bonds).mean(0)
    assert statistics.broken_bonds(path, TOPOLOGY.bonds, lengths) < 0.02


def meeting_side_chains() -> tuple[Molecule, np.ndarray, np.ndarray]:
    """Two strands side by side, in two states: a side chain of each moves to where that of the other was."""
    count = 6
    trace = np.stack([np.zeros(count), np.zeros(count), 3.8 * np.arange(count)], 1)
    strands = np.concatenate([trace, trace + np.array([6.0, 0.0, 0.0])])
    tips = np.array([[2.0, 1.6, 9.5], [4.0, -1.6, 9.5]])
    first, last = (np.concatenate([strands, tips * np.array([1.0, side, 1.0])]) for side in (1.0, -1.0))
    molecule = Molecule(
        ("CA",) * (2 * count) + ("CB", "CB"),
        ("ALA",) * (2 * count + 2),
        (*map(str, range(1, 2 * count + 1)), "3", "9"),
        ("A",) * count + ("B",) * count + ("A", "B"),
        ("C",) * (2 * count + 2),
        np.array([[2, 12], [8, 13]], np.int32),
        np.zeros(2 * count + 2, bool),
    )
    return molecule, first, last


def test_side_chains_that_meet_halfway_are_pushed_apart_and_the_trace_stays():
    molecule, first, last = meeting_side_chains()
    gap = filling.Gap.of(first, last, Topology.of(molecule))
    half = np.array([0.5])
    path = filling.straight(gap, half)
    without_clashes = filling.ClashRemoval(molecule, gap.topology, np.stack([first, last]))
    clear = without_clashes(path, gap, half)
    distances = [np.linalg.norm(states[0, 12] - states[0, 13]) for states in (path, clear)]
    assert distances[0] < 2.4 < distances[1]
    trace = gap.topology.trace
    assert clear[0, trace] == pytest.approx(path[0, trace], abs=1e-9)
    touching = filling.Gap.of(path[0], path[0], gap.topology)
    assert without_clashes(path, touching, half) is path, "as near as in a known state is no clash"


def test_atoms_that_are_near_in_a_known_state_stay_near_where_contacts_are_kept():
    """A metal and its ligands are nearer to each other than atoms that are not bonded."""
    molecule, first, last = meeting_side_chains()
    topology, known = Topology.of(molecule), 0.5 * (first + last)
    distances = []
    for keep in (True, False):
        relaxation = Relaxation(
            molecule.elements, topology.bonds, known[None], topology.heavy, topology.trace, keep_contacts=keep
        )
        atoms = relaxation.relaxed(known, np.zeros(len(known), np.int64))
        distances.append(np.linalg.norm(atoms[-1] - atoms[-2]))
    assert distances[0] == pytest.approx(np.linalg.norm(known[-1] - known[-2]), abs=0.05) and distances[1] > 2.4
