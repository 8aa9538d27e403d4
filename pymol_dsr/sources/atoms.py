"""Reads the atoms of a selection for a trajectory source: topology and coordinates of its states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared import states
from ..shared.molecule import COLUMNS, Molecule
from ..surfaces.coordinates import check_finite
from ..surfaces.discrete import with_shared_atoms
from ..surfaces.extract import in_scene, state_coordinates
from ..surfaces.object_session import read_object_session
from ..surfaces.remedies import IN_PYMOL
from ..surfaces.selections import ATOMS_TITLE, generated_states, selected_object
from ..surfaces.source import Coordinates, SelectedAtoms

AtomKey = tuple[str, str, str, str]
"""Chain (or segment, or both where only they tell atoms apart), residue number, residue name and atom name."""

_TEMPORARY = "_dsr_source"
_Row = tuple[int, int, str, str, str, str, str, str, bool]


@dataclass(frozen=True, eq=False)
class MoleculeStates:
    """Atoms of one object with the coordinates of some of its states.

    indices: i4[A], the atoms from 0 in the object. states: their numbers from 1, rising. coordinates: f4[S,A,3] in Å.
    left_out: atoms that are second places of another one (alternate locations).
    """

    object: str
    selection: str
    indices: NDArray[np.int32]
    molecule: Molecule
    states: tuple[int, ...]
    coordinates: NDArray[np.float32]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def times(self) -> NDArray[np.float64]:
        """State numbers as times, f8[S]."""
        return np.array(self.states, np.float64)

    def atom_keys(self) -> list[AtomKey]:
        """Return what names each atom."""
        m = self.molecule
        return list(zip(m.chains, m.residue_numbers, m.residue_names, m.names, strict=True))


def read_states(selection: str, states_text: str, _self: Any) -> MoleculeStates:
    """Read all atoms of a selection of one object in the given states (a states text).

    The first one of alternate locations is taken. Raises ExtractError or StatesError.
    """
    name = selected_object(selection, _self)
    last = _self.count_states(f"%{name}")
    state_numbers = [int(state) for state in sorted(states.parse(states_text, last=last, owner=f"the object {name}"))]
    session = read_object_session(name, _self)
    chosen, bond_state = selection, state_numbers[0]
    if session.is_discrete:
        session, chosen, bond_state = with_shared_atoms(
            selection, session, state_numbers, object=name, remedies=IN_PYMOL, _self=_self
        )
    rows: list[_Row] = []
    segments: list[str] = []
    _self.iterate(
        f"({chosen})",
        "rows.append((index, ID, name, resn, resi, chain or segi, elem, alt, type == 'HETATM')), segments.append(segi)",
        space={"rows": rows, "segments": segments},
    )
    first_rows = _first_locations(_with_segments(rows, segments))
    atoms = SelectedAtoms(
        name,
        np.array([row[0] - 1 for row in first_rows], np.int32),
        [row[1] for row in first_rows],
        [row[2] for row in first_rows],
    )
    positions: list[Coordinates] = []
    for state in state_numbers:
        xyz = in_scene(state_coordinates(session, state, atoms, selection), name, state, _self)
        check_finite(xyz, state, atoms)
        positions.append(xyz)
    return MoleculeStates(
        name,
        selection,
        atoms.indices,
        _molecule(first_rows, _bonds(name, atoms.indices, bond_state, _self)),
        tuple(state_numbers),
        np.stack(positions),
        len(rows) - len(first_rows),
    )


def further_trajectories(of: MoleculeStates, _self: Any) -> list[MoleculeStates]:
    """Return the other loaded trajectories that have all atoms of `of`, in its order of atoms.

    Atoms are the same where chain, residue and name are. Objects of one state and generated ones are no trajectories.
    """
    trajectories = []
    keys = of.atom_keys()
    if len(set(keys)) < len(keys):
        return []
    for name in _self.get_names("objects"):
        if name == of.object or _self.get_type(name) != "object:molecule" or _self.count_states(f"%{name}") < 2:
            continue
        if _self.count_atoms(f"%{name}") < len(of) or generated_states(name, _self):
            continue
        # The atoms beside a movie are interpolated.
        if _self.get_title(name, 1) == ATOMS_TITLE:
            continue
        if read_object_session(name, _self).is_discrete:
            continue
        trajectory = read_states(f"%{name}", "all", _self)
        places = {key: index for index, key in enumerate(trajectory.atom_keys())}
        if all(key in places for key in keys):
            trajectories.append(subset(trajectory, [places[key] for key in keys]))
    return trajectories


def subset(atoms: MoleculeStates, places: Sequence[int]) -> MoleculeStates:
    """Return some of the atoms, in the order of `places` (from 0)."""
    chosen = np.array(places, np.int64)
    new = np.full(len(atoms), -1, np.int64)
    new[chosen] = np.arange(len(chosen))
    bonds = new[atoms.molecule.bonds]
    columns = {column: tuple(getattr(atoms.molecule, column)[index] for index in places) for column in COLUMNS}
    molecule = Molecule(
        **columns,
        bonds=bonds[(bonds >= 0).all(axis=1)].astype(np.int32),
        hetatm=atoms.molecule.hetatm[chosen],
    )
    return MoleculeStates(
        atoms.object, atoms.selection, atoms.indices[chosen], molecule, atoms.states, atoms.coordinates[:, chosen]
    )


def _with_segments(rows: Sequence[_Row], segments: Sequence[str]) -> list[_Row]:
    """Add its segment to the chain of each atom whose chain has atoms that nothing but their segments tells apart."""
    first_segments: dict[tuple[str, ...], str] = {}
    ambiguous = {
        chain
        for (_, _, name, resn, resi, chain, _, _, _), segment in zip(rows, segments, strict=True)
        if first_segments.setdefault((chain, resi, resn, name), segment) != segment
    }
    return [
        (*row[:5], f"{row[5]}_{segment}", *row[6:]) if row[5] in ambiguous else row
        for row, segment in zip(rows, segments, strict=True)
    ]


def _first_locations(rows: Sequence[_Row]) -> list[_Row]:
    """Leave out atoms that are another location of one before them."""
    known_keys: set[tuple[str, ...]] = set()
    first_rows = []
    for row in rows:
        _, _, name, resn, resi, chain, _, alt, _ = row
        key = (chain, resi, resn, name)
        if alt and key in known_keys:
            continue
        if alt:
            known_keys.add(key)
        first_rows.append(row)
    return first_rows


def _bonds(name: str, indices: NDArray[np.int32], state: int, _self: Any) -> NDArray[np.int32]:
    """Return the bonds among these atoms, i4[B,2] from 0."""
    _self.select_list(_TEMPORARY, name, [int(index) + 1 for index in indices], mode="index")
    try:
        pairs = _self.get_bonds(_TEMPORARY, state) or []
    finally:
        _self.delete(_TEMPORARY)
    return np.array([pair[:2] for pair in pairs], np.int32).reshape(-1, 2)


def _molecule(rows: Sequence[_Row], bonds: NDArray[np.int32]) -> Molecule:
    _, _, names, residue_names, residue_numbers, chains, elements, _, hetatm = zip(*rows, strict=True)
    return Molecule(names, residue_names, residue_numbers, chains, elements, bonds, np.array(hetatm, bool))
