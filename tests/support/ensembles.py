"""States of a short chain of atoms. Each call draws by its own seed, so that a test sees the same numbers alone."""

import numpy as np
from scipy.spatial.transform import Rotation

ATOMS = 12
CHAIN = np.cumsum(np.random.default_rng(7).normal(size=(ATOMS, 3)), 0) * 2.0


def ensemble(count=40, spread=0.4, seed=0):
    """States f8[S,A,3] in Å around the chain, with noise of `spread` Å along each axis."""
    return CHAIN + spread * np.random.default_rng(seed).normal(size=(count, ATOMS, 3))


def tumbled(states, seed=0):
    """The same states, each turned and shifted at random."""
    turns = Rotation.random(len(states), random_state=seed).as_matrix()
    shifts = 5.0 * np.random.default_rng(seed).normal(size=(len(states), 1, 3))
    return np.einsum("sai,sji->saj", states, turns) + shifts
