"""Small molecules for tests of trajectory sources."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from pymol_dsr.shared.molecule import Molecule


def backbone_molecule(residues: int) -> Molecule:
    """The atoms N, CA and C of a chain of alanines, bonded in a row."""
    count = 3 * residues
    return Molecule(
        names=("N", "CA", "C") * residues,
        residue_names=("ALA",) * count,
        residue_numbers=tuple(str(1 + k // 3) for k in range(count)),
        chains=("A",) * count,
        elements=("N", "C", "C") * residues,
        bonds=np.stack([np.arange(count - 1), np.arange(1, count)], 1).astype(np.int32),
        hetatm=np.zeros(count, bool),
    )


def helix(residues: int) -> np.ndarray:
    """Atoms f8[A,3] in Å of such a chain as a regular helix, with bonds of 1.5 Å."""
    angle = np.arange(3 * residues) * 0.6
    radius, rise = 2.2, 0.72
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), rise * np.arange(3 * residues)], 1)


def bent_helix(residues: int, angle: float) -> np.ndarray:
    """That helix with its second half turned by an angle (radians) about an axis across it: bonds stay as they are."""
    state, middle = helix(residues), 3 * residues // 2
    turn = Rotation.from_rotvec([angle, 0.0, 0.0]).as_matrix()
    state[middle:] = (state[middle:] - state[middle]) @ turn.T + state[middle]
    return state
