"""Surfaces → field, as a plain sequence: samples, lattices, smoothing, decoder.

The lattices are linear in their node values, so each state's are found by least squares in a few conjugate
gradient steps instead of thousands of stochastic ones; only the decoder is trained by Adam.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import torch

from pymol_dsr.shared.options import FitOptions

from ..fields.base import Family, Field
from ..fields.fast import FastField
from ..surfaces.surface import Surface
from .fast.decoder import train_decoder
from .fast.prepare import PreparedTrajectory, prepare, with_report
from .fast.samples import BackgroundSampler, SampleStore
from .fast.stages import CHOSEN
from .job import FitJob, Progress

if TYPE_CHECKING:
    from .paper.checkpoint import Training


def fit_trajectory(
    surfaces: Sequence[Surface],
    config: FitOptions | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    watch: Callable[[Field], None] | None = None,
    early: BackgroundSampler | None = None,
    training: Training | None = None,
) -> Field:
    """Fit f(x, t) to the surfaces of one molecule's states.

    progress: called with the phase, the fraction done and what else the protocol's `progress` says; watch: called
    with the unfinished field, as soon as it can be meshed and a few times after (preset `fast` only); early: what was
    drawn of these surfaces while they arrived; training: where preset `paper` keeps its checkpoints. Raises
    ValueError where the surfaces do not go together or take too large a box, RequestError `diverged` where
    the loss is no number, and Cancelled once `cancelled()` is true. On the CPU, the same surfaces, seed and
    number of threads give the same field.
    """
    config = config or FitOptions()
    if config.preset == "paper":
        from .paper import run

        return run.fit_trajectory(surfaces, config, progress, cancelled, training=training)
    job = FitJob(config, progress, cancelled)
    with closing(SampleStore()) as spill:
        trajectory = prepare(job, surfaces, None, 0, spill, early)
        loss, steps = train_decoder(job, [trajectory], watch=watch)
    return with_report(job, trajectory, loss, steps)


def fit_family(
    trajectories: Mapping[str, Sequence[Surface]],
    config: FitOptions | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    watch: Callable[[Field], None] | None = None,
    early: BackgroundSampler | None = None,
    training: Training | None = None,
) -> Family:
    """Fit several trajectories at once: one network, a latent code and lattices for each.

    Otherwise as `fit`; `watch` gets the field of the first.
    """
    config = config or FitOptions()
    if not trajectories:
        raise ValueError("there are no trajectories")
    if config.preset == "paper":
        from .paper import run

        return run.fit_family(trajectories, config, progress, cancelled, training=training)
    job = FitJob(config, progress, cancelled)
    with closing(SampleStore()) as spill:
        prepared: list[PreparedTrajectory] = []
        for number, surfaces in enumerate(trajectories.values()):
            job.part = (number * CHOSEN / len(trajectories), 1.0 / len(trajectories))
            decoder = prepared[0].field.decoder if prepared else None
            prepared.append(prepare(job, surfaces, decoder, job.preset.latent, spill, early, number))
        job.part = (0.0, 1.0)
        loss, steps = train_decoder(job, prepared, watch=watch)
    members: dict[str, Field] = {
        name: with_report(job, one, loss, steps) for name, one in zip(trajectories, prepared, strict=True)
    }
    reports = {name: field.report for name, field in members.items()}
    whole = next(iter(reports.values()))
    shared = {key: whole[key] for key in ("preset", "device", "threads", "seconds", "steps", "loss", "seed")}
    parameters = sum(report["parameters"] for report in reports.values())
    return Family(members, {**shared, "parameters": parameters, "trajectories": reports})


def fit_member(
    family: Family,
    surfaces: Sequence[Surface],
    config: FitOptions | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    frozen: bool = False,
    watch: Callable[[Field], None] | None = None,
    early: BackgroundSampler | None = None,
    training: Training | None = None,
) -> Field:
    """Fit a new trajectory of a known family; otherwise as `fit`.

    The network starts as the family's and stays so while the latent code is found; then all of it is trained on the
    new trajectory, unless `frozen`. The family itself is left as it is. Raises ValueError for a preset that is not
    the family's.
    """
    config = config or FitOptions()
    if config.preset != family.report["preset"]:
        raise ValueError(
            f"the family was fitted with preset {family.report['preset']} and this trajectory is to be with "
            f"{config.preset}; give preset={family.report['preset']}"
        )
    if config.preset == "paper":
        from .paper import run

        return run.fit_member(family, surfaces, config, progress, cancelled, frozen, training=training)
    fast = [field for field in family.members.values() if isinstance(field, FastField)]
    job = FitJob(config, progress, cancelled)
    decoder = copy.deepcopy(fast[0].decoder)
    with closing(SampleStore()) as spill:
        trajectory = prepare(job, surfaces, decoder, len(fast[0].latent), spill, early)
        trajectory.field.latent = torch.stack([field.latent for field in fast]).mean(0).to(job.device)
        middle = 1.0 if frozen else 0.5 * (CHOSEN + 1.0)
        loss, steps = train_decoder(job, [trajectory], (CHOSEN, middle), frozen=True, watch=watch)
        if not frozen:
            loss, more = train_decoder(job, [trajectory], (middle, 1.0), watch=watch)
            steps += more
    return with_report(job, trajectory, loss, steps)
