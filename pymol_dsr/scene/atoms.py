"""Colours, radii and residues of a trajectory's atoms in the scene."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..fits.fit import Trajectory
from .cgo import PLAIN


def atom_colors(trajectory: Trajectory, _self: Any) -> np.ndarray | None:
    """Colours of the fitted atoms as they are now, f4[A,3] from 0 to 1; None where the scene lacks them."""
    numbers = atom_property(trajectory, "color", _self)
    if numbers is None:
        return None
    tuples = {n: _self.get_color_tuple(n) or PLAIN for n in set(numbers)}
    return np.array([tuples[n] for n in numbers], np.float32)


def atom_radii(trajectory: Trajectory, _self: Any) -> np.ndarray | None:
    """Van der Waals radii of the fitted atoms, f4[A] in Å; None where the scene lacks them."""
    radii = atom_property(trajectory, "vdw", _self)
    return None if radii is None else np.array(radii, np.float32)


def atom_residues(trajectory: Trajectory, _self: Any) -> list[tuple[str, str, str]] | None:
    """Chain (or segment), resn and resi of each of the fitted atoms; None where the scene lacks them."""
    return atom_property(trajectory, "(chain or segi, resn, resi)", _self)


def atom_property(trajectory: Trajectory, what: str, _self: Any) -> list[Any] | None:
    """A property of each of the fitted atoms, as PyMOL's iterate names it."""
    if trajectory.atoms is None or trajectory.object not in _self.get_names("objects"):
        return None
    found: dict[int, Any] = {}
    _self.iterate(f"%{trajectory.object}", f"found[index - 1] = {what}", space={"found": found})
    if any(int(i) not in found for i in trajectory.atoms):
        return None
    return [found[int(i)] for i in trajectory.atoms]
