"""Samples of all states, drawn while surfaces arrive, kept on disk where they are many."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.options import FitOptions

from ...geometry.nearest_points import NearestPoints
from ...motion.motion import Motion
from ...motion.warp import Warp
from ...runtime import distributed
from ...runtime.device import choose_device
from ...runtime.errors import Cancelled
from ...runtime.parallel import ordered_parallel_map
from ...surfaces.surface import Surface
from ..config import PRESETS, Preset
from ..job import FitJob
from .draw import Samples, draw_samples
from .stages import SAMPLED
from .temporal_widths import Probes

# Samples of all states together that stay in memory.
MOST_SAMPLE_BYTES = 2 * 2**30
# Samples of each state that are kept as they were, to choose temporal widths with.
PROBES = 8_000


# Å; see `clearance_of`.
LEAST_CLEARANCE = 3.0


def clearance_of(surface: Surface) -> float:
    """How far in Å a surface like this may reach beyond its atoms: 1 Å more than this one does, 3 Å at least.

    Radii and probe are the user's: a solvent-accessible surface reaches far.
    """
    if surface.atoms is None or not len(surface.atoms):
        return LEAST_CLEARANCE
    below, above = surface.atoms.min(0) - surface.points.min(0), surface.points.max(0) - surface.atoms.max(0)
    return max(LEAST_CLEARANCE, float(max(below.max(), above.max())) + 1.0)


def reach_of(surface: Surface, device: torch.device) -> float:
    """How far in Å any point of the surface is from the nearest atom at most; inf without atoms."""
    if surface.atoms is None or not len(surface.atoms):
        return np.inf
    atoms, points = (torch.tensor(some, device=device) for some in (surface.atoms, surface.points))
    return float(NearestPoints(atoms)(points)[0].max())


# Samples ----------------------------------------------------------------------------------------------------


class SampleStore:
    """Keeps samples: in memory as long as they are few, in files of a folder from there on.

    So the memory of a fit does not grow with the states; on a GPU, samples past that live in the host's memory.
    """

    def __init__(self) -> None:
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.kept, self.files = 0, 0

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same values, until `close`."""
        self.kept += tensor.nbytes
        if self.kept <= MOST_SAMPLE_BYTES or not tensor.numel():
            return tensor
        if self.folder is None:
            self.folder = tempfile.TemporaryDirectory(prefix="dsr-", ignore_cleanup_errors=True)
        self.files += 1
        path = os.path.join(self.folder.name, f"samples-{self.files}")
        # Written, not only mapped: a full disk is then an error here and not a bus error later.
        tensor.cpu().numpy().tofile(path)
        return torch.from_file(path, shared=True, size=tensor.numel(), dtype=tensor.dtype).reshape(tensor.shape)

    def close(self) -> None:
        """Remove the files."""
        if self.folder is not None:
            self.folder.cleanup()


@dataclass(frozen=True)
class SurfaceSummary:
    """All surfaces together: corners f8[3] of their box, largest clearance and reach (Å), mean area (Å²)."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    clearance: float
    reach: float
    area: float


def _draw(preset: Preset, seed: int, surface: Surface, device: torch.device, check: Callable[[], None]) -> Samples:
    return draw_samples(
        surface,
        density=preset.density,
        sigmas=(preset.near_sigma, preset.far_sigma),
        uniform_share=preset.uniform_share,
        clearance=preset.clearance,
        # By state, so that they are the same in whatever order surfaces come.
        seed=(seed * 1_000_003 + round(1024.0 * surface.state)) % 2**63,
        device=device,
        check=check,
    )


class BackgroundSampler:
    """Draws the samples of surfaces while others still arrive, in a thread of its own."""

    def __init__(self, config: FitOptions) -> None:
        """Raises ValueError where the device is not there, and for preset `paper`, which takes surfaces as they are."""
        if not isinstance(PRESETS[config.preset], Preset):
            raise ValueError(f"preset {config.preset} draws no samples beforehand")
        self._preset, self._seed, self._device = PRESETS[config.preset], config.seed, choose_device(config.device)
        self._spill = SampleStore()
        self._thread = ThreadPoolExecutor(1, "dsr-early")
        self._drawn: dict[tuple[int, float], Future[Samples]] = {}
        self._closed = False

    def add(self, number: int, state: float, read: Callable[[], Surface]) -> None:
        """Draw those of one state of trajectory `number`, whose surface is read when its turn comes.

        One of the same state before it gives way.
        """
        self._drawn[number, state] = self._thread.submit(self._keep, read)

    def _keep(self, read: Callable[[], Surface]) -> Samples:
        samples = _draw(self._preset, self._seed, read(), self._device, self._check)
        return Samples(self._spill.keep(samples.points), self._spill.keep(samples.distance), samples.area)

    def _check(self) -> None:
        if self._closed:
            raise Cancelled("the fit was given up")

    def take(self, number: int, state: float) -> Samples | None:
        """The samples of that state, waited for where they are under way; None where its surface was not added."""
        future = self._drawn.pop((number, state), None)
        return None if future is None else future.result()

    def close(self) -> None:
        """Stop, and forget all."""
        self._closed = True
        self._thread.shutdown(cancel_futures=True)
        self._drawn.clear()
        self._spill.close()


def collect_samples(
    job: FitJob,
    surfaces: Sequence[Surface],
    motion: Motion,
    spill: SampleStore,
    drawn_before: Callable[[float], Samples | None],
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[Probes], SurfaceSummary]:
    """Per state points f4[N,3] in material coordinates, distances f4[N] (Å) and probes; and what all are like.

    Points and distances of the states of other ranks are empty.
    """
    nothing = torch.zeros(0, device=job.device)
    points, distances = [nothing.view(0, 3)] * len(surfaces), [nothing] * len(surfaces)
    probes: list[Probes | None] = [None] * len(surfaces)
    areas = []
    low, high, clearance, reach = np.full(3, np.inf), np.full(3, -np.inf), LEAST_CLEARANCE, 0.0
    preset, count = job.preset, len(surfaces)
    own = distributed.own_states(count)

    def sampled(place: int) -> tuple[Surface, Samples, torch.Tensor, float]:
        k = own[place]
        surface = surfaces[k]
        samples = drawn_before(surface.state)
        if samples is None:
            samples = _draw(preset, job.config.seed, surface, job.device, job.check)
        # Those that were spilled lie on the host.
        samples = Samples(samples.points.to(job.device), samples.distance.to(job.device), samples.area)
        xi = motion.warp(motion.states[k], job.device)(samples.points)
        return surface, samples, xi, reach_of(surface, job.device)

    job.tell("sampling", 0.0, step=0, steps=count)
    with closing(ordered_parallel_map(sampled, len(own), job.at_once)) as drawn:
        for k, (surface, samples, xi, own_reach) in zip(own, drawn, strict=True):
            points[k] = spill.keep(xi)
            distances[k] = spill.keep(samples.distance)
            near = (samples.distance.abs() < preset.band).nonzero()[:, 0]
            some = near[:: len(near) // PROBES + 1]
            in_reference_frame = Warp(motion.pose(motion.states[k]), None, job.device)
            probes[k] = Probes(in_reference_frame(samples.points[some]), samples.distance[some])
            areas.append(samples.area)
            own_low, own_high = surface.points.min(0), surface.points.max(0)
            low, high = np.minimum(low, own_low), np.maximum(high, own_high)
            clearance, reach = max(clearance, clearance_of(surface)), max(reach, own_reach)
            job.tell("sampling", SAMPLED * (k + 1) / count, step=k + 1, steps=count)
    low = np.array(distributed.all_reduce(low.tolist(), job.device, "min"))
    high = np.array(distributed.all_reduce(high.tolist(), job.device, "max"))
    clearance, reach = distributed.all_reduce([clearance, reach], job.device, "max")
    [area] = distributed.all_reduce([float(np.sum(areas))], job.device)
    told = [_probes_of(job, probe, k) for k, probe in enumerate(probes)]
    return points, distances, told, SurfaceSummary(low, high, clearance, reach, area / count)


def _probes_of(job: FitJob, probes: Probes | None, k: int) -> Probes:
    """Those of state k, from the rank that has drawn them."""
    if distributed.world_size() == 1:
        assert probes is not None
        return probes
    points = distributed.broadcast(None if probes is None else probes.points, distributed.state_owner(k), job.device)
    return Probes(
        points,
        distributed.broadcast(None if probes is None else probes.distance, distributed.state_owner(k), job.device),
    )
