"""Prepares a molecule for molecular dynamics: checks it, adds missing atoms, terminal oxygens and hydrogens.

OpenMM and pdbfixer are optional packages, which `openmm_modules` imports.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.amino_acids import LETTERS, PROTONATION_STATES
from pymol_dsr.shared.chains import LONGEST_PEPTIDE_BOND
from pymol_dsr.shared.molecule import COLUMNS, HYDROGENS, Molecule
from pymol_dsr.shared.values import ValueFault

from ..topology import residue_indices

Coordinates = NDArray[np.float32]

INSTALL = 'pip install "pymol-dsr[simulate]"'
FORCE_FIELD_FILES = {"amber99sbildn+obc": ("amber99sbildn.xml", "amber99_obc.xml")}
PH = 7.0
CAPS = frozenset(("NME", "NMA", "NH2"))
"""Residues at the end of a chain that have no terminal oxygen."""
FORCE_FIELD_RESIDUES = frozenset((*LETTERS, *PROTONATION_STATES, "ACE", *CAPS))
"""Residue names that the force field has."""
_WATER = frozenset(["HOH", "WAT", "DOD", "TIP", "TIP3", "TIP4", "SPC", "SOL"])
_NUCLEIC = frozenset(["A", "C", "G", "U", "I", "DA", "DC", "DG", "DT", "DU", "DI"])
MOST_NAMED = 6


@dataclass(frozen=True, eq=False)
class Prepared:
    """A molecule that can be simulated.

    molecule: its M atoms, with those that were added; coordinates: f4[M,3] in Å; added: lines for the user; topology:
    OpenMM's.
    """

    molecule: Molecule
    coordinates: Coordinates
    added: tuple[str, ...]
    topology: Any


def openmm_modules(needed_by: str = "dsr_simulate") -> SimpleNamespace:
    """Return `openmm`, `app`, `unit` and `pdbfixer`. Raises ValueFault with the pip command where one is missing.

    needed_by: the command or option that the fault names.
    """
    try:
        # Optional, and slow to import.
        import openmm
        import pdbfixer
        from openmm import app, unit
    except ImportError as error:
        raise ValueFault(f"{needed_by} needs OpenMM, which is not installed ({error}): {INSTALL}") from error
    return SimpleNamespace(openmm=openmm, app=app, unit=unit, pdbfixer=pdbfixer)


def prepare(molecule: Molecule, coordinates: Coordinates, forcefield: str, gaps: bool) -> Prepared:
    """Return the molecule with all its atoms. coordinates: f4[A,3] in Å.

    Atoms that the force field takes as they are stay so, in their order. Raises ValueFault for residues that the force
    field does not have, and for gaps where they are not allowed.
    """
    omm = openmm_modules()
    check_residues(molecule)
    _check_backbone(molecule)
    chains = chain_numbers(molecule, coordinates, gaps)
    # The columns of PDB hold -999.999 to 9999.999 Å. By whole Å, which leaves the rounding to their digits the same.
    centre = np.round(coordinates.mean(0))
    fixer = omm.pdbfixer.PDBFixer(pdbfile=io.StringIO(_pdb_text(molecule, coordinates - centre, chains)))
    force_field = omm.app.ForceField(*FORCE_FIELD_FILES[forcefield])
    if not force_field.getUnmatchedResidues(fixer.topology):
        return Prepared(molecule, coordinates, (), fixer.topology)
    before = _atoms_of(fixer.topology)
    fixer.missingResidues = {}
    fixer.findMissingAtoms()
    _leave_caps_alone(fixer)
    fixer.addMissingAtoms(seed=0)
    modeller = omm.app.Modeller(fixer.topology, fixer.positions)
    modeller.delete([atom for atom in modeller.topology.atoms() if atom.element.symbol in HYDROGENS])
    modeller.addHydrogens(force_field, pH=PH)
    unmatched = force_field.getUnmatchedResidues(modeller.topology)
    if unmatched:
        named = ", ".join(f"{residue.name} {residue.id}" for residue in unmatched[:MOST_NAMED])
        raise ValueFault(
            f"{forcefield} has no residue like {named}: its atoms or bonds differ from those of an amino acid; leave "
            "it out, or mutate it to a standard one (Wizard > Mutagenesis)"
        )
    completed, positions = _molecule_of(modeller, molecule, omm)
    return Prepared(completed, positions + centre, _added(before, modeller.topology, molecule), modeller.topology)


def check_residues(molecule: Molecule) -> None:
    """Raise ValueFault with the residues that are no amino acids of the force field, and what works."""
    residues_by_kind: dict[str, list[str]] = {}
    labels = dict.fromkeys(zip(molecule.residue_names, molecule.residue_numbers, molecule.chains, strict=True))
    for name, number, chain in labels:
        if name not in FORCE_FIELD_RESIDUES:
            residues_by_kind.setdefault(_kind(name), []).append(f"{name} {chain}/{number}".replace(" /", " "))
    if not residues_by_kind:
        return
    text = "; ".join(f"{kind}: {_first_few(residues)}" for kind, residues in residues_by_kind.items())
    raise ValueFault(
        f"only proteins of standard amino acids can be simulated here ({text}); leave the others out, as in "
        "dsr_simulate NAME and polymer.protein, and mutate modified residues to standard ones (Wizard > Mutagenesis)"
    )


def _check_backbone(molecule: Molecule) -> None:
    if absent := [name for name in ("N", "CA", "C") if name not in molecule.names]:
        raise ValueFault(
            f"no residue has an atom {' or '.join(absent)}: missing side chains and hydrogens are added, backbones are "
            "not; load the protein with N, CA and C of each residue"
        )


def _first_few(texts: list[str]) -> str:
    """Join at most MOST_NAMED texts, and say how many more there are."""
    remaining = len(texts) - MOST_NAMED
    return ", ".join(texts[:MOST_NAMED]) + (f" and {remaining} more" if remaining > 0 else "")


def _kind(name: str) -> str:
    if name in _WATER:
        return "water, which the implicit solvent replaces"
    if name in _NUCLEIC:
        return "nucleic acid"
    return "ligands, lipids, ions or modified residues"


def chain_numbers(molecule: Molecule, coordinates: Coordinates, gaps: bool) -> NDArray[np.int64]:
    """Return the number from 0 of each residue's chain; both sides of a gap are chains of their own.

    Raises ValueFault for a gap where `gaps` is false.
    """
    residues = residue_indices(molecule)
    count = int(residues[-1]) + 1
    atom_of = {(int(r), name): atom for atom, (r, name) in enumerate(zip(residues, molecule.names, strict=True))}
    first = [int(np.searchsorted(residues, r)) for r in range(count)]
    breaks = np.zeros(count, np.int64)
    gap_texts = []
    for r in range(1, count):
        same_chain = molecule.chains[first[r]] == molecule.chains[first[r - 1]]
        end, start = atom_of.get((r - 1, "C")), atom_of.get((r, "N"))
        if end is None or start is None:
            # Caps have other names there; a residue without its backbone is no link of a chain.
            joined = same_chain and _any_bond(molecule, residues, r)
        else:
            joined = bool(same_chain and np.linalg.norm(coordinates[end] - coordinates[start]) <= LONGEST_PEPTIDE_BOND)
        breaks[r] = not joined
        if same_chain and not joined:
            numbers = molecule.residue_numbers
            gap_texts.append(
                f"{numbers[first[r - 1]]} and {numbers[first[r]]} of chain {molecule.chains[first[r]] or '(none)'}"
            )
    if gap_texts and not gaps:
        raise ValueFault(
            f"chains have gaps between residues {_first_few(gap_texts)}: gaps=1 takes both sides of a gap as ends of "
            "chains; or model the missing residues first"
        )
    return np.cumsum(breaks)


def _any_bond(molecule: Molecule, residues: NDArray[np.int64], r: int) -> bool:
    ends = residues[molecule.bonds]
    return bool(((ends == (r - 1, r)).all(1) | (ends == (r, r - 1)).all(1)).any())


def _pdb_text(molecule: Molecule, coordinates: Coordinates, chains: NDArray[np.int64]) -> str:
    """Return the molecule as PDB, from which OpenMM takes names, bonds and disulfides; its chains are numbered anew."""
    residues = residue_indices(molecule)
    lines, last = [], 0
    for atom, (residue, (x, y, z)) in enumerate(zip(residues.tolist(), coordinates.tolist(), strict=True)):
        chain = int(chains[residue])
        if chain != last:
            lines.append("TER")
            last = chain
        name, element = molecule.names[atom], molecule.elements[atom].upper()
        lines.append(
            f"ATOM  {(atom + 1) % 100000:5d} {name if len(name) > 3 else ' ' + name:<4.4s} "
            f"{molecule.residue_names[atom]:>3.3s} {chr(65 + chain % 26)}{(residue + 1) % 10000:4d}    "
            f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {element:>2.2s}"
        )
    return "\n".join([*lines, "TER", "END"]) + "\n"


def _leave_caps_alone(fixer: Any) -> None:
    """Take terminal oxygens off the list for residues that are caps."""
    fixer.missingTerminals = {
        residue: names for residue, names in fixer.missingTerminals.items() if residue.name not in CAPS
    }


def _atoms_of(topology: Any) -> dict[int, set[str]]:
    return {residue.index: {atom.name for atom in residue.atoms()} for residue in topology.residues()}


def _added(before: dict[int, set[str]], topology: Any, molecule: Molecule) -> tuple[str, ...]:
    """Return lines that list the atoms that were added, by residue, and count the hydrogens."""
    labels = _labels(molecule)
    lines, hydrogens, old = [], 0, 0
    for residue in topology.residues():
        names = [atom.name for atom in residue.atoms() if atom.element.symbol != "H"]
        hydrogens += sum(atom.element.symbol == "H" for atom in residue.atoms())
        old += sum(name[:1] == "H" or name[:1].isdigit() for name in before[residue.index])
        new = [name for name in names if name not in before[residue.index]]
        if new:
            chain, number, name = labels[residue.index]
            lines.append(f"{name} {chain}/{number}".replace(" /", " ") + f": {' '.join(new)}")
    listed = [f"added {line}" for line in lines]
    replaced = f", in place of {old}" if old else ""
    return (*listed, f"added {hydrogens} hydrogens for pH {PH:g}{replaced}")


def _labels(molecule: Molecule) -> list[tuple[str, str, str]]:
    """Return chain, number and name of each residue."""
    rows = zip(
        residue_indices(molecule).tolist(),
        molecule.chains,
        molecule.residue_numbers,
        molecule.residue_names,
        strict=True,
    )
    labels = {residue: (chain, number, name) for residue, chain, number, name in rows}
    return [labels[residue] for residue in range(len(labels))]


def _molecule_of(modeller: Any, original: Molecule, omm: SimpleNamespace) -> tuple[Molecule, Coordinates]:
    """Return Modeller's atoms with the chains and residue numbers of the original molecule."""
    labels = _labels(original)
    rows = []
    for atom in modeller.topology.atoms():
        chain, number, name = labels[atom.residue.index]
        rows.append((atom.name, name, number, chain, atom.element.symbol))
    columns: dict[str, Any] = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    bonds = [(first.index, second.index) for first, second in modeller.topology.bonds()]
    completed = Molecule(**columns, bonds=np.array(bonds, np.int32).reshape(-1, 2), hetatm=np.zeros(len(rows), bool))
    positions = np.array(modeller.positions.value_in_unit(omm.unit.angstrom), np.float32)
    return completed, positions
