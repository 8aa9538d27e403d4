"""Surfaces → field, as a plain sequence: samples, lattices, smoothing, decoder.

The lattices are linear in their node values, so each state's are found by least squares in a few conjugate
gradient steps instead of thousands of stochastic ones; only the decoder is trained by Adam.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .config import PRESETS, FitConfig, Preset
from .device import choose as choose_device
from .device import limit_threads
from .errors import Cancelled, RequestError
from .field import Field
from .fields.fast import FIXED, MOST_NODES, Band, Decoder, FastField, Modes
from .lattice import Lattice, gather
from .metrics import Frame
from .motion import Motion, Warp
from .sampling import draw
from .smoothing import Probes, choose
from .surfaces import Surface, check_series

__all__ = ["Progress", "fit"]

Progress = Callable[[str, float, dict[str, Any]], None]

# Samples of each state that are kept as they were, to choose temporal widths with.
PROBES = 8_000
# Share of the whole fit that is done when each part ends, as measured on two cores.
SAMPLED, SOLVED, CHOSEN = 0.35, 0.60, 0.65
# Distances count by 1 / (|d| + this), in Å: the surface matters, what is away from it shapes the band.
NEAR = 0.3
# Å; see `_clearance`.
LEAST_CLEARANCE = 3.0


class _Fit:
    """One running fit: what its parts share."""

    def __init__(self, config: FitConfig, progress: Progress, cancelled: Callable[[], bool]) -> None:
        self.config = config
        self.preset: Preset = PRESETS[config.preset]
        self.device = choose_device(config.device)
        self.threads = limit_threads()
        self.started = time.perf_counter()
        self._progress, self._cancelled = progress, cancelled

    def check(self) -> None:
        """Stop here if asked to."""
        if self._cancelled():
            raise Cancelled("the fit was cancelled")

    def tell(self, phase: str, fraction: float, **extra: Any) -> None:
        """Report progress (`fraction` 0 to 1 of the whole fit) and stop here if asked to."""
        self.check()
        seconds = time.perf_counter() - self.started
        left = seconds * (1.0 - fraction) / fraction if fraction > 0.02 else None
        self._progress(phase, fraction, {"seconds_left": left, "device": str(self.device), **extra})


def fit(
    surfaces: Sequence[Surface],
    config: FitConfig | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Field:
    """Fit f(x, t) to the surfaces of one molecule's states.

    progress: called with the phase, the fraction done and what else the protocol's `progress` says. Raises
    ValueError where the surfaces do not go together or take too large a box, RequestError `diverged` where
    the loss is no number, and Cancelled once `cancelled()` is true. On the CPU, the same surfaces, seed and
    number of threads give the same field.
    """
    config = config or FitConfig()
    surfaces = sorted(surfaces, key=lambda surface: surface.state)
    check_series(surfaces)
    job = _Fit(config, progress, cancelled)
    states = np.array([surface.state for surface in surfaces], np.float64)
    given = [surface.atoms for surface in surfaces if surface.atoms is not None and len(surface.atoms)]
    motion = Motion.of(states, np.stack(given) if given else None, config.align)
    motion.backtest()

    points, distances, probes, area = _samples(job, surfaces, motion)
    band, factor = _band(job.preset, points, distances)
    coarse, fine = _solve_states(job, band, factor, points, distances)

    preset = job.preset
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        decoder = Decoder(FIXED - 1 + preset.static_channels, preset.hidden).to(job.device)
        static = 0.01 * torch.randn(band.count, preset.static_channels).to(job.device)
    frame = Frame.of([surface.points for surface in surfaces])
    low = np.min([surface.points.min(0) for surface in surfaces], 0)
    high = np.max([surface.points.max(0) for surface in surfaces], 0)
    extent = np.stack([low - 1.0, high + 1.0])
    field = FastField(motion, band, factor, coarse, fine, static, decoder, frame, extent, _clearance(surfaces), {})
    if config.smooth is None:
        chosen = choose(field, probes, lambda share: job.tell("fit", SOLVED + (CHOSEN - SOLVED) * share))
    else:
        motion.smooth = field.smooth = field.smooth_beyond = config.smooth
        chosen = "given"
    loss, steps = _train_decoder(job, field, points, distances)
    ahead = motion.forecasts[1]
    field.report = {
        "preset": config.preset,
        "device": str(job.device),
        "threads": job.threads,
        "seconds": round(time.perf_counter() - job.started, 2),
        "states": [float(state) for state in states],
        "area": round(area, 1),
        "samples": sum(len(d) for d in distances),
        "parameters": sum(tensor.numel() for name, tensor in field.tensors().items() if name != "band"),
        "steps": steps,
        "loss": loss,
        "smooth": field.smooth,
        "smooth_atoms": motion.smooth,
        "smooth_beyond": field.smooth_beyond,
        "sigma": motion.sigma,
        "smooth_chosen_by": chosen,
        "forecast": _say_forecast(ahead.rank, ahead.damping),
        "seed": config.seed,
    }
    return field


def _clearance(surfaces: Sequence[Surface]) -> float:
    """How far in Å a surface may reach beyond its atoms: 1 Å more than the given ones do, 3 Å at least.

    Radii and probe are the user's: a solvent-accessible surface reaches far.
    """
    clearance = LEAST_CLEARANCE
    for surface in surfaces:
        if surface.atoms is not None and len(surface.atoms):
            below = surface.atoms.min(0) - surface.points.min(0)
            above = surface.points.max(0) - surface.atoms.max(0)
            clearance = max(clearance, float(max(below.max(), above.max())) + 1.0)
    return clearance


def _say_forecast(rank: int, damping: float) -> str:
    if rank == 0:
        return "the last state is held"
    return f"the last state, moving on in {rank} principal motions damped over {damping:g} states"


# Samples ----------------------------------------------------------------------------------------------------


def _samples(
    job: _Fit, surfaces: Sequence[Surface], motion: Motion
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[Probes], float]:
    """Per state points f4[N,3] in material coordinates, distances f4[N] (Å) and probes; and the mean area (Å²)."""
    points, distances, probes, areas = [], [], [], []
    preset = job.preset
    for k, surface in enumerate(surfaces):
        job.tell("sampling", SAMPLED * k / len(surfaces), step=k, steps=len(surfaces))
        samples = draw(
            surface,
            density=preset.density,
            sigmas=(preset.near_sigma, preset.far_sigma),
            uniform_share=preset.uniform_share,
            clearance=preset.clearance,
            seed=job.config.seed * 1_000_003 + k,
            device=job.device,
            check=job.check,
        )
        points.append(motion.warp(surface.state, job.device)(samples.points))
        distances.append(samples.distance)
        near = (samples.distance.abs() < preset.band).nonzero()[:, 0]
        some = near[:: len(near) // PROBES + 1]
        in_reference_frame = Warp(*motion.pose(surface.state), None, job.device)
        probes.append(Probes(in_reference_frame(samples.points[some]), samples.distance[some]))
        areas.append(samples.area)
    return points, distances, probes, float(np.mean(areas))


def _band(preset: Preset, points: list[torch.Tensor], distances: list[torch.Tensor]) -> tuple[Band, int]:
    """The fine lattice over all points and the nodes of it that some state's surface comes near."""
    low = torch.stack([p.amin(0) for p in points]).amin(0).cpu().numpy()
    high = torch.stack([p.amax(0) for p in points]).amax(0).cpu().numpy()
    lattice = Lattice.around(low, high, preset.spacing, even=preset.coarse_factor)
    if lattice.size > MOST_NODES:
        size = " × ".join(f"{length:.0f}" for length in high - low)
        raise ValueError(
            f"all states together take a box of {size} Å, more than {MOST_NODES} nodes "
            f"{preset.spacing} Å apart: fit fewer atoms, remove what drifts away, or unwrap jumps through "
            "the periodic box (pbc_unwrap)"
        )
    inside = torch.zeros(lattice.size, dtype=torch.bool, device=points[0].device)
    for xi, distance in zip(points, distances, strict=True):
        index, _ = lattice.corners(xi[distance.abs() < preset.band])
        inside[index.reshape(-1)] = True
    return Band(lattice, inside), preset.coarse_factor


# Lattices ---------------------------------------------------------------------------------------------------


def _solve_states(
    job: _Fit, band: Band, factor: int, points: list[torch.Tensor], distances: list[torch.Tensor]
) -> tuple[Modes, Modes]:
    """Node values (Å) of both lattices for every state, by weighted least squares on the samples."""
    preset, count = job.preset, len(points)
    coarse_lattice = band.lattice.coarser(factor)
    rows = torch.ones(coarse_lattice.size, dtype=torch.bool, device=job.device)
    coarse_neighbours = Band(coarse_lattice, rows).neighbours
    fine_neighbours = band.neighbours[: band.count]
    own = torch.arange(band.count, device=job.device)[:, None]
    fine_neighbours = torch.where(fine_neighbours < band.count, fine_neighbours, own)
    some = range(0, count, max(1, count // 8))

    def solve_all(lattice: Lattice, targets: list[torch.Tensor], fine: bool, start: float, end: float) -> torch.Tensor:
        size = band.count if fine else lattice.size
        neighbours = fine_neighbours if fine else coarse_neighbours

        def system(k: int, every: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
            xi, distance = points[k][::every], distances[k][::every]
            index, weight = lattice.corners(xi)
            if fine:
                index = band.row_of[index]
                # Corners in the halo and beyond stay with the coarse lattice.
                weight = torch.where((index >= 0) & (index < band.count), weight, 0.0)
                index = index.clamp(0, band.count - 1)
            return index, weight, targets[k][::every], 1.0 / (distance.abs() + NEAR)

        def normal_solve(parts: Sequence[torch.Tensor], prior: torch.Tensor, iterations: int) -> torch.Tensor:
            index, weight, target, importance = parts
            return _least_squares(
                index,
                weight,
                target,
                importance,
                neighbours,
                preset.smoothness,
                preset.ridge,
                prior,
                iterations,
                job.check,
            )

        pooled = [torch.cat(parts) for parts in zip(*(system(k, 4) for k in some), strict=True)]
        mean = normal_solve(pooled, torch.zeros(size, device=job.device), 2 * preset.iterations)
        values = torch.empty(count, size, device=job.device)
        for k in range(count):
            job.tell("fit", start + (end - start) * k / count, step=k, steps=count)
            values[k] = normal_solve(system(k), mean, preset.iterations)
        return values

    middle = SAMPLED + 0.2 * (SOLVED - SAMPLED)
    most = max(32, preset.max_values // band.count)
    coarse = Modes.of(solve_all(coarse_lattice, distances, False, SAMPLED, middle), most)
    rest = []
    for k in range(count):
        at_points = coarse_lattice.interpolate(coarse.mix(_one_hot(k, count, job.device))[:, None], points[k])
        rest.append(distances[k] - at_points[:, 0])
    return coarse, Modes.of(solve_all(band.lattice, rest, True, middle, SOLVED), most)


def _one_hot(k: int, count: int, device: torch.device) -> torch.Tensor:
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

    A is trilinear interpolation: index i8[N,8], weight f4[N,8]; |∇v|² sums the squared differences over the
    links to the `neighbours` i8[nodes,6] (a node itself where there is none). By Jacobi-preconditioned
    conjugate gradients from `prior`; `check` is called before each and may raise to stop.
    """
    flat = index.reshape(-1)
    degree = (neighbours != torch.arange(len(prior), device=prior.device)[:, None]).sum(1)

    def transposed(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(prior).index_add_(0, flat, (weight * values[:, None]).reshape(-1))

    def apply(v: torch.Tensor) -> torch.Tensor:
        seen = transposed(importance * gather(v[:, None], index, weight)[:, 0])
        return seen + smoothness * (6.0 * v - v[neighbours].sum(1)) + ridge * v

    diagonal = torch.zeros_like(prior).index_add_(0, flat, (importance[:, None] * weight**2).reshape(-1))
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


# Decoder ----------------------------------------------------------------------------------------------------


def _train_decoder(
    job: _Fit, field: FastField, points: list[torch.Tensor], distances: list[torch.Tensor]
) -> tuple[float, int]:
    """Train the MLP and the static channels, one state a step; returns the last mean |error| (Å) and steps.

    `budget` counts from here, and is looked at every ten steps.
    """
    preset = job.preset
    steps = preset.decoder_steps
    field.static.requires_grad_(True)
    groups: list[dict[str, Any]] = [
        {"params": field.decoder.parameters()},
        {"params": [field.static], "lr": 3.0 * preset.rate},
    ]
    optimiser = torch.optim.Adam(groups, lr=preset.rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5 * (1.0 + np.cos(np.pi * step / steps)))
    generator = torch.Generator().manual_seed(job.config.seed)
    order = torch.cat([torch.randperm(len(points), generator=generator) for _ in range(steps // len(points) + 1)])
    near = [(d.abs() < preset.band).nonzero()[:, 0] for d in distances]
    started = time.perf_counter()
    losses = torch.zeros(steps, device=job.device)
    done = 0
    for step in range(steps):
        if step % 10 == 0:
            loss = float(losses[max(0, step - 20) : step].mean()) if step else None
            fraction = CHOSEN + (1.0 - CHOSEN) * step / steps
            job.tell("fit", fraction, step=step, steps=steps, loss=loss)
            if loss is not None and not np.isfinite(loss):
                raise RequestError("diverged", f"the loss is {loss} at step {step}; fit with another seed")
            over = job.config.budget is not None and time.perf_counter() - started > job.config.budget
            if step and over:
                break
        k = int(order[step])
        pick = near[k][torch.randint(len(near[k]), (preset.batch,), generator=generator).to(job.device)]
        xi, truth = points[k][pick], distances[k][pick]
        with torch.no_grad():
            _, table = field.table(_one_hot(k, len(points), job.device))
        index, weight = field.band.lattice.corners(xi)
        features = gather(torch.cat([table, field.padded_static()], 1), field.band.row_of[index], weight)
        error = (field.decode(features) - truth).abs()
        loss_now = (error / (truth.abs() + NEAR)).mean()
        optimiser.zero_grad(set_to_none=True)
        loss_now.backward()
        optimiser.step()
        schedule.step()
        losses[step] = error.detach().mean()
        done = step + 1
    field.static.requires_grad_(False)
    for parameter in field.decoder.parameters():
        parameter.requires_grad_(False)
    return float(losses[max(0, done - 50) : done].mean()), done
