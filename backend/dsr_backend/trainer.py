"""Surfaces → field, as a plain sequence: samples, lattices, smoothing, decoder.

The lattices are linear in their node values, so each state's are found by least squares in a few conjugate
gradient steps instead of thousands of stochastic ones; only the decoder is trained by Adam.
"""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import ranks
from .config import PRESETS, FitConfig, Preset
from .device import choose as choose_device
from .device import limit_threads
from .errors import Cancelled, RequestError
from .field import Family, Field
from .fields.fast import FIXED, MOST_NODES, Band, Decoder, FastField, Modes, stepped
from .lattice import Lattice, gather
from .metrics import Frame
from .motion import Motion, Warp
from .nearest import Nearest
from .parallel import in_order
from .sampling import Samples, draw
from .smoothing import Probes, choose
from .surfaces import Surface, check_series

if TYPE_CHECKING:
    from .training import Training

__all__ = ["Early", "Progress", "fit", "fit_family", "fit_member"]

Progress = Callable[[str, float, dict[str, Any]], None]

# Samples of all states together that stay in memory.
MOST_SAMPLE_BYTES = 2 * 2**30
# Samples of each state that are kept as they were, to choose temporal widths with.
PROBES = 8_000
# Share of the whole fit that is done when each part ends, as measured on two cores.
SAMPLED, SOLVED, CHOSEN = 0.35, 0.60, 0.65
# Distances count by 1 / (|d| + this), in Å: the surface matters, what is away from it shapes the band.
NEAR = 0.3
# Steps of the decoder between two looks at the loss, which wait for the device.
EVERY = 10
# Steps of the decoder between two looks at the unfinished field.
WATCH_STEPS = 100
# Å; see `clearance_of`.
LEAST_CLEARANCE = 3.0


class _Fit:
    """One running fit: what its parts share."""

    def __init__(self, config: FitConfig, progress: Progress, cancelled: Callable[[], bool]) -> None:
        self.config = config
        self.preset: Preset = PRESETS[config.preset]
        self.device = choose_device(config.device)
        self.threads = limit_threads()
        # States that are worked on together; each takes a hundred MB where the molecule is large.
        self.at_once = min(self.threads, 8) if self.device.type == "cpu" else 1
        self.started = time.perf_counter()
        # Where the running part's fractions lie in the whole: offset and factor.
        self.part = (0.0, 1.0)
        self._progress, self._cancelled = progress, cancelled

    def check(self) -> None:
        """Stop here if asked to."""
        if self._cancelled():
            raise Cancelled("the fit was cancelled")

    def tell(self, phase: str, fraction: float, **extra: Any) -> None:
        """Report progress (`fraction` 0 to 1 of the running part) and stop here if asked to."""
        self.check()
        fraction = self.part[0] + self.part[1] * fraction
        seconds = time.perf_counter() - self.started
        left = seconds * (1.0 - fraction) / fraction if fraction > 0.02 else None
        self._progress(phase, fraction, {"seconds_left": left, "device": str(self.device), **extra})


def fit(
    surfaces: Sequence[Surface],
    config: FitConfig | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    watch: Callable[[Field], None] | None = None,
    early: Early | None = None,
    training: Training | None = None,
) -> Field:
    """Fit f(x, t) to the surfaces of one molecule's states.

    progress: called with the phase, the fraction done and what else the protocol's `progress` says; watch: called
    with the unfinished field, as soon as it can be meshed and a few times after (preset `fast` only); early: what was
    drawn of these surfaces while they arrived; training: where preset `paper` keeps its checkpoints. Raises
    ValueError where the surfaces do not go together or take too large a box, RequestError `diverged` where
    the loss is no number, and Cancelled once `cancelled()` is true. On the CPU, the same surfaces, seed and
    number of threads give the same field.
    """
    config = config or FitConfig()
    if config.preset == "paper":
        from . import paper

        return paper.fit(surfaces, config, progress, cancelled, training=training)
    job = _Fit(config, progress, cancelled)
    with closing(_Spill()) as spill:
        trajectory = _prepare(job, surfaces, None, 0, spill, early)
        loss, steps = _train_decoder(job, [trajectory], watch=watch)
    return _reported(job, trajectory, loss, steps)


def fit_family(
    trajectories: Mapping[str, Sequence[Surface]],
    config: FitConfig | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    watch: Callable[[Field], None] | None = None,
    early: Early | None = None,
    training: Training | None = None,
) -> Family:
    """Fit several trajectories at once: one network, a latent code and lattices for each.

    Otherwise as `fit`; `watch` gets the field of the first.
    """
    config = config or FitConfig()
    if not trajectories:
        raise ValueError("there are no trajectories")
    if config.preset == "paper":
        from . import paper

        return paper.fit_family(trajectories, config, progress, cancelled, training=training)
    job = _Fit(config, progress, cancelled)
    with closing(_Spill()) as spill:
        prepared: list[_Trajectory] = []
        for number, surfaces in enumerate(trajectories.values()):
            job.part = (number * CHOSEN / len(trajectories), 1.0 / len(trajectories))
            decoder = prepared[0].field.decoder if prepared else None
            prepared.append(_prepare(job, surfaces, decoder, job.preset.latent, spill, early, number))
        job.part = (0.0, 1.0)
        loss, steps = _train_decoder(job, prepared, watch=watch)
    members: dict[str, Field] = {
        name: _reported(job, one, loss, steps) for name, one in zip(trajectories, prepared, strict=True)
    }
    reports = {name: field.report for name, field in members.items()}
    whole = next(iter(reports.values()))
    shared = {key: whole[key] for key in ("preset", "device", "threads", "seconds", "steps", "loss", "seed")}
    parameters = sum(report["parameters"] for report in reports.values())
    return Family(members, {**shared, "parameters": parameters, "trajectories": reports})


def fit_member(
    family: Family,
    surfaces: Sequence[Surface],
    config: FitConfig | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    frozen: bool = False,
    watch: Callable[[Field], None] | None = None,
    early: Early | None = None,
    training: Training | None = None,
) -> Field:
    """Fit a new trajectory of a known family; otherwise as `fit`.

    The network starts as the family's and stays so while the latent code is found; then all of it is trained on the
    new trajectory, unless `frozen`. The family itself is left as it is. Raises ValueError for a preset that is not
    the family's.
    """
    config = config or FitConfig()
    if config.preset != family.report["preset"]:
        raise ValueError(
            f"the family was fitted with preset {family.report['preset']} and this trajectory is to be with "
            f"{config.preset}; give preset={family.report['preset']}"
        )
    if config.preset == "paper":
        from . import paper

        return paper.fit_member(family, surfaces, config, progress, cancelled, frozen, training=training)
    fast = [field for field in family.members.values() if isinstance(field, FastField)]
    job = _Fit(config, progress, cancelled)
    decoder = copy.deepcopy(fast[0].decoder)
    with closing(_Spill()) as spill:
        trajectory = _prepare(job, surfaces, decoder, len(fast[0].latent), spill, early)
        trajectory.field.latent = torch.stack([field.latent for field in fast]).mean(0).to(job.device)
        middle = 1.0 if frozen else 0.5 * (CHOSEN + 1.0)
        loss, steps = _train_decoder(job, [trajectory], (CHOSEN, middle), frozen=True, watch=watch)
        if not frozen:
            loss, more = _train_decoder(job, [trajectory], (middle, 1.0), watch=watch)
            steps += more
    return _reported(job, trajectory, loss, steps)


@dataclass(eq=False)
class _Trajectory:
    """One molecule's states on the way to a field. points: per state f4[N,3] Å in material coordinates; distances:
    f4[N] Å, both empty for states of other ranks; area: mean of the states', Å²."""

    field: FastField
    points: list[torch.Tensor]
    distances: list[torch.Tensor]
    area: float
    chosen: str


def _prepare(
    job: _Fit,
    surfaces: Sequence[Surface],
    decoder: Decoder | None,
    latent: int,
    spill: _Spill,
    early: Early | None = None,
    number: int = 0,
) -> _Trajectory:
    """Everything but the decoder's training: samples, lattices and temporal widths of one trajectory.

    decoder: that of the family, None for a new one; latent: length of the latent code; number: the trajectory's among
    those of `early`.
    """
    config, preset = job.config, job.preset
    # Surfaces may lie in files and be read one by one: they are gone through, never held together.
    states = np.array([surface.state for surface in surfaces], np.float64)
    if not (np.diff(states) > 0.0).all():
        surfaces = sorted(surfaces, key=lambda surface: surface.state)
        states.sort()
    check_series(surfaces)
    given = [surface.atoms for surface in surfaces if surface.atoms is not None and len(surface.atoms)]
    clock = config.clock(states)
    times = states if clock is None else clock(states)
    motion = Motion.of(times, np.stack(given) if given else None, config.align, config.loop, job.device)
    motion.backtest()

    drawn = (lambda state: early.take(number, state)) if early is not None else (lambda state: None)
    points, distances, probes, about = _samples(job, surfaces, motion, spill, drawn)
    band, factor = _band(preset, points, distances, job.device)
    coarse, fine = _solve_states(job, band, factor, points, distances)

    channels = FIXED - 1 + preset.static_channels + latent
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        decoder = decoder or Decoder(channels, preset.hidden).to(job.device)
        static = 0.01 * torch.randn(band.count, preset.static_channels).to(job.device)
        code = torch.randn(latent).to(job.device)
    extent = np.stack([about.low - 1.0, about.high + 1.0]).astype(np.float32)
    frame = Frame.of([np.stack([about.low, about.high])])
    field = FastField(motion, band, factor, coarse, fine, static, decoder, code, frame, extent, about.clearance, {})
    field.clock, field.reach = clock, about.reach
    if config.smooth is None:
        chosen = choose(field, probes, lambda share: job.tell("fit", SOLVED + (CHOSEN - SOLVED) * share), job.at_once)
    else:
        motion.smooth = field.smooth = field.smooth_beyond = config.smooth
        chosen = "given"
    return _Trajectory(field, points, distances, about.area, chosen)


def _reported(job: _Fit, trajectory: _Trajectory, loss: float, steps: int) -> FastField:
    """The field, with its report."""
    field, config = trajectory.field, job.config
    motion = field.motion
    field.report = {
        "preset": config.preset,
        "device": str(job.device),
        "threads": job.threads,
        "seconds": round(time.perf_counter() - job.started, 2),
        "states": field.states,
        "atoms": 0 if motion.atoms is None else motion.atoms.shape[1],
        "area": round(trajectory.area, 1),
        "samples": int(ranks.total([sum(len(d) for d in trajectory.distances)], job.device)[0]),
        "parameters": sum(tensor.numel() for name, tensor in field.tensors().items() if name != "band"),
        "steps": steps,
        "loss": loss,
        "smooth": field.smooth,
        "smooth_atoms": motion.smooth,
        "smooth_beyond": field.smooth_beyond,
        "lift": field.lift,
        "sigma": motion.sigma,
        "smooth_chosen_by": trajectory.chosen,
        "missed": None if field.missed is None else round(field.missed, 4),
        "forecast": _say_forecast(motion),
        "seed": config.seed,
    }
    return field


def clearance_of(surface: Surface) -> float:
    """How far in Å a surface like this may reach beyond its atoms: 1 Å more than this one does, 3 Å at least.

    Radii and probe are the user's: a solvent-accessible surface reaches far.
    """
    if surface.atoms is None or not len(surface.atoms):
        return LEAST_CLEARANCE
    below, above = surface.atoms.min(0) - surface.points.min(0), surface.points.max(0) - surface.atoms.max(0)
    return max(LEAST_CLEARANCE, float(max(below.max(), above.max())) + 1.0)


def reach_of(surface: Surface, device: torch.device) -> float:
    """How far in Å any point of the surface is from the nearest atom at most; inf without atoms."""
    if surface.atoms is None or not len(surface.atoms):
        return np.inf
    atoms, points = (torch.tensor(some, device=device) for some in (surface.atoms, surface.points))
    return float(Nearest(atoms)(points)[0].max())


def _say_forecast(motion: Motion) -> str:
    rank, damping = motion.forecasts[1].rank, motion.forecasts[1].damping
    if motion.period is not None:
        return f"none, the states are a loop of {motion.period:g}"
    if rank == 0:
        return "the last state is held"
    return f"the last state, moving on in {rank} principal motions damped over {damping:g} states"


# Samples ----------------------------------------------------------------------------------------------------


class _Spill:
    """Keeps samples: in memory as long as they are few, in files of a folder from there on.

    So the memory of a fit does not grow with the states; on a GPU, samples past that live in the host's memory.
    """

    def __init__(self) -> None:
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.kept, self.files = 0, 0

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same values, until `close`."""
        self.kept += tensor.nbytes
        if self.kept <= MOST_SAMPLE_BYTES or not tensor.numel():
            return tensor
        if self.folder is None:
            self.folder = tempfile.TemporaryDirectory(prefix="dsr-", ignore_cleanup_errors=True)
        self.files += 1
        path = os.path.join(self.folder.name, f"samples-{self.files}")
        # Written, not only mapped: a full disk is then an error here and not a bus error later.
        tensor.cpu().numpy().tofile(path)
        return torch.from_file(path, shared=True, size=tensor.numel(), dtype=tensor.dtype).reshape(tensor.shape)

    def close(self) -> None:
        """Remove the files."""
        if self.folder is not None:
            self.folder.cleanup()


@dataclass(frozen=True)
class _About:
    """All surfaces together: corners f8[3] of their box, largest clearance and reach (Å), mean area (Å²)."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    clearance: float
    reach: float
    area: float


def _draw(preset: Preset, seed: int, surface: Surface, device: torch.device, check: Callable[[], None]) -> Samples:
    return draw(
        surface,
        density=preset.density,
        sigmas=(preset.near_sigma, preset.far_sigma),
        uniform_share=preset.uniform_share,
        clearance=preset.clearance,
        # By state, so that they are the same in whatever order surfaces come.
        seed=(seed * 1_000_003 + round(1024.0 * surface.state)) % 2**63,
        device=device,
        check=check,
    )


class Early:
    """Draws the samples of surfaces while others still arrive, in a thread of its own."""

    def __init__(self, config: FitConfig) -> None:
        """Raises ValueError where the device is not there, and for preset `paper`, which takes surfaces as they are."""
        if not isinstance(PRESETS[config.preset], Preset):
            raise ValueError(f"preset {config.preset} draws no samples beforehand")
        self._preset, self._seed, self._device = PRESETS[config.preset], config.seed, choose_device(config.device)
        self._spill = _Spill()
        self._thread = ThreadPoolExecutor(1, "dsr-early")
        self._drawn: dict[tuple[int, float], Future[Samples]] = {}
        self._closed = False

    def add(self, number: int, state: float, read: Callable[[], Surface]) -> None:
        """Draw those of one state of trajectory `number`, whose surface is read when its turn comes.

        One of the same state before it gives way.
        """
        self._drawn[number, state] = self._thread.submit(self._keep, read)

    def _keep(self, read: Callable[[], Surface]) -> Samples:
        samples = _draw(self._preset, self._seed, read(), self._device, self._check)
        return Samples(self._spill.keep(samples.points), self._spill.keep(samples.distance), samples.area)

    def _check(self) -> None:
        if self._closed:
            raise Cancelled("the fit was given up")

    def take(self, number: int, state: float) -> Samples | None:
        """The samples of that state, waited for where they are under way; None where its surface was not added."""
        future = self._drawn.pop((number, state), None)
        return None if future is None else future.result()

    def close(self) -> None:
        """Stop, and forget all."""
        self._closed = True
        self._thread.shutdown(cancel_futures=True)
        self._drawn.clear()
        self._spill.close()


def _samples(
    job: _Fit,
    surfaces: Sequence[Surface],
    motion: Motion,
    spill: _Spill,
    drawn_before: Callable[[float], Samples | None],
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[Probes], _About]:
    """Per state points f4[N,3] in material coordinates, distances f4[N] (Å) and probes; and what all are like.

    Points and distances of the states of other ranks are empty.
    """
    nothing = torch.zeros(0, device=job.device)
    points, distances = [nothing.view(0, 3)] * len(surfaces), [nothing] * len(surfaces)
    probes: list[Probes | None] = [None] * len(surfaces)
    areas = []
    low, high, clearance, reach = np.full(3, np.inf), np.full(3, -np.inf), LEAST_CLEARANCE, 0.0
    preset, count = job.preset, len(surfaces)
    own = ranks.mine(count)

    def sampled(place: int) -> tuple[Surface, Samples, torch.Tensor, float]:
        k = own[place]
        surface = surfaces[k]
        samples = drawn_before(surface.state)
        if samples is None:
            samples = _draw(preset, job.config.seed, surface, job.device, job.check)
        # Those that were spilled lie on the host.
        samples = Samples(samples.points.to(job.device), samples.distance.to(job.device), samples.area)
        xi = motion.warp(motion.states[k], job.device)(samples.points)
        return surface, samples, xi, reach_of(surface, job.device)

    job.tell("sampling", 0.0, step=0, steps=count)
    with closing(in_order(sampled, len(own), job.at_once)) as drawn:
        for k, (surface, samples, xi, own_reach) in zip(own, drawn, strict=True):
            points[k] = spill.keep(xi)
            distances[k] = spill.keep(samples.distance)
            near = (samples.distance.abs() < preset.band).nonzero()[:, 0]
            some = near[:: len(near) // PROBES + 1]
            in_reference_frame = Warp(*motion.pose(motion.states[k]), None, job.device)
            probes[k] = Probes(in_reference_frame(samples.points[some]), samples.distance[some])
            areas.append(samples.area)
            own_low, own_high = surface.points.min(0), surface.points.max(0)
            low, high = np.minimum(low, own_low), np.maximum(high, own_high)
            clearance, reach = max(clearance, clearance_of(surface)), max(reach, own_reach)
            job.tell("sampling", SAMPLED * (k + 1) / count, step=k + 1, steps=count)
    low = np.array(ranks.total(low.tolist(), job.device, "min"))
    high = np.array(ranks.total(high.tolist(), job.device, "max"))
    clearance, reach = ranks.total([clearance, reach], job.device, "max")
    [area] = ranks.total([float(np.sum(areas))], job.device)
    told = [_probes_of(job, probe, k) for k, probe in enumerate(probes)]
    return points, distances, told, _About(low, high, clearance, reach, area / count)


def _probes_of(job: _Fit, probes: Probes | None, k: int) -> Probes:
    """Those of state k, from the rank that has drawn them."""
    if ranks.count() == 1:
        assert probes is not None
        return probes
    points = ranks.shared(None if probes is None else probes.points, ranks.owner(k), job.device)
    return Probes(points, ranks.shared(None if probes is None else probes.distance, ranks.owner(k), job.device))


def _band(
    preset: Preset, points: list[torch.Tensor], distances: list[torch.Tensor], device: torch.device
) -> tuple[Band, int]:
    """The fine lattice over all points and the nodes of it that some state's surface comes near."""
    # Of a rank without states there is nothing.
    inf = torch.full((3,), torch.inf)
    low = torch.stack([inf, *(p.amin(0).cpu() for p in points if len(p))]).amin(0).numpy()
    high = torch.stack([-inf, *(p.amax(0).cpu() for p in points if len(p))]).amax(0).numpy()
    low = np.array(ranks.total(low.tolist(), device, "min"), np.float32)
    high = np.array(ranks.total(high.tolist(), device, "max"), np.float32)
    lattice = Lattice.around(low, high, preset.spacing, even=preset.coarse_factor)
    if lattice.size > MOST_NODES:
        size = " × ".join(f"{length:.0f}" for length in high - low)
        raise ValueError(
            f"all states together take a box of {size} Å, more than {MOST_NODES} nodes "
            f"{preset.spacing} Å apart: fit fewer atoms, remove what drifts away, or unwrap jumps through "
            "the periodic box (pbc_unwrap)"
        )
    inside = torch.zeros(lattice.size, dtype=torch.bool, device=device)
    for xi, distance in zip(points, distances, strict=True):
        index, _ = lattice.corners(xi[distance.abs() < preset.band].to(device))
        inside[index.reshape(-1)] = True
    return Band(lattice, ranks.any_of(inside)), preset.coarse_factor


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
    # Every fourth sample of some states, which every rank starts from.
    some = range(0, count, max(1, count // 8))
    thin = {}
    for k in some:
        here = ranks.owner(k) == ranks.rank()
        parts = [part[k][::4].to(job.device) if here else None for part in (points, distances)]
        xi, distance = (ranks.shared(part, ranks.owner(k), job.device) for part in parts)
        thin[k] = xi, distance
    mine = ranks.mine(count)
    most = max(32, preset.max_values // band.count)

    def residual(k: int, xi: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
        values = coarse.mix(_one_hot(k, count, job.device))[:, None]
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

        with closing(in_order(solve, len(mine), job.at_once)) as solved:
            for k, values in enumerate(ranks.in_turn(solved, count, job.device), 1):
                job.tell("fit", start + (end - start) * k / count, step=k, steps=count)
                yield values

    middle = SAMPLED + 0.2 * (SOLVED - SAMPLED)
    coarse = Modes.of(solve_all(coarse_lattice, lambda k, xi, distance: distance, False, SAMPLED, middle), most)
    return coarse, Modes.of(solve_all(band.lattice, residual, True, middle, SOLVED), most)


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


# Decoder ----------------------------------------------------------------------------------------------------


def _train_decoder(
    job: _Fit,
    trajectories: Sequence[_Trajectory],
    part: tuple[float, float] = (CHOSEN, 1.0),
    *,
    frozen: bool = False,
    watch: Callable[[Field], None] | None = None,
) -> tuple[float, int]:
    """Train the MLP, static channels and latent codes, one state a step; the last mean |error| (Å) and steps.

    part: where this lies in the whole fit, 0 to 1; frozen: leave the MLP as it is. `budget` counts from here, and is
    looked at every ten steps.
    """
    preset = job.preset
    decoder = trajectories[0].field.decoder
    own = [tensor for t in trajectories for tensor in (t.field.static, t.field.latent)]
    trained = own if frozen else [*decoder.parameters(), *own]
    for tensor in trained:
        tensor.requires_grad_(True)
    groups: list[dict[str, Any]] = [{"params": own, "lr": 3.0 * preset.rate}]
    if not frozen:
        groups.append({"params": decoder.parameters()})
    optimiser = torch.optim.Adam(groups, lr=preset.rate)
    pairs = [(t, k) for t in trajectories for k in range(len(t.points))]
    steps = preset.decoder_steps * len(trajectories)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5 * (1.0 + np.cos(np.pi * step / steps)))
    generator = torch.Generator().manual_seed(job.config.seed)
    order = torch.cat([torch.randperm(len(pairs), generator=generator) for _ in range(steps // len(pairs) + 1)])
    started = time.perf_counter()
    losses = torch.zeros(steps, device=job.device)
    nearby = [count for t in trajectories for count in _near_first(job, t)]
    part_of_batch = ranks.share(preset.batch)
    done = 0
    for step in range(steps):
        if step % EVERY == 0:
            loss = float(losses[max(0, step - 20) : step].mean()) if step else None
            fraction = part[0] + (part[1] - part[0]) * step / steps
            job.tell("fit", fraction, step=step, steps=steps, loss=loss)
            if loss is not None and not np.isfinite(loss):
                raise RequestError("diverged", f"the loss is {loss} at step {step}; fit with another seed")
            over = job.config.budget is not None and time.perf_counter() - started > job.config.budget
            if step and ranks.agreed(over, job.device):
                break
            # The samples of all steps until the next look, moved there together.
            upcoming = [nearby[number] for number in order[step : min(step + EVERY, steps)].tolist()]
            drawn = torch.stack([torch.randint(n, (preset.batch,), generator=generator) for n in upcoming])
            moved = drawn.to(job.device)
        if watch is not None and step % WATCH_STEPS == 0:
            watch(trajectories[0].field)
        trajectory, k = pairs[int(order[step])]
        field, distance = trajectory.field, trajectory.distances[k]
        batch = None
        if ranks.owner(k) == ranks.rank():
            # Samples that were spilled lie on the host.
            parts = [part[(drawn if part.is_cpu else moved)[step % EVERY]] for part in (trajectory.points[k], distance)]
            batch = torch.cat([parts[0].to(job.device), parts[1].to(job.device)[:, None]], 1)
        batch = ranks.shared(batch, ranks.owner(k), job.device)[part_of_batch]
        xi, truth = batch[:, :3], batch[:, 3]
        index, weight = field.band.lattice.corners(xi)
        rows = field.band.rows(index)
        with torch.no_grad():
            _, table = field.table(_one_hot(k, len(trajectory.points), job.device))
            known = gather(table, rows, weight)
        # Column by column: the gradient of `gather` takes longer than all else in a step.
        static = [column.index_select(0, rows.view(-1)).view(rows.shape) for column in field.padded_static().T]
        features = torch.cat([known, *((weight * at).sum(1, keepdim=True) for at in static)], 1)
        error = (field.decode(features) - truth).abs()
        loss_now = (error / (truth.abs() + NEAR)).sum() / preset.batch
        optimiser.zero_grad(set_to_none=True)
        loss_now.backward()
        losses[step] = error.detach().sum() / preset.batch
        ranks.sum_gradients(trained, losses[step])
        optimiser.step()
        schedule.step()
        done = step + 1
    for tensor in trained:
        tensor.requires_grad_(False)
    for trajectory in trajectories:
        trajectory.field.static = stepped(trajectory.field.static)
    return float(losses[max(0, done - 50) : done].mean()), done


def _near_first(job: _Fit, trajectory: _Trajectory) -> list[int]:
    """Put the samples in the band before the others, in place; how many they are, for each state."""
    counts = []
    for points, distance in zip(trajectory.points, trajectory.distances, strict=True):
        near = distance.abs() < job.preset.band
        own, others = near.nonzero()[:, 0], (~near).nonzero()[:, 0]
        order = torch.cat([own, others])
        points.copy_(points[order.to(points.device)])
        distance.copy_(distance[order])
        counts.append(float(len(own)))
    return [int(count) for count in ranks.total(counts, job.device)]
