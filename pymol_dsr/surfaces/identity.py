"""The identity of fitted atoms: which atoms of an object are those that were fitted, after the object has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared import messages, states

_ATOM_KEY = "rows.append((ID, elem, '/'.join((segi, chain, resn, resi, name, alt))))"
# IDs above are not read back.
LARGEST_ID = 10**9 - 2

# PyMOL's ID, element and label of an atom.
AtomKey = tuple[int, str, str]


def read_identity(object: str, indices: NDArray[np.int32], _self: Any) -> messages.AtomIdentity:
    """Describe the atoms i4[A] (from 0) of an object, so that `find_atoms` knows them again."""
    rows = _rows(object, _self)
    atoms = [rows[index] for index in indices.tolist()]
    ids = [number for number, _, _ in rows]
    # An object made of several others may have each ID more than once, which says nothing then.
    is_unique = len(set(ids)) == len(ids) and min(ids) >= 0 and max(ids) <= LARGEST_ID
    return messages.AtomIdentity(
        count=len(rows),
        elements=_elements(atoms),
        labels=_labels(atoms),
        order=_order(atoms) if is_unique else None,
        ids=states.format([number + 1 for number, _, _ in atoms]) if is_unique else None,
    )


def find_atoms(
    object: str, indices: NDArray[np.int32], identity: messages.AtomIdentity, _self: Any
) -> NDArray[np.int32] | None:
    """Return the present indices i4[A] (from 0) of the fitted atoms of an object; None where it lacks some of them.

    indices: those when they were fitted, which count where the object still has the fitted atoms there. Raises
    ValueFault where the identity can't be read.
    """
    rows = _rows(object, _self)
    if int(indices.max()) < len(rows) and _are_fitted([rows[index] for index in indices.tolist()], identity):
        return indices
    ids = identity.atom_ids()
    index_of = {number: index for index, (number, _, _) in enumerate(rows)}
    if ids is None or len(index_of) < len(rows) or not all(number in index_of for number in ids):
        return None
    moved = [index_of[number] for number in ids]
    return np.array(moved, np.int32) if _are_fitted([rows[index] for index in moved], identity) else None


def _are_fitted(atoms: Sequence[AtomKey], identity: messages.AtomIdentity) -> bool:
    """Whether these atoms are the fitted ones.

    A user may alter chains and numbers of residues, and another file has other IDs, so that one of the two is enough.
    """
    if _elements(atoms) != identity.elements:
        return False
    return (identity.order is not None and _order(atoms) == identity.order) or _labels(atoms) == identity.labels


def _rows(object: str, _self: Any) -> list[AtomKey]:
    """Return the rows of all atoms of an object, by index."""
    rows: list[AtomKey] = []
    _self.iterate(f"%{object}", _ATOM_KEY, space={"rows": rows})
    return rows


def _order(atoms: Sequence[AtomKey]) -> str:
    return _digest(str(number) for number, _, _ in atoms)


def _elements(atoms: Sequence[AtomKey]) -> str:
    return _digest(element for _, element, _ in atoms)


def _labels(atoms: Sequence[AtomKey]) -> str:
    return _digest(label for _, _, label in atoms)


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
