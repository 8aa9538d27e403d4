"""`python -m pymol_dsr.generate STRUCTURE [TRAJECTORY] --out FILE.pdb`: generated states of a trajectory as a file.

For `dsr-backend continue`, `fill`, `sample` and `morph`, which need a PyMOL and no window. Its lines on stderr begin
with what they are: progress, result or warning.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from typing import Any

import pymol
import pymol2

from . import register
from .backend.process import BackendError
from .commands.generate import generate_states
from .commands.morph import morph_structures, read_structures
from .commands.running import Runner
from .fits.fit import JobError
from .scene.objects import SceneError
from .session import Session, close_session, session_of
from .shared import atomic_write, molecule_files
from .shared.exit_codes import WORK_FAILED
from .shared.options import FitOptions
from .shared.paths import names_by_number
from .shared.source_options import GenerateOptions, MorphOptions
from .shared.text import one_line
from .surfaces import stream
from .surfaces.source import ExtractError

SUFFIXES = (".pdb", ".cif")
WIDTH = 60
"""Characters of a REMARK of a .pdb."""


def main(arguments: list[str] | None = None) -> int:
    """Write the file and return the exit code: 0, 1 for bad input, WORK_FAILED where the backend or the writing fails.

    A failure is one line on stderr.
    """
    parser = argparse.ArgumentParser(prog="python -m pymol_dsr.generate", description=__doc__)
    parser.add_argument("paths", nargs="+", help="structure and trajectory, or the structures of a morph")
    parser.add_argument("--options", required=True, help="options of the states, as JSON")
    parser.add_argument("--morph", help="options of a morph, as JSON")
    parser.add_argument("--states", default="", help="states of the trajectory, or one of each structure")
    parser.add_argument("--selection", default="all", help="PyMOL selection (default: all)")
    parser.add_argument("--backend", required=True, help="command that starts a backend")
    parser.add_argument("--out", required=True, help=f"file to write, ending in {' or '.join(SUFFIXES)}")
    options = parser.parse_args(arguments)
    session = pymol2.PyMOL()
    session.start()
    try:
        session.cmd.feedback("disable", "all", "everything")
        register(session.cmd)
        with contextlib.redirect_stdout(_Marked("result")):
            run(options, session_of(session.cmd), session.cmd)
    except (BackendError, ExtractError, JobError, SceneError, pymol.CmdException, ValueError, OSError) as error:
        print(f"pymol_dsr: {one_line(str(error).strip().removeprefix('Error: '))}", file=sys.stderr)
        backend_failed = isinstance(error, BackendError) and error.code != "bad-request"
        return WORK_FAILED if backend_failed or isinstance(error, atomic_write.WriteError) else 1
    finally:
        close_session(session.cmd)
        session.stop()
    return 0


def run(options: argparse.Namespace, session: Session, _self: Any) -> None:
    """Write the file that the arguments ask for, and its provenance beside it as .json.

    Raises ExtractError, JobError, SceneError, ValueError, OSError, CmdException or BackendError.
    """
    session.settings.put("backend", options.backend)
    generation = GenerateOptions.from_json(json.loads(options.options))
    runner = Runner("dsr-backend", False, print, lambda line: print(f"pymol_dsr: progress {line}", file=sys.stderr))
    if options.morph:
        selections = []
        for path in options.paths:
            molecule_files.check_structure(path)
            # Named when those before it are loaded: files of several folders may have one name.
            name = _object_name(path, _self)
            stream.load_structure(path, name, _self)
            selections.append(f"({options.selection}) and %{name}")
        generated = _generated_name(_self)
        morph = MorphOptions.from_json(json.loads(options.morph))
        structures = read_structures(selections, options.states, _self)
        morph_structures(session, structures, morph, generation, FitOptions(), runner, _self, name=generated)
    else:
        molecule_files.check_paths(options.paths)
        name = _object_name(options.paths[0], _self)
        if len(options.paths) == 1:
            stream.load_structure(options.paths[0], name, _self)
        else:
            stream.load(options.paths[0], options.paths[1], name, _self, whole=True)
        selection, generated = f"({options.selection}) and %{name}", _generated_name(_self)
        generate_states(session, selection, options.states or "all", generated, generation, runner, _self)
    write_states(options.out, _self.get_object_list(f"({generated})"), session, _self)


def write_states(path: str, objects: list[str], session: Session, _self: Any) -> None:
    """Write all states of objects as a .pdb or .cif, of several with a number in the name, and their provenance."""
    suffix = os.path.splitext(path)[1]
    for target, name in zip(names_by_number(path, len(objects)), objects, strict=True):
        titles = [str(_self.get_title(name, state)) for state in range(1, _self.count_states(f"%{name}") + 1)]
        text = f"{remarks(titles, suffix)}{_self.get_str(suffix[1:], f'%{name}', 0)}"
        atomic_write.replace(target, text.encode())
        origin = {**(session.sources.provenance.get(name, _self) or {}), "titles": titles}
        atomic_write.replace(f"{os.path.splitext(target)[0]}.json", json.dumps(origin, indent=1).encode())


def remarks(titles: list[str], suffix: str) -> str:
    """Return the titles of the states as comments of a file of that kind: neither kind has a place for them."""
    lines = [f"state {state}: {title}" for state, title in enumerate(titles, 1)]
    if suffix == ".cif":
        return "".join(f"# {line}\n" for line in lines)
    return "".join(f"REMARK 250 {line[:WIDTH]}\n" for line in lines)


def _object_name(path: str, _self: Any) -> str:
    """Return a name for the object of a file that no other object has."""
    name = str(_self.get_legal_name(os.path.splitext(os.path.basename(path))[0]) or "m")
    return str(_self.get_unused_name(name)) if name in _self.get_names("all") else name


def _generated_name(_self: Any) -> str:
    """Return a name for the generated object that no name of a loaded one begins with, as replicas have numbers."""
    name = "generated"
    while any(loaded.startswith(name) for loaded in _self.get_names("all")):
        name = f"new_{name}"
    return name


class _Marked(io.TextIOBase):
    """Writes whole lines to stderr, marked with what they are."""

    def __init__(self, mark: str) -> None:
        self._mark, self._line = mark, ""

    def write(self, text: str) -> int:
        """Take a piece of text."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            print(f"pymol_dsr: {self._mark} {line}", file=sys.stderr, flush=True)
        return len(text)


if __name__ == "__main__":
    sys.exit(main())
