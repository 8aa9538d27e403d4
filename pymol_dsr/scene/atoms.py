"""Properties of a trajectory's atoms in the scene, and how they become those of vertices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Trajectory
from .palettes import GREY, Colors


def atom_property(trajectory: Trajectory, expression: str, _self: Any) -> list[Any] | None:
    """Return a property of each fitted atom, as PyMOL's iterate names it; None where the scene lacks an atom."""
    if trajectory.atoms is None or trajectory.object not in _self.get_names("objects"):
        return None
    values: dict[int, Any] = {}
    _self.iterate(f"%{trajectory.object}", f"values[index - 1] = {expression}", space={"values": values})
    if any(int(index) not in values for index in trajectory.atoms):
        return None
    return [values[int(index)] for index in trajectory.atoms]


def atom_colors(trajectory: Trajectory, _self: Any) -> Colors | None:
    """Return the present colours of the fitted atoms, f4[A,3] from 0 to 1; None where the scene lacks them."""
    numbers = atom_property(trajectory, "color", _self)
    if numbers is None:
        return None
    tuples = {number: _self.get_color_tuple(number) or GREY for number in set(numbers)}
    return np.array([tuples[number] for number in numbers], np.float32)


def atom_radii(trajectory: Trajectory, _self: Any) -> NDArray[np.float32] | None:
    """Return van der Waals radii of the fitted atoms, f4[A] in Å; None where the scene lacks them."""
    radii = atom_property(trajectory, "vdw", _self)
    return None if radii is None else np.array(radii, np.float32)


def atom_residues(trajectory: Trajectory, _self: Any) -> list[tuple[str, str, str, str]] | None:
    """Return chain (or segment), segi, resn and resi of each fitted atom; None where the scene lacks them."""
    return atom_property(trajectory, "(chain or segi, segi, resn, resi)", _self)


def blend(
    values: NDArray[np.floating[Any]], neighbor_indices: NDArray[np.integer[Any]], weights: NDArray[Any]
) -> NDArray[np.float32]:
    """Average values f4[A] of atoms, some of which may be NaN, at vertices.

    neighbor_indices: i4[N,K], the atoms of each vertex. weights: [N,K], in any unit. Returns f4[N], NaN for a vertex
    without a value.
    """
    near = values[neighbor_indices]
    weights = np.where(np.isnan(near), 0.0, weights)
    total = weights.sum(1)
    sums = (weights * np.nan_to_num(near)).sum(1)
    return np.where(total > 0, sums / np.maximum(total, 1e-9), np.nan).astype(np.float32)
