"""Triangle meshes: areas, random points on the surface, and exact signed distances to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from ..runtime.device import retry_with_smaller_chunk
from .lattice import gather
from .nearest_points import NearestPoints
from .signed_distance import closest_feature, pseudonormals

# The nearest triangle is searched among the triangles with the nearest centres. PyMOL's triangles have similar sizes,
# so with eight candidates 1 distance in 10 000 is too long, by 0.2 Å at most (AdK, compared with libigl).
TRIANGLES_TRIED = 8
CHUNK = 65_536


def face_areas(points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the area f8[M] of each face i[M,3], in the squared unit of points f8[N,3]."""
    origin, first, second = (points[faces[:, k]] for k in range(3))
    areas: NDArray[np.float64] = np.linalg.norm(np.cross(first - origin, second - origin), axis=1) / 2
    return areas


class TriangleMesh:
    """A closed triangle mesh on one device, with exact signed distances to it."""

    def __init__(self, points: NDArray[np.float32], faces: NDArray[np.int32], device: torch.device) -> None:
        """points: f4[N,3] Å; faces: i4[M,3], outward by the right-hand rule."""
        # All coordinates are relative to the middle: in float32, squares of coordinates far from the origin would lose
        # the digits that matter.
        middle = (0.5 * (points.min(0) + points.max(0))).astype(np.float32)
        self.device = device
        self.middle = torch.as_tensor(middle, device=device)
        self.faces = torch.as_tensor(np.ascontiguousarray(faces, np.int64), device=device)
        self.vertices = torch.as_tensor(points - middle, device=device)
        corners = self.vertices.index_select(0, self.faces.view(-1)).view(-1, 3, 3)
        self.a, self.b, self.c = (corners[:, k].contiguous() for k in range(3))
        cross = torch.linalg.cross(self.b - self.a, self.c - self.a)
        self.areas = 0.5 * torch.linalg.norm(cross, dim=1)
        self.normals = pseudonormals(corners, self.faces, len(points))
        self.nearest_centres = NearestPoints((self.a + self.b + self.c) / 3.0)

    def signed_distance(
        self, x: torch.Tensor, check: Callable[[], None] = lambda: None, candidates: int = TRIANGLES_TRIED
    ) -> torch.Tensor:
        """Return the signed distance f4[N] (Å) of points x f4[N,3] (Å), positive outside (Eq. 1 of the DSR paper).

        The nearest face, edge or vertex decides the sign, by its angle-weighted normal (Bærentzen and Aanæs 2005).
        `check` is called before each chunk and may raise to stop; candidates: triangles tried for each point.
        """

        def in_chunks(size: int) -> torch.Tensor:
            distance = x.new_empty(len(x))
            for start in range(0, len(x), size):
                check()
                distance[start : start + size] = self._signed_distance(
                    x[start : start + size] - self.middle, candidates
                )
            return distance

        return retry_with_smaller_chunk(in_chunks, CHUNK)

    def _signed_distance(self, x: torch.Tensor, candidates: int) -> torch.Tensor:
        """Return the signed distance f4[N] of points x f4[N,3], both relative to the middle."""
        _, index = self.nearest_centres(x, candidates)  # [N,candidates]
        a, b, c = (corner.index_select(0, index.view(-1)).view(*index.shape, 3) for corner in (self.a, self.b, self.c))
        to_point, feature = closest_feature(x[:, None], a, b, c)
        distance = torch.linalg.norm(to_point, dim=2)
        best = distance.argmin(1)
        row = torch.arange(len(x), device=self.device)
        normal = self.normals[index[row, best], feature[row, best]]
        inside = (to_point[row, best] * normal).sum(1) < 0.0
        signed: torch.Tensor = distance[row, best] * torch.where(inside, -1.0, 1.0)
        return signed

    @property
    def centres(self) -> torch.Tensor:
        """The centres f4[M,3] of the faces, in Å."""
        return self.nearest_centres.points + self.middle

    def sample(
        self, count: int, generator: torch.Generator, faces: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw points f4[count,3] (Å), one from each of `count` equal areas, with a generator on the CPU.

        faces: i8[F] in rising order, from which alone they are drawn. Returns the points, in the order of the faces,
        with the face i8[count] of each and the weights f4[count,3] of its corners.
        """
        areas = self.areas if faces is None else self.areas[faces]
        cumulative = torch.cumsum(areas.double(), 0)
        # The CPU draws the random numbers, so that every device gets the same points from the same seed.
        position = torch.arange(count, dtype=torch.float64) + torch.rand(
            count, generator=generator, dtype=torch.float64
        )
        threshold = (position / count).to(self.device) * cumulative[-1]
        face = torch.searchsorted(cumulative, threshold).clamp_max(len(cumulative) - 1)
        if faces is not None:
            face = faces[face]
        u, v = torch.rand(2, count, generator=generator).to(self.device)
        mirrored = u + v > 1.0
        u, v = torch.where(mirrored, 1.0 - u, u), torch.where(mirrored, 1.0 - v, v)
        weight = torch.stack([1.0 - u - v, u, v], 1)
        return gather(self.vertices, self.faces.index_select(0, face), weight) + self.middle, face, weight
