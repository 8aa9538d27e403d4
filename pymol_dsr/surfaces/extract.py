"""Takes out of the scene everything that the surfaces of an object need.

After `read_source` no PyMOL call is made, so the surfaces may be computed in any thread. Coordinates are the object's
own; its display matrix (TTT) is left out, and `scene` puts it on the result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pymol.setting
from numpy.typing import NDArray

from ..shared import states
from .coordinates import check_finite, check_positions, copy_warnings
from .discrete import with_shared_atoms
from .identity import read_identity
from .object_session import ObjectSession, read_object_session
from .periodic import (
    Molecules,
    box_warnings,
    check_box_lines,
    find_breaks,
    made_whole,
    molecule_positions,
    read_cell,
    read_molecules,
)
from .remedies import IN_PYMOL, Remedies
from .selections import check_named_once, selected_object, split_by_object
from .source import Coordinates, ExtractError, SelectedAtoms, Source
from .surface_atoms import surface_atoms

# All that shapes a surface; the settings that only colour or hide parts of it stay behind.
SURFACE_SETTINGS = (
    "surface_quality",
    "surface_type",
    "surface_mode",
    "surface_solvent",
    "solvent_radius",
    "surface_best",
    "surface_normal",
    "surface_poor",
    "surface_miserable",
    "surface_proximity",
    "surface_optimize_subsets",
    "surface_circumscribe",
    "surface_trim_cutoff",
    "surface_trim_factor",
    "surface_cavity_mode",
    "surface_cavity_radius",
    "surface_cavity_cutoff",
    "surface_residue_cutoff",
    "surface_smooth_edges",
    "cavity_cull",
)
# surface_type values that draw dots or lines.
NO_TRIANGLES = {1: "dots", 2: "a mesh of lines", 6: "lines"}


def one_state_line(name: str) -> str:
    """Return the warning on an object of which one state is fitted."""
    return f"{name} has one state to fit: the field will not move"


def read_sources(
    selection: str, states_text: str = "all", *, unwrap: bool = False, remedies: Remedies = IN_PYMOL, _self: Any
) -> list[Source]:
    """Read every object of a selection, as `read_source` does.

    The objects come in the order written in `one+two+three`, otherwise in the scene's. Raises ExtractError or
    StatesError.
    """
    selection = selection.strip()
    sources: list[Source] = []
    for object_selection in split_by_object(selection, _self):
        source = read_source(object_selection, states_text, unwrap=unwrap, remedies=remedies, _self=_self)
        sources.append(source)
        check_named_once(selection, [known.object for known in sources])
    return sources


def read_source(
    selection: str,
    states_text: str = "all",
    *,
    before: bool = False,
    unwrap: bool = False,
    remedies: Remedies = IN_PYMOL,
    _self: Any,
) -> Source:
    """Check a selection of one object and its states, and take coordinates and settings out of the scene.

    before: also take the coordinates of the state before each one, where there are any. unwrap: make molecules whole
    that the periodic box cuts. remedies: in whose words a message says what to do. Starts no process and changes
    nothing. Raises ExtractError or StatesError with one line.
    """
    name = selected_object(selection, _self)
    last = _self.count_states(name)
    if last < 1:
        raise ExtractError(f"selection {selection}: the object {name} holds no coordinates; {remedies.trajectory()}")
    state_numbers = [int(state) for state in sorted(states.parse(states_text, last=last, owner=f"the object {name}"))]
    _check_surface_type(name, remedies, _self)
    session = read_object_session(name, _self)
    atom_selection, shown_state, one_session = selection, state_numbers[0], session
    if session.is_discrete:
        session, atom_selection, shown_state = with_shared_atoms(
            selection, session, state_numbers, object=name, remedies=remedies, _self=_self
        )
    atoms, warnings = surface_atoms(atom_selection, session, state_numbers, object=name, remedies=remedies, _self=_self)
    coordinates = {state: state_coordinates(session, state, atoms, selection, remedies) for state in state_numbers}
    warnings += [one_state_line(name)] if len(state_numbers) == 1 else []
    if before:
        for state in {state - 1 for state in state_numbers} - {0, *state_numbers}:
            # A state that the user did not name may well be missing.
            with contextlib.suppress(ExtractError):
                coordinates[state] = state_coordinates(session, state, atoms, selection, remedies)
    molecules = read_molecules(atom_selection, atoms, shown_state, _self)
    whole, lines = through_box(session, molecules, state_numbers, unwrap=unwrap, remedies=remedies, _self=_self)
    coordinates |= {state: whole[state] for state in coordinates.keys() & whole.keys()}
    warnings += lines
    coordinates = {state: in_scene(xyz, name, state, _self) for state, xyz in coordinates.items()}
    for state in state_numbers:
        check_positions(coordinates[state], state, atoms)
    warnings += copy_warnings(state_numbers, coordinates, remedies)
    settings = set(pymol.setting.get_name_list())
    return Source(
        object=name,
        selection=selection,
        atoms=atoms.indices,
        radii=_radii(atom_selection, atoms, _self),
        states=state_numbers,
        last=last,
        coordinates=coordinates,
        settings={key: _self.get(key, name) for key in SURFACE_SETTINGS if key in settings},
        session=one_session.with_one_state(shown_state),
        pymol=str(_self.get_version()[0]),
        closing=_closing(name, remedies, _self),
        unwrap=unwrap,
        identity=read_identity(name, atoms.indices, _self),
        warnings=warnings,
    )


def through_box(
    session: ObjectSession,
    molecules: Molecules,
    state_numbers: Sequence[int],
    *,
    unwrap: bool,
    remedies: Remedies,
    _self: Any,
) -> tuple[dict[int, Coordinates], list[str]]:
    """Return the selected atoms f4[A,3] (Å) by state with molecules made whole, or else lines on those that are cut.

    Raises ExtractError where they are to be made whole and a state has no unit cell, or a state has the coordinates of
    other atoms.
    """
    # Unwrapping goes from state to state, so that it does not depend on the states that are wanted.
    through = range(1, state_numbers[-1] + 1) if unwrap else sorted({1, *state_numbers})
    molecules, positions = molecule_positions(session, molecules, through)
    cells = {state: read_cell(molecules.atoms.object, state, _self) for state in positions}
    breaks = find_breaks(molecules, positions, cells)
    check_box_lines(session, molecules, positions, cells, breaks)
    if unwrap:
        return made_whole(molecules, positions, cells, remedies), []
    return {}, box_warnings(molecules, positions, cells, breaks, state_numbers, remedies)


def _check_surface_type(name: str, remedies: Remedies, _self: Any) -> None:
    surface_type = _self.get_setting_int("surface_type", name)
    if surface_type in NO_TRIANGLES:
        raise ExtractError(
            f"surface_type is {surface_type} for {name}, which draws {NO_TRIANGLES[surface_type]} and no triangles; "
            f"{remedies.setting('surface_type', '0', name)} gives a surface"
        )


def _closing(name: str, remedies: Remedies, _self: Any) -> str:
    """Name the settings that may open the surfaces of an object or turn them inside out, and the remedy."""
    usual = {"solvent_radius": 1.4, "surface_quality": 0.0, "surface_cavity_mode": 0.0}
    values = {key: float(_self.get(key, name)) for key in usual}
    changed = [key for key in usual if values[key] != usual[key] and (key != "surface_quality" or values[key] < 0.0)]
    if not changed:
        return "'show surface' shows where"
    named = ", ".join(f"{key} is {values[key]:g}" for key in changed)
    orders = " and ".join(remedies.setting(key, f"{usual[key]:g}", name) for key in changed)
    return f"{named}; {orders} {'give' if len(changed) > 1 else 'gives'} closed surfaces"


def _radii(selection: str, atoms: SelectedAtoms, _self: Any) -> NDArray[np.float32]:
    """Return the van der Waals radii of atoms of a selection, f4[A] in Å."""
    radii: dict[int, float] = {}
    _self.iterate(f"({selection})", "radii[index - 1] = vdw", space={"radii": radii})
    return np.array([radii[index] for index in atoms.indices.tolist()], np.float32)


def state_coordinates(
    session: ObjectSession, state: int, atoms: SelectedAtoms, selection: str, remedies: Remedies = IN_PYMOL
) -> Coordinates:
    """Read the atoms f4[A,3] of a state. Raises ExtractError where one is missing or not finite."""
    name = atoms.object
    positions = session.positions(state, atoms.indices)
    if positions is None:
        raise ExtractError(f"state {state}: {name} has no coordinates there; leave it out of states")
    xyz, places = positions
    missing = np.flatnonzero(places < 0)
    if len(missing):
        first = missing[0]
        remedy = f"leave that state out, or {remedies.narrowed(selection, f'state {state}')}"
        if len(missing) == len(atoms):
            remedy = "leave that state out"
        raise ExtractError(
            f"state {state}: {len(missing)} of the {len(atoms)} selected atoms of {name} are not in it "
            f"(first: atom id {atoms.ids[first]}, {atoms.names[first]}); {remedy}"
        )
    xyz = xyz[places]
    check_finite(xyz, state, atoms)
    return xyz


def in_scene(xyz: Coordinates, name: str, state: int, _self: Any) -> Coordinates:
    """Return atoms f4[A,3] (Å) of a state where PyMOL draws them."""
    if _self.get_setting_int("matrix_mode", name) > 0:
        # Then PyMOL draws each state through a matrix of its own, which is part of the motion.
        matrix = np.array(_self.get_object_matrix(name, state=state, incl_ttt=0)).reshape(4, 4)
        xyz = (xyz @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
    return xyz
