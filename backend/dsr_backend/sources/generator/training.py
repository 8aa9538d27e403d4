"""Training of the generator on windows of a user's trajectories, within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .frames import Frames, superposed
from .losses import baseline_loss, superposed_frames, training_loss
from .model import HISTORY, Context, Generator, target
from .prior import Prior, bridge_mean

BATCH = 48
RATE = 3e-3
AVERAGE = 0.998
"""Decay of the running mean of the weights that is used in the end."""
HELD_OUT = 0.15
"""Last fraction of each trajectory that the ratio is measured on."""
EVERY = 15.0
"""Seconds between two measurements of the held-out ratio."""
LONGEST_FILL = 10
HISTORY_NOISE = 0.05
"""Å. Noise on the known states, so that the net bears its own errors."""
TASKS = (("forward", 0.7), ("fill", 0.2), ("alone", 0.1))
MEASURED = (8, 48)
"""Draws of a measurement, each with its own number of known states, and held-out windows of each."""


@dataclass(frozen=True, eq=False)
class Windows:
    """States of all trajectories one after the other: frames [N,R], and the trajectory i8[N] of each."""

    frames: Frames
    owner: Tensor

    @classmethod
    def of(cls, trajectories: Sequence[Frames]) -> Windows:
        """Return the windows of trajectories of frames [S,R]."""
        owner = torch.repeat_interleave(
            torch.arange(len(trajectories)), torch.tensor([len(t.origins) for t in trajectories])
        )
        return cls(Frames.cat(trajectories), owner)

    def starts(self, ahead: int) -> Tensor:
        """Return the states i8[M] with one state before and `ahead` states after in the same trajectory."""
        place = torch.arange(1, len(self.owner) - ahead)
        same = (self.owner[place - 1] == self.owner[place]) & (self.owner[place + ahead] == self.owner[place])
        return place[same]

    def context(self, model: Generator, task: str, count: int, generator: torch.Generator) -> tuple[Context, Tensor]:
        """Draw `count` examples of a task: what is known, and the increments f[count,R,6] to predict."""
        if task == "alone":
            context = model.alone(count)
            chosen = torch.randint(len(self.owner), (count,), generator=generator)
            return context, target(context, self.frames[chosen])
        left = int(torch.randint(2, LONGEST_FILL + 1, (1,), generator=generator)) if task == "fill" else 1
        starts = self.starts(left)
        at = starts[torch.randint(len(starts), (count,), generator=generator)]
        # Some of the states before are not known, as where strides are uneven.
        known_before = int(torch.randint(1, HISTORY + 1, (1,), generator=generator))
        offsets = torch.arange(known_before - 1, -1, -1)
        place = (at[:, None] - offsets).clamp_min(0)
        present = self.owner[place] == self.owner[at][:, None]
        present &= (torch.rand(present.shape, generator=generator) < 0.85) | (offsets < 2)
        anchor = superposed_frames(self.frames[at], HISTORY_NOISE, generator)
        flat = superposed_frames(self.frames[place.flatten()], HISTORY_NOISE, generator)
        repeated = anchor.map(lambda part: part.repeat_interleave(known_before, 0))
        known = superposed(flat, repeated).map(lambda part: part.reshape(*place.shape, *part.shape[1:]))
        known.rotations[:, -1], known.origins[:, -1] = anchor.rotations, anchor.origins
        times = (-1.0 - offsets).expand(count, -1)
        if task == "fill":
            end = superposed(self.frames[at + left], anchor)
            known = Frames.cat([end.map(lambda part: part[:, None]), known], 1)
            times = torch.cat([torch.full((count, 1), left - 1.0), times], 1)
            present = torch.cat([torch.ones(count, 1, dtype=torch.bool), present], 1)
            steps = torch.full((count,), float(left))
            mean, spread = bridge_mean(anchor, end, steps), ((steps - 1.0) / steps).sqrt()
        else:
            previous = superposed(self.frames[at - 1], anchor) if known_before > 1 else None
            mean, spread = model.prior.forward_mean(previous, anchor), torch.ones(count)
        context = Context(known, times, present, anchor, mean, spread, False)
        return context, target(context, self.frames[at + 1])


@dataclass(frozen=True)
class Trained:
    """A trained generator: ratio, its held-out loss over that of the prior (1 where training did not help)."""

    model: Generator
    ratio: float
    steps: int
    seconds: float
    ratios: tuple[float, ...]


def split(trajectories: Sequence[Frames]) -> tuple[list[Frames], list[Frames]]:
    """Return the first parts of trajectories, to learn from, and the last 15 % of each, to measure."""
    first, last = [], []
    for states in trajectories:
        count = len(states.origins)
        held = min(count // 3, max(LONGEST_FILL + 3, round(HELD_OUT * count)))
        first.append(states[: count - held])
        last.append(states[count - held :])
    return first, last


def train(
    trajectories: Sequence[Frames],
    kinds: Tensor,
    places: Tensor,
    local: Tensor,
    linked: Tensor,
    *,
    gap: float,
    seconds: float,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
    progress: Callable[[float, float], None] = lambda fraction, ratio: None,
    most_steps: int | None = None,
) -> Trained:
    """Return the generator of trajectories of frames [S,R], evenly spaced by `gap` (ps).

    kinds, places: i8[R]; local: f[R,3,3], N, CA and C in their frames, Å; linked: bool[R-1]. seconds: budget of wall
    time. The weights of the least held-out loss are kept, those of the start among them. progress: gets the fraction of
    the budget and the held-out ratio.
    """
    learned, held = split(trajectories)
    prior = Prior.fit(learned, gap)
    windows, unseen = Windows.of(learned), Windows.of(held)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Generator(prior, kinds, places)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-3)
    averaged = {name: value.detach().clone() for name, value in model.named_parameters()}
    best, best_ratio = {name: value.clone() for name, value in averaged.items()}, 1.0
    started, measured, steps, ratios = time.monotonic(), 0.0, 0, [1.0]
    tasks, chances = [name for name, _ in TASKS], torch.tensor([chance for _, chance in TASKS])
    while True:
        check()
        spent = time.monotonic() - started
        fraction = spent / max(seconds, 1e-9) if most_steps is None else steps / most_steps
        if spent - measured > EVERY or fraction >= 1.0:
            current = {name: value.detach().clone() for name, value in model.named_parameters()}
            _load(model, averaged)
            ratio = held_out_ratio(model, unseen, seed)
            ratios.append(ratio)
            if ratio < best_ratio:
                best, best_ratio = {name: value.clone() for name, value in averaged.items()}, ratio
            _load(model, current)
            measured = spent
            progress(min(fraction, 1.0), best_ratio)
        if fraction >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (steps + 1) / 100.0) * max(0.02, 1.0 - fraction)
        task = tasks[int(torch.multinomial(chances, 1, generator=generator))]
        context, by = windows.context(model, task, BATCH, generator)
        loss, _ = training_loss(model, context, by, local, linked, generator)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
        decay = min(AVERAGE, (1.0 + steps) / (10.0 + steps))
        with torch.no_grad():
            for name, value in model.named_parameters():
                averaged[name].lerp_(value, 1.0 - decay)
    _load(model, best)
    return Trained(model, best_ratio, steps, time.monotonic() - started, tuple(ratios))


@torch.no_grad()
def held_out_ratio(model: Generator, unseen: Windows, seed: int) -> float:
    """Return the denoising loss on held-out windows over that of the prior, of the forward task."""
    generator = torch.Generator().manual_seed(seed + 1)
    draws, count = MEASURED
    reached = base = 0.0
    for draw in range(draws):
        context, by = unseen.context(model, "forward", count, generator)
        local, linked = torch.zeros(by.shape[1], 3, 3), torch.zeros(by.shape[1] - 1, dtype=torch.bool)
        # The same noise for both.
        noise = [torch.Generator().manual_seed(seed + 2 + draw) for _ in range(2)]
        reached += float(training_loss(model, context, by, local, linked, noise[0])[1])
        base += float(baseline_loss(model, context, by, noise[1]))
    return reached / base


def _load(model: Generator, values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(values[name])
