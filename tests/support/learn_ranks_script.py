"""Takes a step of a generator's training by all processes that torchrun starts, into FOLDER: test_ranks.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from dsr_backend.runtime import distributed
from dsr_backend.sources.generator import learn, training
from dsr_backend.sources.generator.learn import ProteinStates
from dsr_backend.sources.generator.model import Preset
from numpy.typing import NDArray

from support.molecules import helix

RESIDUES = 5
TINY = Preset(16, 2, 1, 4, 9)


def backbones(count: int = 150, seed: int = 0) -> NDArray[np.float32]:
    """Backbones f4[count,R,3,3] (Å) that fluctuate about a helix."""
    body = helix(RESIDUES)
    noise = np.random.default_rng(seed).normal(0.0, 0.1, (count, *body.shape))
    return (body + noise).astype(np.float32).reshape(count, RESIDUES, 3, 3)


def new_training() -> training.Training:
    """The training that takes the step."""
    protein = ProteinStates("five", ("ALA",) * RESIDUES, (0,) * RESIDUES, [backbones()])
    return training.Training([learn.protein_runs(protein, ("ALA",))], 1, TINY)


def gradients(lesson: training.Training) -> NDArray[np.float32]:
    """The gradients of all weights, one after the other."""
    values = [value.grad for value in lesson.net.parameters()]
    return torch.cat([torch.zeros(1) if value is None else value.flatten() for value in values]).numpy().copy()


def main(folder: Path) -> None:
    training.MEASURED = (1, 2)
    torch.nn.utils.clip_grad_norm_ = lambda *words: None  # type: ignore[assignment]
    with distributed.process_group("cpu"):
        lesson = new_training()
        lesson.run(1e9, most_steps=1)
        weights = torch.cat([value.detach().flatten() for value in lesson.net.parameters()]).numpy()
        np.savez(folder / f"{distributed.rank()}.npz", gradients=gradients(lesson), weights=weights)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
