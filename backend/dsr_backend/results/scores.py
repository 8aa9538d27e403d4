"""Scores a fitted field against the surfaces that PyMOL made of the same states."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pymol_dsr.shared.scoring import FIELD, HOLD, TRAINING, group_of, nearest_fitted
from pymol_dsr.shared.superpose import rmsd

from ..fields.base import Field
from ..geometry.metrics import GroundTruth
from ..surfaces.surface import Surface
from .mesh import extract_mesh


@dataclass(frozen=True)
class ScoreRow:
    """The metrics of one state by one method, in the normalised frame of the paper.

    expected_error: Å, None where it is not known; rmsd: Å, of the atoms from those of the true state before,
    superposed, None where it is not known.
    """

    state: float
    group: str
    method: str
    iou: float
    chamfer_l1: float
    chamfer_sq: float
    nc: float
    expected_error: float | None
    rmsd: float | None


def score_state(
    fitted: Field, state: float, truth: Mapping[float, Surface], step_rmsd: float | None
) -> Iterator[ScoreRow]:
    """Yield the rows of one state: the field and, except at fitted states, the nearest fitted state held.

    truth: true surfaces by state, with that of `state`; without the nearest fitted state there is no row of it.
    """
    surface, group = truth[state], group_of(state, fitted.states)
    reference = GroundTruth(surface.points, surface.normals, surface.faces, fitted.frame)
    mesh = extract_mesh(fitted, state)
    score = reference.score(mesh.points, mesh.normals, mesh.faces)
    error = mesh.expected_error if mesh.expected_error > 0.0 else None
    yield ScoreRow(state, group, FIELD, **asdict(score), expected_error=error, rmsd=step_rmsd)
    held = truth.get(nearest_fitted(state, fitted.states))
    if group != TRAINING and held is not None:
        score = reference.score(held.points, held.normals, held.faces)
        yield ScoreRow(state, group, HOLD, **asdict(score), expected_error=None, rmsd=step_rmsd)


def step_rmsds(surfaces: Sequence[Surface]) -> dict[float, float]:
    """Return, by state, the RMSD in Å of its atoms from those of the state before, superposed."""
    rmsds = {}
    for before, after in itertools.pairwise(surfaces):
        if before.atoms is not None and after.atoms is not None and len(after.atoms) >= 3:
            rmsds[after.state] = rmsd(after.atoms.astype(np.float64), before.atoms.astype(np.float64))
    return rmsds
