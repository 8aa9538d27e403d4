"""One object of the scene in the layout of PyMOL's session files.

PyMOL's session is the only exact source of coordinates on every build: get_coords and get_coordset fail in the wheel
3.2.0.2, which is compiled for another numpy than it wants.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .source import ExtractError

# Places in the list that describes an object, in that of a molecule and in that of a coordinate set.
NAME, DATA, GROUP = 0, 5, 6
STATE_COUNT, COORDINATE_SETS, DISCRETE = 1, 4, 8
POSITIONS, ATOM_INDICES = 2, 3
# Entries of a session that a worker needs to open it.
HEADER_KEYS = ("version", "colors", "color_ext", "unique_settings", "partial")


@dataclass(frozen=True, eq=False)
class ObjectSession:
    """A PyMOL session with one object: the other entries in `header`, the object's list in `entry`."""

    header: dict[str, Any]
    entry: list[Any]

    @property
    def data(self) -> list[Any]:
        """The contents of the object; its layout depends on the object's type."""
        contents: list[Any] = self.entry[DATA]
        return contents

    @property
    def is_discrete(self) -> bool:
        """Whether each state of the molecule has atoms of its own."""
        return bool(self.data[DISCRETE])

    def with_owners(self, own_to_shared: Mapping[int, Mapping[int, int]]) -> ObjectSession:
        """Return the session with the atoms of some states renumbered; by state, new indices by old ones, from 0."""
        molecule = list(self.data)
        molecule[COORDINATE_SETS] = sets = list(molecule[COORDINATE_SETS])
        for state, renumbered in own_to_shared.items():
            sets[state - 1] = coordinate_set = list(sets[state - 1])
            owners = np.frombuffer(coordinate_set[ATOM_INDICES], np.int32)
            coordinate_set[ATOM_INDICES] = np.array(
                [renumbered.get(owner, owner) for owner in owners.tolist()], np.int32
            ).tobytes()
        entry = list(self.entry)
        entry[DATA] = molecule
        return ObjectSession(self.header, entry)

    def positions(self, state: int, atoms: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Read a state of a molecule; None where it has no coordinates there.

        Returns positions f4[N,3] (Å) in the order of the file they came from, and the place i8[A] among them of each
        of the atoms i4[A] (indices from 0 in the object), -1 for an atom that the state lacks. Raises ExtractError for
        an unknown layout.
        """
        coordinate_set = self.data[COORDINATE_SETS][state - 1]
        if coordinate_set is None:
            return None
        if not all(isinstance(coordinate_set[slot], bytes) for slot in (POSITIONS, ATOM_INDICES)):
            raise ExtractError(
                "this PyMOL writes its sessions in a way that is not known here; please report its version"
            )
        xyz = np.frombuffer(coordinate_set[POSITIONS], np.float32).reshape(-1, 3)
        owners = np.frombuffer(coordinate_set[ATOM_INDICES], np.int32)
        places = np.full(max(int(atoms.max()), int(owners.max(initial=0))) + 1, -1, np.int64)
        places[owners] = np.arange(len(owners))
        return xyz, places[atoms]

    @property
    def group(self) -> str:
        """Name of the group that the object is in; empty where it is in none."""
        return str(self.entry[GROUP] or "")

    def with_one_state(self, state: int) -> bytes:
        """Write the session of the molecule with only `state` as JSON; bytes become {"bytes": base64}.

        A worker's memory does not grow with the trajectory so. Raises ExtractError for values that JSON can't hold.
        """
        molecule = list(self.data)
        molecule[STATE_COUNT] = 1
        molecule[COORDINATE_SETS] = [molecule[COORDINATE_SETS][state - 1]]
        entry = list(self.entry)
        entry[DATA] = molecule
        # In no group: a group that is switched off would hide it.
        entry[GROUP] = ""
        header = {key: self.header[key] for key in HEADER_KEYS if key in self.header}
        return json.dumps({**header, "names": [entry]}, default=_encode).encode()


def read_object_session(name: str, _self: Any) -> ObjectSession:
    """Read the object `name` of the scene."""
    session = _self.get_session(name, partial=1, binary=1, cache=0, compress=0, version=0)
    entry = next(list(entry) for entry in session["names"] if entry and entry[NAME] == name)
    return ObjectSession(session, entry)


def read_json_session(data: bytes) -> dict[str, Any]:
    """Read what `with_one_state` wrote, for PyMOL's set_session."""
    session: dict[str, Any] = json.loads(data, object_hook=_decode)
    return session


def _encode(value: Any) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    raise ExtractError(f"this PyMOL has a {type(value).__name__} in its sessions; please report its version")


def _decode(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["bytes"]) if list(value) == ["bytes"] else value
