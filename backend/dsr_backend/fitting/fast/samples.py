"""Samples of all states of a trajectory; they can be drawn while surfaces still arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.options import FitOptions

from ...motion.motion import Motion
from ...motion.warp import Warp
from ...runtime import distributed
from ...runtime.device import choose_device
from ...runtime.errors import Cancelled
from ...runtime.parallel import ordered_parallel_map
from ...surfaces.surface import Surface
from ..config import PRESETS, Preset
from ..extents import MIN_CLEARANCE, clearance_of, reach_of
from ..job import FitJob
from .draw import Samples, draw_samples
from .sample_store import SampleStore
from .stages import SAMPLES_END

# Most samples of each state that are kept to choose temporal widths with.
MAX_VALIDATION_POINTS = 8_000


@dataclass(frozen=True)
class ValidationPoints:
    """Points near one state's surface, f4[N,3] Å in the reference's frame, and their distances f4[N] Å."""

    points: torch.Tensor
    distance: torch.Tensor


@dataclass(frozen=True)
class SurfaceSummary:
    """All surfaces of a trajectory: corners f8[3] of their box, greatest clearance and reach (Å), mean area (Å²)."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    clearance: float
    reach: float
    area: float


@dataclass(eq=False)
class TrajectorySamples:
    """The samples of all states.

    points: f4[N,3] Å in material coordinates, and distances: f4[N] Å, for each state; both are empty for the states of
    other ranks. validation: points for the choice of temporal widths, for each state.
    """

    points: list[torch.Tensor]
    distances: list[torch.Tensor]
    validation: list[ValidationPoints]
    surfaces: SurfaceSummary

    def __len__(self) -> int:
        return len(self.points)


def _draw(preset: Preset, seed: int, surface: Surface, device: torch.device, check: Callable[[], None]) -> Samples:
    return draw_samples(
        surface,
        density=preset.density,
        sigmas=(preset.near_sigma, preset.far_sigma),
        uniform_share=preset.uniform_share,
        clearance=preset.clearance,
        # The seed depends on the state, so the samples do not depend on the order in which surfaces arrive.
        seed=(seed * 1_000_003 + round(1024.0 * surface.state)) % 2**63,
        device=device,
        check=check,
    )


class BackgroundSampler:
    """Draws the samples of surfaces in a thread of its own, while other surfaces still arrive."""

    def __init__(self, options: FitOptions) -> None:
        """Raise ValueError for a device that torch does not find, and for a preset without such samples."""
        if not isinstance(PRESETS[options.preset], Preset):
            raise ValueError(f"preset {options.preset} draws no samples beforehand")
        self._preset, self._seed, self._device = PRESETS[options.preset], options.seed, choose_device(options.device)
        self._store = SampleStore()
        self._thread = ThreadPoolExecutor(1, "dsr-sampler")
        self._drawn: dict[tuple[int, float], Future[Samples]] = {}
        self._closed = False

    def add(self, number: int, state: float, read: Callable[[], Surface]) -> None:
        """Draw the samples of one state of trajectory `number`; `read` returns the surface when its turn comes.

        They replace earlier samples of the same state.
        """
        self._drawn[number, state] = self._thread.submit(self._draw, read)

    def _draw(self, read: Callable[[], Surface]) -> Samples:
        samples = _draw(self._preset, self._seed, read(), self._device, self._raise_if_closed)
        return Samples(self._store.store(samples.points), self._store.store(samples.distance), samples.area)

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise Cancelled("the fit was given up")

    def take(self, number: int, state: float) -> Samples | None:
        """Return the samples of a state, and wait for them if needed; None for a state that was not added."""
        future = self._drawn.pop((number, state), None)
        return None if future is None else future.result()

    def close(self) -> None:
        """Stop drawing and drop all samples."""
        self._closed = True
        self._thread.shutdown(cancel_futures=True)
        self._drawn.clear()
        self._store.close()


def collect_samples(
    job: FitJob[Preset],
    surfaces: Sequence[Surface],
    motion: Motion,
    store: SampleStore,
    take_drawn: Callable[[float], Samples | None],
) -> TrajectorySamples:
    """Draw the samples of all states. take_drawn: returns samples of a state that were drawn before, or None."""
    empty = torch.zeros(0, device=job.device)
    count = len(surfaces)
    points, distances = [empty.view(0, 3)] * count, [empty] * count
    validation: list[ValidationPoints | None] = [None] * count
    areas = []
    low, high, clearance, reach = np.full(3, np.inf), np.full(3, -np.inf), MIN_CLEARANCE, 0.0
    own = distributed.own_states(count)

    def sample(index: int) -> tuple[Surface, Samples, torch.Tensor, float]:
        k = own[index]
        surface = surfaces[k]
        samples = take_drawn(surface.state)
        if samples is None:
            samples = _draw(job.preset, job.options.seed, surface, job.device, job.raise_if_cancelled)
        # Samples in files are on the host.
        samples = Samples(samples.points.to(job.device), samples.distance.to(job.device), samples.area)
        xi = motion.warp(motion.states[k], job.device)(samples.points)
        return surface, samples, xi, reach_of(surface, job.device)

    job.report_progress("sampling", 0.0, step=0, steps=count)
    with closing(ordered_parallel_map(sample, len(own), job.parallel_states)) as drawn:
        for k, (surface, samples, xi, state_reach) in zip(own, drawn, strict=True):
            points[k] = store.store(xi)
            distances[k] = store.store(samples.distance)
            to_reference = Warp(motion.pose(motion.states[k]), None, job.device)
            validation[k] = _validation_points(samples, to_reference, job.preset)
            areas.append(samples.area)
            low, high = np.minimum(low, surface.points.min(0)), np.maximum(high, surface.points.max(0))
            clearance, reach = max(clearance, clearance_of(surface)), max(reach, state_reach)
            job.report_progress("sampling", SAMPLES_END * (k + 1) / count, step=k + 1, steps=count)
    low = np.array(distributed.all_reduce(low.tolist(), job.device, "min"))
    high = np.array(distributed.all_reduce(high.tolist(), job.device, "max"))
    clearance, reach = distributed.all_reduce([clearance, reach], job.device, "max")
    [area] = distributed.all_reduce([float(np.sum(areas))], job.device)
    return TrajectorySamples(
        points,
        distances,
        [_broadcast(job, own_points, k) for k, own_points in enumerate(validation)],
        SurfaceSummary(low, high, clearance, reach, area / count),
    )


def _validation_points(samples: Samples, to_reference: Warp, preset: Preset) -> ValidationPoints:
    """Return every n-th of the samples in the band; to_reference: the rigid motion into the reference's frame."""
    in_band = (samples.distance.abs() < preset.band).nonzero()[:, 0]
    chosen = in_band[:: len(in_band) // MAX_VALIDATION_POINTS + 1]
    return ValidationPoints(to_reference(samples.points[chosen]), samples.distance[chosen])


def _broadcast(job: FitJob[Preset], validation: ValidationPoints | None, k: int) -> ValidationPoints:
    """Return the validation points of state k from the rank that has drawn them."""
    if distributed.world_size() == 1:
        assert validation is not None
        return validation
    owner = distributed.state_owner(k)
    points = distributed.broadcast(None if validation is None else validation.points, owner, job.device)
    distance = distributed.broadcast(None if validation is None else validation.distance, owner, job.device)
    return ValidationPoints(points, distance)
