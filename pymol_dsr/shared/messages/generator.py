"""The message that learns a generator from trajectories of one or several proteins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from ..learn_options import GeneratorOptions
from ..values import Record, Value, ValueFault
from .base import FAR, Array, Lane, Request
from .potential import LearnResult


@dataclass(frozen=True)
class LearnedTrajectories(Record):
    """Trajectories of a protein whose backbones come with the message."""

    name: Annotated[str, Value("its name, for people", longest=100)]
    residues: Annotated[tuple[str, ...], Value("names of its residues with N, CA and C")]
    chains: Annotated[tuple[int, ...], Value("number of the chain of each, from 0", least=0)]
    runs: Annotated[
        tuple[int, ...], Value("states of each trajectory, which is evenly spaced in time", least=1, most=10**9)
    ]

    def check_together(self) -> None:
        """Check that each residue has a chain. Raises ValueFault."""
        if len(self.residues) != len(self.chains):
            raise ValueFault(f"{self.name[:100]}: {len(self.residues)} residues have {len(self.chains)} chains")


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnGenerator(Request[LearnResult]):
    """Learns a generator, for `generate` with the method net. Progress comes as `source-progress` of the model's name.

    Its file is written while it learns, so a cancelled one leaves what it had learned.
    """

    METHOD = "learn-generator"
    LANE = Lane.WORKER
    RESULT = LearnResult

    model: Annotated[str, Value("name of the generator", names="a model")]
    options: Annotated[GeneratorOptions, Value("how to learn")]
    proteins: Annotated[tuple[LearnedTrajectories, ...], Value("proteins to learn from")]
    stride: Annotated[float, Value("time from state to state, in the unit of `generate`'s times", above=0, most=1e12)]
    folder: Annotated[
        str | None,
        Value("folder of more proteins where the backend runs, as ATLAS has it", longest=None, sparse=True),
    ] = None
    states: Annotated[str, Value("states of each of its trajectories, as 1-1000:10", longest=None)] = "all"
    picoseconds: Annotated[
        float | None, Value("`stride` where its unit is known", unit="ps", above=0, most=1e12, sparse=True)
    ] = None
    backbones: Annotated[
        NDArray[np.float32],
        Array("N, CA and C of each residue of each state, protein by protein", "<f4", ("P", 3, 3), unit="Å", limit=FAR),
    ]

    def check_together(self) -> None:
        """Check that the backbones are those of the trajectories. Raises ValueFault."""
        if not self.proteins and self.folder is None:
            raise ValueFault("proteins: there are none to learn from")
        expected = sum(sum(protein.runs) * len(protein.residues) for protein in self.proteins)
        if expected != len(self.backbones):
            raise ValueFault(
                f"{len(self.backbones)} residues came, and the trajectories have {expected} in their states"
            )

    def trajectories(self, number: int) -> list[NDArray[np.float32]]:
        """Return the trajectories f4[S,R,3,3] in Å of the protein with that number, from 0."""
        sizes = [sum(protein.runs) * len(protein.residues) for protein in self.proteins]
        start, protein = sum(sizes[:number]), self.proteins[number]
        states = self.backbones[start : start + sizes[number]].reshape(-1, len(protein.residues), 3, 3)
        return np.split(states, np.cumsum(protein.runs)[:-1].tolist())
