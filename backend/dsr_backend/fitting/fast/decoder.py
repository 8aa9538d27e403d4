"""Training of the small decoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ...fields.base import Field
from ...fields.fast import quantize
from ...geometry.lattice import gather
from ...runtime import distributed
from ...runtime.errors import RequestError
from ..job import FitJob
from .lattices import NEAR, one_hot
from .prepare import PreparedTrajectory
from .stages import CHOSEN

# Steps of the decoder between two looks at the loss, which wait for the device.
EVERY = 10
# Steps of the decoder between two looks at the unfinished field.
WATCH_STEPS = 100


# Decoder ----------------------------------------------------------------------------------------------------


def train_decoder(
    job: FitJob,
    trajectories: Sequence[PreparedTrajectory],
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
    part_of_batch = distributed.batch_slice(preset.batch)
    done = 0
    for step in range(steps):
        if step % EVERY == 0:
            loss = float(losses[max(0, step - 20) : step].mean()) if step else None
            fraction = part[0] + (part[1] - part[0]) * step / steps
            job.tell("fit", fraction, step=step, steps=steps, loss=loss)
            if loss is not None and not np.isfinite(loss):
                raise RequestError("diverged", f"the loss is {loss} at step {step}; fit with another seed")
            over = job.config.budget is not None and time.perf_counter() - started > job.config.budget
            if step and distributed.agree(over, job.device):
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
        if distributed.state_owner(k) == distributed.rank():
            # Samples that were spilled lie on the host.
            parts = [part[(drawn if part.is_cpu else moved)[step % EVERY]] for part in (trajectory.points[k], distance)]
            batch = torch.cat([parts[0].to(job.device), parts[1].to(job.device)[:, None]], 1)
        batch = distributed.broadcast(batch, distributed.state_owner(k), job.device)[part_of_batch]
        xi, truth = batch[:, :3], batch[:, 3]
        index, weight = field.band.lattice.corners(xi)
        rows = field.band.rows(index)
        with torch.no_grad():
            _, table = field.table(one_hot(k, len(trajectory.points), job.device))
            known = gather(table, rows, weight)
        # Column by column: the gradient of `gather` takes longer than all else in a step.
        static = [column.index_select(0, rows.view(-1)).view(rows.shape) for column in field.padded_static().T]
        features = torch.cat([known, *((weight * at).sum(1, keepdim=True) for at in static)], 1)
        error = (field.decode(features) - truth).abs()
        loss_now = (error / (truth.abs() + NEAR)).sum() / preset.batch
        optimiser.zero_grad(set_to_none=True)
        loss_now.backward()
        losses[step] = error.detach().sum() / preset.batch
        distributed.sum_gradients(trained, losses[step])
        optimiser.step()
        schedule.step()
        done = step + 1
    for tensor in trained:
        tensor.requires_grad_(False)
    for trajectory in trajectories:
        trajectory.field.static = quantize(trajectory.field.static)
    return float(losses[max(0, done - 50) : done].mean()), done


def _near_first(job: FitJob, trajectory: PreparedTrajectory) -> list[int]:
    """Put the samples in the band before the others, in place; how many they are, for each state."""
    counts = []
    for points, distance in zip(trajectory.points, trajectory.distances, strict=True):
        near = distance.abs() < job.preset.band
        own, others = near.nonzero()[:, 0], (~near).nonzero()[:, 0]
        order = torch.cat([own, others])
        points.copy_(points[order.to(points.device)])
        distance.copy_(distance[order])
        counts.append(float(len(own)))
    return [int(count) for count in distributed.all_reduce(counts, job.device)]
