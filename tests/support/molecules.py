"""Small molecules for tests of trajectory sources."""

from __future__ import annotations

from pathlib import Path

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


def write_backbones(path: Path, states: np.ndarray) -> None:
    """Write backbones [S,R,3,3] (Å) of alanines as the states of a PDB file."""
    with open(path, "w") as file:
        for number, state in enumerate(states.reshape(len(states), -1, 3), 1):
            file.write(f"MODEL     {number:4d}\n")
            for k, (x, y, z) in enumerate(state):
                name = ("N", "CA", "C")[k % 3]
                file.write(
                    f"ATOM  {1 + k:5d}  {name:<3s} ALA A{1 + k // 3:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00"
                    f"          {name[0]:>2s}\n"
                )
            file.write("ENDMDL\n")
