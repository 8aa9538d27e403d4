"""Training points of preset paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

# Points of X and of D -----------------------------------------------------------------------------------------


@dataclass(eq=False)
class Clouds:
    """The surface points of all states of all trajectories, normalised, on the device.

    points, normals f4[P,3] and sigma f4[P], the distance to the k-th neighbour within the state; of each of the S
    states start and count i8[S], its place there, times f4[S] (−1 to 1) and owner i8[S], the trajectory's number;
    reach f4[trajectories]: half the edge of the box that uniform points of D fill.
    """

    points: torch.Tensor
    normals: torch.Tensor
    sigma: torch.Tensor
    start: torch.Tensor
    count: torch.Tensor
    times: torch.Tensor
    owner: torch.Tensor
    reach: torch.Tensor


def neighbour_distance(points: NDArray[np.floating[Any]], k: int, workers: int = 1) -> NDArray[np.float64]:
    """Distance f8[N] of each point of [N,3] to its k-th nearest neighbour; to the farthest where there are fewer."""
    # The nearest is the point itself.
    distance: NDArray[np.float64] = cKDTree(points).query(points, k=[min(k, len(points) - 1) + 1], workers=workers)[0]
    return distance[:, 0]


def draw_points(
    clouds: Clouds, picked: torch.Tensor, count: int, uniform: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points and normals of X, both f4[T,count,3], and points of D f4[T,M,3], for the states with numbers i8[T].

    D is IGR's: a Gaussian around each of the points of X, as wide as the distance to its k-th neighbour, and `uniform`
    times as many points evenly in the box. Nothing here waits for the device.
    """
    device = clouds.points.device
    states = len(picked)
    room = clouds.count[picked][:, None]
    index = (torch.rand(states, count, generator=generator, device=device) * room).long()
    index = clouds.start[picked][:, None] + index.minimum(room - 1)
    surface = clouds.points[index]
    offset = torch.randn(surface.shape, generator=generator, device=device)
    local = surface + clouds.sigma[index][..., None] * offset
    spread = 2.0 * torch.rand(states, max(1, int(count * uniform)), 3, generator=generator, device=device) - 1.0
    everywhere = clouds.reach[clouds.owner[picked]][:, None, None] * spread
    return surface, clouds.normals[index], torch.cat([local, everywhere], 1)


class Batches:
    """Without end some of the numbers 0 to count − 1: all of them in random order, again and again.

    left: i8, those of the order under way that are still to come.
    """

    def __init__(self, count: int, size: int, generator: torch.Generator) -> None:
        self._count, self._size, self._generator = count, size, generator
        self.left = torch.empty(0, dtype=torch.int64, device=generator.device)

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> torch.Tensor:
        """i8[size]."""
        while len(self.left) < self._size:
            more = torch.randperm(self._count, generator=self._generator, device=self._generator.device)
            self.left = torch.cat([self.left, more])
        batch, self.left = self.left[: self._size], self.left[self._size :]
        return batch
