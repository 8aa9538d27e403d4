"""Normalised coordinates, in which all training surfaces lie in the cube [-1, 1]³."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .mesh_arrays import rows_of_three

Floats = NDArray[np.float64]

# Edge of the cube per longest extent of the surfaces.
MARGIN = 1.1


@dataclass(frozen=True, eq=False)
class UnitCube:
    """The map from ångström to normalised coordinates, `(x - centre) * scale`.

    centre: f8[3], Å. scale: normalised units per Å.
    """

    centre: Floats
    scale: float

    def __post_init__(self) -> None:
        centre = np.array(self.centre, dtype=np.float64)
        if centre.shape != (3,) or not np.isfinite(centre).all():
            raise ValueError(f"frame centre must be 3 finite numbers, got {self.centre!r}")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"frame scale must be a positive number, got {self.scale!r}")
        object.__setattr__(self, "centre", centre)
        object.__setattr__(self, "scale", float(self.scale))

    @classmethod
    def of(cls, surfaces: Iterable[ArrayLike]) -> UnitCube:
        """Return the cube around the training surfaces' points, a sequence of [N,3] arrays in Å.

        The centre of their common bounding box goes to 0, and 1.1 × its longest extent becomes 2.
        Raises ValueError when there is no point, a point is not finite or all points coincide.
        """
        arrays = [rows_of_three(points, "points") for points in surfaces]
        filled = [points for points in arrays if len(points)]
        if not filled:
            raise ValueError("a frame needs at least one surface point, got none")
        low = np.min([points.min(axis=0) for points in filled], axis=0)
        high = np.max([points.max(axis=0) for points in filled], axis=0)
        extent = (high - low).max()
        if extent == 0:
            raise ValueError(f"a frame needs points that differ, got only {low.tolist()}")
        return cls((low + high) / 2, 2.0 / (MARGIN * extent))

    def to_unit(self, points: ArrayLike) -> Floats:
        """Convert points [...,3] in Å to normalised f8[...,3], in float64 so that far-away molecules lose no digits."""
        return (np.asarray(points, dtype=np.float64) - self.centre) * self.scale
