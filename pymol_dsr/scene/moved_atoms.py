"""Fitted atoms that are no longer as they were fitted, because the molecule was moved or changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fits.fit import Fit, Trajectory, unlike_line
from ..fits.jobs import Jobs
from ..shared.messages import Mesh
from ..shared.options import FieldOptions, MeshOptions
from ..shared.spacing import evenly_spaced
from ..shared.text import counted
from ..surfaces.extract import in_scene
from ..surfaces.periodic import Cell, nearest_images, read_cell
from ..surfaces.source import Coordinates
from .atoms import present_indices
from .gui_thread import in_gui
from .objects import SceneError

# Å; a fit keeps the atoms of its states to some 0.001 Å.
MOVED = 0.1
# Spacing in Å of a mesh of which only the atoms count.
COARSEST = 4.0
# States that are looked up for a warning, at most: reading many atoms takes long.
FEW_PLACES = 3


def spread_states(states: Sequence[float], most: int) -> list[int]:
    """Return at most so many of the whole states, evenly spread, with the first and the last."""
    whole = [int(state) for state in states if float(state).is_integer()]
    return [whole[place] for place in evenly_spaced(range(len(whole)), most)]


def distance(atoms: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], cell: Cell | None = None) -> float:
    """Return the RMSD in Å of atoms [A,3] from others [A,3] (Å) as they lie, not superposed.

    cell: of a periodic box, in which the nearest image of each atom counts.
    """
    steps = atoms - others.astype(np.float64)
    if cell is not None:
        steps = nearest_images(steps, cell)
    return float(np.sqrt(np.mean(np.sum(steps**2, axis=1))))


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


def moved_line(object: str, distances: Mapping[int, float]) -> str:
    """Say which states lie elsewhere than when they were fitted, and how far (Å, by state); empty where none does."""
    moved = [state for state, length in distances.items() if length > MOVED]
    if not moved:
        return ""
    farthest = max(moved, key=lambda state: distances[state])
    others = f", and {counted(len(moved) - 1, 'other state')} moved, too" if len(moved) > 1 else ""
    return (
        f"state {farthest} of {object} lies {distances[farthest]:.1f} A (RMSD) from where it was fitted{others}; load "
        "the molecule as it was, or fit it anew with dsr_fit"
    )


def radii_line(fit: Fit, trajectory: Trajectory, mean: float) -> str:
    """Say that the atoms have other van der Waals radii than when they were fitted; empty where they have the same.

    mean: of their present radii, in Å.
    """
    molecule = fit.report.sources().get(trajectory.name)
    before = molecule.radius if molecule is not None else None
    # The mean is kept with four digits.
    if before is None or abs(before - mean) < 2e-4:
        return ""
    return (
        f"the atoms have van der Waals radii of {mean:.3f} A on average, and the fitted ones had {before:.3f} A; set "
        "them as they were with 'alter', or fit the molecule anew with dsr_fit"
    )


def fitted_positions(jobs: Jobs, fit: Fit, trajectory: Trajectory, state: float) -> Coordinates | None:
    """Return the atoms f4[A,3] (Å) of a fitted state where they were fitted; None where the fit knows none.

    Raises Cancelled or BackendError.
    """
    field, mesh = FieldOptions(trajectory=trajectory.name), MeshOptions(resolution=COARSEST)
    return jobs.connection.ask(fit, Mesh(fit=fit.name, field=field, time=float(state), mesh=mesh)).atoms


def warn_of_atoms(
    jobs: Jobs,
    fit: Fit,
    trajectory: Trajectory,
    field: FieldOptions,
    times: Sequence[float],
    _self: Any,
) -> None:
    """Print which of some fitted states is the first whose atoms lie elsewhere in the scene than when they were fitted.

    Of molecules that were made whole, the scene may show other images in the periodic box. A surface between two
    trajectories lies where neither does; print where their atoms do not correspond. Raises Cancelled or BackendError.
    """
    if field.towards:
        # A network of preset paper knows no atoms.
        line = unlike_line(trajectory, fit.trajectory(field.towards))
        if line and fit.report.preset != "paper":
            print(f" {fit.name}: warning: {line}")
        return
    fitted = set(trajectory.states)
    for state in spread_states([time for time in times if time in fitted], FEW_PLACES):
        present = in_gui(_self, scene_positions, trajectory, state, _self)
        if present is None:
            continue
        cell = in_gui(_self, read_cell, trajectory.object, state, _self) if trajectory.unwrap else None
        if trajectory.unwrap and cell is None:
            continue
        positions = fitted_positions(jobs, fit, trajectory, state)
        if positions is None or len(positions) != len(present):
            continue
        if line := moved_line(trajectory.object, {state: distance(positions, present, cell)}):
            print(f" {fit.name}: warning: {line}")
            return
