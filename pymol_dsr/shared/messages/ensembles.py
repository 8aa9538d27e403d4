"""Messages about ensembles: states without an order in time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from ..options import OccupancyOptions
from ..values import Record, Value, ValueFault
from .base import FAR, Array, Flat, Lane, Request, Result
from .control import FitName
from .results import MOST_GRID_NODES, MOST_VOLUME, Faces, Normals, Points


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
