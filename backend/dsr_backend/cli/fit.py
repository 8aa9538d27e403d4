"""The verb `fit` of dsr-backend."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymol_dsr.shared import states
from pymol_dsr.shared.names import is_name, rule_against
from pymol_dsr.shared.options import FitOptions
from pymol_dsr.shared.paths import file_to_write
from pymol_dsr.shared.scratch import ScratchFolder
from pymol_dsr.shared.state_times import jump_line, read_times
from pymol_dsr.shared.surfaces_format import is_surfaces_path

from ..surfaces import from_pymol
from .io import Progress, device_text, input_path, live_progress, read_fit, surfaces_from
from .options import parse_options

if TYPE_CHECKING:
    from ..fields.base import Family, Field
    from ..surfaces.surface import Surface


def run_fit(options: argparse.Namespace) -> int:
    """Fit surfaces files, or a topology and its trajectory, and write the fit; return the exit code."""
    target = Path(file_to_write(options.output, [".dsr"]))
    config = parse_options(FitOptions, options)
    if options.times_file is not None:
        config = replace(config, times=read_times(input_path(options.times_file)))
    paths = [input_path(text) for text in options.input]
    from_file = is_surfaces_path(paths[0])
    names = _trajectory_names(options, paths) if from_file else []
    _check_inputs(options, from_file, names)
    # torch loads only when the arguments are known to be good.
    from ..runtime import distributed

    if distributed.launched_by_torchrun() and not from_file:
        raise ValueError("several processes fit a surfaces file: make one first, with dsr-backend surfaces")
    if distributed.launched_by_torchrun() and options.resume:
        raise ValueError("--resume is for a single process: leave it out, or fit without torchrun")
    python = "" if from_file else from_pymol.pymol_python()
    with ExitStack() as stack:
        stack.enter_context(distributed.process_group(options.device))
        progress = stack.enter_context(live_progress(device_text(options.device)))
        family = _read_family(options, progress)
        if family is not None and not options.preset:
            config = replace(config, preset=family.report["preset"])
        if from_file:
            series = [surfaces_from(text, options.states) for text in options.input]
        else:
            # The fit reads this folder until its end.
            folder = stack.enter_context(ScratchFolder())
            series = [surfaces_by_pymol(python, paths, options, progress, folder)]
        fitted = _fit_and_save(options, config, dict(zip(names or [""], series, strict=True)), family, target, progress)
        if distributed.rank():
            return 0
    print(_summary(options.output, names, [surfaces for surfaces, _ in series], fitted))
    return 0


Source = dict[str, Any]
"""JSON object with which PyMOL finds the fitted atoms again."""


def _check_inputs(options: argparse.Namespace, from_file: bool, names: Sequence[str]) -> None:
    """Raise ValueError for arguments that do not go together."""
    if not from_file and len(options.input) > 2:
        raise ValueError(f"{options.input[2]}: a topology takes one trajectory; make surfaces files to fit several")
    if options.frozen and not options.family:
        raise ValueError("--frozen keeps the network of a family: name it as --family")
    if options.family and len(names) > 1:
        raise ValueError(f"--family takes one new trajectory at a time, got {', '.join(names)}")
    if options.states.strip().lower() != "all":
        states.parse(options.states, fractional=from_file)


def _fit_and_save(
    options: argparse.Namespace,
    config: FitOptions,
    series: Mapping[str, tuple[Sequence[Surface], Source]],
    family: Family | None,
    target: Path,
    progress: Progress,
) -> Field | Family:
    """Fit the surfaces of one or more trajectories, by name, and let rank 0 write the fit to `target`."""
    # They load torch.
    from ..fitting import run
    from ..fitting.paper.checkpoint import TrainingCheckpoint
    from ..results import dsr_file
    from ..runtime import distributed

    training = None
    if config.preset == "paper" and not distributed.launched_by_torchrun():
        # A training of hours has its checkpoint beside the fit until the fit is written.
        training = TrainingCheckpoint(target.with_name(f"{target.name}.training"), options.resume, progress.line)
    fitted: Field | Family
    if len(series) > 1:
        surfaces_by_name = {name: surfaces for name, (surfaces, _) in series.items()}
        fitted = run.fit_family(surfaces_by_name, config, progress.fit, checkpoint=training)
        fitted.report["source"] = {"trajectories": {name: source for name, (_, source) in series.items()}}
    else:
        [(surfaces, source)] = series.values()
        if family is None:
            fitted = run.fit_trajectory(surfaces, config, progress.fit, checkpoint=training)
        else:
            fitted = run.fit_member(family, surfaces, config, progress.fit, frozen=options.frozen, checkpoint=training)
        fitted.report["source"] = source
    if config.breaks is None:
        for name, report in (fitted.report.get("trajectories") or {options.output: fitted.report}).items():
            if "breaks" in report:
                line = jump_line(report["breaks"], report["states"], "--breaks ")
                progress.line(f"dsr-backend: {name}: {line}")
    progress.step("saving")
    if distributed.rank() == 0:
        dsr_file.save(fitted, target)
    if training is not None:
        training.remove()
    return fitted


def _summary(output: str, names: Sequence[str], series: Sequence[Sequence[Surface]], fitted: Field | Family) -> str:
    report = fitted.report
    if len(series) > 1:
        count = sum(map(len, series))
        return f"{output}: {', '.join(names)}, {count} states in all, fitted in {report['seconds']:.1f} s"
    line = f"{output}: states {states.format(report['states'])} fitted in {report['seconds']:.1f} s"
    if "forecast" in report:
        line += f", smooth {report['smooth']:.3g} states, beyond them {report['forecast']}"
    return line


def _trajectory_names(options: argparse.Namespace, paths: Sequence[Path]) -> list[str]:
    """Return the names of the trajectories in surfaces files. Raises ValueError where the files don't go together."""
    topology = next((text for text, path in zip(options.input, paths, strict=True) if not is_surfaces_path(path)), None)
    if topology or options.selection or options.set or options.unwrap:
        raise ValueError(
            f"{options.input[0]} is a surfaces file: a trajectory, --selection, --set or --unwrap goes with a topology "
            "only"
        )
    texts: dict[str, str] = {}
    for text, path in zip(options.input, paths, strict=True):
        if path.stem in texts:
            raise ValueError(f"{texts[path.stem]} and {text} are both named {path.stem}: rename one of them")
        if len(paths) > 1 and not is_name(path.stem):
            raise ValueError(f"{text}: a trajectory can't be named {path.stem!r}: {rule_against(path.stem)}")
        texts[path.stem] = text
    return list(texts)


def _read_family(options: argparse.Namespace, progress: Progress) -> Family | None:
    if not options.family:
        return None
    family = read_fit(options.family, options.device, progress)
    from ..fields.base import Family

    if not isinstance(family, Family):
        raise ValueError(f"{options.family}: it is of one trajectory and no family; fit several files together")
    return family


def surfaces_by_pymol(
    python: str, paths: Sequence[Path], options: argparse.Namespace, progress: Progress, folder: Path
) -> tuple[Sequence[Surface], dict[str, Any]]:
    """Let PyMOL make the surfaces of a trajectory, in a file in `folder`."""
    path = os.fspath(folder / "surfaces.safetensors")
    from_pymol.make_surfaces(
        python,
        paths,
        path,
        from_pymol.SurfaceRequest(options.states, options.selection or "", settings=options.set, unwrap=options.unwrap),
        progress.say,
    )
    return surfaces_from(path, "all")
