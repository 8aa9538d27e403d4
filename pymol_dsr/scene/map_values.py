"""Values of map objects in the scene, at any point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..surfaces.object_session import read_object_session
from .objects import SceneError
from .palettes import ColorScale
from .placement import transform, ttt_matrix

# Places in the session of a map object: whether it has a display matrix, the matrix, and its states.
HEADER, STATES = 0, 2
HAS_TTT, TTT = 7, 11
# Places in a state of a map: whether it is filled, its corners, its grid and its own matrix.
FILLED, CORNERS, SHAPE, FIELD, MATRIX = 0, 6, 13, 14, 15
# Places in the session of a ramp: its kind, levels, colours and map; the kind that belongs to a map.
RAMP_KIND, RAMP_LEVELS, RAMP_COLORS, RAMP_MAP = 1, 3, 4, 6
MAP_RAMP = 1
# Cells; a vertex on the border may lie a rounding outside.
BORDER = 1e-3
MAKE_MAP = "'load x.dx' or map_new make one"


@dataclass(frozen=True, eq=False)
class MapGrid:
    """A state of a map: values f4[nx,ny,nz]; to_grid f8[4,4] turns places in the scene into places in cells."""

    values: NDArray[np.float32]
    to_grid: NDArray[np.float64]

    def sample(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Interpolate values f4[N] at points [N,3] (Å, in the scene), trilinear; NaN outside."""
        places = transform(points, self.to_grid)
        last = np.array(self.values.shape) - 1
        inside = ((places > -BORDER) & (places < last + BORDER)).all(1)
        places = np.clip(places, 0, last)
        corner = np.minimum(places.astype(np.int64), np.maximum(last - 1, 0))
        offset = places - corner
        values = np.zeros(len(points))
        for step in np.ndindex(2, 2, 2):
            index = np.minimum(corner + step, last)
            weight = np.where(step, offset, 1.0 - offset).prod(1)
            values += weight * self.values[tuple(index.T)]
        values[~inside] = np.nan
        return values.astype(np.float32)


def read_map(name: str, _self: Any) -> tuple[list[MapGrid | None], ColorScale | None]:
    """Read the states of a map object, or of the map of a ramp together with the ramp's colours. Raises SceneError."""
    scale = None
    if _object_type(name, _self) == "object:ramp":
        ramp = read_object_session(name, _self).data
        if ramp[RAMP_KIND] != MAP_RAMP or not ramp[RAMP_COLORS]:
            raise SceneError(f"map {name}: the ramp is not one of a map with colours of its own")
        colors = np.array(ramp[RAMP_COLORS], np.float32).reshape(-1, 3)
        scale = ColorScale(np.array(ramp[RAMP_LEVELS], np.float32), colors)
        name = str(ramp[RAMP_MAP])
    type_name = _object_type(name, _self)
    if type_name != "object:map":
        noun = type_name.split(":")[-1]
        fault = f"it is a {noun}, not a map" if noun else "there is no such object"
        raise SceneError(f"map {name}: {fault}; {MAKE_MAP}")
    contents = read_object_session(name, _self).data
    header = contents[HEADER]
    display_matrix = ttt_matrix(header[TTT]) if header[HAS_TTT] else np.eye(4)
    grids = [_read_grid(state, display_matrix) if state and state[FILLED] else None for state in contents[STATES]]
    if not any(grids):
        raise SceneError(f"map {name}: it is empty; {MAKE_MAP}")
    return grids, scale


def _object_type(name: str, _self: Any) -> str:
    return str(_self.get_type(name)) if name in _self.get_names("objects") else ""


def _read_grid(state: list[Any], display_matrix: NDArray[np.float64]) -> MapGrid:
    corners = np.array(state[CORNERS], np.float64).reshape(8, 3)
    shape = tuple(int(count) for count in state[SHAPE][:3])
    data = state[FIELD][2][6]
    values = np.frombuffer(data, np.float32) if isinstance(data, bytes) else np.array(data, np.float32)
    to_scene = np.eye(4)
    to_scene[:3, 3] = corners[0]
    for axis, corner in enumerate((1, 2, 4)):
        to_scene[:3, axis] = (corners[corner] - corners[0]) / max(shape[axis] - 1, 1)
    # The state's own matrix holds the origin of maps that have one.
    if state[MATRIX] and state[MATRIX][0]:
        to_scene = np.reshape(state[MATRIX][0], (4, 4)) @ to_scene
    return MapGrid(values.reshape(shape), np.linalg.inv(display_matrix @ to_scene))
