"""Periodic boxes: molecules that a box cuts, and molecules made whole again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared.text import counted
from .coordinates import jump_warnings
from .object_session import ObjectSession
from .remedies import Remedies
from .source import Coordinates, ExtractError, SelectedAtoms

Cell = NDArray[np.float64]
"""The edges of a unit cell, one a row: f8[3,3] Å."""
# Å; a shorter edge is PyMOL's placeholder for a unit cell that is not known.
LEAST_CELL = 2.0
# Å; no bond is longer, nor is one longer than half an edge of the box.
LONGEST_BOND = 5.0
# Beads of coarse models are bonded over longer distances, all about alike.
MOST_MEDIANS = 3.0
# Å; atoms that are nearer than this across the box are bonded: hydrogens, sulphur with sulphur, all others.
HYDROGEN_BOND, SULPHUR_BOND, OTHER_BOND = 1.3, 2.3, 2.0


@dataclass(frozen=True, eq=False)
class Molecules:
    """The molecules that the selected atoms belong to.

    atoms: of the whole molecules; bonds: i4[B,2], places among them; chosen: i8[A], places of the selected atoms.
    """

    atoms: SelectedAtoms
    bonds: NDArray[np.int32]
    chosen: NDArray[np.int64]

    def only(self, kept: NDArray[np.bool_]) -> Molecules:
        """Return the molecules without some atoms that are not selected. kept: b[N]."""
        if kept.all():
            return self
        places = np.cumsum(kept) - 1
        bonds = self.bonds[kept[self.bonds].all(1)]
        atoms = _subset(self.atoms, np.flatnonzero(kept))
        return Molecules(atoms, places[bonds].astype(np.int32), places[self.chosen])

    def selected(self) -> SelectedAtoms:
        """Return the selected atoms."""
        return _subset(self.atoms, self.chosen)

    def owners(self) -> NDArray[np.int64]:
        """Return the molecule i8[A] of each selected atom."""
        return _trees(len(self.atoms), self.bonds)[1][self.chosen]


def _subset(atoms: SelectedAtoms, places: NDArray[np.int64]) -> SelectedAtoms:
    return SelectedAtoms(
        atoms.object, atoms.indices[places], [atoms.ids[k] for k in places], [atoms.names[k] for k in places]
    )


def cell_of(symmetry: Sequence[Any] | None) -> Cell | None:
    """Return the cell of PyMOL's get_symmetry: edges in Å and angles in degrees; None where it is not known."""
    if not symmetry or min(symmetry[:3]) <= LEAST_CELL:
        return None
    a, b, c = (float(edge) for edge in symmetry[:3])
    alpha, beta, gamma = np.radians(np.array(symmetry[3:6], np.float64))
    x = np.cos(beta)
    y = (np.cos(alpha) - np.cos(beta) * np.cos(gamma)) / np.sin(gamma)
    z = np.sqrt(max(0.0, 1.0 - x * x - y * y))
    return np.array([[a, 0.0, 0.0], [b * np.cos(gamma), b * np.sin(gamma), 0.0], [c * x, c * y, c * z]])


def read_cell(object: str, state: int, _self: Any) -> Cell | None:
    """Read the cell of a state, or else that of the object; None where neither is known."""
    of_state = cell_of(_self.get_symmetry(object, state))
    return cell_of(_self.get_symmetry(object)) if of_state is None else of_state


def nearest_images(steps: NDArray[np.float64], cell: Cell) -> NDArray[np.float64]:
    """Return steps f8[N,3] (Å) to the nearest image in the periodic box."""
    return steps - np.round(steps @ np.linalg.inv(cell)) @ cell


def read_molecules(selection: str, atoms: SelectedAtoms, state: int, _self: Any) -> Molecules:
    """Read the molecules of the selected atoms, with the bonds that the box cuts in this state.

    PyMOL has no bond across the box in a structure whose first state is cut: there, atoms of one residue or of two
    neighbours that lie a bond apart by the nearest image are bonded.
    """
    # Atoms without bonds are no molecule to PyMOL.
    molecule_selection = f"(bymolecule ({selection})) or ({selection})"
    rows: list[tuple[int, int, str, str, tuple[str, str, str], tuple[float, float, float]]] = []
    _self.iterate_state(
        state,
        molecule_selection,
        "rows.append((index - 1, ID, name, elem, (segi, chain, resi), (x, y, z)))",
        space={"rows": rows},
    )
    indices = np.array([row[0] for row in rows], np.int32)
    bonds = np.array([pair[:2] for pair in _self.get_bonds(molecule_selection, state)], np.int32).reshape(-1, 2)
    cell = read_cell(atoms.object, state, _self)
    xyz, elements = np.array([row[5] for row in rows], np.float64).reshape(-1, 3), [row[3] for row in rows]
    if cell is not None:
        across = _bonds_across(xyz, cell, elements, [row[4] for row in rows])
        bonds = np.unique(np.sort(np.concatenate([bonds, across]), axis=1), axis=0)
    bonds = _with_bonded_once(bonds, xyz, cell, np.array([element == "H" for element in elements]))
    number_of_index = {index: number for number, index in enumerate(indices.tolist())}
    chosen = np.array([number_of_index[index] for index in atoms.indices.tolist()], np.int64)
    all_atoms = SelectedAtoms(atoms.object, indices, [row[1] for row in rows], [row[2] for row in rows])
    return Molecules(all_atoms, bonds, chosen)


def _bonds_across(
    xyz: NDArray[np.float64], cell: Cell, elements: Sequence[str], residues: Sequence[tuple[str, str, str]]
) -> NDArray[np.int32]:
    """Return pairs i4[B,2] of atoms far apart that are bonded through the box; both in one residue or in neighbours."""
    starts = [k for k in range(len(residues)) if not k or residues[k] != residues[k - 1]]
    ends = [*starts[1:], len(residues)]
    half = half_edge_of(cell)
    pairs: list[NDArray[np.int64]] = []
    for number, start in enumerate(starts):
        neighbour = number + 1 < len(starts) and residues[starts[number + 1]][:2] == residues[start][:2]
        end = ends[number + 1] if neighbour else ends[number]
        if not np.ptp(xyz[start:end], axis=0).max() > half / 3.0**0.5:
            continue
        first, second = np.triu_indices(end - start, 1)
        # Pairs within the neighbour come in its own turn.
        in_residue = first < ends[number] - start
        first, second = start + first[in_residue], start + second[in_residue]
        step = xyz[second] - xyz[first]
        nearest = nearest_images(step, cell)
        limit = np.array([_bond_limit(elements[i], elements[j]) for i, j in zip(first, second, strict=True)])
        bonded = (np.linalg.norm(step, axis=1) > half) & (np.linalg.norm(nearest, axis=1) < limit)
        pairs.append(np.stack([first[bonded], second[bonded]], 1))
    bonds: NDArray[np.int32] = np.concatenate([np.zeros((0, 2), np.int64), *pairs]).astype(np.int32)
    return bonds


def _with_bonded_once(
    bonds: NDArray[np.int32], xyz: NDArray[np.float64], cell: Cell | None, once: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Drop all bonds but the shortest of atoms that have one only: PyMOL takes close contacts for bonds."""
    if not (once & (np.bincount(bonds.ravel(), minlength=len(xyz)) > 1)).any():
        return bonds
    step = xyz[bonds[:, 0]] - xyz[bonds[:, 1]]
    if cell is not None:
        step = nearest_images(step, cell)
    retained = np.zeros(len(bonds), bool)
    full = np.zeros(len(xyz), bool)
    for number in np.argsort((step**2).sum(1), kind="stable"):
        ends = bonds[number]
        if not full[ends].any():
            retained[number] = True
            full[ends] = once[ends]
    well: NDArray[np.int32] = bonds[retained]
    return well


def _bond_limit(first: str, second: str) -> float:
    if first == "H" or second == "H":
        return 0.0 if first == second else HYDROGEN_BOND
    return SULPHUR_BOND if first == second == "S" else OTHER_BOND


def half_edge_of(cell: Cell | None) -> float:
    """Return half of the shortest edge in Å; inf where the cell is not known."""
    return np.inf if cell is None else 0.5 * float(np.linalg.norm(cell, axis=1).min())


@dataclass(frozen=True)
class Break:
    """The bonds of a state that are too long. first, second: places of the ends of the longest; length: its length."""

    state: int
    count: int
    first: int
    second: int
    length: float


def find_break(molecules: Molecules, state: int, xyz: NDArray[np.floating[Any]], cell: Cell | None) -> Break | None:
    """Return the bonds of a state that are too long; None where all are well. xyz: [N,3] Å of the whole molecules."""
    first, second = molecules.bonds.T
    lengths = np.linalg.norm(xyz[first].astype(np.float64) - xyz[second], axis=1)
    if not len(lengths):
        return None
    limit = max(min(LONGEST_BOND, half_edge_of(cell)), MOST_MEDIANS * float(np.median(lengths)))
    longest = int(lengths.argmax())
    if not lengths[longest] > limit:
        return None
    return Break(
        state, int((lengths > limit).sum()), int(first[longest]), int(second[longest]), float(lengths[longest])
    )


def break_line(molecules: Molecules, breaks: Sequence[Break], *, in_box: bool, remedy: str) -> str:
    """One line for the user on states with bonds that are too long. in_box: whether their unit cell is known."""
    atoms, worst = molecules.atoms, breaks[0]
    further = f" and {counted(len(breaks) - 1, 'other state')}" if len(breaks) > 1 else ""
    bonds = "bond is" if worst.count == 1 else "bonds are"
    place = f"({atoms.label(worst.first)} to {atoms.label(worst.second)})"
    if not in_box:
        up_to = "" if worst.count == 1 else "up to "
        return (
            f"state {worst.state}{further}: {worst.count} {bonds} {up_to}{worst.length:.1f} A long in {atoms.object} "
            f"{place}: the molecule may be torn; if the periodic box of a simulation cuts it, {remedy}"
        )
    return (
        f"state {worst.state}{further}: {worst.count} {bonds} cut in {atoms.object}, up to {worst.length:.1f} A long "
        f"{place}: the molecule is broken by its periodic box; {remedy}"
    )


def unwrap_remedy(object: str, cell: Cell | None, *, first_is_whole: bool, remedies: Remedies) -> str:
    """Say how to make molecules whole. first_is_whole: in the first state, from which PyMOL's pbc_unwrap goes on."""
    if cell is None:
        return f"{remedies.cell(object)}, then {remedies.unwrap(object, by_pymol=False)}"
    return remedies.unwrap(object, by_pymol=first_is_whole)


class Unwrapper:
    """Makes the molecules of one state after another whole, and lets none jump through the box from state to state.

    The first state says where the molecules are; in later ones, each keeps its place beside the largest.
    """

    def __init__(self, molecules: Molecules) -> None:
        self._parents, self._owners = _trees(len(molecules.atoms), molecules.bonds)
        self._sizes = np.bincount(self._owners).astype(np.float64)
        self._largest = int(self._sizes.argmax()) if len(self._sizes) else 0
        self._centres: NDArray[np.float64] | None = None

    def __call__(self, xyz: NDArray[np.floating[Any]], cell: Cell) -> Coordinates:
        """Return the positions f4[N,3] (Å) of whole molecules. xyz: [N,3] Å of a state, states in rising order."""
        inverse = np.linalg.inv(cell)
        places = xyz.astype(np.float64)
        # The images that each atom is moved by, against the one it is bonded to; sums along the way to the root.
        parents = self._parents
        images = -np.round((places - places[parents]) @ inverse)
        while (parents != parents[parents]).any():
            images += images[parents]
            parents = parents[parents]
        places += images @ cell
        centres = np.stack([np.bincount(self._owners, places[:, k]) for k in range(3)], 1) / self._sizes[:, None]
        if self._centres is not None:
            step = centres - self._centres
            largest = np.round(step[self._largest] @ inverse)
            relative_images = np.round((step - step[self._largest]) @ inverse)
            moved = -(largest + relative_images) @ cell
            centres += moved
            places += moved[self._owners]
        self._centres = centres
        return places.astype(np.float32)


def _trees(count: int, bonds: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the atom i8[N] that each atom hangs on (the first one of a molecule on itself), and its molecule i8[N]."""
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for first, second in bonds.tolist():
        neighbours[first].append(second)
        neighbours[second].append(first)
    parents, owners = np.full(count, -1, np.int64), np.zeros(count, np.int64)
    molecule = -1
    for root in range(count):
        if parents[root] >= 0:
            continue
        molecule += 1
        parents[root], owners[root] = root, molecule
        waiting = [root]
        for atom in waiting:
            for neighbour in neighbours[atom]:
                if parents[neighbour] < 0:
                    parents[neighbour], owners[neighbour] = atom, molecule
                    waiting.append(neighbour)
    return parents, owners


def molecule_positions(
    session: ObjectSession, molecules: Molecules, states: Iterable[int]
) -> tuple[Molecules, dict[int, Coordinates]]:
    """Read the molecules f4[N,3] (Å) in the states that have all selected atoms.

    Returns the molecules without atoms that one of these states lacks, and their positions by state.
    """
    read: dict[int, tuple[Coordinates, NDArray[np.int64]]] = {}
    present = np.ones(len(molecules.atoms), bool)
    for state in states:
        positions = session.positions(state, molecules.atoms.indices)
        if positions is None:
            continue
        xyz, places = positions
        has_position = (places >= 0) & np.isfinite(xyz[places]).all(1)
        if has_position[molecules.chosen].all():
            read[state] = positions
            present &= has_position
    return molecules.only(present), {state: xyz[places[present]] for state, (xyz, places) in read.items()}


def find_breaks(
    molecules: Molecules, positions: Mapping[int, Coordinates], cells: Mapping[int, Cell | None]
) -> dict[int, Break | None]:
    """Return the bonds that are too long in each state. positions: f4[N,3] Å of the molecules by state."""
    return {state: find_break(molecules, state, xyz, cells[state]) for state, xyz in positions.items()}


def check_box_lines(
    session: ObjectSession,
    molecules: Molecules,
    positions: Mapping[int, Coordinates],
    cells: Mapping[int, Cell | None],
    breaks: Mapping[int, Break | None],
) -> None:
    """Raise ExtractError where PyMOL has read the lines with the box in AMBER's text trajectories as atoms.

    Each such line moves all later coordinates on by one atom. positions: f4[N,3] Å of the molecules by state, rising;
    breaks: their `find_breaks`.
    """
    first_break = next(filter(None, breaks.values()), None)
    if first_break is None:
        return
    state = first_break.state
    if _is_whole_across(molecules, positions[state], cells[state]):
        return
    read = session.positions(state, molecules.atoms.indices)
    assert read is not None, "its positions were read"
    xyz, places = read
    ends = places[molecules.bonds]
    is_short = np.linalg.norm(xyz[ends[:, 0]].astype(np.float64) - xyz[ends[:, 1]], axis=1) < LONGEST_BOND
    # A structure may have been loaded before the trajectory, as state 1.
    for shift in (state - 1, state - 2):
        rows = ends + shift
        # The last atoms of the file have no coordinates in this state.
        rows = rows[(rows < len(xyz)).all(1)]
        # The line with the box comes right before the first atom, far from the atoms that its place is bonded to.
        has_line = not is_short[(ends == shift - 1).any(1)].any()
        if shift > 0 and has_line and 2 * len(rows) > len(molecules.bonds):
            lengths = np.linalg.norm(xyz[rows[:, 0]].astype(np.float64) - xyz[rows[:, 1]], axis=1)
            if lengths.max() < LONGEST_BOND:
                raise ExtractError(
                    f"state {state}: {molecules.atoms.object} has the coordinates of other atoms there, as PyMOL takes "
                    "the lines with the box in AMBER's text trajectories (.mdcrd, .crd, .trj) for atoms; convert the "
                    "trajectory to .nc or .dcd, as with cpptraj or MDAnalysis, and load that"
                )


def _is_whole_across(molecules: Molecules, xyz: Coordinates, cell: Cell | None) -> bool:
    """Whether all bonds are short through the periodic box, which cuts them then. xyz: f4[N,3] Å of the molecules."""
    if cell is None:
        return False
    first, second = molecules.bonds.T
    steps = nearest_images(xyz[first].astype(np.float64) - xyz[second], cell)
    return bool(np.linalg.norm(steps, axis=1).max() < LONGEST_BOND)


def made_whole(
    molecules: Molecules, positions: Mapping[int, Coordinates], cells: Mapping[int, Cell | None], remedies: Remedies
) -> dict[int, Coordinates]:
    """Return the selected atoms f4[A,3] (Å) of whole molecules by state.

    positions: f4[N,3] Å of the molecules by state, rising. Raises ExtractError where a cell is not known.
    """
    unwrapper = Unwrapper(molecules)
    unwrapped = {}
    for state, xyz in positions.items():
        cell = cells[state]
        if cell is None:
            raise no_cell(molecules.atoms.object, state, remedies)
        unwrapped[state] = unwrapper(xyz, cell)[molecules.chosen]
    return unwrapped


def no_cell(object: str, state: int, remedies: Remedies) -> ExtractError:
    """Return the error of a state that can't be unwrapped."""
    return ExtractError(f"unwrap 1: state {state} of {object} has no unit cell; {remedies.cell(object)}")


def box_warnings(
    molecules: Molecules,
    positions: Mapping[int, Coordinates],
    cells: Mapping[int, Cell | None],
    breaks: Mapping[int, Break | None],
    wanted: Sequence[int],
    remedies: Remedies,
) -> list[str]:
    """Return a line where the box cuts the molecules in some states, or else where an atom leaps through it.

    positions: f4[N,3] Å of the molecules in the wanted states and, where there is one, in the first state; breaks:
    their `find_breaks`.
    """
    name = molecules.atoms.object
    first_is_whole = 1 in breaks and breaks[1] is None
    remedy = unwrap_remedy(name, cells[wanted[0]], first_is_whole=first_is_whole, remedies=remedies)
    broken = [state_break for state in wanted if (state_break := breaks[state]) is not None]
    if broken:
        return [break_line(molecules, broken, in_box=cells[wanted[0]] is not None, remedy=remedy)]
    chosen = {state: positions[state][molecules.chosen] for state in wanted}
    atoms = molecules.selected()
    return jump_warnings(
        wanted, chosen, atoms, molecules.owners(), half_edge=half_edge_of(cells[wanted[0]]), remedy=remedy
    )
