"""Properties of a trajectory's atoms in the scene, and how they become those of vertices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Trajectory
from ..shared import states
from ..surfaces.identity import find_atoms
from .objects import SceneError
from .palettes import GREY, Colors


def present_atoms(trajectory: Trajectory, _self: Any) -> NDArray[np.int32]:
    """Return the present indices i4[A] (from 0) of the fitted atoms, in their order.

    Raises SceneError, with all that is known of the atoms and what to do, where the scene lacks one of them.
    """
    name, atoms, identity = trajectory.object, trajectory.atoms, trajectory.identity
    if name and name not in _self.get_names("objects"):
        raise SceneError(f"the object {name} is not in the scene; load it first")
    if atoms is None:
        raise SceneError(f"this fit knows no atoms of {name or 'its molecule'}; fit them anew with dsr_fit")
    count = int(_self.count_atoms(f"%{name}"))
    fitted_count = int(atoms.max()) + 1 if identity is None else identity.count
    if identity is not None:
        present = find_atoms(name, atoms, identity, _self)
    else:
        present = atoms if fitted_count <= count else None
    if present is not None:
        return present
    if count != fitted_count:
        least = "at least " if identity is None else ""
        changed = f"it has {count} atoms now and had {least}{fitted_count}"
    else:
        changed = f"some of its {count} atoms are others, or in another order"
    raise SceneError(
        f"{name} is not in the scene as it was fitted ({changed}): load it as it was, or fit it anew with dsr_fit"
    )


def present_selection(trajectory: Trajectory, _self: Any) -> str:
    """Return a selection of the fitted atoms; by index where they are known, as its own words may mean others now.

    Raises SceneError where the scene lacks an atom.
    """
    if trajectory.atoms is None:
        return trajectory.selection
    indices = np.sort(present_atoms(trajectory, _self)) + 1
    return f"%{trajectory.object} and index {states.format(indices.tolist())}"


def atom_property(trajectory: Trajectory, expression: str, _self: Any) -> list[Any] | None:
    """Return a property of each fitted atom, as PyMOL's iterate names it; None where the scene lacks an atom."""
    try:
        present = present_atoms(trajectory, _self)
    except SceneError:
        return None
    values: list[Any] = []
    _self.iterate(f"%{trajectory.object}", f"values.append({expression})", space={"values": values})
    return [values[index] for index in present.tolist()]


def absence(trajectory: Trajectory, _self: Any) -> str:
    """Say why the scene lacks the fitted atoms, and what to do; empty where it has them."""
    try:
        present_atoms(trajectory, _self)
    except SceneError as error:
        return str(error)
    return ""


def reason_of_change(trajectory: Trajectory, _self: Any) -> str:
    """Say how a molecule that is in the scene is no longer the fitted one, and what to do; empty in all other cases."""
    is_there = trajectory.atoms is not None and trajectory.object in _self.get_names("objects")
    return absence(trajectory, _self) if is_there else ""


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
