"""Fractions of a fit at which its stages end."""

from __future__ import annotations

# Share of the whole fit that is done when each part ends, as measured on two cores.
SAMPLED, SOLVED, CHOSEN = 0.35, 0.60, 0.65
