"""The command line: fits, meshes and scores on files, with the functions that the plugin's backend runs.

Nothing here imports torch before the arguments and the paths are known to be good.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import importlib.util
import io
import itertools
import math
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from . import __version__, batch, extraction, memory, states
from .config import PRESETS, FitConfig
from .errors import RequestError
from .names import RULE, is_name
from .worker import RESOLUTION, fits_folder, pick

if TYPE_CHECKING:
    from .field import Family, Field
    from .mesher import Mesh
    from .surfaces import Surface

PLAIN_SECONDS, LIVE_SECONDS = 2.0, 0.2
FIELD, HOLD = "field", "hold nearest"
AFTER = 20
"""States after the last fitted one that `eval` compares unless it is told which."""
NODES = (32, 512)
"""Nodes along the longest side of a mesh's lattice that `--nodes` takes."""
PLOTS = ("png", "pdf", "svg")
FREE_GB = 0.5
"""GB on the disk of fits below which `doctor` complains; a fit of a large protein takes about 0.1."""


class Failure(Exception):
    """The work failed, and not for what the user wrote; one line."""


def main(argv: Sequence[str]) -> int:
    """Run one command; its exit code: 0, 1 where the work failed, 2 for bad input, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without Å shall cost a letter, not the result.
            stream.reconfigure(errors="replace")
    try:
        options = _parser().parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    if threading.current_thread() is threading.main_thread():
        # As schedulers end a job: leave through `finally`, so that no file and no PyMOL stays behind.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if getattr(options, "max_memory", None) is not None:
        memory.limit(options.max_memory)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return _refuse("cancelled", 130)
    except RequestError as error:
        return _refuse(str(error), 2 if error.code == "bad-request" else 1)
    except ValueError as error:
        return _refuse(str(error), 2)
    except Failure as error:
        return _refuse(str(error), 1)
    except OSError as error:
        return _refuse(_os_text(error), 1)
    except (MemoryError, RuntimeError) as error:
        # Torch says so on the CPU with a plain RuntimeError.
        if isinstance(error, RuntimeError) and not re.search("out of memory|allocate memory", str(error)):
            raise
        advice = "use a coarser resolution, fewer states or --device cpu"
        return _refuse(f"{memory.owner()} ran out of memory ({error}): {advice}", 1)


def _refuse(text: str, code: int) -> int:
    print(f"dsr-backend: {' '.join(text.split())}", file=sys.stderr)
    return code


# Arguments ------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="dsr-backend",
        description="Dynamical surfaces on files: one continuous surface from all states of a molecule.",
        epilog="example:\n"
        "  dsr-backend fit topology.psf trajectory.dcd --states 1-79:2 -o adk.dsr\n"
        "  dsr-backend export adk.dsr --times 1-79:0.5 -o meshes/adk.ply\n\n"
        "Lengths are in Å, times are state numbers from 1. The exit code is 0, 1 where the work failed,\n"
        "2 for bad input and 130 after Ctrl-C.",
        formatter_class=shape,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"dsr-backend {__version__}")
    verbs = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def verb(name: str, run: Callable[[argparse.Namespace], int], text: str, example: str) -> Any:
        made = verbs.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"example:\n  dsr-backend {example}",
            formatter_class=shape,
            allow_abbrev=False,
        )
        made.set_defaults(run=run)
        return made

    fit = verb(
        "fit",
        _fit,
        "fit surfaces files, or a topology and a trajectory where there is a PyMOL",
        "fit adk.npz --states 1-79:2 -o adk.dsr\n"
        "  dsr-backend fit a.npz b.npz c.npz -o family.dsr\n"
        "  dsr-backend fit d.npz --family family.dsr -o d.dsr",
    )
    fit.add_argument(
        "input",
        nargs="+",
        help="surfaces file (.npz, from dsr_surfaces), or several: trajectories to fit together, named as their files; "
        "or a topology and its trajectory, as PyMOL reads them (.dcd .xtc .trr ...)",
    )
    fit.add_argument("-o", "--output", required=True, help="fit to write, ending in .dsr")
    fit.add_argument("--states", default="all", help="states to fit: 1-150, 1-79:2, 1+5+9 or all (default)")
    fit.add_argument(
        "--resume", action="store_true", help="preset paper: go on with the training kept as OUTPUT.training"
    )
    fit.add_argument("--selection", help="PyMOL selection of a topology's atoms (default: all)")
    fit.add_argument("--preset", help=f"{' or '.join(PRESETS)} (default: fast, or that of the --family)")
    fit.add_argument("--family", metavar="FILE", help="fit of several trajectories whose network this one starts from")
    fit.add_argument("--frozen", action="store_true", help="leave the network of the --family as it is")
    fit.add_argument("--smooth", default="auto", help="width in states of the smoothing over time, or auto (default)")
    fit.add_argument("--seed", type=int, default=0, help="seed of random numbers (default: 0)")
    fit.add_argument("--budget", type=float, metavar="SECONDS", help="most seconds to train (default: none)")
    fit.add_argument(
        "--no-align",
        dest="align",
        action="store_false",
        help="leave the motion of the whole molecule in the field",
    )
    fit.add_argument("--loop", action="store_true", help="the first state follows the last one again")
    fit.add_argument(
        "--times", metavar="FILE", help="text file with the time of every state, in any unit, where they are uneven"
    )

    make = verb(
        "surfaces",
        _surfaces,
        "make PyMOL's surfaces of a topology and a trajectory, where there is a PyMOL",
        'surfaces top.pdb traj.xtc --states 1-10000:10 --selection "polymer" -o traj.npz',
    )
    make.add_argument(
        "input", nargs="+", help="topology and trajectory; .xtc, .trr and .dcd are read state by state by MDAnalysis"
    )
    make.add_argument("-o", "--output", required=True, help="surfaces file to write, ending in .npz")
    make.add_argument("--states", default="all", help="states: 1-150, 1-10000:10, 1+5+9 or all (default)")
    make.add_argument("--selection", help="PyMOL selection of the topology's atoms (default: all)")
    make.add_argument("--workers", type=int, default=0, help="processes at once (default: as many as cores, at most 8)")

    many = verb(
        "batch",
        _batch,
        "fit and score the trajectories of a list, several at once, here or on a cluster",
        "batch manifest.csv --out fits --workers 8\n\n"
        "manifest.csv (all but name and input may be left out):\n"
        "  name,input,trajectory,selection,states,preset,evaluate\n"
        "  a,a.npz,,,1-99:2,fast,2-98:2\n"
        "  b,b.pdb,b.xtc,polymer,1-1000:10,,\n\n"
        "What is finished is not done again; what failed is listed at the end.",
    )
    many.add_argument("manifest", help="list of trajectories, as .csv")
    many.add_argument("--out", required=True, metavar="DIR", help="folder for NAME.dsr and summary.csv")
    many.add_argument("--workers", type=int, default=0, help="fits at once (default: as many as cores)")
    many.add_argument("--cluster", choices=sorted(batch.CLUSTERS), help="each worker a job there, by dask-jobqueue")
    many.add_argument("--cores", type=int, default=4, help="of a job of the --cluster (default: 4)")
    many.add_argument("--memory", default="8 GB", help="of a job of the --cluster (default: 8 GB)")

    mesh = verb("mesh", _mesh, "write the surface at one time", "mesh adk.dsr --time 12.5 -o surface.ply")
    mesh.add_argument("fit", help="fit, as .dsr")
    mesh.add_argument("--time", type=float, required=True, help="state number, fractions allowed")

    export = verb(
        "export",
        _export,
        "write the surfaces at many times",
        "export adk.dsr --times 1-79:0.5 -o meshes/adk.ply",
    )
    export.add_argument("fit", help="fit, as .dsr")
    export.add_argument("--times", required=True, help="times: 12.5, 1-79:2, 1-10:0.25 or all")
    export.add_argument("--fps", type=float, default=30.0, help="times per second of a .glb (default: 30)")

    for one, target in (
        (mesh, "mesh to write, as .ply, .obj, .stl, .glb or .npz"),
        (
            export,
            "meshes to write; for several times, surface.ply becomes surface_0001.00.ply, ..., "
            "and surface.glb is one file that plays them",
        ),
    ):
        one.add_argument("-o", "--output", required=True, help=target)
        one.add_argument("--level", type=float, default=0.0, help="level in Å, outwards (default: 0)")
        nodes = one.add_mutually_exclusive_group()
        nodes.add_argument("--resolution", type=float, help=f"Å between nodes (default: {RESOLUTION:g})")
        nodes.add_argument(
            "--nodes", type=int, help=f"nodes along the longest side, {NODES[0]} to {NODES[1]}, for any --resolution"
        )
        one.add_argument("--triangles", type=int, help="most triangles per mesh (default: no limit)")

    score = verb(
        "eval",
        _eval,
        "score a fit against PyMOL's own surfaces, beside the nearest fitted state held",
        "eval adk.dsr adk-all.npz --csv adk.csv",
    )
    score.add_argument("fit", help="fit, as .dsr")
    score.add_argument("truth", help="surfaces file (.npz) with the true surfaces")
    score.add_argument("--states", help=f"states to compare (default: the fitted range and {AFTER} states after it)")
    score.add_argument("--csv", help="also write every row as a .csv table")
    score.add_argument("--plot", help=f"also draw the scores over the states, as .{', .'.join(PLOTS)}")

    gauge = verb(
        "measure",
        _measure,
        "measure a fitted surface over time: area, volume, speed, the share of some atoms, a pocket",
        "measure adk.dsr --states 1-79:0.5 --csv adk.csv --plot adk.png",
    )
    gauge.add_argument("fit", help="fit, as .dsr")
    gauge.add_argument("--states", help="times: 1-79, 1-10:0.25 (default: every state of the fitted range)")
    gauge.add_argument(
        "--selection", metavar="ATOMS", help="numbers from 1 of atoms whose share is measured, as 1-50+60"
    )
    gauge.add_argument("--pocket", metavar="ATOMS", help="numbers of atoms that line a pocket to be measured")
    gauge.add_argument(
        "--resolution", type=float, default=RESOLUTION, help=f"Å between nodes (default: {RESOLUTION:g})"
    )
    gauge.add_argument("--csv", help="also write every row as a .csv table")
    gauge.add_argument("--plot", help=f"also draw it over the states, as .{', .'.join(PLOTS)}")

    for one in (mesh, export, score, gauge):
        one.add_argument("--trajectory", metavar="NAME", help="trajectory of a family")
        one.add_argument("--towards", metavar="NAME", help="another trajectory, to go --share of the way to it")
        one.add_argument("--share", type=float, help="0 (--trajectory) to 1 (--towards)")

    doctor = verb("doctor", _doctor, "check this installation, with remedies", "doctor --device cuda")
    for one in (fit, many, mesh, export, score, gauge, doctor):
        one.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:1")

    alone = verb(
        "fit-detached",
        _fit_detached,
        "fit the surfaces that dsr_fit with detach=1 has sent",
        "fit-detached adk_dsr",
    )
    alone.add_argument("name", help="name of the fit, in $DSR_HOME/fits")

    server = verb(
        "serve",
        _serve,
        "answer PyMOL on stdin and stdout",
        "serve\n\nin PyMOL:\n  dsr_set backend, ssh -T gpu01 dsr-backend serve",
    )
    for one in (fit, alone, server):
        one.add_argument(
            memory.OPTION, type=memory.gigabytes, metavar="GB", help="fail rather than take more memory (Linux only)"
        )
    return parser


def _fit_detached(options: argparse.Namespace) -> int:
    from . import detached

    if not is_name(options.name):
        raise ValueError(f"a fit can't be named {options.name[:100]!r}: {RULE}")
    return detached.run(fits_folder(), options.name)


def _serve(options: argparse.Namespace) -> int:
    from .__main__ import main as start

    # The ceiling, if any, is set.
    return start(["serve"])


# Progress and files ---------------------------------------------------------------------------------------


class Progress:
    """How far the work is, on stderr: one rewriting line on a terminal, else a line at most every 2 s.

    `heading` goes before the first of them.
    """

    def __init__(self, heading: str = "") -> None:
        self._heading = heading
        self._live = sys.stderr.isatty()
        self._said = -math.inf
        self._width = 0

    def step(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said < (LIVE_SECONDS if self._live else PLAIN_SECONDS):
            return
        self._said = now
        if self._heading:
            self.line(self._heading)
            self._heading = ""
        if not self._live:
            print(text, file=sys.stderr, flush=True)
            return
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
        self._width = len(text)

    def line(self, text: str) -> None:
        """A line that stays."""
        self.end()
        print(text, file=sys.stderr, flush=True)

    def say(self, text: str, stays: bool) -> None:
        """One of the two."""
        (self.line if stays else self.step)(text)

    def end(self) -> None:
        """Clear the rewriting line."""
        if self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr, flush=True)
            self._width = 0

    def fit(self, phase: str, fraction: float, extra: dict[str, Any]) -> None:
        """As `trainer.fit` reports it."""
        parts = [f"{phase} {100.0 * fraction:.0f} %"]
        if extra.get("steps"):
            parts.append(f"step {extra.get('step', 0)} of {extra['steps']}")
        if extra.get("loss") is not None:
            parts.append(f"loss {extra['loss']:.4f} Å")
        if extra.get("seconds_left") is not None:
            parts.append(f"{extra['seconds_left']:.0f} s left")
        self.step(", ".join(parts))


class Silence(Progress):
    """Of the processes of one fit that are not the first."""

    def step(self, text: str) -> None:
        pass

    def line(self, text: str) -> None:
        pass


@contextmanager
def _progress(heading: str = "") -> Iterator[Progress]:
    # As in `ranks`, which needs torch.
    first = os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"
    progress = Progress(heading) if first else Silence()
    try:
        yield progress
    finally:
        progress.end()


def _device_text(device: str) -> str:
    """The device in words; ValueError where it is not there."""
    from .device import describe

    told = describe(device)
    return (
        f"device {told['device']}: {told['name']}, {told['memory_gb']} GB, "
        f"{told['threads']} threads, torch {told['torch']}"
    )


def _output(text: str, suffixes: Sequence[str]) -> Path:
    """The path to write, once its suffix and its folder are known to be good; ValueError otherwise."""
    path = Path(text).expanduser()
    if path.suffix.lower().removeprefix(".") not in suffixes:
        raise ValueError(f"{text}: it must end in {', '.join('.' + suffix for suffix in suffixes)}")
    if path.is_dir():
        raise ValueError(f"{text}: it is a folder")
    if not path.parent.is_dir():
        raise ValueError(f"{text}: the folder {path.parent} does not exist")
    try:
        # Tried, since permissions say nothing of read-only disks.
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ValueError(f"{text}: the folder {path.parent} can't be written to: {error.strerror}") from error
    return path


def _input(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError(f"{text}: there is no such file")
    return path


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Within, a file that can't be read is bad input."""
    from .surfaces import SurfacesError

    try:
        yield
    except SurfacesError as error:
        raise ValueError(str(error)) from error
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error


def _write(path: Path, data: bytes) -> None:
    """Write a whole file in place of one that may be there. Raises OSError and leaves that one then."""
    draft = path.with_name(path.name + ".part")
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _load(options: argparse.Namespace, progress: Progress) -> Field:
    """The fit that the options name, or what they say of a family."""
    fitted = _read_fit(options.fit, options.device, progress)
    try:
        return pick(fitted, options.trajectory, options.towards, options.share)
    except ValueError as error:
        raise ValueError(f"{options.fit}: {error}") from error


def _read_fit(text: str, device: str, progress: Progress) -> Field | Family:
    path = _input(text)
    from . import checkpoint

    with _reading(text):
        fitted = checkpoint.load(path, device)
    if "loaded_from" in fitted.report:
        progress.line(f"dsr-backend: warning: read from {fitted.report['loaded_from']}")
    return fitted


def _os_text(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


# Fit ------------------------------------------------------------------------------------------------------


def _fit(options: argparse.Namespace) -> int:
    target = _output(options.output, ("dsr",))
    config = FitConfig(
        preset=options.preset or "fast",
        smooth=None if options.smooth == "auto" else _smooth(options.smooth),
        seed=options.seed,
        budget=options.budget,
        device=options.device,
        align=options.align,
        loop=options.loop,
        times=None if options.times is None else _times_of_states(options.times),
    )
    paths = [_input(text) for text in options.input]
    from_file = paths[0].suffix.lower() == ".npz"
    names = _trajectories(options, paths) if from_file else []
    if not from_file and len(paths) > 2:
        raise ValueError(f"{options.input[2]}: a topology takes one trajectory; make surfaces files to fit several")
    if options.frozen and not options.family:
        raise ValueError("--frozen keeps the network of a family: name it as --family")
    if options.family and len(names) > 1:
        raise ValueError(f"--family takes one new trajectory at a time, got {', '.join(names)}")
    if options.states.strip().lower() != "all":
        states.parse(options.states, fractional=from_file)
    from . import ranks

    if ranks.started_together() and not from_file:
        raise ValueError("several processes fit a surfaces file: make one first, with dsr-backend surfaces")
    if ranks.started_together() and options.resume:
        raise ValueError("--resume is for a single process: leave it out, or fit without torchrun")
    python = "" if from_file else extraction.pymol_python()
    with ExitStack() as stack:
        stack.enter_context(ranks.group(options.device))
        progress = stack.enter_context(_progress(_device_text(options.device)))
        known = _known_family(options, progress)
        if known is not None and not options.preset:
            config = replace(config, preset=known.report["preset"])
        if from_file:
            read = [_read_surfaces(text, options.states) for text in options.input]
        else:
            # Read until the fit is done.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dsr-", ignore_cleanup_errors=True))
            read = [_make_surfaces(python, paths, options, progress, folder)]
        from . import checkpoint, trainer
        from .training import Training

        training = None
        if config.preset == "paper" and not ranks.started_together():
            # A training of hours: beside the fit, until that is there.
            training = Training(target.with_name(f"{target.name}.training"), options.resume, progress.line)
        fitted: Field | Family
        if len(read) > 1:
            series = {name: surfaces for name, (surfaces, _) in zip(names, read, strict=True)}
            sources = {name: source for name, (_, source) in zip(names, read, strict=True)}
            fitted = trainer.fit_family(series, config, progress.fit, training=training)
            fitted.report["source"] = {"trajectories": sources}
        else:
            [(surfaces, source)] = read
            if known is None:
                fitted = trainer.fit(surfaces, config, progress.fit, training=training)
            else:
                fitted = trainer.fit_member(
                    known, surfaces, config, progress.fit, frozen=options.frozen, training=training
                )
            fitted.report["source"] = source
        progress.step("saving")
        if ranks.rank() == 0:
            checkpoint.save(fitted, target)
        if training is not None:
            training.remove()
        if ranks.rank():
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
    for number, line in enumerate(_input(text).read_text(encoding="utf-8").splitlines(), 1):
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
    other = next((text for text, path in zip(options.input, paths, strict=True) if path.suffix.lower() != ".npz"), None)
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
    known = _read_fit(options.family, options.device, progress)
    from .field import Family

    if not isinstance(known, Family):
        raise ValueError(f"{options.family}: it is of one trajectory and no family; fit several files together")
    return known


def _smooth(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"smooth {text}: it is neither a number of states nor auto") from error


def _read_surfaces(path: str, wanted: str) -> tuple[Sequence[Surface], dict[str, Any]]:
    """The wanted states of a surfaces file, read as they are looked at, and the `source` with which PyMOL finds the
    atoms again.
    """
    from . import surfaces as files

    with _reading(path):
        found = files.Stored(Path(path).expanduser())
        source = found.meta.get("source")
        if wanted.strip().lower() != "all":
            found = files.Stored(Path(path).expanduser(), _pick(found.states, wanted, path))
    return found, source if isinstance(source, dict) else {}


def _pick(there: Collection[float], text: str, path: str) -> list[float]:
    """The states of a states text, all of which the file must hold; ValueError otherwise."""
    if text.strip().lower() == "all":
        return sorted(there)
    wanted = sorted(float(state) for state in states.parse(text, fractional=True))
    for state in wanted:
        if state not in there:
            raise ValueError(f"states {text}: {path} holds the states {states.format(sorted(there))}, not {state:g}")
    return wanted


def _make_surfaces(
    python: str, paths: Sequence[Path], options: argparse.Namespace, progress: Progress, folder: str
) -> tuple[Sequence[Surface], dict[str, Any]]:
    """PyMOL's surfaces of a trajectory, in a file in `folder`."""
    path = os.path.join(folder, "surfaces.npz")
    extraction.make(python, paths, path, options.states, options.selection, say=progress.say)
    return _read_surfaces(path, "all")


# Surfaces -------------------------------------------------------------------------------------------------


def _surfaces(options: argparse.Namespace) -> int:
    target = _output(options.output, ("npz",))
    paths = [_input(text) for text in options.input]
    if len(paths) > 2:
        raise ValueError(f"{options.input[2]}: a topology takes one trajectory")
    if paths[0].suffix.lower() == ".npz":
        raise ValueError(f"{options.input[0]} is a surfaces file already")
    if options.workers < 0:
        raise ValueError(f"--workers {options.workers}: it must be at least 1")
    if options.states.strip().lower() != "all":
        states.parse(options.states, fractional=False)
    python = extraction.pymol_python()
    with _progress() as progress:
        extraction.make(
            python, paths, target.absolute(), options.states, options.selection, options.workers, progress.say
        )
    from . import surfaces as files

    with _reading(options.output):
        made = files.Stored(target)
    print(f"{options.output}: states {states.format(made.states)}, {target.stat().st_size / 1e6:.1f} MB")
    return 0


# Batch ----------------------------------------------------------------------------------------------------


def _batch(options: argparse.Namespace) -> int:
    for key in ("workers", "cores"):
        if getattr(options, key) < (0 if key == "workers" else 1):
            raise ValueError(f"--{key} {getattr(options, key)}: it must be at least 1")
    jobs = batch.read_manifest(_input(options.manifest))
    folder = Path(options.out).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with _progress() as progress:
        rows = batch.run(
            jobs,
            folder,
            options.workers,
            options.cluster,
            options.cores,
            options.memory,
            options.device,
            lambda text: progress.line(f"dsr-backend: {text}"),
        )
    failed = [row for row in rows.values() if row.failed]
    print(f"{folder / batch.SUMMARY}: {len(rows) - len(failed)} of {len(jobs)} fitted")
    for row in failed:
        print(f"failed: {row.name}: {row.failed}")
    return 1 if failed else 0


# Meshes ---------------------------------------------------------------------------------------------------


def _mesh(options: argparse.Namespace) -> int:
    from . import meshio

    target = _output(options.output, meshio.FORMATS)
    with _progress() as progress:
        fitted = _load(options, progress)
        made = _write_mesh(fitted, options.time, options, target)
    line = (
        f"{options.output}: time {made.time:g}, {len(made.faces)} triangles, "
        f"area {made.area:.0f} Å², volume {made.volume:.0f} Å³"
    )
    if made.extrapolated:
        line += f", {_outside(fitted)}, expected error {_angstrom(made.expected_error)}"
    print(line)
    return 0


def _export(options: argparse.Namespace) -> int:
    from . import meshio

    target = _output(options.output, meshio.FORMATS)
    if not 0.0 < options.fps < math.inf:
        raise ValueError(f"--fps {options.fps:g}: it must be above 0")
    if options.times.strip().lower() != "all":
        states.parse(options.times, fractional=True)
    from . import ranks

    with ranks.group(options.device), _progress() as progress:
        fitted = _load(options, progress)
        last = int(fitted.time_range[1]) if options.times.strip().lower() == "all" else None
        times = states.parse(options.times, last=last, fractional=True)
        # As many digits as tell the times apart.
        digits = max(2, *(len(repr(float(at)).split(".")[1]) for at in times))
        together = len(times) > 1 and target.suffix.lower() == ".glb"
        errors = []
        frames = []
        path = target
        for done, at in enumerate(times):
            if len(times) > 1 and not together:
                path = target.with_name(f"{target.stem}_{at:0{5 + digits}.{digits}f}{target.suffix}")
            # One file that plays is for one process, of many each takes its own.
            if ranks.rank() != (0 if together else ranks.owner(done)):
                continue
            progress.step(f"mesh {done + 1} of {len(times)}, {100 * done / len(times):.0f} %")
            if together:
                made = _meshed(fitted, at, options)
                frames.append(meshio.Frame(at, made.points, made.normals, made.faces))
            else:
                made = _write_mesh(fitted, at, options, path)
            if made.extrapolated:
                errors.append(made.expected_error)
        if together and ranks.rank() == 0:
            _write(target, meshio.animated_glb(frames, options.fps))
        outside = int(ranks.total([len(errors)], fitted.device)[0])
        [worst] = ranks.total([max(errors, default=0.0)], fitted.device, "max")
        if ranks.rank():
            return 0
    if outside:
        progress.line(f"dsr-backend: {outside} times are {_outside(fitted)}, expected error up to {_angstrom(worst)}")
    if together:
        print(f"{path}: {len(times)} times in 1 file")
    else:
        print(f"{path}: the last of {len(times)} files" if len(times) > 1 else f"{path}: 1 file")
    return 0


def _write_mesh(fitted: Field, at: float, options: argparse.Namespace, path: Path) -> Mesh:
    from . import meshio

    made = _meshed(fitted, at, options)
    format = path.suffix.lower().removeprefix(".")
    _write(path, meshio.to_bytes(made.points, made.normals, made.faces, format))
    return made


def _meshed(fitted: Field, at: float, options: argparse.Namespace) -> Mesh:
    from . import mesher

    made = mesher.mesh(
        fitted, at, level=options.level, resolution=_resolution(fitted, at, options), triangles=options.triangles
    )
    if not len(made.faces):
        found = mesher.grid(fitted, at, 2.0).values
        raise Failure(
            f"there is no surface at time {at:g} and level {options.level:g} Å, where the distances are "
            f"{found.min():.1f} to {found.max():.1f} Å; {options.output} is not written"
        )
    return made


def _resolution(fitted: Field, at: float, options: argparse.Namespace) -> float:
    """Å between nodes, as given or by their number along the longest side of the surface's box."""
    if options.nodes is None:
        return RESOLUTION if options.resolution is None else float(options.resolution)
    if not NODES[0] <= options.nodes <= NODES[1]:
        raise ValueError(f"--nodes {options.nodes}: it must lie between {NODES[0]} and {NODES[1]}")
    if not math.isfinite(at):
        raise ValueError(f"time {at} must be a finite number")
    low, high = fitted.at(at).box
    return float((high - low).max() + 2.0 * max(0.0, options.level)) / (options.nodes - 1)


def _outside(fitted: Field) -> str:
    first, last = fitted.time_range
    return f"extrapolated (fitted: {first:g} to {last:g})"


def _angstrom(error: float) -> str:
    # A fit without atoms or with too few states has nothing to test its forecast on.
    return f"{error:.2f} Å" if error > 0.0 else "not known"


# Scores ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One state by one method: the metrics of the paper in its normalised frame.

    expected_error, Å; rmsd, Å: the atoms' from those of the true state before, superposed.
    """

    state: float
    group: str
    method: str
    iou: float
    chamfer_l1: float
    chamfer_sq: float
    nc: float
    expected_error: float | None
    rmsd: float | None


def group_of(state: float, trained: Sequence[float]) -> str:
    """training, between, before, or future by tens of states after the last fitted one."""
    if state in trained:
        return "training"
    if state < min(trained):
        return "before"
    ahead = math.ceil(state - max(trained))
    if ahead <= 0:
        return "between"
    tens = (ahead - 1) // 10
    return f"future {10 * tens + 1}-{10 * tens + 10}"


def nearest(state: float, trained: Sequence[float]) -> float:
    """The training state that is held at `state`: the nearest, the earlier of two."""
    return min(trained, key=lambda fitted: (abs(fitted - state), fitted))


def _eval(options: argparse.Namespace) -> int:
    table = _output(options.csv, ("csv",)) if options.csv else None
    plot = _plot(options)
    truth_path = _input(options.truth)
    from . import surfaces as files

    with _progress() as progress:
        fitted = _load(options, progress)
        with _reading(options.truth):
            found, _ = files.read(truth_path)
        truth = {surface.state: surface for surface in found}
        trained = fitted.states
        if options.states:
            wanted = _pick(truth, options.states, options.truth)
        else:
            wanted = [state for state in sorted(truth) if trained[0] <= state <= trained[-1] + AFTER]
            if not wanted:
                raise ValueError(
                    f"{options.truth} holds the states {states.format(sorted(truth))}, the fit is of "
                    f"{states.format(trained)}: name the --states to compare"
                )
        progress.line(_device_text(options.device))
        print(_HEAD, flush=True)
        rows = []
        steps = _steps(found)
        for state in wanted:
            for row in _scores(fitted, state, truth, trained, steps.get(state)):
                rows.append(row)
                print(_table_line(f"{state:g}", row.group, row.method, [row]), flush=True)
    print()
    for group in dict.fromkeys(row.group for row in sorted(rows, key=lambda row: row.group != "training")):
        for method in (FIELD, HOLD):
            part = [row for row in rows if (row.group, row.method) == (group, method)]
            if part:
                print(_table_line(f"n={len(part)}", group, method, part))
    held = {row.state for row in rows if row.group == "training" or row.method == HOLD}
    if alone := sorted(set(wanted) - held):
        progress.line(
            f"dsr-backend: nothing is held at {states.format(alone)}: {options.truth} lacks the nearest fitted states"
        )
    left = sorted(set(truth) - set(wanted))
    if left and not options.states:
        progress.line(
            f"dsr-backend: left out: states {states.format(left)}, away from the fitted range and the "
            f"{AFTER} states after it"
        )
    if table:
        _write_table(
            table, [field.name for field in fields(Row)], ((f"{row.state:.17g}", *astuple(row)[1:]) for row in rows)
        )
    if plot:
        _draw(rows, fitted.time_range, plot)
    return 0


def _plot(options: argparse.Namespace) -> Path | None:
    """The picture to write, if any; ValueError where it cannot be."""
    path = _output(options.plot, PLOTS) if options.plot else None
    if path and importlib.util.find_spec("matplotlib") is None:
        raise ValueError(f"--plot needs matplotlib: {sys.executable} -m pip install matplotlib, or leave --plot out")
    return path


def _write_table(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    out = csv.writer(text)
    out.writerow(names)
    out.writerows(rows)
    _write(path, text.getvalue().encode())


def _steps(surfaces: Sequence[Surface]) -> dict[float, float]:
    """RMSD in Å of a state's atoms from those of the state before, superposed, by state."""
    from .motion import superpose

    found = {}
    for before, after in itertools.pairwise(surfaces):
        if before.atoms is None or after.atoms is None or len(after.atoms) < 3:
            continue
        old, new = before.atoms.astype(np.float64), after.atoms.astype(np.float64)
        rotation, translation = superpose(new, old)
        found[after.state] = float(np.sqrt(((new @ rotation.T + translation - old) ** 2).sum(1).mean()))
    return found


def _draw(rows: Sequence[Row], trained: tuple[float, float], path: Path) -> None:
    """The scores of every method over the states, the fitted range shaded; the atoms' steps below them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # A line through fitted and other states would only jump between the two kinds.
    curves = [
        ("field, fitted states", "C0.", [row for row in rows if row.group == "training"]),
        ("field, other states", "C0o-", [row for row in rows if row.group != "training" and row.method == FIELD]),
        (HOLD, "C1x--", [row for row in rows if row.method == HOLD]),
    ]
    shown = [("iou", "IoU", curves), ("chamfer_l1", "Chamfer L1", curves)]
    shown += [("chamfer_sq", "Chamfer sq", curves), ("nc", "NC", curves)]
    if stepped := [row for row in rows if row.rmsd is not None and row.method == FIELD]:
        shown.append(("rmsd", "step RMSD (Å)", [("atoms", "C2.-", stepped)]))
    figure, axes = pyplot.subplots(len(shown), sharex=True, figsize=(8.0, 2.0 * len(shown)), layout="constrained")
    for (name, label, drawn), axis in zip(shown, axes, strict=True):
        axis.axvspan(*trained, color="0.92", label="fitted range")
        for title, style, part in drawn:
            if part:
                part = sorted(part, key=lambda row: row.state)
                values = [getattr(row, name) for row in part]
                axis.plot([row.state for row in part], values, style, markersize=3, linewidth=1, label=title)
        axis.set_ylabel(label)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.align_ylabels()
    axes[-1].set_xlabel("state")
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix.lower().removeprefix("."), dpi=150)
    pyplot.close(figure)
    _write(path, data.getvalue())


def _scores(
    fitted: Field, state: float, truth: dict[float, Surface], trained: Sequence[float], rmsd: float | None
) -> Iterator[Row]:
    """The rows of one state: the field and, away from the fitted states, the nearest of them held."""
    from . import mesher, metrics

    true, group = truth[state], group_of(state, trained)
    reference = metrics.Reference(true.points, true.normals, true.faces, fitted.frame)
    made = mesher.mesh(fitted, state, resolution=RESOLUTION)
    score = reference.score(made.points, made.normals, made.faces)
    error = made.expected_error if made.expected_error > 0.0 else None
    yield Row(state, group, FIELD, **asdict(score), expected_error=error, rmsd=rmsd)
    held = truth.get(nearest(state, trained))
    if group != "training" and held is not None:
        score = reference.score(held.points, held.normals, held.faces)
        yield Row(state, group, HOLD, **asdict(score), expected_error=None, rmsd=rmsd)


_HEAD = (
    f"{'state':>8}  {'group':<13} {'method':<13} {'IoU':<15}  {'Chamfer L1':<17}  {'Chamfer sq':<19}  "
    f"{'NC':<15}  {'step RMSD':<13}  expected error"
)


def _table_line(label: str, group: str, method: str, rows: Sequence[Row]) -> str:
    """Means, and standard deviations where there is more than one row."""
    cells = []
    for name, digits, width in (("iou", 4, 15), ("chamfer_l1", 5, 17), ("chamfer_sq", 6, 19), ("nc", 4, 15)):
        cells.append(f"{_mean([getattr(row, name) for row in rows], digits):<{width}}")
    for values, width in (
        ([row.rmsd for row in rows if row.rmsd is not None], 13),
        ([row.expected_error for row in rows if row.expected_error is not None], 0),
    ):
        cells.append(f"{f'{_mean(values, 2)} Å' if values else '':<{width}}")
    return f"{label:>8}  {group:<13} {method:<13} {'  '.join(cells)}".rstrip()


def _mean(values: Sequence[float], digits: int) -> str:
    # A mesh without area is infinitely far: its spread is not a number, which is what should be printed.
    with np.errstate(invalid="ignore"):
        mean, spread = float(np.mean(values)), float(np.std(values))
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if len(values) > 1 else "")


# Measures -------------------------------------------------------------------------------------------------


MEASURED = {
    "area": ("area", "Å²", 0),
    "volume": ("volume", "Å³", 0),
    "speed": ("mean speed", "Å per state", 4),
    "selection_area": ("area of the selection", "Å²", 0),
    "selection_volume": ("volume of the selection", "Å³", 0),
    "pocket_volume": ("volume of the pocket", "Å³", 0),
}
"""What `measure` says of a time: title, unit and digits."""


def _measure(options: argparse.Namespace) -> int:
    table = _output(options.csv, ("csv",)) if options.csv else None
    plot = _plot(options)
    if options.states:
        states.parse(options.states, fractional=True)
    from .measures import measure

    with _progress() as progress:
        fitted = _load(options, progress)
        first, last = fitted.time_range
        times = states.parse(options.states or f"{int(first)}-{int(last)}", fractional=True)
        selection, pocket = _atoms(fitted, "selection", options.selection), _atoms(fitted, "pocket", options.pocket)
        progress.line(_device_text(options.device))
        shown = [
            key
            for key in MEASURED
            if (selection is not None or not key.startswith("selection"))
            and (pocket is not None or not key.startswith("pocket"))
        ]
        print("  ".join([f"{'state':>8}", *map(_heading, shown)]), flush=True)
        found = []
        for at in times:
            one = measure(fitted, at, selection=selection, pocket=pocket, resolution=options.resolution)
            found.append(one)
            cells = [f"{getattr(one, key):>{len(_heading(key))}.{MEASURED[key][2]}f}" for key in shown]
            print("  ".join([f"{at:>8g}", *cells]), flush=True)
    print()
    for key in shown:
        print(f"{_heading(key)}: {_mean([getattr(one, key) for one in found], MEASURED[key][2])}")
    if errors := [one.expected_error for one in found if one.extrapolated]:
        progress.line(
            f"dsr-backend: {len(errors)} times are {_outside(fitted)}, expected error up to {_angstrom(max(errors))}"
        )
    if table:
        names = [*shown, "extrapolated", "expected_error"]
        rows = [(f"{one.time:.17g}", *(getattr(one, key) for key in names)) for one in found]
        _write_table(table, ["state", *names], rows)
    if plot:
        curves = {_heading(key): [getattr(one, key) for one in found] for key in shown}
        _draw_curves([one.time for one in found], curves, fitted.time_range, plot)
    return 0


def _heading(key: str) -> str:
    title, unit, _ = MEASURED[key]
    return f"{title} ({unit})"


def _atoms(fitted: Field, key: str, text: str | None) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Atoms bool[A] by their numbers from 1; ValueError where the fit has not so many."""
    if not text:
        return None
    if fitted.motion.atoms is None:
        raise ValueError(f"--{key} {text}: this fit has no atoms")
    mask = np.zeros(fitted.motion.atoms.shape[1], bool)
    try:
        numbers = np.array(states.parse(text, most=len(mask)), int)
    except states.StatesError as error:
        raise ValueError(f"--{key}: atoms are written like states ({error})") from error
    if numbers.max() > len(mask):
        raise ValueError(f"--{key} {text}: the fit has {len(mask)} atoms, and {numbers.max()} is past the end")
    mask[numbers - 1] = True
    return mask


def _draw_curves(
    times: Sequence[float], curves: dict[str, list[float]], trained: tuple[float, float], path: Path
) -> None:
    """Curves over the states, by their titles, one below another, the fitted range shaded."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(curves), sharex=True, figsize=(8.0, 1.9 * len(curves)), layout="constrained")
    for (title, values), axis, number in zip(curves.items(), axes, range(len(curves)), strict=True):
        axis.axvspan(*trained, color="0.93", lw=0)
        axis.plot(times, values, ".-", color=f"C{number}", markersize=4, linewidth=1.4)
        axis.set_title(title, fontsize="medium", loc="left")
        axis.grid(alpha=0.3)
        axis.margins(x=0.01)
    axes[-1].set_xlabel("state (the fitted range is shaded)")
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix.lower().removeprefix("."), dpi=150)
    pyplot.close(figure)
    _write(path, data.getvalue())


# Doctor ---------------------------------------------------------------------------------------------------


class Fault(Exception):
    """What is wrong, and the remedy."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


def _doctor(options: argparse.Namespace) -> int:
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", lambda: f"{platform.python_version()}, {sys.executable}"),
        ("numpy", lambda: _package("numpy", "numpy")),
        ("torch", lambda: _package("torch", "torch")),
        ("scipy", lambda: _package("scipy.spatial", "scipy")),
        ("safetensors", lambda: _package("safetensors.torch", "safetensors")),
        ("device", lambda: _check_device(options.device)),
        ("folder", _check_folder),
        ("pymol", _check_pymol),
        ("round trip", lambda: _check_round_trip(options.device)),
    ]
    failed = False
    for name, check in checks:
        try:
            print(f"ok   {name}: {check()}", flush=True)
        except Exception as error:  # whatever fails is what was asked for
            failed = True
            text = " ".join(str(error).split()) or type(error).__name__
            remedy = getattr(error, "remedy", "mend what failed above; if nothing did, report this line")
            print(f"FAIL {name}: {text} — {remedy}", flush=True)
    return 1 if failed else 0


def _package(module: str, name: str) -> str:
    try:
        importlib.import_module(module)
        return metadata.version(name)
    # Broken libraries of a package are an OSError.
    except (ImportError, OSError) as error:
        where = "; see https://pytorch.org/get-started for your GPU" if name == "torch" else ""
        raise Fault(str(error), f"{sys.executable} -m pip install {name}{where}") from error


def _check_device(wanted: str) -> str:
    try:
        return _device_text(wanted).removeprefix("device ")
    except ValueError as error:
        raise Fault(str(error), "install a torch made for your GPU and driver, or take --device cpu") from error


def _check_folder() -> str:
    folder = fits_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise Fault(f"{folder} can't be written: {error.strerror}", "set DSR_HOME to a folder of yours") from error
    free = shutil.disk_usage(there).free / 1e9
    if free < FREE_GB:
        raise Fault(f"{folder} has {free:.2f} GB free", "make room, or set DSR_HOME to another disk")
    return f"{folder}, {free:.1f} GB free"


def _check_pymol() -> str:
    try:
        python = extraction.pymol_python()
    except ValueError:
        # No fault: machines with a GPU rarely have one.
        return "none here, so fit takes surfaces files; set DSR_PYMOL_PYTHON to fit trajectories"
    code = "import pymol2, pymol_dsr; from pymol import cmd; print('PyMOL', cmd.get_version()[0])"
    remedy = f"install PyMOL and pymol-dsr for {python}, or set DSR_PYMOL_PYTHON to a Python that has both"
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, errors="replace", timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fault(f"{python} can't be run: {error}", remedy) from error
    if done.returncode:
        raise Fault((done.stderr.strip().splitlines() or ["no message"])[-1], remedy)
    return f"{done.stdout.strip().splitlines()[-1]}, {python}"


def _check_round_trip(device: str) -> str:
    """Fit a growing sphere, write it, read it, mesh it: everything that a fit needs, in a second or two."""
    from . import checkpoint, mesher, trainer

    started = time.monotonic()
    fitted = trainer.fit(_spheres(), FitConfig(preset="preview", device=device))
    data = checkpoint.to_bytes(fitted)
    back = pick(checkpoint.from_bytes(data, device), None, None, None)
    made = mesher.mesh(back, 2.0, resolution=1.0)
    off = float(np.abs(np.linalg.norm(made.points, axis=1) - 7.0).mean()) if len(made.points) else math.inf
    if not off < 0.2:
        raise Fault(f"a sphere came back {off:.2f} Å off", "try --device cpu, and report it with this output")
    return f"a sphere came back {off:.3f} Å off in {time.monotonic() - started:.1f} s on {fitted.device}"


def _spheres() -> list[Surface]:
    """Spheres of 6, 7 and 8 Å as states 1, 2 and 3."""
    from scipy.spatial import ConvexHull

    from .surfaces import Surface

    count = 500
    step = np.arange(count) + 0.5
    height, turn = 1.0 - 2.0 * step / count, np.pi * (1.0 + 5.0**0.5) * step
    ring = np.sqrt(1.0 - height**2)
    unit = np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=1).astype(np.float32)
    faces = ConvexHull(unit).simplices
    inward = np.linalg.det(unit[faces]) < 0.0
    faces[inward] = faces[inward][:, ::-1]
    return [
        Surface(state, (5.0 + state) * unit, unit, faces.astype(np.int32), (3.0 + state) * unit[::50])
        for state in (1, 2, 3)
    ]
