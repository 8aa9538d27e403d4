"""Atoms that two structures have in common: by residue numbers where these agree, else by aligned sequences.

Residues of a polymer are paired by chain and number where most names agree, and otherwise chain by chain by PyMOL's
`align`, or `super` where sequences are too unlike. Atoms of paired residues are paired by name, or by their order where
names do not tell them apart, as in .sdf files, and the order is the same. Ligands are paired by name; of several those
at one place, then those with one chain and number, then the nearest ones. Solvent has no identity and is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..shared.molecule import HYDROGENS
from ..shared.superpose import rmsd, superpose
from ..shared.text import counted
from .atoms import MoleculeStates
from .residues import Residue, chains_of, residues_of

SAME_NUMBERING = 0.8
"""Fraction of the smaller structure's residues that must have the same chain, number and name in the other one."""
ALIKE = 0.3
"""Fraction of equal names below which chains are aligned by structure, where that pairs more residues."""
TIED = 0.9
"""Fraction of the most equal names from which chains are taken for copies of each other."""
MOST_BEGINS = 64
SAME_PLACE = 2.0
"""Å between the centres of ligands that are taken for the same one, whatever their numbers are."""
FEWEST_ATOMS = 3
MOST_NAMED = 3
BACKBONE = frozenset(
    ("N", "CA", "C", "O", "CB", "P", "O1P", "O2P", "O5'", "C5'", "C4'", "C3'", "O3'", "C2'", "C1'", "O4'")
)
"""Atoms that residues of different names share."""
SWAPPED = {
    "ASP": (("OD1", "OD2"),),
    "GLU": (("OE1", "OE2"),),
    "PHE": (("CD1", "CD2"), ("CE1", "CE2"), ("HD1", "HD2"), ("HE1", "HE2")),
    "TYR": (("CD1", "CD2"), ("CE1", "CE2"), ("HD1", "HD2"), ("HE1", "HE2")),
    "ARG": (("NH1", "NH2"), ("HH11", "HH21"), ("HH12", "HH22")),
}
"""Atoms that may change their names without a change of the residue."""

ResiduePair = tuple[Residue, Residue]
AlignChains = Callable[[MoleculeStates, Sequence[Residue], MoleculeStates, Sequence[Residue]], list[ResiduePair]]
"""Pairs residues of two chains by sequence or structure."""


@dataclass(frozen=True)
class Matching:
    """Paired atoms of two structures: places in both, i8[M] each, rising in the first.

    how: by what residues were paired, in words. left_out: lines about what only one of them has. paired: number of
    paired residues of polymers; different_names: number of those with different names. smaller: number of residues of
    polymers in the smaller structure.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    how: str
    left_out: tuple[str, ...]
    paired: int
    different_names: int
    smaller: int


def match_atoms(first: MoleculeStates, second: MoleculeStates, align: AlignChains) -> Matching:
    """Pair the atoms of two structures of one state each; none where they have no residue in common."""
    residues, second_residues = residues_of(first), residues_of(second)
    pairs = _numbered_pairs(residues, second_residues)
    method = "by residue numbers" if pairs else "by the names of ligands"
    if pairs is None:
        pairs, method = _aligned_pairs(first, residues, second, second_residues, align), "by their aligned sequences"
    places = [pair for residue, partner in pairs for pair in _atom_pairs(first, residue, second, partner)]
    places = _renamed(first, second, pairs, places)
    ligands = _ligand_pairs(first, residues, second, second_residues, places)
    places += [pair for residue, partner in ligands for pair in _atom_pairs(first, residue, second, partner)]
    matched = np.array(sorted(places), np.int64).reshape(-1, 2)
    pairs += ligands
    left_out = (
        *_left_out(first, residues, [residue for residue, _ in pairs], matched[:, 0]),
        *_left_out(second, second_residues, [partner for _, partner in pairs], matched[:, 1]),
    )
    polymers = [(residue, partner) for residue, partner in pairs if residue.is_polymer]
    different = sum(residue.name != partner.name for residue, partner in polymers)
    smaller = min(sum(residue.is_polymer for residue in these) for these in (residues, second_residues))
    return Matching(matched[:, 0], matched[:, 1], method, left_out, len(polymers), different, smaller)


def _numbered_pairs(residues: Sequence[Residue], second_residues: Sequence[Residue]) -> list[ResiduePair] | None:
    """Pair residues of polymers with equal chains and numbers; None where too few names agree."""
    by_number = {(residue.chain, residue.number): residue for residue in second_residues if residue.is_polymer}
    polymer = [residue for residue in residues if residue.is_polymer]
    pairs = [
        (residue, by_number[residue.chain, residue.number])
        for residue in polymer
        if (residue.chain, residue.number) in by_number
    ]
    equal_names = sum(residue.name == partner.name for residue, partner in pairs)
    if not polymer or not by_number:
        return []
    return pairs if equal_names >= SAME_NUMBERING * min(len(polymer), len(by_number)) else None


def _aligned_pairs(
    first: MoleculeStates,
    residues: Sequence[Residue],
    second: MoleculeStates,
    second_residues: Sequence[Residue],
    align: AlignChains,
) -> list[ResiduePair]:
    """Pair chains, those with most equal residues first, then the residues in them.

    Among chains that are alike, as those of a dimer, each may be the first to be paired; the pairing that superposes
    best is taken.
    """
    chains, other_chains = chains_of(residues), chains_of(second_residues)
    aligned = {
        (chain, partner): align(first, chains[chain], second, other_chains[partner])
        for chain in chains
        for partner in other_chains
    }
    best = max(map(_equal_names, aligned.values()), default=0)
    begins = [key for key, pairs in aligned.items() if pairs and _equal_names(pairs) >= TIED * best]
    pairings = [_paired_chains(first, second, aligned, begin) for begin in begins[:MOST_BEGINS]]
    return min(pairings, key=lambda pairs: (-len(pairs), _misfit(first, second, pairs)), default=[])


def _paired_chains(
    first: MoleculeStates,
    second: MoleculeStates,
    aligned: Mapping[tuple[str, str], Sequence[ResiduePair]],
    begin: tuple[str, str],
) -> list[ResiduePair]:
    """Pair all chains, `begin` first, then by equal residues and by how near they come when paired ones coincide."""
    pairs = list(aligned[begin])
    used, other_used = {begin[0]}, {begin[1]}
    while True:
        free = {
            key: chain_pairs
            for key, chain_pairs in aligned.items()
            if chain_pairs and key[0] not in used and key[1] not in other_used
        }
        if not free:
            return pairs
        best = max(map(_equal_names, free.values()))
        tied = [key for key, chain_pairs in free.items() if _equal_names(chain_pairs) >= TIED * best]
        chain, partner = min(tied, key=lambda key: _misfit(first, second, [*pairs, *free[key]]))
        pairs += free[chain, partner]
        used.add(chain)
        other_used.add(partner)


def _equal_names(pairs: Iterable[ResiduePair]) -> int:
    return sum(residue.name == partner.name for residue, partner in pairs)


def _misfit(first: MoleculeStates, second: MoleculeStates, pairs: Sequence[ResiduePair]) -> float:
    """Return the RMSD (Å) of one atom of each pair of residues, superposed."""
    moving, fixed = _guides(second, first, [(partner, residue) for residue, partner in pairs])
    return rmsd(moving, fixed) if len(moving) >= FEWEST_ATOMS else 0.0


def _guides(
    moving: MoleculeStates, fixed: MoleculeStates, pairs: Iterable[ResiduePair]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions f8[R,3] (Å) of the first common atom of each pair of residues, CA where there is one."""
    rows = []
    for residue, partner in pairs:
        common = [name for name in residue.atoms if name in partner.atoms]
        if common:
            name = "CA" if "CA" in common else common[0]
            rows.append((moving.coordinates[0][residue.atoms[name]], fixed.coordinates[0][partner.atoms[name]]))
    positions = np.array(rows, np.float64).reshape(-1, 2, 3)
    return positions[:, 0], positions[:, 1]


def _atom_pairs(
    first: MoleculeStates, residue: Residue, second: MoleculeStates, partner: Residue
) -> list[tuple[int, int]]:
    """Pair the atoms of two residues by name; of residues of different names, those of the backbone."""
    if _has_same_order(first, residue, second, partner):
        return list(zip(residue.places, partner.places, strict=True))
    names = residue.atoms.keys() & partner.atoms.keys()
    if residue.name != partner.name:
        names &= BACKBONE
    return [(residue.atoms[name], partner.atoms[name]) for name in sorted(names)]


def _has_same_order(first: MoleculeStates, residue: Residue, second: MoleculeStates, partner: Residue) -> bool:
    """Whether names do not tell the atoms of two residues apart, and these have the same atoms and bonds in order."""
    if residue.name != partner.name or residue.size != partner.size or len(residue.atoms) == residue.size:
        return False
    return _order(first, residue) == _order(second, partner)


def _order(of: MoleculeStates, residue: Residue) -> tuple[list[tuple[str, str]], set[tuple[int, int]]]:
    """Return the names and elements of the atoms of a residue, and its bonds as places in it."""
    atoms = [(of.molecule.names[place], of.molecule.elements[place]) for place in residue.places]
    bonds = np.sort(of.molecule.bonds, axis=1) - residue.first
    inner = bonds[(bonds >= 0).all(1) & (bonds < residue.size).all(1)]
    return atoms, {(first, second) for first, second in inner.tolist()}


def _renamed(
    first: MoleculeStates,
    second: MoleculeStates,
    pairs: Sequence[ResiduePair],
    places: Sequence[tuple[int, int]],
) -> list[tuple[int, int]]:
    """Exchange atoms of equal meaning (as OD1 and OD2) where the side chain has to turn less then."""
    mapped = dict(places)
    for residue, partner in pairs:
        swaps = SWAPPED.get(residue.name, ()) if residue.name == partner.name else ()
        frame = [
            name
            for name in ("N", "CA", "C", "CB", "CG", "CD", "CZ", "NE")
            if name in residue.atoms and name in partner.atoms
        ]
        known = [(a, b) for a, b in swaps if {a, b} <= residue.atoms.keys() and {a, b} <= partner.atoms.keys()]
        if not known or len(frame) < FEWEST_ATOMS:
            continue
        a = first.coordinates[0][[residue.atoms[name] for name in frame]]
        b = second.coordinates[0][[partner.atoms[name] for name in frame]]
        rotation, shift = superpose(b, a)
        names = [name for pair in known for name in pair]
        exchanged = [name for x, y in known for name in (y, x)]
        fixed = first.coordinates[0][[residue.atoms[name] for name in names]]
        moved = second.coordinates[0] @ rotation.T + shift
        unswapped = np.sum((moved[[partner.atoms[name] for name in names]] - fixed) ** 2)
        turned = np.sum((moved[[partner.atoms[name] for name in exchanged]] - fixed) ** 2)
        if turned < unswapped:
            for name, swapped in zip(names, exchanged, strict=True):
                mapped[residue.atoms[name]] = partner.atoms[swapped]
    return list(mapped.items())


def _ligand_pairs(
    first: MoleculeStates,
    residues: Sequence[Residue],
    second: MoleculeStates,
    second_residues: Sequence[Residue],
    places: Sequence[tuple[int, int]],
) -> list[ResiduePair]:
    """Pair ligands of one name: those at one place once the polymers are superposed, then by number, then the nearest.

    Two structures often number the same ions differently, so a place says more. Where it says nothing, as of lipids
    that have moved, or where no polymer can be superposed, a number does.
    """
    ligands = [residue for residue in residues if not residue.is_polymer and not residue.is_solvent]
    other_ligands = [residue for residue in second_residues if not residue.is_polymer and not residue.is_solvent]
    is_superposed = len(places) >= FEWEST_ATOMS
    if is_superposed:
        matched = np.array(places)
        rotation, shift = superpose(second.coordinates[0][matched[:, 1]], first.coordinates[0][matched[:, 0]])
    else:
        rotation, shift = np.eye(3), np.zeros(3)
    candidates: list[tuple[int, float, int, Residue, Residue]] = []
    for residue, partner in itertools.product(ligands, other_ligands):
        pairs = _atom_pairs(first, residue, second, partner) if residue.name == partner.name else []
        if not pairs:
            continue
        atoms = np.array(pairs)
        center = first.coordinates[0][atoms[:, 0]].mean(axis=0)
        partner_center = second.coordinates[0][atoms[:, 1]].mean(axis=0) @ rotation.T + shift
        distance = float(np.linalg.norm(center - partner_center))
        has_number = (residue.chain, residue.number) == (partner.chain, partner.number)
        order = 0 if is_superposed and distance <= SAME_PLACE else 1 if has_number else 2
        candidates.append((order, distance, len(candidates), residue, partner))
    paired: list[ResiduePair] = []
    used: set[int] = set()
    for *_, residue, partner in sorted(candidates, key=lambda row: row[:3]):
        if id(residue) not in used and id(partner) not in used:
            used |= {id(residue), id(partner)}
            paired.append((residue, partner))
    return paired


def _left_out(
    of: MoleculeStates, residues: Sequence[Residue], paired: Sequence[Residue], places: NDArray[np.int64]
) -> list[str]:
    """Write one line on the atoms that are not among the matched `places`; no line where all are."""
    known, matched = {id(residue) for residue in paired}, set(places.tolist())
    missing: list[Residue] = []
    ligands: list[Residue] = []
    solvent, hydrogens, heavy = 0, 0, 0
    for residue in residues:
        if id(residue) in known:
            elements = [of.molecule.elements[index].upper() for index in residue.places if index not in matched]
            hydrogens += sum(element in HYDROGENS for element in elements)
            heavy += sum(element not in HYDROGENS for element in elements)
        elif residue.is_solvent:
            solvent += residue.size
        else:
            (missing if residue.is_polymer else ligands).append(residue)
    clauses = []
    if missing:
        clauses.append(f"{counted(len(missing), 'residue')} ({_runs(missing)})")
    if ligands:
        named = ", ".join(ligand.label() for ligand in ligands[:MOST_NAMED]) + (
            ", ..." if len(ligands) > MOST_NAMED else ""
        )
        clauses.append(f"{counted(len(ligands), 'ligand or ion', 'ligands and ions')} ({named})")
    if solvent:
        clauses.append(counted(solvent, "atom of solvent", "atoms of solvent"))
    if hydrogens:
        clauses.append(counted(hydrogens, "hydrogen"))
    if heavy:
        clauses.append(f"{counted(heavy, 'atom')} in paired residues")
    return [f"{of.object}: left out: {', '.join(clauses)}"] if clauses else []


def _runs(residues: Sequence[Residue]) -> str:
    """Write residues that follow each other as A/50-60."""
    runs: list[list[Residue]] = []
    for residue in residues:
        last = runs[-1][-1] if runs else None
        follows = (
            last is not None
            and last.chain == residue.chain
            and last.number.lstrip("-").isdigit()
            and residue.number == str(int(last.number) + 1)
        )
        if follows:
            runs[-1].append(residue)
        else:
            runs.append([residue])
    texts = []
    for run in runs[:MOST_NAMED]:
        chain = f"{run[0].chain}/" if run[0].chain else ""
        texts.append(f"{chain}{run[0].number}" + (f"-{run[-1].number}" if len(run) > 1 else ""))
    return ", ".join(texts) + (", ..." if len(runs) > MOST_NAMED else "")
