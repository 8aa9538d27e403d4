"""Messages about ensembles: states without an order in time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from ..ensemble_options import LandscapeOptions, OccupancyOptions
from ..values import Record, Value, ValueFault
from .base import FAR, Array, Flat, Lane, Request, Result
from .control import FitName
from .results import MOST_GRID_NODES, MOST_VOLUME, Faces, Normals, Points

MOST_STATES = 10**9


@dataclass(frozen=True)
class EnsembleSeries(Record):
    """States of one trajectory: of a fit, or of surfaces that were sent after an `open` with `scratch`."""

    fit: FitName
    times: Annotated[tuple[float, ...], Value("times; none for every state that was sent", unit="states")] = ()
    trajectory: Annotated[str, Value("trajectory of a family")] = ""


@dataclass(frozen=True)
class OccupancySurface(Record):
    """One level among the arrays of its result, where its points and faces follow those of the level before."""

    level: Annotated[float, Value("least percentage of the states that fill the space", above=0, most=100)]
    value: Annotated[float, Value("occupancy at this surface", least=0, most=1)]
    points: Annotated[int, Value("number of its points", least=0)]
    faces: Annotated[int, Value("number of its triangles", least=0)]
    volume: Annotated[float, Value("volume inside", unit="Å³", least=-MOST_VOLUME, most=MOST_VOLUME)]


@dataclass(frozen=True, eq=False, kw_only=True)
class OccupancyResult(Result):
    """The space that an ensemble fills."""

    states: Annotated[int, Value("number of states", least=1)]
    volume: Annotated[float, Value("mean volume of a state", unit="Å³", least=0, most=MOST_VOLUME)]
    rmsd: Annotated[
        float | None, Value("mean RMSD of the atoms from the first state, as they lie", unit="Å", least=0, most=FAR)
    ] = None
    rmsd_superposed: Annotated[float | None, Value("the same after superposition", unit="Å", least=0, most=FAR)] = None
    origin: Annotated[tuple[float, ...], Value("place of the first node of `values`", unit="Å")]
    spacing: Annotated[float, Value("distance between nodes", unit="Å", above=0, most=FAR)]
    surfaces: Annotated[tuple[OccupancySurface, ...], Value("the levels, rising")]
    points: Points
    normals: Normals
    faces: Faces
    spread: Annotated[
        NDArray[np.float32],
        Array(
            "standard deviation of the signed distance at the nearest point of the surface of 50 %",
            "<f4",
            ("N",),
            unit="Å",
            limit=FAR,
        ),
    ]
    values: Annotated[
        NDArray[np.float32] | None,
        Array("with `grid`: fraction of the states that fill each place", "<f4", ("X", "Y", "Z"), limit=1.01),
    ] = None

    def check_together(self) -> None:
        """Check that the arrays are those of the levels, and the lattice. Raises ValueFault."""
        for name, array, count in (
            ("points", self.points, sum(surface.points for surface in self.surfaces)),
            ("faces", self.faces, sum(surface.faces for surface in self.surfaces)),
        ):
            if len(array) != count:
                raise ValueFault(f"{name} are {len(array)}, and the surfaces have {count}")
        if len(self.origin) != 3 or not all(abs(coordinate) < FAR for coordinate in self.origin):
            raise ValueFault(f"origin {list(self.origin)}: it is not three coordinates")
        if self.values is not None and (min(self.values.shape) < 2 or self.values.size > MOST_GRID_NODES):
            raise ValueFault(f"values has shape {list(self.values.shape)}, not 2 nodes or more each way")
        start_point = start_face = 0
        for surface in self.surfaces:
            faces = self.faces[start_face : start_face + surface.faces]
            if len(faces) and not start_point <= faces.min() <= faces.max() < start_point + surface.points:
                raise ValueFault(f"faces of the level {surface.level:g} have corners of another level")
            start_point, start_face = start_point + surface.points, start_face + surface.faces


@dataclass(frozen=True, eq=False, kw_only=True)
class Occupancy(Request[OccupancyResult]):
    """Asks for the space that an ensemble fills, and for the spread of its surface.

    Surfaces that were sent for it are dropped with the answer.
    """

    METHOD = "occupancy"
    LANE = Lane.WORKER
    RESULT = OccupancyResult

    series: Annotated[tuple[EnsembleSeries, ...], Value("the states, series by series")]
    weights: Annotated[
        tuple[float, ...] | None, Value("weight of each state, in the order of the series", absent="equal")
    ] = None
    grid: Annotated[bool, Value("send the occupancy on its lattice, too")] = False
    options: Annotated[OccupancyOptions, Flat()] = dataclasses.field(default_factory=OccupancyOptions)


@dataclass(frozen=True)
class Macrostate(Record):
    """States that exchange fast."""

    population: Annotated[float, Value("fraction of the ensemble", least=0, most=1.01)]
    place: Annotated[int, Value("state in its middle, from 0 over all series", least=0, most=MOST_STATES)]


@dataclass(frozen=True)
class EnsembleRow(Record):
    """Scores of an ensemble against the reference; those that do not apply are left out."""

    method: Annotated[str, Value("the ensemble, or what stands beside it")]
    scores: Annotated[dict[str, float], Value("scores by name")]


@dataclass(frozen=True, eq=False, kw_only=True)
class LandscapeResult(Result):
    """The landscape of an ensemble of S states of L residues."""

    kind: Annotated[str, Value("kind of the axes", choices=("TICA", "PCA"))]
    lag: Annotated[int, Value("lag of TICA and of the Markov model", unit="states", least=1, most=MOST_STATES)]
    macrostates: Annotated[tuple[Macrostate, ...], Value("macrostates by falling population")]
    lags: Annotated[
        tuple[int, ...], Value("lags of the rows of `timescales`", unit="states", least=1, most=MOST_STATES)
    ] = ()
    rows: Annotated[tuple[EnsembleRow, ...], Value("the ensemble, and baselines, against the reference")] = ()
    js: Annotated[
        float | None, Value("Jensen–Shannon divergence from the reference", unit="bits", least=-0.01, most=1.01)
    ] = None
    floor: Annotated[
        float | None,
        Value(
            "that of the halves of the reference or, without one, of the series", unit="bits", least=-0.01, most=1.01
        ),
    ] = None
    run_floor: Annotated[
        float | None,
        Value(
            "mean of that between each of several series and the others",
            unit="bits",
            least=-0.01,
            most=1.01,
            sparse=True,
        ),
    ] = None
    samples: Annotated[
        float | None, Value("independent samples of the slowest axis", least=0, most=MOST_STATES, sparse=True)
    ] = None
    reference_samples: Annotated[
        float | None, Value("the same of the reference", least=0, most=MOST_STATES, sparse=True)
    ] = None
    notes: Annotated[tuple[str, ...], Value("lines for the user")] = ()
    axes: Annotated[NDArray[np.float64], Array("the states on the first two axes", "<f8", ("S", 2), limit=FAR)]
    edges: Annotated[NDArray[np.float64], Array("edges of the bins along both", "<f8", (2, "E"), limit=FAR)]
    free_energy: Annotated[
        NDArray[np.float64],
        Array("free energy of each bin, NaN without states", "<f8", ("B", "B"), unit="kT", finite=False, most=FAR),
    ]
    macrostate: Annotated[NDArray[np.int32], Array("macrostate of each state from 0, or -1", "<i4", ("S",))]
    timescales: Annotated[
        NDArray[np.float64],
        Array("implied time scales at each lag, NaN where there is none", "<f8", ("K", 3), unit="states", finite=False),
    ]
    rmsd: Annotated[
        NDArray[np.float32], Array("RMSD of each state from the native one", "<f4", ("S",), unit="Å", limit=FAR)
    ]
    rmsf: Annotated[NDArray[np.float32], Array("RMSF of each residue", "<f4", ("L",), unit="Å", limit=FAR)]
    helix: Annotated[
        NDArray[np.float32] | None, Array("how often each residue is helix, 0 to 1", "<f4", ("L",), limit=1.01)
    ] = None
    strand: Annotated[
        NDArray[np.float32] | None, Array("how often each residue is strand, 0 to 1", "<f4", ("L",), limit=1.01)
    ] = None
    reference_axes: Annotated[
        NDArray[np.float64] | None, Array("the reference's states on the axes", "<f8", ("R", 2), limit=FAR)
    ] = None
    reference_rmsf: Annotated[
        NDArray[np.float32] | None, Array("RMSF of each residue of the reference", "<f4", ("L",), unit="Å", limit=FAR)
    ] = None

    def check_together(self) -> None:
        """Check bins, lags and numbers of macrostates and states. Raises ValueFault."""
        if self.edges.shape[1] != self.free_energy.shape[0] + 1:
            raise ValueFault(f"edges are {self.edges.shape[1]}, of {self.free_energy.shape[0]} bins")
        if len(self.timescales) != len(self.lags):
            raise ValueFault(f"timescales are {len(self.timescales)} rows, of {len(self.lags)} lags")
        if len(self.macrostate) and not -1 <= self.macrostate.min() <= self.macrostate.max() < len(self.macrostates):
            raise ValueFault(f"macrostate has numbers up to {self.macrostate.max()}, of {len(self.macrostates)}")
        if any(macrostate.place >= len(self.axes) for macrostate in self.macrostates):
            raise ValueFault(f"macrostates have their middle past the {len(self.axes)} states")


@dataclass(frozen=True, eq=False, kw_only=True)
class Landscape(Request[LandscapeResult]):
    """Asks for the landscape of an ensemble: slow axes, free energy, Markov model, macrostates, fluctuations.

    Residues are their Cα (K = 1) or N, Cα, C and O (K = 4).
    """

    METHOD = "landscape"
    LANE = Lane.WORKER
    RESULT = LandscapeResult

    lengths: Annotated[tuple[int, ...], Value("states of each series", least=1, most=MOST_STATES)]
    reference_lengths: Annotated[
        tuple[int, ...], Value("states of each series of the reference", least=1, most=MOST_STATES)
    ] = ()
    options: Annotated[LandscapeOptions, Flat()] = dataclasses.field(default_factory=LandscapeOptions)
    coordinates: Annotated[
        NDArray[np.float32],
        Array("states of all series, one after the other", "<f4", ("S", "L", "K", 3), unit="Å", limit=FAR),
    ]
    reference: Annotated[
        NDArray[np.float32] | None,
        Array("states of the reference, whose axes are taken", "<f4", ("R", "L", "K", 3), unit="Å", limit=FAR),
    ] = None
    native: Annotated[
        NDArray[np.float32] | None, Array("Cα of the native state", "<f4", ("L", 3), unit="Å", limit=FAR)
    ] = None
    follows: Annotated[
        NDArray[np.uint8] | None, Array("1 for residues that are bonded to the one before, else 0", "|u1", ("L",))
    ] = None
    donors: Annotated[
        NDArray[np.uint8] | None, Array("0 for prolines, whose nitrogen has no hydrogen, else 1", "|u1", ("L",))
    ] = None

    def check_together(self) -> None:
        """Check the numbers of states and atoms. Raises ValueFault."""
        if self.coordinates.shape[2] not in (1, 4):
            raise ValueFault(f"coordinates are of {self.coordinates.shape[2]} atoms of a residue, and 1 or 4 are taken")
        count = 0 if self.reference is None else len(self.reference)
        for name, lengths, states in (
            ("lengths", self.lengths, len(self.coordinates)),
            ("reference_lengths", self.reference_lengths, count),
        ):
            if sum(lengths) != states:
                raise ValueFault(f"{name} are {list(lengths)}, and {states} states came")
        if not self.lengths:
            raise ValueFault("lengths: there are none")
