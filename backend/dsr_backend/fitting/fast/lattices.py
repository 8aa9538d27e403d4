"""The lattices of all states, by least squares on the samples.

The field is linear in the node values. Each state's values are therefore the solution of a sparse least-squares
problem, which takes a few steps of conjugate gradients instead of thousands of stochastic steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import torch

from ...fields.fast import BAND_LIMIT, LowRankBasis, NarrowBand
from ...geometry.lattice import Lattice
from ...runtime import distributed
from ...runtime.parallel import ordered_parallel_map
from ..config import Preset
from ..job import FitJob
from .least_squares import Observations, Regulariser, solve
from .samples import TrajectorySamples
from .stages import LATTICES_END, SAMPLES_END

# A distance d counts by 1 / (|d| + DISTANCE_SCALE), in Å: the surface matters most, and points away from it shape the
# rest of the band.
DISTANCE_SCALE = 0.3
# The prior of all states comes from about this many states, and from every THINNING-th sample of each.
PRIOR_STATES, THINNING = 8, 4
# Least number of modes; beyond it, the memory limits them.
MIN_MODES = 32
# Fraction of this stage at which the coarse lattices are solved.
COARSE_FRACTION = 0.2

# Makes observations from the number of a state, its points f4[N,3] (Å, material) and its distances f4[N] (Å).
Observe = Callable[[int, torch.Tensor, torch.Tensor], Observations]


def narrow_band(preset: Preset, samples: TrajectorySamples, device: torch.device) -> NarrowBand:
    """Return the band of the fine lattice, whose nodes are corners of cells with samples near some state's surface.

    The lattice covers all samples. Raises ValueError for a lattice of too many nodes.
    """
    # A rank may own no states.
    inf = torch.full((3,), torch.inf)
    low = torch.stack([inf, *(p.amin(0).cpu() for p in samples.points if len(p))]).amin(0).numpy()
    high = torch.stack([-inf, *(p.amax(0).cpu() for p in samples.points if len(p))]).amax(0).numpy()
    low = np.array(distributed.all_reduce(low.tolist(), device, "min"), np.float32)
    high = np.array(distributed.all_reduce(high.tolist(), device, "max"), np.float32)
    lattice = Lattice.around(low, high, preset.spacing, multiple=preset.coarse_factor)
    lattice.ensure_allocatable(BAND_LIMIT, device)
    inside = torch.zeros(lattice.size, dtype=torch.bool, device=device)
    for xi, distance in zip(samples.points, samples.distances, strict=True):
        index, _ = lattice.corners(xi[distance.abs() < preset.band].to(device))
        inside[index.reshape(-1)] = True
    return NarrowBand(lattice, distributed.any_rank(inside))


def solve_lattices(
    job: FitJob[Preset], band: NarrowBand, samples: TrajectorySamples
) -> tuple[LowRankBasis, LowRankBasis]:
    """Return the node values (Å) of the coarse lattice, and the band's differences to it, for all states."""
    count = len(samples)
    coarse_lattice = band.lattice.coarser(job.preset.coarse_factor)
    max_modes = max(MIN_MODES, job.preset.max_values // band.count)
    prior_samples = _prior_samples(job, samples)
    middle = SAMPLES_END + COARSE_FRACTION * (LATTICES_END - SAMPLES_END)

    def observe_coarse(k: int, xi: torch.Tensor, distance: torch.Tensor) -> Observations:
        index, weight = coarse_lattice.corners(xi)
        return Observations(index, weight, distance, 1.0 / (distance.abs() + DISTANCE_SCALE))

    every_node = torch.ones(coarse_lattice.size, dtype=torch.bool, device=job.device)
    coarse_neighbours = NarrowBand(coarse_lattice, every_node).neighbours
    coarse_values = _solve_states(job, samples, prior_samples, observe_coarse, coarse_neighbours, (SAMPLES_END, middle))
    coarse = LowRankBasis.from_states(coarse_values, max_modes)

    def observe_fine(k: int, xi: torch.Tensor, distance: torch.Tensor) -> Observations:
        index, weight = band.lattice.corners(xi)
        index = band.rows(index)
        # Corners outside the band keep the coarse lattice's value.
        weight = torch.where((index >= 0) & (index < band.count), weight, 0.0)
        index = index.clamp(0, band.count - 1)
        values = coarse.mix(one_hot(k, count, job.device))[:, None]
        residual = distance - coarse_lattice.interpolate(values, xi)[:, 0]
        return Observations(index, weight, residual, 1.0 / (distance.abs() + DISTANCE_SCALE))

    own = torch.arange(band.count, device=job.device)[:, None]
    fine_neighbours = band.neighbours[: band.count]
    fine_neighbours = torch.where(fine_neighbours < band.count, fine_neighbours, own)
    fine_values = _solve_states(job, samples, prior_samples, observe_fine, fine_neighbours, (middle, LATTICES_END))
    return coarse, LowRankBasis.from_states(fine_values, max_modes)


def one_hot(k: int, count: int, device: torch.device) -> torch.Tensor:
    """Return the weights f4[count] that select state k."""
    weights = torch.zeros(count, device=device)
    weights[k] = 1.0
    return weights


def _prior_samples(job: FitJob[Preset], samples: TrajectorySamples) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """Return thinned points f4[N,3] and distances f4[N] of some states, by number, the same on every rank."""
    count = len(samples)

    def every_nth(values: torch.Tensor, owner: int) -> torch.Tensor:
        own = values[::THINNING].to(job.device) if owner == distributed.rank() else None
        return distributed.broadcast(own, owner, job.device)

    thinned = {}
    for k in range(0, count, max(1, count // PRIOR_STATES)):
        owner = distributed.state_owner(k)
        thinned[k] = every_nth(samples.points[k], owner), every_nth(samples.distances[k], owner)
    return thinned


def _solve_states(
    job: FitJob[Preset],
    samples: TrajectorySamples,
    prior_samples: dict[int, tuple[torch.Tensor, torch.Tensor]],
    observe: Observe,
    neighbours: torch.Tensor,
    span: tuple[float, float],
) -> Iterator[torch.Tensor]:
    """Yield the node values f4[nodes] of all states in order; span: fractions of the fit at the start and the end.

    All states start from, and are drawn towards, the solution for the prior samples of several states together.
    """
    preset, count = job.preset, len(samples)
    regulariser = Regulariser(neighbours, preset.smoothness, preset.ridge)
    start, end = span
    pooled = Observations.concatenate([observe(k, *thinned) for k, thinned in prior_samples.items()])
    zero = torch.zeros(len(neighbours), device=job.device)
    prior = solve(pooled, regulariser, zero, 2 * preset.iterations, job.raise_if_cancelled)
    del pooled
    job.report_progress("fit", start, step=0, steps=count)
    own = distributed.own_states(count)

    def solve_state(index: int) -> torch.Tensor:
        k = own[index]
        observed = observe(k, samples.points[k].to(job.device), samples.distances[k].to(job.device))
        return solve(observed, regulariser, prior, preset.iterations, job.raise_if_cancelled)

    with closing(ordered_parallel_map(solve_state, len(own), job.parallel_states)) as solved:
        for k, values in enumerate(distributed.gather_in_order(solved, count, job.device), 1):
            job.report_progress("fit", start + (end - start) * k / count, step=k, steps=count)
            yield values
