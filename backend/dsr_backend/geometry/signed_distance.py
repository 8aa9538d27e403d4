"""Surfaces → training samples: points near a surface and their exact signed distances to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from ..runtime.device import retry_with_smaller_chunk
from .nearest_points import NearestPoints

# The nearest triangle is looked for among those with the nearest centres. PyMOL's triangles are much of one
# size, so eight candidates leave 1 in 10 000 distances too long, by 0.2 Å at most (AdK, against libigl).
CANDIDATES = 8
CHUNK = 65_536


class TriangleMesh:
    """A closed triangle mesh that answers exact signed distances, on the CPU or the GPU."""

    def __init__(self, points: NDArray[np.float32], faces: NDArray[np.int32], device: torch.device) -> None:
        """points: f4[N,3] Å; faces: i4[M,3], outward by the right-hand rule."""
        # All is kept relative to the middle: squares of coordinates far from the origin have no digits to
        # spare.
        middle = (0.5 * (points.min(0) + points.max(0))).astype(np.float32)
        self.device = device
        self.middle = torch.as_tensor(middle, device=device)
        vertex = torch.as_tensor(np.ascontiguousarray(faces, np.int64), device=device)
        corners = torch.as_tensor(points - middle, device=device)[vertex]
        self.a, self.b, self.c = (corners[:, k].contiguous() for k in range(3))
        cross = torch.linalg.cross(self.b - self.a, self.c - self.a)
        self.area = 0.5 * torch.linalg.norm(cross, dim=1)
        self.normals = _pseudonormals(corners, vertex, len(points))
        self.centre = (self.a + self.b + self.c) / 3.0
        self._nearest = NearestPoints(self.centre)

    def signed_distance(self, x: torch.Tensor, check: Callable[[], None] = lambda: None) -> torch.Tensor:
        """Signed distance f4[N] in Å of points x f4[N,3] (Eq. 1 of the paper), positive outside.

        The sign is that of the side of the nearest face, edge or vertex, by its angle-weighted normal
        (Bærentzen and Aanæs 2005). `check` is called between chunks and may raise to stop.
        """

        def all_by(size: int) -> torch.Tensor:
            found = x.new_empty(len(x))
            for start in range(0, len(x), size):
                check()
                found[start : start + size] = self._signed_distance(x[start : start + size] - self.middle)
            return found

        return retry_with_smaller_chunk(all_by, CHUNK)

    def _signed_distance(self, x: torch.Tensor) -> torch.Tensor:
        _, index = self._nearest(x, CANDIDATES)
        corners = (part.index_select(0, index.view(-1)).view(*index.shape, 3) for part in (self.a, self.b, self.c))
        to_point, feature = _from_triangle(x[:, None], *corners)
        distance = torch.linalg.norm(to_point, dim=2)
        best = distance.argmin(1)
        row = torch.arange(len(x), device=self.device)
        normal = self.normals[index[row, best], feature[row, best]]
        inside = (to_point[row, best] * normal).sum(1) < 0.0
        return distance[row, best] * torch.where(inside, -1.0, 1.0)

    def on_surface(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Points f4[count,3] in Å, uniform over the area."""
        cumulative = torch.cumsum(self.area.double(), 0)
        # Random numbers are made on the CPU so that every device draws the same points from one seed.
        pick = torch.rand(count, generator=generator, dtype=torch.float64).to(self.device) * cumulative[-1]
        face = torch.searchsorted(cumulative, pick).clamp_max(len(cumulative) - 1)
        u, v = torch.rand(2, count, 1, generator=generator).to(self.device)
        fold = u + v > 1.0
        u, v = torch.where(fold, 1.0 - u, u), torch.where(fold, 1.0 - v, v)
        local = self.a[face] + u * (self.b[face] - self.a[face]) + v * (self.c[face] - self.a[face])
        return local + self.middle


def _pseudonormals(corners: torch.Tensor, vertex: torch.Tensor, point_count: int) -> torch.Tensor:
    """Outward normals f4[M,7,3] of each face's FEATURES, of any length; corners f4[M,3,3] Å, their points i8[M,3].

    An edge has the sum of its faces' normals; a vertex theirs too, weighted by their angles at the vertex.
    """
    corners = corners.double()
    sides = corners.roll(-1, 1) - corners
    normal = torch.linalg.cross(sides[:, 0], sides[:, 1])
    # A face without area has no say.
    normal = normal / torch.linalg.norm(normal, dim=1, keepdim=True).clamp_min(1e-9)
    along = sides / torch.linalg.norm(sides, dim=2, keepdim=True).clamp_min(1e-12)
    angle = torch.arccos((along * along.roll(1, 1)).sum(2).neg().clamp(-1.0, 1.0))

    def summed(key: torch.Tensor, count: int, weight: torch.Tensor) -> torch.Tensor:
        """Σ of weight f8[M,3] · normal over all faces with the same key i8[M,3] → f8[M,3,3]."""
        parts = (weight[..., None] * normal[:, None]).reshape(-1, 3)
        return normal.new_zeros(count, 3).index_add_(0, key.reshape(-1), parts)[key]

    following = vertex.roll(-1, 1)
    pair = torch.minimum(vertex, following) * point_count + torch.maximum(vertex, following)
    edges, edge = torch.unique(pair, return_inverse=True)
    at_edges = summed(edge, len(edges), torch.ones_like(angle))
    at_vertices = summed(vertex, point_count, angle)
    return torch.cat([normal[:, None], at_edges, at_vertices], 1).float()


# What of a triangle abc may be nearest to a point, in the order of `_pseudonormals`.
FEATURES = FACE, AB, BC, CA, A, B, C = range(7)


def _from_triangle(
    p: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vector to p from the closest point of triangle abc, all f4[...,3] Å, and the one of FEATURES it is on.

    As in Ericson, Real-Time Collision Detection, 5.1.5.
    """
    ab, ac, ap = b - a, c - a, p - a
    d1, d2 = (ab * ap).sum(-1), (ac * ap).sum(-1)
    ab_ab, ab_ac, ac_ac = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d3, d4 = d1 - ab_ab, d2 - ab_ac
    d5, d6 = d1 - ab_ac, d2 - ac_ac
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    tiny = torch.finfo(p.dtype).tiny
    whole = (va + vb + vc).clamp_min(tiny)
    v, w = vb / whole, vc / whole
    feature = torch.full_like(v, FACE, dtype=torch.int64)
    along_bc = (d4 - d3) / (d4 - d3 + d5 - d6).clamp_min(tiny)
    # Later ones win: where an edge's condition holds beyond its end, the vertex's does too.
    for code, here, at_v, at_w in (
        (BC, (va <= 0) & (d4 >= d3) & (d5 >= d6), 1.0 - along_bc, along_bc),
        (CA, (vb <= 0) & (d2 >= 0) & (d6 <= 0), 0.0, d2 / ac_ac.clamp_min(tiny)),
        (AB, (vc <= 0) & (d1 >= 0) & (d3 <= 0), d1 / ab_ab.clamp_min(tiny), 0.0),
        (C, (d6 >= 0) & (d5 <= d6), 0.0, 1.0),
        (B, (d3 >= 0) & (d4 <= d3), 1.0, 0.0),
        (A, (d1 <= 0) & (d2 <= 0), 0.0, 0.0),
    ):
        v, w = torch.where(here, at_v, v), torch.where(here, at_w, w)
        feature = torch.where(here, code, feature)
    return ap - v[..., None] * ab - w[..., None] * ac, feature
