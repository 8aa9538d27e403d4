"""Messages of trajectory sources: a molecule with its states goes out, generated states come back.

A source is a request of its own that extends `SourceRequest` (as `Generate` does) and is answered with `SourceResult`.
While it runs, the backend sends `SourceProgress` and `SourceFrames`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from ..molecule import COLUMNS, Molecule
from ..source_options import GenerateOptions
from ..values import JsonObject, Record, Value, ValueFault
from .base import FAR, AResult, Array, Event, Flat, Lane, Request, Result

SourceName = Annotated[str, Value("name of the source's job, that of its object", names="a source")]
MOST_TIME = 1e30


@dataclass(frozen=True)
class SourceStatus(Record):
    """The progress of a source."""

    phase: Annotated[str, Value("what is done, in a word or two", longest=80)]
    fraction: Annotated[float, Value("how far the source is, 0 to 1")]
    text: Annotated[str, Value("figures of the phase for the user", sparse=True)] = ""
    seconds_left: Annotated[
        float | None, Value("estimate of the time to the end", unit="s", least=0, most=1e10, sparse=True)
    ] = None
    errors: Annotated[
        tuple[float, ...],
        Value("of a training: its error, that on held-out states, and that of what it starts from", sparse=True),
    ] = ()
    gap: Annotated[
        float | None,
        Value("of a calibration: the gap of the averages, in deviations of the data", least=0, sparse=True),
    ] = None


@dataclass(frozen=True)
class BackTestRow(Record):
    """The scores of one method on the held-out states of the user; lower is better unless the column says otherwise."""

    method: Annotated[str, Value("method that was tested")]
    scores: Annotated[dict[str, float], Value("scores by column, as `RMSD +10 (A)`")]
    chosen: Annotated[bool, Value("this method generated the states")] = False
    note: Annotated[str, Value("why it was refused, or with what it was fitted")] = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class SourceResult(Result):
    """Generated states of a source: coordinates of the request's atoms, with their origin."""

    kind: Annotated[str, Value("what they are, as continue, fill, sample or simulate", longest=80)]
    method: Annotated[str, Value("method that generated them", longest=80)]
    titles: Annotated[tuple[str, ...], Value("a title for each state; none for titles of kind, method and number")] = ()
    notes: Annotated[tuple[str, ...], Value("lines for the user")] = ()
    table: Annotated[tuple[BackTestRow, ...], Value("the back-test")] = ()
    provenance: Annotated[
        JsonObject,
        Value("origin of the states: method or model, temperature, seed, training data, back-test"),
    ] = dataclasses.field(default_factory=dict)
    coordinates: Annotated[NDArray[np.float32], Array("generated states", "<f4", ("F", "A", 3), unit="Å", limit=FAR)]
    times: Annotated[
        NDArray[np.float64], Array("their times, in the unit of the request's", "<f8", ("F",), limit=MOST_TIME)
    ]

    def title(self, place: int) -> str:
        """Return the title of the state at a place, from 0."""
        if self.titles:
            return self.titles[place]
        return f"{self.kind}: {self.method}, {place + 1} of {len(self.coordinates)}"

    def check_together(self) -> None:
        """Check that there is a title for each state, or none. Raises ValueFault."""
        if self.titles and len(self.titles) != len(self.coordinates):
            raise ValueFault(f"{len(self.titles)} titles for {len(self.coordinates)} states")


@dataclass(frozen=True, eq=False, kw_only=True)
class MoleculeRequest(Request[AResult]):
    """Base of requests about a molecule: its topology, and the states of one or several trajectories."""

    LANE = Lane.WORKER

    source: SourceName
    texts: Annotated[tuple[str, ...], Value("different texts among names, residues, chains and elements")]
    lengths: Annotated[
        tuple[int, ...],
        Value("states of each trajectory; the first is meant, others are of the same atoms", least=1, most=10**9),
    ]
    atoms: Annotated[
        NDArray[np.int32],
        Array(
            "index in `texts` of each atom's name, residue name, residue number, chain and element",
            "<i4",
            ("A", len(COLUMNS)),
        ),
    ]
    bonds: Annotated[NDArray[np.int32], Array("bonded atoms, from 0", "<i4", ("B", 2), indexes="A")]
    hetatm: Annotated[NDArray[np.uint8], Array("1 for atoms of no polymer, else 0", "|u1", ("A",))]
    coordinates: Annotated[
        NDArray[np.float32],
        Array("states of all trajectories, one after the other", "<f4", ("S", "A", 3), unit="Å", limit=FAR),
    ]
    times: Annotated[
        NDArray[np.float64],
        Array("their times in ps or, where they are not known, state numbers", "<f8", ("S",), limit=MOST_TIME),
    ]

    @staticmethod
    def contents(
        molecule: Molecule, trajectories: Sequence[tuple[NDArray[np.float32], NDArray[np.float64]]]
    ) -> dict[str, Any]:
        """Return the fields of a molecule and its trajectories: coordinates f4[S,A,3] (Å) and times f8[S] of each."""
        texts, table = molecule.table()
        return {
            "texts": texts,
            "lengths": tuple(len(times) for _, times in trajectories),
            "atoms": table,
            "bonds": molecule.bonds,
            "hetatm": molecule.hetatm.astype(np.uint8),
            "coordinates": np.concatenate([coordinates for coordinates, _ in trajectories]),
            "times": np.concatenate([times for _, times in trajectories]),
        }

    def molecule(self) -> Molecule:
        """Return the topology. Raises ValueFault."""
        return Molecule.of_table(self.texts, self.atoms, self.bonds, self.hetatm)

    def trajectories(self) -> list[tuple[NDArray[np.float32], NDArray[np.float64]]]:
        """Return coordinates f4[S,A,3] (Å) and times f8[S] of each trajectory."""
        ends = np.cumsum(self.lengths)
        return [
            (self.coordinates[end - length : end], self.times[end - length : end])
            for end, length in zip(ends.tolist(), self.lengths, strict=True)
        ]

    def check_together(self) -> None:
        """Check the numbers of atoms and states. Raises ValueFault."""
        if not len(self.atoms):
            raise ValueFault("atoms: there are none")
        if not self.lengths or sum(self.lengths) != len(self.times):
            raise ValueFault(f"lengths are {list(self.lengths)}, and {len(self.times)} states came")
        for _, times in self.trajectories():
            if (np.diff(times) <= 0).any():
                raise ValueFault("times of a trajectory do not rise")


@dataclass(frozen=True, eq=False, kw_only=True)
class SourceRequest(MoleculeRequest[SourceResult]):
    """Base of requests to a source, which are answered with states."""

    RESULT = SourceResult


@dataclass(frozen=True, eq=False, kw_only=True)
class Generate(SourceRequest):
    """Continues, fills in or samples the states of a molecule.

    With `fill`, the first trajectory holds the states to fill between, and the result only those that lie between
    them. With `continue`, the result has the frames of the first replica, then those of the next one.
    """

    METHOD = "generate"

    options: Annotated[GenerateOptions, Value("what to generate")]


@dataclass(frozen=True, eq=False, kw_only=True)
class SourceProgress(Event):
    """Progress of a source, five times a second at most; a change of phase always."""

    EVENT = "source-progress"

    source: Annotated[str, Value("name of the source's job")]
    status: Annotated[SourceStatus, Flat()]


@dataclass(frozen=True, eq=False, kw_only=True)
class SourceFrames(Event):
    """States of a source while they are made, twice a second at most; the result has all of them again."""

    EVENT = "source-frames"

    source: Annotated[str, Value("name of the source's job")]
    first: Annotated[int, Value("place of the first of them among the states of the result, from 0", least=0)]
    coordinates: Annotated[NDArray[np.float32], Array("states", "<f4", ("F", "A", 3), unit="Å", limit=FAR)]
