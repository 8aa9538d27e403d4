"""Training of preset paper, with its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.options import FitOptions

from ...fields.paper import Network, PaperField, normalised_time
from ...geometry.unit_cube import UnitCube
from ...motion.motion import Motion
from ...results.dsr_format import digest
from ...runtime import distributed
from ...runtime.errors import Cancelled, RequestError
from ...surfaces.surface import Surface
from ..config import PRESETS, PaperPreset, time_axis
from ..fast.samples import clearance_of, reach_of
from ..job import FitJob, Progress
from .checkpoint import Training
from .loss import loss
from .points import Batches, Clouds, draw_points, neighbour_distance

# Share of the whole fit that is done when training starts.
SAMPLED = 0.02
# Steps between two looks at the losses, which wait for the device; a second at most.
EVERY = 10
# Looks that the loss of the report is the mean of.
LAST = 5


# Training -----------------------------------------------------------------------------------------------------


class PaperRun:
    """One running fit of this preset."""

    def __init__(
        self,
        config: FitOptions | None,
        preset: PaperPreset | None,
        progress: Progress,
        cancelled: Callable[[], bool],
        training: Training | None = None,
    ) -> None:
        config = config or FitOptions(preset="paper")
        numbers = preset or PRESETS[config.preset]
        if not isinstance(numbers, PaperPreset):
            raise ValueError(f"preset {config.preset} is not one of the kind paper; fit with preset=paper")
        if config.loop:
            raise ValueError(f"preset {config.preset} has no loops, its time is a straight line; fit with preset=fast")
        self.config, self.preset, self.training = config, numbers, training
        self.job = FitJob(config, progress, cancelled)
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
        frames = [UnitCube.of([surface.points for surface in surfaces]) for surfaces in series]
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

    def _clouds(self, series: Sequence[Sequence[Surface]], frames: Sequence[UnitCube], scale: float) -> Clouds:
        points, normals, sigma = [], [], []
        times: list[float] = []
        owner: list[int] = []
        total = sum(map(len, series))
        for number, (surfaces, frame) in enumerate(zip(series, frames, strict=True)):
            space = UnitCube(frame.centre, scale)
            stamps = _times(surfaces, self.job.config)
            for surface, stamp in zip(surfaces, stamps, strict=True):
                self.job.tell("sampling", SAMPLED * len(times) / total, step=len(times), steps=total)
                unit = space.to_unit(surface.points)
                points.append(unit)
                normals.append(surface.normals)
                here = distributed.state_owner(len(times)) == distributed.rank()
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
                    distributed.broadcast(
                        None if some is None else reals(some), distributed.state_owner(k), self.device
                    )
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
        batches = Batches(len(clouds.times), preset.states, generator)
        recent: list[torch.Tensor] = []
        means: list[float] = []
        started = looked = time.perf_counter()
        step, share, several = 0, 0.0, distributed.world_size() > 1
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
                lost = lost / distributed.world_size()
                lost.backward()
                recent.append(lost.detach())
                distributed.sum_gradients(trained, recent[-1])
                optimiser.step()
                step += 1
                now = time.perf_counter()
                # Clocks differ between ranks, so that those are looked at together, and seldom.
                share = step / steps if several else max(step / steps, (now - started) / budget)
                if len(recent) < EVERY and (several or now - looked < 1.0) and share < 1.0:
                    continue
                if several:
                    share = max(share, *distributed.all_reduce([(now - started) / budget], self.device, "max"))
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
        surface, normals, space = draw_points(clouds, picked, count, self.preset.uniform, generator)
        part = distributed.batch_slice(count)
        surface, normals, space = surface[:, part], normals[:, part], space[:, distributed.batch_slice(space.shape[1])]
        z = codes[clouds.owner[picked]]
        code = torch.cat([clouds.times[picked][:, None], z], 1)
        return loss(lambda x: network(x, code), surface, normals, space, z, self.preset)

    def _field(
        self,
        surfaces: Sequence[Surface],
        frame: UnitCube,
        network: Network,
        z: torch.Tensor,
        scale: float,
        last: float,
        steps: int,
    ) -> PaperField:
        """The field of one trajectory, with its report."""
        states = _times(surfaces, self.config)
        given = [surface.atoms for surface in surfaces if surface.atoms is not None and len(surface.atoms)]
        motion = Motion.from_states(states, np.stack(given) if given else None, align=False, device=self.device)
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
            "parameters": numbers(network) + z.numel(),
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
        field.time_axis = time_axis(self.config, (surface.state for surface in surfaces))
        return field


def _times(surfaces: Sequence[Surface], config: FitOptions) -> NDArray[np.float64]:
    """The times f8[S] that the surfaces were at: their state numbers where these are even."""
    states = np.array([surface.state for surface in surfaces], np.float64)
    clock = time_axis(config, states)
    return states if clock is None else clock(states)


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


def numbers(network: Network) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _area(surface: Surface) -> float:
    """Area of the triangles, Å²."""
    a, b, c = (surface.points[surface.faces[:, k]].astype(np.float64) for k in range(3))
    return float(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())
