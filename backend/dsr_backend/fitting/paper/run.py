"""Fits of preset paper: one trajectory, a family of trajectories, a new member of a family."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from pymol_dsr.shared.options import FitOptions

from ...fields.base import Family, Field
from ...fields.paper import Network, PaperField
from ...geometry.unit_cube import UnitCube
from ...motion.motion import Motion
from ...results.dsr_format import digest
from ...surfaces.surface import Surface, check_series, stacked_atoms
from ..config import PRESETS, PaperPreset, stretch_breaks, time_axis
from ..extents import EXTENT_MARGIN, clearance_of, reach_of
from ..job import FitJob, Progress
from .checkpoint import TrainingCheckpoint
from .points import Clouds, build_clouds, state_times
from .report import parameter_count, report_of
from .state import Stage
from .train import TrainingResult, tensor_cores, train

# Keys of a member's report that are the same for the whole family.
FAMILY_KEYS = ("preset", "device", "threads", "seconds", "steps", "loss", "seed")


def fit_trajectory(
    surfaces: Sequence[Surface],
    options: FitOptions | None = None,
    progress: Progress = lambda status: None,
    cancelled: Callable[[], bool] = lambda: False,
    preset: PaperPreset | None = None,
    checkpoint: TrainingCheckpoint | None = None,
) -> PaperField:
    """Fit one trajectory; see `fitting.run.fit_trajectory`. preset: numbers that replace those of the options' preset.

    On the CPU and without a budget, the same surfaces, seed and number of threads give the same field.
    """
    job = _job(options, preset, progress, cancelled)
    series = [_sorted(surfaces)]
    network = _new_network(job)
    return _fit(job, series, network, _new_codes(job, network, 1), checkpoint)[0]


def fit_family(
    trajectories: Mapping[str, Sequence[Surface]],
    options: FitOptions | None = None,
    progress: Progress = lambda status: None,
    cancelled: Callable[[], bool] = lambda: False,
    preset: PaperPreset | None = None,
    checkpoint: TrainingCheckpoint | None = None,
) -> Family:
    """Fit several trajectories with one θ and a z for each; see `fitting.run.fit_family`.

    preset: numbers that replace those of the options' preset. Raises ValueError without trajectories.
    """
    if not trajectories:
        raise ValueError("there are no trajectories")
    job = _job(options, preset, progress, cancelled)
    series = [_sorted(surfaces, f"trajectory {name}: ") for name, surfaces in trajectories.items()]
    network = _new_network(job)
    fields = _fit(job, series, network, _new_codes(job, network, len(series)), checkpoint)
    members: dict[str, Field] = dict(zip(trajectories, fields, strict=True))
    reports = {name: field.report for name, field in members.items()}
    first = next(iter(reports.values()))
    parameters = parameter_count(network) + sum(field.z.numel() for field in fields)
    family_report = {key: first[key] for key in FAMILY_KEYS} | {"parameters": parameters, "trajectories": reports}
    return Family(members, family_report)


def fit_member(
    family: Family,
    surfaces: Sequence[Surface],
    options: FitOptions | None = None,
    progress: Progress = lambda status: None,
    cancelled: Callable[[], bool] = lambda: False,
    frozen: bool = False,
    preset: PaperPreset | None = None,
    checkpoint: TrainingCheckpoint | None = None,
) -> PaperField:
    """Fit a new trajectory with a family's network; see `fitting.run.fit_member`.

    The sizes of the network and its unit of length are the family's, whatever the preset. Raises ValueError for a
    family of another kind of field.
    """
    known = [field for field in family.members.values() if isinstance(field, PaperField)]
    if not known or len(known) < len(family.members):
        kinds = ", ".join(sorted({field.kind for field in family.members.values()})) or "none"
        raise ValueError(f"the family's fields are of kind {kinds}, not all paper; give the preset it was fitted with")
    job = _job(options, preset, progress, cancelled)
    network = copy.deepcopy(known[0].network).to(job.device)
    # The mean of the known codes is near all of them; a new random code would be far from all.
    codes = torch.stack([field.z.to(job.device) for field in known]).mean(0).repeat(1, 1)
    search = 1.0 if frozen else job.preset.search
    return _fit(job, [_sorted(surfaces)], network, codes, checkpoint, known[0].scale, search)[0]


def _fit(
    job: FitJob[PaperPreset],
    series: Sequence[Sequence[Surface]],
    network: Network,
    codes: torch.Tensor,
    checkpoint: TrainingCheckpoint | None,
    scale: float | None = None,
    search: float = 0.0,
) -> list[PaperField]:
    """Return one field for each trajectory of the series; all share the network.

    series: surfaces in the order of their states; codes: z f4[trajectories,latent] at the start; scale: normalised
    units per Å of a known network, None for a new one; search: fraction of the training in which only z is trained.
    """
    # Before the training, which takes hours: it refuses cuts that are outside of the states.
    motions = [_motion(job, surfaces) for surfaces in series]
    frames = [UnitCube.of([surface.points for surface in surfaces]) for surfaces in series]
    known = scale is not None
    # The largest trajectory fills the normalised box.
    scale = scale or min(frame.scale for frame in frames)
    clouds = build_clouds(job, series, frames, scale)
    subject = _subject(job, clouds, codes, network, known)
    resumed = None if checkpoint is None else checkpoint.load(subject)
    if resumed is not None:
        job.started -= resumed.values["seconds"]
    result = TrainingResult(float("nan"), 0)
    with tensor_cores(job.device):
        for stage in (Stage(0.0, search, whole_network=False), Stage(search, 1.0, whole_network=True)):
            is_over = resumed is not None and resumed.values["end"] > stage.end
            if stage.start < stage.end and not is_over:
                network.requires_grad_(stage.whole_network)
                result = train(job, network, codes, clouds, stage, result.steps, checkpoint, subject, resumed)
                resumed = None
    network.requires_grad_(False)
    return [
        _field(job, surfaces, motion, frame, network, code.clone(), scale, result)
        for surfaces, motion, frame, code in zip(series, motions, frames, codes, strict=True)
    ]


def _motion(job: FitJob[PaperPreset], surfaces: Sequence[Surface]) -> Motion:
    """Return the motion of one trajectory. Raises ValueError for cuts outside of its states."""
    atoms = stacked_atoms(surfaces)
    times = state_times(surfaces, job.options)
    states = np.array([surface.state for surface in surfaces], np.float64)
    breaks = stretch_breaks(job.options, states, times, atoms)
    return Motion.from_states(times, atoms, align=False, device=job.device, breaks=breaks, cancelled=job.cancelled)


def _field(
    job: FitJob[PaperPreset],
    surfaces: Sequence[Surface],
    motion: Motion,
    frame: UnitCube,
    network: Network,
    z: torch.Tensor,
    scale: float,
    result: TrainingResult,
) -> PaperField:
    """Return the field of one trajectory with its report.

    frame: the trajectory's own normalised frame; z: f4[latent]; scale: normalised units of the network per Å.
    """
    low = np.min([surface.points.min(0) for surface in surfaces], 0)
    high = np.max([surface.points.max(0) for surface in surfaces], 0)
    extent = np.stack([low - EXTENT_MARGIN, high + EXTENT_MARGIN])
    field = PaperField(network, z, scale, motion, frame, extent, max(map(clearance_of, surfaces)), {})
    field.reach = max(reach_of(surface, job.device) for surface in surfaces)
    field.time_axis = time_axis(job.options, (surface.state for surface in surfaces))
    field.report = report_of(job, field, surfaces, result)
    return field


def _job(
    options: FitOptions | None, preset: PaperPreset | None, progress: Progress, cancelled: Callable[[], bool]
) -> FitJob[PaperPreset]:
    """Return the job. Raises ValueError for a preset of another kind and for a loop."""
    options = options or FitOptions(preset="paper")
    numbers = preset or PRESETS[options.preset]
    if not isinstance(numbers, PaperPreset):
        raise ValueError(f"preset {options.preset} is not one of the kind paper; fit with preset=paper")
    if options.loop:
        raise ValueError(f"preset {options.preset} has no loops, its time is a straight line; fit with preset=fast")
    return FitJob(options, numbers, progress, cancelled)


def _new_network(job: FitJob[PaperPreset]) -> Network:
    """Return a new network, initialised from the seed."""
    preset = job.preset
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.options.seed)
        network = Network(preset.width, preset.layers, preset.latent, preset.radius)
    return network.to(job.device)


def _new_codes(job: FitJob[PaperPreset], network: Network, count: int) -> torch.Tensor:
    """Return codes z f4[count,latent] from N(0, 1), drawn from the seed."""
    generator = torch.Generator().manual_seed(job.options.seed)
    return torch.randn(count, network.latent, generator=generator).to(job.device)


def _subject(
    job: FitJob[PaperPreset], clouds: Clouds, codes: torch.Tensor, network: Network, known: bool
) -> dict[str, Any]:
    """Return a description of the training in JSON values, which a checkpoint must match to be resumed.

    It covers surfaces, seed and preset, and for a known network also its weights and the codes.
    """
    tensors = clouds.tensors()
    if known:
        tensors |= {"z": codes.detach().cpu(), **{name: value.cpu() for name, value in network.state_dict().items()}}
    numbers = {"preset": job.options.preset, **asdict(job.preset)}
    return {"seed": job.options.seed, "numbers": numbers, "digest": digest(tensors, {})}


def _sorted(surfaces: Sequence[Surface], prefix: str = "") -> list[Surface]:
    """Return the surfaces in the order of their states. Raises ValueError, with the prefix, if they do not fit."""
    ordered = sorted(surfaces, key=lambda surface: surface.state)
    try:
        check_series(ordered)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from error
    return ordered
