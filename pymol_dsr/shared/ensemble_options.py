"""Options of ensembles: the space that they fill, and their landscape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .levels import rising_levels
from .values import Options, Value


@dataclass(frozen=True)
class OccupancyOptions(Options):
    """Computation of the occupancy of an ensemble. Raises ValueFault where levels are none, too many, or twice."""

    levels: Annotated[
        tuple[float, ...], Value("least percentages of the states that fill the space", above=0, most=100)
    ] = (10.0, 50.0, 90.0)
    resolution: Annotated[float, Value("distance between nodes", unit="Å", least=0.2, most=10)] = 0.8

    def check_together(self) -> None:
        """Sort the levels. Raises ValueFault where there are none, too many, or one twice."""
        object.__setattr__(self, "levels", rising_levels(self.levels, "10 50 90"))


@dataclass(frozen=True)
class LandscapeOptions(Options):
    """Computation of the landscape of an ensemble. lag: None for one that the states choose."""

    lag: Annotated[int | None, Value("lag of the Markov model", unit="states", least=1, absent="auto")] = None
    states: Annotated[int, Value("number of macrostates", least=2, most=20)] = 4
    ordered: Annotated[str, Value("whether the states are in order of time", choices=("auto", "0", "1"))] = "auto"


@dataclass(frozen=True)
class OccupancyShow(Options):
    """Looks of an occupancy.

    object: empty for the usual name. color: `spread`, or a colour. transparency: of all levels but the innermost. by:
    one occupancy of all states, or of each macrostate.
    """

    object: Annotated[str, Value("name of the result")] = ""
    color: Annotated[str, Value("the spread of the surface, or one colour")] = "spread"
    representation: Annotated[
        str, Value("meshes, or a map with isosurfaces", choices=("surface", "map"), key="as_")
    ] = "surface"
    transparency: Annotated[float, Value("of all levels but the innermost", least=0, most=1)] = 0.7
    by: Annotated[str, Value("groups of states with an occupancy each", choices=("all", "macrostate"))] = "all"
