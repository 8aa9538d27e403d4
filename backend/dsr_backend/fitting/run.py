"""Fits of surfaces by any preset: one trajectory, a family of trajectories, a new member of a family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pymol_dsr.shared.options import FitOptions

from ..fields.base import Family, Field
from ..surfaces.surface import Surface
from .config import PRESETS, PaperPreset
from .fast import run as fast
from .job import Progress
from .paper import run as paper
from .paper.checkpoint import TrainingCheckpoint


def fit_trajectory(
    surfaces: Sequence[Surface],
    options: FitOptions | None = None,
    progress: Progress = lambda status: None,
    cancelled: Callable[[], bool] = lambda: False,
    checkpoint: TrainingCheckpoint | None = None,
) -> Field:
    """Fit f(x, t) to the surfaces of one molecule's states.

    progress: called with the phase, the fraction done and the further fields of the protocol's `progress`; checkpoint:
    file for the state of the training, for preset `paper`.

    On the CPU, the same surfaces, seed and number of threads give the same field. Raises ValueError for surfaces that
    do not go together or need too large a box, RequestError `diverged` when the loss is not finite, and Cancelled once
    `cancelled()` is true.
    """
    options = options or FitOptions()
    if _is_paper(options):
        return paper.fit_trajectory(surfaces, options, progress, cancelled, checkpoint=checkpoint)
    return fast.fit_trajectory(surfaces, options, progress, cancelled)


def fit_family(
    trajectories: Mapping[str, Sequence[Surface]],
    options: FitOptions | None = None,
    progress: Progress = lambda status: None,
    cancelled: Callable[[], bool] = lambda: False,
    checkpoint: TrainingCheckpoint | None = None,
) -> Family:
    """Fit several trajectories together; with preset `paper`, with one network for all.

    Arguments and errors are those of `fit_trajectory`. Raises ValueError without trajectories.
    """
    options = options or FitOptions()
    if not trajectories:
        raise ValueError("there are no trajectories")
    if _is_paper(options):
        return paper.fit_family(trajectories, options, progress, cancelled, checkpoint=checkpoint)
    return fast.fit_family(trajectories, options, progress, cancelled)


def fit_member(
    family: Family,
    surfaces: Sequence[Surface],
    options: FitOptions | None = None,
    progress: Progress = lambda status: None,
    cancelled: Callable[[], bool] = lambda: False,
    frozen: bool = False,
    checkpoint: TrainingCheckpoint | None = None,
) -> Field:
    """Fit a new trajectory with the network of a known family, which itself does not change.

    With preset `paper`, the latent code is trained first with the family's network; then, unless `frozen`, the network
    is trained too. Fields of the other presets share no network. The other arguments and the errors are those of
    `fit_trajectory`. Raises ValueError for a preset that is not the family's.
    """
    options = options or FitOptions()
    if options.preset != family.report["preset"]:
        raise ValueError(
            f"the family was fitted with preset {family.report['preset']} and this trajectory is to be with "
            f"{options.preset}; give preset={family.report['preset']}"
        )
    if _is_paper(options):
        return paper.fit_member(family, surfaces, options, progress, cancelled, frozen, checkpoint=checkpoint)
    return fast.fit_trajectory(surfaces, options, progress, cancelled)


def _is_paper(options: FitOptions) -> bool:
    return isinstance(PRESETS[options.preset], PaperPreset)
