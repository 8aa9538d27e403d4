"""The loss of preset paper (Eq. 2 and 3 of the DSR paper)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..config import PaperPreset


def loss(
    f: Callable[[torch.Tensor], torch.Tensor],
    surface: torch.Tensor,
    normals: torch.Tensor,
    space: torch.Tensor,
    z: torch.Tensor,
    preset: PaperPreset,
) -> torch.Tensor:
    """Return ℓ(θ) of Eq. 2, with ℓ_X of Eq. 3, as a mean over T times; all arguments are normalised.

    f: points [T,N+M,3] → [T,N+M]; surface [T,N,3] with normals [T,N,3]: points of X; space [T,M,3]: points of D;
    z [T,latent]. The derivatives of the loss with respect to θ go through those of f with respect to x.
    """
    count = surface.shape[1]
    x = torch.cat([surface, space], 1).requires_grad_()
    values = f(x)
    (gradient,) = torch.autograd.grad(values.sum(), x, create_graph=True)
    normal_error = torch.linalg.vector_norm(gradient[:, :count] - normals, dim=-1)
    steepness = torch.linalg.vector_norm(gradient[:, count:], dim=-1)
    total: torch.Tensor = (
        (values[:, :count].abs() + preset.normals * normal_error).mean()
        + preset.eikonal * ((steepness - 1.0) ** 2).mean()
        + preset.code * torch.linalg.vector_norm(z, dim=-1).mean()
    )
    return total
