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
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from . import ranks
from .checkpoint import digest
from .config import PRESETS, FitConfig, PaperPreset
from .errors import Cancelled, RequestError
from .field import Family
from .fields.paper import Network, PaperField, normalised_time
from .metrics import Frame
from .motion import Motion
from .surfaces import Surface, check_series
from .trainer import Progress, _Fit, clearance_of, reach_of
from .training import Training

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
    training: Training | None = None,
) -> PaperField:
    """As `trainer.fit`. preset: the numbers to use; those of config.preset where None.

    On the CPU and without a budget, the same surfaces, seed and number of threads give the same field.
    """
    run = _Run(config, preset, progress, cancelled, training)
    return run.fit([_checked(surfaces)], run.network())[0]


def fit_family(
    trajectories: Mapping[str, Sequence[Surface]],
    config: FitConfig | None = None,
    progress: Progress = lambda phase, fraction, extra: None,
    cancelled: Callable[[], bool] = lambda: False,
    preset: PaperPreset | None = None,
    training: Training | None = None,
) -> Family:
    """As `trainer.fit_family`: one θ for all, one z for each. Raises ValueError where there are no trajectories."""
    if not trajectories:
        raise ValueError("there are no trajectories")
    run = _Run(config, preset, progress, cancelled, training)
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
    training: Training | None = None,
) -> PaperField:
    """As `trainer.fit_member`. The sizes of the network and its unit of length are the family's, whatever the preset.

    Raises ValueError for a family of another kind of field.
    """
    known = [field for field in family.members.values() if isinstance(field, PaperField)]
    if not known or len(known) < len(family.members):
        kinds = ", ".join(sorted({field.kind for field in family.members.values()})) or "none"
        raise ValueError(f"the family's fields are of kind {kinds}, not all paper; give the preset it was fitted with")
    run = _Run(config, preset, progress, cancelled, training)
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
        training: Training | None = None,
    ) -> None:
        config = config or FitConfig(preset="paper")
        numbers = preset or PRESETS[config.preset]
        if not isinstance(numbers, PaperPreset):
            raise ValueError(f"preset {config.preset} is not one of the kind paper; fit with preset=paper")
        if config.loop:
            raise ValueError(f"preset {config.preset} has no loops, its time is a straight line; fit with preset=fast")
        self.config, self.preset, self.training = config, numbers, training
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
        about = self._about(clouds, codes, network, z is not None)
        kept = None if self.training is None else self.training.load(about)
        if kept is not None:
            self.job.started -= kept[1]["seconds"]
        with _tensor_cores(self.device):
            for whole, start, end in ((False, 0.0, search), (True, search, 1.0)):
                if start < end and (kept is None or kept[1]["end"] <= end):
                    network.requires_grad_(whole)
                    last, done = self._train(network, codes, clouds, start, end, done, about, kept)
                    kept = None
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
            stamps = _times(surfaces, self.job.config)
            for surface, stamp in zip(surfaces, stamps, strict=True):
                self.job.tell("sampling", SAMPLED * len(times) / total, step=len(times), steps=total)
                unit = space.to_unit(surface.points)
                points.append(unit)
                normals.append(surface.normals)
                here = ranks.owner(len(times)) == ranks.rank()
                sigma.append(neighbour_distance(unit, self.preset.neighbours, self.job.threads) if here else None)
                times.append(normalised_time(stamp, stamps[0], stamps[-1]))
                owner.append(number)
        count = np.array([len(some) for some in points])

        def reals(values: Any) -> torch.Tensor:
            return torch.as_tensor(np.asarray(values, np.float32), device=self.device)

        def integers(values: Any) -> torch.Tensor:
            return torch.as_tensor(np.asarray(values, np.int64), device=self.device)

        return Clouds(
            points=reals(np.concatenate(points)),
            normals=reals(np.concatenate(normals)),
            sigma=torch.cat(
                [
                    ranks.shared(None if some is None else reals(some), ranks.owner(k), self.device)
                    for k, some in enumerate(sigma)
                ]
            ),
            start=integers(np.cumsum(count) - count),
            count=integers(count),
            times=reals(times),
            owner=integers(owner),
            # A new trajectory may be larger than all of its family.
            reach=reals([max(1.0, scale / frame.scale) for frame in frames]),
        )

    def _about(self, clouds: Clouds, codes: torch.Tensor, network: Network, known: bool) -> dict[str, Any]:
        """What a checkpoint must be of to go on from it: surfaces, seed, numbers, and the family it starts from."""
        parts = {field.name: getattr(clouds, field.name).cpu() for field in fields(clouds)}
        if known:
            parts |= {"z": codes.detach().cpu(), **{name: value.cpu() for name, value in network.state_dict().items()}}
        numbers = {"preset": self.config.preset, **asdict(self.preset)}
        return {"seed": self.config.seed, "numbers": numbers, "digest": digest(parts, {})}

    def _train(
        self,
        network: Network,
        codes: torch.Tensor,
        clouds: Clouds,
        start: float,
        end: float,
        before: int,
        about: dict[str, Any],
        kept: tuple[dict[str, torch.Tensor], dict[str, Any]] | None,
    ) -> tuple[float, int]:
        """Train in place the codes f4[trajectories,latent] and what of the network requires gradients.

        about, kept: what a checkpoint of it is of, and the one to go on from.
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
        batches = _Batches(len(clouds.times), preset.states, generator)
        recent: list[torch.Tensor] = []
        means: list[float] = []
        started = looked = time.perf_counter()
        step, share, several = 0, 0.0, ranks.count() > 1
        if kept is not None:
            tensors, state = kept
            before, step, slower, means = (
                state["before"],
                state["step"] - state["before"],
                state["slower"],
                state["means"],
            )
            _put_back(tensors, network, codes, optimiser)
            good = [tensor.detach().clone() for tensor in trained]
            recent = list(tensors["recent"].to(self.device))
            batches.left = tensors["left"].to(self.device)
            if state["device"] == self.device.type:
                generator.set_state(tensors["generator"])
            else:
                # Random numbers of another device: these differ, and so does the field, by no more than with a seed.
                generator.manual_seed(self.config.seed + before + step)
            started -= state["elapsed"]
            share = max(step / steps, state["elapsed"] / budget)

        def keep() -> None:
            if self.training is None:
                return
            now = time.perf_counter()
            state = {"about": about, "end": end, "before": before, "step": before + step, "slower": slower}
            state |= {"means": means[-LAST:], "elapsed": now - started, "seconds": now - job.started}
            own = {"left": batches.left, "generator": generator.get_state()}
            own["recent"] = torch.stack(recent) if recent else torch.empty(0)
            self.training.save({**_taken(network, codes, optimiser), **own}, {**state, "device": self.device.type})

        try:
            while share < 1.0:
                job.check()
                for group in optimiser.param_groups:
                    group["lr"] = group["first"] * slower * 0.5 ** int(share * (preset.halvings + 1))
                optimiser.zero_grad(set_to_none=True)
                lost = self._loss(network, codes, clouds, next(batches), generator)
                # Of the rank's part of the points; what all have found is the mean of it.
                lost = lost / ranks.count()
                lost.backward()
                recent.append(lost.detach())
                ranks.sum_gradients(trained, recent[-1])
                optimiser.step()
                step += 1
                now = time.perf_counter()
                # Clocks differ between ranks, so that those are looked at together, and seldom.
                share = step / steps if several else max(step / steps, (now - started) / budget)
                if len(recent) < EVERY and (several or now - looked < 1.0) and share < 1.0:
                    continue
                if several:
                    share = max(share, *ranks.total([(now - started) / budget], self.device, "max"))
                # A weight that is no number makes the sum none: one look at the device tells all.
                total = torch.stack([tensor.detach().sum() for tensor in trained]).sum()
                mean = float(torch.stack(recent).mean() + 0.0 * total)
                recent, looked = [], time.perf_counter()
                if np.isfinite(mean):
                    means.append(mean)
                    good = [tensor.detach().clone() for tensor in trained]
                    if self.training is not None and self.training.due:
                        keep()
                    job.tell(
                        "fit", min(1.0, share), step=before + step, steps=before + steps, loss=mean, **self._kept()
                    )
                    continue
                if slower < 1.0 or share >= 1.0:
                    raise RequestError("diverged", f"the loss is {mean} at step {before + step}; fit with another seed")
                with torch.no_grad():
                    for tensor, value in zip(trained, good, strict=True):
                        tensor.copy_(value)
                optimiser, slower = self._adam(trained), 0.5
        except Cancelled:
            # What may have gone wrong since the last look is not kept.
            if step and bool(torch.stack([tensor.detach().sum() for tensor in trained]).sum().isfinite()):
                keep()
            raise
        codes.requires_grad_(False)
        return float(np.mean(means[-LAST:])), before + step

    def _kept(self) -> dict[str, Any]:
        """What progress says of checkpoints."""
        return {} if self.training is None or self.training.step is None else {"checkpoint": self.training.step}

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
        part = ranks.share(count)
        surface, normals, space = surface[:, part], normals[:, part], space[:, ranks.share(space.shape[1])]
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
        states = _times(surfaces, self.config)
        given = [surface.atoms for surface in surfaces if surface.atoms is not None and len(surface.atoms)]
        motion = Motion.of(states, np.stack(given) if given else None, align=False, device=self.device)
        low = np.min([surface.points.min(0) for surface in surfaces], 0)
        high = np.max([surface.points.max(0) for surface in surfaces], 0)
        preset, job = self.preset, self.job
        report = {
            "preset": self.config.preset,
            "device": str(self.device),
            "threads": job.threads,
            "seconds": round(time.perf_counter() - job.started, 2),
            "states": [surface.state for surface in surfaces],
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
        field = PaperField(network, z, scale, motion, frame, extent, max(map(clearance_of, surfaces)), report)
        field.reach = max(reach_of(surface, self.device) for surface in surfaces)
        field.clock = self.config.clock(surface.state for surface in surfaces)
        return field


def _times(surfaces: Sequence[Surface], config: FitConfig) -> NDArray[np.float64]:
    """The times f8[S] that the surfaces were at: their state numbers where these are even."""
    states = np.array([surface.state for surface in surfaces], np.float64)
    clock = config.clock(states)
    return states if clock is None else clock(states)


class _Batches:
    """Without end some of the numbers 0 to count − 1: all of them in random order, again and again.

    left: i8, those of the order under way that are still to come.
    """

    def __init__(self, count: int, size: int, generator: torch.Generator) -> None:
        self._count, self._size, self._generator = count, size, generator
        self.left = torch.empty(0, dtype=torch.int64, device=generator.device)

    def __iter__(self) -> _Batches:
        return self

    def __next__(self) -> torch.Tensor:
        """i8[size]."""
        while len(self.left) < self._size:
            more = torch.randperm(self._count, generator=self._generator, device=self._generator.device)
            self.left = torch.cat([self.left, more])
        batch, self.left = self.left[: self._size], self.left[self._size :]
        return batch


def _taken(network: Network, codes: torch.Tensor, optimiser: torch.optim.Adam) -> dict[str, torch.Tensor]:
    """All tensors of a training, by name."""
    tensors = {"z": codes, **{f"network.{name}": value for name, value in network.state_dict().items()}}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": value for name, value in moments.items()}
    return tensors


def _put_back(
    tensors: Mapping[str, torch.Tensor], network: Network, codes: torch.Tensor, optimiser: torch.optim.Adam
) -> None:
    """The inverse of `_taken`, in place."""
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, number, which = name.split(".")
            moments.setdefault(int(number), {})[which] = value
    network.load_state_dict(
        {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
    )
    with torch.no_grad():
        codes.copy_(tensors["z"])
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})


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
