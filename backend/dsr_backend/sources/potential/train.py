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

from ..contract import Check
from .beads import Protein
from .potential import Potential

BLOCKS = 25
HELD_OUT = 5
"""Every so many blocks one is held out."""
BATCH = 256
RATE = 1e-3
DECAY = 1e-2
"""Weight decay."""
MOST_EPOCHS = 60
PATIENCE = 6
"""Epochs without a better held-out error that end the training."""
MOST_PAIRS = 40_000
"""Pairs of beads of a batch, which limit its frames."""
NOISE = 0.15
"""Å of the noise that denoising takes off."""


@dataclass(frozen=True, eq=False)
class Frames:
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
    """

    epochs: tuple[Epoch, ...]
    prior: float
    best: int


def split(frames: Frames) -> NDArray[np.bool_]:
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
    data: Sequence[Frames],
    seed: int,
    seconds: float,
    report: Callable[[float, Training], None],
    check: Check,
) -> Training:
    """Train the network in place, for so many seconds at most, from its weights as they are.

    report: takes the fraction that is done and the errors so far, after each epoch. check: called at each step.
    """
    generator = torch.Generator().manual_seed(seed)
    training, held_out = zip(*(_targets(potential, frames, generator) for frames in data), strict=True)
    network = potential.network
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    prior = _error_of_priors(held_out)
    epochs: list[Epoch] = []
    best, weights = 0, copy.deepcopy(network.state_dict())
    least = _error(potential, held_out)
    started = time.monotonic()
    for number in range(1, MOST_EPOCHS + 1):
        losses, sizes = [], []
        for dataset, batch in _batches(training, generator):
            check()
            x = dataset.x[batch].requires_grad_(True)
            predicted = -torch.autograd.grad(_energy(potential, dataset, x).sum(), x, create_graph=True)[0]
            loss = (predicted - dataset.target(batch)).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 100.0)
            optimizer.step()
            losses.append(loss.detach())
            sizes.append(len(batch))
            if time.monotonic() - started > seconds:
                break
        spent = time.monotonic() - started
        mean = float((torch.stack(losses).cpu() * torch.tensor(sizes)).sum() / sum(sizes))
        epochs.append(Epoch(mean**0.5, _error(potential, held_out)))
        if epochs[-1].held_out < least:
            best, least, weights = number, epochs[-1].held_out, copy.deepcopy(network.state_dict())
        report(min(1.0, max(spent / seconds, number / MOST_EPOCHS)), Training(tuple(epochs), prior, best))
        if number - best >= PATIENCE or spent > seconds:
            break
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.93**number
    network.load_state_dict(weights)
    return Training(tuple(epochs), prior, best)


@dataclass(eq=False)
class _Part:
    """Frames with their targets: what the network's forces should be, [F,N,3]."""

    protein: Protein
    x: torch.Tensor
    targets: torch.Tensor

    def target(self, batch: torch.Tensor) -> torch.Tensor:
        return self.targets[batch]

    @property
    def frames_at_once(self) -> int:
        return max(8, min(BATCH, MOST_PAIRS // len(self.protein.pairs)))


def _targets(potential: Potential, frames: Frames, generator: torch.Generator) -> tuple[_Part, _Part]:
    """Return the frames to train on and those held out, with the forces that the priors lack."""
    chosen = split(frames)
    device = potential.device
    x = torch.as_tensor(frames.beads, dtype=torch.float32, device=device)
    if frames.forces is None:
        # The score of the data, smoothed by the noise: the force that pulls a frame back to where it was.
        noise = torch.randn(x.shape, generator=generator).to(device)
        x, target_forces = x + NOISE * noise, -potential.thermal / NOISE * noise
    else:
        target_forces = torch.as_tensor(frames.forces, dtype=torch.float32, device=device)
    chunks = range(0, len(x), BATCH)
    target_forces = target_forces - torch.cat(
        [_prior_forces(potential, x[k : k + BATCH], frames.protein) for k in chunks]
    )
    rows = torch.as_tensor(chosen, device=device)
    datasets = [_Part(frames.protein, x[mask], target_forces[mask]) for mask in (~rows, rows)]
    return datasets[0], datasets[1]


def _prior_forces(potential: Potential, x: torch.Tensor, protein: Protein) -> torch.Tensor:
    x = x.detach().requires_grad_(True)
    return -torch.autograd.grad(potential.priors.energy(x, protein).sum(), x)[0]


def _energy(potential: Potential, dataset: _Part, x: torch.Tensor) -> torch.Tensor:
    return potential.network_energy(x, dataset.protein)


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
            predicted = -torch.autograd.grad(_energy(potential, dataset, x).sum(), x)[0]
            total += float((predicted.detach() - dataset.target(batch)).square().sum())
            count += predicted.numel()
    return float((total / max(count, 1)) ** 0.5)
