"""One trajectory from surfaces to a field without a trained decoder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...fields.fast import TABLE_COLUMNS, Decoder, FastField
from ...geometry.unit_cube import UnitCube
from ...motion.motion import Motion
from ...runtime import distributed
from ...surfaces.surface import Surface, check_series
from ..config import time_axis
from ..job import FitJob
from .lattices import narrow_band, solve_states
from .samples import BackgroundSampler, SampleStore, collect_samples
from .stages import CHOSEN, SOLVED
from .temporal_widths import choose_widths


@dataclass(eq=False)
class PreparedTrajectory:
    """One molecule's states on the way to a field. points: per state f4[N,3] Å in material coordinates; distances:
    f4[N] Å, both empty for states of other ranks; area: mean of the states', Å²."""

    field: FastField
    points: list[torch.Tensor]
    distances: list[torch.Tensor]
    area: float
    chosen: str


def prepare(
    job: FitJob,
    surfaces: Sequence[Surface],
    decoder: Decoder | None,
    latent: int,
    spill: SampleStore,
    early: BackgroundSampler | None = None,
    number: int = 0,
) -> PreparedTrajectory:
    """Everything but the decoder's training: samples, lattices and temporal widths of one trajectory.

    decoder: that of the family, None for a new one; latent: length of the latent code; number: the trajectory's among
    those of `early`.
    """
    config, preset = job.config, job.preset
    # Surfaces may lie in files and be read one by one: they are gone through, never held together.
    states = np.array([surface.state for surface in surfaces], np.float64)
    if not (np.diff(states) > 0.0).all():
        surfaces = sorted(surfaces, key=lambda surface: surface.state)
        states.sort()
    check_series(surfaces)
    given = [surface.atoms for surface in surfaces if surface.atoms is not None and len(surface.atoms)]
    clock = time_axis(config, states)
    times = states if clock is None else clock(states)
    motion = Motion.from_states(times, np.stack(given) if given else None, config.align, config.loop, job.device)
    motion.choose_forecasts()

    drawn = (lambda state: early.take(number, state)) if early is not None else (lambda state: None)
    points, distances, probes, about = collect_samples(job, surfaces, motion, spill, drawn)
    band, factor = narrow_band(preset, points, distances, job.device)
    coarse, fine = solve_states(job, band, factor, points, distances)

    channels = TABLE_COLUMNS - 1 + preset.static_channels + latent
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        decoder = decoder or Decoder(channels, preset.hidden).to(job.device)
        static = 0.01 * torch.randn(band.count, preset.static_channels).to(job.device)
        code = torch.randn(latent).to(job.device)
    extent = np.stack([about.low - 1.0, about.high + 1.0]).astype(np.float32)
    frame = UnitCube.of([np.stack([about.low, about.high])])
    field = FastField(motion, band, factor, coarse, fine, static, decoder, code, frame, extent, about.clearance, {})
    field.time_axis, field.reach = clock, about.reach
    if config.smooth is None:
        chosen = choose_widths(
            field, probes, lambda share: job.tell("fit", SOLVED + (CHOSEN - SOLVED) * share), job.at_once
        )
    else:
        motion.smooth = field.smooth = field.smooth_beyond = config.smooth
        chosen = "given"
    return PreparedTrajectory(field, points, distances, about.area, chosen)


def with_report(job: FitJob, trajectory: PreparedTrajectory, loss: float, steps: int) -> FastField:
    """The field, with its report."""
    field, config = trajectory.field, job.config
    motion = field.motion
    field.report = {
        "preset": config.preset,
        "device": str(job.device),
        "threads": job.threads,
        "seconds": round(time.perf_counter() - job.started, 2),
        "states": field.states,
        "atoms": 0 if motion.atoms is None else motion.atoms.shape[1],
        "area": round(trajectory.area, 1),
        "samples": int(distributed.all_reduce([sum(len(d) for d in trajectory.distances)], job.device)[0]),
        "parameters": sum(tensor.numel() for name, tensor in field.tensors().items() if name != "band"),
        "steps": steps,
        "loss": loss,
        "smooth": field.smooth,
        "smooth_atoms": motion.smooth,
        "smooth_beyond": field.smooth_beyond,
        "lift": field.level_offset,
        "sigma": motion.sigma,
        "smooth_chosen_by": trajectory.chosen,
        "missed": None if field.held_out_error is None else round(field.held_out_error, 4),
        "forecast": _say_forecast(motion),
        "seed": config.seed,
    }
    return field


def _say_forecast(motion: Motion) -> str:
    rank, damping = motion.forecasts[1].rank, motion.forecasts[1].damping
    if motion.kernel.period is not None:
        return f"none, the states are a loop of {motion.kernel.period:g}"
    if rank == 0:
        return "the last state is held"
    return f"the last state, moving on in {rank} principal motions damped over {damping:g} states"
