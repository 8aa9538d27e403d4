"""The warp from the scene to material coordinates."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..geometry.lattice import Lattice

CPU = torch.device("cpu")
# Å; the Gaussians' width, the first of these that does not fold. Narrow ones follow the atoms, wide ones the whole.
WARP_SIGMAS = (2.0, 3.0, 4.5, 6.5, 10.0)
# Mean shortfall of the Jacobian's determinant below 0.3 that is taken as no folding: 0.0001 on AdK, 0.03 on a peptide
# that unfolds, whose fitted states then lose a tenth of their IoU.
FOLDING = 1e-3
WARP_SPACING = 1.6
WARP_CLEARANCE = 8.0


# Wider Gaussians with ever smaller weight carry the displacement to where no atom is near.
WARP_SCALES = ((1.0, 1.0), (2.0, 1e-2), (4.0, 1e-4), (8.0, 1e-6))


class Warp:
    """ξ(x, t) = y + u(y), y = x in the reference's frame: where the matter at x is in the reference state.

    u is the average of the displacements of nearby atoms, weighted by Gaussians of `sigma`, 2 Å where nothing folds.
    """

    def __init__(
        self,
        rotation: NDArray[np.float64],
        translation: NDArray[np.float64],
        displacement: tuple[Lattice, torch.Tensor] | None,
        device: torch.device,
    ) -> None:
        """rotation f8[3,3] and translation f8[3] Å as from `Motion.pose`; displacement: u f4[nodes,3] Å."""
        # x is taken about the place of the reference's origin first: coordinates of 10⁵ Å keep their digits
        # so.
        self.origin = torch.as_tensor(-translation @ rotation, dtype=torch.float64, device=device)
        self.rotation = torch.as_tensor(rotation, dtype=torch.float32, device=device)
        self.displacement = displacement

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Material coordinates f4[N,3] of scene points x f4[N,3], both in Å."""
        y = (x.double() - self.origin).float() @ self.rotation.T
        if self.displacement is None:
            return y
        lattice, u = self.displacement
        return y + lattice.interpolate(u, y)


def least_folding(atoms: NDArray[np.float32], device: torch.device) -> tuple[int, float]:
    """The best reference among the states f4[S,A,3] Å, by number, and the narrowest Gaussian (Å) that folds nothing.

    Where parts have come apart, the new gap has no place in a reference in which they touch, and is folded
    over what is beside it; in a reference with the gap open, every state finds its place. Folding shows as a
    Jacobian determinant of ξ near or below 0, here around the atoms of a few states.
    """
    count = len(atoms)
    if count == 1:
        return 0, WARP_SIGMAS[0]
    some = sorted({round(k) for k in np.linspace(0, count - 1, 5).tolist()})
    best = some[0]
    for sigma in WARP_SIGMAS:
        folding = {target: np.mean([_folding(atoms[k], atoms[target], sigma, device) for k in some]) for target in some}
        # Among equals, the one in the middle: it is nearest to all.
        best = min(some, key=lambda k: (round(float(folding[k]), 5), abs(k - count // 2)))
        if folding[best] < FOLDING:
            return best, sigma
    return best, WARP_SIGMAS[-1]


def _folding(atoms: NDArray[np.float32], reference: NDArray[np.float32], sigma: float, device: torch.device) -> float:
    """Mean of max(0, 0.3 − det ∂ξ/∂x) around atoms f4[A,3] carried onto the reference f4[A,3], both Å."""
    generator = torch.Generator().manual_seed(0)
    here = torch.as_tensor(atoms)
    picked = torch.randint(len(here), (4_000,), generator=generator)
    x = (here[picked] + WARP_SIGMAS[0] * torch.randn(len(picked), 3, generator=generator)).to(device)
    lattice, u = splat(atoms, reference, sigma, device)
    steps = 0.1 * torch.eye(3, device=device)
    columns = [(lattice.interpolate(u, x + h) - lattice.interpolate(u, x - h)) / 0.2 for h in steps]
    jacobian = torch.eye(3, device=device) + torch.stack(columns, 2)
    return float((0.3 - torch.linalg.det(jacobian)).clamp_min(0.0).mean())


def splat(
    atoms: NDArray[np.float32], reference: NDArray[np.float32], sigma: float, device: torch.device
) -> tuple[Lattice, torch.Tensor]:
    """Displacements f4[nodes,3] from atoms to reference, both f4[A,3], averaged around the atoms; all Å."""
    lattice = Lattice.around(atoms.min(0) - WARP_CLEARANCE, atoms.max(0) + WARP_CLEARANCE, WARP_SPACING)
    here = torch.as_tensor(atoms, device=device)
    moved = torch.as_tensor(reference, device=device) - here
    index, weight = lattice.corners(here)
    values = torch.cat([moved, torch.ones_like(moved[:, :1])], 1)
    nodes = torch.zeros(lattice.size, 4, device=device)
    nodes.index_add_(0, index.reshape(-1), (weight[..., None] * values[:, None]).reshape(-1, 4))
    volume = nodes.T.reshape(4, *lattice.shape)
    total = torch.zeros_like(volume)
    for scale, share in WARP_SCALES:
        total += share * scale**3 * _blur(volume, scale * sigma / WARP_SPACING)
    flat = total.reshape(4, -1)
    return lattice, (flat[:3] / flat[3].clamp_min(1e-30)).T.contiguous()


def _blur(volume: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian of `sigma` nodes over the last three axes of f4[C,X,Y,Z], taken as zero outside.

    One dense matrix per axis: faster than a convolution for kernels as wide as the volume.
    """
    for axis in (1, 2, 3):
        node = torch.arange(volume.shape[axis], device=volume.device, dtype=volume.dtype)
        kernel = torch.exp(-0.5 * ((node[:, None] - node) / sigma) ** 2) / (sigma * np.sqrt(2.0 * np.pi))
        volume = torch.tensordot(volume, kernel, dims=([axis], [0])).movedim(-1, axis)
    return volume
