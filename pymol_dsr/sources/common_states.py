"""Several structures as states of the atoms that all of them have, superposed on what moves least."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..shared.superpose import turn_onto
from ..surfaces.source import ExtractError
from .atoms import MoleculeStates, subset
from .matching import FEWEST_ATOMS, AlignChains, match_atoms

CORE_WIDTH = 1.0
"""Å. Atoms that stay much nearer than this are the core that structures are superposed on."""
WIDE_STEPS, STEPS = 10, 30
LEAST_PAIRED = 0.5
"""Fraction of the smaller structure's residues below which two structures are no states of one molecule."""
LONGEST_BOND = 4.0
"""Å. A longer one is cut by the periodic box, or belongs to atoms that were paired wrongly."""
GUIDES = ("CA", "P", "C4'")


@dataclass(frozen=True, eq=False)
class CommonStates:
    """Atoms of the first structure that all have, with a state of each structure.

    lines: for the user, on how they were paired and what was left out.
    """

    atoms: MoleculeStates
    lines: tuple[str, ...]


def common_states(structures: Sequence[MoleculeStates], align: AlignChains, superposed: bool) -> CommonStates:
    """Return the states of the atoms that all structures have, of one state each.

    superposed: move each onto the first, by the atoms that move least. Raises ExtractError where too few are common.
    """
    first, *further = structures
    places: list[dict[int, int]] = []
    lines: list[str] = []
    for structure in further:
        matching = match_atoms(first, structure, align)
        if len(matching.first) < FEWEST_ATOMS or matching.paired < LEAST_PAIRED * matching.smaller:
            raise ExtractError(
                f"{_label(first)} and {_label(structure)} have {len(matching.first)} atoms in common, of "
                f"{matching.paired} of {matching.smaller} residues; a morph needs structures of one molecule, "
                "or of like ones"
            )
        places.append(dict(zip(matching.first.tolist(), matching.second.tolist(), strict=True)))
        lines.append(
            f"{_label(first)} and {_label(structure)}: {len(matching.first)} atoms in common, paired {matching.how}"
            + (f"; {matching.different_names} residues differ in name" if matching.different_names else "")
        )
        lines += matching.left_out
    common_places = sorted(set.intersection(*(set(mapping) for mapping in places)))
    if len(common_places) < FEWEST_ATOMS:
        raise ExtractError(f"{', '.join(map(_label, structures))} have {len(common_places)} atoms in common")
    coordinates = np.concatenate(
        [
            first.coordinates[:, common_places],
            *(
                structure.coordinates[:, [mapping[p] for p in common_places]]
                for structure, mapping in zip(further, places, strict=True)
            ),
        ]
    )
    atoms = subset(first, common_places)
    bonds = [atoms.molecule.bonds]
    bonds += [
        subset(structure, [mapping[p] for p in common_places]).molecule.bonds
        for structure, mapping in zip(further, places, strict=True)
    ]
    lines += _long_bonds(_bonds_along_chain(np.concatenate(bonds), atoms), coordinates, structures)
    if superposed:
        coordinates = superpose_on_core(coordinates, guide_places(atoms))
    states = tuple(range(1, len(structures) + 1))
    # Lines on one structure come once.
    return CommonStates(replace(atoms, coordinates=coordinates, states=states), tuple(dict.fromkeys(lines)))


def _bonds_along_chain(bonds: NDArray[np.int32], atoms: MoleculeStates) -> NDArray[np.int32]:
    """Leave out bonds i4[B,2] between residues that do not follow each other.

    PyMOL bonds atoms that lie close: such a contact, or a disulfide, may be in one of two structures only.
    """
    residues = np.cumsum([0, *(before[:3] != key[:3] for before, key in itertools.pairwise(atoms.atom_keys()))])
    ends = residues[bonds]
    along: NDArray[np.int32] = bonds[np.abs(ends[:, 1] - ends[:, 0]) <= 1]
    return along


def _long_bonds(
    bonds: NDArray[np.int32], coordinates: NDArray[np.float32], structures: Sequence[MoleculeStates]
) -> list[str]:
    """Return a line on each structure f4[S,A,3] (Å) in which atoms lie far apart that are bonded in any of them."""
    lines = []
    for structure, xyz in zip(structures, coordinates, strict=True):
        longest = float(np.linalg.norm(xyz[bonds[:, 0]] - xyz[bonds[:, 1]], axis=1).max(initial=0.0))
        if longest > LONGEST_BOND:
            lines.append(
                f"warning: {_label(structure)} has bonded atoms {longest:.0f} A apart; if the periodic box cuts it, "
                f"type 'pbc_unwrap {structure.object}, bymol=0' first"
            )
    return lines


def guide_places(atoms: MoleculeStates) -> NDArray[np.int64]:
    """Return the places of atoms to superpose on, i8[G]: CA, P and C4', or all where there are too few."""
    names = np.array(atoms.molecule.names)
    guides = np.flatnonzero(np.isin(names, GUIDES) & ~atoms.molecule.hetatm)
    return guides if len(guides) >= FEWEST_ATOMS else np.arange(len(names))


def superpose_on_core(coordinates: NDArray[np.float32], guides: NDArray[np.int64]) -> NDArray[np.float32]:
    """Move states f4[S,A,3] (Å) onto the first, so that the largest rigid part of the guide atoms stays in place.

    The weight of a guide falls with its distance as a Gaussian, whose width narrows to `CORE_WIDTH`.
    """
    fixed = coordinates[0].astype(np.float64)
    moved = [coordinates[0]]
    for state in coordinates[1:]:
        rotation, shift = _core_motion(state[guides].astype(np.float64), fixed[guides])
        moved.append((state.astype(np.float64) @ rotation.T + shift).astype(np.float32))
    return np.stack(moved)


def _core_motion(
    moving: NDArray[np.float64], fixed: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rotation f8[3,3] for columns and shift f8[3] (Å)."""
    weights = np.ones(len(moving))
    rotation, shift = np.eye(3), np.zeros(3)
    for step in range(STEPS):
        a_center = weights @ moving / weights.sum()
        b_center = weights @ fixed / weights.sum()
        root = np.sqrt(weights)[:, None]
        rotation = turn_onto(root * (moving - a_center), root * (fixed - b_center))
        shift = b_center - rotation @ a_center
        squares = np.sum((moving @ rotation.T + shift - fixed) ** 2, axis=1)
        narrowing = max(0.0, 1 - step / WIDE_STEPS)
        width = max(CORE_WIDTH, narrowing * float(np.sqrt(np.median(squares))))
        # Never all nearly zero: the nearest atom has the weight 1.
        weights = np.exp(-(squares - squares.min()) / (2 * width**2))
    return rotation, shift


def _label(structure: MoleculeStates) -> str:
    return f"{structure.object} (state {structure.states[0]})"
