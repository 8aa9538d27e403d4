"""The encoder: a vector for each residue of a state, from its kind and the poses of its nearest residues."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .frames import Frames, rotation_vectors

NEIGHBORS = 9
RADIAL = 8
LONGEST = 20.0
"""Å. Distances up to here have radial functions of their own."""
SEPARATIONS = 9
"""Kinds of separations along the chain: −4 to 4, farther ones at the ends."""
POSE = RADIAL + 6
"""Numbers that describe the pose of a neighbour."""
OWN = 6 + 12
"""Numbers that describe a residue itself: its increment from the last known state, and its dihedrals."""


def neighbors(frames: Frames, count: int = NEIGHBORS) -> Tensor:
    """Return the nearest residues i8[B,R,N] of frames [B,R], without the residue itself."""
    distance = torch.cdist(frames.origins, frames.origins)
    size = distance.shape[-1]
    distance = distance + 1e6 * torch.eye(size, device=distance.device)
    return distance.topk(min(count, size - 1), largest=False).indices


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Return values f[B,R,...] at residues i8[B,R,N]: f[B,R,N,...]."""
    rows = torch.arange(len(values), device=values.device)[:, None, None]
    return values[rows, index]


def poses(frames: Frames, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return the poses f[B,R,N,14] of neighbours in own frames, and rotations f[B,R,N,3,3] from their axes to own."""
    inverse = frames.rotations.transpose(-1, -2)[:, :, None]
    shift = (inverse @ (gather(frames.origins, index) - frames.origins[:, :, None])[..., None])[..., 0]
    turn = inverse @ gather(frames.rotations, index)
    distance = shift.norm(dim=-1, keepdim=True)
    centres = torch.linspace(3.0, LONGEST, RADIAL, device=distance.device)
    width = (LONGEST - 3.0) / RADIAL
    radial = torch.exp(-(((distance - centres) / width) ** 2))
    return torch.cat([radial, shift / distance.clamp_min(1e-3), rotation_vectors(turn)], -1), turn


class Encoder(nn.Module):
    """Encodes states of residues of some kinds."""

    def __init__(self, kind_count: int, size: int) -> None:
        super().__init__()
        self.kind = nn.Embedding(kind_count, size)
        self.separation = nn.Embedding(SEPARATIONS, size)
        self.pose, self.own = nn.Linear(POSE, size), nn.Linear(OWN, size)
        self.mix = nn.Sequential(nn.Linear(2 * size, size), nn.SiLU(), nn.Linear(size, size))
        self.norm = nn.LayerNorm(size)
        # Poses, not kinds, tell states apart: at the start they must not drown.
        nn.init.normal_(self.kind.weight, std=0.1)
        nn.init.normal_(self.separation.weight, std=0.3)

    def separations(self, index: Tensor, places: Tensor) -> Tensor:
        """Return the vectors f[B,R,N,H] of the separations of neighbours i8[B,R,N] along the chain (places i8[R])."""
        half = SEPARATIONS // 2
        differences = places[index] - places[None, :, None]
        vectors: Tensor = self.separation(differences.clamp(-half, half) + half)
        return vectors

    def forward(self, frames: Frames, features: Tensor, index: Tensor, kinds: Tensor, places: Tensor) -> Tensor:
        """Return a vector f[B,R,H] for each residue of frames [B,R] with neighbours i8[B,R,N].

        features: f[B,R,18], increments and dihedrals of the residues themselves. kinds, places: i8[R], kinds of the
        residues and their places along the chain.
        """
        kind = self.kind(kinds)
        near = self.pose(poses(frames, index)[0]) + self.separations(index, places) + kind[index]
        embedded = kind.expand(len(index), -1, -1) + self.own(features)
        vectors: Tensor = self.norm(
            embedded + self.mix(torch.cat([embedded, torch.nn.functional.silu(near).mean(2)], -1))
        )
        return vectors
