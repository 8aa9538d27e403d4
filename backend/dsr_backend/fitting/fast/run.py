"""Fits of preset fast: one trajectory, a family of trajectories, a new member of a family."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import torch

from pymol_dsr.shared.options import FitOptions

from ...fields.base import Family, Field
from ...fields.fast import FastField
from ...surfaces.surface import Surface
from ..config import PRESETS, Preset
from ..job import FitJob, Progress
from .decoder import DecoderResult, train_decoder
from .prepare import PreparedTrajectory, prepare
from .report import with_report
from .sample_store import SampleStore
from .samples import BackgroundSampler
from .stages import WIDTHS_END

# Keys of a member's report that are the same for the whole family.
FAMILY_KEYS = ("preset", "device", "threads", "seconds", "steps", "loss", "seed")

Watch = Callable[[Field], None] | None


def fit_trajectory(
    surfaces: Sequence[Surface],
    options: FitOptions,
    progress: Progress,
    cancelled: Callable[[], bool],
    watch: Watch = None,
    sampler: BackgroundSampler | None = None,
) -> FastField:
    """Fit one trajectory; see `fitting.run.fit_trajectory`."""
    job = _job(options, progress, cancelled)
    with closing(SampleStore()) as store:
        trajectory = prepare(job, surfaces, None, 0, store, sampler)
        result = train_decoder(job, [trajectory], watch=watch)
    return with_report(job, trajectory, result)


def fit_family(
    trajectories: Mapping[str, Sequence[Surface]],
    options: FitOptions,
    progress: Progress,
    cancelled: Callable[[], bool],
    watch: Watch = None,
    sampler: BackgroundSampler | None = None,
) -> Family:
    """Fit several trajectories with one decoder; see `fitting.run.fit_family`."""
    job = _job(options, progress, cancelled)
    with closing(SampleStore()) as store:
        prepared: list[PreparedTrajectory] = []
        for number, surfaces in enumerate(trajectories.values()):
            job.span = (number * WIDTHS_END / len(trajectories), 1.0 / len(trajectories))
            decoder = prepared[0].field.decoder if prepared else None
            prepared.append(prepare(job, surfaces, decoder, job.preset.latent, store, sampler, number))
        job.span = (0.0, 1.0)
        result = train_decoder(job, prepared, watch=watch)
    members: dict[str, Field] = {
        name: with_report(job, trajectory, result) for name, trajectory in zip(trajectories, prepared, strict=True)
    }
    reports = {name: field.report for name, field in members.items()}
    first = next(iter(reports.values()))
    parameters = sum(report["parameters"] for report in reports.values())
    family_report = {key: first[key] for key in FAMILY_KEYS} | {"parameters": parameters, "trajectories": reports}
    return Family(members, family_report)


def fit_member(
    family: Family,
    surfaces: Sequence[Surface],
    options: FitOptions,
    progress: Progress,
    cancelled: Callable[[], bool],
    frozen: bool = False,
    watch: Watch = None,
    sampler: BackgroundSampler | None = None,
) -> FastField:
    """Fit a new trajectory with a family's decoder; see `fitting.run.fit_member`."""
    known = [field for field in family.members.values() if isinstance(field, FastField)]
    job = _job(options, progress, cancelled)
    decoder = copy.deepcopy(known[0].decoder)
    with closing(SampleStore()) as store:
        trajectory = prepare(job, surfaces, decoder, len(known[0].latent), store, sampler)
        trajectory.field.latent = torch.stack([field.latent for field in known]).mean(0).to(job.device)
        middle = 1.0 if frozen else 0.5 * (WIDTHS_END + 1.0)
        result = train_decoder(job, [trajectory], (WIDTHS_END, middle), frozen=True, watch=watch)
        if not frozen:
            second = train_decoder(job, [trajectory], (middle, 1.0), watch=watch)
            result = DecoderResult(second.loss, result.steps + second.steps)
    return with_report(job, trajectory, result)


def _job(options: FitOptions, progress: Progress, cancelled: Callable[[], bool]) -> FitJob[Preset]:
    preset: Preset = PRESETS[options.preset]
    return FitJob(options, preset, progress, cancelled)
