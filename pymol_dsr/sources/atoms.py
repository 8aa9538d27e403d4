"""Reads the atoms of a selection for a trajectory source: topology and coordinates of its states."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared import states
from ..shared.molecule import COLUMNS, Molecule
from ..surfaces.coordinates import check_finite
from ..surfaces.discrete import with_shared_atoms
from ..surfaces.extract import in_scene, state_coordinates, through_box
from ..surfaces.object_session import read_object_session
from ..surfaces.periodic import read_molecules
from ..surfaces.remedies import WITHOUT_UNWRAP
from ..surfaces.selections import filled_states, generated_states, is_beside_movie, selected_object
from ..surfaces.source import Coordinates, ExtractError, SelectedAtoms

AtomKey = tuple[str, str, str, str]
"""Chain (or segment, or both where only they tell atoms apart), residue number, residue name and atom name."""

MACROSTATE = re.compile(r"_macro\d+$")
"""Ends the names of the objects that dsr_ensemble makes of macrostates, whose states do not follow each other."""
SAME_STATE = 0.01
"""Å. Files have three digits; states whose atoms are nearer to each other are one."""

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


def read_states(selection: str, states_text: str, _self: Any, *, title: str = "") -> MoleculeStates:
    """Read all atoms of a selection of one object in the given states (a states text).

    title: the command, or the name of the model, under which warnings about molecules that a periodic box cuts are
    printed; none are looked for without it. The first one of alternate locations is taken. Raises ExtractError or
    StatesError.
    """
    name = selected_object(selection, _self)
    last = _self.count_states(f"%{name}")
    state_numbers = [int(state) for state in sorted(states.parse(states_text, last=last, owner=f"the object {name}"))]
    session = read_object_session(name, _self)
    chosen, bond_state = selection, state_numbers[0]
    if session.is_discrete:
        session, chosen, bond_state = with_shared_atoms(
            selection, session, state_numbers, object=name, remedies=WITHOUT_UNWRAP, _self=_self
        )
    rows = _atom_rows(chosen, _self)
    first_rows = _first_locations(rows)
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
    if title:
        # After the states, which lack no atom now.
        molecules = read_molecules(chosen, atoms, bond_state, _self)
        _, lines = through_box(session, molecules, state_numbers, unwrap=False, remedies=WITHOUT_UNWRAP, _self=_self)
        for line in lines:
            print(f" {title}: warning: {line}")
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

    Atoms are the same where chain, residue and name are. Of an object with gaps, the longest run of states is taken.
    Objects of one state, generated ones, those of a macrostate, and states that the object of `of` has, too, are no
    further trajectories.
    """
    keys = of.atom_keys()
    if len(set(keys)) < len(keys):
        return []
    trajectories: list[MoleculeStates] = []
    own_states: NDArray[np.float32] | None = None
    for name in _self.get_names("objects"):
        if name == of.object or not _may_be_trajectory(name, len(of), _self):
            continue
        trajectory = _with_atoms(name, keys, _self)
        if trajectory is None:
            continue
        if own_states is None:
            own_states = _states_of_object(of, _self)
        # A copy of the object has the states that a test holds out.
        run = _longest_run(np.flatnonzero(~_are_copies(trajectory.coordinates, own_states)), trajectory.states)
        if len(run) > 1:
            kept_states = tuple(trajectory.states[place] for place in run.tolist())
            trajectories.append(replace(trajectory, states=kept_states, coordinates=trajectory.coordinates[run]))
    return trajectories


def _may_be_trajectory(name: str, fewest_atoms: int, _self: Any) -> bool:
    """Whether an object is a molecule with states in time that were not generated, and has so many atoms."""
    if _self.get_type(name) != "object:molecule" or MACROSTATE.search(name):
        return False
    if len(filled_states(name, _self)) < 2 or _self.count_atoms(f"%{name}") < fewest_atoms:
        return False
    return not generated_states(name, _self) and not is_beside_movie(name, _self)


def _with_atoms(name: str, keys: Sequence[AtomKey], _self: Any) -> MoleculeStates | None:
    """Return the states of the atoms of an object that have these keys; None where it lacks one of them."""
    # Before its states are read: those of another molecule are no business of the caller's.
    known_keys = {(chain, resi, resn, name) for _, _, name, resn, resi, chain, *_ in _atom_rows(f"%{name}", _self)}
    if not known_keys.issuperset(keys) or read_object_session(name, _self).is_discrete:
        return None
    try:
        trajectory = read_states(f"%{name}", states.format(filled_states(name, _self)), _self)
    except ExtractError:
        # Some of its states lack atoms, or have coordinates that are no numbers: the user did not ask for it.
        return None
    places = {key: index for index, key in enumerate(trajectory.atom_keys())}
    return subset(trajectory, [places[key] for key in keys])


def _states_of_object(of: MoleculeStates, _self: Any) -> NDArray[np.float32]:
    """Return these states and all others of their object that have the atoms, f4[S,A,3] in Å."""
    session = read_object_session(of.object, _self)
    others = [] if session.is_discrete else filled_states(of.object, _self)
    read = [positions for state in others if (positions := session.positions(state, of.indices)) is not None]
    return np.stack([*of.coordinates, *(xyz[places] for xyz, places in read if (places >= 0).all())])


def _are_copies(coordinates: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return b[S], which states f4[S,A,3] (Å) are one of the known f4[T,A,3], also after a rigid motion."""
    shapes, known_shapes = _shapes(coordinates), _shapes(known)
    sizes = known_shapes.mean(1)
    copies = np.zeros(len(shapes), bool)
    for number, shape in enumerate(shapes):
        alike = known_shapes[np.abs(sizes - shape.mean()) < SAME_STATE]
        copies[number] = bool(len(alike)) and bool(np.abs(alike - shape).max(1).min() < SAME_STATE)
    return copies


def _shapes(coordinates: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the distance f8[S,A] of each atom of f4[S,A,3] (Å) from the centre of its state."""
    centered = coordinates - coordinates.mean(1, keepdims=True, dtype=np.float64)
    distances: NDArray[np.float64] = np.linalg.norm(centered, axis=2)
    return distances


def _longest_run(places: NDArray[np.int64], state_numbers: Sequence[int]) -> NDArray[np.int64]:
    """Return the longest run of places whose states follow each other."""
    numbers = np.array(state_numbers, np.int64)[places]
    return max(np.split(places, np.flatnonzero(np.diff(numbers) != 1) + 1), key=len)


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


def _atom_rows(selection: str, _self: Any) -> list[_Row]:
    rows: list[_Row] = []
    segments: list[str] = []
    # Two statements: PyMOL prints the value of an expression, such as a pair, for each atom.
    _self.iterate(
        f"({selection})",
        "rows.append((index, ID, name, resn, resi, chain or segi, elem, alt, type == 'HETATM')); segments.append(segi)",
        space={"rows": rows, "segments": segments},
    )
    return _with_segments(rows, segments)


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
