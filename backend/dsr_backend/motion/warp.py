"""The warp from the scene to material coordinates.

The warp folds where its Jacobian determinant is near or below 0: there it is not injective, and one part of the
molecule appears twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.spacing import evenly_spaced

from ..geometry.lattice import Lattice, LatticeLimit
from ..runtime.errors import Cancelled
from ..runtime.parallel import ordered_parallel_map
from .poses import Pose

CPU = torch.device("cpu")
# Widths of the Gaussians in Å, from which the first that does not fold is taken. Narrow Gaussians follow single atoms,
# wide ones the whole molecule.
WARP_SIGMAS = (2.0, 3.0, 4.5, 6.5, 10.0)
# Mean shortfall of the Jacobian determinant below MIN_DETERMINANT that counts as no folding. It is 0.0001 on AdK, and
# 0.03 on a peptide that unfolds, whose fitted states then lose a tenth of their IoU.
MAX_FOLDING = 1e-3
MIN_DETERMINANT = 0.3
# States that are tried as the reference, and points around the atoms of each at which the folding is measured.
CANDIDATES = 5
FOLDING_POINTS = 4_000
# Steps of the inverse for all points, and further ones for points that miss by more than INVERSE_TOLERANCE (Å) after
# them: on AdK's most distant state a third of the nodes after three steps, and 5 % after ten.
INVERSE_STEPS, FURTHER_STEPS = 3, 7
INVERSE_TOLERANCE = 0.02
# Steps for points that the others lead past, and the shortest one, as a fraction of the residual.
SHORTER_STEPS, SHORTEST = 10, 0.1
# Lattice of the displacements: distance of its nodes and margin around the atoms, in Å.
WARP_SPACING = 1.6
WARP_CLEARANCE = 8.0
# A cube of 400 Å. On the CPU a lattice of half so many nodes takes 8 s of one core and 0.6 GiB.
WARP_LIMIT = LatticeLimit(
    2**24,
    80,
    "the atoms of a state",
    "make the molecule whole across its periodic box, or select fewer",
    # Dense matrices of so many rows and columns, 64 MiB each, blur it.
    nodes_per_side=2**12,
)
# Multiples of the Gaussians' width, each with a weight: wide Gaussians of small weight carry the displacement to places
# far from all atoms.
WARP_SCALES = ((1.0, 1.0), (2.0, 1e-2), (4.0, 1e-4), (8.0, 1e-6))
# A Gaussian counts as 0 below this fraction of its height, 7.4 widths from its middle. The product of three such values
# would be a denormal number, with which a processor multiplies ten times slower.
TAIL = 1e-12


class Warp:
    """The map ξ(x, t) = y + u(y), with y = x in the reference's frame.

    ξ is the position in the reference of the matter at x. u is the average of the displacements of nearby atoms,
    weighted by Gaussians.
    """

    def __init__(self, pose: Pose, displacement: tuple[Lattice, torch.Tensor] | None, device: torch.device) -> None:
        """displacement: u f4[3,nodes] (Å) on its lattice; None for u = 0."""
        # x is first taken relative to the reference's origin in the scene, so coordinates of 10⁵ Å keep their digits.
        self.origin = torch.as_tensor(-pose.translation @ pose.rotation, dtype=torch.float64, device=device)
        self.rotation = torch.as_tensor(pose.rotation, dtype=torch.float32, device=device)
        self.displacement = displacement

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the material coordinates f4[N,3] of scene points x f4[N,3], both in Å."""
        y = self.turned(x)
        if self.displacement is None:
            return y
        lattice, u = self.displacement
        return y + lattice.interpolate_columns(u, y).T

    def turned(self, x: torch.Tensor) -> torch.Tensor:
        """Return the coordinates y f4[N,3] in the reference's frame of scene points x f4[N,3], both in Å."""
        # Points are columns here: all that comes after is faster with whole axes.
        return (self.rotation @ (x.double() - self.origin).float().T).T

    def inverse(self, xi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scene points f4[N,3] whose material coordinates are about ξ f4[N,3], and by how much they miss f4[N].

        All in Å. The fixed-point iteration y ← ξ − u(y) misses where the warp folds. Where it expands to twice the
        length or more, shorter steps arrive.
        """
        y, residual = xi, torch.zeros_like(xi)
        if self.displacement is not None:
            y, residual = self._iterate(xi, y, INVERSE_STEPS)
            moving = _missed(residual)
            y[moving], residual[moving] = self._iterate(xi[moving], y[moving], FURTHER_STEPS)
            missed = _missed(residual)
            step = residual[missed]
            # Back and forth, past the point. Where the warp compresses, all steps go the same way.
            turning = missed[(step * self._residual(xi[missed], y[missed] + step)).sum(1) < 0.0]
            y[turning], residual[turning] = self._iterate(xi[turning], xi[turning], SHORTER_STEPS, SHORTEST)
        return ((y @ self.rotation).double() + self.origin).float(), torch.linalg.norm(residual, dim=1)

    def _iterate(
        self, xi: torch.Tensor, y: torch.Tensor, steps: int, shortest: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the points f4[N,3] after some steps of the inverse from y f4[N,3], and their residuals f4[N,3].

        shortest: of the steps, as a fraction of the residual; below 1 each point shortens them by its last two
        residuals (Barzilai and Borwein 1988).
        """
        step = residual = self._residual(xi, y)
        for _ in range(steps):
            y = y + step
            before, residual = residual, self._residual(xi, y)
            fraction: torch.Tensor | float = 1.0
            if shortest < 1.0:
                change = residual - before
                fraction = -(step * change).sum(1, keepdim=True) / (change**2).sum(1, keepdim=True).clamp_min(1e-12)
                fraction = fraction.clamp(shortest, 1.0)
            step = fraction * residual
        return y, residual

    def _residual(self, xi: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return ξ − y − u(y) f4[N,3] (Å), a whole step of the inverse from y f4[N,3] towards ξ f4[N,3]."""
        assert self.displacement is not None
        lattice, u = self.displacement
        return xi - y - lattice.interpolate_columns(u, y).T


def _missed(residual: torch.Tensor) -> torch.Tensor:
    """Return the indices i8[M] of the points whose residuals f4[N,3] (Å) are longer than INVERSE_TOLERANCE."""
    return torch.nonzero(torch.linalg.norm(residual, dim=1) > INVERSE_TOLERANCE)[:, 0]


def least_folding(
    atoms: NDArray[np.float32], device: torch.device, cancelled: Callable[[], bool] = lambda: False, threads: int = 1
) -> tuple[int, float]:
    """Return the index of the best reference among the states f4[S,A,3] (Å), and the narrowest width (Å) without folds.

    threads: number of pairs of states that are tried at once.

    A gap that opens has no space in a reference in which it is closed: there the warp folds it over the space beside
    it. A reference with the gap open has space for every state. Raises ValueError and MemoryError for atoms that take
    too large a box, and Cancelled.
    """
    count = len(atoms)
    if count == 1:
        return 0, WARP_SIGMAS[0]
    candidates = evenly_spaced(range(count), CANDIDATES)
    best = candidates[0]
    for sigma in WARP_SIGMAS:

        def folding_of(pair: int, sigma: float = sigma) -> float:
            target, source = (candidates[index] for index in divmod(pair, len(candidates)))
            return _folding(atoms[source], atoms[target], sigma, device, cancelled)

        with closing(ordered_parallel_map(folding_of, len(candidates) ** 2, threads)) as foldings:
            means = np.array(list(foldings)).reshape(-1, len(candidates)).mean(1)
        folding = dict(zip(candidates, means, strict=True))
        # Among equals the middle state is taken, which is nearest to all others.
        best = min(candidates, key=lambda k: (round(float(folding[k]), 5), abs(k - count // 2)))
        if folding[best] < MAX_FOLDING:
            return best, sigma
    return best, WARP_SIGMAS[-1]


def _folding(
    atoms: NDArray[np.float32],
    reference: NDArray[np.float32],
    sigma: float,
    device: torch.device,
    cancelled: Callable[[], bool],
) -> float:
    """Return the mean of max(0, MIN_DETERMINANT − det ∂ξ/∂x) around atoms warped onto the reference, both f4[A,3] Å."""
    if np.array_equal(atoms, reference):
        # No state folds onto itself.
        return 0.0
    generator = torch.Generator().manual_seed(0)
    centres = torch.as_tensor(atoms)
    picked = torch.randint(len(centres), (FOLDING_POINTS,), generator=generator)
    x = (centres[picked] + WARP_SIGMAS[0] * torch.randn(len(picked), 3, generator=generator)).to(device)
    lattice, u = splat(atoms, reference, sigma, device, cancelled)
    steps = 0.1 * torch.eye(3, device=device)
    columns = [(lattice.interpolate_columns(u, x + h) - lattice.interpolate_columns(u, x - h)).T / 0.2 for h in steps]
    jacobian = torch.eye(3, device=device) + torch.stack(columns, 2)
    return float((MIN_DETERMINANT - torch.linalg.det(jacobian)).clamp_min(0.0).mean())


def splat(
    atoms: NDArray[np.float32],
    reference: NDArray[np.float32],
    sigma: float,
    device: torch.device,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[Lattice, torch.Tensor]:
    """Average the displacements f4[3,nodes] from atoms to reference, both f4[A,3], around the atoms; all in Å.

    Raises ValueError and MemoryError for a lattice that is too large, and Cancelled.
    """
    lattice = warp_lattice(atoms)
    lattice.ensure_allocatable(WARP_LIMIT, device, cancelled)
    positions = torch.as_tensor(atoms, device=device)
    displacement = torch.as_tensor(reference, device=device) - positions
    index, weight = lattice.corners(positions)
    # The fourth row sums the weights, by which the sums of displacements are divided at the end. Row by row, atoms are
    # added several times faster than four numbers at once.
    rows = torch.cat([displacement.T, torch.ones_like(displacement[None, :, 0])])
    nodes = torch.zeros(4, lattice.size, device=device)
    for sums, row in zip(nodes, rows, strict=True):
        sums.index_add_(0, index.view(-1), (weight * row[:, None]).view(-1))
    volume = nodes.view(4, *lattice.shape)
    total = torch.zeros_like(volume)
    for scale, scale_weight in WARP_SCALES:
        if cancelled():
            raise Cancelled("cancelled in the map to material coordinates")
        total += scale_weight * scale**3 * blur(volume, scale * sigma / WARP_SPACING)
    flat = total.reshape(4, -1)
    return lattice, flat[:3] / flat[3].clamp_min(1e-30)


def warp_lattice(atoms: NDArray[np.float32]) -> Lattice:
    """Return the lattice of the displacements of atoms f4[...,3] (Å), before anything of it is allocated."""
    flat = atoms.reshape(-1, 3)
    return Lattice.around(flat.min(0) - WARP_CLEARANCE, flat.max(0) + WARP_CLEARANCE, WARP_SPACING)


def blur(volume: torch.Tensor, sigma: float) -> torch.Tensor:
    """Convolve the last three axes of f4[C,X,Y,Z] with a Gaussian of `sigma` nodes; the volume is 0 outside."""
    # One dense matrix per axis is faster than a convolution, because the kernels are as wide as the volume.
    shape = volume.shape
    for axis in (1, 2, 3):
        count = shape[axis]
        # Row i of the matrix is the Gaussian from node −i to node count − i: a window of one Gaussian twice as long.
        node = torch.arange(1 - count, count, device=volume.device, dtype=volume.dtype)
        gaussian = torch.exp(-0.5 * (node / sigma) ** 2)
        gaussian = torch.where(gaussian > TAIL, gaussian, 0.0) / (sigma * np.sqrt(2.0 * np.pi))
        kernel = gaussian.unfold(0, count, 1).flip(0)
        # The axes after this one are columns of the product, so that nothing is copied into another order.
        columns = volume.reshape(-1, shape[axis], math.prod(shape[axis + 1 :]))
        volume = columns[..., 0] @ kernel if axis == 3 else kernel @ columns
    return volume.reshape(shape)
