"""The report of a fit of preset paper."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...fields.paper import Network, PaperField
from ...geometry.triangle_mesh import face_areas
from ...surfaces.surface import Surface
from ..config import PaperPreset
from ..job import FitJob
from ..report import runs_entries
from .train import TrainingResult


def report_of(
    job: FitJob[PaperPreset], field: PaperField, surfaces: Sequence[Surface], result: TrainingResult
) -> dict[str, Any]:
    """Return the report of one trajectory's field in plain JSON values.

    surfaces: the trajectory's, in the order of their states.
    """
    atoms, preset = field.motion.atoms, job.preset
    areas = [
        face_areas(surface.points.astype(np.float64), surface.faces.astype(np.int64)).sum() for surface in surfaces
    ]
    return {
        "preset": job.options.preset,
        "device": str(job.device),
        "threads": job.threads,
        "seconds": round(time.perf_counter() - job.started, 2),
        "states": [surface.state for surface in surfaces],
        "atoms": 0 if atoms is None else atoms.shape[1],
        "area": round(float(np.mean(areas)), 1),
        "samples": sum(len(surface.points) for surface in surfaces),
        "parameters": parameter_count(field.network) + field.z.numel(),
        "steps": result.steps,
        "loss": result.loss,
        "lambda": preset.eikonal,
        "tau": preset.normals,
        "alpha": preset.code,
        "rate": preset.rate,
        "smooth": 0.0,
        "smooth_atoms": 0.0,
        "smooth_beyond": 0.0,
        "smooth_chosen_by": "the network, which makes the times between states",
        "forecast": "the network's own",
        "seed": job.options.seed,
    } | runs_entries(field)


def parameter_count(network: Network) -> int:
    """Return the number of weights and biases of a network."""
    return sum(weight.numel() for weight in network.parameters())
