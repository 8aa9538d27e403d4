"""Speed of preset `fast`, and what it comes from: AdK opening (DIMS), states 1, 3, …, 79, beside PyMOL and its peers.

    python benchmarks/fast.py [--device auto] [--parts fit movie peers ablation jitter] [--peer-seconds 120] [--quick]

Each part leaves a JSON file in --folder; the tables are put together from all that are there and stand between markers
in docs/performance.md. PyMOL makes its surfaces once, into the folder that tables.py uses too; with them there no
PyMOL is needed. Half an hour on two cores; --quick takes minutes and shows only that everything works.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import ablation
import fast_report
import frames
import hashgrid
import numpy as np
import rows
import tables
import torch
from dsr_backend.fields.base import Field
from dsr_backend.fitting import run
from dsr_backend.geometry.metrics import GroundTruth
from dsr_backend.geometry.unit_cube import UnitCube
from dsr_backend.results import dsr_file, mesh
from dsr_backend.results.mesh import extract_mesh
from dsr_backend.runtime import device
from dsr_backend.runtime.parallel import ordered_parallel_map
from dsr_backend.server import worker
from numpy.typing import NDArray
from rows import BETWEEN, FITTED, ROWS, SUPERPOSED, Row, spread_states

from pymol_dsr.shared.options import FitOptions

ROOT = tables.ROOT
PARTS = ("fit", "movie", "peers", "ablation", "jitter")
# Times of the movie, and every how many of them is meshed to tell what all take.
MOVIE, MOVIE_STEP = 400, 4
# States: steps of the curves, and of the differences that velocities are taken by.
STEP, INSTANT = 0.25, 0.01

Values = dict[str, Any]
Points = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.integer]]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    row = rows.quick(ROWS["dims"]) if options.quick else ROWS["dims"]
    rows.prepare(row, options.surfaces, options.data, ROOT / "build" / "tables" / "trajectories")
    prepare(row, options.surfaces, options.data)
    bench = Bench(row, options)
    options.folder.mkdir(parents=True, exist_ok=True)
    benchmarks = {"fit": fit, "movie": movie, "peers": peers, "ablation": ablate, "jitter": jitter}
    for name in options.parts:
        started = time.perf_counter()
        results = benchmarks[name](bench)
        machine = {"hardware": asdict(device.describe(options.device)), "code": tables.code(), "quick": options.quick}
        (options.folder / f"{name}.json").write_text(json.dumps({**machine, "results": results}))
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    fast_report.write(options.folder, options.write, device.choose_device(options.device).type)
    print(f"written: {options.write}", flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), help="what to measure; all, or none")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--peer-seconds", type=float, default=120.0, help="of training, for the fields beside `fast`")
    parser.add_argument("--data", type=Path, help="a folder with trajectories, instead of those that are installed")
    parser.add_argument("--surfaces", type=Path, help="PyMOL's surfaces: build/tables/dims unless given")
    parser.add_argument("--folder", type=Path, help="results stay there: build/fast/cpu or /cuda unless given")
    parser.add_argument("--write", type=Path, help="docs/performance.md unless given; with --quick it is in the folder")
    parser.add_argument("--quick", action="store_true", help="few states and seconds, to see that all works")
    options = parser.parse_args(arguments)
    quick = ["quick"] if options.quick else []
    options.surfaces = options.surfaces or ROOT.joinpath("build", "tables", *quick, "dims")
    options.folder = options.folder or ROOT.joinpath("build", "fast", *quick, device.choose_device(options.device).type)
    options.write = options.write or (options.folder if options.quick else ROOT / "docs") / "performance.md"
    if options.quick:
        options.peer_seconds = min(options.peer_seconds, 6.0)
    return options


# Baselines to measure against -------------------------------------------------------------------------------


def prepare(row: Row, folder: Path, data: Path | None) -> None:
    """Volume and area of PyMOL's surfaces every STEP states, and its seconds a surface, as movie.json in the folder.

    Of atoms on straight lines between the fitted states, by one process and by two.
    """
    path = folder / "movie.json"
    times = np.arange(row.training[0], row.training[-1] + 0.5 * STEP, STEP).tolist()
    if path.exists() and json.loads(path.read_text())["times"] == times:
        return
    cache = ROOT / "build" / "tables" / "trajectories"
    surfaces, two = frames.pymol_surfaces(row.trajectory, row.training, times, data, cache, 2)
    measured = [frames.volume_and_area(surface.points, surface.faces) for surface in surfaces]
    sampled_times = times[:: max(1, len(times) // 40)]
    _, score = frames.pymol_surfaces(row.trajectory, row.training, sampled_times, data, cache, 1)
    volumes, areas = zip(*measured, strict=True)
    seconds = {"1": score / len(sampled_times), "2": two / len(times), "on": device.describe("cpu").name}
    path.write_text(json.dumps({"times": times, "volume": volumes, "area": areas, "seconds": seconds}))


class Bench:
    """The states, PyMOL's surfaces of them, and fits that more than one part asks about."""

    def __init__(self, row: Row, options: argparse.Namespace) -> None:
        self.row, self.device, self.quick = row, options.device, options.quick
        self.peer_seconds = options.peer_seconds
        self.truth, _ = tables.read_surfaces(rows.surfaces_path(options.surfaces, "truth"))
        self.linear, _ = tables.read_surfaces(rows.surfaces_path(options.surfaces, "superposed"))
        self.pymol: Values = json.loads((options.surfaces / "movie.json").read_text())
        self.training = [self.truth[state] for state in row.training]
        self.frame = UnitCube.of([surface.points for surface in self.training])
        self.references: dict[int, GroundTruth] = {}
        self.on_cpu = device.choose_device(options.device).type == "cpu"

    @functools.cached_property
    def fast(self) -> tuple[Field, float]:
        return self.fit("fast")

    @functools.cached_property
    def fine(self) -> tuple[Field, float]:
        return self.fit("fine")

    @functools.cached_property
    def preview(self) -> tuple[Field, float]:
        return self.fit("preview")

    def fit(self, preset: str, **config: Any) -> tuple[Field, float]:
        """A field, and the seconds that it took."""
        started = time.perf_counter()
        field = run.fit_trajectory(self.training, FitOptions(preset=preset, device=self.device, **config))
        self.wait()
        return field, time.perf_counter() - started

    def seconds_a_mesh(self, field: Field, times: Sequence[float], **mesh_options: Any) -> float:
        """Seconds of each of many meshes, as many made at once as the backend makes for a movie."""
        at_once = min(worker.MESHES_AT_ONCE, device.limit_threads()) if self.on_cpu else 1
        started = time.perf_counter()
        for _ in ordered_parallel_map(
            lambda number: mesh.extract_mesh(field, float(times[number]), **mesh_options), len(times), at_once
        ):
            pass
        return (time.perf_counter() - started) / len(times)

    def wait(self) -> None:
        if not self.on_cpu:
            torch.cuda.synchronize()

    def reference(self, state: int) -> GroundTruth:
        if state not in self.references:
            surface = self.truth[state]
            self.references[state] = GroundTruth(surface.points, surface.normals, surface.faces, self.frame)
        return self.references[state]

    def scores(self, predict: Callable[[int], Points], groups: Sequence[str], most_states: int = 1000) -> Values:
        """Mean IoU and NC by group, over `most` states of each, evenly spread."""
        results = {}
        for group in groups:
            states = spread_states(self.row.groups[group], most_states)
            state_scores = [self.reference(state).score(*predict(state)) for state in states]
            iou, nc = (float(np.mean([getattr(score, metric) for score in state_scores])) for metric in ("iou", "nc"))
            results[group] = {"iou": iou, "nc": nc, "states": len(states)}
        return results

    def by_pymol(self, most_states: int = 1000) -> Values:
        """Scores between the states of what PyMOL makes of atoms on straight lines."""
        return self.scores(lambda state: _arrays(self.linear[state]), [BETWEEN], most_states)


def meshed(field: Field, **mesh_options: Any) -> Callable[[int], Points]:
    """Prediction of a field at a state."""
    return lambda state: _arrays(mesh.extract_mesh(field, float(state), **mesh_options))


def _arrays(surface: Any) -> Points:
    return surface.points, surface.normals, surface.faces


# fit ---------------------------------------------------------------------------------------------------------


def fit(bench: Bench) -> Values:
    """Seconds, quality, repeatability and size of `fast`, `fine` and `preview`, and seconds a mesh."""
    presets = {}
    first, last = bench.row.training[0], bench.row.training[-1]
    for preset in ("fast", "fine", "preview"):
        twice = [bench.fit(preset), bench.fit(preset)]
        setattr(bench, preset, twice[0])
        files = [_file(field) for field, _ in twice]
        field = twice[0][0]
        mesh.extract_mesh(field, first + 0.5)
        seconds = [mesh.extract_mesh(field, float(at)).seconds for at in np.linspace(first, last, 12)]
        together = bench.seconds_a_mesh(field, np.linspace(first, last, 24))
        presets[preset] = {
            "seconds": [seconds for _, seconds in twice],
            "two": compared(*files),
            "bytes": len(files[0]),
            "parameters": field.report["parameters"],
            "mesh": seconds,
            "together": together,
            "scores": bench.scores(meshed(field), list(bench.row.groups)),
        }
    return {"presets": presets, "start": _started(bench), "pymol": bench.pymol["seconds"]}


def _file(field: Field) -> bytes:
    """The .dsr file, without the seconds that the fit took, which its report holds."""
    field.report = field.report | {"seconds": 0.0}
    return dsr_file.to_bytes(field)


def compared(first: bytes, second: bytes) -> str:
    """Return what two .dsr files have in common: a length, a JSON header and tensors each."""
    if first == second:
        return "the same bytes"
    contents = []
    for file in (first, second):
        end = 8 + int.from_bytes(file[:8], "little")
        contents.append((json.loads(file[8:end]), file[end:]))
    return "the same content" if contents[0] == contents[1] else "different content"


def _started(bench: Bench) -> Values:
    """Seconds of a process of its own: imports, loading the file, its first mesh and the next."""
    code = """
import json, sys, time
clock = time.perf_counter
marks = [clock()]
from dsr_backend.results import dsr_file, mesh
marks.append(clock())
field = dsr_file.load(sys.argv[1], sys.argv[2])
marks.append(clock())
for _ in range(2):
    mesh.extract_mesh(field, float(sys.argv[3]))
    marks.append(clock())
print(json.dumps([after - before for before, after in zip(marks, marks[1:])]))
"""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "fit.dsr")
        dsr_file.save(bench.fast[0], path)
        command = [sys.executable, "-c", code, path, bench.device, str(bench.row.training[0] + 0.5)]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(zip(("imports", "load", "first", "second"), json.loads(process.stdout.splitlines()[-1]), strict=True))


# movie -------------------------------------------------------------------------------------------------------


def movie(bench: Bench) -> Values:
    """A fit and 400 meshes against 400 surfaces by PyMOL, and both in quality between the states."""
    times = np.linspace(bench.row.training[0], bench.row.training[-1], MOVIE)
    sample = times[:: MOVIE_STEP * (10 if bench.quick else 1)]
    triangles = int(np.mean([len(surface.faces) for surface in bench.training]))
    methods = []
    for preset in ("fast", "preview"):
        field, seconds = getattr(bench, preset)
        mesh.extract_mesh(field, float(times[1]))
        for fineness, mesh_options in (("0.5 Å", {}), (f"{triangles} triangles", {"triangles": triangles})):
            methods.append(
                {
                    "name": f"`{preset}`, {fineness}",
                    "fit": seconds,
                    "mesh": bench.seconds_a_mesh(field, sample, **mesh_options),
                    "scores": bench.scores(meshed(field, **mesh_options), [BETWEEN]),
                }
            )
    return {
        "frames": MOVIE,
        "measured": len(sample),
        "triangles": triangles,
        "methods": methods,
        "pymol": bench.pymol["seconds"],
        "pymol_scores": bench.by_pymol(),
    }


# peers -------------------------------------------------------------------------------------------------------


def peers(bench: Bench) -> list[Values]:
    """`fast`, PyMOL, and other fields with a time budget each: lines of the table."""
    fast, seconds = bench.fast
    groups = [FITTED, BETWEEN]
    # The paper's network takes long to mesh on a CPU.
    most_states, coarse = (2 if bench.quick else 4, 1.0) if bench.on_cpu else (1000, 0.5)
    parameters = fast.report["parameters"]
    lines = [
        {
            "name": "`fast`",
            "seconds": seconds,
            "parameters": parameters,
            "scores": bench.scores(meshed(fast), groups, most_states),
        },
        {"name": SUPERPOSED, "seconds": None, "parameters": None, "scores": bench.by_pymol(most_states)},
    ]
    for budget in (0.25 * bench.peer_seconds, bench.peer_seconds):
        started = time.perf_counter()
        plain = hashgrid.fit(bench.training, parameters, budget, bench.device)
        seconds = time.perf_counter() - started
        lines.append(
            {
                "name": "hash grid in (x, y, z, t)",
                "seconds": seconds,
                "parameters": plain.report["parameters"],
                "scores": bench.scores(meshed(plain), groups, most_states),
            }
        )
    for budget in (0.25 * bench.peer_seconds, bench.peer_seconds):
        paper, seconds = bench.fit("paper", budget=budget)
        lines.append(
            {
                "name": "`paper`" + (f", meshed at {coarse} Å" if coarse > 0.5 else ""),
                "seconds": seconds,
                "parameters": paper.report["parameters"],
                "scores": bench.scores(meshed(paper, resolution=coarse), groups, most_states),
            }
        )
    return lines


# ablation ----------------------------------------------------------------------------------------------------


def ablate(bench: Bench) -> list[Values]:
    """Every variant of ablation.py: lines of the table."""
    task = ablation.Task(bench.training, bench.device, bench.peer_seconds)
    lines = []
    for name, variant in ablation.VARIANTS.items():
        started = time.perf_counter()
        field = variant(task)
        seconds = time.perf_counter() - started
        lines.append(
            {
                "name": name,
                "seconds": seconds,
                "parameters": sum(tensor.numel() for key, tensor in field.tensors().items() if key != "band"),
                "scores": bench.scores(meshed(field), [FITTED, BETWEEN], 2 if bench.quick else 8),
            }
        )
        print(f"  {name}: {seconds:.0f} s", flush=True)
    return lines


# jitter ------------------------------------------------------------------------------------------------------


def jitter(bench: Bench) -> Values:
    """Measure how smoothly volume, area and the surface itself go in time, beside PyMOL's surfaces."""
    field, _ = bench.fast
    steady = field.with_uniform_smoothing()
    times = bench.pymol["times"]

    def measured(of: Field) -> dict[str, list[float]]:
        meshes = (mesh.extract_mesh(of, at) for at in times)
        volume, area = zip(*((mesh.volume, mesh.area) for mesh in meshes), strict=True)
        return {"volume": list(volume), "area": list(area)}

    scored_states = [state for state in sorted(bench.truth) if state <= bench.row.training[-1]]
    true = {
        state: frames.volume_and_area(bench.truth[state].points, bench.truth[state].faces) for state in scored_states
    }
    widths: dict[str, float | None] = {"as fitted": None, "`smooth=0`": 0.0}
    return {
        "step": STEP,
        "times": times,
        "field": measured(field),
        "steady": measured(steady),
        "scores": bench.scores(meshed(steady), [FITTED, BETWEEN]),
        "pymol": {key: bench.pymol[key] for key in ("volume", "area")},
        "true": true,
        "motion": {name: velocity(field, bench.row.training, smooth) for name, smooth in widths.items()},
    }


def velocity(field: Field, training: Sequence[int], smooth: float | None) -> Values:
    """Normal velocity of the surface's vertices, −∂f/∂t / |∇f| in Å per state, by differences in time.

    speed: mean of its size, at the training states and amid the gaps. jump: by how much it changes across a training
    state, mean over the vertices; the mean and the largest over all states but the ends.
    """
    jumps, speeds = [], []
    amid = [0.5 * (state + following) for state, following in itertools.pairwise(training)]
    for at in [*training[1:-1], *amid]:
        before, after = _velocities(field, float(at), smooth)
        speeds.append(float(0.5 * (after.abs() + before.abs()).mean()))
        if at in training:
            jumps.append(float((after - before).abs().mean()))
    return {"speed": float(np.mean(speeds)), "jump": float(np.mean(jumps)), "largest": float(np.max(jumps))}


def _velocities(field: Field, at: float, smooth: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Normal velocities f4[N] of the vertices at one time, from the time just before and just after it."""
    mesh = extract_mesh(field, at, smooth=smooth)
    x = torch.as_tensor(mesh.points, device=field.device)
    snapshot = field.at(at, smooth)
    steep = torch.linalg.norm(snapshot.gradient(x, 0.1), dim=1).clamp_min(0.1)
    distances = snapshot.distance(x)
    past, next_ = (field.at(at + shift, smooth).distance(x) for shift in (-INSTANT, INSTANT))
    return (past - distances) / INSTANT / steep, (distances - next_) / INSTANT / steep


if __name__ == "__main__":
    main()
