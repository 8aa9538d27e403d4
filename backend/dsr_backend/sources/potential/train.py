"""Training of a potential's network: force matching where forces are known, denoising where only frames are.

Frames are split into blocks along time, every fifth of which is held out; the network with the least held-out error is
kept.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ...runtime.errors import Cancelled
from ..contract import Check
from .beads import Protein
from .potential import OptimizerState, Potential
from .priors import Priors

BLOCKS = 25
HELD_OUT = 5
"""Every so many blocks one is held out."""
BATCH = 256
RATE = 1e-3
LEAST_RATE = 0.05
"""Fraction of RATE, which falls by seven percent from epoch to epoch, also where a training goes on."""
DECAY = 1e-2
"""Weight decay."""
MOST_EPOCHS = 60
PATIENCE = 6
"""Epochs without a better held-out error that end the training."""
MOST_PAIRS = 12_000
"""Pairs of beads of a batch, which limit its frames: a step takes as long for a large protein as for a small one."""
LEAST_BATCHES = 40
"""Batches of an epoch for a protein without forces, if other noise on its frames can make so many."""
NOISE = 0.15
"""Å of the noise that denoising takes off. The network learns what priors of noisy frames lack."""


@dataclass(frozen=True, eq=False)
class BeadStates:
    """Frames of a protein: beads f4[F,N,3] in Å, forces f4[F,N,3] in kcal/mol/Å or None, and the run i8[F] of each."""

    protein: Protein
    beads: NDArray[np.float32]
    forces: NDArray[np.float32] | None
    runs: NDArray[np.int64]


@dataclass(frozen=True)
class Epoch:
    """Errors of an epoch, in kcal/mol/Å: root mean squares of the force on a bead's axis."""

    training: float
    held_out: float


@dataclass(frozen=True)
class Training:
    """Outcome of a training.

    prior: held-out error of the priors alone. best: the epoch that is kept, from 1; 0 for the weights from before.
    cancelled: `check` ended it before its time.
    """

    epochs: tuple[Epoch, ...]
    prior: float
    best: int
    cancelled: bool = False


def split(frames: BeadStates) -> NDArray[np.bool_]:
    """Return bool[F], the frames that are held out: every fifth block of each run."""
    held_out = np.zeros(len(frames.beads), bool)
    for run in np.unique(frames.runs):
        members = np.flatnonzero(frames.runs == run)
        blocks = np.array_split(members, min(BLOCKS, max(HELD_OUT, len(members) // 2)))
        for block in blocks[HELD_OUT - 1 :: HELD_OUT]:
            held_out[block] = True
    return held_out


def train(
    potential: Potential,
    data: Sequence[BeadStates],
    seed: int,
    seconds: float,
    report: Callable[[float, Training], None],
    check: Check,
    clock: Callable[[], float] = time.monotonic,
) -> Training:
    """Train the network in place, for so many seconds at most, from where its training ended.

    report: takes the fraction that is done and the errors so far, after each epoch; the potential has the best weights
    by then. check: called at each step; where it raises Cancelled, the epoch is the last one. clock: tells the seconds.
    """
    trainer = _Trainer(potential, data, seed)
    started = clock()
    for number in range(1, MOST_EPOCHS + 1):
        trainer.epoch(started + seconds, check, clock)
        spent = clock() - started
        if trainer.epochs:
            report(min(1.0, max(spent / seconds, number / MOST_EPOCHS)), trainer.outcome())
        if trainer.cancelled or number - trainer.best >= PATIENCE or spent > seconds:
            break
    return trainer.outcome()


class _Trainer:
    """A training under way. Between two epochs, the potential has the best weights."""

    def __init__(self, potential: Potential, data: Sequence[BeadStates], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._training, self._held_out = zip(*_targets(potential, data, generator), strict=True)
        self._potential, self._network = potential, potential.network
        self._optimizer = torch.optim.AdamW(self._network.parameters(), RATE, weight_decay=DECAY)
        self._prior = _error_of_priors(self._held_out)
        self._least = _error(potential, self._held_out)
        self._current = self._best_weights = copy.deepcopy(self._network.state_dict())
        self._epochs_before, self._steps = 0, 0
        if potential.optimizer is not None:
            self._go_on(potential.optimizer)
            # Other batches than those of the first epochs.
            generator.manual_seed(seed + self._epochs_before)
        self._generator = generator
        self.epochs: list[Epoch] = []
        self.best = 0
        self.cancelled = False

    def _go_on(self, state: OptimizerState) -> None:
        """Take up the state of an earlier training."""
        self._epochs_before, self._steps = state.epochs, state.steps
        self._current = {**self._current, **state.weights}
        for name, parameter in self._network.named_parameters():
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(state.steps)),
                "exp_avg": state.first[name].to(parameter, copy=True),
                "exp_avg_sq": state.second[name].to(parameter, copy=True),
            }

    def _state(self) -> OptimizerState:
        named = dict(self._network.named_parameters())
        # The last bias has no slope, and so no moments.
        moments = {
            key: {
                name: self._optimizer.state[parameter].get(key, torch.zeros_like(parameter)).detach().clone()
                for name, parameter in named.items()
            }
            for key in ("exp_avg", "exp_avg_sq")
        }
        weights = {name: self._current[name] for name in named}
        epochs = self._epochs_before + len(self.epochs)
        return OptimizerState(epochs, self._steps, weights, moments["exp_avg"], moments["exp_avg_sq"])

    def epoch(self, end: float, check: Check, clock: Callable[[], float]) -> None:
        """Train on all batches once, until the moment `end` of the clock at most."""
        self._network.load_state_dict(self._current)
        rate = max(LEAST_RATE, 0.93 ** (self._epochs_before + len(self.epochs)))
        for group in self._optimizer.param_groups:
            group["lr"] = RATE * rate
        losses, sizes = [], []
        for dataset, batch in _batches(self._training, self._generator):
            try:
                check()
            except Cancelled:
                self.cancelled = True
                break
            losses.append(self._step(dataset, batch))
            sizes.append(len(batch))
            if clock() > end:
                break
        if losses:
            mean = float((torch.stack(losses).cpu() * torch.tensor(sizes)).sum() / sum(sizes))
            self.epochs.append(Epoch(mean**0.5, _error(self._potential, self._held_out)))
            self._current = copy.deepcopy(self._network.state_dict())
            if self.epochs[-1].held_out < self._least:
                self.best, self._least = len(self.epochs), self.epochs[-1].held_out
                self._best_weights = self._current
            self._potential.optimizer = self._state()
        self._network.load_state_dict(self._best_weights)

    def _step(self, dataset: _Part, batch: torch.Tensor) -> torch.Tensor:
        """Train on a batch, and return its loss."""
        x = dataset.x[batch].requires_grad_(True)
        predicted = -torch.autograd.grad(
            self._potential.network_energy(x, dataset.protein).sum(), x, create_graph=True
        )[0]
        loss = (predicted - dataset.targets[batch]).square().mean()
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 100.0)
        self._optimizer.step()
        self._steps += 1
        return loss.detach()

    def outcome(self) -> Training:
        """Return the errors so far."""
        return Training(tuple(self.epochs), self._prior, self.best, self.cancelled)


@dataclass(eq=False)
class _Part:
    """Frames with their targets: what the network's forces should be, [F,N,3]."""

    protein: Protein
    x: torch.Tensor
    targets: torch.Tensor

    @property
    def frames_at_once(self) -> int:
        return _frames_at_once(self.protein)


def _frames_at_once(protein: Protein) -> int:
    return max(8, min(BATCH, MOST_PAIRS // len(protein.pairs)))


def _noisy_copies(data: Sequence[BeadStates]) -> list[int]:
    """Return how often each protein's frames are learned from in an epoch: all proteins make about as many batches."""
    batches = [np.count_nonzero(~split(frames)) / _frames_at_once(frames.protein) for frames in data]
    target = max(LEAST_BATCHES, *batches)
    return [
        max(1, int(target / count)) if frames.forces is None else 1 for frames, count in zip(data, batches, strict=True)
    ]


def _targets(potential: Potential, data: Sequence[BeadStates], generator: torch.Generator) -> list[tuple[_Part, _Part]]:
    """Return the frames of each protein to train on and those held out, with the forces that the priors lack."""
    device = potential.device
    positions, targets = [], []
    copies = _noisy_copies(data)
    for frames, count in zip(data, copies, strict=True):
        x = torch.as_tensor(frames.beads, dtype=torch.float32).repeat(count, 1, 1)
        if frames.forces is None:
            # The score of the data, smoothed by the noise: the force that pulls a frame back to where it was.
            noise = torch.randn(x.shape, generator=generator)
            x, target_forces = x + NOISE * noise, -potential.thermal / NOISE * noise
        else:
            target_forces = torch.as_tensor(frames.forces, dtype=torch.float32)
        positions.append(x.to(device))
        targets.append(target_forces.to(device))
    noisy = [
        (frames.protein, x.cpu().numpy()) for frames, x in zip(data, positions, strict=True) if frames.forces is None
    ]
    # Noise loosens bonds, and a network beside the stiff priors would learn to take these back: chains fly apart.
    noisy_priors = Priors.fitted(noisy, potential.temperature).to(device) if noisy else potential.priors
    datasets = []
    for frames, x, target_forces, count in zip(data, positions, targets, copies, strict=True):
        priors = noisy_priors if frames.forces is None else potential.priors
        chunks = range(0, len(x), BATCH)
        by_priors = torch.cat([_prior_forces(priors, x[k : k + BATCH], frames.protein) for k in chunks])
        lacking = target_forces - by_priors
        rows = torch.as_tensor(np.tile(split(frames), count), device=device)
        training, held_out = (_Part(frames.protein, x[mask], lacking[mask]) for mask in (~rows, rows))
        datasets.append((training, held_out))
    return datasets


def _prior_forces(priors: Priors, x: torch.Tensor, protein: Protein) -> torch.Tensor:
    x = x.detach().requires_grad_(True)
    return -torch.autograd.grad(priors.energy(x, protein).sum(), x)[0]


def _batches(datasets: Sequence[_Part], generator: torch.Generator) -> list[tuple[_Part, torch.Tensor]]:
    """Return batches of all parts in random order."""
    batches = [
        (dataset, batch)
        for dataset in datasets
        for batch in torch.split(torch.randperm(len(dataset.x), generator=generator), dataset.frames_at_once)
    ]
    return [batches[k] for k in torch.randperm(len(batches), generator=generator).tolist()]


def _error_of_priors(datasets: Sequence[_Part]) -> float:
    """Return the root mean square of what the forces of the priors lack."""
    squares = sum(float(dataset.targets.square().sum()) for dataset in datasets)
    return float((squares / max(sum(dataset.targets.numel() for dataset in datasets), 1)) ** 0.5)


def _error(potential: Potential, datasets: Sequence[_Part]) -> float:
    """Return the root mean square of what the network's forces lack, over all parts."""
    total, count = 0.0, 0
    for dataset in datasets:
        for batch in torch.split(torch.arange(len(dataset.x)), dataset.frames_at_once):
            x = dataset.x[batch].requires_grad_(True)
            predicted = -torch.autograd.grad(potential.network_energy(x, dataset.protein).sum(), x)[0]
            total += float((predicted.detach() - dataset.targets[batch]).square().sum())
            count += predicted.numel()
    return float((total / max(count, 1)) ** 0.5)
