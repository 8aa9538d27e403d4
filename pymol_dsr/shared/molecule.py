"""The topology of a molecule, as trajectory sources need it: names, residues, chains, elements, bonds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .values import ValueFault

COLUMNS = ("names", "residue_names", "residue_numbers", "chains", "elements")
"""The texts that each atom has, in the order of the columns of `Molecule.table`."""

HYDROGENS = ("H", "D")
"""Elements that are hydrogen: structures by neutrons have deuterium."""


@dataclass(frozen=True, eq=False)
class Molecule:
    """Topology of A atoms.

    names, residue_names, residue_numbers (with insertion codes, as 52A), chains, elements: one text for each atom.
    bonds: i4[B,2], pairs of atoms from 0. hetatm: bool[A], atoms that are of no polymer. Atoms of one residue have the
    same chain and residue number and follow each other. Raises ValueFault for lengths and indices that do not fit.
    """

    names: tuple[str, ...]
    residue_names: tuple[str, ...]
    residue_numbers: tuple[str, ...]
    chains: tuple[str, ...]
    elements: tuple[str, ...]
    bonds: NDArray[np.int32]
    hetatm: NDArray[np.bool_]

    def __post_init__(self) -> None:
        count = len(self.names)
        for column in COLUMNS:
            if len(getattr(self, column)) != count:
                raise ValueFault(f"{column}: {len(getattr(self, column))} texts for {count} atoms")
        if self.hetatm.shape != (count,):
            raise ValueFault(f"hetatm has shape {list(self.hetatm.shape)}, not [{count}]")
        if self.bonds.ndim != 2 or self.bonds.shape[1] != 2:
            raise ValueFault(f"bonds have shape {list(self.bonds.shape)}, not [B, 2]")
        if self.bonds.size and not 0 <= self.bonds.min() <= self.bonds.max() < count:
            raise ValueFault(f"bonds name the atoms {self.bonds.min()} to {self.bonds.max()}, of {count}")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def heavy(self) -> NDArray[np.bool_]:
        """Atoms that are no hydrogens, bool[A]."""
        return np.array([element.upper() not in HYDROGENS for element in self.elements], bool)

    def table(self) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """Return the different texts, and the index of each atom's in them, i4[A,5], by `COLUMNS`."""
        indices: dict[str, int] = {}
        rows = [
            [indices.setdefault(word, len(indices)) for word in words]
            for words in zip(*(getattr(self, column) for column in COLUMNS), strict=True)
        ]
        return tuple(indices), np.array(rows, np.int32).reshape(-1, len(COLUMNS))

    @classmethod
    def of_table(
        cls,
        texts: Sequence[str],
        table: NDArray[np.int32],
        bonds: NDArray[np.int32],
        hetatm: NDArray[np.uint8],
    ) -> Molecule:
        """Return the molecule of a table. Raises ValueFault for indices that no text has."""
        if table.size and not 0 <= table.min() <= table.max() < len(texts):
            raise ValueFault(f"atoms name the texts {table.min()} to {table.max()}, of {len(texts)}")
        columns = {
            column: tuple(texts[index] for index in table[:, number].tolist()) for number, column in enumerate(COLUMNS)
        }
        return cls(**columns, bonds=np.asarray(bonds, np.int32), hetatm=np.asarray(hetatm) != 0)
