"""Molecules as PyMOL loads them from Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from chempy import Atom, Bond
from chempy.models import Indexed
from numpy.typing import NDArray

from ..shared.molecule import Molecule


def chempy_model(molecule: Molecule, coordinates: NDArray[np.floating[Any]]) -> Indexed:
    """Return a molecule with the places f[A,3] (Å) of its atoms, for `load_model`; all bonds are single ones."""
    model = Indexed()
    columns = (
        molecule.names,
        molecule.residue_names,
        molecule.residue_numbers,
        molecule.chains,
        molecule.elements,
        np.asarray(coordinates, float).tolist(),
    )
    for name, residue_name, number, chain, element, position in zip(*columns, strict=True):
        atom = Atom()
        atom.name, atom.resn, atom.resi, atom.chain, atom.symbol = name, residue_name, number, chain, element
        atom.coord = position
        model.add_atom(atom)
    for pair in molecule.bonds.tolist():
        bond = Bond()
        bond.index, bond.order = pair, 1
        model.add_bond(bond)
    return model
