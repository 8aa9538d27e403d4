"""The rule by which a step counts as a jump, against a plain evaluation of it on random walks."""

import math

import numpy as np
import pytest
from dsr_backend.motion import stretches
from dsr_backend.motion.stretches import find_jumps
from scipy.spatial.transform import Rotation

from support.shapes import cloud


def rms(offset):
    return math.sqrt((offset**2).sum(1).mean())


def moved(first, second):
    return rms(second - first)


def bent(first, second):
    a, b = first - first.mean(0), second - second.mean(0)
    return rms(a - Rotation.align_vectors(a, b)[0].apply(b))


def ruled(atoms, times):
    """The rule, written out: the indices of the states after a jump."""
    count, jumps = len(atoms), set()
    if count < 6:
        return []
    atoms = atoms.astype(float)
    for distance in (moved, bent) if atoms.shape[1] >= 3 else (moved,):
        steps = [distance(atoms[k], atoms[k + 1]) for k in range(count - 1)]
        for k in range(count - 1):
            if steps[k] <= 1.5 * np.quantile(steps, 0.75):
                continue
            gap = times[k + 1] - times[k]
            neighbours = [j for j in range(k - 4, k + 5) if j != k and 0 <= j < count - 1]
            longest = max(steps[j] * max(1.0, gap / (times[j + 1] - times[j])) for j in neighbours)
            sides = [[i for i in range(k - 3, k + 1) if i >= 0], [i for i in range(k + 1, k + 5) if i < count]]
            across = min(distance(atoms[i], atoms[j]) for i in sides[0] for j in sides[1])
            spread = max(distance(atoms[i], atoms[j]) for side in sides for i in side for j in side if i != j)
            span = max(times[side[-1]] - times[side[0]] for side in sides)
            score = steps[k] / longest * across / spread / max(1.0, gap / span)
            if score > (10.0 if k in (0, count - 2) else 2.0):
                jumps.add(k + 1)
    return sorted(jumps)


def walk(rng, count, atoms):
    """A walk with a few steps that are longer, by about as much as a jump is, at even or uneven times."""
    steps = rng.normal(size=(count, 1, 3)) + 0.3 * rng.normal(size=(count, atoms, 3))
    for k in rng.choice(count, 2, replace=False):
        steps[k] *= rng.choice([3.0, 6.0, 20.0])
    times = np.cumsum(rng.choice([1.0, 1.0, 1.0, 4.0, 25.0], count))
    return (cloud(atoms) + steps.cumsum(0)).astype(np.float32), times


@pytest.mark.parametrize("atoms, rounds", [(1, 400), (2, 100), (4, 60)])
def test_jumps_are_those_of_the_rule(atoms, rounds):
    rng = np.random.default_rng(atoms)
    cuts, places = 0, set()
    for _ in range(rounds):
        count = int(rng.integers(6, 16))
        states, times = walk(rng, count, atoms)
        jumps = find_jumps(states, times)
        assert jumps == ruled(states, times)
        cuts += len(jumps)
        places |= {"first" if k == 1 else "last" if k == count - 1 else "inner" for k in jumps}
    assert cuts > rounds / 10 and "inner" in places
    assert atoms > 1 or places == {"first", "inner", "last"}


def runs(count):
    """One atom that trembles, and does so elsewhere from the third state on."""
    atoms = 0.1 * np.random.default_rng(0).normal(size=(count, 1, 3)).astype(np.float32)
    atoms[3:] += 50.0
    return atoms


def test_six_states_are_enough_to_compare_a_step_with():
    assert [find_jumps(runs(count), np.arange(float(count))) for count in (5, 6)] == [[], [3]]


def test_states_that_rest_beside_a_step_make_it_a_jump():
    atoms = np.zeros((8, 1, 3), np.float32)
    atoms[4:] = 1.0
    assert find_jumps(atoms, np.arange(8.0)) == [4]
    assert find_jumps(np.zeros((8, 1, 3), np.float32), np.arange(8.0)) == []


def test_of_many_atoms_every_so_many_th_is_compared(monkeypatch):
    monkeypatch.setattr(stretches, "MAX_ATOMS", 10)
    rng = np.random.default_rng(0)
    steady = (np.tile(cloud(40), (10, 1, 1)) + 0.1 * rng.normal(size=(10, 40, 3))).astype(np.float32)
    for atom, expected in ((0, [5]), (4, [5]), (1, []), (2, []), (39, [])):
        atoms = steady.copy()
        atoms[5:, atom] += 30.0
        assert find_jumps(atoms, np.arange(10.0)) == expected
