"""Faults: what is lost, what the user reads, and that the work goes on from where it was.

Every promise of docs/reliability.md has its test here or is named there with the test it has elsewhere.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from dsr_backend.cli import main
from dsr_backend.fitting.config import PRESETS, PaperPreset
from dsr_backend.fitting.job import FitJob
from dsr_backend.fitting.paper import checkpoint, run
from dsr_backend.fitting.paper.checkpoint import TrainingCheckpoint
from dsr_backend.results import dsr_file
from dsr_backend.runtime.errors import Cancelled, RequestError
from dsr_backend.surfaces import staging, surfaces_file
from dsr_backend.surfaces.staging import SurfaceStaging
from dsr_backend.surfaces.surface import Surface
from pymol import CmdException

from pymol_dsr import register
from pymol_dsr.__main__ import main as surfaces_main
from pymol_dsr.backend.client import Backend, Call
from pymol_dsr.backend.process import BackendError, Process
from pymol_dsr.commands.fit import dsr_fit, dsr_resume
from pymol_dsr.commands.manage import dsr_cancel, dsr_status
from pymol_dsr.commands.movie import dsr_movie
from pymol_dsr.fits import connection
from pymol_dsr.fits.background import Background
from pymol_dsr.fits.fit import MOST_LOSSES, Fit, Phase
from pymol_dsr.session import close_session, session_of
from pymol_dsr.shared import atomic_write, frames, messages
from pymol_dsr.shared.options import FitOptions
from pymol_dsr.shared.version import VERSION
from support.paths import ROOT
from support.processes import PROBLEM, QUEUED, Log, give_up_at_first_words, group_is_gone, raw, runs, sent_ball
from support.shapes import ball, fit
from support.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

TINY = PaperPreset(width=32, layers=4, latent=8, states=2, points=64, cpu_points=32, steps=200, halvings=4)
PAPER = FitOptions(preset="paper", device="cpu")


# Checkpoints of a training


class Stop:
    """Cancels once `step` steps of Adam are done."""

    def __init__(self, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = step
        original = torch.optim.Adam.step

        def counted(adam: Any, *args: Any) -> Any:
            self.left -= 1
            return original(adam, *args)

        monkeypatch.setattr(torch.optim.Adam, "step", counted)

    def __call__(self) -> bool:
        return self.left <= 0


def balls() -> list[Surface]:
    return [ball(state, 4.0 + 0.5 * state, subdivisions=2) for state in (1, 2, 3)]


@pytest.fixture(scope="module")
def straight() -> Any:
    return run.fit_trajectory(balls(), PAPER, preset=TINY)


def assert_same_field(expected: Any, actual: Any) -> None:
    """Both fields have the same tensors to the last bit."""
    tensors = actual.tensors()
    assert tensors and tensors.keys() == expected.tensors().keys()
    for name, tensor in expected.tensors().items():
        assert torch.equal(tensor, tensors[name]), name


@pytest.mark.parametrize("step", [1, 100, 153])
def test_a_cancelled_training_goes_on_as_if_it_had_not_been(
    straight: Any, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 steps, cancel, resume, 100 steps are 200 steps, tensor for tensor."""
    path = tmp_path / "training.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        run.fit_trajectory(
            balls(), PAPER, cancelled=Stop(step, patch), preset=TINY, checkpoint=TrainingCheckpoint(path, False)
        )
    assert checkpoint.read(path).values["step"] == step
    texts: list[str] = []
    resumed = run.fit_trajectory(balls(), PAPER, preset=TINY, checkpoint=TrainingCheckpoint(path, True, texts.append))
    assert texts == [f"the training goes on from the checkpoint at step {step}"]
    assert_same_field(straight, resumed)
    assert resumed.report["steps"] == 200 and resumed.report["loss"] == pytest.approx(straight.report["loss"], rel=0.2)


def test_a_training_killed_between_two_checkpoints_repeats_only_what_came_after(
    straight: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL_SECONDS", 0.0)
    path, steps = tmp_path / "training.safetensors", []

    def killed(status: messages.FitStatus) -> None:
        if status.checkpoint:
            steps.append(status.checkpoint)
        if (status.step or 0) >= 90 and status.phase == "fit":
            # Nothing of the run hears of this one: as SIGKILL leaves it.
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.fit_trajectory(balls(), PAPER, killed, preset=TINY, checkpoint=TrainingCheckpoint(path, False))
    assert steps == sorted(steps) and steps[-1] == 90 and len(steps) > 4
    assert_same_field(
        straight, run.fit_trajectory(balls(), PAPER, preset=TINY, checkpoint=TrainingCheckpoint(path, True))
    )


@pytest.mark.parametrize("step", [20, 120])
def test_a_new_trajectory_of_a_family_goes_on_in_the_part_it_was_in(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code alone is trained for the first quarter of the steps, 50 of 200; then all of the network is."""
    family = run.fit_family({"a": balls()}, PAPER, preset=replace(TINY, steps=20))
    new = [ball(1, 5.0, subdivisions=2), ball(2, 6.0, subdivisions=2)]
    uninterrupted = run.fit_member(family, new, PAPER, preset=TINY)
    path = tmp_path / "training.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        run.fit_member(
            family, new, PAPER, cancelled=Stop(step, patch), preset=TINY, checkpoint=TrainingCheckpoint(path, False)
        )
    assert_same_field(
        uninterrupted, run.fit_member(family, new, PAPER, preset=TINY, checkpoint=TrainingCheckpoint(path, True))
    )


def test_a_checkpoint_of_something_else_is_not_gone_on_from(
    straight: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "training.safetensors"
    other_seed = FitOptions(preset="paper", device="cpu", seed=1)
    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        run.fit_trajectory(
            balls(), other_seed, cancelled=Stop(20, patch), preset=TINY, checkpoint=TrainingCheckpoint(path, False)
        )
    texts: list[str] = []
    assert_same_field(
        straight,
        run.fit_trajectory(balls(), PAPER, preset=TINY, checkpoint=TrainingCheckpoint(path, True, texts.append)),
    )
    assert texts == ["the training begins anew: the checkpoint is of other surfaces or settings"]


def test_without_resume_a_checkpoint_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    TrainingCheckpoint(path, False).save({"z": torch.zeros(3)}, {"step": 5, "about": {}})
    assert TrainingCheckpoint(path, False).load({}) is None
    assert TrainingCheckpoint(path, True).load({}) is not None


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "foreign", "gone"])
def test_the_checkpoint_before_takes_the_place_of_a_damaged_one(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    texts: list[str] = []
    checkpoints = TrainingCheckpoint(path, False)
    for step in (10, 20):
        checkpoints.save({"z": torch.full((50,), float(step))}, {"step": step, "about": {"of": "this"}})
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = len(data) - 40
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        foreign = safetensors.torch.save({"z": torch.zeros(3)})
        path.write_bytes({"cut": data[:-100], "empty": b"", "flipped": flipped, "foreign": foreign}[damage])
    loaded = TrainingCheckpoint(path, True, texts.append).load({"of": "this"})
    assert loaded is not None and loaded.values["step"] == 10 and (loaded.tensors["z"] == 10).all()
    assert texts[-2:] == [
        f"{path}.previous is used in its place",
        "the training goes on from the checkpoint at step 10",
    ]
    assert damage == "gone" or texts[0].startswith(f"{path} can't be used: ")
    atomic_write.previous_of(path).write_bytes(b"no")
    assert TrainingCheckpoint(path, True, texts.append).load({"of": "this"}) is None or damage == "gone"


def test_a_training_on_the_command_line_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`dsr-backend fit` keeps its training beside the fit until that is there."""
    monkeypatch.setitem(PRESETS, "paper", TINY)
    monkeypatch.setattr(checkpoint, "INTERVAL_SECONDS", 0.0)
    surfaces_file.write_surfaces_file(tmp_path / "balls.safetensors", balls(), {})
    fit = ["fit", str(tmp_path / "balls.safetensors"), "--preset", "paper", "--device", "cpu", "-o"]
    assert main.main([*fit, str(tmp_path / "whole.dsr")]) == 0

    class Interrupting(Stop):
        def __call__(self) -> bool:
            if self.left <= 0:
                raise KeyboardInterrupt
            return False

    with monkeypatch.context() as patch:
        stop = Interrupting(100, patch)
        check = FitJob.raise_if_cancelled
        patch.setattr(FitJob, "raise_if_cancelled", lambda job: (stop(), check(job))[1])
        assert main.main([*fit, str(tmp_path / "a.dsr")]) == 130
    assert sorted(p.name for p in tmp_path.glob("a.*")) == ["a.dsr.training", "a.dsr.training.previous"]
    capsys.readouterr()
    assert main.main([*fit, str(tmp_path / "a.dsr"), "--resume"]) == 0
    assert "the training goes on from the checkpoint at step " in capsys.readouterr().err
    assert_same_field(dsr_file.load(tmp_path / "whole.dsr"), dsr_file.load(tmp_path / "a.dsr"))
    assert [p.name for p in tmp_path.glob("a.*")] == ["a.dsr"]


# A disk that is full


class Failing:
    """The module `os` as storage sees it, of which the n-th call that changes the disk fails; all later ones too, where
    `on`.
    """

    CHANGES = ("fsync", "replace", "link")

    def __init__(self, number: int, on: bool) -> None:
        self.left, self.on, self.hit = number, on, 0

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        return self._counted(function) if name in self.CHANGES else function

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.count()
            return function(*args, **kwargs)

        return call

    def count(self) -> None:
        self.left -= 1
        if self.left == 0 or (self.left < 0 and self.on):
            self.hit += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def open_file(self, path: Any, mode: str, opener: Any) -> Any:
        """As the built-in one; a write that fails leaves half of what it was given."""
        file, failing = open(path, mode, opener=opener), self  # noqa: SIM115

        class Half:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *raised: Any) -> None:
                file.close()

            def write(self, data: bytes) -> int:
                try:
                    failing.count()
                except OSError:
                    file.write(data[: len(data) // 2])
                    raise
                return file.write(data)

            def flush(self) -> None:
                file.flush()

            def fileno(self) -> int:
                return file.fileno()

        return Half()


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, bool], Failing]:
    def install(number: int, on: bool) -> Failing:
        failing = Failing(number, on)
        monkeypatch.setattr(atomic_write, "os", failing)
        monkeypatch.setattr(atomic_write, "open", failing.open_file, raising=False)
        return failing

    return install


# write, fsync, link, replace of previous, replace, fsync of the folder
CALLS = 6
FAULTS = [(number, on) for number in range(1, CALLS + 1) for on in (False, True)]


@pytest.mark.parametrize(("number", "on"), FAULTS)
def test_a_full_disk_leaves_the_file_before_whole(
    full: Callable[[int, bool], Failing], number: int, on: bool, tmp_path: Path
) -> None:
    """Whatever fails, one of both names holds a whole file, the newer one where it is said to be written."""
    path = tmp_path / "a.dsr"
    atomic_write.write(path, b"first" * 100)
    atomic_write.write(path, b"second" * 100)
    failing = full(number, on)
    raised = None
    try:
        atomic_write.write(path, b"third" * 100)
    except OSError as error:
        raised = str(error)
    assert failing.hit
    if raised is None:
        # Without links the file is moved.
        assert number == 3 and not on and path.read_bytes() == b"third" * 100
        assert atomic_write.previous_of(path).read_bytes() == b"second" * 100
    else:
        refused = re.escape(f"{path} (500 bytes) can't be written: No space left on device")
        assert re.fullmatch(rf"{refused}; \d+ bytes are free there", raised)
        versions = [p.read_bytes() for p in (path, atomic_write.previous_of(path)) if p.is_file()]
        assert b"second" * 100 in versions
        assert set(versions) <= {b"first" * 100, b"second" * 100, b"third" * 100}
    assert not list(tmp_path.glob(".*.part"))


def test_all_calls_that_change_the_disk_are_counted(full: Callable[[int, bool], Failing], tmp_path: Path) -> None:
    path = tmp_path / "a.dsr"
    atomic_write.write(path, b"first")
    failing = full(1000, False)
    atomic_write.write(path, b"second")
    assert 1000 - failing.left == CALLS


@pytest.fixture(scope="module")
def two_fields() -> list[Any]:
    return [fit([ball(1, radius, subdivisions=2)]) for radius in (3.0, 4.0)]


@pytest.mark.parametrize(("number", "on"), FAULTS)
def test_a_fit_on_a_full_disk_costs_no_fit_before_it(
    full: Callable[[int, bool], Failing], two_fields: list[Any], number: int, on: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.dsr"
    dsr_file.save(two_fields[0], path)
    size = len(dsr_file.to_bytes(two_fields[1]))
    failing, raised = full(number, on), ""
    try:
        dsr_file.save(two_fields[1], path)
    except OSError as error:
        raised = str(error)
    assert failing.hit
    # Without links the file is moved.
    moved = number == 3 and not on
    assert raised == "" if moved else str(path) in raised and f"({size} bytes)" in raised
    loaded = dsr_file.load(path)
    assert any(torch.equal(loaded.fine.modes, field.fine.modes) for field in two_fields)  # type: ignore[union-attr]


@pytest.mark.parametrize(("number", "on"), FAULTS)
def test_a_training_goes_on_with_the_disk_full(
    straight: Any,
    full: Callable[[int, bool], Failing],
    number: int,
    on: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "training.safetensors"
    texts: list[str] = []
    tensors = {"z": torch.zeros(3)}
    checkpoints = TrainingCheckpoint(path, False, texts.append)
    checkpoints.save(tensors, {"step": 10, "about": {}})
    full(number, on)
    checkpoints.save(tensors, {"step": 20, "about": {}})
    checkpoints.save(tensors, {"step": 30, "about": {}})
    write_errors = [line for line in texts if "can't be written" in line]
    # Without links the file is moved.
    assert bool(write_errors) == (on or number != 3)
    if write_errors:
        assert write_errors[0].startswith(f"no checkpoint at step 20, the one at step 10 stays: {path} (")
        assert "bytes) can't be written: No space left on device" in write_errors[0] and len(write_errors) == 1
    loaded = TrainingCheckpoint(path, True).load({})
    assert loaded is not None and loaded.values["step"] in ((10, 20) if on else (30,))


def test_a_whole_training_without_a_single_checkpoint_is_the_same(
    straight: Any, full: Callable[[int, bool], Failing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL_SECONDS", 0.0)
    full(1, True)
    texts: list[str] = []
    checkpoints = TrainingCheckpoint(tmp_path / "training.safetensors", False, texts.append)
    assert_same_field(straight, run.fit_trajectory(balls(), PAPER, preset=TINY, checkpoint=checkpoints))
    assert len(texts) == 1 and "there is none" in texts[0]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_surfaces_stay_in_memory_from_where_the_disk_is_full(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    waiting = SurfaceStaging(tmp_path / "a.surfaces", {"source": {}}, 1, False, texts.append)
    replaced, count = os.replace, [0]

    def failing(source: Any, target: Any) -> None:
        if count[0] >= at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count[0] += 1
        replaced(source, target)

    monkeypatch.setattr(os, "replace", failing)
    for surface in balls():
        waiting.put(0, surface)
    monkeypatch.undo()
    assert [surface.state for surface in waiting.series(0)] == [1, 2, 3]
    assert (
        len(texts) == 1
        and f"{float(at + 1)!r}.safetensors" in texts[0]
        and " bytes) can't be written: No space" in texts[0]
    )
    waiting.close()
    reopened = SurfaceStaging(tmp_path / "a.surfaces", {"source": {}}, 1, True, texts.append)
    assert reopened.states(0) == [1, 2, 3][:at]


# Kills


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'backend'}")
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def pid_in(greeting: messages.HelloResult | None) -> int:
    assert greeting is not None and greeting.pid is not None
    return greeting.pid


class Served:
    """One backend process with small presets."""

    def __init__(self) -> None:
        self.log = Log()
        self.backend = Backend([*PROBLEM, "small"], self.log)
        self.pid = pid_in(self.backend.start(timeout=PATIENCE))
        # Answered when torch is there.
        self.backend.call(raw("drop", {"fit": "none"}), timeout=PATIENCE)

    def begin(self, name: str, preset: str, resume: bool = False) -> Call[Any]:
        """Open a fit of three balls, send the surfaces that are not there, and start it."""
        config = {"preset": preset, "device": "cpu", "smooth": 1.0}
        opened = {"fit": name, "config": config, "source": {"object": "b"}, "resume": resume}
        staged = set(self.backend.call(raw("open", opened), timeout=PATIENCE)[0]["states"])
        for state in {1.0, 2.0, 3.0} - staged:
            self.backend.submit(raw("surface", {"fit": name, "state": state}, sent_ball(state)))
        return self.backend.submit(raw("fit", {"fit": name}))

    def tensors(self, name: str) -> dict[str, np.ndarray]:
        """Files of a finished fit."""
        _, files = self.backend.call(raw("save", {"fit": name}), timeout=PATIENCE)
        return {k: v.numpy() for k, v in safetensors.torch.load(files["file"].tobytes()).items()}

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: not self.backend.alive)
        self.close()

    def close(self) -> None:
        self.backend.close(grace=0.5)
        process = self.backend.process
        assert process is not None and not runs(process.pid)
        wait_for(lambda: group_is_gone(process.pid))


def kill_and_resume(presets: list[str], seed: int, home: Path) -> list[str]:
    """Fits that are killed at a random moment of theirs and resumed by the next process; what was said of each."""
    chance, fits = random.Random(seed), home / "fits"
    served = Served()
    expected, took = {}, {}
    for preset in dict.fromkeys(presets):
        start = time.monotonic()
        served.begin(preset, preset).result(timeout=PATIENCE)
        took[preset], expected[preset] = time.monotonic() - start, served.tensors(preset)
    report_lines = []
    for number, preset in enumerate(presets):
        name = f"killed{number}"
        moment = chance.uniform(0.0, took[preset])
        stop = threading.Timer(moment, served.kill)
        stop.start()
        try:
            served.begin(name, preset).result(timeout=PATIENCE)
        except BackendError as error:
            assert error.code == "lost", error
        stop.join()
        complete = (fits / f"{name}.dsr").is_file() and not (fits / f"{name}.surfaces").exists()
        for path in fits.glob("*.dsr"):
            # Whatever has its name is whole.
            dsr_file.load(path)
        served = Served()
        if not complete:
            served.begin(name, preset, resume=True).result(timeout=PATIENCE)
        tensors = served.tensors(name)
        assert tensors.keys() == expected[preset].keys()
        for key, tensor in expected[preset].items():
            assert np.array_equal(tensor, tensors[key]), (
                f"{name} of {preset}, killed after {moment:.2f} s: {key} differs"
            )
        assert (fits / f"{name}.dsr").is_file() and not (fits / f"{name}.surfaces").exists()
        texts = "; ".join(params["text"] for params in served.log.named("log"))
        report_lines.append(
            f"{preset} after {moment:.2f} of {took[preset]:.2f} s: {'was done' if complete else texts or 'resumed'}"
        )
    served.close()
    return report_lines


def test_killed_fits_are_resumed_to_the_same_field(tmp_path: Path) -> None:
    print("\n".join(kill_and_resume(["preview", "paper", "paper"], 7, tmp_path / "home")))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thirty_killed_fits_are_resumed_to_the_same_field(tmp_path: Path) -> None:
    report_lines = kill_and_resume(["paper", "preview"] * 15, 11, tmp_path / "home")
    print("\n".join(report_lines))
    assert sum("goes on from the checkpoint" in line for line in report_lines) >= 5


# Backends that misbehave, met with the real commands


@pytest.fixture
def plugin(peptide: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """PyMOL with `pep` and the commands; afterwards no process that a test has started runs."""
    register(peptide)
    started: list[int] = []
    process = Process.__init__

    def remembered(self: Any, *args: Any) -> None:
        process(self, *args)
        started.append(self.pid)

    monkeypatch.setattr(Process, "__init__", remembered)
    yield peptide
    backend = session_of(peptide).jobs.connection.running
    if backend is not None:
        backend.close(grace=0.5)
    close_session(peptide)
    assert started
    for pid in started:
        assert not runs(pid)
        wait_for(partial(group_is_gone, pid))


def use(cmd: Any, *mode: str) -> None:
    session_of(cmd).settings.put("backend", shlex.join([*PROBLEM, *mode]))


def answers_until(cmd: Any, condition: Callable[[], Any]) -> None:
    """Wait as a user does, who asks PyMOL for this and that meanwhile; it answers before what is waited for."""
    answers = [0]

    def answered() -> bool:
        if condition():
            return True
        assert cmd.count_atoms("pep") > 0
        answers[0] += not condition()
        return False

    wait_for(answered)
    assert answers[0] > 0


def typed(cmd: Any, capsys: pytest.CaptureFixture[str], line: str) -> str:
    """A command in the background, and what it printed until its fit was over."""
    jobs = session_of(cmd).jobs
    cmd.do(f"{line}, async_=1", log=0, echo=0)
    answers_until(cmd, lambda: jobs.fits and not any(fit.activity for fit in jobs.fits.values()))
    # The error is printed after the fit is over.
    wait_for(lambda: not any(isinstance(thread, Background) for thread in threading.enumerate()))
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("banner", "got 'Welcome to gpu01'"),
        ("missing", "ended with exit code 1; its last words: \"ModuleNotFoundError: No module named 'torch'\""),
        ("junk", "got 'Segmentation fault (core dumped)'; something else writes into the stream"),
        ("half", "ended with exit code 4; it wrote nothing to stderr (the stream ended within a frame: 14 of 47 bytes"),
        ("huge", "a frame announces 4611686018427387904 bytes of arrays, more than 1073741824"),
        ("newer", "speaks protocol 2 (version 9.9) and this plugin protocol 1"),
        ("older", "speaks protocol 0 (version 9.9) and this plugin protocol 1"),
        ("killed", "lost at 0 % of its surfaces; dsr_resume pep_dsr goes on from the surfaces it had (the backend"),
        ("twice", "it answered request"),
        ("play dies", "lost at step 7; checkpoint at step 5; dsr_resume pep_dsr goes on (the backend"),
    ],
)
def test_a_fit_with_a_misbehaving_backend(
    plugin: Any, capsys: pytest.CaptureFixture[str], mode: str, sentence: str
) -> None:
    session_of(plugin).settings.put("wait", f"{PATIENCE:.0f}")
    use(plugin, *mode.split())
    fit_fails(plugin, capsys, sentence)


def test_a_fit_with_a_backend_that_waits_in_a_queue(
    plugin: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up_at_first_words(monkeypatch)
    session_of(plugin).settings.put("wait", f"{PATIENCE:.0f}")
    session_of(plugin).settings.put("backend", shlex.join(QUEUED))
    words = "its last words: 'srun: job 17 queued and waiting for resources'"
    fit_fails(plugin, capsys, f"did not greet within {PATIENCE:g} s; {words}")


def fit_fails(cmd: Any, capsys: pytest.CaptureFixture[str], sentence: str) -> None:
    jobs = session_of(cmd).jobs
    output = typed(cmd, capsys, "dsr_fit pep, 1-2")
    [line] = [line for line in output.splitlines() if line.startswith(" Error: dsr_fit: ")]
    assert sentence in line
    assert jobs.fits["pep_dsr"].phase is Phase.FAILED and sentence in jobs.fits["pep_dsr"].line()
    assert "Traceback" not in output and cmd.get_names() == ["pep"]


@pytest.mark.parametrize("mode", ["mute", "play deaf", "play stubborn"])
def test_a_backend_that_does_not_answer_or_stop_is_ended(
    plugin: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(connection, "CANCEL_SECONDS", 0.5)
    use(plugin, *mode.split())
    jobs_of_plugin = session_of(plugin).jobs

    def is_fitting() -> bool:
        """The backend has been asked: it was told to fit, or, the mute one, has been started for that."""
        fit = jobs_of_plugin.fits.get("pep_dsr")
        if mode == "mute":
            return jobs_of_plugin.connection.running is not None
        return fit is not None and fit.phase is Phase.FIT

    def cancel() -> None:
        wait_for(is_fitting)
        dsr_cancel("pep_dsr", _self=plugin)

    threading.Thread(target=cancel).start()
    output = typed(plugin, capsys, "dsr_fit pep, 1-2")
    assert "pep_dsr: cancelled; the backend did not stop within 0.5 s and was ended, the next command" in output
    assert session_of(plugin).jobs.fits["pep_dsr"].phase is Phase.CANCELLED
    use(plugin, "play", "well")
    dsr_fit("pep", "1-2", _self=plugin)
    dsr_movie("pep_dsr", _self=plugin)
    assert plugin.count_states("pep_dsr") == 2


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("nan points", "points"),
        ("infinite normals", "normals"),
        ("faces past the end", "faces"),
        ("negative faces", "faces"),
        ("normals of another size", "normals"),
        ("no faces", "faces"),
    ],
)
def test_no_broken_mesh_reaches_pymol(plugin: Any, fault: str, sentence: str) -> None:
    use(plugin, "play", fault)
    dsr_fit("pep", "1-2", _self=plugin)
    with pytest.raises(CmdException) as error:
        dsr_movie("pep_dsr", _self=plugin)
    line = str(error.value.args[0])
    assert "the backend's answer to 'mesh' can't be used: " in line and sentence in line and "\n" not in line
    assert plugin.get_names() == ["pep"] and plugin.count_atoms("pep") > 0


# Interrupted work goes on


def interrupt(plugin: Any, stop: Callable[[], None], **arguments: Any) -> Fit:
    dsr_fit("pep", "1-3", name="a", async_=1, _self=plugin, **arguments)
    fit = session_of(plugin).jobs.fits["a"]
    wait_for(lambda: fit.checkpoint if arguments.get("preset") == "paper" else fit.phase is Phase.FIT)
    stop()
    wait_for(lambda: not fit.activity)
    return fit


def kill_backend(cmd: Any) -> None:
    backend = session_of(cmd).jobs.connection.running
    assert backend is not None
    os.kill(pid_in(backend.info), signal.SIGKILL)


def test_a_killed_training_goes_on_in_another_session(
    plugin: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(plugin, "small", "0.05", "600")
    fit = interrupt(plugin, lambda: kill_backend(plugin), preset="paper", seed=3)
    assert fit.phase is Phase.FAILED
    assert re.match(r"lost at step \d+; checkpoint at step \d+; dsr_resume a goes on \(the .*SIGKILL", fit.error)
    interrupted = [line for line in dsr_status(_self=plugin) if "interrupted" in line]
    assert interrupted == ["a: interrupted: 3 surfaces; dsr_resume a"]
    close_session(plugin)
    jobs = session_of(plugin).jobs
    assert dsr_status(_self=plugin) == interrupted
    # The names of selections are of that session.
    capsys.readouterr()
    use(plugin, "small", "1000", "600")
    assert dsr_resume(quiet=0, _self=plugin) == "a"
    output = capsys.readouterr().out
    step = int(re.search(r"a: interrupted: 3 surfaces, step (\d+)", output)[1])  # type: ignore[index]
    assert f"fit 'a': the training goes on from the checkpoint at step {step}" in output
    report = jobs.fits["a"].report.members()[""]
    assert (report.preset, report.seed, report.steps, report.states) == ("paper", 3, 600, (1, 2, 3))
    assert dsr_status(_self=plugin) == ["a: ready, states 1-3 of pep, on " + jobs.fits["a"].device]
    with pytest.raises(CmdException, match=r"a: there is no interrupted fit of that name \(there: none\)"):
        dsr_resume("a", _self=plugin)


def test_a_cancelled_training_is_kept_says_so_and_is_listed(
    plugin: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    use(plugin, "small", "0.05", "100000")
    fit = interrupt(plugin, lambda: dsr_cancel("a", _self=plugin), preset="paper")
    assert fit.phase is Phase.CANCELLED
    output = capsys.readouterr().out
    step = int(re.search(r"fit 'a': checkpoint at step (\d+); dsr_resume a goes on from it", output)[1])  # type: ignore[index]
    assert dsr_status(_self=plugin)[-1] == f"a: interrupted: 3 surfaces, step {step}; dsr_resume a"
    dsr_fit("pep", "1+3", name="done", preset="preview", _self=plugin)
    session_of(plugin).jobs.close()
    # Nothing else is written, and all of it is listed.
    fits = tmp_path / "home/fits"
    assert sorted(os.listdir(tmp_path / "home")) == ["fits"]
    assert sorted(os.listdir(fits)) == ["a.surfaces", "done.dsr"]
    capsys.readouterr()
    assert surfaces_main(["--folders"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [str(fits / "a.surfaces"), str(fits / "done.dsr")]
    assert "of an interrupted fit" in lines[0] and lines[1].endswith("MB  a fit")
    assert lines[-1] == f"Fits are kept in {fits}; those of a backend on another machine over there."


def test_what_can_not_go_on_is_said_in_a_line(plugin: Any) -> None:
    cmd = plugin
    use(plugin, "small", "0.05", "100000")

    def refused(name: str = "") -> str:
        # In the background: one that is not refused would train for hours.
        with pytest.raises(CmdException) as error:
            dsr_resume(name, async_=1, _self=cmd)
        assert "\n" not in str(error.value.args[0])
        return str(error.value.args[0])

    assert refused() == "name: give that of an interrupted fit (there: none)"
    interrupt(plugin, lambda: dsr_cancel("a", _self=cmd), preset="paper")
    assert refused("other") == "other: there is no interrupted fit of that name (there: a); dsr_fit makes a fit"
    cmd.set("solvent_radius", 1.6)
    assert refused("a").startswith("a: other settings of pep made its surfaces (solvent_radius was 1.4")
    cmd.set("solvent_radius", 1.4)
    radii: dict[int, float] = {}
    cmd.iterate("pep", "radii[index] = vdw", space={"radii": radii})
    cmd.alter("pep", "vdw = 3")
    assert refused("a").startswith("a: other van der Waals radii of pep made its surfaces (1.4")
    assert "and now 3.0 A); set them with 'alter'" in refused("a")
    cmd.alter("pep", "vdw = radii[index]", space={"radii": radii})
    cmd.alter_state(2, "pep and index 1", "x = x + 0.01")
    assert refused("a") == (
        "a: the atoms of pep in states 1-3 are not where they were; load it as it was, or dsr_fit it anew with name=a"
    )
    cmd.remove("pep and index 1")
    assert " atoms of pep were fitted, " in refused("a")
    cmd.delete("pep")
    assert refused("a") == "a: its object pep is not in the scene; load it under that name, then dsr_resume a"
    assert dsr_status("a", _self=cmd)[-1].startswith("a: interrupted: 3 surfaces, step ")


HOLDER = """
import sys, time
from pathlib import Path
from dsr_backend.surfaces.staging import SurfaceStaging
staging = SurfaceStaging(Path(sys.argv[1]), {"source": {}}, 1, True, print)
print(staging.states(0), flush=True)
time.sleep(60)
"""


def test_two_backends_do_not_share_a_fit(tmp_path: Path) -> None:
    """The second is refused while the first lives and has the fit open, and takes it up after that."""
    folder = tmp_path / "a.surfaces"
    texts: list[str] = []
    source: dict[str, Any] = {"source": {}}
    first = SurfaceStaging(folder, source, 1, False, texts.append)
    first.put(0, balls()[0])
    first.close()
    assert staging.interrupted_fits(tmp_path)["a"]["surfaces"] == 1
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "[1.0]\n"
        for resume in (False, True):
            with pytest.raises(RequestError) as error:
                SurfaceStaging(folder, source, 1, resume, texts.append)
            text = str(error.value)
            assert f"fit 'a' is under way in another backend on this folder (process {holder.pid} on " in text
        assert staging.interrupted_fits(tmp_path) == {}
        # It is killed, and nobody has asked for its exit code yet.
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        assert list(staging.interrupted_fits(tmp_path)) == ["a"]
    finally:
        holder.kill()
        holder.wait()
    reopened = SurfaceStaging(folder, source, 1, True, texts.append)
    assert reopened.states(0) == [1.0] and not texts
    assert staging.interrupted_fits(tmp_path) == {}
    reopened.close()
    assert staging.interrupted_fits(tmp_path)["a"]["surfaces"] == 1
    reopened = SurfaceStaging(folder, source, 1, False, texts.append)
    assert reopened.states(0) == []
    reopened.remove()
    assert not folder.exists()


@pytest.mark.parametrize("closed", ["all", "requests and log", "log alone, then junk"])
@pytest.mark.parametrize("fitting", [False, True], ids=["idle", "fitting"])
def test_a_backend_ends_when_its_plugin_is_killed_in_the_middle_of_a_frame(closed: str, fitting: bool) -> None:
    """Nobody reads the line about the half frame, so writing it fails; the process ends and its fit is free again."""
    command = [*PROBLEM, "small", "0.05", "1000000"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    requests, replies, errors = process.stdin, process.stdout, process.stderr
    assert isinstance(requests, io.BufferedWriter) and isinstance(replies, io.BufferedReader) and errors is not None
    numbers = iter(range(1, 100))

    def ask(method: str, params: dict[str, Any], arrays: Any = None, answered: bool = True) -> None:
        number = next(numbers)
        frames.write_frame(requests, {"kind": "request", "id": number, "method": method, "params": params}, arrays)
        while answered:
            frame = frames.read_frame(replies)
            assert frame is not None and frame[0]["kind"] != "error", frame
            answered = frame[0].get("id") != number

    try:
        ask("hello", {"protocol": frames.PROTOCOL, "version": VERSION})
        config = {"preset": "paper", "device": "cpu", "smooth": 1.0}
        ask("open", {"fit": "a", "config": config, "source": {"object": "b"}, "resume": False})
        for state in (1.0, 2.0, 3.0):
            ask("surface", {"fit": "a", "state": state}, sent_ball(state))
        if fitting:
            ask("fit", {"fit": "a"}, answered=False)
            while (frame := frames.read_frame(replies)) is not None:
                if frame[0].get("event") == "progress":
                    break
        request = b"".join(map(bytes, frames.encode({"kind": "request", "id": 99, "method": "surface", "params": {}})))
        errors.close()
        requests.write(b"junk" if "junk" in closed else request[: len(request) // 2])
        requests.flush()
        if closed == "all":
            replies.close()
        if "junk" not in closed:
            requests.close()
        wait_for(lambda: process.poll() is not None)
    finally:
        process.kill()
        process.wait()
        requests.close()
        replies.close()
    assert list(staging.interrupted_fits(Path(os.environ["DSR_HOME"]) / "fits")) == ["a"]


def test_surfaces_that_version_0_2_staged_are_taken_up(tmp_path: Path) -> None:
    folder = tmp_path / "a.surfaces"
    (folder / "0").mkdir(parents=True)
    (folder / "about.json").write_text('{"source": {}, "asked": {}}')
    [surface] = balls()[:1]
    np.savez(
        folder / "0" / "1.0.npz",
        format=np.array("dsr-surfaces 1"),
        states=np.array([1.0]),
        point_counts=np.array([len(surface.points)]),
        face_counts=np.array([len(surface.faces)]),
        points=surface.points,
        normals=surface.normals,
        faces=surface.faces,
        meta=np.array("{}"),
    )
    assert staging.interrupted_fits(tmp_path)["a"]["surfaces"] == 1
    reopened = SurfaceStaging(folder, {"source": {}}, 1, True, pytest.fail)
    np.testing.assert_array_equal(reopened.series(0)[0].points, surface.points)
    reopened.remove()


# Load


def test_ten_thousand_questions_during_a_fit(tmp_path: Path) -> None:
    """All are answered while it works, in the order asked, and none costs the fit."""
    served = Served()
    call = served.begin("a", "paper")
    count = 0
    while count < 10_000:
        pending = [served.backend.submit(raw("status")) for _ in range(200)]
        for answer in pending:
            assert set(answer.result(timeout=PATIENCE)[0]) == {"busy", "fits"}
        count += len(pending)
    call.result(timeout=PATIENCE)
    served.close()


@pytest.mark.parametrize(
    "mode",
    [("play", "held"), pytest.param(("small",), marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
    ids=["played", "real"],
)
def test_ten_fits_wait_for_their_turn(plugin: Any, tmp_path: Path, mode: tuple[str, ...]) -> None:
    jobs, release = session_of(plugin).jobs, tmp_path / "release"
    use(plugin, *mode, *([str(release)] if "held" in mode else []))
    names = [f"f{number}" for number in range(10)]
    for name in names:
        dsr_fit("pep", "1-2", name=name, preset="preview", async_=1, _self=plugin)
    lines = dsr_status(_self=plugin)
    assert len(lines) == 10 and sum(": queued" in line for line in lines) >= 8
    dsr_cancel("f7", _self=plugin)
    release.touch()
    answers_until(plugin, lambda: not any(fit.activity for fit in jobs.fits.values()))
    phases = {name: str(jobs.fits[name].phase) for name in names}
    assert phases == {name: "cancelled" if name == "f7" else "ready" for name in names}


def resident() -> float:
    """MB of memory of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux counts it")
@pytest.mark.parametrize("count", [6, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_movies_that_are_loaded_and_deleted_leave_no_memory_behind(plugin: Any, count: int) -> None:
    use(plugin, "play", "large")
    dsr_fit("pep", "1-2", _self=plugin)

    def play() -> None:
        dsr_movie("pep_dsr", _self=plugin)
        plugin.delete("pep_dsr")
        plugin.mset("")

    for _ in range(3 if count < 10 else 10):
        play()
    before = resident()
    for _ in range(count):
        play()
    grown = resident() - before
    print(f"{grown:.1f} MB for {count} movies")
    # Each holds 10 MB while it is there.
    assert grown < 30


def test_eight_hours_of_progress_take_no_memory(plugin: Any) -> None:
    """Five events a second for eight hours: what is kept of them is bounded."""
    jobs = session_of(plugin).jobs
    use(plugin, "play", "well")
    dsr_fit("pep", "1-2", _self=plugin)
    fit = jobs.fits["pep_dsr"]
    fit.phase = Phase.FIT
    before = resident()
    total = 8 * 3600 * 5
    for number in range(total):
        status = messages.FitStatus("fit", number / total, loss=0.1, step=number)
        jobs.on_event(messages.Progress(fit="pep_dsr", status=status))
    assert 1000 < len(fit.losses) <= 2 * MOST_LOSSES and fit.step == total - 1
    # The curve shows all of it, evenly.
    assert np.diff([fraction for fraction, _ in fit.losses]).max() < 0.002
    assert fit.losses[0][0] == 0 and fit.losses[-1][0] == (total - 1) / total
    assert resident() - before < 20
    fit.phase = Phase.READY


@pytest.mark.skipif(sys.platform != "linux", reason="a ceiling needs Linux")
def test_a_ceiling_of_memory_is_said_and_costs_the_request_alone() -> None:
    """A grid of 10⁸ nodes takes 0.4 GB and more on the way; under the ceiling it fails, and the next mesh is made."""
    log = Log()
    backend = Backend([sys.executable, "-m", "dsr_backend", "serve", "--max-memory", "0.6"], log)
    backend.start(timeout=PATIENCE)
    try:
        config = {"preset": "preview", "device": "cpu", "smooth": 1.0, "budget": 0.1}
        backend.call(raw("open", {"fit": "a", "config": config}), timeout=PATIENCE)
        for state in (1.0, 2.0):
            backend.call(raw("surface", {"fit": "a", "state": state}, sent_ball(state, radius=40.0)), timeout=PATIENCE)
        backend.call(raw("fit", {"fit": "a"}), timeout=PATIENCE)
        with pytest.raises(BackendError) as error:
            backend.call(raw("grid", {"fit": "a", "time": 1, "resolution": 0.2}), timeout=PATIENCE)
        assert error.value.code == "out-of-memory"
        assert str(error.value).startswith("the backend, which may take 0.6 GB (--max-memory), ran out of memory (")
        assert backend.call(raw("mesh", {"fit": "a", "time": 1, "resolution": 2.0}), timeout=PATIENCE)[0]["volume"] > 0
    finally:
        backend.close(grace=0.5)


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan"])
def test_a_ceiling_that_is_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["serve", "--max-memory", text]) == 2
    assert f"{text} is no number of gigabytes above 0" in capsys.readouterr().err
