"""The verb `surfaces` of dsr-backend."""

from __future__ import annotations

import argparse
from pathlib import Path

from pymol_dsr.shared import states
from pymol_dsr.shared.paths import file_to_write
from pymol_dsr.shared.surfaces_format import is_surfaces_path

from ..surfaces import from_pymol
from .io import input_path, live_progress, reading


def run_surfaces(options: argparse.Namespace) -> int:
    """Run `dsr-backend surfaces` and return the exit code."""
    target = Path(file_to_write(options.output, [".safetensors", ".npz"]))
    paths = [input_path(text) for text in options.input]
    if len(paths) > 2:
        raise ValueError(f"{options.input[2]}: a topology takes one trajectory")
    if is_surfaces_path(paths[0]):
        raise ValueError(f"{options.input[0]} is a surfaces file already")
    if options.workers < 0:
        raise ValueError(f"--workers {options.workers}: it must be at least 1")
    if options.states.strip().lower() != "all":
        states.parse(options.states, fractional=False)
    python = from_pymol.pymol_python()
    with live_progress() as progress:
        from_pymol.make_surfaces(
            python,
            paths,
            target,
            from_pymol.SurfaceRequest(
                options.states, options.selection or "", options.workers, options.set, options.unwrap
            ),
            progress.say,
        )
    from ..surfaces.surfaces_file import SurfaceFile

    with reading(options.output):
        surfaces = SurfaceFile(target)
    print(f"{options.output}: states {states.format(surfaces.states)}, {target.stat().st_size / 1e6:.1f} MB")
    return 0
