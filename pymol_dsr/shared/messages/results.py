"""Messages about a fitted field: meshes, colours, grids, measures, comparisons and mesh files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Generic

import numpy as np
from numpy.typing import NDArray

from ..options import (
    FORMATS,
    ExportOptions,
    FieldOptions,
    GridOptions,
    GridResolution,
    MeasureOptions,
    MeshOptions,
    Resolution,
    TemporalWidth,
)
from ..values import Value, ValueFault
from .base import FAR, AResult, Array, Flat, Lane, Request, Result
from .control import FitName
from .fitting import Radii

MOST_NEIGHBORS = 64
# Past these, no answer is about a molecule: a cube of 10⁶ Å has fewer.
MOST_AREA, MOST_VOLUME = 1e12, 1e18
MOST_SPEED = 1e12
MOST_SECONDS = 1e10
MOST_GRID_NODES = 180_000_000
"""Most nodes of a grid that the backend computes for a request."""

Time = Annotated[float, Value("time, as a state number with fractions", unit="states")]
ExpectedError = Annotated[float | None, Value("expected error of an extrapolated surface", unit="Å", least=0, most=FAR)]
Extrapolated = Annotated[bool, Value("the time lies outside the fitted states")]
Seconds = Annotated[float | None, Value("time that it took", unit="s", least=0, most=MOST_SECONDS)]
Mask = Annotated[NDArray[np.uint8] | None, Array("1 for the atoms that are meant, else 0", "|u1", ("A",))]
Points = Annotated[NDArray[np.float32], Array("points", "<f4", ("N", 3), unit="Å", limit=FAR)]
Normals = Annotated[NDArray[np.float32], Array("unit normals, outwards", "<f4", ("N", 3), limit=1.01)]
Faces = Annotated[NDArray[np.int32], Array("corners of the triangles", "<i4", ("M", 3), indexes="N")]
Nearest = Annotated[NDArray[np.int32] | None, Array("nearest atom of each point, from 0", "<i4", ("N",), indexes="A")]
Velocity = Annotated[
    NDArray[np.float32] | None,
    Array(
        "velocity of the surface, outwards: −∂f/∂t / |∇f|",
        "<f4",
        ("N",),
        unit="Å per state",
        finite=False,
        most=MOST_SPEED,
    ),
]
Rmsf = Annotated[
    NDArray[np.float32] | None,
    Array(
        "root mean square fluctuation of each atom over the fitted states", "<f4", ("A",), unit="Å", finite=False,
        most=FAR, key="excursions",
    ),
]  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class FieldRequest(Request[AResult], Generic[AResult]):
    """Base of requests about a field: that of a fit, of a trajectory of a family, or between two trajectories."""

    fit: FitName
    field: Annotated[FieldOptions, Flat()] = dataclasses.field(default_factory=FieldOptions)


@dataclass(frozen=True, eq=False, kw_only=True)
class MeshResult(Result):
    """A surface at one time. Without atoms in the fit there are no `nearest`, `atoms` and `near`."""

    time: Annotated[float | None, Value("time of the surface", unit="states")] = None
    area: Annotated[float, Value("area", unit="Å²", least=0, most=MOST_AREA)]
    volume: Annotated[float, Value("volume inside", unit="Å³", least=-MOST_VOLUME, most=MOST_VOLUME)]
    islands_dropped: Annotated[int | None, Value("pieces too small to be kept")] = None
    expected_error: ExpectedError = None
    extrapolated: Extrapolated
    seconds: Seconds = None
    points: Points
    normals: Normals
    faces: Faces
    nearest: Nearest = None
    atoms: Annotated[NDArray[np.float32] | None, Array("atoms at that time", "<f4", ("A", 3), unit="Å", limit=FAR)] = (
        None
    )
    neighbor_indices: Annotated[
        NDArray[np.int32] | None,
        Array("with `blend`: atoms that colours are blended from", "<i4", ("N", "K"), indexes="A", key="near"),
    ] = None
    weights: Annotated[
        NDArray[np.float32] | None,
        Array("with `blend`: their weights, which add up to 1", "<f4", ("N", "K"), limit=1.01, key="shares"),
    ] = None
    velocity: Velocity = None
    rmsf: Rmsf = None

    def check_together(self) -> None:
        """Check that neighbours come with weights. Raises ValueFault."""
        if (self.neighbor_indices is None) != (self.weights is None):
            raise ValueFault(f"{'near' if self.weights is not None else 'shares'} is missing")
        if self.weights is not None and not 1 <= self.weights.shape[1] <= MOST_NEIGHBORS:
            raise ValueFault(f"shares has shape {list(self.weights.shape)}, not 1 to {MOST_NEIGHBORS} atoms a point")


@dataclass(frozen=True, eq=False, kw_only=True)
class Mesh(FieldRequest[MeshResult]):
    """Asks for the surface at one time."""

    METHOD = "mesh"
    LANE = Lane.TOGETHER
    RESULT = MeshResult

    time: Time
    mesh: Annotated[MeshOptions, Flat()] = dataclasses.field(default_factory=MeshOptions)
    blend: Annotated[bool, Value("send weights of atoms for blended colours")] = False
    motion: Annotated[bool, Value("send velocities and fluctuations")] = False
    radii: Radii = None


@dataclass(frozen=True, eq=False, kw_only=True)
class PaintResult(Result):
    """Velocities at points of a surface; for no points at all (N = 0) fluctuations of the atoms, if any."""

    velocity: Velocity = None
    rmsf: Rmsf = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Paint(FieldRequest[PaintResult]):
    """Asks for velocities at the points of a mesh of that time."""

    METHOD = "paint"
    LANE = Lane.TOGETHER
    RESULT = PaintResult

    time: Annotated[float | None, Value("time; needed where there are points", unit="states")] = None
    smooth: TemporalWidth = None
    points: Annotated[NDArray[np.float32], Array("points of the mesh", "<f4", ("N", 3), unit="Å")]


@dataclass(frozen=True, eq=False, kw_only=True)
class GridResult(Result):
    """The field on a lattice."""

    origin: Annotated[tuple[float, ...], Value("place of the first node", unit="Å")]
    spacing: Annotated[float, Value("distance between nodes", unit="Å", above=0, most=FAR)]
    shape: Annotated[tuple[int, ...] | None, Value("nodes along x, y and z")] = None
    extrapolated: Extrapolated
    expected_error: ExpectedError = None
    values: Annotated[
        NDArray[np.float32], Array("signed distances, positive outside", "<f4", ("X", "Y", "Z"), unit="Å", limit=FAR)
    ]

    def check_together(self) -> None:
        """Check the lattice. Raises ValueFault."""
        if min(self.values.shape) < 2:
            raise ValueFault(f"values has shape {list(self.values.shape)}, less than 2 nodes one way")
        if self.values.size > MOST_GRID_NODES:
            raise ValueFault(f"values has {self.values.size} nodes, and {MOST_GRID_NODES} are the most")
        if len(self.origin) != 3 or not all(abs(coordinate) < FAR for coordinate in self.origin):
            raise ValueFault(f"origin {list(self.origin)}: it is not three coordinates")


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid(FieldRequest[GridResult]):
    """Asks for signed distances on a lattice around the surface."""

    METHOD = "grid"
    LANE = Lane.TOGETHER
    RESULT = GridResult

    time: Time
    resolution: GridResolution = GridOptions.resolution


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasureResult(Result):
    """A surface in numbers. The arrays are empty where the fit has no atoms."""

    time: Annotated[float, Value("time of the surface", unit="states")]
    area: Annotated[float, Value("area", unit="Å²", least=0, most=MOST_AREA)]
    volume: Annotated[float, Value("volume inside", unit="Å³", least=-MOST_VOLUME, most=MOST_VOLUME)]
    speed: Annotated[
        float, Value("mean size of the normal velocity over the area", unit="Å per state", least=0, most=MOST_SPEED)
    ]
    selection_area: Annotated[
        float | None, Value("area nearest to the selected atoms", unit="Å²", least=0, most=MOST_AREA)
    ] = None
    selection_volume: Annotated[
        float | None, Value("volume nearest to the selected atoms", unit="Å³", least=0, most=MOST_VOLUME)
    ] = None
    pocket_volume: Annotated[float | None, Value("volume of the pocket", unit="Å³", least=0, most=MOST_VOLUME)] = None
    expected_error: ExpectedError = None
    extrapolated: Extrapolated
    seconds: Seconds = None
    atom_area: Annotated[
        NDArray[np.float32],
        Array("area of the surface nearest to each atom", "<f4", ("A",), unit="Å²", limit=MOST_AREA, key="area"),
    ]
    atom_speed: Annotated[
        NDArray[np.float32],
        Array("speed of that surface", "<f4", ("A",), unit="Å per state", limit=MOST_SPEED, key="speed"),
    ]


@dataclass(frozen=True, eq=False, kw_only=True)
class Measure(FieldRequest[MeasureResult]):
    """Measures the surface at one time."""

    METHOD = "measure"
    LANE = Lane.TOGETHER
    RESULT = MeasureResult

    time: Time
    resolution: Resolution = MeasureOptions.resolution
    smooth: TemporalWidth = None
    radii: Radii = None
    selection: Mask = None
    pocket: Mask = None


@dataclass(frozen=True, eq=False, kw_only=True)
class CompareResult(Result):
    """The paper's metrics, in its normalised frame; null where one is not defined."""

    iou: Annotated[float | None, Value("volumetric intersection over union", least=0, most=1.01)]
    chamfer_l1: Annotated[float | None, Value("Chamfer distance of Eq. 6 and 7", least=0)]
    chamfer_sq: Annotated[float | None, Value("Chamfer distance of the released code, squared", least=0)]
    nc: Annotated[float | None, Value("normal consistency", least=-1.01, most=1.01)]


@dataclass(frozen=True, eq=False, kw_only=True)
class Compare(FieldRequest[CompareResult]):
    """Compares the field at one time, or a mesh that is sent, with a true surface."""

    METHOD = "compare"
    LANE = Lane.TOGETHER
    RESULT = CompareResult

    time: Annotated[float | None, Value("time of the field; not used where a mesh is sent", unit="states")] = None
    truth_points: Annotated[NDArray[np.float32], Array("points of the true surface", "<f4", ("T", 3), unit="Å")]
    truth_normals: Annotated[NDArray[np.float32], Array("its normals", "<f4", ("T", 3))]
    truth_faces: Annotated[NDArray[np.int32], Array("its triangles", "<i4", ("U", 3))]
    points: Annotated[NDArray[np.float32] | None, Array("points of a mesh", "<f4", ("N", 3), unit="Å")] = None
    normals: Annotated[NDArray[np.float32] | None, Array("its normals", "<f4", ("N", 3))] = None
    faces: Annotated[NDArray[np.int32] | None, Array("its triangles", "<i4", ("M", 3))] = None

    def check_together(self) -> None:
        """Check that a mesh comes whole. Raises ValueFault."""
        for name in ("normals", "faces"):
            if self.points is not None and getattr(self, name) is None:
                raise ValueFault(f"compare needs the array {name!r} with points")


@dataclass(frozen=True, eq=False, kw_only=True)
class FileResult(Result):
    """A file."""

    file: Annotated[NDArray[np.uint8], Array("content of the file", "|u1", ("B",))]

    def check_together(self) -> None:
        """Check that it is not empty. Raises ValueFault."""
        if not len(self.file):
            raise ValueFault("the file is empty")


@dataclass(frozen=True, eq=False, kw_only=True)
class Export(FieldRequest[FileResult]):
    """Makes a mesh file of the surface at one time, or a .glb that plays several."""

    METHOD = "export"
    LANE = Lane.TOGETHER
    RESULT = FileResult

    format: Annotated[str, Value("format of the file", choices=tuple(FORMATS))]
    time: Annotated[float | None, Value("time; needed where there are no `times`", unit="states")] = None
    times: Annotated[tuple[float, ...] | None, Value("times of a .glb", unit="states")] = None
    fps: Annotated[float, Value("times per second of a .glb", above=0)] = ExportOptions.fps
    binary: Annotated[bool, Value("the binary kind of .ply")] = False
    mesh: Annotated[MeshOptions, Flat()] = dataclasses.field(default_factory=MeshOptions)
    radii: Radii = None
    colors: Annotated[
        NDArray[np.float32] | None, Array("red, green and blue of the atoms, 0 to 1", "<f4", ("A", 3))
    ] = None
    matrix: Annotated[
        NDArray[np.float64] | None,
        Array("rigid motion of the points, in the column convention; its rotation turns the normals", "<f8", (4, 4)),
    ] = None

    def check_together(self) -> None:
        """Check the times, and that only .ply is asked for as binary. Raises ValueFault."""
        ExportOptions(self.format, self.binary, self.fps)
        if self.times is not None and self.format != "glb":
            raise ValueFault(f"only a glb holds several times, not a {self.format}: ask for one at a time")
        if self.times is not None and not self.times:
            raise ValueFault("export needs times as a list of numbers, got []")
