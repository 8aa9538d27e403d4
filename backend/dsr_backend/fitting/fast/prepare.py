"""One trajectory from surfaces to a field whose decoder is not trained yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...fields.fast import TABLE_COLUMNS, Decoder, FastField
from ...geometry.unit_cube import UnitCube
from ...motion.motion import Motion
from ...surfaces.surface import Surface, check_series
from ..config import Preset, stretch_breaks, time_axis
from ..job import FitJob
from .draw import Samples
from .lattices import narrow_band, solve_lattices
from .sample_store import SampleStore
from .samples import BackgroundSampler, TrajectorySamples, collect_samples
from .stages import LATTICES_END, WIDTHS_END
from .temporal_widths import choose_widths

# Standard deviation of the static channels before training.
STATIC_DEVIATION = 0.01
# Å around the training points that the field's extent covers.
EXTENT_MARGIN = 1.0


@dataclass(eq=False)
class PreparedTrajectory:
    """A field with an untrained decoder, the samples to train it with, and a sentence on the choice of widths."""

    field: FastField
    samples: TrajectorySamples
    widths_chosen_by: str


def prepare(
    job: FitJob[Preset],
    surfaces: Sequence[Surface],
    decoder: Decoder | None,
    latent: int,
    store: SampleStore,
    sampler: BackgroundSampler | None = None,
    number: int = 0,
) -> PreparedTrajectory:
    """Take one trajectory through all stages before the decoder's training: motion, samples, lattices, widths.

    decoder: the family's decoder, None for a new one; latent: length of the latent code; store: holds the samples;
    sampler: has drawn samples of trajectory `number` before.
    """
    options, preset = job.options, job.preset
    # Surfaces may be in files and are read one by one: never all at once.
    states = np.array([surface.state for surface in surfaces], np.float64)
    if not (np.diff(states) > 0.0).all():
        surfaces = sorted(surfaces, key=lambda surface: surface.state)
        states.sort()
    check_series(surfaces)
    positions = [surface.atoms for surface in surfaces if surface.atoms is not None and len(surface.atoms)]
    atoms = np.stack(positions) if positions else None
    axis = time_axis(options, states)
    times = states if axis is None else axis(states)
    breaks = stretch_breaks(options, states, times, atoms)
    motion = Motion.from_states(times, atoms, options.align, options.loop, job.device, breaks, job.cancelled)
    motion.choose_forecasts()

    def take_drawn(state: float) -> Samples | None:
        return None if sampler is None else sampler.take(number, state)

    samples = collect_samples(job, surfaces, motion, store, take_drawn)
    band = narrow_band(preset, samples, job.device)
    coarse, fine = solve_lattices(job, band, samples)

    channels = TABLE_COLUMNS - 1 + preset.static_channels + latent
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        decoder = decoder or Decoder(channels, preset.hidden).to(job.device)
        static = STATIC_DEVIATION * torch.randn(band.count, preset.static_channels).to(job.device)
        code = torch.randn(latent).to(job.device)
    low, high = samples.surfaces.low, samples.surfaces.high
    field = FastField(
        motion,
        band,
        preset.coarse_factor,
        coarse,
        fine,
        static,
        decoder,
        code,
        UnitCube.of([np.stack([low, high])]),
        np.stack([low - EXTENT_MARGIN, high + EXTENT_MARGIN]).astype(np.float32),
        samples.surfaces.clearance,
        {},
    )
    field.time_axis, field.reach = axis, samples.surfaces.reach
    return PreparedTrajectory(field, samples, _set_widths(job, field, samples))


def _set_widths(job: FitJob[Preset], field: FastField, samples: TrajectorySamples) -> str:
    """Set the field's temporal widths as the options say, or by held-out states; return a sentence on the choice."""
    if job.options.smooth is not None:
        field.motion.smooth = field.smooth = field.smooth_beyond = job.options.smooth
        return "given"

    def report(fraction: float) -> None:
        job.report_progress("fit", LATTICES_END + (WIDTHS_END - LATTICES_END) * fraction)

    return choose_widths(field, samples.validation, report, job.parallel_states)
