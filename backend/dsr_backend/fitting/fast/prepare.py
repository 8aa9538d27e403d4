"""One trajectory from surfaces to a field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...fields.fast import FastField
from ...geometry.unit_cube import UnitCube
from ...motion.motion import Motion
from ...surfaces.surface import Surface, check_series, stacked_atoms
from ..config import Preset, stretch_breaks, time_axis
from ..extents import EXTENT_MARGIN
from ..job import FitJob
from .band import narrow_band
from .report import report_of
from .shapes import SHAPES_END, solve_shapes
from .state_warps import StateWarps
from .widths import ValidationPoints, choose_widths


def prepare(job: FitJob[Preset], surfaces: Sequence[Surface]) -> FastField:
    """Fit one trajectory, stage by stage: motion, band, shapes, widths, report."""
    # Surfaces may be in files and are read one by one: never all at once.
    states = np.array([surface.state for surface in surfaces], np.float64)
    if not (np.diff(states) > 0.0).all():
        surfaces = sorted(surfaces, key=lambda surface: surface.state)
        states.sort()
    check_series(surfaces)
    atoms = stacked_atoms(surfaces)
    options = job.options
    axis = time_axis(options, states)
    times = states if axis is None else axis(states)
    breaks = stretch_breaks(options, states, times, atoms)
    motion = Motion.from_states(
        times, atoms, options.align, options.loop, job.device, breaks, job.cancelled, job.parallel_states
    )
    motion.choose_forecasts()
    warps = StateWarps(motion, job.device)
    band, summary = narrow_band(job, surfaces, warps)
    shapes = solve_shapes(job, surfaces, warps, band)
    # Up to a quarter of a GB, which the choice of widths has no use for.
    del warps
    low, high = summary.low, summary.high
    field = FastField(
        motion,
        band,
        job.preset.coarse_factor,
        shapes.coarse,
        shapes.fine,
        UnitCube.of([np.stack([low, high])]),
        np.stack([low - EXTENT_MARGIN, high + EXTENT_MARGIN]).astype(np.float32),
        summary.clearance,
        {},
    )
    field.time_axis, field.reach = axis, summary.reach
    field.report = report_of(job, field, summary.area, shapes.error, _set_widths(job, field, shapes.validation))
    return field


def _set_widths(job: FitJob[Preset], field: FastField, validation: Sequence[ValidationPoints]) -> str:
    """Set the field's temporal widths as the options say, or all its widths and the level offset by held-out states.

    Returns a sentence on the choice.
    """
    if job.options.smooth is not None:
        field.motion.smooth = field.smooth = field.smooth_beyond = job.options.smooth
        return "given"

    def report(fraction: float) -> None:
        job.report_progress("fit", SHAPES_END + (1.0 - SHAPES_END) * fraction)

    return choose_widths(field, validation, report, job.parallel_states)
