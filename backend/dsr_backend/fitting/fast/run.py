"""Fits of preset fast: one trajectory, or a family of trajectories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pymol_dsr.shared.options import FitOptions

from ...fields.base import Family, Field
from ...fields.fast import FastField
from ...surfaces.surface import Surface
from ..config import PRESETS, Preset
from ..job import FitJob, Progress
from .prepare import prepare

# Keys of a member's report that are the same for the whole family.
FAMILY_KEYS = ("preset", "device", "threads", "seed")


def fit_trajectory(
    surfaces: Sequence[Surface], options: FitOptions, progress: Progress, cancelled: Callable[[], bool]
) -> FastField:
    """Fit one trajectory; see `fitting.run.fit_trajectory`."""
    return prepare(_job(options, progress, cancelled), surfaces)


def fit_family(
    trajectories: Mapping[str, Sequence[Surface]],
    options: FitOptions,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Family:
    """Fit several trajectories, one after another; see `fitting.run.fit_family`."""
    job = _job(options, progress, cancelled)
    members: dict[str, Field] = {}
    for number, (name, surfaces) in enumerate(trajectories.items()):
        job.span = (number / len(trajectories), 1.0 / len(trajectories))
        members[name] = prepare(job, surfaces)
    reports = {name: field.report for name, field in members.items()}
    first = next(iter(reports.values()))
    totals = {key: sum(report[key] for report in reports.values()) for key in ("seconds", "parameters")}
    totals["loss"] = sum(report["loss"] for report in reports.values()) / len(reports)
    return Family(members, {key: first[key] for key in FAMILY_KEYS} | totals | {"trajectories": reports})


def _job(options: FitOptions, progress: Progress, cancelled: Callable[[], bool]) -> FitJob[Preset]:
    preset: Preset = PRESETS[options.preset]
    return FitJob(options, preset, progress, cancelled)
