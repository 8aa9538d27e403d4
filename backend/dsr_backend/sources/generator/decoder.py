"""The decoder: predicts noiseless increments from noisy ones, by messages between neighbouring residues.

With `a` the noise level, D(x, a) = x / (1 + a²) + a / √(1 + a²) · F(x, a) in the metric of the prior's covariance. The
last layer of F starts at 0, so that D is at first exactly that of the prior.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .encoder import gather, poses
from .frames import Frames

LEVELS = 8
"""Numbers that describe a noise level."""


def level_features(level: Tensor) -> Tensor:
    """Return the features f[B,8] of noise levels f[B]."""
    rates = torch.linspace(0.3, 2.0, LEVELS // 2, device=level.device)
    angle = level.log()[:, None] * rates
    return torch.cat([angle.sin(), angle.cos()], -1)


class MessageLayer(nn.Module):
    """One exchange between neighbours: their vectors, poses, and increments turned into the own frame."""

    def __init__(self, size: int, edge: int) -> None:
        super().__init__()
        # One linear layer of own, near and edge values, applied where each of them is: residues are fewer than edges.
        self.own, self.near = nn.Linear(size, size), nn.Linear(size, size, bias=False)
        self.edge, self.message = nn.Linear(edge, size, bias=False), nn.Linear(size, size)
        self.update = nn.Sequential(nn.Linear(2 * size, size), nn.SiLU(), nn.Linear(size, size))
        self.norm = nn.LayerNorm(size)

    def forward(self, vectors: Tensor, index: Tensor, edges: Tensor, separations: Tensor) -> Tensor:
        """Return vectors f[B,R,H] after messages from neighbours i8[B,R,N].

        edges: f[B,R,N,E]; separations: f[B,R,N,H], added to the vectors of the neighbours.
        """
        along = self.own(vectors)[:, :, None] + gather(self.near(vectors), index) + self.edge(edges) + separations
        received = self.message(torch.nn.functional.silu(along).mean(2))
        result: Tensor = self.norm(vectors + self.update(torch.cat([vectors, received], -1)))
        return result


class Decoder(nn.Module):
    """F(x, a): the part of the prediction that the prior does not have."""

    def __init__(self, size: int, pose_size: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Linear(size + 12 + LEVELS, size)
        self.layers = nn.ModuleList(MessageLayer(size, pose_size + 6) for _ in range(layers))
        self.leave = nn.Linear(size, 6)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        white: Tensor,
        increments: Tensor,
        level: Tensor,
        context: Tensor,
        anchor: Frames,
        index: Tensor,
        separations: Tensor,
        turns: bool,
    ) -> Tensor:
        """Return F f[B,R,6].

        white: noisy increments in the metric of the covariance, scaled to about 1; increments: the same in Å; level:
        noise f[B]; context: f[B,R,H]; anchor: frames [B,R] that the increments start from, with neighbours i8[B,R,N];
        separations: f[B,R,N,H], of the neighbours along the chain. turns: whether increments have directions, which
        those of neighbours are turned with.
        """
        pose, turn = poses(anchor, index)
        near = gather(increments.reshape(*increments.shape[:2], 2, 3), index)
        turned_near = torch.einsum("brnij,brnkj->brnki", turn, near) if turns else near
        edges = torch.cat([pose, turned_near.flatten(-2)], -1)
        levels = level_features(level)[:, None].expand(-1, white.shape[1], -1)
        vectors = self.enter(torch.cat([context, white, increments, levels], -1))
        for layer in self.layers:
            vectors = layer(vectors, index, edges, separations)
        result: Tensor = self.leave(vectors)
        return result


def denoised(white: Tensor, level: Tensor, network: Tensor) -> Tensor:
    """Return D from noisy increments f[B,R,6], levels f[B] and the network's F f[B,R,6]."""
    a = level[:, None, None]
    return white / (1.0 + a**2) + a / (1.0 + a**2).sqrt() * network
