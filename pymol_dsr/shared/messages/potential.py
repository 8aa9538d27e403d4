"""The message that learns a potential from frames of one or several proteins."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from ..learn_options import LearnOptions
from ..values import JsonObject, Record, Value, ValueFault
from .base import FAR, Array, Lane, Request, Result


@dataclass(frozen=True)
class LearnedProtein(Record):
    """A protein to learn from: a simulation that the backend has kept, or frames that come with the message.

    Frames that come with a simulation are not learned from: the first must be one of its states.
    """

    name: Annotated[str, Value("its name, for people", longest=200)]
    residues: Annotated[tuple[str, ...], Value("names of its residues with a Cα")] = ()
    chains: Annotated[tuple[int, ...], Value("number of the chain of each, from 0", least=0)] = ()
    frames: Annotated[int, Value("its frames in `beads`", least=0, most=10**9)] = 0
    simulation: Annotated[str | None, Value("name of a simulation that the backend has kept", names="a simulation")] = (
        None
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnResult(Result):
    """A model that was learned and is in the backend's folder of models."""

    path: Annotated[str, Value("its file")]
    notes: Annotated[tuple[str, ...], Value("lines for the user")] = ()
    report: Annotated[JsonObject, Value("curves of its training")] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnPotential(Request[LearnResult]):
    """Learns a coarse-grained potential. Progress comes as `source-progress` with the name of the model."""

    METHOD = "learn"
    LANE = Lane.WORKER
    RESULT = LearnResult

    model: Annotated[str, Value("name of the potential", names="a model")]
    options: Annotated[LearnOptions, Value("how to learn")]
    proteins: Annotated[tuple[LearnedProtein, ...], Value("proteins to learn from")]
    folder: Annotated[
        str | None, Value("folder in mdCATH's layout, where the backend runs, to learn from, too", longest=4000)
    ] = None
    beads: Annotated[
        NDArray[np.float32],
        Array("Cα of all frames that come along, protein by protein", "<f4", ("P", 3), unit="Å", limit=FAR),
    ]

    def check_together(self) -> None:
        """Check that the beads are those of the frames. Raises ValueFault."""
        if not self.proteins and self.folder is None:
            raise ValueFault("proteins: there are none to learn from")
        expected = sum(protein.frames * len(protein.residues) for protein in self.proteins)
        if expected != len(self.beads):
            raise ValueFault(f"{len(self.beads)} beads came, and the proteins have {expected} in their frames")

    def frames(self, number: int) -> NDArray[np.float32]:
        """Return the frames f4[F,N,3] in Å of the protein with that number, from 0."""
        sizes = [protein.frames * len(protein.residues) for protein in self.proteins]
        start = sum(sizes[:number])
        protein = self.proteins[number]
        return self.beads[start : start + sizes[number]].reshape(protein.frames, len(protein.residues), 3)
