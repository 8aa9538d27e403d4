"""Back from Cα or backbone atoms to all atoms: side chains transplanted from known states, then relaxed.

Each residue takes its atoms from the known state (the donor) whose Cα trace around it is most alike, as means over the
donors that have the same conformer of it: this takes off their thermal motion. They ride on a local frame:
Cα(i−1, i, i+1), or N, Cα, C. A short minimisation with the given atoms fixed mends bonds and clashes. Hydrogens follow
their heavy atoms.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from pymol_dsr.shared.molecule import Molecule

from ..geometry.bond_graph import BondGraph
from .topology import corner_axes, residue_indices

Coordinates = NDArray[np.float32]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ALPHAS = ("CA",)
BACKBONE = ("N", "CA", "C")
BACKBONE_WITH_OXYGEN = (*BACKBONE, "O")

RELAX_STEPS = 60
RESTRAINT = 0.02
"""Weight of the pull to the transplanted place, beside 1 for a distance of two bonded atoms."""
CLOSEST, CLOSEST_POLAR = 3.3, 2.7
"""Å. Nearer, two heavy atoms push each other off; N and O may come as near as a hydrogen bond lets them."""
CLASH = 2.4
"""Å. Nearer, two heavy atoms more than three bonds apart count as a clash; states of dynamics have none."""
SAME_CONFORMER = 2.0
"""Å. Conformers of a residue are the same where each of its heavy atoms differs by less in the local frame."""
WINDOW = 2
"""Residues before and after one that decide which donor is most alike."""
ROUNDS = 3
"""Lists of near atoms that a relaxation makes, one after the other."""
# A bond that does not turn freely is shorter than these lengths in Å: amides, rings, guanidine.
_SINGLE_BONDS = {frozenset("C"): 1.46, frozenset("CN"): 1.41}


class BackMap:
    """Builds all atoms from the positions of a few.

    atoms: i8[K], the atoms whose positions `build` takes, in the order of residues and then of `anchors`.
    """

    def __init__(
        self, molecule: Molecule, donors: NDArray[np.floating[Any]], anchors: tuple[str, ...] = ALPHAS
    ) -> None:
        """donors: [D,A,3] in Å, the states that atoms are taken from. anchors: names of the atoms that are given.

        Raises ValueError for no donor, and where no residue has a local frame.
        """
        if not len(donors):
            raise ValueError("atoms are taken from known states, and there are none: give a state with all atoms")
        if anchors not in (ALPHAS, BACKBONE, BACKBONE_WITH_OXYGEN):
            raise ValueError(f"anchors are {anchors}; choose {ALPHAS}, {BACKBONE} or {BACKBONE_WITH_OXYGEN}")
        self._donors = np.asarray(donors, np.float64)
        self._residues = residue_indices(molecule)
        heavy = molecule.heavy
        bonds = np.asarray(molecule.bonds, np.int64)
        self._chain = _Chain(molecule.names, self._residues, bonds, anchors)
        self.atoms = self._chain.anchors
        # Once for all frames that are built.
        donor_frames = self._chain.frames(self._donors)
        self._donor_windows = self._chain.windows(self._donors, donor_frames)
        self._local = _mean_conformers(donor_frames.inverse(self._donors, self._residues), self._residues, heavy)
        self._terms = Relaxation(molecule.elements, bonds, self._donors, heavy, self.atoms)
        self._hydrogens = Hydrogens(heavy, bonds)

    def build(
        self, positions: NDArray[np.floating[Any]], check: Callable[[], None] = lambda: None, relax: bool = True
    ) -> Iterator[Coordinates]:
        """Yield all atoms f4[A,3] in Å of each frame. positions: [F,K,3] in Å, of `atoms`.

        check: called before each frame, and may raise. relax: mend bonds and clashes. Raises ValueError for another
        number of atoms.
        """
        if positions.ndim != 3 or positions.shape[1:] != (len(self.atoms), 3):
            raise ValueError(f"positions are {list(positions.shape)}, expected frames × {len(self.atoms)} atoms × 3")
        for frame in positions:
            check()
            yield self._frame(np.asarray(frame, np.float64), relax)

    def _frame(self, beads: Floats, relax: bool) -> Coordinates:
        built = np.zeros_like(self._donors[0])
        built[self.atoms] = beads
        frames = self._chain.frames(built[None])
        windows = self._chain.windows(built[None], frames)
        donor = ((self._donor_windows - windows) ** 2).sum((-1, -2)).argmin(0)[self._chain.rides_on]
        donor_of_atom = donor[self._residues]
        built = frames.forward(self._local[donor_of_atom, np.arange(len(built))], self._residues)
        built[self.atoms] = beads
        if relax:
            built = self._terms.relaxed(built, donor_of_atom)
        return self._hydrogens.placed(built, self._donors, donor_of_atom).astype(np.float32)


def clashes(coordinates: NDArray[np.floating[Any]], molecule: Molecule) -> int:
    """Count pairs of heavy atoms of [A,3] in Å that are more than three bonds apart and nearer than CLASH Å."""
    bonds = BondGraph(len(molecule), molecule.bonds)
    return len(bonds.near_pairs(coordinates, CLASH, np.flatnonzero(molecule.heavy)))


def _mean_conformers(local: Floats, residues: Indices, heavy: NDArray[np.bool_]) -> Floats:
    """Return the atoms of each donor as means over the donors of the same conformer, by residue.

    local: f8[D,A,3] in the local frames.
    """
    begins = np.flatnonzero(np.diff(residues, prepend=-1))
    means = np.empty_like(local)
    for number, donor in enumerate(local):
        deviations = np.linalg.norm(local - donor, axis=2) * heavy
        alike = (np.maximum.reduceat(deviations, begins, axis=1) < SAME_CONFORMER)[:, residues, None]
        means[number] = (local * alike).sum(0) / alike.sum(0)
    return means


@dataclass(frozen=True)
class _Frames:
    """Local frames of residues: origins f8[S,R,3], axes f8[S,R,3,3] with the axes in rows."""

    origins: Floats
    axes: Floats

    def inverse(self, coordinates: Floats, residue: Indices) -> Floats:
        """Return positions [S,A,3] of the atoms of all states in the local frames of their residues [A]."""
        shifted = coordinates - self.origins[:, residue]
        local: Floats = np.einsum("snij,snj->sni", self.axes[:, residue], shifted)
        return local

    def forward(self, local: Floats, residue: Indices) -> Floats:
        """Return positions [.,3] in Å from those in the local frames of residues of the only state."""
        placed: Floats = np.einsum("nij,ni->nj", self.axes[0, residue], local) + self.origins[0, residue]
        return placed


class _Chain:
    """Residues with the given atoms, and the residue whose frame each residue rides on."""

    def __init__(self, names: Sequence[str], residues: Indices, bonds: Indices, anchors: tuple[str, ...]) -> None:
        count = int(residues[-1]) + 1
        atom_of = {(int(residue), name): atom for atom, (residue, name) in enumerate(zip(residues, names, strict=True))}
        rigid = ALPHAS if anchors == ALPHAS else BACKBONE
        framed = [r for r in range(count) if all((r, name) in atom_of for name in rigid)]
        self.alphas = np.array([atom_of[r, "CA"] for r in framed], np.int64)
        self.anchors = np.array(
            [atom_of[r, name] for r in framed for name in anchors if (r, name) in atom_of], np.int64
        )
        self._corners = (
            None if rigid == ALPHAS else np.array([[atom_of[r, n] for n in BACKBONE] for r in framed], np.int64)
        )
        # Neighbours along the chain, by a bond between the two residues.
        linked = {tuple(sorted(pair)) for pair in residues[bonds].tolist()}
        after = [
            n + 1 < len(framed) and framed[n + 1] == framed[n] + 1 and (framed[n], framed[n + 1]) in linked
            for n in range(len(framed))
        ]
        self._runs = np.concatenate([[0], np.cumsum(~np.array(after[:-1], bool))]) if framed else np.zeros(0, int)
        middle = np.arange(len(framed))
        if self._corners is None:
            for run in np.unique(self._runs):
                members = np.flatnonzero(self._runs == run)
                # The ends turn with their neighbours; a run of one or two residues has no frame.
                middle[members] = np.clip(members, members[0] + 1, members[-1] - 1) if len(members) > 2 else -1
        self._middle = middle
        usable = np.flatnonzero(middle >= 0)
        if not len(usable):
            raise ValueError(f"no residue has {' '.join(rigid)} and a frame: three bonded residues are needed")
        # Others turn with the nearest residue along the sequence, about their own Cα where they have one.
        self._numbers = np.array(framed)[usable]
        self.rides_on = np.abs(np.arange(count)[:, None] - self._numbers).argmin(1)
        self._centres = self.alphas[usable][self.rides_on]
        self._centres[framed] = self.alphas
        self._usable = usable

    def frames(self, coordinates: Floats) -> _Frames:
        """Return a frame for every residue of [S,A,3]."""
        if self._corners is None:
            middle = self._middle[self._usable]
            corners = (coordinates[:, self.alphas[middle + k]] for k in (-1, 0, 1))
        else:
            corners = (coordinates[:, self._corners[self._usable, k]] for k in range(3))
        axes = np.stack(corner_axes(*corners), -2)
        return _Frames(coordinates[:, self._centres], axes[:, self.rides_on])

    def windows(self, coordinates: Floats, frames: _Frames) -> Floats:
        """Return the Cα of the residues around each one with a frame, seen from it: [S,U,2·WINDOW,3]; 0 past an end."""
        alphas = coordinates[:, self.alphas]
        windows = np.zeros((len(coordinates), len(self._usable), 2 * WINDOW, 3))
        for slot, shift in enumerate(k for k in range(-WINDOW, WINDOW + 1) if k):
            neighbours = self._usable + shift
            inside = (neighbours >= 0) & (neighbours < len(self.alphas))
            inside[inside] &= self._runs[neighbours[inside]] == self._runs[self._usable[inside]]
            residue = self._numbers[inside]
            vector = alphas[:, neighbours[inside]] - frames.origins[:, residue]
            windows[:, inside, slot] = np.einsum("snij,snj->sni", frames.axes[:, residue], vector)
        return windows


class Relaxation:
    """Moves heavy atoms to the distances of a donor, away from atoms too near, and little from their start.

    donors: f8[D,A,3] Å. heavy: bool[A]. fixed: atoms i8[K] that stay. keep_contacts: atoms may come as near as they are
    in a donor, for example a metal and what holds it.
    """

    def __init__(
        self,
        elements: Sequence[str],
        bonds: Indices,
        donors: Floats,
        heavy: NDArray[np.bool_],
        fixed: Indices,
        keep_contacts: bool = False,
    ) -> None:
        self._donors, self._keep_contacts = donors, keep_contacts
        self._graph = BondGraph(len(elements), bonds)
        turns_freely = _turns_freely(elements, donors)
        pairs = [bonds, self._graph.angles[:, [0, 2]]]
        pairs.append(
            np.array([(a, d) for a, b, c, d in self._graph.torsions.tolist() if not turns_freely(b, c)], np.int64)
        )
        all_pairs = np.concatenate([pair_list.reshape(-1, 2) for pair_list in pairs])
        self._free = heavy.copy()
        self._free[fixed] = False
        self._heavy = np.flatnonzero(heavy)
        self._pairs = all_pairs[heavy[all_pairs].all(1) & self._free[all_pairs].any(1)]
        self._polar = np.array([element.upper() in ("N", "O") for element in elements])

    def of(self, donors: Floats) -> Relaxation:
        """Return the same relaxation with other donors f8[D,A,3] (Å)."""
        relaxation = copy.copy(self)
        relaxation._donors = donors
        return relaxation

    def relaxed(self, start: Floats, donor: Indices) -> Floats:
        """Return the atoms after RELAX_STEPS steps. donor: [A], the state that each atom came from."""
        first, second = self._pairs.T
        donor_lengths = np.linalg.norm(self._donors[donor[first], first] - self._donors[donor[first], second], axis=1)
        built = start.copy()
        for _ in range(ROUNDS):
            near, closest = self._near(built)
            built = self._minimised(built, start, donor_lengths, near, closest)
        return built

    def clashes(self, built: Floats) -> int:
        """Count pairs of atoms of f8[A,3] (Å) that clash, and in no donor are as near."""
        pairs = self._pairs_within(built, CLASH)
        distances = np.linalg.norm(built[pairs[:, 0]] - built[pairs[:, 1]], axis=1)
        return int(np.count_nonzero(distances < self._known_distances(pairs)))

    def _near(self, built: Floats) -> tuple[Indices, Floats]:
        """Pairs of heavy atoms that may clash, and the distance in Å from which they push each other off."""
        pairs = self._pairs_within(built, CLOSEST + 0.5)
        closest = np.where(self._polar[pairs].all(1), CLOSEST_POLAR, CLOSEST)
        return pairs, np.minimum(closest, self._known_distances(pairs)) if self._keep_contacts else closest

    def _pairs_within(self, built: Floats, distance: float) -> Indices:
        """Return pairs i8[P,2] of heavy atoms, one of them free, that are more than three bonds apart."""
        pairs = self._graph.near_pairs(built, distance, self._heavy)
        return np.asarray(pairs[self._free[pairs].any(1)])

    def _known_distances(self, pairs: Indices) -> Floats:
        """Return the least distances f8[P] (Å) of pairs i8[P,2] in the donors."""
        vectors = self._donors[:, pairs[:, 0]] - self._donors[:, pairs[:, 1]]
        return np.asarray(np.linalg.norm(vectors, axis=2).min(0))

    def _minimised(self, built: Floats, start: Floats, donor_lengths: Floats, near: Indices, closest: Floats) -> Floats:
        free = np.flatnonzero(self._free)
        pairs = np.concatenate([self._pairs, near])
        first, second = pairs.T
        distances = np.concatenate([donor_lengths, closest])
        hinges = np.arange(len(pairs)) >= len(donor_lengths)
        atoms = built.copy()
        # From pairs to free atoms: plus for the first, minus for the second.
        ends = np.concatenate([first, second])
        signs = np.repeat([1.0, -1.0], len(pairs))
        spread = csr_matrix((signs, (ends, np.tile(np.arange(len(pairs)), 2))), (len(atoms), len(pairs)))[free]

        def energy(flat: Floats) -> tuple[float, Floats]:
            atoms[free] = flat.reshape(-1, 3)
            vector = atoms[first] - atoms[second]
            length = np.sqrt((vector * vector).sum(1)) + 1e-9
            excess = length - distances
            excess[hinges] = np.minimum(excess[hinges], 0.0)
            pull = atoms[free] - start[free]
            gradient = spread @ ((2.0 * excess / length)[:, None] * vector)
            total = float(excess @ excess) + RESTRAINT * float((pull * pull).sum())
            return total, (gradient + 2.0 * RESTRAINT * pull).ravel()

        steps = {"maxiter": RELAX_STEPS // ROUNDS}
        atoms[free] = minimize(energy, built[free].ravel(), jac=True, method="L-BFGS-B", options=steps).x.reshape(-1, 3)
        return atoms


class Hydrogens:
    """Puts each hydrogen where it is on the frame of its heavy atom in the donor."""

    def __init__(self, heavy: NDArray[np.bool_], bonds: Indices) -> None:
        bonded = BondGraph(len(heavy), bonds).bonded
        frames = []
        for atom in np.flatnonzero(~heavy).tolist():
            parents = [neighbour for neighbour in bonded[atom] if heavy[neighbour]]
            near = [neighbour for neighbour in bonded[parents[0]] if heavy[neighbour]] if parents else []
            far = [o for n in near for o in bonded[n] if heavy[o] and o != parents[0]] if near else []
            corners = [*near, *far][:2]
            if len(corners) == 2:
                frames.append((atom, parents[0], corners[0], corners[1]))
        self._frames = np.array(frames, np.int64).reshape(-1, 4)

    def placed(self, built: Floats, donors: Floats, donor: Indices) -> Floats:
        """Return the atoms with hydrogens on their heavy atoms; one without a frame stays where it was transplanted."""
        hydrogen, parent, first, second = self._frames.T
        state = donor[hydrogen]
        axes = np.stack(corner_axes(donors[state, first], donors[state, parent], donors[state, second]), -2)
        local = np.einsum("nij,nj->ni", axes, donors[state, hydrogen] - donors[state, parent])
        axes = np.stack(corner_axes(built[first], built[parent], built[second]), -2)
        built = built.copy()
        built[hydrogen] = np.einsum("nij,ni->nj", axes, local) + built[parent]
        return built


def _turns_freely(elements: Sequence[str], donors: Floats) -> Callable[[int, int], bool]:
    """Return the test whether groups turn about a bond, by its mean length in the donors."""

    def test(a: int, b: int) -> bool:
        single = _SINGLE_BONDS.get(frozenset((elements[a].upper(), elements[b].upper())))
        return single is None or float(np.linalg.norm(donors[:, a] - donors[:, b], axis=1).mean()) > single

    return test
