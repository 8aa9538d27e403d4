"""The report of a fit of preset fast."""

from __future__ import annotations

import time
from typing import Any

from ...fields.fast import FastField
from ...motion.motion import Motion
from ..config import Preset
from ..job import FitJob
from ..report import runs_entries


def report_of(
    job: FitJob[Preset], field: FastField, area: float, error: float, widths_chosen_by: str
) -> dict[str, Any]:
    """Return the report of a field in plain JSON values.

    area: mean of the surfaces in Å²; error: mean |f| on them in Å; widths_chosen_by: a sentence.
    """
    motion = field.motion
    return {
        "preset": job.options.preset,
        "device": str(job.device),
        "threads": job.threads,
        "seconds": round(time.perf_counter() - job.started, 2),
        "states": field.states,
        "atoms": 0 if motion.atoms is None else motion.atoms.shape[1],
        "area": round(area, 1),
        "parameters": sum(tensor.numel() for name, tensor in field.tensors().items() if name != "band"),
        "loss": error,
        "smooth": field.smooth,
        "smooth_atoms": motion.smooth,
        "smooth_beyond": field.smooth_beyond,
        "lift": field.level_offset,
        "spatial_width": field.spatial_width,
        "sigma": motion.sigma,
        "smooth_chosen_by": widths_chosen_by,
        "held_out_iou": None if field.held_out_iou is None else round(field.held_out_iou, 4),
        "forecast": _describe_forecast(motion),
        "seed": job.options.seed,
    } | runs_entries(field)


def _describe_forecast(motion: Motion) -> str:
    rank, damping = motion.forecasts[1].rank, motion.forecasts[1].damping
    if motion.kernel.period is not None:
        return f"none, the states are a loop of {motion.kernel.period:g}"
    if rank == 0:
        return "the last state is held"
    return f"the last state, moving on in {rank} principal motions damped over {damping:g} states"
