"""Which points of a set are nearest: by a k-d tree on the CPU, by all distances at once on a GPU."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree

from ..runtime.device import retry_with_smaller_chunk

# Distances that a GPU works out together: half a GiB, and as much for what they are worked out with.
PAIRS = 2**27


class NearestPoints:
    """Answers which of `points` f4[M,3] (Å) are nearest to others, on the device that they are on."""

    def __init__(self, points: torch.Tensor) -> None:
        self.points = points
        self._tree = cKDTree(points.numpy()) if points.device.type == "cpu" else None

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

        def all_by(size: int) -> tuple[torch.Tensor, torch.Tensor]:
            found = [_squares(part, self.points).topk(count, largest=False) for part in x.split(size)]
            values, indices = zip(*found, strict=True)
            return torch.cat(values), torch.cat(indices)

        squares, index = retry_with_smaller_chunk(all_by, max(1, PAIRS // len(self.points)))
        return squares.sqrt(), index


def _squares(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Squared distances f4[N,M] of x f4[N,3] and y f4[M,3].

    Not by products of matrices, as `cdist` does it: GPUs may round these to ten bits.
    """
    total = (x[:, None, 0] - y[:, 0]).square_()
    for axis in (1, 2):
        apart = x[:, None, axis] - y[:, axis]
        total.addcmul_(apart, apart)
    return total
