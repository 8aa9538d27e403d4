"""The verbs `continue`, `fill`, `sample` and `morph` of dsr-backend."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pymol_dsr.shared import molecule_files, states
from pymol_dsr.shared.paths import file_to_write, names_by_number
from pymol_dsr.shared.source_options import FRAMES, GenerateOptions, MorphOptions

from ..surfaces import from_pymol
from .io import input_path, live_progress
from .options import parse_options


def run_generate(options: argparse.Namespace) -> int:
    """Continue, fill in or sample the states of a trajectory and write them; return the exit code."""
    if options.frames is None:
        options.frames = str(FRAMES[options.task])
    generation = parse_options(GenerateOptions, options)
    paths = [input_path(text) for text in options.input]
    if len(paths) > 2:
        raise ValueError(f"{options.input[2]}: a topology takes one trajectory")
    molecule_files.check_paths(paths)
    if options.states.strip().lower() != "all":
        states.parse(options.states)
    arguments = [f"--options={json.dumps(generation.to_json())}", f"--states={options.states}"]
    return _generate(options, paths, arguments, generation.replicas)


def run_morph(options: argparse.Namespace) -> int:
    """Write the states between structures; return the exit code."""
    morph = parse_options(MorphOptions, options)
    options.frames = str(morph.frames - 2)
    fill = parse_options(GenerateOptions, options)
    paths = [input_path(text) for text in options.input]
    for path in paths:
        molecule_files.check_structure(path)
    if options.states:
        states.parse(options.states)
    arguments = [
        f"--options={json.dumps(fill.to_json())}",
        f"--morph={json.dumps({**morph.to_json(), 'surface': False})}",
        f"--states={options.states}",
    ]
    return _generate(options, paths, arguments)


def _generate(options: argparse.Namespace, paths: list[Path], arguments: list[str], replicas: int = 1) -> int:
    target = file_to_write(options.output, [".pdb", ".cif"])
    written = names_by_number(options.output, replicas)
    for path in map(Path, names_by_number(target, replicas)):
        if path.exists() and any(path.samefile(source) for source in paths):
            raise ValueError(f"-o {options.output}: {path} is read from; give another name")
    python = from_pymol.pymol_python()
    if options.selection:
        arguments.append(f"--selection={options.selection}")
    with live_progress() as progress:

        def say(text: str, stays: bool) -> None:
            if stays:
                progress.end()
                print(text, flush=True)
            else:
                progress.step(text)

        from_pymol.generate_states(python, paths, target, arguments, say)
    for name in written:
        print(f"{name}: written, with the origin of its states in the .json beside it")
    return 0
