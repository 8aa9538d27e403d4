"""The occupancy of an ensemble in the scene: nested surfaces coloured by their spread, or a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Say
from ..shared.ensemble_options import OccupancyShow
from ..shared.mesh import Mesh
from ..shared.messages import OccupancyResult
from . import cgo, maps
from .color_bar import bar_name, remove_bars, show_bar
from .gui_thread import in_gui
from .level_sets import draw_all_layers, load_level
from .objects import SceneError, check_names, delete_objects
from .palettes import VIRIDIS, ColorScale, hexadecimal, value_range

SPREAD = "spread"


def level_name(group: str, level: float) -> str:
    """Name the object of a level."""
    return f"{group}_{level:g}"


def map_name(group: str) -> str:
    """Name the map of an occupancy."""
    return f"{group}_map"


def check_occupancy_names(group: str, levels: Sequence[float], _self: Any) -> None:
    """Raise SceneError where a name that an occupancy needs belongs to something else."""
    names = {group, map_name(group), *(level_name(group, level) for level in levels)}
    check_names(names, ("cgo", "group", "map", "surface"), _self)


def level_meshes(result: OccupancyResult) -> list[tuple[float, float, Mesh, NDArray[np.float32]]]:
    """Return level (%), occupancy, mesh and spread f4[N] (Å) of each surface that has points, the innermost first."""
    meshes = []
    point = face = 0
    for surface in result.surfaces:
        points, faces = slice(point, point + surface.points), slice(face, face + surface.faces)
        if surface.faces:
            mesh = Mesh(result.points[points], result.normals[points], result.faces[faces] - np.int32(point))
            meshes.append((surface.level, surface.value, mesh, result.spread[points]))
        point, face = points.stop, faces.stop
    return meshes[::-1]


def show_occupancy(
    result: OccupancyResult, group: str, options: OccupancyShow, ttt: list[float], say: Say, _self: Any
) -> list[str]:
    """Load the levels as objects in a group; returns the names of those with a surface.

    ttt: the molecule's display matrix. Raises SceneError where no level has a surface.
    """
    meshes = level_meshes(result)
    empty = [f"{surface.level:g}" for surface in result.surfaces if not surface.faces]
    if not meshes:
        raise SceneError(f"levels {' '.join(empty)} are empty: no place is filled as often")
    if empty:
        say(f"level {' '.join(empty)} is empty: no place is filled as often; the others are there")
    names = {level: level_name(group, level) for level, *_ in meshes}
    in_gui(_self, delete_objects, [group, map_name(group), *names.values()], _self)
    in_gui(_self, remove_bars, group, _self)
    by_spread = options.color == SPREAD
    scale = None
    if options.representation == "map":
        assert result.values is not None, "reply_checks refuses an answer without the grid that was asked for"
        lattice = maps.Lattice(result.values, result.origin, result.spacing)
        in_gui(_self, maps.load_values, map_name(group), 1, lattice, _self)
    elif by_spread:
        low, high = value_range([spread for *_, spread in meshes], None, None, False)
        scale = ColorScale.between(low, high, VIRIDIS)
    for number, (level, value, mesh, spread) in enumerate(meshes):
        name, transparency = names[level], options.transparency if number else 0.0
        color = _shade(level) if by_spread else options.color
        if options.representation == "map":
            in_gui(_self, _show_isosurface, name, group, value, ttt, color, transparency, _self)
        else:
            floats = cgo.cgo_floats(mesh, None if scale is None else scale.paint(spread))
            in_gui(_self, load_level, name, floats, ttt, color, transparency, _self)
    members = [*names.values(), *([map_name(group)] if options.representation == "map" else [])]
    in_gui(_self, _self.group, group, " ".join(members))
    if scale is not None:
        in_gui(_self, show_bar, bar_name(group, SPREAD), scale, _self)
    if options.transparency and len(names) > 1 and in_gui(_self, draw_all_layers, _self):
        say("transparency_mode is 1 now, for ray to show each level through the others")
    return list(names.values())


def _shade(level: float) -> str:
    """Return the colour of a level (%) that has no spread: lighter the fewer states fill it."""
    return hexadecimal(VIRIDIS[round((1.0 - 0.01 * level) * (len(VIRIDIS) - 1))])


def _show_isosurface(
    name: str, group: str, value: float, ttt: list[float], color: str, transparency: float, _self: Any
) -> None:
    maps.show_isovalue(name, map_name(group), value, ttt, _self)
    _self.color(color, name)
    _self.set("transparency", transparency, name)
