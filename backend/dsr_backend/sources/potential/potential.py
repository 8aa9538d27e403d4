"""A learned potential: priors, network and calibration, for one or several proteins."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .beads import Protein
from .network import GraphNetwork
from .priors import BOLTZMANN, Priors, cosines, harmonics, torsions

CONTACT, SOFTNESS = 7.0, 0.7
"""Å: two beads nearer than the first are in contact, within a few times the second."""
CONTACT_SEPARATIONS = (3, 4)
LONGEST_UNFOLDED = 10
"""Beads of a protein that needs no features of a fold."""
FAR_SEPARATION = 6
"""Residues along the chain from which two beads tell how a chain is folded."""
FAR_STRIDE = 3
"""Every so many residues, one bead counts for that: fewer than a turn of a helix."""
FAR_CONTACTS, FAR_SOFTNESS = (8.0, 12.0, 16.0), 1.5
"""Å: how near such beads are."""
DIHEDRAL_WAVES = 2
HISTOGRAM = 6
STRAND_RISE = 3.4
"""Å a residue of an extended chain."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A protein that a potential was trained on.

    name: for people. offsets: f8[K], of its features, which the calibration adds to the energy. means, deviations:
    f8[K] of the features in the data. centres: f4[C,N,3] in Å, frames that lie far apart; spacing: Å, the distance
    to the nearest of them that 95 of 100 frames of the data have at most.
    """

    name: str
    protein: Protein
    offsets: NDArray[np.float64]
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    centres: NDArray[np.float32]
    spacing: float


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """State of the network's training, with which it can go on: all tensors by the names of the network's parameters.

    weights: as they were last, where the network has the best. first, second: Adam's moments.
    """

    epochs: int
    steps: int
    weights: dict[str, torch.Tensor]
    first: dict[str, torch.Tensor]
    second: dict[str, torch.Tensor]


@dataclass(eq=False)
class Potential:
    """Energies of beads, in kcal/mol. temperature: K, of the data. optimizer: where its training ended, if known."""

    priors: Priors
    network: GraphNetwork
    temperature: float
    proteins: list[Trained] = field(default_factory=list)
    optimizer: OptimizerState | None = None

    @property
    def thermal(self) -> float:
        """Thermal energy kT in kcal/mol."""
        return BOLTZMANN * self.temperature

    def network_energy(self, x: torch.Tensor, protein: Protein) -> torch.Tensor:
        """Return energies [R] of the network alone."""
        types, pairs = _network_terms(protein, x.device)
        energies: torch.Tensor = self.network(x, types, pairs)
        return energies

    @property
    def device(self) -> torch.device:
        """Device that its tensors are on."""
        return self.priors.bonds.device

    def to(self, device: torch.device) -> Potential:
        """Move its tensors to a device, and return it."""
        self.module().to(device)
        return self

    def module(self) -> nn.ModuleDict:
        """Return all tensors as a module."""
        return nn.ModuleDict({"priors": self.priors, "network": self.network})


def features(x: torch.Tensor, protein: Protein) -> torch.Tensor:
    """Return the features [R,K] that a calibration weighs.

    Waves of dihedrals and soft contacts along the chain, which have averages; soft histograms of the share of such
    contacts and of the radius of gyration, which tell a chain that is all helix or none from one that is half of it.
    Proteins of more than LONGEST_UNFOLDED beads have those of a fold, too: cosines of angles, which the priors know by
    types alone, and how near beads are that lie far apart in the chain.
    """
    runs, near, angles, far = _feature_terms(protein, x.device)
    waves = harmonics(*torsions(x, runs), DIHEDRAL_WAVES).flatten(1)
    contacts = []
    for pairs in near:
        distance = ((x[:, pairs[:, 0]] - x[:, pairs[:, 1]]).square().sum(-1) + 1e-12).sqrt()
        contacts.append(torch.sigmoid((CONTACT - distance) / SOFTNESS))
    contact_fractions = [soft_histogram(contact.mean(1), 0.0, 1.0) for contact in contacts if contact.shape[1]]
    centred = x - x.mean(1, keepdim=True)
    radius = (centred.square().sum((1, 2)) / len(protein) + 1e-12).sqrt()
    radii = soft_histogram(radius, *histogram_range(len(protein)))
    distance = ((x[:, far[:, 0]] - x[:, far[:, 1]]).square().sum(-1) + 1e-12).sqrt()
    nearness = [torch.sigmoid((contact - distance) / FAR_SOFTNESS) for contact in FAR_CONTACTS]
    return torch.cat([waves, *contacts, *contact_fractions, radii, cosines(x, angles), *nearness], 1)


def fold_angles(protein: Protein) -> NDArray[np.int64]:
    """Return the runs of beads i8[K,3] whose angles are features."""
    runs = protein.runs(3)
    return runs if len(protein) > LONGEST_UNFOLDED else runs[:0]


def far_pairs(protein: Protein) -> NDArray[np.int64]:
    """Return the pairs of beads i8[P,2] whose nearness tells the fold."""
    chosen = (protein.separations >= FAR_SEPARATION) & (protein.pairs % FAR_STRIDE == 0).all(1)
    pairs: NDArray[np.int64] = protein.pairs[chosen & (len(protein) > LONGEST_UNFOLDED)]
    return pairs


def far_feature_count(protein: Protein) -> int:
    """Return the number of features of far pairs, which are the last ones."""
    return len(FAR_CONTACTS) * len(far_pairs(protein))


def fold_feature_count(protein: Protein) -> int:
    """Return the number of features of a fold: angles and far pairs, the last ones."""
    return len(fold_angles(protein)) + far_feature_count(protein)


def histogram_range(count: int) -> tuple[float, float]:
    """Return the radii of gyration in Å of so many beads in a globule and in a strand."""
    return 2.0 * count**0.38, STRAND_RISE * count / math.sqrt(12.0)


@functools.lru_cache(maxsize=64)
def _network_terms(protein: Protein, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return types and pairs of beads, the same tensors at each call."""
    return torch.as_tensor(protein.types, device=device), torch.as_tensor(protein.pairs, device=device)


@functools.lru_cache(maxsize=64)
def _feature_terms(
    protein: Protein, device: torch.device
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor]:
    """Return the beads of dihedrals, of each kind of contacts, of angles and of far pairs, the same at each call."""
    contacts = [protein.runs(separation + 1)[:, [0, -1]] for separation in CONTACT_SEPARATIONS]
    runs = torch.as_tensor(protein.runs(4), device=device)
    near = tuple(torch.as_tensor(pairs, device=device) for pairs in contacts)
    angles, far = (torch.as_tensor(rows, device=device) for rows in (fold_angles(protein), far_pairs(protein)))
    return runs, near, angles, far


def soft_histogram(values: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Return how near values [R] are to each of HISTOGRAM places from low to high, [R,HISTOGRAM]."""
    places = torch.linspace(low, high, HISTOGRAM, dtype=values.dtype, device=values.device)
    width = (high - low) / (HISTOGRAM - 1)
    return torch.exp(-0.5 * ((values[:, None] - places) / width) ** 2)
