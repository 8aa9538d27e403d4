"""All that a GPU shows of pymol-dsr: one command of eight minutes on a bare machine, without PyMOL and network.

    make gpu-kit                                     # here: writes build/gpu-kit.tar.xz
    tar xf gpu-kit.tar.xz && cd gpu-kit              # there, with torch, numpy, scipy and safetensors
    python3 benchmarks/gpu.py --write gpu.json

The parts run in the order of their worth: tests of each kernel, the presets with seconds by stage, the profile, preset
`paper` against `fast`, the roofline, rounding by TF32 and bfloat16, the hash grid. The JSON file is written after each
part, so that a run that is cut keeps what it has. `--report docs/performance.md` puts such a file into the page.

Without a GPU everything runs on the CPU, to see that it works; `--quick` takes few states.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The kit is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "backend"))

import hashgrid
import markdown
import numpy as np
import roofline
import torch
from dsr_backend.fields.base import Field
from dsr_backend.fields.fast import FastField
from dsr_backend.fitting import run
from dsr_backend.fitting.fast import prepare
from dsr_backend.geometry.metrics import GroundTruth
from dsr_backend.geometry.unit_cube import UnitCube
from dsr_backend.motion.motion import Motion
from dsr_backend.results import dsr_file
from dsr_backend.results.mesh import extract_mesh
from dsr_backend.runtime import device
from dsr_backend.surfaces import surfaces_file
from dsr_backend.surfaces.surface import Surface
from torch.profiler import ProfilerActivity, profile

from pymol_dsr.shared import atomic_write
from pymol_dsr.shared.options import FitOptions

ROOT = Path(__file__).resolve().parent.parent
SURFACES, STATES = ROOT / "surfaces" / "dims.safetensors", ROOT / "surfaces" / "dims.json"
FITTED, BETWEEN = "fitted", "between"
# Stages of a fit, as `prepare` calls them.
STAGES = {"reference and motion": (Motion, "from_states"), "band": (prepare, "narrow_band")}
STAGES |= {"shapes": (prepare, "solve_shapes"), "widths": (prepare, "_set_widths")}
# Seconds of training of preset `paper`, from short to long, until it reaches `fast`.
PAPER_SECONDS = (15.0, 45.0, 120.0)
GRID_SECONDS = 20.0
# Seconds that all parts may take together, and the least for a further part.
SECONDS, LEAST_SECONDS = 450.0, 10.0
PROFILED_STATES, PROFILED_MESHES, LISTED_KERNELS = 10, 10, 25

Values = dict[str, Any]


@dataclass
class Bench:
    """The surfaces, the device, and what several parts ask for."""

    on: str
    quick: bool
    end: float

    def __post_init__(self) -> None:
        states = json.loads(STATES.read_text())
        surfaces = {int(surface.state): surface for surface in surfaces_file.read_surfaces_file(SURFACES)[0]}
        self.training = [surfaces[state] for state in states["training"][: 5 if self.quick else None]]
        last = self.training[-1].state
        scored = {group: [k for k in states[group] if k <= last] for group in (FITTED, BETWEEN)}
        self.scored = {
            group: listed[:: max(1, len(listed) // (2 if self.quick else 8))] for group, listed in scored.items()
        }
        self.frame = UnitCube.of([surface.points for surface in self.training])
        self.truth = {
            k: GroundTruth(surfaces[k].points, surfaces[k].normals, surfaces[k].faces, self.frame)
            for group in self.scored.values()
            for k in group
        }

    @property
    def seconds_left(self) -> float:
        return self.end - time.perf_counter()

    def wait(self) -> None:
        """Wait for the work that the GPU has been given."""
        if self.on == "cuda":
            torch.cuda.synchronize()

    def fit(self, surfaces: Sequence[Surface] | None = None, **options: Any) -> tuple[Field, float]:
        """Return a field and the seconds that its fit took."""
        started = time.perf_counter()
        field = run.fit_trajectory(surfaces or self.training, FitOptions(device=self.on, **options))
        self.wait()
        return field, time.perf_counter() - started

    @cached_property
    def fast(self) -> Field:
        return self.fit(preset="fast")[0]

    def scores(self, field: Field, groups: Sequence[str] = (FITTED, BETWEEN), resolution: float = 0.5) -> Values:
        """Return the mean IoU and NC of a field by group of states."""
        means = {}
        for group in groups:
            scores = []
            for k in self.scored[group]:
                mesh = extract_mesh(field, float(k), resolution=resolution)
                scores.append(self.truth[k].score(mesh.points, mesh.normals, mesh.faces))
            means[group] = {key: float(np.mean([getattr(score, key) for score in scores])) for key in ("iou", "nc")}
        return means


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    if options.report is not None:
        report(json.loads(options.write.read_text()), options.report)
        return
    on = device.choose_device(options.device).type
    bench = Bench(on, options.quick, time.perf_counter() + options.seconds)
    results: Values = {"about": describe_machine(options.device), "quick": options.quick, "parts": {}}
    for name in options.parts:
        started = time.perf_counter()
        if bench.seconds_left < LEAST_SECONDS:
            results["parts"][name] = {"left_out": f"{options.seconds:g} s were over"}
        else:
            try:
                results["parts"][name] = PARTS[name](bench)
            except Exception as error:
                # One part that fails must not cost the parts after it: the time on such a machine is short.
                results["parts"][name] = {"failed": f"{type(error).__name__}: {error}"}
        results["parts"][name]["seconds_of_part"] = time.perf_counter() - started
        atomic_write.replace(options.write, json.dumps(results, indent=1).encode())
        state = {key: results["parts"][name][key] for key in ("failed", "left_out") if key in results["parts"][name]}
        print(f"{name}: {time.perf_counter() - started:.0f} s {state or ''}", flush=True)
    print(f"written: {options.write}", flush=True)
    if any("failed" in section for section in results["parts"].values()):
        sys.exit(1)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="all unless given")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which no further part begins")
    parser.add_argument("--write", type=Path, default=Path("gpu.json"), help="file of the results")
    parser.add_argument("--report", type=Path, help="only put the results of --write into this page")
    parser.add_argument("--quick", action="store_true", help="few states and seconds, to see that all works")
    return parser.parse_args(arguments)


def describe_machine(name: str) -> Values:
    """Describe the machine."""
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    described = asdict(device.describe(name)) | versions
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        described |= {"multiprocessors": properties.multi_processor_count, "cuda": torch.version.cuda}
    return described


# Parts -------------------------------------------------------------------------------------------------------


def tests(bench: Bench) -> Values:
    """Run the tests of the GPU; each kernel is compared with the CPU there."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--tb=short", "tests/cuda"]
    if bench.quick:
        command += ["-k", "kernel"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backend")])}
    finished = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=max(60.0, bench.seconds_left / 2)
    )
    lines = finished.stdout.splitlines()
    summary = lines[-1] if lines else finished.stderr[-400:]
    failed = {"failed": f"pytest ended with {finished.returncode}: {summary}"} if finished.returncode else {}
    return {"summary": summary, "output": lines[-60:], **failed}


def presets(bench: Bench) -> Values:
    """Fit with each preset twice, the second time by stages; scores, meshes, file and memory."""
    results = {}
    for preset in ("fast", "preview", "fine"):
        _, first = bench.fit(preset=preset)
        if bench.on == "cuda":
            torch.cuda.reset_peak_memory_stats()
        _, second = bench.fit(preset=preset)
        with stages(bench) as seconds:
            field, _ = bench.fit(preset=preset)
        if preset == "fast":
            bench.fast = field
        times = np.linspace(bench.training[0].state, bench.training[-1].state, 4 if bench.quick else 24)
        meshes = [extract_mesh(field, float(t)) for t in times]
        results[preset] = {
            "first_fit": first,
            "fit": second,
            "stages": seconds,
            "mesh": [mesh.seconds for mesh in meshes],
            "triangles": int(np.median([len(mesh.faces) for mesh in meshes])),
            "bytes": len(dsr_file.to_bytes(field)),
            "peak_bytes": torch.cuda.max_memory_allocated() if bench.on == "cuda" else None,
            "scores": bench.scores(field),
        }
    return {"presets": results, "states": len(bench.training)}


@contextmanager
def stages(bench: Bench) -> Iterator[dict[str, float]]:
    """Give the seconds of each stage of the fits within; the GPU is waited for at the end of each."""
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def stage(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = work(*arguments, **named)
            bench.wait()
            seconds[name] = time.perf_counter() - started
            return result

        return stage

    with ExitStack() as stack:
        for name, (owner, function) in STAGES.items():
            stack.enter_context(mock.patch.object(owner, function, timed(name, getattr(owner, function))))
        yield seconds


def profiled(bench: Bench) -> Values:
    """List the kernels by time, the launches and the waits of the host, for a short fit and for meshes."""
    surfaces = bench.training[:: max(1, len(bench.training) // PROFILED_STATES)][:PROFILED_STATES]
    field, _ = bench.fit(surfaces)

    def meshes() -> None:
        for t in np.linspace(surfaces[0].state, surfaces[-1].state, PROFILED_MESHES):
            extract_mesh(field, float(t))

    meshes()
    return {
        "fit": {"states": len(surfaces), **_profile(bench, lambda: bench.fit(surfaces))},
        "meshes": {"meshes": PROFILED_MESHES, **_profile(bench, meshes)},
    }


def _profile(bench: Bench, work: Callable[[], object]) -> Values:
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if bench.on == "cuda" else [])
    started = time.perf_counter()
    with profile(activities=activities) as profiler:
        work()
        bench.wait()
    seconds = time.perf_counter() - started
    events = profiler.key_averages()

    def own_time(event: Any) -> float:
        return float(event.self_device_time_total if bench.on == "cuda" else event.self_cpu_time_total)

    kernels = sorted(events, key=own_time, reverse=True)[:LISTED_KERNELS]
    calls = {event.key: event.count for event in events}
    waits = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
    return {
        "seconds": seconds,
        "device_seconds": 1e-6 * sum(map(own_time, events)),
        "launches": calls.get("cudaLaunchKernel", 0) + calls.get("cuLaunchKernelEx", 0),
        "copies": calls.get("cudaMemcpyAsync", 0),
        "waits": {name: calls[name] for name in waits if name in calls},
        "kernels": [{"name": e.key[:120], "ms": 1e-3 * own_time(e), "calls": e.count} for e in kernels],
    }


def paper(bench: Bench) -> Values:
    """Train preset `paper` until its fitted states score as the lowest of `fast`, for longer and longer."""
    fast_iou = bench.scores(bench.fast, [FITTED])[FITTED]["iou"]
    _, seconds = bench.fit(preset="fast")
    tries = []
    for budget in PAPER_SECONDS[: 1 if bench.quick else None]:
        budget = min(2.0 if bench.quick else budget, bench.seconds_left - LEAST_SECONDS)
        if budget <= 0.0:
            break
        field, seconds_spent = bench.fit(preset="paper", budget=budget)
        tries.append({"seconds": seconds_spent, **bench.scores(field, resolution=1.0 if bench.on == "cpu" else 0.5)})
        if tries[-1][FITTED]["iou"] >= fast_iou:
            break
    reached = bool(tries) and tries[-1][FITTED]["iou"] >= fast_iou
    ratio = tries[-1]["seconds"] / seconds if tries else None
    return {"fast_iou": fast_iou, "fast_seconds": seconds, "tries": tries, "reached": reached, "ratio": ratio}


def limits(bench: Bench) -> Values:
    """Compare the bytes and operations of a fit's parts with the limits of this machine."""
    bandwidth, rate = roofline.limits(torch.device(bench.on))
    field, nodes, points, seconds = roofline.measured(bench.training, bench.on)
    costs = roofline.counted(field, nodes, points, seconds)
    return {
        "bytes_a_second": bandwidth,
        "operations_a_second": rate,
        "parts": [
            dataclasses.asdict(cost) | {"least_seconds": max(cost.bytes / bandwidth, cost.operations / rate)}
            for cost in costs
        ],
    }


def rounding(bench: Bench) -> Values:
    """Compare a fit with TF32 products, and modes kept in bfloat16, with those in full precision."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        tf32, seconds = bench.fit(preset="fast")
        scores = bench.scores(tf32)
    finally:
        torch.set_float32_matmul_precision(before)
    full = bench.fast
    assert isinstance(full, FastField)
    weights = torch.full((len(full.fine.coefficients),), 0.5, device=full.device)
    low = full.fine.modes.bfloat16()
    mixed, mixed_low = full.fine.mix(weights), ((weights @ full.fine.coefficients).bfloat16() @ low).float()

    def seconds_of(work: Callable[[], object]) -> float:
        work()
        bench.wait()
        started = time.perf_counter()
        for _ in range(20):
            work()
        bench.wait()
        return (time.perf_counter() - started) / 20

    return {
        "full": bench.scores(full),
        "tf32": {"seconds": seconds, "scores": scores},
        "bfloat16_modes": {
            "largest_error": float((mixed - mixed_low).abs().max()),
            "mean_error": float((mixed - mixed_low).abs().mean()),
            "seconds_to_mix": seconds_of(lambda: full.fine.mix(weights)),
            "seconds_to_mix_bfloat16": seconds_of(lambda: weights.bfloat16() @ low),
        },
    }


def grid(bench: Bench) -> Values:
    """Train a hash grid in (x, y, z, t) of as many parameters as `fast` has."""
    budget = 3.0 if bench.quick else min(GRID_SECONDS, bench.seconds_left)
    started = time.perf_counter()
    field = hashgrid.fit(bench.training, bench.fast.report["parameters"], budget, bench.on)
    bench.wait()
    return {"seconds": time.perf_counter() - started, "scores": bench.scores(field)}


PARTS: dict[str, Callable[[Bench], Values]] = {
    "tests": tests,
    "presets": presets,
    "profile": profiled,
    "paper": paper,
    "roofline": limits,
    "rounding": rounding,
    "hashgrid": grid,
}


# Report ------------------------------------------------------------------------------------------------------


def report(results: Values, page: Path) -> None:
    """Put the results between markers of the page."""
    machine, sections = results["about"], results["parts"]
    lines = [
        f"### On {machine['name']} ({machine['device']}, torch {machine['torch']}, numpy {machine['numpy']}, "
        f"Python {machine['python']})",
        "",
    ]
    if "summary" in sections.get("tests", {}):
        lines += [f"Tests of the GPU: {sections['tests']['summary'].strip('= ')}.", ""]
    if "presets" in sections.get("presets", {}):
        lines += [*_presets_table(sections["presets"]["presets"]), ""]
    if "tries" in sections.get("paper", {}) and sections["paper"]["tries"]:
        last = sections["paper"]["tries"][-1]
        reached = "reaches" if sections["paper"]["reached"] else "does not reach"
        lines += [
            f"Preset `paper` {reached} the IoU of `fast` at the fitted states, {sections['paper']['fast_iou']:.4f}, in "
            f"{last['seconds']:.0f} s, {sections['paper']['ratio']:.0f} times the fit of `fast`: "
            f"{last[FITTED]['iou']:.4f} / {last[FITTED]['nc']:.4f}.",
            "",
        ]
    if "kernels" in sections.get("profile", {}).get("fit", {}):
        fit = sections["profile"]["fit"]
        lines += [
            f"A fit of {fit['states']} states launches {fit['launches']} kernels, copies {fit['copies']} times and "
            f"waits {sum(fit['waits'].values())} times. The device works for {fit['device_seconds']:.2f} of "
            f"{fit['seconds']:.2f} s.",
            "",
        ]
    failed = {name: section["failed"] for name, section in sections.items() if "failed" in section}
    lines += [f"- `{name}` failed: {text}" for name, text in failed.items()]
    kind = machine["device"].split(":")[0]
    markdown.put(page, f"gpu {kind}", lines)


def _presets_table(presets: Values) -> list[str]:
    header = ["preset", "fit, s", *STAGES, "mesh, ms", "fitted, IoU / NC", "between, IoU / NC", "`.dsr`", "peak memory"]
    body = []
    for name, preset in presets.items():
        scores = [
            f"{preset['scores'][group]['iou']:.4f} / {preset['scores'][group]['nc']:.4f}" for group in (FITTED, BETWEEN)
        ]
        peak = preset["peak_bytes"]
        body.append(
            [
                f"`{name}`",
                f"{preset['fit']:.2f}",
                *(f"{preset['stages'].get(stage, 0.0):.2f}" for stage in STAGES),
                f"{1e3 * float(np.median(preset['mesh'])):.1f}",
                *scores,
                f"{preset['bytes'] / 1e6:.1f} MB",
                "–" if peak is None else f"{peak / 2**30:.2f} GiB",
            ]
        )
    return markdown.table(header, body)


if __name__ == "__main__":
    main()
