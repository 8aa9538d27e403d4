"""`python -m pymol_dsr TOPOLOGY [TRAJECTORY] --out FILE.npz`: a trajectory's surfaces as a surfaces file.

For `dsr-backend fit topology trajectory`, which needs a PyMOL for the surfaces and no window.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import pymol
import pymol2

from . import extract, states, surfaces_file


def main(arguments: list[str] | None = None) -> int:
    """Write the file; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m pymol_dsr", description="PyMOL's surfaces of a trajectory as a file."
    )
    parser.add_argument("topology", help="structure or topology that PyMOL reads, as .pdb .cif .psf")
    parser.add_argument("trajectory", nargs="?", help="trajectory that PyMOL reads, as .dcd .xtc .trr")
    parser.add_argument("--states", default="all", help="1-150, 1-79:2, 1+5+9 or all (default)")
    parser.add_argument("--selection", default="all", help="PyMOL selection (default: all)")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes at once (default: as many as cores, at most 8)"
    )
    parser.add_argument("--out", required=True, help="file to write, ending in .npz")
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except (extract.ExtractError, states.StatesError, pymol.CmdException, ValueError, OSError) as error:
        text = " ".join(str(error).split()).removeprefix("Error: ")
        print(f"pymol_dsr: {text}", file=sys.stderr)
        return 1


def run(options: argparse.Namespace) -> int:
    surfaces_file.check_path(options.out)
    for path in filter(None, (options.topology, options.trajectory)):
        if not os.path.isfile(path):
            raise ValueError(f"{path}: there is no such file")
    session = pymol2.PyMOL()
    session.start()
    try:
        cmd = session.cmd
        cmd.feedback("disable", "all", "everything")
        name = cmd.get_legal_name(os.path.splitext(os.path.basename(options.topology))[0]) or "m"
        cmd.load(options.topology, name)
        if options.trajectory:
            cmd.load_traj(options.trajectory, name, state=1)
            if not cmd.count_states(name):
                raise ValueError(f"{options.trajectory}: PyMOL reads no states from it for {options.topology}")
        source = extract.read_source(options.selection, options.states, _self=cmd)
    finally:
        session.stop()
    for line in source.warnings:
        print(f"pymol_dsr: warning: {line}", file=sys.stderr)
    made = []
    said = time.monotonic()
    for surface in extract.surfaces(source, options.workers):
        made.append(surface)
        if time.monotonic() - said > 2.0:
            said = time.monotonic()
            print(f"pymol_dsr: surfaces {len(made)} of {len(source.states)}", file=sys.stderr)
    surfaces_file.write(options.out, source, made)
    print(f"pymol_dsr: {len(made)} states written to {options.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
