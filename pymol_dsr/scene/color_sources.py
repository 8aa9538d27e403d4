"""Values to colour a movie by: of its atoms, of its surface's motion, of a table, of a map."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Fit, Trajectory
from ..fits.jobs import Jobs
from ..shared.messages import Paint, PaintResult
from ..shared.options import FieldOptions
from . import atoms, placement
from .kept_movies import KeptMesh, KeptMovie
from .map_values import read_map
from .objects import SceneError
from .palettes import SIGNED, ColorScale, palette, value_range
from .value_table import read_values, values_over_time

MOTIONS = ("motion", "speed", "velocity")
# The numbers that iterate knows and that a menu offers.
PROPERTIES = ("b", "q", "vdw", "partial_charge", "formal_charge", "elec_radius", "resv", "index", "rank", "ID")
KINDS = ("atoms", *MOTIONS, "values", "map", *PROPERTIES)

# From the number of a mesh in its movie, and the mesh, to f4[N].
Values = Callable[[int, KeptMesh], NDArray[np.float32]]


def is_color(by: str, _self: Any) -> bool:
    """Say whether a word names a colour and no kind of values; PyMOL takes b for blue."""
    return by not in KINDS and _self.get_color_index(by) >= 0


def color_source(
    movie: KeptMovie, by: str, file: str, map: str, jobs: Jobs, _self: Any
) -> tuple[Values, ColorScale | None]:
    """Return a function that gives the values of each mesh, and with a ramp its colours.

    Reads scene and files now, and asks the backend when the function is called. Raises SceneError, OSError, JobError or
    BackendError.
    """
    if by in ("speed", "velocity"):
        return _motion_values(movie, by, jobs), None
    if by == "map":
        return _map_values(movie, map, _self)
    if not movie.has_atoms:
        raise SceneError(f"by {by}: the fit {movie.fit.name} holds no atoms; take speed, velocity, map or a colour")
    if by == "values":
        return _table_values(movie, file, _self), None
    if by == "motion":
        return lambda _, mesh: mesh.blend(_rmsf(movie, jobs)), None
    values = atom_values(movie.trajectory, by, _self)
    return lambda _, mesh: mesh.blend(values), None


def atom_values(trajectory: Trajectory, name: str, _self: Any) -> NDArray[np.float32]:
    """Return a number of the fitted atoms, as iterate names it, f4[A]; NaN where an atom has none.

    Raises SceneError.
    """
    if not re.fullmatch(r"[A-Za-z_][\w.]*", name):
        raise SceneError(f"by {name}: {_choices()}")
    present = atoms.PresentAtoms.of(trajectory, _self)
    try:
        values = present.values(name)
    except NameError as error:
        raise SceneError(f"by {name}: {_choices()}") from error
    if values is None:
        raise SceneError(f"by {name}: {present.absence}")
    try:
        return np.array([np.nan if value is None else value for value in values], np.float32)
    except ValueError as error:
        raise SceneError(f"by {name}: it is not a number (the first atom has '{values[0]}')") from error


def colors_of_atoms(
    fit: Fit, trajectory: Trajectory, field: FieldOptions, by: str, jobs: Jobs, _self: Any
) -> NDArray[np.float32]:
    """Return colours f4[A,3] of the fitted atoms by a number of theirs, over the range of all atoms.

    Asks the backend for `motion`. Raises SceneError where the values are those of the surface's motion, or there are no
    atoms, JobError or BackendError.
    """
    if by in ("speed", "velocity"):
        raise SceneError(
            f"by {by}: files hold the colours of atoms, and this is the motion of the surface; dsr_movie has it"
        )
    if trajectory.atoms is None:
        raise SceneError(f"by {by}: the fit {fit.name} holds no atoms; give one colour")
    if by == "motion":
        no_points = np.zeros((0, 3), np.float32)
        request = Paint(fit=fit.name, field=field, time=float(trajectory.states[0]), points=no_points)
        values = jobs.connection.ask(fit, request).rmsf
        assert values is not None, "the reply to `paint` is checked for it"
    else:
        values = atom_values(trajectory, by, _self)
    low, high = value_range([values], None, None, by in SIGNED)
    return ColorScale.between(low, high, palette(SIGNED.get(by, "viridis"), _self)).paint(values)


def _choices() -> str:
    listed = ", ".join(("atoms", *MOTIONS, "values", "map"))
    return f"choose one of {listed}, a number that iterate knows ({', '.join(PROPERTIES[:4])}, ...) or a colour"


def _motion_values(movie: KeptMovie, by: str, jobs: Jobs) -> Values:
    def values(_: int, mesh: KeptMesh) -> NDArray[np.float32]:
        if mesh.velocity is None:
            velocity = _ask(movie, mesh.state.time, mesh.points, jobs).velocity
            assert velocity is not None, "the reply to `paint` is checked for it"
            # A copy: the arrays of a frame are one block, and would be kept whole.
            mesh.velocity = np.array(velocity)
        return np.abs(mesh.velocity) if by == "speed" else mesh.velocity

    return values


def _rmsf(movie: KeptMovie, jobs: Jobs) -> NDArray[np.float32]:
    if movie.rmsf is None:
        no_points = np.zeros((0, 3), np.float32)
        rmsf = _ask(movie, movie.trajectory.states[0], no_points, jobs).rmsf
        assert rmsf is not None, "the reply to `paint` is checked for it, and color_source for atoms"
        movie.rmsf = np.array(rmsf)
    return movie.rmsf


def _ask(movie: KeptMovie, time: float, points: NDArray[np.float32], jobs: Jobs) -> PaintResult:
    if movie.fit.name not in jobs.fits:
        raise SceneError(f"the fit {movie.fit.name} was deleted; dsr_load its file or fit again, then run dsr_movie")
    if jobs.fits[movie.fit.name] is not movie.fit:
        raise SceneError(f"the fit {movie.fit.name} has given way to another; run dsr_movie again")
    request = Paint(fit=movie.fit.name, field=movie.field, time=float(time), smooth=movie.mesh.smooth, points=points)
    return jobs.connection.ask(movie.fit, request)


def _map_values(movie: KeptMovie, map: str, _self: Any) -> tuple[Values, ColorScale | None]:
    grids, scale = read_map(map, _self)
    matrix = placement.object_matrix(movie.trajectory.object, _self)
    # The states of a map are those of the molecule, unless there is one for each of the movie.
    is_of_movie = len(grids) == max(mesh.state.state for mesh in movie.meshes)

    def values(_: int, mesh: KeptMesh) -> NDArray[np.float32]:
        points = placement.transform(mesh.points, matrix)

        def of_state(number: int) -> NDArray[np.float32]:
            grid = grids[number - 1]
            return np.full(len(points), np.nan, np.float32) if grid is None else grid.sample(points)

        place = min(max(mesh.state.state if is_of_movie else mesh.state.time, 1), len(grids))
        before, fraction = int(place), place - int(place)
        if not fraction:
            return of_state(before)
        return ((1.0 - fraction) * of_state(before) + fraction * of_state(before + 1)).astype(np.float32)

    return values, scale


def _table_values(movie: KeptMovie, file: str, _self: Any) -> Values:
    present = atoms.PresentAtoms.of(movie.trajectory, _self)
    if present.change:
        raise SceneError(f"by values: {present.change}")
    # Numbers of atoms as the user sees them; where the molecule is not in the scene, those that it was fitted with.
    indices = movie.trajectory.atoms if present.indices is None else present.indices
    assert indices is not None, "color_source has checked that the fit has atoms"
    times = [mesh.state.time for mesh in movie.meshes]
    table = values_over_time(read_values(file), indices, times)
    if np.isnan(table).all():
        raise SceneError(f"{file}: none of its atoms is in the fit {movie.fit.name}; index is PyMOL's, from 1")
    return lambda number, mesh: mesh.blend(table[number])
