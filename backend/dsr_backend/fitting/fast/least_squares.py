"""Regularised least squares for the node values of a lattice, by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...geometry.lattice import CHUNK, gather


@dataclass(frozen=True, eq=False)
class Observations:
    """Values that the interpolated lattice should have at N points.

    index i[N,8] and weight f4[N,8]: nodes and trilinear weights of each point; target f4[N]: the wanted values.
    """

    index: torch.Tensor
    weight: torch.Tensor
    target: torch.Tensor

    def predict(self, v: torch.Tensor) -> torch.Tensor:
        """Return the interpolated values f4[N] of node values v f4[nodes]."""
        return gather(v[:, None], self.index, self.weight)[:, 0]


@dataclass(frozen=True, eq=False)
class Smoothing:
    """Keeps some nodes near their neighbours. nodes i8[M]; neighbours i4[M,6]; weight of the squared differences."""

    nodes: torch.Tensor
    neighbours: torch.Tensor
    weight: float

    def apply(self, v: torch.Tensor) -> torch.Tensor:
        """Return f4[nodes]: half the gradient of the weighted sum of squared differences at v f4[nodes]."""
        around = self.neighbours.reshape(-1)
        difference = v.index_select(0, self.nodes)[:, None] - v.index_select(0, around).view(-1, 6)
        sums = torch.zeros_like(v).index_add_(0, self.nodes, difference.sum(1))
        return self.weight * sums.index_add_(0, around, -difference.reshape(-1))


def solve(
    observed: Observations,
    prior: torch.Tensor,
    ridge: float,
    iterations: int,
    check: Callable[[], None] = lambda: None,
    smoothing: Smoothing | None = None,
) -> torch.Tensor:
    """Return the node values v f4[nodes] of least |A v − target|² + ridge·|v − prior|² + the smoothing's differences.

    A is the trilinear interpolation. The differences are those of v − prior. The method is conjugate gradients with
    Jacobi preconditioning, which start from `prior`. `check` is called before each iteration and may raise to stop.
    """
    # Numbers of 4 bytes, which `scatter_add_` does not take.
    chunks = list(zip(torch.split(observed.index, CHUNK), torch.split(observed.weight, CHUNK), strict=True))

    def transposed(values: torch.Tensor) -> torch.Tensor:
        """Return Aᵀ values."""
        sums = torch.zeros_like(prior)
        for (index, weight), value in zip(chunks, torch.split(values, CHUNK), strict=True):
            sums.index_add_(0, index.reshape(-1), (weight * value[:, None]).reshape(-1))
        return sums

    diagonal = torch.zeros_like(prior)
    for index, weight in chunks:
        diagonal.index_add_(0, index.reshape(-1), (weight**2).reshape(-1))
    if smoothing is not None:
        diagonal[smoothing.nodes] += 6.0 * smoothing.weight
    inverse = 1.0 / (diagonal + ridge)
    v = prior.clone()
    # The prior's own term is 0 where the iterations start.
    residual = transposed(observed.target - observed.predict(prior))
    direction = inverse * residual
    product = residual @ direction
    for _ in range(iterations):
        check()
        applied = transposed(observed.predict(direction)) + ridge * direction
        if smoothing is not None:
            applied += smoothing.apply(direction)
        # A product of 0 means an exact solution. The bound keeps it, without waiting for the device's value.
        alpha = product / (direction @ applied).clamp_min(1e-30)
        v += alpha * direction
        residual -= alpha * applied
        preconditioned = inverse * residual
        next_product = residual @ preconditioned
        direction = preconditioned + (next_product / product.clamp_min(1e-30)) * direction
        product = next_product
    return v
