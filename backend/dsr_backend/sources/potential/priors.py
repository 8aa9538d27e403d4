"""Prior energies of beads by Boltzmann inversion: bonds, angles, dihedrals and a repulsion.

They keep a chain whole and its beads apart where the network has seen no data. Angles and dihedrals have half of the
strength that the data show: the network adds the rest. Energies are in kcal/mol, lengths in Å.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from .beads import TYPES, Protein

BOLTZMANN = 0.0019872041
"""kcal/mol/K."""
HALF = 0.5
MULTIPLICITIES = 3
BINS = 36
PSEUDO_COUNT = 0.5
"""Counts added to each bin of a dihedral, in parts of their mean."""
LEAST_SAMPLES = 100
"""Values of a kind of bond, angle or dihedral; with fewer of them, it gets the values of all kinds."""
CONTACT_QUANTILE = 1e-3
CONTACT_ENERGY = 0.3
"""kcal/mol of the repulsion at the distance below which one pair in a thousand is."""
EXPONENT = 6
SEPARATIONS = (2, 3)
"""Residues apart: of next but one neighbours, and of all farther ones."""
STRAIGHT = 20.0
"""Å⁴: a dihedral fades out where the product of the two areas that its beads span falls to this.

With right angles it is 208, and one in a thousand states of ten alanines has less than 69. Near a straight line, the
forces of a dihedral that does not fade grow without limit, and a step of 10 fs tears bonds.
"""
SOFTEST_BOND = 50.0
"""kcal/mol/Å² at least."""


class Priors(torch.nn.Module):
    """Tables of the prior energies by types of beads.

    bonds: [T,T,2], strength and length. angles: [T,2] of the middle bead, strength and mean of the cosine. dihedrals:
    [T,T,6] of the two middle beads, coefficients of cos φ, sin φ, cos 2φ, …. repulsion: [2], Å, of SEPARATIONS. A last
    row is not needed: pairs of types without data have the values of all data together.
    """

    bonds: torch.Tensor
    angles: torch.Tensor
    dihedrals: torch.Tensor
    repulsion: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        count = len(TYPES)
        self.register_buffer("bonds", torch.zeros(count, count, 2))
        self.register_buffer("angles", torch.zeros(count, 2))
        self.register_buffer("dihedrals", torch.zeros(count, count, 2 * MULTIPLICITIES))
        self.register_buffer("repulsion", torch.zeros(len(SEPARATIONS)))

    @classmethod
    def fitted(cls, data: Sequence[tuple[Protein, NDArray[np.float32]]], temperature: float) -> Priors:
        """Return priors from beads [F,N,3] of each protein."""
        priors, thermal = cls(), BOLTZMANN * temperature
        bonds, angles, dihedrals = _Samples(), _Samples(), _Samples()
        near: tuple[list[NDArray[np.float64]], ...] = tuple([] for _ in SEPARATIONS)
        for protein, beads in data:
            x = torch.as_tensor(beads, dtype=torch.float64)
            runs = [protein.runs(length) for length in (2, 3, 4)]
            types = [protein.types[run] for run in runs]
            for n, (first, second) in enumerate(types[0]):
                bonds.add((min(first, second), max(first, second)), _lengths(x, runs[0][n : n + 1]))
            for n, run in enumerate(types[1]):
                angles.add((run[1],), cosines(x, runs[1][n : n + 1]))
            for n, run in enumerate(types[2]):
                dihedrals.add((run[1], run[2]), torch.atan2(*torsions(x, runs[2][n : n + 1])[::-1]))
            distances = _lengths(x, protein.pairs).numpy()
            for kind, chosen in enumerate((protein.separations == 2, protein.separations > 2)):
                near[kind].append(distances[:, chosen].ravel())
        for a in range(len(TYPES)):
            values = angles.of((a,))
            priors.angles[a] = torch.tensor([HALF * thermal / max(values.var(), 1e-4), values.mean()])
            for b in range(len(TYPES)):
                values = bonds.of((min(a, b), max(a, b)))
                strength = max(thermal / max(values.var(), 1e-4), SOFTEST_BOND)
                priors.bonds[a, b] = torch.tensor([strength, values.mean()])
                priors.dihedrals[a, b] = torch.as_tensor(_fourier(dihedrals.of((a, b)), thermal))
        for kind, chunks in enumerate(near):
            values = np.concatenate(chunks)
            closest = np.quantile(values, CONTACT_QUANTILE) if len(values) else 4.0
            priors.repulsion[kind] = float(closest) * CONTACT_ENERGY ** (1.0 / EXPONENT)
        return priors

    def energy(self, x: torch.Tensor, protein: Protein) -> torch.Tensor:
        """Return energies [R] in kcal/mol of beads [R,N,3]."""
        terms = _terms(protein, x.device)
        bonds = self.bonds[terms.bond_types[0], terms.bond_types[1]].to(x.dtype)
        total = 0.5 * (bonds[:, 0] * (_lengths(x, terms.bonds) - bonds[:, 1]) ** 2).sum(1)
        if len(terms.angles):
            angles = self.angles[terms.angle_types].to(x.dtype)
            total = total + 0.5 * (angles[:, 0] * (cosines(x, terms.angles) - angles[:, 1]) ** 2).sum(1)
        if len(terms.dihedrals):
            table = self.dihedrals[terms.dihedral_types[0], terms.dihedral_types[1]].to(x.dtype)
            waves = harmonics(*torsions(x, terms.dihedrals), MULTIPLICITIES)
            total = total + (table * waves).sum((1, 2))
        ratio = self.repulsion.to(x.dtype)[terms.repulsion_kinds] / _lengths(x, terms.repulsions)
        return total + (ratio**EXPONENT).sum(1)


class _Samples:
    """Values by key, with all values for keys that have too few."""

    def __init__(self) -> None:
        self._values: dict[tuple[int, ...], list[NDArray[np.float64]]] = {}

    def add(self, key: tuple[int, ...], values: torch.Tensor) -> None:
        self._values.setdefault(tuple(int(k) for k in key), []).append(values.numpy().ravel())

    def of(self, key: tuple[int, ...]) -> NDArray[np.float64]:
        samples = self._values.get(key)
        if samples is not None and sum(map(len, samples)) >= LEAST_SAMPLES:
            return np.concatenate(samples)
        return np.concatenate([chunk for chunks in self._values.values() for chunk in chunks])


class _Terms:
    """The atoms of all prior terms of a protein."""

    def __init__(self, protein: Protein, device: torch.device) -> None:
        types = torch.as_tensor(protein.types, device=device)
        self.bonds, self.angles, self.dihedrals = (torch.as_tensor(protein.runs(n), device=device) for n in (2, 3, 4))
        self.bond_types = types[self.bonds].T
        self.angle_types = types[self.angles[:, 1]]
        self.dihedral_types = types[self.dihedrals[:, 1:3]].T
        chosen = protein.separations >= 2
        self.repulsions = torch.as_tensor(protein.pairs[chosen], device=device)
        self.repulsion_kinds = torch.as_tensor(np.minimum(protein.separations[chosen] - 2, 1), device=device)


@functools.lru_cache(maxsize=64)
def _terms(protein: Protein, device: torch.device) -> _Terms:
    """Return the terms of a protein, the same ones at each call."""
    return _Terms(protein, device)


def _fourier(angles: NDArray[np.float64], thermal: float) -> NDArray[np.float64]:
    """Return the coefficients of half of −kT ln p(φ)."""
    counts, edges = np.histogram(angles, BINS, (-math.pi, math.pi))
    smoothed = counts + PSEUDO_COUNT * counts.mean()
    middle = torch.as_tensor(0.5 * (edges[1:] + edges[:-1]))
    waves = harmonics(middle.cos(), middle.sin(), MULTIPLICITIES).numpy()
    design = np.concatenate([np.ones((BINS, 1)), waves], 1)
    solution = np.linalg.lstsq(design, -thermal * np.log(smoothed / smoothed.sum()), rcond=None)[0]
    coefficients: NDArray[np.float64] = HALF * solution[1:]
    return coefficients


def _lengths(x: torch.Tensor, pairs: torch.Tensor | NDArray[np.int64]) -> torch.Tensor:
    vectors = x[:, pairs[:, 0]] - x[:, pairs[:, 1]]
    return (vectors.square().sum(-1) + 1e-12).sqrt()


def cosines(x: torch.Tensor, runs: torch.Tensor | NDArray[np.int64]) -> torch.Tensor:
    """Return the cosines [R,K] of the angles of runs [K,3] of beads [R,N,3]."""
    before = x[:, runs[:, 0]] - x[:, runs[:, 1]]
    after = x[:, runs[:, 2]] - x[:, runs[:, 1]]
    return (before * after).sum(-1) / (before.square().sum(-1) * after.square().sum(-1) + 1e-12).sqrt()


def torsions(x: torch.Tensor, runs: torch.Tensor | NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosine and sine [R,K] of the dihedral angles of runs [K,4] of beads [R,N,3].

    Both fade to 0 where three of the beads lie in a line, and the angle is none; see STRAIGHT.
    """
    first = x[:, runs[:, 1]] - x[:, runs[:, 0]]
    middle = x[:, runs[:, 2]] - x[:, runs[:, 1]]
    last = x[:, runs[:, 3]] - x[:, runs[:, 2]]
    first_normal, last_normal = torch.linalg.cross(first, middle), torch.linalg.cross(middle, last)
    size = (first_normal.square().sum(-1) * last_normal.square().sum(-1) + STRAIGHT**2).sqrt()
    length = (middle.square().sum(-1) + 1e-12).sqrt()
    return (first_normal * last_normal).sum(-1) / size, length * (first * last_normal).sum(-1) / size


def harmonics(cosine: torch.Tensor, sine: torch.Tensor, count: int) -> torch.Tensor:
    """Return cos φ, sin φ, cos 2φ, sin 2φ, … along a new last axis."""
    waves = [cosine, sine]
    c, s = cosine, sine
    for _ in range(count - 1):
        c, s = c * cosine - s * sine, s * cosine + c * sine
        waves += [c, s]
    return torch.stack(waves, -1)
