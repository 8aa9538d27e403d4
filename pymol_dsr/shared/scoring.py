"""Groups of states in an evaluation: fitted, between, after."""

from __future__ import annotations

from collections.abc import Sequence


def group_of(state: int, trained: Sequence[int]) -> str:
    """training, between, before, or future by tens of states after the last fitted one."""
    if state in trained:
        return "training"
    if state < min(trained):
        return "before"
    ahead = state - max(trained)
    if ahead <= 0:
        return "between"
    tens = (ahead - 1) // 10
    return f"future {10 * tens + 1}-{10 * tens + 10}"


def nearest(state: int, trained: Sequence[int]) -> int:
    """The training state that is held at `state`: the nearest, the earlier of two."""
    return min(trained, key=lambda t: (abs(t - state), t))
