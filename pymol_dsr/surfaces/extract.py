"""Scene to surfaces: PyMOL's own surface and the atoms of every state, computed beside the window.

`read_source` takes everything that is needed from the scene at once and checks it; after that no PyMOL call
is made, so `surfaces` may run in any thread. Coordinates are the object's own (its TTT is left out; scene.py
puts it on the result). Ångström, state numbers from 1.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..shared import states

# All that shapes a surface; what only colours or hides parts of it stays behind.
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
# Without a unit cell, a step this long (Å) of one atom beyond the whole molecule's is worth a warning.
JUMP = 20.0
# Title of the molecules that dsr_movie makes.
ATOMS_TITLE = "dsr atoms"
# Names as in one+two+three.
LISTED = re.compile(r"[\w.^%-]+(?:\+[\w.^%-]+)+", re.ASCII)


class ExtractError(ValueError):
    """What keeps the surfaces from being made, as one line for the user."""


@dataclass(frozen=True)
class Surface:
    """PyMOL's surface at one time: points f4[N,3], normals f4[N,3] outward, faces i4[M,3], atoms f4[A,3]."""

    state: float
    points: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    atoms: np.ndarray
    route: str = "cache"


@dataclass(frozen=True)
class Source:
    """All of one object that the surfaces need, taken out of the scene.

    atoms: i4[A], indices from 0 in the object of the surface's atoms. states: the states asked for.
    coordinates: state -> f4[A,3], in memory or read when looked at. warnings: lines for the user. last: how many
    states the object has.
    """

    object: str
    selection: str
    atoms: np.ndarray
    states: list[int]
    last: int
    coordinates: Mapping[int, np.ndarray]
    settings: dict[str, str]
    session: bytes
    pymol: str
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """What a fit remembers of where it came from; the atoms as a states text of indices from 1; the surface
        settings too.
        """
        return {
            "object": self.object,
            "selection": self.selection,
            "atoms": states.format((self.atoms + 1).tolist()),
            "settings": self.settings,
        }


def read_sources(selection: str, states_text: str = "all", *, _self: Any) -> list[Source]:
    """As read_source, for every object of the selection: in the order written in `one+two+three`, otherwise in the
    scene's.

    Raises ExtractError or StatesError.
    """
    selection = selection.strip()
    sources: list[Source] = []
    for part in one_by_one(selection, _self):
        source = read_source(part, states_text, _self=_self)
        if source.object in [s.object for s in sources]:
            raise ExtractError(
                f"selection {selection}: the object {source.object} occurs twice; each object is one trajectory"
            )
        sources.append(source)
    return sources


def one_by_one(selection: str, _self: Any) -> list[str]:
    """A selection as selections of one object each. Raises ExtractError."""
    # PyMOL takes a + between names without spaces for part of a name, and none in a selection.
    if LISTED.fullmatch(selection) and selection not in _self.get_names("all"):
        return selection.split("+")
    objects = _objects(selection, _self)
    # The atoms that dsr_movie has put beside its surfaces are not data.
    given = [name for name in objects if _self.get_title(name, 1) != ATOMS_TITLE] or objects
    return [selection] if len(objects) == 1 else [f"({selection}) and %{name}" for name in given]


def read_source(selection: str, states_text: str = "all", *, before: bool = False, _self: Any) -> Source:
    """Check the selection and the states, and take coordinates and settings out of the scene.

    before: take along the coordinates of the state before each one, where there are any.
    Raises ExtractError or StatesError with one line; starts no process and changes nothing.
    """
    name = one_object(selection, _self)
    last = _self.count_states(name)
    if last < 1:
        raise ExtractError(f"selection {selection}: the object {name} holds no coordinates; load a trajectory into it")
    wanted = [int(s) for s in sorted(states.parse(states_text, last=last, owner=f"the object {name}"))]

    found: list[tuple[int, int, str]] = []
    _self.iterate(f"({selection}) and not flag 25", "found.append((index, ID, name))", space={"found": found})
    if not found:
        count = _self.count_atoms(selection)
        raise ExtractError(
            f"selection {selection}: all {count} atoms are flagged 'ignore' and get no surface; "
            f"'flag ignore, {selection}, clear' brings them in"
        )
    kind = _self.get_setting_int("surface_type", name)
    if kind in NO_TRIANGLES:
        raise ExtractError(
            f"surface_type is {kind} for {name}, which draws {NO_TRIANGLES[kind]} and no triangles; "
            "'set surface_type, 0' gives a surface"
        )

    atoms = np.array([f[0] for f in found], np.int32) - 1
    session = _self.get_session(name, partial=1, binary=1, cache=0, compress=0, version=0)
    entry = next(list(n) for n in session["names"] if n and n[0] == name)
    coordsets = entry[5][4]

    def at(state: int) -> np.ndarray:
        xyz = _coordinates(name, coordsets, state, atoms, found)
        if _self.get_setting_int("matrix_mode", name) > 0:
            # Then PyMOL draws each state through a matrix of its own, which is part of the motion.
            m = np.array(_self.get_object_matrix(name, state=state, incl_ttt=0)).reshape(4, 4)
            xyz = (xyz @ m[:3, :3].T + m[:3, 3]).astype(np.float32)
        return xyz

    coordinates = {state: at(state) for state in wanted}
    warnings = [f"{name} has one state to fit: the field will not move"] if len(wanted) == 1 else []
    warnings += jumps(wanted, coordinates, found, _self.get_symmetry(name))
    if before:
        for state in {s - 1 for s in wanted} - {0, *wanted}:
            # A state that nobody asked for may well be missing.
            with contextlib.suppress(ExtractError):
                coordinates[state] = at(state)
    known = _setting_names()
    return Source(
        object=name,
        selection=selection,
        atoms=atoms,
        states=wanted,
        last=last,
        coordinates=coordinates,
        settings={k: _self.get(k) for k in SURFACE_SETTINGS if k in known},
        session=one_state_session(session, entry, wanted[0]),
        pymol=str(_self.get_version()[0]),
        warnings=warnings,
    )


def one_object(selection: str, _self: Any) -> str:
    """The only object of a selection. Raises ExtractError."""
    names = _objects(selection, _self)
    if len(names) > 1:
        listed = ", ".join(sorted(names)[:4]) + (", ..." if len(names) > 4 else "")
        raise ExtractError(f"selection {selection}: it spans {len(names)} objects ({listed}); take one at a time")
    return names[0]


def _objects(selection: str, _self: Any) -> list[str]:
    """The objects of a selection, in the scene's order."""
    import pymol

    try:
        # In PyMOL 3.1 only this one raises for a name that does not exist.
        _self.count_atoms(f"({selection})")
        names = list(_self.get_object_list(f"({selection})") or [])
    except pymol.CmdException as error:
        reason = str(error.args[0] if error.args else error).splitlines()[0].rstrip(".")
        hint = "; join objects with 'or' in a selection" if "+" in reason else ""
        raise ExtractError(f"selection {selection}: {reason}{hint}") from error
    if not names:
        raise ExtractError(f"selection {selection}: it holds no atoms")
    return names


def _coordinates(
    name: str, coordsets: list[Any], state: int, atoms: np.ndarray, found: list[tuple[int, int, str]]
) -> np.ndarray:
    # The layout of PyMOL's session files: a coordinate set holds its coordinates at 2 and the atoms they are
    # of at 3.
    coordset = coordsets[state - 1]
    if coordset is None:
        raise ExtractError(f"state {state}: {name} has no coordinates there; leave it out of states")
    xyz, at = _placed(coordset, atoms)
    missing = np.flatnonzero(at < 0)
    if len(missing):
        first = found[missing[0]]
        raise ExtractError(
            f"state {state}: {len(missing)} of the {len(atoms)} selected atoms of {name} are not in it "
            f"(first: atom id {first[1]}, {first[2]}); select atoms that every state has"
        )
    xyz = xyz[at]
    check_finite(xyz, state, name, found)
    return xyz


def _placed(coordset: list[Any], atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates f4[N,3] of a coordinate set, in the order of the file they came from, and where in it the atoms
    i4[A] are, i8[A]; -1 for one that is not there.
    """
    if not isinstance(coordset[2], bytes) or not isinstance(coordset[3], bytes):
        raise ExtractError("this PyMOL writes its sessions in a way that is not known here; please report its version")
    xyz = np.frombuffer(coordset[2], np.float32).reshape(-1, 3)
    owners = np.frombuffer(coordset[3], np.int32)
    place = np.full(max(int(atoms.max()), int(owners.max(initial=0))) + 1, -1, np.int64)
    place[owners] = np.arange(len(owners))
    return xyz, place[atoms]


def put_coordinates(name: str, state: int, xyz: np.ndarray, _self: Any) -> None:
    """Move all atoms of a state of an object to [A,3] (Å), in the object's order."""
    # load_coords and get_coords fail in PyMOL's wheel 3.2.0.2, which is compiled for another numpy than it wants.
    positions = iter(xyz.tolist())
    _self.alter_state(state, name, "(x, y, z) = next(positions)", space={"positions": positions, "next": next})


def check_finite(xyz: np.ndarray, state: int, name: str, found: list[tuple[int, int, str]]) -> None:
    """Raises ExtractError, naming the state and the first atom of f4[A,3] that is not at a finite place.

    found: index from 1, id and name of each atom.
    """
    bad = np.flatnonzero(~np.isfinite(xyz).all(axis=1))
    if len(bad):
        first, where = found[bad[0]], xyz[bad[0]]
        raise ExtractError(
            f"state {state}: atom id {first[1]} ({first[2]}) of {name} has the coordinates "
            f"{where[0]:g}, {where[1]:g}, {where[2]:g}; leave that state or atom out"
        )


def order_in_file(name: str, atoms: np.ndarray, _self: Any) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates f4[N,3] of all atoms of the object's first state, in the order of the file they came from (PyMOL
    sorts atoms), and where in it the atoms i4[A] (indices from 0 in the object) are, i8[A].
    """
    session = _self.get_session(name, partial=1, binary=1, cache=0, compress=0, version=0)
    entry = next(list(n) for n in session["names"] if n and n[0] == name)
    return _placed(entry[5][4][0], atoms)


def jumps(
    wanted: Sequence[int], coordinates: Mapping[int, np.ndarray], found: list[tuple[int, int, str]], symmetry: Any
) -> list[str]:
    """A line for the first atom that leaps, as atoms do when a trajectory is wrapped into its box."""
    limit = JUMP
    if symmetry and min(symmetry[:3]) > 2.0:
        limit = 0.5 * min(symmetry[:3])
    for before, after in itertools.pairwise(wanted):
        step = coordinates[after].astype(np.float64) - coordinates[before]
        length = np.linalg.norm(step - np.median(step, axis=0), axis=1)
        worst = int(length.argmax())
        if length[worst] > limit:
            line = (
                f"atom id {found[worst][1]} ({found[worst][2]}) moves {length[worst]:.1f} A from state "
                f"{before} to {after}; if it crosses the periodic box, run pbc_unwrap first"
            )
            return [line]
    return []


def one_state_session(session: dict[str, Any], entry: list[Any], state: int) -> bytes:
    """The session of the object with only `state`, so that a worker's memory does not grow with the
    trajectory.
    """
    molecule = list(entry[5])
    molecule[1] = 1
    molecule[4] = [molecule[4][state - 1]]
    entry = list(entry)
    entry[5] = molecule
    # In no group: a group that is switched off would hide it.
    entry[6] = ""
    keys = ("version", "colors", "color_ext", "unique_settings", "partial")
    small = {k: session[k] for k in keys if k in session}
    return json.dumps({**small, "names": [entry]}, default=_of_bytes).encode()


def _of_bytes(value: Any) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    raise ExtractError(f"this PyMOL has a {type(value).__name__} in its sessions; please report its version")


def _setting_names() -> set[str]:
    import pymol.setting

    return set(pymol.setting.get_name_list())
