"""Which points of a set are nearest: by a k-d tree on the CPU, by all distances at once on a GPU."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree

from .device import in_memory

__all__ = ["Nearest"]

# Distances that a GPU works out together: half a GiB.
PAIRS = 2**27


class Nearest:
    """Answers which of `points` f4[M,3] (Å) are nearest to others, on the device that they are on."""

    def __init__(self, points: torch.Tensor) -> None:
        self.points = points
        self._tree = cKDTree(points.numpy()) if points.device.type == "cpu" else None
        # Squares of coordinates far from the origin have no digits to spare.
        self._middle = points.mean(0)

    def __call__(self, x: torch.Tensor, count: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """How far (Å, f[N,count]) the nearest to each x f4[N,3] are, and their places i8[N,count], nearest first.

        Of fewer than `count` points, all.
        """
        count = min(count, len(self.points))
        if self._tree is not None:
            distance, index = self._tree.query(x.numpy(), k=count, workers=torch.get_num_threads())
            shape = (len(x), count)
            return torch.as_tensor(distance.reshape(shape)), torch.as_tensor(index.reshape(shape))
        if not len(x):
            return x.new_zeros(0, count), x.new_zeros((0, count), dtype=torch.int64)

        def all_by(size: int) -> torch.Tensor:
            among = self.points - self._middle
            parts = (x - self._middle).split(size)
            return torch.cat([torch.cdist(part, among).topk(count, largest=False).indices for part in parts])

        index = in_memory(all_by, max(1, PAIRS // len(self.points)))
        # Exact, as those by which they were chosen need not be.
        distance, order = torch.linalg.norm(x[:, None] - self.points[index], dim=2).sort(1)
        return distance, index.gather(1, order)
