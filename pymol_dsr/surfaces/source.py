"""The data that surfaces are computed from, and the surfaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..shared import messages, states
from ..shared.mesh import Mesh
from ..shared.values import JsonObject

Coordinates = NDArray[np.float32]


class ExtractError(ValueError):
    """Surfaces can't be computed: one line for the user."""


@dataclass(frozen=True, eq=False)
class Surface(Mesh):
    """PyMOL's surface of one state, with the atoms f4[A,3] (Å) that it encloses.

    route: how the triangles were read from PyMOL, "cache" or "idtf".
    """

    state: float
    atoms: Coordinates
    route: str = "cache"

    def request(self, fit: str, trajectory: str = "") -> messages.Surface:
        """Write the message that sends it for a fit, or for one trajectory of a family."""
        return messages.Surface(
            fit=fit,
            state=self.state,
            trajectory=trajectory or None,
            points=self.points,
            normals=self.normals,
            faces=self.faces,
            atoms=self.atoms,
        )


@dataclass(frozen=True)
class SelectedAtoms:
    """Atoms of one object, in its order: indices i4[A] from 0, and PyMOL's ID and name of each."""

    object: str
    indices: NDArray[np.int32]
    ids: Sequence[int]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.indices)

    def label(self, number: int) -> str:
        """Describe the atom at place `number` of the selection for a message."""
        return f"atom id {self.ids[number]} ({self.names[number]})"


@dataclass(frozen=True, eq=False)
class Source:
    """Everything that the surfaces of one object need, taken out of the scene.

    atoms: i4[A], indices from 0 in the object of the atoms that the surface encloses; radii: f4[A], their van der Waals
    radii in Å. states: those to compute, from 1.
    last: number of states of the object. coordinates: f4[A,3] in Å by state, in memory or read on demand. settings:
    those of the object that shape a surface. session: PyMOL session of one state, as JSON. pymol: its version. closing:
    how to get closed surfaces, for a message. unwrap: whether molecules that the periodic box cuts were made whole.
    provenance: origin of its states, where some of them were generated. identity: how its atoms are known again.
    warnings: lines for the user, more of which may come while surfaces are computed.
    """

    object: str
    selection: str
    atoms: NDArray[np.int32]
    radii: NDArray[np.float32]
    states: list[int]
    last: int
    coordinates: Mapping[int, Coordinates]
    settings: dict[str, str]
    session: bytes
    pymol: str
    closing: str
    unwrap: bool = False
    provenance: JsonObject | None = None
    identity: messages.AtomIdentity | None = None
    warnings: list[str] = field(default_factory=list)

    def mean_radius(self) -> float:
        """Return the mean van der Waals radius of the atoms in Å."""
        return round(float(self.radii.mean(dtype=np.float64)), 4)

    def molecule(self) -> messages.MoleculeSource:
        """Describe the origin of a fit for its file."""
        return messages.MoleculeSource(
            object=self.object,
            selection=self.selection,
            atoms=states.format((self.atoms + 1).tolist()),
            settings=dict(self.settings),
            unwrap=self.unwrap or None,
            provenance=self.provenance,
            radius=self.mean_radius(),
            identity=self.identity.short() if self.identity else None,
        )
