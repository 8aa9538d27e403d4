"""Beads: the Cα atoms of a protein, and the forces on them from those on all atoms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.amino_acids import LETTERS, PROTONATION_STATES
from pymol_dsr.shared.chains import LONGEST_CALPHA_STEP, chain_numbers
from pymol_dsr.shared.molecule import Molecule
from pymol_dsr.shared.values import ValueFault

from ..topology import residue_indices

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

TYPES = (*LETTERS, "X")
"""Types of beads: the amino acids, and X for any other residue with a Cα."""
MOST_BEADS = 150
RIDGE = 1e-6
MOST_DISTANCES = 300


@dataclass(frozen=True)
class Protein:
    """The beads of a protein: the residue name of each, and the number from 0 of its chain."""

    residues: tuple[str, ...]
    chains: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.residues) != len(self.chains):
            raise ValueFault(f"{len(self.residues)} residues have {len(self.chains)} chains")
        if not 4 <= len(self.residues) <= MOST_BEADS:
            raise ValueFault(f"{len(self.residues)} residues: a potential can be of 4 to {MOST_BEADS}")

    def __len__(self) -> int:
        return len(self.residues)

    @cached_property
    def types(self) -> Indices:
        """Types of the beads, i8[N], as indices of TYPES."""
        names = [PROTONATION_STATES.get(name, name) for name in self.residues]
        return np.array([TYPES.index(name) if name in TYPES else len(TYPES) - 1 for name in names])

    def runs(self, length: int) -> Indices:
        """Return all runs of so many consecutive beads of one chain, i8[K,length]."""
        chains = np.array(self.chains)
        starts = np.arange(len(self) - length + 1)
        starts = starts[chains[starts] == chains[starts + length - 1]]
        runs: Indices = starts[:, None] + np.arange(length)
        return runs

    @cached_property
    def pairs(self) -> Indices:
        """All pairs of beads, i8[P,2], rising."""
        return np.stack(np.triu_indices(len(self), 1), 1)

    @cached_property
    def separations(self) -> Indices:
        """Residues between the beads of each pair along the chain, i8[P]; between two chains more than any."""
        chains = np.array(self.chains)[self.pairs]
        separation = self.pairs[:, 1] - self.pairs[:, 0]
        return np.where(chains[:, 0] == chains[:, 1], separation, len(self))


def beads_of(molecule: Molecule, coordinates: NDArray[np.floating[Any]]) -> tuple[Protein, Indices]:
    """Return the protein of a molecule, and its Cα atoms i8[N].

    coordinates: f4[A,3] in Å of one state, which show gaps. Raises ValueFault for too few or too many residues.
    """
    residues = residue_indices(molecule)
    atom_of: dict[int, int] = {}
    for atom, (residue, name, element) in enumerate(zip(residues, molecule.names, molecule.elements, strict=True)):
        if name == "CA" and element.upper() == "C":
            atom_of.setdefault(int(residue), atom)
    atoms = np.array(list(atom_of.values()), np.int64)
    if len(atoms) < 4:
        raise ValueFault(f"a potential needs at least four residues with Cα, and there are {len(atoms)}")
    steps = np.linalg.norm(np.diff(coordinates[atoms], axis=0), axis=1)
    chains = chain_numbers([molecule.chains[atom] for atom in atoms], steps, LONGEST_CALPHA_STEP)
    return Protein(tuple(molecule.residue_names[atom] for atom in atoms), chains), atoms


def constraint_groups(molecule: Molecule) -> Indices:
    """Return the number from 0 of each atom's group, i8[A]: a heavy atom with its hydrogens, whose bonds are fixed."""
    heavy = molecule.heavy
    group = np.full(len(molecule), -1, np.int64)
    group[heavy] = np.arange(np.count_nonzero(heavy))
    for first, second in molecule.bonds.tolist():
        if heavy[first] != heavy[second]:
            parent, child = (first, second) if heavy[first] else (second, first)
            group[child] = group[parent]
    if (group < 0).any():
        raise ValueFault(f"{np.count_nonzero(group < 0)} hydrogens have no bond to a heavy atom")
    return group


class ForceMap:
    """The map from forces on all atoms to those on beads that has the least noise (optimal linear aggregation).

    The force on a bead is that on its Cα's group of fixed bonds, plus a weighted sum of those on groups without a bead.
    """

    def __init__(self, molecule: Molecule, beads: Indices, forces: Iterator[NDArray[np.floating[Any]]]) -> None:
        """Find the weights. forces: chunks [F,A,3] of all frames, read once."""
        self._group = constraint_groups(molecule)
        count = int(self._group.max()) + 1
        bead_groups = self._group[beads]
        other_groups = np.setdiff1d(np.arange(count), bead_groups)
        gram = np.zeros((count, count))
        for chunk in forces:
            grouped = self._grouped(chunk)
            gram += np.einsum("fgx,fhx->gh", grouped, grouped)
        gram[np.diag_indices(count)] += RIDGE * np.trace(gram) / count
        self.weights = np.zeros((len(beads), count))
        self.weights[np.arange(len(beads)), bead_groups] = 1.0
        self.weights[:, other_groups] = -np.linalg.solve(
            gram[np.ix_(other_groups, other_groups)], gram[np.ix_(other_groups, bead_groups)]
        ).T

    def __call__(self, forces: NDArray[np.floating[Any]]) -> Floats:
        """Return forces [F,N,3] on the beads."""
        mapped: Floats = np.einsum("ng,fgx->fnx", self.weights, self._grouped(forces))
        return mapped

    def _grouped(self, forces: NDArray[np.floating[Any]]) -> Floats:
        grouped = np.zeros((len(forces), int(self._group.max()) + 1, 3))
        for atom, group in enumerate(self._group.tolist()):
            grouped[:, group] += forces[:, atom]
        return grouped


def inner_distances(beads: NDArray[np.floating[Any]]) -> Floats:
    """Return distances [F,K] between beads of one frame of [F,N,3]: some hundred, evenly spread."""
    first, second = np.triu_indices(beads.shape[1], 3)
    chosen = np.unique(np.linspace(0, len(first) - 1, MOST_DISTANCES).astype(np.int64))
    vectors = beads[:, first[chosen]].astype(np.float64) - beads[:, second[chosen]]
    distances: Floats = np.linalg.norm(vectors, axis=2)
    return distances


def nearest_distance(beads: NDArray[np.floating[Any]], references: NDArray[np.floating[Any]]) -> Floats:
    """Return how far each frame [F,N,3] is from the most similar reference, f8[F]: Å, rms of their inner distances."""
    distances, other_distances = inner_distances(beads), inner_distances(references)
    squares = (distances**2).sum(1)[:, None] + (other_distances**2).sum(1)[None] - 2.0 * distances @ other_distances.T
    nearest: Floats = np.sqrt(np.maximum(squares.min(1), 0.0) / distances.shape[1])
    return nearest


def k_centres(beads: NDArray[np.floating[Any]], count: int, seed: int) -> Indices:
    """Return the frames i8[count] of [F,N,3] that lie farthest from each other, by their distances within the beads."""
    distances = inner_distances(beads)
    centres = [int(np.random.default_rng(seed).integers(len(beads)))]
    nearest = np.full(len(beads), np.inf)
    while len(centres) < count:
        nearest = np.minimum(nearest, ((distances - distances[centres[-1]]) ** 2).mean(1))
        centres.append(int(nearest.argmax()) if nearest.max() > 0 else centres[len(centres) % len(beads)])
    return np.array(centres[:count])
