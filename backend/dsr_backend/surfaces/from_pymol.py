"""Work of the plugin in a process that has PyMOL: surfaces of a trajectory, and generated states as a file."""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pymol_dsr.shared import molecule_files
from pymol_dsr.shared.exit_codes import WORK_FAILED

from ..runtime.errors import RequestError

SAYS = "pymol_dsr: "
# Not those by which the system or the user ends a process.
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


def pymol_python() -> str:
    """Return a Python that has PyMOL: this one, else `$DSR_PYMOL_PYTHON`. Raises ValueError where there is none."""
    if all(importlib.util.find_spec(name) for name in ("pymol", "pymol_dsr")):
        return sys.executable
    named = os.environ.get("DSR_PYMOL_PYTHON", "")
    if not named:
        raise ValueError(
            "a topology needs PyMOL for its surfaces, and this Python has none: set DSR_PYMOL_PYTHON to a "
            "Python with PyMOL and pymol-dsr, or give a surfaces file"
        )
    return os.path.expanduser(named)


@dataclass(frozen=True)
class SurfaceRequest:
    """The surfaces that PyMOL is to make of a molecule.

    states: a states text. selection: of PyMOL, empty for all. workers: processes at once, 0 for as many as cores, at
    most 8. settings: of PyMOL, KEY=VALUE. unwrap: make molecules whole that the periodic box cuts. remedies: what
    messages tell to change, `options` or the `manifest` of a batch.
    """

    states: str = "all"
    selection: str = ""
    workers: int = 0
    settings: Sequence[str] = ()
    unwrap: bool = False
    remedies: str = "options"


def make_surfaces(
    python: str,
    paths: Sequence[Path],
    target: str | os.PathLike[str],
    request: SurfaceRequest,
    say: Callable[[str, bool], None] = lambda text, stays: None,
) -> None:
    """Write the surfaces file `target` of a topology and a trajectory, `paths`, by `python` from `pymol_python`.

    say: gets progress, and warnings, which stay. Raises ValueError for what PyMOL can't make surfaces of, RequestError
    where it fails.
    """
    molecule_files.check_paths(paths)
    command = [python, "-m", "pymol_dsr", f"--out={target}", f"--states={request.states}"]
    command += [f"--workers={request.workers}", f"--remedies={request.remedies}"]
    if request.selection:
        command.append(f"--selection={request.selection}")
    command += [f"--set={setting}" for setting in request.settings]
    if request.unwrap:
        command.append("--unwrap")
    command += ["--", *map(str, paths)]

    def take(text: str) -> None:
        if text.startswith("surfaces "):
            say(text, False)
        elif text.startswith("warning: "):
            say(f"dsr-backend: {text}", True)

    run_in_pymol(command, paths, take, "surfaces")


def generate_states(
    python: str,
    paths: Sequence[Path],
    target: str | os.PathLike[str],
    arguments: Sequence[str],
    say: Callable[[str, bool], None],
) -> None:
    """Write generated states of a structure and its trajectory, or of the structures of a morph, `paths`.

    python: from `pymol_python`. arguments: of `python -m pymol_dsr.generate`. say: gets progress, and results, which
    stay. Raises ValueError for what can't be generated, RequestError where PyMOL fails.
    """
    command = [python, "-m", "pymol_dsr.generate", f"--out={target}", *arguments]
    command += [f"--backend={shlex.join([sys.executable, '-m', 'dsr_backend', 'serve'])}", "--", *map(str, paths)]

    def take(text: str) -> None:
        kind, _, line = text.partition(" ")
        if kind in ("progress", "result", "warning:"):
            say(line.strip() if kind == "progress" else line, kind != "progress")

    run_in_pymol(command, paths, take, "states")


def run_in_pymol(command: Sequence[str], paths: Sequence[Path], take: Callable[[str], None], noun: str) -> None:
    """Run a command that has PyMOL, and hand on the lines that it says. noun: what it makes of `paths`.

    Raises ValueError for what PyMOL can't use, RequestError where it fails.
    """
    python = command[0]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise RequestError("internal", f"{python} can't be started for the {noun}: {error.strerror}") from error
    last = ""
    with process:
        try:
            assert process.stdout is not None
            for line in filter(None, map(str.rstrip, process.stdout)):
                last = line
                take(line.removeprefix(SAYS))
        except BaseException:
            process.terminate()
            raise
    if process.returncode in (1, WORK_FAILED) and last.startswith(SAYS):
        line = last.removeprefix(SAYS)
        raise ValueError(line) if process.returncode == 1 else RequestError("internal", line)
    if -process.returncode in CRASHES:
        files = " or ".join(map(str, paths))
        raise ValueError(
            f"{files}: PyMOL crashed on it (signal {-process.returncode}); see that it is whole, or convert it to .pdb "
            "or .xtc"
        )
    if process.returncode:
        raise RequestError(
            "internal",
            f"{python} made no {noun} (exit code {process.returncode}): {last}; it needs PyMOL and pymol-dsr",
        )
