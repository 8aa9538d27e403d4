"""Properties of a trajectory's atoms in the scene, and how they become those of vertices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Trajectory
from ..shared import states
from ..surfaces.identity import find_atoms
from .objects import SceneError
from .palettes import GREY, Colors


def present_indices(trajectory: Trajectory, _self: Any) -> NDArray[np.int32]:
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


@dataclass(frozen=True, eq=False)
class PresentAtoms:
    """The fitted atoms of a trajectory as the scene has them now.

    A look-up compares all atoms with those that were fitted, so a command makes one and reads all properties by it.
    indices: i4[A], from 0, in the order of the fit; None where the scene lacks an atom, and so are the properties then.
    absence: why the scene lacks atoms, and what to do; else empty.
    """

    trajectory: Trajectory
    indices: NDArray[np.int32] | None
    absence: str
    _self: Any

    @classmethod
    def of(cls, trajectory: Trajectory, _self: Any) -> PresentAtoms:
        """Look the atoms up."""
        try:
            return cls(trajectory, present_indices(trajectory, _self), "", _self)
        except SceneError as error:
            return cls(trajectory, None, str(error), _self)

    @property
    def change(self) -> str:
        """The reason why a molecule that is in the scene is no longer the fitted one, and the remedy; else empty."""
        is_known = self.trajectory.atoms is not None
        return self.absence if is_known and self.trajectory.object in self._self.get_names("objects") else ""

    def values(self, expression: str) -> list[Any] | None:
        """Return a property of each atom, as PyMOL's iterate names it."""
        if self.indices is None:
            return None
        values: list[Any] = []
        self._self.iterate(f"%{self.trajectory.object}", f"values.append({expression})", space={"values": values})
        return [values[index] for index in self.indices.tolist()]

    def colors(self) -> Colors | None:
        """Return the colours of the atoms, f4[A,3] from 0 to 1."""
        numbers = self.values("color")
        if numbers is None:
            return None
        tuples = {number: self._self.get_color_tuple(number) or GREY for number in set(numbers)}
        return np.array([tuples[number] for number in numbers], np.float32)

    def radii(self) -> NDArray[np.float32] | None:
        """Return the van der Waals radii of the atoms, f4[A] in Å."""
        radii = self.values("vdw")
        return None if radii is None else np.array(radii, np.float32)

    def residues(self) -> list[tuple[str, str, str, str]] | None:
        """Return chain (or segment), segi, resn and resi of each atom."""
        return self.values("(chain or segi, segi, resn, resi)")


def present_selection(trajectory: Trajectory, _self: Any) -> str:
    """Return a selection of the fitted atoms; by index where they are known, as its own words may mean others now.

    Raises SceneError where the scene lacks an atom.
    """
    if trajectory.atoms is None:
        return trajectory.selection
    indices = np.sort(present_indices(trajectory, _self)) + 1
    return f"%{trajectory.object} and index {states.format(indices.tolist())}"


def atom_colors(trajectory: Trajectory, _self: Any) -> tuple[Colors | None, str]:
    """Return the present colours f4[A,3] of the fitted atoms; None where the scene lacks them, and why."""
    present = PresentAtoms.of(trajectory, _self)
    return present.colors(), present.absence


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
