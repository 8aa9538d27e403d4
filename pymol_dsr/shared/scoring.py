"""Names of an evaluation: its methods, and the groups of states that it averages over."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .options import BASELINES

FIELD = "field"
HOLD = BASELINES["hold"].method
TRAINING = "training"


def group_of(state: float, fitted: Sequence[float]) -> str:
    """Name the group of a state: training, between, before, or future by tens of states after the last fitted one."""
    if state in fitted:
        return TRAINING
    if state < min(fitted):
        return "before"
    ahead = math.ceil(state - max(fitted))
    if ahead <= 0:
        return "between"
    tens = (ahead - 1) // 10
    return f"future {10 * tens + 1}-{10 * tens + 10}"


def nearest_fitted(state: float, fitted: Sequence[float]) -> float:
    """Choose the fitted state whose surface is held at `state`: the nearest, the earlier of two."""
    return min(fitted, key=lambda candidate: (abs(candidate - state), candidate))
