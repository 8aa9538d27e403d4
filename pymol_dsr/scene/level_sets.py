"""Nested level sets of one time: coloured by their distance from the surface, transparent or cut open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Say, Trajectory
from ..shared.mesh import Mesh
from . import cgo, placement
from .gui_thread import in_gui
from .mesh_cut import cut_open
from .objects import SceneError, check_names, delete_objects
from .palettes import hexadecimal

# Near the surface and farthest from it; PyMOL's own red and blue have no room for darker ones.
RED = (1.0, 0.45, 0.40), (0.60, 0.0, 0.0)
BLUE = (0.45, 0.60, 1.0), (0.0, 0.0, 0.55)
WHITE = (0.95, 0.95, 0.95)
# Shows five nested levels best, on white and on black.
TRANSPARENCY = 0.7
# Limit of one level, unless the resolution is given.
MOST_TRIANGLES = 200_000
# PyMOL's transparency_mode in which ray draws only the foremost transparent layer, and the one for all layers.
FOREMOST_LAYER, ALL_LAYERS = 2, 1


def level_name(group: str, level: float) -> str:
    """Name the object of a level: its sign tells outside from inside."""
    return f"{group}_{level:+g}" if level else f"{group}_0"


def level_color(level: float, farthest: float) -> str:
    """Choose red outside, blue inside, white at 0; darker the farther, as PyMOL takes colours in hexadecimal."""
    if not level:
        return hexadecimal(WHITE)
    near, far = RED if level > 0 else BLUE
    fraction = abs(level) / farthest
    return hexadecimal([(1 - fraction) * light + fraction * dark for light, dark in zip(near, far, strict=True)])


def check_level_names(group: str, levels: Iterable[float], _self: Any) -> None:
    """Raise SceneError where a name that the levels need belongs to something else."""
    check_names({group, *(level_name(group, level) for level in levels)}, ("cgo", "group"), _self)


def show_levels(
    trajectory: Trajectory,
    meshes: Mapping[float, Mesh],
    *,
    object: str,
    toward: NDArray[np.float64] | None,
    transparency: float,
    say: Say,
    _self: Any,
) -> list[str]:
    """Load the meshes, by level (Å), as objects in the group `object`; returns the names of those with a surface.

    toward: f8[3], the side of the half that is cut away, or None. transparency: of all but the innermost level.
    Raises SceneError where every level is empty.
    """
    drawn = {level: mesh for level, mesh in sorted(meshes.items()) if len(mesh.faces)}
    empty = ", ".join(f"{level:g}" for level in meshes if level not in drawn)
    if not drawn:
        raise SceneError(f"levels {empty} are empty at this time: nothing lies as far inside or outside")
    if empty:
        say(f"level {empty} is empty at this time; the others are there")
    if toward is not None:
        corners = np.concatenate([mesh.points for mesh in drawn.values()])
        center = 0.5 * (corners.min(axis=0) + corners.max(axis=0))
        drawn = {level: cut_open(mesh, center, toward) for level, mesh in drawn.items()}
    ttt = in_gui(_self, placement.object_ttt, trajectory.object, _self)
    farthest = max(map(abs, drawn))
    names = {level: level_name(object, level) for level in drawn}
    in_gui(_self, delete_objects, [object, *names.values()], _self)
    for number, (level, mesh) in enumerate(drawn.items()):
        floats = cgo.cgo_floats(mesh, None)
        color, clear = level_color(level, farthest), transparency if number else 0.0
        in_gui(_self, load_level, names[level], floats, ttt, color, clear, _self)
    in_gui(_self, _self.group, object, " ".join(names.values()))
    if transparency and len(names) > 1 and in_gui(_self, draw_all_layers, _self):
        say("transparency_mode is 1 now, for ray to show each level through the others")
    return list(names.values())


def load_level(name: str, floats: list[float], ttt: list[float], color: str, transparency: float, _self: Any) -> None:
    """Load the numbers of a mesh as an object of one state, which is shown at every state of the scene."""
    _self.load_cgo(floats, name, 1, zoom=0)
    placement.place(name, ttt, _self)
    _self.color(color, name)
    _self.set("cgo_transparency", transparency, name)


def draw_all_layers(_self: Any) -> bool:
    """Let ray draw every transparent layer; returns whether that was a change."""
    if _self.get_setting_int("transparency_mode") != FOREMOST_LAYER:
        return False
    _self.set("transparency_mode", ALL_LAYERS)
    return True
