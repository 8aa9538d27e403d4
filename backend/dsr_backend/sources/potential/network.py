"""The network of a potential: a graph network on distances, whose energy does not change with rotations.

Mirror images have the same energy in it. The dihedral terms of the priors and of the calibration tell them apart.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from .beads import TYPES

CUTOFF = 12.0
"""Å. Beads farther apart do not see each other."""
NEAREST = 3.0
BASIS = 24


class GraphNetwork(nn.Module):
    """Energies of beads from their types and distances: messages along pairs, filtered by distance."""

    def __init__(self, layers: int = 2, width: int = 48) -> None:
        super().__init__()
        self.layers, self.width = layers, width
        self.embedding = nn.Embedding(len(TYPES), width)
        self.filters = nn.ModuleList(
            nn.Sequential(nn.Linear(BASIS, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(layers)
        )
        self.sources = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers))
        self.updates = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(layers)
        )
        self.last = nn.Linear(width // 2, 1)
        self.energies = nn.Sequential(nn.Linear(width, width // 2), nn.SiLU())
        # It starts with no energy, at the priors.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        centres = torch.linspace(NEAREST, CUTOFF, BASIS)
        self.register_buffer("centres", centres, persistent=False)
        self._width = float(centres[1] - centres[0])

    def forward(self, x: torch.Tensor, types: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        """Return energies [R] in kcal/mol. x: [R,N,3] in Å; types: i8[N]; pairs: i8[P,2], all that may be near."""
        vectors = x[:, pairs[:, 0]] - x[:, pairs[:, 1]]
        with torch.no_grad():
            near = (vectors.square().sum(-1) < CUTOFF**2).any(0)
        if not bool(near.all()):
            pairs, vectors = pairs[near], vectors[:, near]
        first, second = pairs[:, 0], pairs[:, 1]
        distance = (vectors.square().sum(-1) + 1e-12).sqrt()
        weights = self.filtered(distance)
        h = self.embedding(types).expand(len(x), -1, -1)
        for weight, source, update in zip(weights, self.sources, self.updates, strict=True):
            sent = source(h)
            received = torch.zeros_like(h).index_add(1, first, weight * sent[:, second])
            received = received.index_add(1, second, weight * sent[:, first])
            h = h + update(received)
        energies: torch.Tensor = self.last(self.energies(h))
        return energies.sum((1, 2))

    def filtered(self, distance: torch.Tensor) -> list[torch.Tensor]:
        """Return the filter [...,width] of each layer at distances in Å."""
        envelope = torch.where(distance < CUTOFF, 0.5 * (torch.cos(distance * (math.pi / CUTOFF)) + 1.0), 0.0)[
            ..., None
        ]
        centres = self.get_buffer("centres").to(distance.dtype)
        basis = torch.exp(-(((distance[..., None] - centres) / self._width) ** 2)) * envelope
        return [message_filter(basis) * envelope for message_filter in self.filters]
