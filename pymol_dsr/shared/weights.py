"""Weights of the states of an ensemble, as a user gives them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .values import ValueFault


def numbers_in(text: str) -> tuple[float, ...]:
    """Return the numbers in a text, with spaces, commas or lines between; # begins a comment. Raises ValueError."""
    lines = (line.partition("#")[0].replace(",", " ") for line in text.splitlines())
    return tuple(float(word) for line in lines for word in line.split())


def check_weights(weights: Sequence[float], label: str) -> None:
    """Check weights, which `label` names in the message. Raises ValueFault for any below 0, or all 0."""
    if not all(math.isfinite(weight) and weight >= 0.0 for weight in weights) or not sum(weights) > 0.0:
        raise ValueFault(f"{label}: they must be 0 or more, and not all 0")
