"""Training points of preset paper: points of the surfaces (X) and around them (D)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pymol_dsr.shared.options import FitOptions

from ...fields.paper import normalised_time
from ...geometry.unit_cube import UnitCube
from ...runtime import distributed
from ...surfaces.surface import Surface
from ..config import PaperPreset, time_axis
from ..job import FitJob

# Fraction of the whole fit at which the points are ready and the training starts.
POINTS_END = 0.02


@dataclass(eq=False)
class Clouds:
    """The surface points of all S states of all trajectories, normalised, on the device.

    points, normals: f4[P,3]; sigma: f4[P], the distance to the k-th neighbour within the state; start, count: i8[S],
    each state's range of points; times: f4[S], −1 to 1; owner: i8[S], the number of the trajectory; reach:
    f4[trajectories], half the edge of the box that the uniform points of D fill.
    """

    points: torch.Tensor
    normals: torch.Tensor
    sigma: torch.Tensor
    start: torch.Tensor
    count: torch.Tensor
    times: torch.Tensor
    owner: torch.Tensor
    reach: torch.Tensor

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all tensors by name, on the CPU."""
        return {field.name: getattr(self, field.name).cpu() for field in fields(self)}


def state_times(surfaces: Sequence[Surface], options: FitOptions) -> NDArray[np.float64]:
    """Return the times f8[S] of the surfaces: their state numbers, unless the options give uneven times."""
    states = np.array([surface.state for surface in surfaces], np.float64)
    axis = time_axis(options, states)
    return states if axis is None else axis(states)


def build_clouds(
    job: FitJob[PaperPreset], series: Sequence[Sequence[Surface]], frames: Sequence[UnitCube], scale: float
) -> Clouds:
    """Normalise the surfaces of all trajectories.

    series: each trajectory's surfaces in the order of their states; frames: their own normalised frames; scale:
    normalised units per Å, one for all. Raises Cancelled.
    """
    points, normals, sigma = [], [], []
    times: list[float] = []
    owner: list[int] = []
    total = sum(map(len, series))
    for number, (surfaces, frame) in enumerate(zip(series, frames, strict=True)):
        space = UnitCube(frame.centre, scale)
        trajectory_times = state_times(surfaces, job.options)
        for surface, time in zip(surfaces, trajectory_times, strict=True):
            k = len(times)
            job.report_progress("sampling", POINTS_END * k / total, step=k, steps=total)
            unit = space.to_unit(surface.points)
            points.append(unit)
            normals.append(surface.normals)
            is_owner = distributed.state_owner(k) == distributed.rank()
            sigma.append(neighbour_distance(unit, job.preset.neighbours, job.threads) if is_owner else None)
            times.append(normalised_time(time, trajectory_times[0], trajectory_times[-1]))
            owner.append(number)
    count = np.array([len(state) for state in points])

    def reals(values: Any) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.float32), device=job.device)

    def integers(values: Any) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=job.device)

    def from_owner(k: int, values: NDArray[np.float64] | None) -> torch.Tensor:
        return distributed.broadcast(None if values is None else reals(values), distributed.state_owner(k), job.device)

    return Clouds(
        points=reals(np.concatenate(points)),
        normals=reals(np.concatenate(normals)),
        sigma=torch.cat([from_owner(k, distances) for k, distances in enumerate(sigma)]),
        start=integers(np.cumsum(count) - count),
        count=integers(count),
        times=reals(times),
        owner=integers(owner),
        # A new trajectory may be larger than all of its family.
        reach=reals([max(1.0, scale / frame.scale) for frame in frames]),
    )


def neighbour_distance(points: NDArray[np.floating[Any]], k: int, workers: int = 1) -> NDArray[np.float64]:
    """Return the distance f8[N] of each point [N,3] to its k-th nearest neighbour; with fewer points, the farthest."""
    # The nearest point of the tree is the point itself.
    distance: NDArray[np.float64] = cKDTree(points).query(points, k=[min(k, len(points) - 1) + 1], workers=workers)[0]
    return distance[:, 0]


def draw_points(
    clouds: Clouds, picked: torch.Tensor, count: int, uniform: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw points and normals of X, both f4[T,count,3], and points of D f4[T,M,3], for the states numbered i8[T].

    D is IGR's distribution: a Gaussian around each of the points of X, as wide as the distance to its k-th neighbour,
    and `uniform` times as many points evenly in the box. The host does not wait for the device.
    """
    device = clouds.points.device
    states = len(picked)
    cloud_size = clouds.count[picked][:, None]
    index = (torch.rand(states, count, generator=generator, device=device) * cloud_size).long()
    index = clouds.start[picked][:, None] + index.minimum(cloud_size - 1)
    surface = clouds.points[index]
    offset = torch.randn(surface.shape, generator=generator, device=device)
    local = surface + clouds.sigma[index][..., None] * offset
    unit_box = 2.0 * torch.rand(states, max(1, int(count * uniform)), 3, generator=generator, device=device) - 1.0
    everywhere = clouds.reach[clouds.owner[picked]][:, None, None] * unit_box
    return surface, clouds.normals[index], torch.cat([local, everywhere], 1)


class Batches:
    """An endless iterator over batches of the numbers 0 to count − 1, in random order, round after round.

    remaining: i8, the numbers of the current round that were not drawn so far.
    """

    def __init__(self, count: int, size: int, generator: torch.Generator) -> None:
        """size: numbers per batch."""
        self._count, self._size, self._generator = count, size, generator
        self.remaining = torch.empty(0, dtype=torch.int64, device=generator.device)

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> torch.Tensor:
        """Return the next batch i8[size]."""
        while len(self.remaining) < self._size:
            round_ = torch.randperm(self._count, generator=self._generator, device=self._generator.device)
            self.remaining = torch.cat([self.remaining, round_])
        batch, self.remaining = self.remaining[: self._size], self.remaining[self._size :]
        return batch
