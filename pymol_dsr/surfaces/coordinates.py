"""Coordinates of states: checks, and how they are put into PyMOL."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared import states as states_texts
from ..shared.extents import gap_fault
from ..shared.superpose import turn_angle
from ..shared.text import counted
from .remedies import Remedies
from .source import Coordinates, ExtractError, SelectedAtoms

# Without a unit cell, a step this long (Å) of one atom beyond the whole molecule's is worth a warning.
JUMP = 20.0
# Degrees; past a quarter turn from one state to the next, states do not tell the way between them.
FAR_TURN = 90.0


def check_finite(xyz: Coordinates, state: int, atoms: SelectedAtoms) -> None:
    """Raise ExtractError, naming the state and the first atom of f4[A,3] whose position is not finite."""
    bad = np.flatnonzero(~np.isfinite(xyz).all(axis=1))
    if len(bad):
        x, y, z = xyz[bad[0]]
        raise ExtractError(
            f"state {state}: {atoms.label(bad[0])} of {atoms.object} has the coordinates "
            f"{x:g}, {y:g}, {z:g}; leave that state or atom out"
        )


def check_positions(xyz: Coordinates, state: int, atoms: SelectedAtoms) -> None:
    """Raise ExtractError, naming the state, where an atom of f4[A,3] is nowhere or parts lie too far apart."""
    check_finite(xyz, state, atoms)
    if fault := gap_fault(xyz):
        raise ExtractError(f"state {state} of {atoms.object}: {fault}")


def jump_warnings(
    states: Sequence[int],
    coordinates: Mapping[int, Coordinates],
    atoms: SelectedAtoms,
    owners: NDArray[np.int64],
    *,
    half_edge: float,
    remedy: str,
) -> list[str]:
    """Name the first molecule that leaps between two states, as one does when a trajectory is wrapped into its box.

    owners: i8[A], the molecule of each atom, whose bonds are no longer than they should be; half_edge: half of the
    shortest edge of the box in Å, inf where it is not known; remedy: what ends the leaps. Returns one line or none.
    """
    _, first_atoms, numbers = np.unique(owners, return_index=True, return_inverse=True)
    if len(first_atoms) < 2:
        return []
    sizes = np.bincount(numbers)
    limit = JUMP if np.isinf(half_edge) else half_edge
    for before, after in itertools.pairwise(states):
        step = coordinates[after].astype(np.float64) - coordinates[before]
        step -= np.median(step, axis=0)
        centres = np.stack([np.bincount(numbers, step[:, k]) for k in range(3)], 1) / sizes[:, None]
        length = np.linalg.norm(centres, axis=1)
        farthest = int(length.argmax())
        if length[farthest] > limit:
            return [
                f"{atoms.label(first_atoms[farthest])} moves {length[farthest]:.1f} A from state {before} to {after}; "
                f"if it crosses the periodic box, {remedy}"
            ]
    return []


def copy_warnings(states: Sequence[int], coordinates: Mapping[int, Coordinates], remedies: Remedies) -> list[str]:
    """Return one line on states whose coordinates are those of another one, or none."""
    first_of: dict[bytes, int] = {}
    copies: dict[int, int] = {}
    for state in states:
        first = first_of.setdefault(coordinates[state].tobytes(), state)
        if first != state:
            copies[state] = first
    return [copy_line(states, copies, remedies)] if copies else []


def copy_line(states: Sequence[int], copies: Mapping[int, int], remedies: Remedies) -> str:
    """Write a line on the copies among some states. copies: the first state with the same coordinates, by state."""
    state, first = next(iter(copies.items()))
    further = counted(len(copies) - 1, "other state")
    verb = "has" if len(copies) == 2 else "have"
    copied = f", and so {verb} {further} those of an earlier one" if len(copies) > 1 else ""
    distinct = states_texts.format([state for state in states if state not in copies])
    line = f"state {state} has the coordinates of state {first}{copied}"
    return f"{line}; to leave copies out, {remedies.states(distinct)}"


def turn_warning(
    states: Sequence[int], coordinates: Mapping[int, Coordinates], cuts: Sequence[float] = (), remedy: str = ""
) -> str:
    """Return a line where a molecule turns far from one state to the next, else an empty one.

    cuts: states after which nothing is blended. remedy: a command that superposes the states, empty where none does.
    """
    turns = {
        (before, after): turn_angle(coordinates[before], coordinates[after])
        for before, after in itertools.pairwise(states)
        if not any(before <= cut < after for cut in cuts)
    }
    far = [step for step, angle in turns.items() if angle > FAR_TURN]
    if not far:
        return ""
    before, after = max(far, key=turns.__getitem__)
    further = f", and by more than {FAR_TURN:.0f} in {counted(len(far) - 1, 'other step')}" if len(far) > 1 else ""
    line = (
        f"the molecule turns by {turns[before, after]:.0f} degrees from state {before} to {after}{further}: how it "
        "turns between them is a guess"
    )
    return f"{line}; if turns are no matter, type '{remedy}' and fit again" if remedy else line


def put_coordinates(name: str, state: int, xyz: NDArray[np.floating[Any]], _self: Any) -> None:
    """Move all atoms of a state of an object to [A,3] (Å), in the object's order."""
    # load_coords fails in PyMOL's wheel 3.2.0.2, which is compiled for another numpy than it wants.
    positions = iter(xyz.tolist())
    _self.alter_state(state, name, "(x, y, z) = next(positions)", space={"positions": positions, "next": next})
