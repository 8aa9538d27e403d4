"""Several processes on one fit, or one training, started by torchrun, give the result of one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dsr_backend.cli import main  # noqa: E402
from dsr_backend.results import dsr_file  # noqa: E402
from dsr_backend.runtime import distributed  # noqa: E402
from dsr_backend.sources.generator import model_file, training  # noqa: E402
from dsr_backend.surfaces import surfaces_file  # noqa: E402

from support import learn_ranks_script, ranks_script  # noqa: E402
from support.molecules import write_backbones  # noqa: E402
from support.paths import ROOT  # noqa: E402
from support.shapes import ball, cloud  # noqa: E402

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT / "backend"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
    "OMP_NUM_THREADS": "1",
    "PYTHONIOENCODING": "utf-8",
}


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """A folder with five states of a ball that grows and moves, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("alone")
    atoms = cloud(40)
    states = [
        ball(s, 5.0 + 0.3 * s, (0.5 * s, 0, 0), (atoms + np.array([0.5 * s, 0, 0])).astype(np.float32), 3)
        for s in range(1, 6)
    ]
    surfaces_file.write_surfaces_file(folder / "balls.safetensors", states, {})
    ranks_script.main(folder)
    return folder


def torchrun(count, *words):
    """Output of several processes on both streams."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    process = subprocess.run(
        [*command, *map(str, words)], capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout, process.stderr


def assert_same(expected, actual, within):
    """Two folders that the script has filled hold the same fields; within, Å: by name, for what training adds up."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(3000, 3, generator=generator)
    near = direction / direction.norm(dim=1, keepdim=True) * (5.9 + 0.5 * torch.randn(3000, 1, generator=generator))
    near[:, 0] += 1.5
    for name in ("fast.dsr", "paper.dsr"):
        a: Any = dsr_file.load(expected / name)
        b: Any = dsr_file.load(actual / name)
        assert a.states == b.states == [1, 2, 3, 4, 5]
        for time in (1.0, 2.5, 5.0, 6.0):
            deviation = (a.at(time).distance(near) - b.at(time).distance(near)).abs()
            assert deviation.max() < within[name], (name, time, deviation.max())
        assert b.report["loss"] == pytest.approx(a.report["loss"], rel=0.01 + within[name])
    assert a.report["steps"] == b.report["steps"] == ranks_script.PAPER.steps
    meshes = sorted(path.name for path in expected.glob("*.ply"))
    assert meshes == sorted(path.name for path in actual.glob("*.ply")) and len(meshes) == 3


def filled_by(count, one_process, tmp_path):
    shutil.copy(one_process / "balls.safetensors", tmp_path)
    output, _ = torchrun(count, ROOT / "tests/support/ranks_script.py", tmp_path)
    # The first one speaks for all.
    assert output.count("states 1-5 fitted in") == 1 and output.count("the last of 3 files") == 1
    # Parts of unequal size weigh a point of `paper` a little differently.
    even = ranks_script.PAPER.cpu_points % count == 0
    assert_same(one_process, tmp_path, {"fast.dsr": 1e-3, "paper.dsr": 1e-3 if even else 0.2})


def test_two_processes_give_the_field_of_one(one_process, tmp_path):
    filled_by(2, one_process, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [3, 4, 7])
def test_so_do_more_even_where_some_have_no_state(one_process, tmp_path, count):
    filled_by(count, one_process, tmp_path)


def test_one_process_does_nothing_together():
    assert (distributed.rank(), distributed.world_size(), list(distributed.own_states(3))) == (0, 1, [0, 1, 2])
    tensor = torch.ones(3)
    assert distributed.broadcast(tensor, 0, tensor.device) is tensor


def test_surfaces_are_not_made_by_many(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.pdb").write_text("")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main.main(["fit", str(tmp_path / "a.pdb"), "-o", str(tmp_path / "a.dsr")]) == 2
    assert "make one first, with dsr-backend surfaces" in capsys.readouterr().err


def test_two_processes_add_up_the_gradients_of_their_own_examples(tmp_path, monkeypatch):
    torchrun(2, ROOT / "tests/support/learn_ranks_script.py", tmp_path)
    first, second = (np.load(tmp_path / f"{rank}.npz") for rank in range(2))
    assert np.array_equal(first["weights"], second["weights"])
    # The same in one process, one rank after the other.
    monkeypatch.setattr(training, "MEASURED", (1, 2))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *words: None)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda values, *words: list(values))
    monkeypatch.setattr(distributed, "sum_gradients", lambda *words: None)
    of_each_rank = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        lesson = learn_ranks_script.new_training()
        lesson.run(1e9, most_steps=1)
        of_each_rank.append(learn_ranks_script.gradients(lesson))
    assert first["gradients"] == pytest.approx(of_each_rank[0] + of_each_rank[1], abs=1e-6)
    assert np.abs(of_each_rank[0] - of_each_rank[1]).max() > 1e-3


def test_two_processes_learn_a_generator_from_a_list(tmp_path, monkeypatch):
    write_backbones(tmp_path / "run.pdb", learn_ranks_script.backbones(420))
    (tmp_path / "list.csv").write_text("name,input\nrun,run.pdb\n")
    words = ["learn", tmp_path / "list.csv", "--kind", "generator", "--budget", "1", "--device", "cpu"]
    output, _ = torchrun(2, "-m", "dsr_backend", *words, "-o", tmp_path / "net.dsrm")
    assert output.count("run: 419 steps in 1 trajectory of 5 residues") == 1
    assert output.count("net.dsrm: written") == 1
    saved = model_file.from_bytes((tmp_path / "net.dsrm").read_bytes())
    assert saved.curve[-1].steps > 0 and saved.proteins[0].residues == ("ALA",) * 5


def test_a_potential_is_learned_by_one_process(tmp_path, monkeypatch, capsys):
    write_backbones(tmp_path / "run.pdb", learn_ranks_script.backbones(12))
    (tmp_path / "list.csv").write_text("name,input\nrun,run.pdb\n")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main.main(["learn", str(tmp_path / "list.csv"), "-o", str(tmp_path / "x.dsrm")]) == 2
    assert "leave torchrun out; it goes with --kind generator" in capsys.readouterr().err
