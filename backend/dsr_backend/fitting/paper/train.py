"""The training loop of preset paper."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...fields.paper import Network
from ...runtime import distributed
from ...runtime.errors import Cancelled, RequestError
from ..config import PaperPreset
from ..job import FitJob
from .checkpoint import Resumed, TrainingCheckpoint
from .loss import loss
from .points import POINTS_END, Clouds, draw_points
from .state import Stage, TrainingState

# Steps between two checks of the loss, which wait for the device; the seconds between them are limited, too.
CHECK_STEPS, CHECK_SECONDS = 10, 1.0


@dataclass(frozen=True)
class TrainingResult:
    """The mean loss of the last checks, and the number of steps in all stages."""

    loss: float
    steps: int


class StageClock:
    """The fraction of a stage that is done, by steps or by the budget of seconds, whichever is greater."""

    def __init__(self, steps: int, budget: float, device: torch.device) -> None:
        """Begin a stage of so many steps, with a budget in seconds, inf for none."""
        self.steps, self.budget, self._device = steps, budget, device
        self.fraction = 0.0
        self.started = self._checked = self._now = time.perf_counter()

    def resume(self, step: int, elapsed: float) -> None:
        """Continue a stage with `step` steps done in `elapsed` seconds."""
        self.started -= elapsed
        self.fraction = max(step / self.steps, elapsed / self.budget)

    def elapsed(self) -> float:
        """Return the seconds since the stage started."""
        return time.perf_counter() - self.started

    def advance(self, step: int) -> None:
        """Set the fraction after `step` steps."""
        self._now = time.perf_counter()
        self.fraction = step / self.steps
        # Clocks differ between ranks: with several, they are compared at the checks only.
        if distributed.world_size() == 1:
            self.fraction = max(self.fraction, (self._now - self.started) / self.budget)

    def check_due(self, pending: int) -> bool:
        """Return whether the loss is to be checked after `pending` unchecked steps; all ranks agree."""
        several = distributed.world_size() > 1
        due = pending >= CHECK_STEPS or self.fraction >= 1.0
        due = due or not (several or self._now - self._checked < CHECK_SECONDS)
        if due and several:
            seconds = (self._now - self.started) / self.budget
            self.fraction = max(self.fraction, *distributed.all_reduce([seconds], self._device, "max"))
        return due

    def checked(self) -> None:
        """Note that the loss was checked now."""
        self._checked = time.perf_counter()


def train(
    job: FitJob[PaperPreset],
    network: Network,
    codes: torch.Tensor,
    clouds: Clouds,
    stage: Stage,
    earlier_steps: int,
    checkpoint: TrainingCheckpoint | None,
    subject: Mapping[str, Any],
    resumed: Resumed | None,
) -> TrainingResult:
    """Train the codes f4[trajectories,latent], and the weights of the network that require gradients, in place.

    earlier_steps: steps of earlier stages; subject: describes the training in its checkpoints; resumed: a checkpoint of
    this stage to start from. The learning rates are halved over this stage alone.

    When a loss or a weight is not finite, the training returns to the last check at half the rates, once. The second
    time, or at the end, it raises RequestError `diverged`. Raises Cancelled, after a checkpoint.
    """
    preset, seed = job.preset, job.options.seed
    steps = max(1, round((stage.end - stage.start) * preset.steps))
    budget = np.inf if job.options.budget is None else (stage.end - stage.start) * job.options.budget
    job.span = (POINTS_END + (1.0 - POINTS_END) * stage.start, (1.0 - POINTS_END) * (stage.end - stage.start))
    job.report_progress("fit", 0.0, step=earlier_steps, steps=earlier_steps + steps, loss=None)
    state = TrainingState(network, codes, len(clouds.times), preset, seed, earlier_steps)
    clock = StageClock(steps, budget, job.device)
    if resumed is not None:
        state.restore(resumed.tensors, resumed.values)
        clock.resume(state.step, resumed.values["elapsed"])

    def save() -> None:
        if checkpoint is not None:
            values = {"about": subject, "end": stage.end, **state.values(), "elapsed": clock.elapsed()}
            checkpoint.save(state.tensors(), {**values, "seconds": time.perf_counter() - job.started})

    try:
        while clock.fraction < 1.0:
            job.raise_if_cancelled()
            state.set_rates(clock.fraction)
            _step(job, state, clouds)
            clock.advance(state.step)
            if not clock.check_due(len(state.pending)):
                continue
            mean = state.check()
            clock.checked()
            if np.isfinite(mean):
                if checkpoint is not None and checkpoint.due:
                    save()
                _report(job, state, clock, mean, checkpoint)
            elif state.rate_factor < 1.0 or clock.fraction >= 1.0:
                raise RequestError("diverged", f"the loss is {mean} at step {state.total_steps}; fit with another seed")
            else:
                state.roll_back()
    except Cancelled:
        # A state that became not finite since the last check is not saved.
        if state.step and state.is_finite():
            save()
        raise
    codes.requires_grad_(False)
    return TrainingResult(state.loss, state.total_steps)


def _step(job: FitJob[PaperPreset], state: TrainingState, clouds: Clouds) -> None:
    """Do one step of Adam."""
    state.optimiser.zero_grad(set_to_none=True)
    # The loss covers this rank's points; the loss of all ranks' points is the mean.
    value = _batch_loss(job, state, clouds) / distributed.world_size()
    torch.autograd.backward(value)
    state.pending.append(value.detach())
    distributed.sum_gradients(state.parameters, state.pending[-1])
    state.optimiser.step()
    state.step += 1


def _batch_loss(job: FitJob[PaperPreset], state: TrainingState, clouds: Clouds) -> torch.Tensor:
    """Return ℓ f4[] at new points of the next states."""
    preset, picked = job.preset, next(state.batches)
    count = preset.cpu_points if job.device.type == "cpu" else preset.points
    surface, normals, space = draw_points(clouds, picked, count, preset.uniform, state.generator)
    rank_slice = distributed.batch_slice(count)
    surface, normals = surface[:, rank_slice], normals[:, rank_slice]
    space = space[:, distributed.batch_slice(space.shape[1])]
    z = state.codes[clouds.owner[picked]]
    code = torch.cat([clouds.times[picked][:, None], z], 1)
    return loss(lambda x: state.network(x, code), surface, normals, space, z, preset)


def _report(
    job: FitJob[PaperPreset],
    state: TrainingState,
    clock: StageClock,
    mean: float,
    checkpoint: TrainingCheckpoint | None,
) -> None:
    saved = None if checkpoint is None else checkpoint.step
    total = state.earlier_steps + clock.steps
    job.report_progress(
        "fit", min(1.0, clock.fraction), step=state.total_steps, steps=total, loss=mean, checkpoint=saved
    )


@contextmanager
def tensor_cores(device: torch.device) -> Iterator[None]:
    """Let a GPU compute matrix products in TF32 within the block.

    TF32 has 11 bits, or 0.02 Å in a molecule of 80 Å, which the training treats like noise of the points. A fitted
    field is evaluated in float32.
    """
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
