"""The verb `learn` of dsr-backend: potentials, and generators, those by several processes too."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from pymol_dsr.shared.fits_folder import MODEL
from pymol_dsr.shared.learn_options import GeneratorOptions, LearnOptions
from pymol_dsr.shared.paths import file_to_write

from ..batch.proteins import read_proteins
from .io import Progress, input_path, live_progress, reading
from .options import parse_options

LINE_SECONDS = 2.0
KINDS = ("potential", "generator")


def run_learn(options: argparse.Namespace) -> int:
    """Learn a potential or a generator from the proteins of a list and write it; return the exit code."""
    return _run_generator(options) if options.kind == "generator" else _run_potential(options)


def _run_potential(options: argparse.Namespace) -> int:
    if options.states is not None:
        raise ValueError("--states is for --kind generator with a folder; a list has a column for it")
    learn_options = parse_options(LearnOptions, options)
    tasks = read_proteins(input_path(options.manifest))
    target = Path(file_to_write(options.output, [MODEL]))
    earlier_path = input_path(options.output) if learn_options.resume else None
    from ..runtime import distributed
    from ..runtime.device import choose_device
    from ..sources.model_file import ModelWriter
    from ..sources.potential.learn import learn
    from ..sources.potential.mdcath import read_folder
    from ..sources.potential.model_file import from_bytes, to_bytes
    from ..sources.potential.trajectories import read_trajectory

    if distributed.launched_by_torchrun():
        raise ValueError("a potential is learned by one process: leave torchrun out; it goes with --kind generator")
    with live_progress() as progress:
        data, left_out = [], []
        for task in tasks:
            progress.step(f"reading {task.name}")
            if task.is_mdcath:
                proteins, skipped = read_folder([Path(task.input)], learn_options, _go_on, task.name)
                data += proteins
                left_out += skipped
            else:
                data.append(read_trajectory(task.name, task.input, task.trajectory, task.states, learn_options, _go_on))
        earlier = None
        if earlier_path is not None:
            with reading(options.output):
                earlier = from_bytes(earlier_path.read_bytes())
        writer = ModelWriter(target)
        _, _, lines = learn(
            data,
            learn_options,
            _Report(progress),
            _go_on,
            earlier,
            choose_device(options.device),
            keep=lambda potential, record: writer.write(to_bytes(potential, record)),
        )
    for protein in left_out:
        print(f"{protein.name} is left out: {protein.reason}")
    for line in lines:
        print(line)
    print(f"{options.output}: written; in the folder models beside that of fits, simulations know it as {target.stem}")
    return 0


def _run_generator(options: argparse.Namespace) -> int:
    for word in ("temperature", "forces", "calibrate"):
        if getattr(options, word) is not None:
            raise ValueError(f"--{word} is for a potential: leave it out, or --kind generator")
    learn_options = parse_options(GeneratorOptions, options)
    target = Path(file_to_write(options.output, [MODEL]))
    manifest = Path(options.manifest).expanduser()
    tasks = [] if manifest.is_dir() else read_proteins(input_path(options.manifest))
    if tasks and options.states is not None:
        raise ValueError("--states goes with a folder; a list has a column for it")
    if of_forces := next((task for task in tasks if task.is_mdcath), None):
        raise ValueError(f"{of_forces.input}: a generator learns from a topology and a trajectory")
    from ..runtime import distributed
    from ..sources.generator.folder import ProteinFiles, read_folder
    from ..sources.generator.folder import read_proteins as read_states
    from ..sources.generator.learn import learn

    with distributed.process_group(options.device), live_progress() as progress:

        def reading_step(fraction: float, name: str) -> None:
            progress.step(f"reading {name}")

        if tasks:
            files = [
                ProteinFiles(
                    task.name,
                    Path(task.input),
                    (Path(task.trajectory),) if task.trajectory else (),
                    task.states,
                )
                for task in tasks
            ]
            proteins, spacing = read_states(files, _go_on, reading_step)
        else:
            proteins, spacing = read_folder(manifest, options.states or "all", _go_on, reading_step)
        learned = learn(
            proteins, learn_options, spacing, target, _Report(progress), _go_on, options.device, progress.line
        )
        if distributed.rank():
            return 0
    for line in learned.notes:
        print(line)
    print(f"{options.output}: written; in the folder models beside that of fits, model={target.stem} names it")
    return 0


def _go_on() -> None:
    """Let the work go on; Ctrl-C ends it by itself."""


class _Report:
    """Shows the progress of a training."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._next = 0.0
        self._phase = ""

    def __call__(self, fraction: float, phase: str, text: str = "", seconds_left: float | None = None) -> None:
        """Show how far it is."""
        moment = time.monotonic()
        if phase == self._phase and moment < self._next:
            return
        self._next, self._phase = moment + LINE_SECONDS, phase
        left = f", {seconds_left:.0f} s left" if seconds_left is not None else ""
        self._progress.step(f"{phase} {100 * fraction:.0f} %" + (f", {text}" if text else "") + left)

    def frames(self, coordinates: Any) -> None:
        """Show no states: a training makes none."""

    def errors(self, training: float, held_out: float, baseline: float | None = None) -> None:
        """Leave the errors to the text of the progress."""

    def gap(self, deviations: float) -> None:
        """Leave the gap to the text of the progress."""
