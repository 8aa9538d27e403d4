"""Fitted atoms that no longer lie where they were fitted, because the molecule was moved or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Fit, Trajectory
from ..fits.jobs import Jobs
from ..shared.messages import Mesh, MeshResult
from ..shared.options import FieldOptions, MeshOptions
from ..shared.text import counted
from ..surfaces.extract import in_scene
from ..surfaces.source import Coordinates
from .atoms import present_indices
from .gui_thread import in_gui
from .objects import SceneError
from .replies import Reply
from .timeline import MovieState

# Å; a fit keeps the atoms of its states to some 0.001 Å, and those that are averaged over time to an Å or so.
MOVED, MOVED_AVERAGED = 0.1, 3.0
# Spacing in Å of a mesh of which only the atoms count.
COARSEST = 4.0
# States that are looked up for a warning, at most: reading many atoms takes long.
FEW_PLACES = 3


def spread_states(states: Sequence[float], most: int) -> list[int]:
    """Return at most so many of the whole states, evenly spread, with the first and the last."""
    whole = [int(state) for state in states if float(state).is_integer()]
    places = np.unique(np.linspace(0, len(whole) - 1, min(most, len(whole))).round().astype(int))
    return [whole[place] for place in places.tolist()]


def distance(atoms: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]) -> float:
    """Return the RMSD in Å of atoms [A,3] from others [A,3] (Å) as they lie, not superposed."""
    return float(np.sqrt(np.mean(np.sum((atoms - others.astype(np.float64)) ** 2, axis=1))))


def scene_positions(trajectory: Trajectory, state: int, _self: Any) -> Coordinates | None:
    """Return the fitted atoms f4[A,3] (Å) of a state as they lie now; None where the scene lacks some of them."""
    try:
        present = present_indices(trajectory, _self)
    except SceneError:
        return None
    if not 1 <= state <= _self.count_states(f"%{trajectory.object}"):
        return None
    places: dict[int, tuple[float, float, float]] = {}
    _self.iterate_state(state, f"%{trajectory.object}", "places[index - 1] = (x, y, z)", space={"places": places})
    if not places.keys() >= set(present.tolist()):
        return None
    xyz = np.array([places[index] for index in present.tolist()], np.float32)
    return in_scene(xyz, trajectory.object, state, _self)


def moved_line(object: str, distances: Mapping[int, float], limit: float = MOVED) -> str:
    """Say which states lie elsewhere than when they were fitted, and how far (Å, by state); empty where none does."""
    moved = [state for state, length in distances.items() if length > limit]
    if not moved:
        return ""
    farthest = max(moved, key=lambda state: distances[state])
    others = f", and {counted(len(moved) - 1, 'other state')} moved, too" if len(moved) > 1 else ""
    return (
        f"state {farthest} of {object} lies {distances[farthest]:.1f} A (RMSD) from where it was fitted{others}; load "
        "the molecule as it was, or fit it anew with dsr_fit"
    )


def fitted_positions(jobs: Jobs, fit: Fit, trajectory: Trajectory, state: float) -> Coordinates | None:
    """Return the atoms f4[A,3] (Å) of a fitted state where they were fitted; None where the fit knows none.

    Raises Cancelled or BackendError.
    """
    field, mesh = FieldOptions(trajectory=trajectory.name), MeshOptions(resolution=COARSEST)
    return jobs.ask(fit, Mesh(fit=fit.name, field=field, time=float(state), mesh=mesh)).atoms


def warn_of_places(
    jobs: Jobs,
    fit: Fit,
    trajectory: Trajectory,
    field: FieldOptions,
    times: Sequence[float],
    *,
    warn: Callable[[str], None],
    _self: Any,
) -> None:
    """Warn of the first of some fitted states whose atoms lie elsewhere in the scene than when they were fitted.

    For results that bring no atoms. Raises Cancelled or BackendError.
    """
    fitted = [time for time in times if time in trajectory.states]
    # What lies between two trajectories is where neither is; with unwrap, the scene's atoms are not the fitted ones.
    for state in spread_states(fitted, 0 if field.towards or trajectory.unwrap else FEW_PLACES):
        present = in_gui(_self, scene_positions, trajectory, state, _self)
        positions = None if present is None else fitted_positions(jobs, fit, trajectory, state)
        if present is None or positions is None or len(positions) != len(present):
            return
        if line := moved_line(trajectory.object, {state: distance(positions, present)}):
            warn(line)
            return


def watch_places(
    trajectory: Trajectory,
    movie_states: Sequence[MovieState],
    replies: Iterable[Reply],
    *,
    averaged: bool,
    warn: Callable[[str], None],
    _self: Any,
) -> Iterator[Reply]:
    """Pass the replies of a movie on, and warn of the first state whose atoms lie elsewhere than in the scene.

    averaged: whether the atoms of fitted states are averaged over time.
    """
    fitted = set(trajectory.states)
    # With unwrap, the scene's atoms are not those that were fitted.
    checked = spread_states(
        [state.time for state in movie_states if state.time in fitted], 0 if trajectory.unwrap else FEW_PLACES
    )
    limit = MOVED_AVERAGED if averaged else MOVED
    for movie_state, reply in zip(movie_states, replies, strict=False):
        if isinstance(reply, MeshResult) and reply.atoms is not None and movie_state.time in checked:
            state = int(movie_state.time)
            positions = in_gui(_self, scene_positions, trajectory, state, _self)
            if positions is not None and len(positions) == len(reply.atoms):
                line = moved_line(trajectory.object, {state: distance(reply.atoms, positions)}, limit)
                if line:
                    warn(line)
                    checked = []
        yield reply
