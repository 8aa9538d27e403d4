"""The verb `occupancy` of dsr-backend."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pymol_dsr.shared import atomic_write, states
from pymol_dsr.shared.ensemble_options import OccupancyOptions
from pymol_dsr.shared.options import FORMATS, FieldOptions
from pymol_dsr.shared.paths import file_to_write
from pymol_dsr.shared.superpose import is_apart
from pymol_dsr.shared.weights import check_weights, numbers_in

from ..fields.select import select_field
from .io import Progress, input_path, live_progress, read_fit, surfaces_from
from .options import parse_options

if TYPE_CHECKING:
    from ..results.occupancy import OpenShape

FIT = ".dsr"


def run_occupancy(options: argparse.Namespace) -> int:
    """Run `dsr-backend occupancy` and return the exit code."""
    occupancy_options = parse_options(OccupancyOptions, options)
    target = Path(file_to_write(options.output, [f".{kind}" for kind in FORMATS])) if options.output else None
    states_text = (options.states or "all").strip().lower()
    if states_text != "all":
        states.parse(states_text, fractional=True)
    weights = _weights(options.weights) if options.weights else None
    for path in options.input:
        input_path(path)
    from ..results.export import write
    from ..results.occupancy import occupancy
    from ..runtime.device import limit_threads
    from ..runtime.parallel import MAX_PARALLEL_STATES

    with live_progress() as progress:
        shapes: list[OpenShape] = []
        for path in options.input:
            shapes += _shapes(path, states_text, options, progress)
        result = occupancy(
            shapes,
            occupancy_options,
            weights,
            min(limit_threads(), MAX_PARALLEL_STATES),
            lambda fraction: progress.step(f"occupancy {100 * fraction:.0f} %"),
        )
    print(f"{result.states} states, volume {result.volume:.0f} Å³ on average")
    for surface in result.surfaces:
        if not len(surface.faces):
            print(f"{surface.level:g} %: empty")
            continue
        middle, high = np.percentile(surface.spread, (50, 98))
        line = f"{surface.level:g} %: volume {surface.volume:.0f} Å³, spread {middle:.2f} Å, 98 % below {high:.2f} Å"
        if target:
            path = target.with_name(f"{target.stem}_{surface.level:g}{target.suffix}")
            format = path.suffix.lower().removeprefix(".")
            atomic_write.replace(path, write.to_bytes(surface.points, surface.normals, surface.faces, format))
            line += f", written to {Path(options.output).with_name(path.name)}"
        print(line)
    if result.rmsd is not None and result.rmsd_superposed is not None:
        print(f"atoms {result.rmsd:.2f} Å from the first state, {result.rmsd_superposed:.2f} Å after superposition")
        if is_apart(result.rmsd, result.rmsd_superposed):
            progress.line("dsr-backend: warning: the states are not superposed, so this is how the molecule tumbles")
    return 0


def _shapes(path: str, states_text: str, options: argparse.Namespace, progress: Progress) -> list[OpenShape]:
    """Return the wanted states of a fit or of a surfaces file."""
    from ..results.occupancy import field_shapes, surface_shapes

    if not path.lower().endswith(FIT):
        surfaces, _ = surfaces_from(path, states_text)
        return surface_shapes(surfaces)
    try:
        field = select_field(read_fit(path, options.device, progress), parse_options(FieldOptions, options))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return field_shapes(field, field.states if states_text == "all" else states.parse(states_text, fractional=True))


def _weights(path: str) -> tuple[float, ...]:
    """Return the weights in a text file. Raises ValueError."""
    try:
        weights = numbers_in(input_path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--weights {path}: it must be a text file of numbers ({error})") from error
    check_weights(weights, f"--weights {path}")
    return weights
