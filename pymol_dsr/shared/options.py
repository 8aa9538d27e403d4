"""Options of fits, meshes, movies, colours, level sets, measures, evaluations and files.

Commands, the window, the command line, batches and the messages to the backend hold these. A default stands here and
nowhere else: `MeshOptions.level` is that of every signature and help text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from .levels import rising_levels
from .names import is_name, rule_against
from .state_times import check_times, format_breaks, parse_breaks
from .values import Options, Value, ValueFault

PRESETS = ("fast", "fine", "preview", "paper")
FORMATS = {"ply": "PLY", "obj": "Wavefront", "stl": "STL", "glb": "glTF, also as a movie", "npz": "NumPy"}
"""File formats of meshes by the ending of their files, with the names that the window gives them."""
PLAYS = ("once", "loop", "bounce")
CAMERAS = ("still", "follow")
INTROS = ("", "turn", "approach")
RESOLUTION, FINE_RESOLUTION = 0.5, 0.35
"""Å. Spacing of meshes of most fits, and of a fit of preset fine, whose detail a wider one hides."""
TRIANGLES_PER_CELL = 2.9
"""Triangles per Å² of surface and (1 / spacing)², as the mesher makes them."""
REPRESENTATIONS = ("cgo", "map")


@dataclass(frozen=True)
class Baseline:
    """A way to do without a fit.

    method: its name in tables and plots. label, hint: its check box in the window and the text over it. color, line: of
    its curve; the line is a style of matplotlib, and anything but - is dashed in the window.
    """

    method: str
    label: str
    hint: str
    color: str
    line: str = "-"


BASELINES = {
    "hold": Baseline("hold nearest", "nearest state held", "The surface of the nearest fitted state", "#2ca02c"),
    "linear": Baseline(
        "atoms linear",
        "atoms in straight lines",
        "Between fitted states: atoms superposed and moved, then PyMOL's surface",
        "#ff7f0e",
    ),
    "smooth": Baseline("atoms smoothed", "… smoothed by PyMOL", "The same after PyMOL's smooth", "#9467bd", "--"),
    "surface3": Baseline(
        "surface_type 3",
        "… with surface_type 3",
        "Atoms in straight lines, with PyMOL's smoothest surface",
        "#d62728",
        ":",
    ),
}
STATES_AFTER = 20
"""States after the last fitted one that an evaluation compares unless it is given states."""
HALFWAY = 0.5
"""Default of `share` where a user names two trajectories."""

Smooth = Annotated[
    float | None,
    Value("width of the smoothing over time", unit="states", least=0, most=100, absent="auto"),
]
TemporalWidth = Annotated[
    float | None, Value("width of the smoothing over time", unit="states", least=0, absent="auto")
]
Device = Annotated[
    str,
    Value("where to compute", pattern=r"auto|cpu|cuda(:[0-9]{1,3})?", form="auto, cpu, cuda or cuda:1"),
]
Resolution = Annotated[float, Value("distance between the nodes of the mesh", unit="Å", least=0.01, most=10)]
MeshResolution = Annotated[
    float | None,
    Value(
        "distance between the nodes of the mesh; null for 0.35 Å of preset fine, and 0.5 Å of others",
        unit="Å",
        least=0.01,
        most=10,
        sparse=True,
    ),
]
GridResolution = Annotated[float, Value("distance between nodes", unit="Å", least=0.2, most=10)]
Triangles = Annotated[
    int | None, Value("most triangles of a state, for which the mesh gets coarser", least=100, absent="none")
]


@dataclass(frozen=True)
class FitOptions(Options):
    """A fit as the user asks for it; `config` of the message `open`.

    smooth: None chooses the width by holding out fitted states. budget: None trains to the end. times: those of state
    1, 2, 3, …, None where they are even. breaks: None cuts where the molecule jumps, () nowhere.
    """

    preset: Annotated[str, Value("kind of fit", choices=PRESETS)] = "fast"
    smooth: Smooth = None
    seed: Annotated[int, Value("seed of random numbers", least=0, most=2**31 - 1)] = 0
    budget: Annotated[float | None, Value("most seconds to train", unit="s", above=0, absent="none")] = None
    device: Device = "auto"
    align: Annotated[bool, Value("take the rigid motion of the molecule out of the fit, and put it back after")] = True
    loop: Annotated[bool, Value("the first state follows the last one again")] = False
    times: Annotated[
        tuple[float, ...] | None, Value("times of state 1, 2, 3, … in any unit, where they are uneven", absent="none")
    ] = None
    breaks: Annotated[
        tuple[int, ...] | None,
        Value("last states of runs, after which nothing is blended", least=1, absent="auto", sparse=True),
    ] = None

    @classmethod
    def parse(cls, **words: Any) -> FitOptions:
        """Options from words that a user typed, `breaks` as 12+24, none or auto. Raises ValueFault."""
        breaks = parse_breaks(words.pop("breaks", ""))
        return dataclasses.replace(super().parse(**words), breaks=breaks)

    def check_together(self) -> None:
        """Check that the times rise, and that a loop is not cut. Raises ValueFault."""
        if self.times is not None:
            check_times(self.times)
        if self.breaks and self.loop:
            raise ValueFault(f"breaks {format_breaks(self.breaks)}: a loop has no cuts; leave loop= or breaks= out")


@dataclass(frozen=True)
class StartOptions(Options):
    """The start of a fit, and the process that runs it.

    family: empty for a fit of its own. Raises ValueFault for `frozen` without a family.
    """

    family: Annotated[str, Value("fit of several trajectories whose network this one starts from")] = ""
    frozen: Annotated[bool, Value("leave the network of the family as it is")] = False
    resume: Annotated[bool, Value("take up the surfaces and the training of an interrupted fit of this name")] = False
    detach: Annotated[bool, Value("fit in a process of its own, which goes on when PyMOL ends")] = False
    unwrap: Annotated[bool, Value("make molecules whole that the periodic box cuts")] = False

    def check_together(self) -> None:
        """Check that `frozen` comes with a family. Raises ValueFault."""
        if self.family:
            check_name("family", self.family)
        elif self.frozen:
            raise ValueFault("frozen 1: it keeps the network of a family; give family= too")


@dataclass(frozen=True)
class FieldOptions(Options):
    """The field that a result is of: a trajectory of a family, or what lies between two; empty for a fit of one.

    steady: the fitted states are then no longer met exactly. Raises ValueFault where `towards` and `share` do not come
    together, or where both trajectories are one.
    """

    trajectory: Annotated[str, Value("trajectory of a family")] = ""
    towards: Annotated[str, Value("another trajectory, for a field between the two")] = ""
    share: Annotated[
        float | None, Value("fraction of the way from `trajectory` (0) to `towards` (1)", least=0, most=1)
    ] = None
    steady: Annotated[bool, Value("smooth over time at the fitted states, too")] = False

    @classmethod
    def parse(cls, **words: Any) -> FieldOptions:
        """Options from words that a user typed; `share` is half of the way unless it is given. Raises ValueFault."""
        if str(words.get("towards", "")) and not str(words.get("share", "")):
            words["share"] = HALFWAY
        return super().parse(**words)

    def check_together(self) -> None:
        """Check that `share` and `towards` come together. Raises ValueFault."""
        if self.share is not None and not self.towards:
            raise ValueFault(f"share {self.share:g}: it says how far towards another trajectory; give towards= too")
        if self.towards and self.towards == self.trajectory:
            raise ValueFault(f"towards {self.towards}: it is the trajectory itself; name another one")
        if self.towards and self.share is None:
            raise ValueFault(
                f"towards {self.towards}: give share= too, from 0 ({self.trajectory}) to 1 ({self.towards})"
            )


@dataclass(frozen=True)
class MeshOptions(Options):
    """Meshing of a field. resolution, smooth: None for the fit's own; see `mesh_resolution`."""

    level: Annotated[float, Value("level of the surface, outwards", unit="Å")] = 0.0
    resolution: MeshResolution = None
    triangles: Triangles = None
    smooth: TemporalWidth = None


def mesh_resolution(preset: object) -> float:
    """Return the spacing (Å) of meshes of a fit of this preset, for which no other is given."""
    return FINE_RESOLUTION if preset == "fine" else RESOLUTION


@dataclass(frozen=True)
class GridOptions(Options):
    """Sampling of a field on a lattice of distances."""

    resolution: GridResolution = RESOLUTION


@dataclass(frozen=True)
class AppearanceOptions(Options):
    """Looks of a surface, alike in the live surface, movies, films, stills and mesh files.

    color: empty for the colours of the nearest atoms, a colour for all, or what colours it as dsr_color calls it.
    transparency: None leaves it to the surface. steady: None where a time between the fitted states is shown.
    """

    color: Annotated[str, Value("one colour for all, or what colours it: motion, speed, velocity, b, ...")] = ""
    transparency: Annotated[float | None, Value("0 (opaque) to 1", least=0, most=1)] = None
    steady: Annotated[bool | None, Value("smooth over time at the fitted states, too", absent="auto")] = None

    def is_steady(self, times: Iterable[float], states: Sequence[float]) -> bool:
        """Say whether the surface at these times is smoothed at the fitted states, too.

        Else the detail of single states would come and go as the times pass them.
        """
        if self.steady is not None:
            return self.steady
        fitted = set(states)
        first, last = min(fitted), max(fitted)
        return any(first < time < last and time not in fitted for time in times)


@dataclass(frozen=True)
class SurfaceOptions:
    """A surface to load, draw or write: of which field, with which meshes, in which looks.

    field: its `steady` is left to the appearance.
    """

    field: FieldOptions = dataclasses.field(default_factory=FieldOptions)
    mesh: MeshOptions = dataclasses.field(default_factory=MeshOptions)
    appearance: AppearanceOptions = dataclasses.field(default_factory=AppearanceOptions)

    def field_at(self, times: Iterable[float], states: Sequence[float]) -> FieldOptions:
        """Return the field for these times of a fit of these states, with the `steady` of the appearance."""
        return dataclasses.replace(self.field, steady=self.appearance.is_steady(times, states))

    def with_mesh(self, **changes: Any) -> SurfaceOptions:
        """Return it with other options of the meshes, by name. Raises ValueFault."""
        return dataclasses.replace(self, mesh=dataclasses.replace(self.mesh, **changes))


@dataclass(frozen=True)
class MovieOptions(Options):
    """Playing of a movie.

    object: empty for the fit's name. fps, play: None and empty for PyMOL's own. seconds: None for a frame of each time.
    Raises ValueFault for options of the movie where none is made.
    """

    object: Annotated[str, Value("name of the result")] = ""
    movie: Annotated[bool, Value("set up PyMOL's movie")] = True
    representation: Annotated[str, Value("meshes, or maps with an isosurface", choices=REPRESENTATIONS, key="as_")] = (
        "cgo"
    )
    fps: Annotated[float | None, Value("frames per second", above=0)] = None
    seconds: Annotated[float | None, Value("length of the movie", unit="s", above=0)] = None
    play: Annotated[str, Value("at the end: stop, start over, or go back and forth", choices=("", *PLAYS))] = ""
    camera: Annotated[str, Value("leave the camera where it is, or let it follow the molecule", choices=CAMERAS)] = (
        "still"
    )
    overlay: Annotated[bool, Value("write the time into the picture")] = False
    intro: Annotated[
        str, Value("before the states play: turn once around, or come nearer, at the first state", choices=INTROS)
    ] = ""
    intro_seconds: Annotated[float, Value("length of the intro", unit="s", above=0, most=60)] = 3.0

    def check_together(self) -> None:
        """Check that the options of the movie come with one. Raises ValueFault."""
        follows = self.camera == "follow"
        if follows and self.representation == "map":
            raise ValueFault("camera follow: maps say nothing of the atoms to follow; leave as_=map or camera= out")
        if not self.movie and (self.fps or self.play or follows or self.intro):
            raise ValueFault("movie 0: fps, play, camera and intro are the movie's; leave movie= or these out")


@dataclass(frozen=True)
class ColorOptions(Options):
    """Colours of the vertices of a movie.

    by: `atoms`, `motion`, `speed`, `velocity`, `values`, `map`, a number of the atoms as `b`, or a colour. palette:
    empty for that of `by`. minimum, maximum: None for percentiles. transparency: None leaves it as it is.
    """

    by: Annotated[str, Value("what the colours show")] = "atoms"
    palette: Annotated[str, Value("colours from the minimum to the maximum")] = ""
    minimum: Annotated[float | None, Value("value of the first colour")] = None
    maximum: Annotated[float | None, Value("value of the last colour")] = None
    file: Annotated[str, Value("table of atoms' values, .csv, for by=values")] = ""
    map: Annotated[str, Value("map object or ramp, for by=map")] = ""
    transparency: Annotated[float | None, Value("0 (opaque) to 1", least=0, most=1)] = None

    def check_together(self) -> None:
        """Check that files and maps come with `by`, and the other way round. Raises ValueFault."""
        for key, kind, value in (("file", "values", self.file), ("map", "map", self.map)):
            if self.by == kind and not value:
                raise ValueFault(f"by {self.by}: name the {key} with {key}=")
            if self.by != kind and value:
                raise ValueFault(f"{key} {value}: it goes with by={kind}, not with by={self.by}")


@dataclass(frozen=True)
class LevelOptions(Options):
    """Looks of level sets.

    resolution: None for the fit's own, and wider where a level takes too many triangles. transparency: None for 0.7, or
    for 0 with a cut. Raises ValueFault for levels that are no rising list.
    """

    levels: Annotated[tuple[float, ...], Value("distances from the surface, outside positive", unit="Å")] = (
        -2.0,
        -1.0,
        0.0,
        2.0,
        4.0,
    )
    resolution: Annotated[
        float | None, Value("distance between the nodes of the meshes", unit="Å", least=0.01, most=10)
    ] = None
    cut: Annotated[bool, Value("cut away the half that faces the viewer")] = False
    transparency: Annotated[float | None, Value("of all levels but the innermost", least=0, most=1)] = None

    def check_together(self) -> None:
        """Sort the levels. Raises ValueFault where there are none, too many, or one twice."""
        object.__setattr__(self, "levels", rising_levels(self.levels, "-2 -1 0 2 4"))


@dataclass(frozen=True)
class MeasureOptions(Options):
    """Measures of a surface over time.

    selection, pocket: a PyMOL selection or numbers of atoms, empty for none. dt: None where it is not known.
    """

    selection: Annotated[str, Value("atoms whose area and volume are measured")] = ""
    pocket: Annotated[str, Value("atoms that line a pocket, whose volume is measured")] = ""
    resolution: Resolution = RESOLUTION
    top: Annotated[int, Value("how many of the most moving residues are named", least=0)] = 10
    dt: Annotated[float | None, Value("time from one state to the next", unit="ns", above=0)] = None


@dataclass(frozen=True)
class EvaluationOptions(Options):
    """Comparison of a fit with PyMOL's own surfaces."""

    baselines: Annotated[tuple[str, ...], Value("what stands beside the fit", choices=tuple(BASELINES))] = (
        "hold",
        "linear",
    )

    @classmethod
    def of_words(cls, words: Any) -> EvaluationOptions:
        """Options from the baselines as a user types them, `none` for none. Raises ValueFault."""
        return cls(()) if str(words).strip() == "none" else cls.parse(baselines=words)


@dataclass(frozen=True)
class ExportOptions(Options):
    """The kind of file that meshes are written to. Raises ValueFault for `binary` of a format that has one kind."""

    format: Annotated[str, Value("format of the file", choices=tuple(FORMATS))] = "ply"
    binary: Annotated[bool, Value("the binary kind of .ply")] = False
    fps: Annotated[float, Value("times per second of a .glb", above=0)] = 30.0

    def check_together(self) -> None:
        """Check that only .ply is asked for as binary. Raises ValueFault."""
        if self.binary and self.format != "ply":
            raise ValueFault(f"binary 1: only .ply comes in two kinds, .{self.format} in one")


@dataclass(frozen=True)
class BatchOptions(Options):
    """Fits of many trajectories, one fit each.

    workers: 0 for as many as there are cores, or jobs of a cluster. cluster: empty for this machine, whose cores the
    workers share; else the kind of cluster where each worker is a job of `cores` and `memory`.
    """

    workers: Annotated[int, Value("fits at once", least=0)] = 0
    cluster: Annotated[str, Value("kind of cluster")] = ""
    cores: Annotated[int, Value("cores of a job of the cluster", least=1)] = 4
    memory: Annotated[str, Value("memory of a job of the cluster")] = "8 GB"
    device: Device = FitOptions.device


def check_name(key: str, name: str) -> str:
    """Return the name of a fit or a trajectory. Raises ValueFault."""
    if not is_name(name):
        raise ValueFault(f"{key} {name[:100]}: {rule_against(name)}")
    return name
