"""The temporal module: causal attention over the known states of each residue, with rotary embedding of times.

A sequence is: the begin token, the known states in the order in which they are known (a fill knows the first state, the
last one, and then those between), and the query. The query carries the time of the state to predict.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEADS = 4
SLOWEST = 64.0
"""Gaps of the slowest rotation of the embedding."""


def rotary(values: Tensor, times: Tensor) -> Tensor:
    """Return values f[...,T,C] turned by times f[...,T] (gaps): products of two then depend on time differences."""
    half = values.shape[-1] // 2
    rates = SLOWEST ** -torch.linspace(0.0, 1.0, half, device=values.device)
    angle = times[..., None] * rates
    a, b = values[..., :half], values[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


class TemporalBlock(nn.Module):
    """One layer of causal attention and a feed-forward part."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(size), nn.LayerNorm(size)
        self.project, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.feed = nn.Sequential(nn.Linear(size, 2 * size), nn.SiLU(), nn.Linear(2 * size, size))

    def forward(self, tokens: Tensor, times: Tensor, known: Tensor) -> Tensor:
        """Return tokens f[N,T,H] after attending to known ones bool[N,T] that are not later in the sequence."""
        count, length, size = tokens.shape
        q, k, v = (
            tensor.reshape(count, length, HEADS, size // HEADS).transpose(1, 2)
            for tensor in self.project(self.first(tokens)).chunk(3, -1)
        )
        at = times[:, None]
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        allowed = causal & known[:, None, None, :] | torch.eye(length, dtype=torch.bool, device=tokens.device)
        # On sequences of a few tokens twice as fast as torch's own attention.
        scores = rotary(q, at) @ rotary(k, at).transpose(-1, -2) / (size // HEADS) ** 0.5
        mixed = scores.masked_fill(~allowed, float("-inf")).softmax(-1) @ v
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(count, length, size))
        result: Tensor = tokens + self.feed(self.second(tokens))
        return result


class Temporal(nn.Module):
    """Turns encoded known states into a context for the state to predict."""

    def __init__(self, size: int, layers: int) -> None:
        super().__init__()
        self.begin = nn.Parameter(0.1 * torch.randn(size))
        self.query = nn.Parameter(0.1 * torch.randn(size))
        self.blocks = nn.ModuleList(TemporalBlock(size) for _ in range(layers))

    def forward(self, encoded: Tensor, times: Tensor, known: Tensor) -> Tensor:
        """Return the context f[B,R,H].

        encoded: f[B,T,R,H], states in the order of the sequence. times: f[B,T], gaps from the state to predict. known:
        bool[B,T]; states that are not known are left out.
        """
        batch, length, residues, size = encoded.shape
        tokens = encoded.transpose(1, 2).reshape(batch * residues, length, size)
        begin, query = (t.expand(len(tokens), 1, size) for t in (self.begin, self.query))
        tokens = torch.cat([begin, tokens, query], 1)

        def per_residue(values: Tensor, at_ends: float) -> Tensor:
            # The begin token and the query are always known, at the time of the state to predict.
            end = values.new_full((batch, 1), at_ends)
            return torch.cat([end, values, end], 1).repeat_interleave(residues, 0)

        at, use = per_residue(times, 0.0), per_residue(known, True)
        for block in self.blocks:
            tokens = block(tokens, at, use)
        return tokens[:, -1].reshape(batch, residues, size)
