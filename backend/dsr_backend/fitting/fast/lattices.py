"""Lattices of all states by least squares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import numpy as np
import torch

from ...fields.fast import MAX_NODES, LowRankBasis, NarrowBand
from ...geometry.lattice import Lattice, gather
from ...runtime import distributed
from ...runtime.parallel import ordered_parallel_map
from ..config import Preset
from ..job import FitJob
from .stages import SAMPLED, SOLVED

# Distances count by 1 / (|d| + this), in Å: the surface matters, what is away from it shapes the band.
NEAR = 0.3


def narrow_band(
    preset: Preset, points: list[torch.Tensor], distances: list[torch.Tensor], device: torch.device
) -> tuple[NarrowBand, int]:
    """The fine lattice over all points and the nodes of it that some state's surface comes near."""
    # Of a rank without states there is nothing.
    inf = torch.full((3,), torch.inf)
    low = torch.stack([inf, *(p.amin(0).cpu() for p in points if len(p))]).amin(0).numpy()
    high = torch.stack([-inf, *(p.amax(0).cpu() for p in points if len(p))]).amax(0).numpy()
    low = np.array(distributed.all_reduce(low.tolist(), device, "min"), np.float32)
    high = np.array(distributed.all_reduce(high.tolist(), device, "max"), np.float32)
    lattice = Lattice.around(low, high, preset.spacing, multiple=preset.coarse_factor)
    if lattice.size > MAX_NODES:
        size = " × ".join(f"{length:.0f}" for length in high - low)
        raise ValueError(
            f"all states together take a box of {size} Å, more than {MAX_NODES} nodes "
            f"{preset.spacing} Å apart: fit fewer atoms, remove what drifts away, or unwrap jumps through "
            "the periodic box (pbc_unwrap)"
        )
    inside = torch.zeros(lattice.size, dtype=torch.bool, device=device)
    for xi, distance in zip(points, distances, strict=True):
        index, _ = lattice.corners(xi[distance.abs() < preset.band].to(device))
        inside[index.reshape(-1)] = True
    return NarrowBand(lattice, distributed.any_rank(inside)), preset.coarse_factor


# Lattices ---------------------------------------------------------------------------------------------------


def solve_states(
    job: FitJob, band: NarrowBand, factor: int, points: list[torch.Tensor], distances: list[torch.Tensor]
) -> tuple[LowRankBasis, LowRankBasis]:
    """Node values (Å) of both lattices for every state, by weighted least squares on the samples."""
    preset, count = job.preset, len(points)
    coarse_lattice = band.lattice.coarser(factor)
    rows = torch.ones(coarse_lattice.size, dtype=torch.bool, device=job.device)
    coarse_neighbours = NarrowBand(coarse_lattice, rows).neighbours
    fine_neighbours = band.neighbours[: band.count]
    own = torch.arange(band.count, device=job.device)[:, None]
    fine_neighbours = torch.where(fine_neighbours < band.count, fine_neighbours, own)
    # Every fourth sample of some states, which every rank starts from.
    some = range(0, count, max(1, count // 8))
    thin = {}
    for k in some:
        here = distributed.state_owner(k) == distributed.rank()
        parts = [part[k][::4].to(job.device) if here else None for part in (points, distances)]
        xi, distance = (distributed.broadcast(part, distributed.state_owner(k), job.device) for part in parts)
        thin[k] = xi, distance
    mine = distributed.own_states(count)
    most = max(32, preset.max_values // band.count)

    def residual(k: int, xi: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
        values = coarse.mix(one_hot(k, count, job.device))[:, None]
        return distance - coarse_lattice.interpolate(values, xi)[:, 0]

    def solve_all(
        lattice: Lattice,
        target: Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor],
        fine: bool,
        start: float,
        end: float,
    ) -> Iterator[torch.Tensor]:
        size = band.count if fine else lattice.size
        neighbours = fine_neighbours if fine else coarse_neighbours

        def system(
            k: int, xi: torch.Tensor, distance: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
            index, weight = lattice.corners(xi)
            if fine:
                index = band.rows(index)
                # Corners in the halo and beyond stay with the coarse lattice.
                weight = torch.where((index >= 0) & (index < band.count), weight, 0.0)
                index = index.clamp(0, band.count - 1)
            return index, weight, target(k, xi, distance), 1.0 / (distance.abs() + NEAR)

        def normal_solve(parts: Sequence[torch.Tensor], prior: torch.Tensor, iterations: int) -> torch.Tensor:
            index, weight, wanted, importance = parts
            return _least_squares(
                index,
                weight,
                wanted,
                importance,
                neighbours,
                preset.smoothness,
                preset.ridge,
                prior,
                iterations,
                job.check,
            )

        pooled = [torch.cat(parts) for parts in zip(*(system(k, *thin[k]) for k in some), strict=True)]
        mean = normal_solve(pooled, torch.zeros(size, device=job.device), 2 * preset.iterations)
        del pooled
        job.tell("fit", start, step=0, steps=count)

        def solve(place: int) -> torch.Tensor:
            k = mine[place]
            parts = system(k, points[k].to(job.device), distances[k].to(job.device))
            return normal_solve(parts, mean, preset.iterations)

        with closing(ordered_parallel_map(solve, len(mine), job.at_once)) as solved:
            for k, values in enumerate(distributed.gather_in_order(solved, count, job.device), 1):
                job.tell("fit", start + (end - start) * k / count, step=k, steps=count)
                yield values

    middle = SAMPLED + 0.2 * (SOLVED - SAMPLED)
    coarse = LowRankBasis.from_states(
        solve_all(coarse_lattice, lambda k, xi, distance: distance, False, SAMPLED, middle), most
    )
    return coarse, LowRankBasis.from_states(solve_all(band.lattice, residual, True, middle, SOLVED), most)


def one_hot(k: int, count: int, device: torch.device) -> torch.Tensor:
    weights = torch.zeros(count, device=device)
    weights[k] = 1.0
    return weights


def _least_squares(
    index: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    importance: torch.Tensor,
    neighbours: torch.Tensor,
    smoothness: float,
    ridge: float,
    prior: torch.Tensor,
    iterations: int,
    check: Callable[[], None] = lambda: None,
) -> torch.Tensor:
    """Node values v f4[nodes] of least Σ importance·(A v − target)² + smoothness·|∇v|² + ridge·|v − prior|².

    A is trilinear interpolation: index i4[N,8], weight f4[N,8]; |∇v|² sums the squared differences over the
    links to the `neighbours` i8[nodes,6] (a node itself where there is none). By Jacobi-preconditioned
    conjugate gradients from `prior`; `check` is called before each and may raise to stop.
    """
    flat, linked = index.reshape(-1).long(), neighbours.reshape(-1)
    degree = (neighbours != torch.arange(len(prior), device=prior.device)[:, None]).sum(1)

    def transposed(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(prior).scatter_add_(0, flat, (weight * values[:, None]).reshape(-1))

    def apply(v: torch.Tensor) -> torch.Tensor:
        seen = transposed(importance * gather(v[:, None], index, weight)[:, 0])
        return seen + smoothness * (6.0 * v - v.index_select(0, linked).view(-1, 6).sum(1)) + ridge * v

    diagonal = torch.zeros_like(prior).scatter_add_(0, flat, (importance[:, None] * weight**2).reshape(-1))
    inverse = 1.0 / (diagonal + smoothness * degree + ridge)
    v = prior.clone()
    residual = transposed(importance * target) + ridge * prior - apply(v)
    direction = inverse * residual
    product = residual @ direction
    for _ in range(iterations):
        check()
        applied = apply(direction)
        # A zero product is an exact solution; the bound keeps it one without asking the device for its value.
        alpha = product / (direction @ applied).clamp_min(1e-30)
        v += alpha * direction
        residual -= alpha * applied
        preconditioned = inverse * residual
        following = residual @ preconditioned
        direction = preconditioned + (following / product.clamp_min(1e-30)) * direction
        product = following
    return v
