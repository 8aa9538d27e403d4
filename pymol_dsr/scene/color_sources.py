"""Values to colour by: atoms, CSV files, maps."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..fits.fit import Trajectory
from . import atoms, placement
from .palettes import ColorScale
from .placement import SceneError

MOTIONS = ("motion", "speed", "velocity")
PROPERTIES = ("b", "q", "vdw", "partial_charge", "formal_charge", "elec_radius", "resv", "index", "rank", "ID")
KINDS = ("atoms", *MOTIONS, "values", "map", *PROPERTIES)
UNITS = {"motion": "A", "speed": "A_per_state", "velocity": "A_per_state", "vdw": "A", "elec_radius": "A"}


COLUMNS = ("state", "index", "value")


@dataclass(frozen=True)
class MapGrid:
    """A state of a map: values f4[nx,ny,nz]; to_grid f8[4,4] makes places in the scene places in it, in cells."""

    values: np.ndarray
    to_grid: np.ndarray

    def sample(self, points: np.ndarray) -> np.ndarray:
        """Values f4[N] at points f4[N,3] (Å, in the scene), trilinear; nan outside."""
        at = points @ self.to_grid[:3, :3].T + self.to_grid[:3, 3]
        last = np.array(self.values.shape) - 1
        # A vertex on the border may lie a rounding outside.
        inside = ((at > -1e-3) & (at < last + 1e-3)).all(1)
        at = np.clip(at, 0, last)
        corner = np.minimum(at.astype(np.int64), np.maximum(last - 1, 0))
        part = at - corner
        found = np.zeros(len(points))
        for step in np.ndindex(2, 2, 2):
            index = np.minimum(corner + step, last)
            weight = np.where(step, part, 1.0 - part).prod(1)
            found += weight * self.values[tuple(index.T)]
        found[~inside] = np.nan
        return found.astype(np.float32)


def read_values(path: str) -> dict[int, tuple[list[float], list[float]]]:
    """Values over time from a CSV file with the columns state, index and value: by index from 1, states that rise and
    values. Raises SceneError with the line that is at fault, OSError.
    """
    try:
        return _read_values(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SceneError(f"{path} is no table in plain text (UTF-8): {error}") from error


def _read_values(path: str) -> dict[int, tuple[list[float], list[float]]]:
    found: dict[int, dict[float, float]] = {}
    with open(path, newline="", encoding="utf-8-sig") as stream:
        rows = csv.reader(stream)
        names = [word.strip().lower() for word in next(rows, [])]
        if any(column not in names for column in COLUMNS):
            raise SceneError(f"{path}, line 1: it reads '{','.join(names)[:80]}'; write the columns state,index,value")
        places = [names.index(column) for column in COLUMNS]
        for row in rows:
            if not row:
                continue
            line = f"{path}, line {rows.line_num}"
            if len(row) <= max(places):
                raise SceneError(f"{line}: {len(row)} columns, where the first line has {len(names)}")
            numbers = []
            for column, place in zip(COLUMNS, places, strict=True):
                try:
                    number = float(row[place])
                except ValueError as error:
                    raise SceneError(f"{line}: {column} '{row[place][:40]}' is not a number") from error
                if not np.isfinite(number):
                    raise SceneError(f"{line}: {column} '{row[place][:40]}' is not finite")
                numbers.append(number)
            state, index, value = numbers
            if not index.is_integer() or index < 1:
                raise SceneError(f"{line}: index {index:g} is no atom; PyMOL's index counts from 1")
            of_atom = found.setdefault(int(index), {})
            if state in of_atom:
                raise SceneError(f"{line}: index {index:g} has a value for state {state:g} already")
            of_atom[state] = value
    if not found:
        raise SceneError(f"{path}: it holds no values")
    return {index: tuple(map(list, zip(*sorted(pairs.items()), strict=True))) for index, pairs in found.items()}  # type: ignore[misc]


def over_time(
    given: dict[int, tuple[list[float], list[float]]], atoms: np.ndarray, times: Sequence[float]
) -> np.ndarray:
    """Values f4[T,A] of the atoms i4[A] (from 0) at times: straight lines between the given states, held outside; nan
    for an atom without values.
    """
    table = np.full((len(times), len(atoms)), np.nan, np.float32)
    for column, atom in enumerate(atoms):
        if int(atom) + 1 in given:
            table[:, column] = np.interp(times, *given[int(atom) + 1])
    return table


def read_map(name: str, _self: Any) -> tuple[list[MapGrid | None], ColorScale | None]:
    """The states of a map object, or of the map of a ramp with the ramp's colours. Raises SceneError."""
    scale = None
    kind = _self.get_type(name) if name in _self.get_names("objects") else "nothing"
    if kind == "object:ramp":
        ramp = _contents(name, _self)
        if ramp[1] != 1 or not ramp[4]:
            raise SceneError(f"map {name}: the ramp is not one of a map with colours of its own")
        scale = ColorScale(np.array(ramp[3], np.float32), np.array(ramp[4], np.float32).reshape(-1, 3))
        name = str(ramp[6])
        kind = _self.get_type(name) if name in _self.get_names("objects") else "nothing"
    if kind != "object:map":
        is_what = "there is no such object" if kind == "nothing" else f"it is a {kind.split(':')[-1]}, not a map"
        raise SceneError(f"map {name}: {is_what}; 'load x.dx' or map_new make one")
    header, _, states = _contents(name, _self)
    placed = placement.ttt_matrix(header[11]) if header[7] else np.eye(4)
    grids = [_grid(state, placed) if state and state[0] else None for state in states]
    if not any(grids):
        raise SceneError(f"map {name}: it is empty")
    return grids, scale


def _contents(name: str, _self: Any) -> list[Any]:
    # get_volume_field is broken in some builds; the session has all of it.
    found = _self.get_session(name, partial=1, binary=1, cache=0, compress=0, version=0)
    return next(entry[5] for entry in found["names"] if entry and entry[0] == name)


def _grid(state: list[Any], placed: np.ndarray) -> MapGrid:
    corners = np.array(state[6], np.float64).reshape(8, 3)
    shape = tuple(int(n) for n in state[13][:3])
    data = state[14][2][6]
    values = np.frombuffer(data, np.float32) if isinstance(data, bytes) else np.array(data, np.float32)
    to_scene = np.eye(4)
    to_scene[:3, 3] = corners[0]
    for axis, corner in enumerate((1, 2, 4)):
        to_scene[:3, axis] = (corners[corner] - corners[0]) / max(shape[axis] - 1, 1)
    # Of the state's own matrix comes the origin of maps that have one.
    if state[15] and state[15][0]:
        to_scene = np.reshape(state[15][0], (4, 4)) @ to_scene
    return MapGrid(values.reshape(shape), np.linalg.inv(placed @ to_scene))


def atom_values(trajectory: Trajectory, what: str, _self: Any) -> np.ndarray:
    """A property of the fitted atoms as f4[A], nan where an atom has none. Raises SceneError."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*", what):
        raise SceneError(f"by {what}: {_choices()}")
    try:
        found = atoms.atom_property(trajectory, what, _self)
    except NameError as error:
        raise SceneError(f"by {what}: {_choices()}") from error
    if found is None:
        raise SceneError(f"by {what}: {trajectory.object or 'the molecule'} is not in the scene as it was fitted")
    try:
        return np.array([np.nan if value is None else value for value in found], np.float32)
    except ValueError as error:
        raise SceneError(f"by {what}: it is not a number (the first atom has '{found[0]}')") from error


def is_color(by: str, _self: Any) -> bool:
    """Whether it names a colour and nothing else; PyMOL takes b for blue."""
    return by not in KINDS and _self.get_color_index(by) >= 0


def _choices() -> str:
    listed = ", ".join(("atoms", *MOTIONS, "values", "map"))
    return f"choose one of {listed}, a number that iterate knows ({', '.join(PROPERTIES[:4])}, ...) or a colour"
