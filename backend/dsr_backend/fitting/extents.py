"""Distances between a training surface and its atoms, and around its points."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.nearest_points import NearestPoints
from ..surfaces.surface import Surface

# Å; see `clearance_of`.
MIN_CLEARANCE = 3.0
EXTENT_MARGIN = 1.0
"""Å around the training points that a field's extent covers."""


def clearance_of(surface: Surface) -> float:
    """Return the distance (Å) that a similar surface may reach beyond its atoms' box.

    It is 1 Å more than this surface reaches, and 3 Å at least. A solvent-accessible surface reaches far: the user sets
    the radii and the probe.
    """
    if surface.atoms is None or not len(surface.atoms):
        return MIN_CLEARANCE
    below, above = surface.atoms.min(0) - surface.points.min(0), surface.points.max(0) - surface.atoms.max(0)
    return max(MIN_CLEARANCE, float(max(below.max(), above.max())) + 1.0)


def reach_of(surface: Surface, device: torch.device) -> float:
    """Return the greatest distance (Å) from a point of the surface to the nearest atom; inf without atoms."""
    if surface.atoms is None or not len(surface.atoms):
        return np.inf
    atoms, points = (torch.tensor(positions, device=device) for positions in (surface.atoms, surface.points))
    return float(NearestPoints(atoms)(points)[0].max())
