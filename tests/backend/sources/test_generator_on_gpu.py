"""A generator trains on a GPU by the same code: here on one that only refuses what CUDA refuses."""

import numpy as np
import pytest
import torch
from dsr_backend.sources.generator import training
from dsr_backend.sources.generator.learn import ProteinStates, protein_runs
from dsr_backend.sources.generator.model import Preset

from support.molecules import helix
from support.pretend_gpu import DEVICE, pretend_gpu

RESIDUES = 5
BODY = helix(RESIDUES)
TINY = Preset(8, 1, 1, 3, 4)


@pytest.mark.parametrize("task", [name for name, _ in training.TASKS])
def test_training_measuring_and_writing_work_on_a_gpu(monkeypatch, task):
    monkeypatch.setattr(training, "MEASURED", (1, 2))
    monkeypatch.setattr(training, "TASKS", ((task, 1.0),))
    run = (BODY + 0.1 * np.random.default_rng(0).normal(size=(60, *BODY.shape))).astype(np.float32)
    protein = ProteinStates("five", ("ALA",) * RESIDUES, (0,) * RESIDUES, [run.reshape(-1, RESIDUES, 3, 3)])
    with pretend_gpu():
        lesson = training.Training([protein_runs(protein, ["ALA"])], 1, TINY, device=torch.device(DEVICE))
        lesson.run(1e9, most_steps=2)
        assert np.isfinite(lesson.loss) and lesson.steps == 2
        tensors = lesson.tensors()
        [generator] = lesson.generators
    assert {tensor.device.type for tensor in tensors.values()} == {"cpu"}
    drawn = generator.draw(generator.alone(2), torch.Generator().manual_seed(0))
    assert drawn.origins.device.type == "cpu" and torch.isfinite(drawn.origins).all()
