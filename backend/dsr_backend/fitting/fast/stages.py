"""Fractions of a fit at which its stages end."""

from __future__ import annotations

# Measured on two cores; the decoder's training ends at 1.
SAMPLES_END, LATTICES_END, WIDTHS_END = 0.35, 0.60, 0.65
