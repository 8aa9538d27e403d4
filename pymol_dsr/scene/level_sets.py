"""Nested level sets of one time: coloured by their distance from the surface, transparent or cut open."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..fits.fit import Say, Trajectory
from . import cgo, placement
from .gui_thread import in_gui
from .placement import SceneError

Triangles = tuple  # points f4[N,3] in Å, normals f4[N,3], faces i4[M,3]

# Near the surface and farthest from it; PyMOL's own red and blue have no room for darker ones.
RED = (1.0, 0.45, 0.40), (0.60, 0.0, 0.0)
BLUE = (0.45, 0.60, 1.0), (0.0, 0.0, 0.55)
WHITE = (0.95, 0.95, 0.95)
# What shows five nested levels best, on white and on black.
TRANSPARENCY = 0.7
# Å between the two sides of a level that is cut open, too little to be seen.
THICKNESS = 0.03
MOST = 20
# Of one level, unless the resolution is given.
MOST_TRIANGLES = 200_000


def parse(text: str) -> list[float]:
    """Levels in Å, rising, from a list with spaces between. Raises SceneError."""
    found = []
    for word in text.split():
        try:
            level = float(word)
        except ValueError as error:
            raise SceneError(f"levels {text}: '{word}' is not a number; write -2 -1 0 2 4, with spaces") from error
        if not math.isfinite(level):
            raise SceneError(f"levels {text}: '{word}' is not finite")
        # -0 is 0.
        found.append(level + 0.0)
    if not found:
        raise SceneError("levels are empty: write -2 -1 0 2 4, with spaces")
    if len(found) > MOST:
        raise SceneError(f"levels {text}: {len(found)} levels are asked for; {MOST} is the most at once")
    twice = [level for level in set(found) if found.count(level) > 1]
    if twice:
        raise SceneError(f"levels {text}: {twice[0]:g} is given twice")
    return sorted(found)


def name_of(object: str, level: float) -> str:
    """The object that holds a level: its sign tells outside from inside."""
    return f"{object}_{level:+g}" if level else f"{object}_0"


def color(level: float, farthest: float) -> str:
    """Red outside, blue inside, white at 0; darker the farther, as PyMOL takes colours in hexadecimal."""
    near, far = RED if level > 0 else BLUE
    share = abs(level) / farthest if farthest else 0.0
    rgb = WHITE if not level else tuple((1 - share) * n + share * f for n, f in zip(near, far, strict=True))
    return "0x" + "".join(f"{round(255 * c):02x}" for c in rgb)


def toward_camera(view: Iterable[float], place: np.ndarray) -> np.ndarray:
    """Unit vector f8[3] to the camera in the frame of an object with the display matrix `place` [4,4].

    view: as PyMOL's get_view gives it.
    """
    turn = np.array(list(view)[:9]).reshape(3, 3)
    direction = place[:3, :3].astype(np.float64).T @ turn[:, 2]
    return direction / np.linalg.norm(direction)


def cut_open(mesh: Triangles, centre: np.ndarray, direction: np.ndarray) -> Triangles:
    """What lies behind the plane through `centre` f8[3] (Å) across `direction` f8[3], with sharp edges.

    It has two sides, each with normals of its own: PyMOL's ray leaves the inside of a surface dark.
    """
    points, normals, faces = mesh
    height = (points - centre) @ direction
    before = height[faces] > 0
    count = before.sum(axis=1)
    made_points, made_normals, made_faces = [points], [normals], [faces[count == 0]]
    total = len(points)
    for cut in (1, 2):
        crossing, rows = faces[count == cut], np.arange((count == cut).sum())
        # The corner that is alone on its side of the plane, and the other two as they follow.
        alone = np.argmax(before[count == cut] == (cut == 1), axis=1)
        corner, second, third = (crossing[rows, (alone + k) % 3] for k in range(3))
        ends = []
        for other in (second, third):
            share = (height[corner] / (height[corner] - height[other]))[:, None]
            made_points.append(points[corner] + share * (points[other] - points[corner]))
            normal = normals[corner] + share * (normals[other] - normals[corner])
            made_normals.append(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9))
            ends.append(total + rows)
            total += len(rows)
        if cut == 1:
            made_faces += [np.stack([ends[0], second, third], 1), np.stack([ends[0], third, ends[1]], 1)]
        else:
            made_faces.append(np.stack([corner, *ends], 1))
    points, normals, faces = np.concatenate(made_points), np.concatenate(made_normals), np.concatenate(made_faces)
    return (
        np.concatenate([points, points - THICKNESS * normals]).astype(np.float32),
        np.concatenate([normals, -normals]).astype(np.float32),
        np.concatenate([faces, faces[:, ::-1] + total]),
    )


def check_names(object: str, wanted: Iterable[float], _self: Any) -> None:
    """SceneError where a name that is needed belongs to something else."""
    for name in {object, *(name_of(object, level) for level in wanted)} & set(_self.get_names("all")):
        kind = _self.get_type(name)
        if kind not in ("object:cgo", "object:group"):
            raise SceneError(f"the name {name} is taken by a {kind.split(':')[-1]}; give another one with object=")


def show_levels(
    trajectory: Trajectory,
    meshes: dict[float, Triangles],
    *,
    object: str,
    toward: np.ndarray | None,
    transparency: float,
    say: Say,
    _self: Any,
) -> list[str]:
    """Load the meshes, by level (Å), as objects in the group `object`; the names of those that are not empty.

    toward: f8[3], where the half lies that is cut away, or None. transparency: of all but the innermost level.
    Raises SceneError where every level is empty.
    """
    there = {level: mesh for level, mesh in sorted(meshes.items()) if len(mesh[2])}
    empty = ", ".join(f"{level:g}" for level in meshes if level not in there)
    if not there:
        raise SceneError(f"levels {empty} are empty at this time: nothing lies as far inside or outside")
    if empty:
        say(f"level {empty} is empty at this time; the others are there")
    if toward is not None:
        corners = np.concatenate([mesh[0] for mesh in there.values()])
        centre = 0.5 * (corners.min(axis=0) + corners.max(axis=0))
        there = {level: cut_open(mesh, centre, toward) for level, mesh in there.items()}
    place = in_gui(_self, placement.object_ttt, trajectory.object, _self)
    farthest = max(map(abs, there))
    in_gui(_self, _delete, object, there, _self)
    names: list[str] = []
    for level, (points, normals, faces) in there.items():
        name = name_of(object, level)
        floats = cgo.cgo_floats(points, normals, faces, None)
        look = {"color": color(level, farthest), "transparency": transparency if names else 0.0}
        in_gui(_self, _load, name, floats, place, look, _self)
        names.append(name)
    in_gui(_self, _self.group, object, " ".join(names))
    if transparency and len(names) > 1 and in_gui(_self, _show_all_layers, _self):
        say("transparency_mode is 1 now, for ray to show each level through the others")
    return names


def _delete(object: str, there: Iterable[float], _self: Any) -> None:
    for name in (object, *(name_of(object, level) for level in there)):
        if name in _self.get_names("all"):
            _self.delete(name)


def _load(name: str, floats: list[float], place: list[float], look: dict[str, Any], _self: Any) -> None:
    # One state of one object is shown at every state of the scene.
    _self.load_cgo(floats, name, 1, zoom=0)
    _self.set_object_ttt(name, place)
    _self.color(look["color"], name)
    _self.set("cgo_transparency", look["transparency"], name)


def _show_all_layers(_self: Any) -> bool:
    """Whether it had to be switched on; in the default mode, ray draws only the foremost transparent layer."""
    if _self.get_setting_int("transparency_mode") != 2:
        return False
    _self.set("transparency_mode", 1)
    return True
