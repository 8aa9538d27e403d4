"""Selection of a drawn step among candidates, so that steps are as long as true ones (importance resampling).

Noise of the right size for each coordinate can still make steps of the whole molecule too long or too short: in a
chain, true turns of following bonds cancel. The lengths of true and drawn steps are compared once, on states of the
training; after that, candidates are taken by the ratio of how often their length is true and drawn.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from .frames import Frames, superposed

CANDIDATES = 12
LEAST_STEP = 1e-3
"""Å. Shorter steps count as this long."""
NARROWEST = 0.02
"""Least standard deviation of a logarithm of lengths."""


@dataclass(frozen=True)
class StepRatio:
    """Mean and standard deviation of the logarithm of step lengths (Å), of true steps and of drawn ones.

    The default takes any candidate.
    """

    true_mean: float = 0.0
    true_deviation: float = 1.0
    drawn_mean: float = 0.0
    drawn_deviation: float = 1.0

    @classmethod
    def of(cls, true: Tensor, drawn: Tensor) -> StepRatio:
        """Return the ratio of logarithms f[N] of true lengths and f[M] of drawn ones."""
        numbers = [statistic for lengths in (true, drawn) for statistic in (lengths.mean(), lengths.std())]
        true_mean, true_deviation, drawn_mean, drawn_deviation = map(float, numbers)
        return cls(true_mean, max(true_deviation, NARROWEST), drawn_mean, max(drawn_deviation, NARROWEST))

    @property
    def selects(self) -> bool:
        """Whether it prefers any length."""
        return astuple(self) != astuple(StepRatio())

    def log_weight(self, lengths: Tensor) -> Tensor:
        """Return the logarithm of the ratio at logarithms of lengths f[...]."""
        true = (lengths - self.true_mean) / self.true_deviation
        drawn = (lengths - self.drawn_mean) / self.drawn_deviation
        weight: Tensor = 0.5 * (drawn**2 - true**2)
        return weight

    def choose(self, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """Return which candidate i8[B] to take, at random, by logarithms f[B,C] of their lengths."""
        chances = self.log_weight(lengths).softmax(-1)
        return torch.multinomial(chances, 1, generator=generator)[:, 0]


def log_steps(first: Frames, second: Frames) -> Tensor:
    """Return the logarithms f[B] of the RMSD (Å) of CA, superposed, from frames [B,R] to others."""
    moved = superposed(second, first).origins - first.origins
    return (moved**2).sum(-1).mean(-1).sqrt().clamp_min(LEAST_STEP).log()
