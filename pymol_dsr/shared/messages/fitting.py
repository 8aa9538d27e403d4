"""Messages that make a fit: open it, send its surfaces, fit or detach it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from ..frames import Arrays
from ..options import FitOptions
from ..values import JsonObject, Record, Value, ValueFault
from .base import Array, Lane, Request, Result
from .control import FitName
from .reports import FitReport

Radii = Annotated[NDArray[np.float32] | None, Array("van der Waals radii of the atoms", "<f4", ("A",), unit="Å")]


@dataclass(frozen=True)
class PreviewOptions(Record):
    """The surface that is shown while its fit goes on."""

    time: Annotated[float, Value("time of the surface", unit="states")]
    resolution: Annotated[float, Value("distance between the nodes of the first mesh", unit="Å")] = 1.0
    triangles: Annotated[
        int | None, Value("most triangles; the sender itself shows a state whose surface has no more", least=1)
    ] = None


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenResult(Result):
    """The states that an interrupted fit of that name and those atoms has left."""

    states: Annotated[
        dict[str, tuple[float, ...]],
        Value("states whose surfaces are there, by trajectory; a plain list for a single trajectory"),
    ] = dataclasses.field(default_factory=dict)
    """A single trajectory has the empty name."""

    @classmethod
    def decode(cls, values: Mapping[str, Any], arrays: Arrays, letters: Mapping[str, int] | None = None) -> OpenResult:
        """Return the result that a frame holds. Raises ValueFault."""
        states = values.get("states") or {}
        return super().decode({"states": {"": states} if isinstance(states, list) else states}, arrays, letters)

    def encode(self) -> tuple[JsonObject, Arrays]:
        """JSON values and arrays of a frame."""
        values, arrays = super().encode()
        return {"states": list(self.states[""])} if set(self.states) == {""} else values, arrays


@dataclass(frozen=True, eq=False, kw_only=True)
class Open(Request[OpenResult]):
    """Begins a fit, whose surfaces follow; surfaces sent before under that name are dropped, a finished fit stays."""

    METHOD = "open"
    LANE = Lane.WORKER
    RESULT = OpenResult

    fit: FitName
    config: Annotated[FitOptions, Value("how to fit")] = dataclasses.field(default_factory=FitOptions)
    object: Annotated[str, Value("object that is fitted, for people to read")] = ""
    resume: Annotated[bool, Value("take up the surfaces of an interrupted fit of the same source")] = False
    source: Annotated[
        JsonObject,
        Value("the molecule, or `trajectories`: molecules by name; reports give it back"),
    ] = dataclasses.field(default_factory=dict)
    asked: Annotated[JsonObject, Value("kept for `interrupted` while the fit is unfinished")] = dataclasses.field(
        default_factory=dict
    )
    trajectories: Annotated[
        tuple[str, ...] | None, Value("names of the trajectories of a family", names="a trajectory")
    ] = None
    family: Annotated[str | None, Value("name of the family that a new trajectory starts from", names="a fit")] = None
    frozen: Annotated[bool, Value("leave the network of the family as it is")] = False
    preview: Annotated[PreviewOptions | None, Value("show the surface of one time meanwhile")] = None
    detached: Annotated[bool, Value("said by the process of a detached fit itself")] = False
    scratch: Annotated[bool, Value("the surfaces are for an `occupancy`: no fit follows, and they are not kept")] = (
        False
    )
    radii: Radii = None

    def encode(self) -> tuple[JsonObject, Arrays]:
        """JSON values and arrays of a frame. Options that are None are left out: an older backend may not know them."""
        values, arrays = super().encode()
        if isinstance(config := values.get("config"), dict):
            values["config"] = {key: value for key, value in config.items() if value is not None}
        return values, arrays

    def check_together(self) -> None:
        """Check what is said of families. Raises ValueFault."""
        if self.trajectories is not None:
            if not self.trajectories:
                raise ValueFault("open needs trajectories as a list of names, got []")
            if len(set(self.trajectories)) < len(self.trajectories):
                raise ValueFault(f"two trajectories have one name among {', '.join(self.trajectories)}")
        if self.family is None:
            if self.frozen:
                raise ValueFault("frozen keeps the network of a family: name the family too")
        elif self.trajectories:
            raise ValueFault("a known family takes one new trajectory at a time: leave trajectories out")
        elif self.family == self.fit:
            raise ValueFault(f"fit {self.fit!r} would replace the family it starts from: name it otherwise")


@dataclass(frozen=True, eq=False, kw_only=True)
class SurfaceResult(Result):
    """The answer to `surface`."""

    points: Annotated[int, Value("points that came")] = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Surface(Request[SurfaceResult]):
    """Sends the surface of one state, in any order of states; one that was sent before is replaced."""

    METHOD = "surface"
    LANE = Lane.WORKER
    RESULT = SurfaceResult

    fit: FitName
    state: Annotated[float, Value("number of the state, from 1")]
    trajectory: Annotated[str | None, Value("trajectory that it is of, where `open` names some")] = None
    points: Annotated[NDArray[np.float32], Array("points of the surface", "<f4", ("N", 3), unit="Å")]
    normals: Annotated[NDArray[np.float32], Array("unit normals, outwards", "<f4", ("N", 3))]
    faces: Annotated[NDArray[np.int32], Array("corners of the triangles", "<i4", ("M", 3))]
    atoms: Annotated[NDArray[np.float32] | None, Array("positions of the atoms", "<f4", ("A", 3), unit="Å")] = None


@dataclass(frozen=True, eq=False, kw_only=True)
class FitResult(Result):
    """The answer to `fit`: the field is in memory and, where it can be, in the backend's folder."""

    report: Annotated[FitReport, Value("how the fit went")]


@dataclass(frozen=True, eq=False, kw_only=True)
class Fit(Request[FitResult]):
    """Fits the surfaces that were sent, and drops them whatever the outcome."""

    METHOD = "fit"
    LANE = Lane.WORKER
    RESULT = FitResult

    fit: FitName


@dataclass(frozen=True, eq=False, kw_only=True)
class DetachResult(Result):
    """The process that goes on with the fit."""

    pid: Annotated[int, Value("id of the process")]
    host: Annotated[str, Value("its machine")]


@dataclass(frozen=True, eq=False, kw_only=True)
class Detach(Request[DetachResult]):
    """Leaves a fit whose surfaces were sent to a process of its own."""

    METHOD = "detach"
    LANE = Lane.WORKER
    RESULT = DetachResult

    fit: FitName
