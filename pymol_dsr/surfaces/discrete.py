"""Discrete objects, in which every state has atoms of its own: conformers in one file, ensembles with discrete=1.

Where all states have the same atoms, those of one state stand for all. PyMOL's `set_discrete` merges atoms of equal
names instead, which leaves six of the 22 atoms of a molecule in an .sdf file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..shared import states as states_texts
from .object_session import ObjectSession
from .remedies import Remedies
from .source import ExtractError

Atom = tuple[int, str, str]
"""Index from 0, name and element."""


def with_shared_atoms(
    selection: str, session: ObjectSession, wanted: Sequence[int], *, object: str, remedies: Remedies, _self: Any
) -> tuple[ObjectSession, str, int]:
    """Let the selected atoms of one state stand for those of all wanted states, by their order in each state.

    Returns a session whose `positions` go by these atoms, a selection of them, and their state. Raises ExtractError for
    states of other atoms: of other names or elements, or of other bonds where names are no more than elements.
    """
    by_state = _atoms_by_state(f"%{object}", _self)
    chosen = _atoms_by_state(f"({selection})", _self)
    first = min(chosen)
    indices = {index for index, _, _ in chosen[first]}
    ranks = [rank for rank, (index, _, _) in enumerate(by_state[first]) if index in indices]
    expected = _identity(by_state[first], ranks, object, first, _self)
    own_to_shared: dict[int, dict[int, int]] = {}
    unlike: list[int] = []
    for state in wanted:
        atoms = by_state.get(state, [])
        if len(atoms) > ranks[-1] and _identity(atoms, ranks, object, state, _self) == expected:
            own_to_shared[state] = {atoms[rank][0]: by_state[first][rank][0] for rank in ranks}
        else:
            unlike.append(state)
    if unlike:
        remedy = "load each of its molecules as an object of its own"
        if len(own_to_shared) > 1:
            remedy = f"{remedies.states(states_texts.format(list(own_to_shared)))} for those with the atoms of {first}"
        counts = f"{len(by_state.get(unlike[0], []))} and {len(by_state[first])}"
        raise ExtractError(
            f"state {unlike[0]}: {object} has other atoms there than in state {first} ({counts}, or of other names or "
            f"bonds), and no surface is continuous between other molecules; {remedy}"
        )
    return session.with_owners(own_to_shared), f"({selection}) and state {first}", first


def _atoms_by_state(selection: str, _self: Any) -> dict[int, list[Atom]]:
    rows: list[tuple[int, int, str, str]] = []
    _self.iterate(selection, "rows.append((state, index - 1, name, elem))", space={"rows": rows})
    atoms: dict[int, list[Atom]] = {}
    for state, index, name, element in rows:
        atoms.setdefault(state, []).append((index, name, element))
    return atoms


def _identity(
    atoms: Sequence[Atom], ranks: Sequence[int], object: str, state: int, _self: Any
) -> tuple[list[tuple[str, str]], set[frozenset[int]] | None]:
    """Return names and elements of the atoms at `ranks` of a state, and their bonds where names are elements."""
    names = [(name, element) for _, name, element in (atoms[rank] for rank in ranks)]
    if any(name.upper() != element.upper() for name, element in names):
        return names, None
    pairs = _self.get_bonds(f"%{object} and state {state}", state)
    of_ranks = set(ranks)
    return names, {frozenset(pair[:2]) for pair in pairs if of_ranks.issuperset(pair[:2])}
