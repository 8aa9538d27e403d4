"""Preset `paper`: the DSR of the paper (Sun et al., NeurIPS 2023, section 2.2 and 3.2): loss, distribution D, training.

What the paper prints is done as printed. Ours, since it prints nothing about it:

- the batch and the rates of Adam (`config.PaperPreset`; the released code takes all points of one state a step and
  halves 10⁻⁴ for θ and 10⁻³ for z every 200 epochs of 4000), and that the halvings are spread over the run however
  short a budget makes it, so that every run ends annealed;
- the weights of t and z at the start, and the unit of z (`fields.paper.Network`);
- that all trajectories have one unit of length and each its own middle;
- that z of a new trajectory of a known family starts amid the known ones.

Coordinates are taken as they are: `align` and `smooth` have no meaning here, and a loop is refused.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .config import PRESETS, FitConfig, PaperPreset
from .errors import RequestError
from .field import Family
from .fields.paper import Network, PaperField, normalised_time
from .metrics import Frame
from .motion import Motion
from .surfaces import Surface, check_series
from .trainer import Progress, _Fit, clearance_of

__all__ = ["Clouds", "draw", "fit", "fit_family", "fit_member", "loss", "neighbour_distance"]

# Share of the whole fit that is done when training starts.
SAMPLED = 0.02
# Steps between two looks at the losses, which wait for the device; a second at most.
EVERY = 10
# Looks that the loss of the report is the mean of.
LAST = 5


def fit(
    surfaces: Sequence[Surface],
    config: FitConfig | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    preset: PaperPreset | None = None,
) -> PaperField:
    """As `trainer.fit`. preset: the numbers to use; those of config.preset where None.

    On the CPU and without a budget, the same surfaces, seed and number of threads give the same field.
    """
    run = _Run(config, preset, progress, cancelled)
    return run.fit([_checked(surfaces)], run.network())[0]


def fit_family(
    trajectories: Mapping[str, Sequence[Surface]],
    config: FitConfig | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    preset: PaperPreset | None = None,
) -> Family:
    """As `trainer.fit_family`: one θ for all, one z for each. Raises ValueError where there are no trajectories."""
    if not trajectories:
        raise ValueError("there are no trajectories")
    run = _Run(config, preset, progress, cancelled)
    series = [_checked(surfaces, f"trajectory {name}: ") for name, surfaces in trajectories.items()]
    members = dict(zip(trajectories, run.fit(series, run.network()), strict=True))
    reports = {name: field.report for name, field in members.items()}
    first = next(iter(members.values()))
    shared = {key: first.report[key] for key in ("preset", "device", "threads", "seconds", "steps", "loss", "seed")}
    parameters = _numbers(first.network) + sum(field.z.numel() for field in members.values())
    return Family(dict(members), {**shared, "parameters": parameters, "trajectories": reports})


def fit_member(
    family: Family,
    surfaces: Sequence[Surface],
    config: FitConfig | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    frozen: bool = False,
    preset: PaperPreset | None = None,
) -> PaperField:
    """As `trainer.fit_member`. The sizes of the network and its unit of length are the family's, whatever the preset.

    Raises ValueError for a family of another kind of field.
    """
    known = [field for field in family.members.values() if isinstance(field, PaperField)]
    if not known or len(known) < len(family.members):
        kinds = ", ".join(sorted({field.kind for field in family.members.values()})) or "none"
        raise ValueError(f"the family's fields are of kind {kinds}, not all paper; give the preset it was fitted with")
    run = _Run(config, preset, progress, cancelled)
    network = copy.deepcopy(known[0].network).to(run.device)
    # Amid the known codes the network knows its way; a fresh draw is far from all of them.
    z = torch.stack([field.z.to(run.device) for field in known]).mean(0)
    return run.fit([_checked(surfaces)], network, z, known[0].scale, 1.0 if frozen else run.preset.search)[0]


def _checked(surfaces: Sequence[Surface], where: str = "") -> list[Surface]:
    """The surfaces in the order of their states; a ValueError says `where`."""
    ordered = sorted(surfaces, key=lambda surface: surface.state)
    try:
        check_series(ordered)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error
    return ordered


# The loss, Eq. 2 and 3 ----------------------------------------------------------------------------------------


def loss(
    f: Callable[[torch.Tensor], torch.Tensor],
    surface: torch.Tensor,
    normals: torch.Tensor,
    space: torch.Tensor,
    z: torch.Tensor,
    preset: PaperPreset,
) -> torch.Tensor:
    """ℓ(θ) of Eq. 2, with ℓ_X of Eq. 3, as a mean over T times; everything normalised.

    f: points [T,N+M,3] → [T,N+M]; surface [T,N,3] with normals [T,N,3]: points of X; space [T,M,3]: points of D;
    z [T,latent]. Its derivatives with respect to θ go through those of f with respect to x.
    """
    count = surface.shape[1]
    x = torch.cat([surface, space], 1).requires_grad_()
    values = f(x)
    (gradient,) = torch.autograd.grad(values.sum(), x, create_graph=True)
    off = torch.linalg.vector_norm(gradient[:, :count] - normals, dim=-1)
    steepness = torch.linalg.vector_norm(gradient[:, count:], dim=-1)
    return (
        (values[:, :count].abs() + preset.normals * off).mean()
        + preset.eikonal * ((steepness - 1.0) ** 2).mean()
        + preset.code * torch.linalg.vector_norm(z, dim=-1).mean()
    )


# Points of X and of D -----------------------------------------------------------------------------------------


@dataclass(eq=False)
class Clouds:
    """The surface points of all states of all trajectories, normalised, on the device.

    points, normals f4[P,3] and sigma f4[P], the distance to the k-th neighbour within the state; of each of the S
    states start and count i8[S], its place there, times f4[S] (−1 to 1) and owner i8[S], the trajectory's number;
    reach f4[trajectories]: half the edge of the box that uniform points of D fill.
    """

    points: torch.Tensor
    normals: torch.Tensor
    sigma: torch.Tensor
    start: torch.Tensor
    count: torch.Tensor
    times: torch.Tensor
    owner: torch.Tensor
    reach: torch.Tensor


def neighbour_distance(points: NDArray[np.floating[Any]], k: int, workers: int = 1) -> NDArray[np.float64]:
    """Distance f8[N] of each point of [N,3] to its k-th nearest neighbour; to the farthest where there are fewer."""
    # The nearest is the point itself.
    distance: NDArray[np.float64] = cKDTree(points).query(points, k=[min(k, len(points) - 1) + 1], workers=workers)[0]
    return distance[:, 0]


def draw(
    clouds: Clouds, picked: torch.Tensor, count: int, uniform: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points and normals of X, both f4[T,count,3], and points of D f4[T,M,3], for the states with numbers i8[T].

    D is IGR's: a Gaussian around each of the points of X, as wide as the distance to its k-th neighbour, and `uniform`
    times as many points evenly in the box. Nothing here waits for the device.
    """
    device = clouds.points.device
    states = len(picked)
    room = clouds.count[picked][:, None]
    index = (torch.rand(states, count, generator=generator, device=device) * room).long()
    index = clouds.start[picked][:, None] + index.minimum(room - 1)
    surface = clouds.points[index]
    offset = torch.randn(surface.shape, generator=generator, device=device)
    local = surface + clouds.sigma[index][..., None] * offset
    spread = 2.0 * torch.rand(states, max(1, int(count * uniform)), 3, generator=generator, device=device) - 1.0
    everywhere = clouds.reach[clouds.owner[picked]][:, None, None] * spread
    return surface, clouds.normals[index], torch.cat([local, everywhere], 1)


# Training -----------------------------------------------------------------------------------------------------


class _Run:
    """One running fit of this preset."""

    def __init__(
        self,
        config: FitConfig | None,
        preset: PaperPreset | None,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> None:
        config = config or FitConfig(preset="paper")
        numbers = preset or PRESETS[config.preset]
        if not isinstance(numbers, PaperPreset):
            raise ValueError(f"preset {config.preset} is not one of the kind paper; fit with preset=paper")
        if config.loop:
            raise ValueError(f"preset {config.preset} has no loops, its time is a straight line; fit with preset=fast")
        self.config, self.preset = config, numbers
        self.job = _Fit(config, progress, cancelled)
        self.device = self.job.device

    def network(self) -> Network:
        """A new network, from the seed."""
        preset = self.preset
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = Network(preset.width, preset.layers, preset.latent, preset.radius)
        return network.to(self.device)

    def fit(
        self,
        series: Sequence[Sequence[Surface]],
        network: Network,
        z: torch.Tensor | None = None,
        scale: float | None = None,
        search: float = 0.0,
    ) -> list[PaperField]:
        """One field for each trajectory, a list of surfaces in the order of their states; all share the network.

        z f4[latent]: the code to start from, drawn from N(0, 1) where None; scale: normalised units per Å, that of the
        largest trajectory where None; search: share of the steps, and of the budget, in which z alone is trained.
        """
        frames = [Frame.of([surface.points for surface in surfaces]) for surfaces in series]
        scale = scale or min(frame.scale for frame in frames)
        clouds = self._clouds(series, frames, scale)
        if z is None:
            generator = torch.Generator().manual_seed(self.config.seed)
            codes = torch.randn(len(series), network.latent, generator=generator).to(self.device)
        else:
            codes = z.repeat(len(series), 1)
        last, done = float("nan"), 0
        with _tensor_cores(self.device):
            for whole, start, end in ((False, 0.0, search), (True, search, 1.0)):
                if start < end:
                    network.requires_grad_(whole)
                    last, done = self._train(network, codes, clouds, start, end, done)
        network.requires_grad_(False)
        return [
            self._field(surfaces, frame, network, code.clone(), scale, last, done)
            for surfaces, frame, code in zip(series, frames, codes, strict=True)
        ]

    def _clouds(self, series: Sequence[Sequence[Surface]], frames: Sequence[Frame], scale: float) -> Clouds:
        points, normals, sigma = [], [], []
        times: list[float] = []
        owner: list[int] = []
        total = sum(map(len, series))
        for number, (surfaces, frame) in enumerate(zip(series, frames, strict=True)):
            space = Frame(frame.centre, scale)
            for surface in surfaces:
                self.job.tell("sampling", SAMPLED * len(times) / total, step=len(times), steps=total)
                unit = space.to_unit(surface.points)
                points.append(unit)
                normals.append(surface.normals)
                sigma.append(neighbour_distance(unit, self.preset.neighbours, self.job.threads))
                times.append(normalised_time(surface.state, surfaces[0].state, surfaces[-1].state))
                owner.append(number)
        count = np.array([len(some) for some in points])

        def reals(values: Any) -> torch.Tensor:
            return torch.as_tensor(np.asarray(values, np.float32), device=self.device)

        def integers(values: Any) -> torch.Tensor:
            return torch.as_tensor(np.asarray(values, np.int64), device=self.device)

        return Clouds(
            points=reals(np.concatenate(points)),
            normals=reals(np.concatenate(normals)),
            sigma=reals(np.concatenate(sigma)),
            start=integers(np.cumsum(count) - count),
            count=integers(count),
            times=reals(times),
            owner=integers(owner),
            # A new trajectory may be larger than all of its family.
            reach=reals([max(1.0, scale / frame.scale) for frame in frames]),
        )

    def _train(
        self, network: Network, codes: torch.Tensor, clouds: Clouds, start: float, end: float, before: int
    ) -> tuple[float, int]:
        """Train in place the codes f4[trajectories,latent] and what of the network requires gradients.

        From the share `start` of the preset's steps, or of the budget, to `end`, with `before` steps done; the rates
        are halved over this part alone. Returns the mean loss of the last looks and the steps done in all. Where a
        loss or a weight is no number, training goes on from the last look at half the rates, once; the second time, or
        at the end, that raises RequestError `diverged`.
        """
        preset, job = self.preset, self.job
        steps = max(1, round((end - start) * preset.steps))
        budget = np.inf if self.config.budget is None else (end - start) * self.config.budget
        job.part = (SAMPLED + (1.0 - SAMPLED) * start, (1.0 - SAMPLED) * (end - start))
        job.tell("fit", 0.0, step=before, steps=before + steps, loss=None)
        codes.requires_grad_(True)
        trained = [codes, *(weight for weight in network.parameters() if weight.requires_grad)]
        good = [tensor.detach().clone() for tensor in trained]
        optimiser, slower = self._adam(trained), 1.0
        generator = torch.Generator(self.device).manual_seed(self.config.seed + before)
        batches = _batches(len(clouds.times), preset.states, generator)
        recent: list[torch.Tensor] = []
        means: list[float] = []
        started = looked = time.perf_counter()
        step, share = 0, 0.0
        while share < 1.0:
            job.check()
            for group in optimiser.param_groups:
                group["lr"] = group["first"] * slower * 0.5 ** int(share * (preset.halvings + 1))
            optimiser.zero_grad(set_to_none=True)
            lost = self._loss(network, codes, clouds, next(batches), generator)
            lost.backward()
            optimiser.step()
            recent.append(lost.detach())
            step += 1
            now = time.perf_counter()
            share = max(step / steps, (now - started) / budget)
            if len(recent) < EVERY and now - looked < 1.0 and share < 1.0:
                continue
            # A weight that is no number makes the sum none: one look at the device tells all.
            total = torch.stack([tensor.detach().sum() for tensor in trained]).sum()
            mean = float(torch.stack(recent).mean() + 0.0 * total)
            recent, looked = [], time.perf_counter()
            if np.isfinite(mean):
                means.append(mean)
                good = [tensor.detach().clone() for tensor in trained]
                job.tell("fit", min(1.0, share), step=before + step, steps=before + steps, loss=mean)
                continue
            if slower < 1.0 or share >= 1.0:
                raise RequestError("diverged", f"the loss is {mean} at step {before + step}; fit with another seed")
            with torch.no_grad():
                for tensor, value in zip(trained, good, strict=True):
                    tensor.copy_(value)
            optimiser, slower = self._adam(trained), 0.5
        codes.requires_grad_(False)
        return float(np.mean(means[-LAST:])), before + step

    def _adam(self, trained: Sequence[torch.Tensor]) -> torch.optim.Adam:
        """For the codes, which come first, and the weights. `first` is a group's rate at the start."""
        groups = [{"params": trained[:1], "first": self.preset.latent_rate}]
        if len(trained) > 1:
            groups.append({"params": trained[1:], "first": self.preset.rate})
        return torch.optim.Adam(groups)

    def _loss(
        self,
        network: Network,
        codes: torch.Tensor,
        clouds: Clouds,
        picked: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """ℓ at new points of the states with numbers i8[T]."""
        count = self.preset.cpu_points if self.device.type == "cpu" else self.preset.points
        surface, normals, space = draw(clouds, picked, count, self.preset.uniform, generator)
        z = codes[clouds.owner[picked]]
        code = torch.cat([clouds.times[picked][:, None], z], 1)
        return loss(lambda x: network(x, code), surface, normals, space, z, self.preset)

    def _field(
        self,
        surfaces: Sequence[Surface],
        frame: Frame,
        network: Network,
        z: torch.Tensor,
        scale: float,
        last: float,
        steps: int,
    ) -> PaperField:
        """The field of one trajectory, with its report."""
        states = np.array([surface.state for surface in surfaces], np.float64)
        given = [surface.atoms for surface in surfaces if surface.atoms is not None and len(surface.atoms)]
        motion = Motion.of(states, np.stack(given) if given else None, align=False)
        low = np.min([surface.points.min(0) for surface in surfaces], 0)
        high = np.max([surface.points.max(0) for surface in surfaces], 0)
        preset, job = self.preset, self.job
        report = {
            "preset": self.config.preset,
            "device": str(self.device),
            "threads": job.threads,
            "seconds": round(time.perf_counter() - job.started, 2),
            "states": [float(state) for state in states],
            "atoms": len(given[0]) if given else 0,
            "area": round(float(np.mean([_area(surface) for surface in surfaces])), 1),
            "samples": sum(len(surface.points) for surface in surfaces),
            "parameters": _numbers(network) + z.numel(),
            "steps": steps,
            "loss": last,
            "lambda": preset.eikonal,
            "tau": preset.normals,
            "alpha": preset.code,
            "rate": preset.rate,
            "smooth": 0.0,
            "smooth_atoms": 0.0,
            "smooth_beyond": 0.0,
            "smooth_chosen_by": "the network, which makes the times between states",
            "forecast": "the network's own",
            "seed": self.config.seed,
        }
        extent = np.stack([low - 1.0, high + 1.0])
        return PaperField(network, z, scale, motion, frame, extent, max(map(clearance_of, surfaces)), report)


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Without end `size` of the numbers 0 to count − 1, i8[size]: all of them in random order, again and again."""
    left = torch.empty(0, dtype=torch.int64, device=generator.device)
    while True:
        while len(left) < size:
            left = torch.cat([left, torch.randperm(count, generator=generator, device=generator.device)])
        yield left[:size]
        left = left[size:]


@contextmanager
def _tensor_cores(device: torch.device) -> Iterator[None]:
    """Products in TF32 on a GPU: of 11 bits, 0.02 Å in a molecule of 80 Å, which training takes as noise of the points.

    What is fitted is evaluated in float32.
    """
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _numbers(network: Network) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _area(surface: Surface) -> float:
    """Area of the triangles, Å²."""
    a, b, c = (surface.points[surface.faces[:, k]].astype(np.float64) for k in range(3))
    return float(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())
