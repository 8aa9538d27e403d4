"""Regularised least squares for the node values of a lattice, by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ...geometry.lattice import gather


@dataclass(frozen=True, eq=False)
class Observations:
    """Values that the interpolated lattice should have at N points.

    index i[N,8] and weight f4[N,8]: nodes and trilinear weights of each point; target f4[N]: the wanted values;
    importance f4[N]: weights of the squared errors.
    """

    index: torch.Tensor
    weight: torch.Tensor
    target: torch.Tensor
    importance: torch.Tensor

    @classmethod
    def concatenate(cls, observations: Sequence[Observations]) -> Observations:
        """Join several observations of one lattice."""
        return cls(
            torch.cat([one.index for one in observations]),
            torch.cat([one.weight for one in observations]),
            torch.cat([one.target for one in observations]),
            torch.cat([one.importance for one in observations]),
        )


@dataclass(frozen=True, eq=False)
class Regulariser:
    """Terms that keep node values smooth and near a prior.

    neighbours i8[nodes,6]: the nodes linked to each node, the node itself for a missing link; smoothness: weight of the
    squared differences over the links; ridge: weight of the squared differences to the prior.
    """

    neighbours: torch.Tensor
    smoothness: float
    ridge: float


def solve(
    observed: Observations,
    regulariser: Regulariser,
    prior: torch.Tensor,
    iterations: int,
    check: Callable[[], None] = lambda: None,
) -> torch.Tensor:
    """Return the node values v f4[nodes] of least Σ importance·(A v − target)² + smoothness·|∇v|² + ridge·|v − prior|².

    A is the trilinear interpolation; |∇v|² sums the squared differences over all links. The method is conjugate
    gradients with Jacobi preconditioning, which start from `prior`. `check` is called before each iteration and may
    raise to stop.
    """
    index, weight, importance = observed.index, observed.weight, observed.importance
    neighbours, smoothness, ridge = regulariser.neighbours, regulariser.smoothness, regulariser.ridge
    flat, links = index.reshape(-1).long(), neighbours.reshape(-1)
    degree = (neighbours != torch.arange(len(prior), device=prior.device)[:, None]).sum(1)

    def transposed(values: torch.Tensor) -> torch.Tensor:
        """Return Aᵀ values."""
        return torch.zeros_like(prior).scatter_add_(0, flat, (weight * values[:, None]).reshape(-1))

    def apply(v: torch.Tensor) -> torch.Tensor:
        """Return the matrix of the normal equations times v."""
        data_term = transposed(importance * gather(v[:, None], index, weight)[:, 0])
        return data_term + smoothness * (6.0 * v - v.index_select(0, links).view(-1, 6).sum(1)) + ridge * v

    diagonal = torch.zeros_like(prior).scatter_add_(0, flat, (importance[:, None] * weight**2).reshape(-1))
    inverse = 1.0 / (diagonal + smoothness * degree + ridge)
    v = prior.clone()
    residual = transposed(importance * observed.target) + ridge * prior - apply(v)
    direction = inverse * residual
    product = residual @ direction
    for _ in range(iterations):
        check()
        applied = apply(direction)
        # A product of 0 means an exact solution. The bound keeps it, without waiting for the device's value.
        alpha = product / (direction @ applied).clamp_min(1e-30)
        v += alpha * direction
        residual -= alpha * applied
        preconditioned = inverse * residual
        next_product = residual @ preconditioned
        direction = preconditioned + (next_product / product.clamp_min(1e-30)) * direction
        product = next_product
    return v
