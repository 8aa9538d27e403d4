"""Mutants of a molecule: residues get other side chains, in all of its states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scene import placement
from ..scene.objects import delete_objects
from ..shared.amino_acids import NAMES
from ..shared.molecule import COLUMNS, Molecule
from ..shared.simulation_options import MUTATION
from ..shared.superpose import superpose
from ..surfaces.selections import GENERATED_TITLE
from ..surfaces.source import ExtractError
from .atoms import MoleculeStates, read_states
from .chempy_model import chempy_model
from .residues import RESIDUE_ALIASES

FRAME = ("N", "CA", "C")
_BACKBONE = frozenset((*FRAME, "O", "OXT", "OT1", "OT2", "H", "HN", "H1", "H2", "H3", "1H", "2H", "3H"))
_AMIDE = frozenset(("H", "HN", "H1"))
"""Names of the hydrogen that proline's nitrogen lacks."""
_TEMPORARY = "_dsr_residue"


@dataclass(frozen=True)
class Mutation:
    """A mutation of the residues with that number: names of the wild type and of the new residue."""

    wild: str
    number: str
    new: str


def parse_mutations(text: str) -> tuple[Mutation, ...]:
    """Return the mutations of a text such as A5G+K7R. Raises ExtractError for letters that are no amino acids."""
    mutations = []
    for word in text.split("+"):
        match = re.fullmatch(MUTATION, word)
        letters = (match[1], match[3]) if match else ()
        if match is None or not set(letters) <= set(NAMES):
            raise ExtractError(f"mutate {word}: write it as A5G, with letters of amino acids ({''.join(NAMES)})")
        mutations.append(Mutation(NAMES[match[1]], match[2], NAMES[match[3]]))
    return tuple(mutations)


def mutant(atoms: MoleculeStates, mutations: tuple[Mutation, ...], _self: Any) -> MoleculeStates:
    """Return the states of a mutant, whose new side chains are those of PyMOL's amino acids on the backbone of each.

    All chains that have the residue change. Raises ExtractError for a residue that is not there.
    """
    for mutation in mutations:
        atoms = _mutated(atoms, mutation, _self)
    return atoms


def load_mutant(mutated: MoleculeStates, name: str, text: str, _self: Any) -> MoleculeStates:
    """Load the first state of a mutant as an object, and return its states with atoms as PyMOL orders them."""
    cmd = _self
    delete_objects([name], cmd)
    cmd.load_model(chempy_model(mutated.molecule, mutated.coordinates[0]), name, zoom=0)
    cmd.set_title(name, 1, f"{GENERATED_TITLE}start of a simulation, {text} of {mutated.object}")
    placement.place(name, placement.object_ttt(mutated.object, cmd), cmd)
    cmd.disable(name)
    loaded = read_states(f"%{name}", "1", cmd)
    places = {key: index for index, key in enumerate(mutated.atom_keys())}
    order = [places[key] for key in loaded.atom_keys()]
    return MoleculeStates(
        name, loaded.selection, loaded.indices, loaded.molecule, mutated.states, mutated.coordinates[:, order]
    )


def _mutated(atoms: MoleculeStates, mutation: Mutation, _self: Any) -> MoleculeStates:
    original = atoms.molecule
    chains = {
        chain: name
        for chain, number, name in zip(original.chains, original.residue_numbers, original.residue_names, strict=True)
        if number == mutation.number
    }
    chosen = {chain for chain, name in chains.items() if RESIDUE_ALIASES.get(name, name) == mutation.wild}
    if not chosen:
        residues_text = ", ".join(f"{name} {chain}/{mutation.number}" for chain, name in chains.items())
        raise ExtractError(
            f"mutate: {atoms.object} has no {mutation.wild} with the number {mutation.number}"
            + (f"; there is {residues_text}" if residues_text else "")
        )
    _self.fragment(mutation.new.lower(), _TEMPORARY)
    try:
        fragment = read_states(_TEMPORARY, "1", _self)
    finally:
        _self.delete(_TEMPORARY)
    for chain in sorted(chosen):
        atoms = _with_side_chain(atoms, chain, mutation, fragment)
    return atoms


def _with_side_chain(atoms: MoleculeStates, chain: str, mutation: Mutation, fragment: MoleculeStates) -> MoleculeStates:
    """Replace all but the backbone of one residue by a fragment's atoms, which stand on N, CA and C of each state."""
    original, count = atoms.molecule, len(atoms.molecule)
    residue = [
        index
        for index, (label, number) in enumerate(zip(original.chains, original.residue_numbers, strict=True))
        if (label, number) == (chain, mutation.number)
    ]
    by_name = {original.names[index]: index for index in residue}
    if missing := [name for name in FRAME if name not in by_name]:
        raise ExtractError(f"mutate: {mutation.wild} {chain}/{mutation.number} has no atom {', '.join(missing)}")
    lost = _AMIDE if mutation.new == "PRO" else frozenset[str]()
    stays = [index for index in residue if original.names[index] in _BACKBONE - lost]
    hydrogens = not original.heavy[residue].all()
    added = [
        count + index
        for index, (name, heavy) in enumerate(zip(fragment.molecule.names, fragment.molecule.heavy, strict=True))
        if name not in _BACKBONE and (hydrogens or heavy)
    ]
    # Indices into the atoms of both molecules. The new atoms follow the old ones of their residue, which stays whole.
    order = np.array([*range(residue[0]), *stays, *added, *range(residue[-1] + 1, count)])
    columns = {column: getattr(original, column) + getattr(fragment.molecule, column) for column in COLUMNS}
    for column, word in (("residue_names", mutation.new), ("residue_numbers", mutation.number), ("chains", chain)):
        columns[column] = _replaced(columns[column], {*stays, *added}, word)
    molecule = Molecule(
        **{column: tuple(words[index] for index in order) for column, words in columns.items()},
        bonds=_mutant_bonds(original, fragment.molecule, order, by_name),
        hetatm=np.zeros(len(order), bool),
    )
    placed = _on_frames(fragment, atoms.coordinates[:, [by_name[name] for name in FRAME]])
    coordinates = np.concatenate([atoms.coordinates, placed], axis=1)[:, order]
    return replace(atoms, indices=np.arange(len(order), dtype=np.int32), molecule=molecule, coordinates=coordinates)


def _on_frames(fragment: MoleculeStates, frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the atoms f4[S,A,3] of a fragment, superposed on N, CA and C f4[S,3,3] of each state."""
    own = fragment.coordinates[0][[fragment.molecule.names.index(name) for name in FRAME]]
    placed = []
    for frame in frames:
        rotation, shift = superpose(own, frame)
        placed.append(fragment.coordinates[0] @ rotation.T + shift)
    return np.array(placed, np.float32)


def _mutant_bonds(
    original: Molecule, fragment: Molecule, order: NDArray[np.int64], by_name: Mapping[str, int]
) -> NDArray[np.int32]:
    """Return the bonds i4[B,2] of a mutant.

    order: i8[M], its atoms, as indices into those of the original and then of the fragment. by_name: atoms of the
    residue in the original.
    """
    count = len(original)
    new_places = np.full(count + len(fragment), -1)
    new_places[order] = np.arange(len(order))
    is_new = new_places[count:] >= 0
    # Bonds of the fragment to atoms of the backbone, which are the residue's own.
    for index, name in enumerate(fragment.names):
        if not is_new[index] and name in by_name:
            new_places[count + index] = new_places[by_name[name]]
    bonds = np.concatenate([original.bonds, count + fragment.bonds[is_new[fragment.bonds].any(1)]])
    ends = np.sort(new_places[bonds], axis=1)
    return np.asarray(np.unique(ends[ends[:, 0] >= 0], axis=0), np.int32)


def _replaced(words: tuple[str, ...], places: set[int], word: str) -> tuple[str, ...]:
    return tuple(word if index in places else old for index, old in enumerate(words))
