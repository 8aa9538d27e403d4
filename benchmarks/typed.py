"""From typed commands to the movie in headless PyMOL, beside PyMOL making its surfaces one after another.

    python benchmarks/typed.py [--runs 2] [--write docs/performance.md]

AdK opening (DIMS): every second state from 1 to 79 is fitted, and all 79 are shown. Each run is one of each, in
processes of their own: PyMOL's surfaces of the 79 states by one of its processes, counted from its first surface on;
then `dsr_fit` and `dsr_movie`, with everything that they start; then the first surface that `dsr_fit` of all states
shows. Two minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import markdown
import tables
import trajectories
from dsr_backend.runtime import device
from frames import PYMOL_CELLS

import pymol_dsr

NAME = "dims"
FITTED, SHOWN = "1-79:2", "1-79"
CACHE = tables.ROOT / "build" / "tables" / "trajectories"
LONGEST_WAIT = 60.0
Seconds = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--data", type=Path, help="a folder with trajectories, instead of those that are installed")
    parser.add_argument("--write", type=Path, default=tables.ROOT / "docs" / "performance.md")
    parser.add_argument("--fitted", default=FITTED, help="states to fit")
    parser.add_argument("--shown", default=SHOWN, help="states to show")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        options.write.write_text(json.dumps(MEASURES[options.measure](options)))
        return
    runs = [
        child("surfaces", options) | child("commands", options) | child("first", options) for _ in range(options.runs)
    ]
    markdown.put(options.write, "typed", lines(runs, options))
    print(f"written: {options.write}", flush=True)


def child(measure: str, options: argparse.Namespace) -> Seconds:
    """Return the seconds that a process of its own measures."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--measure", measure, "--write", str(Path(folder, "seconds.json"))]
        command += ["--fitted", options.fitted, "--shown", options.shown]
        command += ["--data", str(options.data)] if options.data else []
        subprocess.run(command, check=True, env={**os.environ, "DSR_HOME": folder})
        seconds: Seconds = json.loads(Path(folder, "seconds.json").read_text())
    print(measure, {key: round(value, 2) for key, value in seconds.items()}, flush=True)
    return seconds


@contextmanager
def pymol_with_trajectory(options: argparse.Namespace) -> Iterator[Any]:
    """Start a PyMOL that knows the commands, and load the trajectory; gives PyMOL's `cmd`."""
    import pymol2

    with pymol2.PyMOL() as session:
        pymol_dsr.register(session.cmd)
        session.cmd.feedback("disable", "all", "everything")
        trajectories.load(session.cmd, NAME, options.data, CACHE)
        yield session.cmd


def measure_surfaces(options: argparse.Namespace) -> Seconds:
    """Measure how long one process of PyMOL takes for the surfaces of the shown states."""
    from pymol_dsr.surfaces import extract
    from pymol_dsr.surfaces.workers import compute_surfaces

    with pymol_with_trajectory(options) as cmd:
        source = extract.read_source(NAME, options.shown, _self=cmd)
        source = replace(source, settings={**source.settings, **PYMOL_CELLS})
        arrivals = [time.perf_counter() for _ in compute_surfaces(source, 1)]
    # The first one comes after the start of its process, which is not the time of a surface.
    return {"surfaces": (arrivals[-1] - arrivals[0]) * len(arrivals) / (len(arrivals) - 1)}


def measure_commands(options: argparse.Namespace) -> Seconds:
    """Measure how long dsr_fit and dsr_movie take, with all the processes that they start."""
    with pymol_with_trajectory(options) as cmd:
        started = time.perf_counter()
        run(cmd, f"dsr_fit {NAME}, {options.fitted}, name=field")
        fitted = time.perf_counter()
        run(cmd, f"dsr_movie field, {options.shown}, object=shown")
        seconds = {"fit": fitted - started, "movie": time.perf_counter() - fitted}
        if "shown" not in cmd.get_names("objects"):
            raise SystemExit("the commands made no movie; their message is above")
    return seconds


def measure_first(options: argparse.Namespace) -> Seconds:
    """Measure how long a fit of all states in the background takes to show its first surface."""
    with pymol_with_trajectory(options) as cmd:
        started = time.perf_counter()
        run(cmd, f"dsr_fit {NAME}, name=field, async_=1, watch=1")
        while "field_preview" not in cmd.get_names("objects"):
            if time.perf_counter() - started > LONGEST_WAIT:
                raise SystemExit(f"dsr_fit showed no surface within {LONGEST_WAIT:g} s; its message is above")
            time.sleep(0.01)
        return {"first": time.perf_counter() - started}


def run(cmd: Any, line: str) -> None:
    """Type a command."""
    cmd.do(line, log=0, echo=0)
    cmd.sync()


MEASURES = {"surfaces": measure_surfaces, "commands": measure_commands, "first": measure_first}


def lines(runs: Sequence[Seconds], options: argparse.Namespace) -> list[str]:
    """Write the seconds as a table."""
    rows = []
    for seconds in runs:
        total = seconds["fit"] + seconds["movie"]
        figures = (seconds["surfaces"], seconds["fit"], seconds["movie"], total)
        ratio = f"{total / seconds['surfaces']:.2f}"
        rows.append([*(f"{value:.1f}" for value in figures), ratio, f"{seconds['first']:.1f}"])
    header = ["PyMOL's surfaces, s", f"`dsr_fit {NAME}, {options.fitted}`, s", f"`dsr_movie field, {options.shown}`, s"]
    machine = device.describe("cpu")
    return [
        f"On {machine.name} ({machine.threads} threads); backend {tables.code()}.",
        "",
        *markdown.table([*header, "both, s", "of PyMOL's time", f"first surface of `dsr_fit {NAME}`, s"], rows),
    ]


if __name__ == "__main__":
    main()
