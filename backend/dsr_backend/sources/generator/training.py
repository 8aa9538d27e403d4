"""Training of the generator on windows of trajectories of one or several proteins, within a budget of time.

Several processes (`runtime.distributed`) divide the examples of a step, and add up their gradients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...runtime import distributed
from ...runtime.errors import Cancelled
from .charts import CHARTS
from .choice import choose_chart
from .frames import Frames
from .losses import baseline_loss, noisy_frames, training_loss
from .model import HISTORY, Context, Generator, Network, Preset
from .prior import MEMORY, Prior, bridge_mean, past_increments
from .residues import Residues
from .selection import StepRatio

RATE = 1e-3
AVERAGE = 0.998
"""Decay of the running mean of the weights that is used in the end."""
HELD_OUT = 0.15
"""Last fraction of each trajectory that the ratio is measured on."""
EVERY = 15.0
"""Seconds between two measurements of the held-out ratio, at most; a budget has ten of them at least."""
REPORTED = 0.5
"""Seconds between two reports of progress."""
LONGEST_FILL = 10
STEPS_COMPARED = 192
"""Steps of a protein whose lengths tell which drawn ones to take."""
TASKS = (("forward", 0.7), ("fill", 0.2), ("alone", 0.1))
FORGOTTEN = 0.15
"""Chance that a known state is left out, as where strides are uneven."""
MEASURED = (8, 48)
"""Draws of a measurement, each with its own number of known states, and held-out windows of each."""
OTHER_RANK = 100_000_007
"""Between the seeds of the examples of two ranks; torch uses the lowest 32 bits of a seed."""
MOST_PROTEINS_MEASURED = 8
"""Proteins above which a measurement draws only once of each."""


@dataclass(frozen=True, eq=False)
class ProteinRuns:
    """A protein to learn from: trajectories of frames [S,R], each evenly spaced in time.

    unseen: learn nothing from it, and measure on it.
    """

    residues: Residues
    runs: Sequence[Frames]
    unseen: bool = False


@dataclass(frozen=True, eq=False)
class Windows:
    """States of all trajectories one after the other: frames [N,R], and the trajectory i8[N] of each."""

    frames: Frames
    owner: Tensor

    @classmethod
    def of(cls, trajectories: Sequence[Frames]) -> Windows:
        """Return the windows of trajectories of frames [S,R]."""
        lengths = torch.tensor([len(t.origins) for t in trajectories])
        owner = torch.repeat_interleave(torch.arange(len(trajectories)), lengths)
        return cls(Frames.cat(trajectories), owner)

    def to(self, device: torch.device) -> Windows:
        """Return the windows on a device."""
        return Windows(self.frames.map(lambda tensor: tensor.to(device)), self.owner.to(device))

    def starts(self, ahead: int) -> Tensor:
        """Return the states i8[M] with one state before and `ahead` states after in the same trajectory."""
        starts = torch.arange(1, len(self.owner) - ahead, device=self.owner.device)
        one_run = (self.owner[starts - 1] == self.owner[starts]) & (self.owner[starts + ahead] == self.owner[starts])
        return starts[one_run]

    def context(self, model: Generator, task: str, count: int, generator: torch.Generator) -> tuple[Context, Tensor]:
        """Draw `count` examples of a task: what is known, and the increments f[count,R,6] to predict."""
        device, chart = generator.device, model.prior.chart
        if task == "alone":
            context = model.alone(count)
            chosen = torch.randint(len(self.owner), (count,), generator=generator, device=device)
            return context, chart.increments(context.anchor, self.frames[chosen])
        left = (
            int(torch.randint(2, LONGEST_FILL + 1, (1,), generator=generator, device=device)) if task == "fill" else 1
        )
        starts = self.starts(left)
        if not len(starts):
            left, starts = 1, self.starts(1)
        at = starts[torch.randint(len(starts), (count,), generator=generator, device=device)]
        known_before = int(torch.randint(1, HISTORY + 1, (1,), generator=generator, device=device))
        offsets = torch.arange(known_before - 1, -1, -1, device=device)
        history = (at[:, None] - offsets).clamp_min(0)
        present = self.owner[history] == self.owner[at][:, None]
        # In a history with uneven strides some states are not known, or the one before the last.
        drawn = torch.rand(present.shape, generator=generator, device=device)
        even = bool(torch.rand(1, generator=generator, device=device) >= FORGOTTEN)
        present &= (drawn >= FORGOTTEN) | (offsets < 2)
        present &= (offsets != 1) | even
        flat = noisy_frames(self.frames[history.flatten()], chart.history_noise, generator)
        known = flat.map(lambda tensor: tensor.reshape(*history.shape, *tensor.shape[1:]))
        anchor = known[:, -1]
        times = (-1.0 - offsets).expand(count, -1)
        if task == "fill" and left > 1:
            end = self.frames[at + left]
            known = Frames.cat([end.map(lambda tensor: tensor[:, None]), known], 1)
            times = torch.cat([times.new_full((count, 1), left - 1.0), times], 1)
            present = torch.cat([present.new_ones(count, 1), present], 1)
            steps = times.new_full((count,), float(left))
            mean, spread = bridge_mean(chart, anchor, end, steps), ((steps - 1.0) / steps).sqrt()
        else:
            past = known_past(model, known, present)
            mean, spread = model.prior.forward_mean(past, anchor), times.new_ones(count)
        context = Context(known, times, present, anchor, mean, spread, task != "fill" or left == 1, False)
        return context, chart.increments(anchor, self.frames[at + 1])


def known_past(model: Generator, known: Frames, present: Tensor) -> Tensor:
    """Return the increments f[B,4,R,6] before the last of known frames [B,T,R], as far back as all are present."""
    states = [known[:, k] for k in range(present.shape[1])]
    past = past_increments(model.prior.chart, states)
    count = min(MEMORY, len(states) - 1)
    unbroken = present[:, -1 - count : -1].flip(1).long().cumprod(1)
    past[:, :count] *= unbroken[:, :, None, None]
    return past


@dataclass(frozen=True)
class Measurement:
    """The held-out error over that of the baseline (1: training did not help), after steps and seconds of training."""

    seconds: float
    steps: int
    ratio: float


@dataclass(frozen=True, eq=False)
class _Lesson:
    """A protein in training: its generator, and the windows to learn from and to measure on; None for no windows."""

    generator: Generator
    learned: Windows | None
    unseen: Windows | None


def _fitted_priors(
    proteins: Sequence[ProteinRuns], splits: Sequence[tuple[list[Frames], list[Frames]]], seed: int
) -> list[Prior]:
    """Return the closed-form models of proteins, all in the chart that errs least on held-out states."""
    by_chart = [
        {name: Prior.fit(learned, chart(protein.residues)) for name, chart in CHARTS.items()}
        for protein, (learned, _) in zip(proteins, splits, strict=True)
    ]
    name = choose_chart(by_chart, [held for _, held in splits], seed)
    return [priors[name] for priors in by_chart]


def split(trajectories: Sequence[Frames]) -> tuple[list[Frames], list[Frames]]:
    """Return the first parts of trajectories, to learn from, and the last 15 % of each, to measure."""
    first, last = [], []
    for states in trajectories:
        count = len(states.origins)
        held = min(count // 3, max(LONGEST_FILL + 3, round(HELD_OUT * count)))
        first.append(states[: count - held])
        last.append(states[count - held :])
    return first, last


class Training:
    """The training of one network on some proteins. It can be written down, and go on.

    generators: of each protein, with the weights of the least held-out error after `run`. curve: all measurements; the
    first one is 1, as a net starts as the baseline. priors: on the CPU. step_ratios: of each protein, known after
    `run`.
    """

    def __init__(
        self,
        proteins: Sequence[ProteinRuns],
        kind_count: int,
        preset: Preset,
        seed: int = 0,
        device: torch.device | None = None,
        priors: Sequence[Prior] | None = None,
    ) -> None:
        """priors: of a training that goes on; without them they are fitted."""
        self._device = device or torch.device("cpu")
        self._seed = seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = Network(kind_count, preset).to(self._device)
        by_protein = any(protein.unseen for protein in proteins)
        splits = [split(protein.runs) for protein in proteins]
        self.priors = list(priors) if priors else _fitted_priors(proteins, splits, seed)
        self._lessons = []
        for protein, prior, (learned, held) in zip(proteins, self.priors, splits, strict=True):
            generator = Generator(self.net, prior, protein.residues).to(self._device)
            measured = protein.unseen or not by_protein
            self._lessons.append(
                _Lesson(
                    generator,
                    None if protein.unseen else Windows.of(learned).to(self._device),
                    Windows.of(held).to(self._device) if measured else None,
                )
            )
        # The ranks agree on the tasks, and each draws examples of its own.
        self._tasks = torch.Generator().manual_seed(seed)
        self._generator = torch.Generator(device=self._device).manual_seed(self._own_seed(0))
        self._optimizer = torch.optim.AdamW(self.net.parameters(), RATE, weight_decay=1e-3)
        self._averaged = _copied(self.net)
        self._best = _copied(self.net)
        self.curve = [Measurement(0.0, 0, 1.0)]
        self.best = self.curve[0]
        self.steps, self.seconds = 0, 0.0
        self._loss = torch.ones((), device=self._device)
        self.step_ratios = [StepRatio()] * len(proteins)

    @property
    def generators(self) -> list[Generator]:
        """The generators on the CPU."""
        return [
            replace(lesson.generator, steps=steps).to(torch.device("cpu"))
            for lesson, steps in zip(self._lessons, self.step_ratios, strict=True)
        ]

    @property
    def loss(self) -> float:
        """Mean denoising loss of the last steps."""
        return float(self._loss)

    def run(
        self,
        seconds: float,
        *,
        check: Callable[[], None] = lambda: None,
        progress: Callable[[float, Training], None] = lambda fraction, training: None,
        save: Callable[[Training], None] = lambda training: None,
        most_steps: int | None = None,
    ) -> None:
        """Train for some seconds of wall time more, or for `most_steps` more.

        check: may raise Cancelled; what was reached by then is measured and saved before it passes on. progress: gets
        the fraction of the budget. save: called after each measurement.
        """
        interval = min(EVERY, seconds / 10.0)
        started, already, first = time.monotonic(), self.seconds, self.steps
        measured = reported = 0.0
        tasks, chances = [name for name, _ in TASKS], torch.tensor([chance for _, chance in TASKS])
        try:
            while True:
                check()
                spent = self._common(time.monotonic() - started)
                self.seconds = already + spent
                fraction = spent / max(seconds, 1e-9) if most_steps is None else (self.steps - first) / most_steps
                if fraction >= 1.0:
                    self._finish(save)
                elif spent - measured > interval:
                    self._measure()
                    save(self)
                    measured = spent
                if spent - reported > REPORTED or fraction >= 1.0:
                    progress(min(fraction, 1.0), self)
                    reported = spent
                if fraction >= 1.0:
                    break
                task = tasks[int(torch.multinomial(chances, 1, generator=self._tasks))]
                self._step(task, fraction)
        except Cancelled:
            self._finish(save)
            raise
        finally:
            _load(self.net, self._best)

    def _finish(self, save: Callable[[Training], None]) -> None:
        """Measure, compare the steps of the best net with true ones, and save."""
        self._measure()
        current = _copied(self.net)
        _load(self.net, self._best)
        self.step_ratios = [self._step_ratio(lesson) for lesson in self._lessons]
        _load(self.net, current)
        save(self)

    def _step_ratio(self, lesson: _Lesson) -> StepRatio:
        windows = lesson.learned or lesson.unseen
        assert windows is not None
        generator = torch.Generator(device=self._device).manual_seed(self._seed)
        context, by = windows.context(lesson.generator, "forward", STEPS_COMPARED, generator)
        return lesson.generator.step_ratio(context, by, generator)

    def _common(self, seconds: float) -> float:
        """Return the most seconds that any rank has spent: clocks differ between ranks."""
        return distributed.all_reduce([seconds], self._device, "max")[0]

    def _own_seed(self, steps: int) -> int:
        """Return the seed of this rank's examples after some steps."""
        return self._seed + steps + OTHER_RANK * distributed.rank()

    def _step(self, task: str, fraction: float) -> None:
        """Train on one batch of one protein."""
        for group in self._optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (self.steps + 1) / 100.0) * max(0.02, 1.0 - fraction)
        lessons = [lesson for lesson in self._lessons if lesson.learned is not None]
        lesson = lessons[self.steps % len(lessons)]
        assert lesson.learned is not None
        ranks = distributed.world_size()
        own_count = -(-self.net.preset.batch // ranks)
        context, by = lesson.learned.context(lesson.generator, task, own_count, self._generator)
        loss, denoising = training_loss(lesson.generator, context, by, self._generator)
        self._optimizer.zero_grad()
        (loss / ranks).backward()  # type: ignore[no-untyped-call]
        denoising = denoising.detach() / ranks
        distributed.sum_gradients(self.net.parameters(), denoising)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self._optimizer.step()
        self.steps += 1
        decay = min(AVERAGE, (1.0 + self.steps) / (10.0 + self.steps))
        with torch.no_grad():
            for name, value in self.net.named_parameters():
                self._averaged[name].lerp_(value, 1.0 - decay)
            self._loss.lerp_(denoising, max(0.05, 1.0 / self.steps))

    def _measure(self) -> None:
        """Measure the held-out ratio of the mean weights, and keep them where it is the least."""
        current = _copied(self.net)
        _load(self.net, self._averaged)
        measured = [(lesson.generator, lesson.unseen) for lesson in self._lessons if lesson.unseen is not None]
        ratio = held_out_ratio(measured, self._seed)
        self.curve.append(Measurement(self.seconds, self.steps, ratio))
        if ratio < self.best.ratio:
            self.best, self._best = self.curve[-1], _copied(self.net)
        _load(self.net, current)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of the training: the weights now, their mean, and Adam's moments."""
        tensors = {}
        for name, value in self.net.named_parameters():
            state = self._optimizer.state.get(value, {})
            tensors[f"weights.{name}"] = self._best[name]
            tensors[f"now.{name}"] = value.detach()
            tensors[f"mean.{name}"] = self._averaged[name]
            tensors[f"first.{name}"] = state.get("exp_avg", torch.zeros_like(value))
            tensors[f"second.{name}"] = state.get("exp_avg_sq", torch.zeros_like(value))
        return {name: value.detach().cpu().clone() for name, value in tensors.items()}

    def go_on(
        self, tensors: Mapping[str, Tensor], curve: Sequence[Measurement], step_ratios: Sequence[StepRatio]
    ) -> None:
        """Take up the state of an earlier training on the same data."""
        self.step_ratios = list(step_ratios)
        named = dict(self.net.named_parameters())
        _load(self.net, {name: tensors[f"now.{name}"] for name in named})
        for name, value in named.items():
            self._averaged[name].copy_(tensors[f"mean.{name}"])
            self._best[name].copy_(tensors[f"weights.{name}"])
            self._optimizer.state[value] = {
                "step": torch.tensor(float(curve[-1].steps)),
                "exp_avg": tensors[f"first.{name}"].to(value),
                "exp_avg_sq": tensors[f"second.{name}"].to(value),
            }
        self.curve = list(curve)
        self.best = min(curve, key=lambda measurement: measurement.ratio)
        self.steps, self.seconds = curve[-1].steps, curve[-1].seconds
        # Other windows than those of the first steps.
        self._tasks.manual_seed(self._seed + self.steps)
        self._generator.manual_seed(self._own_seed(self.steps))


@torch.no_grad()
def held_out_ratio(measured: Sequence[tuple[Generator, Windows]], seed: int) -> float:
    """Return the denoising loss on held-out windows over that of the prior, of the forward task.

    measured: generators of some proteins, with the windows of each.
    """
    draws, count = MEASURED if len(measured) <= MOST_PROTEINS_MEASURED else (1, MEASURED[1])
    reached = base = 0.0
    for model, unseen in measured:
        generator = torch.Generator(device=model.device).manual_seed(seed + 1)
        for draw in range(draws):
            context, by = unseen.context(model, "forward", count, generator)
            # The same noise for both.
            noise = [torch.Generator(device=model.device).manual_seed(seed + 2 + draw) for _ in range(2)]
            reached += float(training_loss(model, context, by, noise[0])[1])
            base += float(baseline_loss(model, context, by, noise[1]))
    return reached / base


def _copied(net: Network) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.named_parameters()}


def _load(net: Network, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(values[name])
