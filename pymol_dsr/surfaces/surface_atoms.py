"""The atoms of an object that get a surface, by PyMOL's own rule (RepSurface.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .object_session import ObjectSession
from .remedies import IN_PYMOL, Remedies
from .source import ExtractError, SelectedAtoms

# Values of surface_mode. The others take all atoms: they differ only in atoms that are not shown, and here the
# selected ones count as shown.
BY_FLAGS = 0
WITHOUT_HYDROGENS = (2, 4)
# Names of residues in a message.
MOST_NAMES = 4


def surface_atoms(
    selection: str,
    session: ObjectSession,
    states: Sequence[int],
    *,
    object: str,
    remedies: Remedies = IN_PYMOL,
    _self: Any,
) -> tuple[SelectedAtoms, list[str]]:
    """Return the selected atoms of one object that get a surface, and a line on those left out and one on solvent.

    PyMOL's rule is applied to the selected atoms as if they were an object of their own: atoms without coordinates in
    all `states` are not there; with surface_mode 0 atoms flagged "ignore" are left out unless all have that flag; with
    2 and 4 hydrogens are. Raises ExtractError where no atom is left.
    """
    rows: list[tuple[int, int, str, str]] = []
    _self.iterate(f"({selection})", "rows.append((index, ID, name, resn))", space={"rows": rows})
    indices, ids, names, residues = zip(*rows, strict=True)
    atoms = SelectedAtoms(object, np.array(indices, np.int32) - 1, ids, names)
    present = _present_in_any(session, states, atoms)
    if not present.any():
        listed = f"state {states[0]}" if len(states) == 1 else "the wanted states"
        raise ExtractError(f"selection {selection}: none of its {len(atoms)} atoms has coordinates in {listed}")
    mode = _self.get_setting_int("surface_mode", object)
    included = present.copy()
    lines: list[str] = []
    reason = ""
    if mode in WITHOUT_HYDROGENS:
        included &= ~_matching(f"({selection}) and hydro", atoms, _self)
        if not included.any():
            raise ExtractError(
                f"selection {selection}: all {present.sum()} atoms are hydrogens, which surface_mode {mode} leaves "
                f"out; {remedies.setting('surface_mode', '1', object)} takes them along"
            )
        reason = f"that are hydrogens, as surface_mode is {mode}"
    elif mode == BY_FLAGS:
        ignored = present & _matching(f"({selection}) and flag 25", atoms, _self)
        if ignored.any() and not ignored[present].all():
            included &= ~ignored
        reason = "flagged ignore"
    left_out = [residues[index] for index in np.flatnonzero(present & ~included)]
    if left_out:
        lines.append(
            f"{object}: left out: {len(left_out)} atoms {reason} ({_named(left_out)}); "
            f"{remedies.setting('surface_mode', '1', object)} takes them along"
        )
    solvent = included & _matching(f"({selection}) and solvent", atoms, _self)
    # Solvent alone is what the user wants to see.
    if solvent.any() and _self.count_atoms(f"({selection}) and polymer"):
        lines.append(
            f"{object}: {solvent.sum()} of {included.sum()} atoms are solvent "
            f"({_named([residues[index] for index in np.flatnonzero(solvent)])}); to "
            f"leave it out, {remedies.narrowed(selection, 'polymer')}"
        )
    places = np.flatnonzero(included)
    chosen = SelectedAtoms(object, atoms.indices[places], [ids[index] for index in places], [names[p] for p in places])
    return chosen, lines


def _present_in_any(session: ObjectSession, states: Sequence[int], atoms: SelectedAtoms) -> NDArray[np.bool_]:
    """Say of each atom b[A] whether one of the states has it."""
    present = np.zeros(len(atoms), bool)
    for state in states:
        positions = session.positions(state, atoms.indices)
        if positions is not None:
            present |= positions[1] >= 0
        if present.all():
            break
    return present


def _matching(selection: str, atoms: SelectedAtoms, _self: Any) -> NDArray[np.bool_]:
    """Say of each atom b[A] whether the selection holds it."""
    rows: list[int] = []
    _self.iterate(selection, "rows.append(index)", space={"rows": rows})
    return np.isin(atoms.indices + 1, rows)


def _named(residues: Sequence[str]) -> str:
    """List the names of residues, each once."""
    names = sorted(set(residues))
    return ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
