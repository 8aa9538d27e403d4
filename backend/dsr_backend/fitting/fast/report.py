"""The report of a fit of preset fast."""

from __future__ import annotations

import time

from ...fields.fast import FastField
from ...motion.motion import Motion
from ...runtime import distributed
from ..config import Preset
from ..job import FitJob
from ..report import breaks_entry
from .decoder import DecoderResult
from .prepare import PreparedTrajectory


def with_report(job: FitJob[Preset], trajectory: PreparedTrajectory, result: DecoderResult) -> FastField:
    """Return the trajectory's field with its report, in plain JSON values."""
    field, motion, samples = trajectory.field, trajectory.field.motion, trajectory.samples
    sample_count = sum(len(distance) for distance in samples.distances)
    field.report = {
        "preset": job.options.preset,
        "device": str(job.device),
        "threads": job.threads,
        "seconds": round(time.perf_counter() - job.started, 2),
        "states": field.states,
        "atoms": 0 if motion.atoms is None else motion.atoms.shape[1],
        "area": round(samples.surfaces.area, 1),
        "samples": int(distributed.all_reduce([sample_count], job.device)[0]),
        "parameters": sum(tensor.numel() for name, tensor in field.tensors().items() if name != "band"),
        "steps": result.steps,
        "loss": result.loss,
        "smooth": field.smooth,
        "smooth_atoms": motion.smooth,
        "smooth_beyond": field.smooth_beyond,
        "lift": field.level_offset,
        "sigma": motion.sigma,
        "smooth_chosen_by": trajectory.widths_chosen_by,
        "missed": None if field.held_out_error is None else round(field.held_out_error, 4),
        "forecast": _describe_forecast(motion),
        "seed": job.options.seed,
    } | breaks_entry(field)
    return field


def _describe_forecast(motion: Motion) -> str:
    rank, damping = motion.forecasts[1].rank, motion.forecasts[1].damping
    if motion.kernel.period is not None:
        return f"none, the states are a loop of {motion.kernel.period:g}"
    if rank == 0:
        return "the last state is held"
    return f"the last state, moving on in {rank} principal motions damped over {damping:g} states"
