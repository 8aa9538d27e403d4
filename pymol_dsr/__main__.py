"""`python -m pymol_dsr TOPOLOGY [TRAJECTORY] --out FILE.safetensors`: a trajectory's surfaces as a surfaces file.

For `dsr-backend fit topology trajectory`, which needs a PyMOL for the surfaces and no window. `python -m pymol_dsr
--folders` lists what is written where.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Generator
from typing import Any

import pymol
import pymol2

from .runtime import folders
from .runtime.settings import Settings
from .shared import molecule_files
from .shared.atomic_write import WriteError
from .shared.exit_codes import WORK_FAILED
from .shared.states import StatesError
from .shared.surfaces_format import suffix_of
from .surfaces import extract, stream, surfaces_file
from .surfaces.remedies import FOR_TERMINALS
from .surfaces.source import ExtractError, Source, Surface
from .surfaces.trajectory_file import READERS, can_stream
from .surfaces.workers import compute_surfaces

# Bytes of a trajectory from which on it matters that PyMOL holds all of it.
LARGE = 50_000_000


def main(arguments: list[str] | None = None) -> int:
    """Write the file and return the exit code: 0, 1 for bad input, WORK_FAILED where the file can't be written.

    A failure is one line on stderr.
    """
    if (sys.argv[1:] if arguments is None else arguments) == ["--folders"]:
        settings = Settings()
        for file in folders.written_files(settings):
            print(f"{file.path}  {file.size / 1e6:.1f} MB  {file.description}")
        print(f"Fits are kept in {folders.fits_folder(settings)}; those of a backend on another machine over there.")
        return 0
    parser = argparse.ArgumentParser(
        prog="python -m pymol_dsr",
        description="PyMOL's surfaces of a trajectory as a file; with --folders alone, what is written where.",
    )
    parser.add_argument("topology", help="structure or topology that PyMOL reads, as .pdb .cif .psf")
    parser.add_argument("trajectory", nargs="?", help="trajectory that PyMOL reads, as .dcd .xtc .trr")
    parser.add_argument("--states", default="all", help="1-150, 1-79:2, 1+5+9 or all (default)")
    parser.add_argument("--selection", default="all", help="PyMOL selection (default: all)")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes at once (default: as many as cores, at most 8)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="setting of PyMOL that shapes a surface, as surface_mode=1; may be repeated",
    )
    parser.add_argument("--unwrap", action="store_true", help="make molecules whole that the periodic box cuts")
    parser.add_argument(
        "--remedies", choices=FOR_TERMINALS, default="options", help="what a message tells to change (default: options)"
    )
    parser.add_argument("--out", required=True, help="file to write, ending in .safetensors or .npz")
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except (ExtractError, StatesError, pymol.CmdException, ValueError, OSError) as error:
        text = " ".join(str(error).split()).removeprefix("Error: ")
        files = [path for path in (options.topology, options.trajectory) if path]
        if not any(path in text for path in [*files, options.out]):
            text = f"{' with '.join(files)}: {text}"
        print(f"pymol_dsr: {text}", file=sys.stderr)
        return WORK_FAILED if isinstance(error, WriteError) else 1


def run(options: argparse.Namespace) -> int:
    """Write the surfaces file that the arguments ask for; 0.

    Raises ExtractError, StatesError, ValueError or OSError.
    """
    surfaces_file.check_path(options.out)
    paths = [path for path in (options.topology, options.trajectory) if path]
    molecule_files.check_paths(paths)
    for path in paths:
        if not os.path.isfile(path):
            raise ValueError(f"{path}: there is no such file")
    remedies = FOR_TERMINALS[options.remedies]
    session = pymol2.PyMOL()
    session.start()
    try:
        cmd = session.cmd
        cmd.feedback("disable", "all", "everything")
        name = cmd.get_legal_name(os.path.splitext(os.path.basename(options.topology))[0]) or "m"
        if options.trajectory and can_stream(options.trajectory):
            stream.load(options.topology, options.trajectory, name, cmd)
            _set(options.set, name, cmd)
            source = stream.read_source(
                options.selection,
                options.states,
                options.trajectory,
                unwrap=options.unwrap,
                remedies=remedies,
                _self=cmd,
            )
        else:
            if options.trajectory:
                _warn_of_size(options.trajectory)
                stream.load(options.topology, options.trajectory, name, cmd, whole=True)
            else:
                stream.load_structure(options.topology, name, cmd)
            _set(options.set, name, cmd)
            source = extract.read_source(
                options.selection, options.states, unwrap=options.unwrap, remedies=remedies, _self=cmd
            )
    finally:
        session.stop()
    # Its threads read from processes, and where they still do so at Python's end, that is a crash.
    with contextlib.closing(_reported(source, options.workers)) as surfaces:
        surfaces_file.write(options.out, source, surfaces)
    print(f"pymol_dsr: {len(source.states)} states written to {options.out}", file=sys.stderr)
    return 0


def _set(settings: list[str], name: str, _self: Any) -> None:
    """Set PyMOL's settings KEY=VALUE for an object. Raises ValueError."""
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: write it as KEY=VALUE, as surface_mode=1")
        if key not in extract.SURFACE_SETTINGS:
            raise ValueError(
                f"--set {text}: the settings that shape a surface are {', '.join(extract.SURFACE_SETTINGS)}"
            )
        try:
            _self.set(key, value, name)
        except (pymol.CmdException, ValueError) as error:
            raise ValueError(f"--set {text}: PyMOL takes no value {value!r} for {key}") from error


def _warn_of_size(trajectory: str) -> None:
    size = os.path.getsize(trajectory)
    if size > LARGE:
        why = molecule_files.INSTALL_READERS if suffix_of(trajectory) in READERS else "convert it to .xtc"
        print(
            f"pymol_dsr: warning: PyMOL holds all states of {trajectory} ({size / 1e6:.0f} MB) in memory; {why} to "
            "have it read state by state",
            file=sys.stderr,
        )


def _reported(source: Source, workers: int) -> Generator[Surface, None, None]:
    """Return the surfaces of `source` as they are made, with progress and warnings on stderr."""
    last_report, warned = time.monotonic(), 0
    with contextlib.closing(compute_surfaces(source, workers)) as computed:
        for count, surface in enumerate(computed, 1):
            # A trajectory that is read state by state warns on the way.
            for line in source.warnings[warned:]:
                print(f"pymol_dsr: warning: {line}", file=sys.stderr)
            warned = len(source.warnings)
            if time.monotonic() - last_report > 2.0:
                last_report = time.monotonic()
                print(f"pymol_dsr: surfaces {count} of {len(source.states)}", file=sys.stderr)
            yield surface


if __name__ == "__main__":
    sys.exit(main())
