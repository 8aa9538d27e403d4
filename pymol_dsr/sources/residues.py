"""Residues of a molecule, with names of residues and atoms as the Protein Data Bank writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..shared.amino_acids import LETTERS, PROTONATION_STATES
from .atoms import MoleculeStates

RESIDUE_ALIASES = {
    **PROTONATION_STATES,
    **{"HISA": "HIS", "HISB": "HIS", "HISH": "HIS", "CYS2": "CYS", "CYSH": "CYS", "MSE": "MET"},
    **{"ASPH": "ASP", "GLUH": "GLU", "LYSH": "LYS"},
}
"""Names of force fields and of selenomethionine, by which a residue is the same."""
ATOM_ALIASES = {
    **{"OT1": "O", "OT2": "OXT", "OC1": "O", "OC2": "OXT", "O1": "O", "O2": "OXT", "HN": "H", "OP1": "O1P"},
    **{"OP2": "O2P"},
}
RESIDUE_ATOM_ALIASES = {("ILE", "CD"): "CD1", ("MET", "SE"): "SD"}
SOLVENT = frozenset(("HOH", "WAT", "H2O", "DOD", "SOL", "TIP", "TIP3", "TIP3P", "TIP4", "TIP4P", "SPC", "T3P"))

BACKBONES = (("N", "CA", "C"), ("P", "C4'"), ("O5'", "C4'"))
"""Atoms that make a residue one of a protein or a nucleic acid; of the last two, one is enough."""
POLYMER_NAMES = frozenset((*LETTERS, "A", "C", "G", "U", "DA", "DC", "DG", "DT"))
"""Names that make a residue one of a protein or a nucleic acid, whatever atoms of it are present, as in a trace."""
TRACES = (("CA", "C"), ("P", "P"))
"""Names and elements of atoms that make one even alone, whatever its name is; CA is also the name of calcium."""


@dataclass
class Residue:
    """A residue: its name in the Protein Data Bank and as written, and places of its atoms (from 0).

    atoms: by name, of the names that it has once. first, size: the places of all its atoms. element: of the first one.
    """

    chain: str
    number: str
    name: str
    written: str
    first: int
    atoms: dict[str, int] = field(default_factory=dict)
    size: int = 0
    element: str = ""

    @property
    def is_polymer(self) -> bool:
        """Whether it is of a protein or a nucleic acid: by its backbone, its name, or as one atom of a trace."""
        if self.name in POLYMER_NAMES or any(all(name in self.atoms for name in names) for names in BACKBONES):
            return True
        return self.size == 1 and any(name in self.atoms and self.element == element for name, element in TRACES)

    @property
    def is_solvent(self) -> bool:
        """Whether it is water."""
        return self.name in SOLVENT

    @property
    def places(self) -> range:
        """Places of all its atoms."""
        return range(self.first, self.first + self.size)

    def label(self) -> str:
        """Return its name for a message, as AP5 A/215."""
        return f"{self.written} {self.chain}/{self.number}" if self.chain else f"{self.written} {self.number}"


def residues_of(molecule: MoleculeStates) -> list[Residue]:
    """Return the residues in their order; atoms that belong together follow each other."""
    m = molecule.molecule
    residues: list[Residue] = []
    key: tuple[str, ...] = ()
    twice: set[str] = set()
    for index, name in enumerate(m.names):
        residue_key = (m.chains[index], m.residue_numbers[index], m.residue_names[index])
        if residue_key != key or not residues:
            key, twice = residue_key, set()
            chain, number, written = residue_key
            residues.append(Residue(chain, number, RESIDUE_ALIASES.get(written, written), written, index))
            residues[-1].element = m.elements[index].upper()
        residue = residues[-1]
        residue.size += 1
        standard = standard_atom_name(residue.name, name)
        if standard in twice or residue.atoms.pop(standard, None) is not None:
            # Which of two is meant, nothing says.
            twice.add(standard)
        else:
            residue.atoms[standard] = index
    return residues


def standard_atom_name(residue: str, name: str) -> str:
    """Return an atom's name without the differences between force fields: 2HB as HB2, OT1 as O, C5* as C5'."""
    standard = name.strip().replace("*", "'")
    if standard[:1].isdigit() and standard[1:2] == "H":
        standard = standard[1:] + standard[0]
    standard = ATOM_ALIASES.get(standard, standard)
    return RESIDUE_ATOM_ALIASES.get((residue, standard), standard)


def chains_of(residues: Sequence[Residue]) -> dict[str, list[Residue]]:
    """Return the residues of polymers by chain, in their order."""
    chains: dict[str, list[Residue]] = {}
    for residue in residues:
        if residue.is_polymer:
            chains.setdefault(residue.chain, []).append(residue)
    return chains
