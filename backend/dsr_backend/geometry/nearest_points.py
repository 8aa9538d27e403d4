"""Nearest points of a set: by a k-d tree on the CPU, by all distances on a GPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..runtime.device import retry_with_smaller_chunk

# Distances that a GPU computes at once: they take half a GiB, and their intermediate values take as much.
PAIRS = 2**27

Query = Callable[..., tuple[NDArray[Any], NDArray[Any]]]
"""Function of points f4[N,3], `k` and `distance_upper_bound` that returns the distances and indices of the nearest."""


class NearestPoints:
    """Search for the nearest of `points` f4[M,3] (Å), on the device of these points.

    query: that of the k-d tree on the CPU, or None where all distances are computed.
    """

    def __init__(self, points: torch.Tensor) -> None:
        self.points = points
        self.query = _tree_query(points.numpy()) if points.device.type == "cpu" else None

    def __call__(self, x: torch.Tensor, count: int = 1, *, within: float = np.inf) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distances f[N,count] (Å) and indices i8[N,count] of the points nearest to each x f4[N,3] (Å).

        The nearest comes first. With fewer than `count` points, all points are returned. within: Å; a point farther
        than this may be left out, with the distance inf and the index M.
        """
        count = min(count, len(self.points))
        if self.query is not None:
            distances, indices = self.query(x.contiguous().numpy(), k=count, distance_upper_bound=within)
            shape = (len(x), count)
            return torch.as_tensor(distances.reshape(shape)), torch.as_tensor(indices.reshape(shape).astype(np.int64))
        if not len(x):
            return x.new_zeros(0, count), x.new_zeros((0, count), dtype=torch.int64)

        def in_chunks(size: int) -> tuple[torch.Tensor, torch.Tensor]:
            nearest = [
                _squared_distances(x[start : start + size], self.points).topk(count, largest=False)
                for start in range(0, len(x), size)
            ]
            values, indices = zip(*nearest, strict=True)
            return torch.cat(values), torch.cat(indices)

        squares, index = retry_with_smaller_chunk(in_chunks, max(1, PAIRS // len(self.points)))
        return squares.sqrt(), index


def _tree_query(points: NDArray[np.float32]) -> Query:
    """Return the query of a k-d tree of points f4[M,3]."""
    # A machine for GPU work may have torch and scipy alone. scipy's tree takes twice as long to find the same points.
    try:
        from pykdtree.kdtree import KDTree
    except ImportError:
        return functools.partial(cKDTree(points).query, workers=torch.get_num_threads())
    return KDTree(points).query


def _squared_distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the squared distances f4[N,M] between x f4[N,3] and y f4[M,3]."""
    # Matrix products, which `cdist` uses, may be rounded to ten bits on a GPU.
    total = (x[:, None, 0] - y[:, 0]).square_()
    for axis in (1, 2):
        difference = x[:, None, axis] - y[:, axis]
        total.addcmul_(difference, difference)
    return total
