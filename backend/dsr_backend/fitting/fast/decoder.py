"""Training of the small decoder, with the static channels and the latent codes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...fields.base import Field
from ...fields.fast import FastField, quantize
from ...geometry.lattice import gather
from ...runtime import distributed
from ...runtime.errors import RequestError
from ..config import Preset
from ..job import FitJob
from .lattices import DISTANCE_SCALE, one_hot
from .prepare import PreparedTrajectory
from .stages import WIDTHS_END

# Steps between two checks of the loss, which wait for the device. The samples of all steps up to the next check are
# chosen at once.
CHECK_STEPS = 10
# Steps between two calls of `watch`.
WATCH_STEPS = 100
# Steps of which the reported losses are means: during the training, and at its end.
RUNNING_STEPS, FINAL_STEPS = 20, 50
# Learning rate of static channels and latent codes, per rate of the decoder.
TENSOR_RATE_FACTOR = 3.0


@dataclass(frozen=True)
class DecoderResult:
    """The mean |error| (Å) of the last steps, and the number of steps."""

    loss: float
    steps: int


def train_decoder(
    job: FitJob[Preset],
    trajectories: Sequence[PreparedTrajectory],
    span: tuple[float, float] = (WIDTHS_END, 1.0),
    *,
    frozen: bool = False,
    watch: Callable[[Field], None] | None = None,
) -> DecoderResult:
    """Train the decoder, the static channels and the latent codes in place, with one state of one trajectory a step.

    span: fractions of the whole fit at the start and the end; frozen: leave the decoder as it is; watch: gets the first
    trajectory's unfinished field now and then. The budget of the options counts from here. Raises RequestError
    `diverged` when the loss is not finite, and Cancelled.
    """
    training = _DecoderTraining(job, trajectories, frozen)
    steps_done = 0
    for step in range(training.steps):
        if step % CHECK_STEPS == 0:
            training.check_loss(step, span)
            if step and distributed.agree(training.over_budget(), job.device):
                break
            training.choose_samples(step)
        if watch is not None and step % WATCH_STEPS == 0:
            watch(trajectories[0].field)
        training.update(step)
        steps_done = step + 1
    training.finish()
    return DecoderResult(training.mean_loss(steps_done, FINAL_STEPS), steps_done)


class _DecoderTraining:
    """The training of one decoder: parameters, optimiser and the order of states."""

    def __init__(self, job: FitJob[Preset], trajectories: Sequence[PreparedTrajectory], frozen: bool) -> None:
        preset = job.preset
        self.job, self.trajectories = job, trajectories
        decoder = trajectories[0].field.decoder
        tensors = [tensor for t in trajectories for tensor in (t.field.static, t.field.latent)]
        self.parameters = tensors if frozen else [*decoder.parameters(), *tensors]
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        groups = [{"params": tensors, "lr": TENSOR_RATE_FACTOR * preset.rate}]
        if not frozen:
            groups.append({"params": list(decoder.parameters()), "lr": preset.rate})
        self.optimiser = torch.optim.Adam(groups, lr=preset.rate)
        self.steps = steps = preset.decoder_steps * len(trajectories)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda step: 0.5 * (1.0 + np.cos(np.pi * step / steps))
        )
        self.states = [(t, k) for t in trajectories for k in range(len(t.samples))]
        self.generator = torch.Generator().manual_seed(job.options.seed)
        rounds = steps // len(self.states) + 1
        self.order = torch.cat([torch.randperm(len(self.states), generator=self.generator) for _ in range(rounds)])
        self.started = time.perf_counter()
        self.losses = torch.zeros(steps, device=job.device)
        self.in_band = [count for t in trajectories for count in _move_band_samples_first(job, t)]
        self.batch_slice = distributed.batch_slice(preset.batch)

    def mean_loss(self, step: int, steps: int) -> float:
        """Return the mean |error| (Å) of the last `steps` steps before `step`."""
        return float(self.losses[max(0, step - steps) : step].mean())

    def check_loss(self, step: int, span: tuple[float, float]) -> None:
        """Report progress. Raises RequestError when the loss is not finite, and Cancelled."""
        loss = self.mean_loss(step, RUNNING_STEPS) if step else None
        fraction = span[0] + (span[1] - span[0]) * step / self.steps
        self.job.report_progress("fit", fraction, step=step, steps=self.steps, loss=loss)
        if loss is not None and not np.isfinite(loss):
            raise RequestError("diverged", f"the loss is {loss} at step {step}; fit with another seed")

    def over_budget(self) -> bool:
        """Return whether the training has taken longer than the options allow."""
        budget = self.job.options.budget
        return budget is not None and time.perf_counter() - self.started > budget

    def choose_samples(self, step: int) -> None:
        """Draw the sample numbers i8[steps,batch] of the steps up to the next check, and send them to the device."""
        counts = [self.in_band[number] for number in self.order[step : min(step + CHECK_STEPS, self.steps)].tolist()]
        batch = self.job.preset.batch
        self.chosen = torch.stack([torch.randint(count, (batch,), generator=self.generator) for count in counts])
        self.chosen_on_device = self.chosen.to(self.job.device)

    def update(self, step: int) -> None:
        """Do one step of Adam."""
        trajectory, k = self.states[int(self.order[step])]
        batch = self._batch(trajectory, k, step % CHECK_STEPS)
        xi, truth = batch[:, :3], batch[:, 3]
        error = (trajectory.field.decode(self._features(trajectory.field, k, xi)) - truth).abs()
        batch_size = self.job.preset.batch
        loss = (error / (truth.abs() + DISTANCE_SCALE)).sum() / batch_size
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.losses[step] = error.detach().sum() / batch_size
        distributed.sum_gradients(self.parameters, self.losses[step])
        self.optimiser.step()
        self.schedule.step()

    def _batch(self, trajectory: PreparedTrajectory, k: int, row: int) -> torch.Tensor:
        """Return this rank's samples of state k: f4[batch,4], material coordinates (Å) and distance (Å)."""
        owner, device = distributed.state_owner(k), self.job.device
        batch = None
        if owner == distributed.rank():
            # Samples in files are on the host.
            points, distance = (
                values[(self.chosen if values.is_cpu else self.chosen_on_device)[row]]
                for values in (trajectory.samples.points[k], trajectory.samples.distances[k])
            )
            batch = torch.cat([points.to(device), distance.to(device)[:, None]], 1)
        return distributed.broadcast(batch, owner, device)[self.batch_slice]

    def _features(self, field: FastField, k: int, xi: torch.Tensor) -> torch.Tensor:
        """Return the features f4[N,TABLE_COLUMNS+C] of state k at material coordinates f4[N,3] (Å)."""
        index, weight = field.band.lattice.corners(xi)
        rows = field.band.rows(index)
        with torch.no_grad():
            _, table = field.table(one_hot(k, len(field.motion.states), self.job.device))
            fixed = gather(table, rows, weight)
        # Column by column: the gradient of `gather` would take longer than all the rest of a step.
        columns = [column.index_select(0, rows.view(-1)).view(rows.shape) for column in field.padded_static().T]
        return torch.cat([fixed, *((weight * values).sum(1, keepdim=True) for values in columns)], 1)

    def finish(self) -> None:
        """Freeze all parameters and quantise the static channels."""
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        for trajectory in self.trajectories:
            trajectory.field.static = quantize(trajectory.field.static)


def _move_band_samples_first(job: FitJob[Preset], trajectory: PreparedTrajectory) -> list[int]:
    """Move the samples in the band before all others, in place; return their number for each state."""
    counts = []
    for points, distance in zip(trajectory.samples.points, trajectory.samples.distances, strict=True):
        in_band = distance.abs() < job.preset.band
        inner, outer = in_band.nonzero()[:, 0], (~in_band).nonzero()[:, 0]
        order = torch.cat([inner, outer])
        points.copy_(points[order.to(points.device)])
        distance.copy_(distance[order])
        counts.append(float(len(inner)))
    return [int(count) for count in distributed.all_reduce(counts, job.device)]
