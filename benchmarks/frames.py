"""PyMOL's surfaces of a benchmark trajectory at any times, of atoms on straight lines between superposed states."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import trajectories
from dsr_backend.motion.motion import Motion
from dsr_backend.surfaces.surface import Surface
from numpy.typing import NDArray

# PyMOL's own cells, in place of wider ones with which dsr_fit has surfaces sooner: what PyMOL itself takes and shows.
PYMOL_CELLS = {"hash_max": "100"}


def atoms_at(motion: Motion, times: Sequence[float]) -> list[NDArray[np.float32]]:
    """Atoms f4[A,3] in Å at each time: neighbouring states superposed, mixed linearly, and the turn put back."""
    motion.poses = replace(motion.poses, width=0.0)
    atoms_at_times = [motion.scene_atoms(float(at), 0.0) for at in times]
    return [atoms for atoms in atoms_at_times if atoms is not None]


def pymol_surfaces(
    name: str, states: Sequence[int], times: Sequence[float], data: Path | None, cache: Path, workers: int
) -> tuple[list[Surface], float]:
    """Surfaces by PyMOL at these times between the states given, in their order, and the seconds that PyMOL took.

    name: of the trajectory; data, cache: as in `trajectories.load`; workers: PyMOL processes at once.
    """
    import pymol2

    from pymol_dsr.surfaces import extract
    from pymol_dsr.surfaces.workers import compute_surfaces_at

    session = pymol2.PyMOL()
    session.start()
    try:
        session.cmd.feedback("disable", "all", "everything")
        trajectories.load(session.cmd, name, data, cache)
        source = extract.read_source(name, "+".join(map(str, states)), _self=session.cmd)
    finally:
        session.stop()
    motion = Motion.from_states(np.array(states, np.float64), np.stack([source.coordinates[state] for state in states]))
    source = replace(source, settings={**source.settings, **PYMOL_CELLS})
    frames = list(zip(map(float, times), atoms_at(motion, times), strict=True))
    started = time.perf_counter()
    atoms_at_times = sorted(compute_surfaces_at(source, frames, workers), key=lambda surface: surface.state)
    seconds = time.perf_counter() - started
    return [Surface(s.state, s.points, s.normals, s.faces, s.atoms) for s in atoms_at_times], seconds


def volume_and_area(points: NDArray[np.floating[Any]], faces: NDArray[np.integer[Any]]) -> tuple[float, float]:
    """Volume in Å³ (divergence theorem) and area in Å² of a closed mesh: points [N,3] Å, faces [M,3] outward."""
    if not len(faces):
        return 0.0, 0.0
    centred = points.astype(np.float64) - points.mean(0, dtype=np.float64)
    a, b, c = (centred[faces[:, corner]] for corner in range(3))
    cross = np.cross(b - a, c - a)
    return float((a * cross).sum() / 6.0), float(0.5 * np.linalg.norm(cross, axis=1).sum())
