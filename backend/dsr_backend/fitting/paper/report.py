"""The fields of a fit of preset paper, with their reports."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from ...fields.paper import Network, PaperField
from ...geometry.triangle_mesh import face_areas
from ...geometry.unit_cube import UnitCube
from ...motion.motion import Motion
from ...surfaces.surface import Surface, stacked_atoms
from ..config import PaperPreset, stretch_breaks, time_axis
from ..extents import EXTENT_MARGIN, clearance_of, reach_of
from ..job import FitJob
from ..report import runs_entries
from .points import state_times
from .train import TrainingResult


def build_motion(job: FitJob[PaperPreset], surfaces: Sequence[Surface]) -> Motion:
    """Return the motion of one trajectory. Raises ValueError for cuts outside of its states."""
    atoms = stacked_atoms(surfaces)
    times = state_times(surfaces, job.options)
    states = np.array([surface.state for surface in surfaces], np.float64)
    breaks = stretch_breaks(job.options, states, times, atoms)
    return Motion.from_states(times, atoms, align=False, device=job.device, breaks=breaks, cancelled=job.cancelled)


def build_field(
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
    preset = job.preset
    areas = [
        face_areas(surface.points.astype(np.float64), surface.faces.astype(np.int64)).sum() for surface in surfaces
    ]
    report = {
        "preset": job.options.preset,
        "device": str(job.device),
        "threads": job.threads,
        "seconds": round(time.perf_counter() - job.started, 2),
        "states": [surface.state for surface in surfaces],
        "atoms": 0 if motion.atoms is None else motion.atoms.shape[1],
        "area": round(float(np.mean(areas)), 1),
        "samples": sum(len(surface.points) for surface in surfaces),
        "parameters": parameter_count(network) + z.numel(),
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
    }
    extent = np.stack([low - EXTENT_MARGIN, high + EXTENT_MARGIN])
    field = PaperField(network, z, scale, motion, frame, extent, max(map(clearance_of, surfaces)), report)
    field.reach = max(reach_of(surface, job.device) for surface in surfaces)
    field.time_axis = time_axis(job.options, (surface.state for surface in surfaces))
    report |= runs_entries(field)
    return field


def parameter_count(network: Network) -> int:
    """Return the number of weights and biases of a network."""
    return sum(weight.numel() for weight in network.parameters())
