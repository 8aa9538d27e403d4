"""dsr-backend fit."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymol_dsr.shared import states
from pymol_dsr.shared.names import RULE, is_name
from pymol_dsr.shared.options import FitOptions
from pymol_dsr.shared.surfaces_format import is_surfaces_path

from ..surfaces import from_pymol
from .io import Progress, device_text, input_path, live_progress, output_path, read_fit, surfaces_from

if TYPE_CHECKING:
    from ..fields.base import Family, Field
    from ..surfaces.surface import Surface

# Fit ------------------------------------------------------------------------------------------------------


def run_fit(options: argparse.Namespace) -> int:
    target = output_path(options.output, ("dsr",))
    config = FitOptions(
        preset=options.preset or "fast",
        smooth=None if options.smooth == "auto" else smooth_width(options.smooth),
        seed=options.seed,
        budget=options.budget,
        device=options.device,
        align=options.align,
        loop=options.loop,
        times=None if options.times is None else _times_of_states(options.times),
    )
    paths = [input_path(text) for text in options.input]
    from_file = is_surfaces_path(paths[0])
    names = _trajectories(options, paths) if from_file else []
    if not from_file and len(paths) > 2:
        raise ValueError(f"{options.input[2]}: a topology takes one trajectory; make surfaces files to fit several")
    if options.frozen and not options.family:
        raise ValueError("--frozen keeps the network of a family: name it as --family")
    if options.family and len(names) > 1:
        raise ValueError(f"--family takes one new trajectory at a time, got {', '.join(names)}")
    if options.states.strip().lower() != "all":
        states.parse(options.states, fractional=from_file)
    from ..runtime import distributed

    if distributed.launched_by_torchrun() and not from_file:
        raise ValueError("several processes fit a surfaces file: make one first, with dsr-backend surfaces")
    if distributed.launched_by_torchrun() and options.resume:
        raise ValueError("--resume is for a single process: leave it out, or fit without torchrun")
    python = "" if from_file else from_pymol.pymol_python()
    with ExitStack() as stack:
        stack.enter_context(distributed.process_group(options.device))
        progress = stack.enter_context(live_progress(device_text(options.device)))
        known = _known_family(options, progress)
        if known is not None and not options.preset:
            config = replace(config, preset=known.report["preset"])
        if from_file:
            read = [surfaces_from(text, options.states) for text in options.input]
        else:
            # Read until the fit is done.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dsr-", ignore_cleanup_errors=True))
            read = [surfaces_by_pymol(python, paths, options, progress, folder)]
        from ..fitting import run
        from ..fitting.paper.checkpoint import Training
        from ..results import dsr_file

        training = None
        if config.preset == "paper" and not distributed.launched_by_torchrun():
            # A training of hours: beside the fit, until that is there.
            training = Training(target.with_name(f"{target.name}.training"), options.resume, progress.line)
        fitted: Field | Family
        if len(read) > 1:
            series = {name: surfaces for name, (surfaces, _) in zip(names, read, strict=True)}
            sources = {name: source for name, (_, source) in zip(names, read, strict=True)}
            fitted = run.fit_family(series, config, progress.fit, training=training)
            fitted.report["source"] = {"trajectories": sources}
        else:
            [(surfaces, source)] = read
            if known is None:
                fitted = run.fit_trajectory(surfaces, config, progress.fit, training=training)
            else:
                fitted = run.fit_member(known, surfaces, config, progress.fit, frozen=options.frozen, training=training)
            fitted.report["source"] = source
        progress.step("saving")
        if distributed.rank() == 0:
            dsr_file.save(fitted, target)
        if training is not None:
            training.remove()
        if distributed.rank():
            return 0
    report = fitted.report
    if len(read) > 1:
        count = sum(map(len, series.values()))
        print(f"{options.output}: {', '.join(names)}, {count} states in all, fitted in {report['seconds']:.1f} s")
        return 0
    line = f"{options.output}: states {states.format(report['states'])} fitted in {report['seconds']:.1f} s"
    if "forecast" in report:
        line += f", smooth {report['smooth']:.3g} states, beyond them {report['forecast']}"
    print(line)
    return 0


def _times_of_states(text: str) -> tuple[float, ...]:
    """The numbers in a text file, one for each state; what follows a # is none of them."""
    found = []
    for number, line in enumerate(input_path(text).read_text(encoding="utf-8").splitlines(), 1):
        for word in line.partition("#")[0].replace(",", " ").split():
            try:
                found.append(float(word))
            except ValueError as error:
                raise ValueError(
                    f"{text}: {word!r} in line {number} is not a number; give one time for each state"
                ) from error
    return tuple(found)


def _trajectories(options: argparse.Namespace, paths: Sequence[Path]) -> list[str]:
    """The names of the trajectories in surfaces files; ValueError where they don't go together."""
    other = next((text for text, path in zip(options.input, paths, strict=True) if not is_surfaces_path(path)), None)
    if other or options.selection:
        raise ValueError(
            f"{options.input[0]} is a surfaces file: a trajectory or --selection goes with a topology only"
        )
    named: dict[str, str] = {}
    for text, path in zip(options.input, paths, strict=True):
        if path.stem in named:
            raise ValueError(f"{named[path.stem]} and {text} are both named {path.stem}: rename one of them")
        if len(paths) > 1 and not is_name(path.stem):
            raise ValueError(f"{text}: a trajectory can't be named {path.stem!r}: {RULE}")
        named[path.stem] = text
    return list(named)


def _known_family(options: argparse.Namespace, progress: Progress) -> Family | None:
    if not options.family:
        return None
    known = read_fit(options.family, options.device, progress)
    from ..fields.base import Family

    if not isinstance(known, Family):
        raise ValueError(f"{options.family}: it is of one trajectory and no family; fit several files together")
    return known


def smooth_width(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"smooth {text}: it is neither a number of states nor auto") from error


def surfaces_by_pymol(
    python: str, paths: Sequence[Path], options: argparse.Namespace, progress: Progress, folder: str
) -> tuple[Sequence[Surface], dict[str, Any]]:
    """PyMOL's surfaces of a trajectory, in a file in `folder`."""
    path = os.path.join(folder, "surfaces.safetensors")
    from_pymol.make_surfaces(python, paths, path, options.states, options.selection, say=progress.say)
    return surfaces_from(path, "all")
