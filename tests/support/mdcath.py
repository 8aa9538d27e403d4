"""A small file in mdCATH's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

h5py: Any = pytest.importorskip("h5py")

RESIDUES = ("GLY", "HSD", "ALA", "VAL", "LEU")
ATOMS = ("N", "CA", "HA", "C")
FRAMES, REPLICAS = 60, 2


def pdb_line(number: int, name: str, residue: str, residue_number: int, xyz) -> str:
    x, y, z = xyz
    return (
        f"ATOM  {number:5d}  {name:<3s} {residue:<4s}0{residue_number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
        f"  1.00  0.00      0    {name[0]:>2s}"
    )


def write_domain(folder: Path, name: str, residues=RESIDUES, forces=True) -> np.ndarray:
    """Write a file as mdCATH has it, and return the coordinates of its Cα [F,N,3] of all replicas at 320 K."""
    rng = np.random.default_rng(0)
    start = np.cumsum(np.tile([3.8, 0.0, 0.0], (len(residues), 1)), 0)[:, None] + np.array(
        [[-1.2, 0.8, 0.0], [0.0, 0.0, 0.0], [0.0, -1.0, 0.3], [1.2, 0.8, 0.0]]
    )
    lines = [
        pdb_line(1 + 4 * r + k, atom, residue, 1 + r, start[r, k])
        for r, residue in enumerate(residues)
        for k, atom in enumerate(ATOMS)
    ]
    traces = []
    with h5py.File(folder / f"mdcath_dataset_{name}.h5", "w") as file:
        file.attrs["layout"] = "mdcath-only-protein-v1.0"
        domain = file.create_group(name)
        domain.create_dataset("pdbProteinAtoms", data="\n".join(lines).encode())
        domain.create_dataset("z", data=np.tile([7, 6, 1, 6], len(residues)))
        for temperature in ("320", "450"):
            for replica in range(REPLICAS):
                group = domain.create_group(f"{temperature}/{replica}")
                xyz = start.reshape(1, -1, 3) + rng.normal(0, 0.05, (FRAMES, 4 * len(residues), 3))
                group.create_dataset("coords", data=xyz.astype(np.float32))
                group["coords"].attrs["unit"] = "Angstrom"
                if forces:
                    group.create_dataset("forces", data=rng.normal(0, 10, xyz.shape).astype(np.float32))
                if temperature == "320":
                    traces.append(xyz[:, 1::4])
    return np.concatenate(traces).astype(np.float32)
