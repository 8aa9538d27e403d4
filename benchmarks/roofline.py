"""The roofline of preset `fast`: bytes and operations of a fit's parts against the limits of a machine.

    python benchmarks/roofline.py [--device auto] [--surfaces build/tables/dims]

Bytes and operations are counted from the sizes of a real fit (AdK opening, states 1, 3, …, 79), each tensor once
where it is read or written; seconds are measured; the machine's limits are measured too, by copying and multiplying
large matrices. The table stands between markers in docs/performance.md. For a card that is not at hand, its data sheet
says what the same counts would take at best.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import markdown
import rows
import tables
import torch
from dsr_backend.fields.fast import FastField
from dsr_backend.fitting import job, run
from dsr_backend.fitting.config import PRESETS
from dsr_backend.fitting.fast import shapes
from dsr_backend.geometry.triangle_mesh import TriangleMesh
from dsr_backend.runtime import device
from dsr_backend.surfaces.surface import Surface
from rows import ROWS

from pymol_dsr.shared.options import FitOptions

# NVIDIA's data sheet of the H200 (SXM): bytes a second, and operations a second in single precision.
H200 = ("H200, by its data sheet", 4.8e12, 67e12)
# Operations of a point against a triangle (Ericson 5.1.5), counted in signed_distance.py.
PER_TRIANGLE = 150
FLOAT, LONG, CORNERS = 4, 8, 8
# Vectors of all nodes that an iteration of conjugate gradients reads or writes.
VECTORS = 14


@dataclass(frozen=True)
class Part:
    """One part of the fit: bytes moved and operations done in all, and the seconds it took."""

    name: str
    bytes: float
    operations: float
    seconds: float


def counted(field: FastField, nodes: int, points: int, seconds: dict[str, float]) -> list[Part]:
    """The parts of a fit with exact distances of `nodes` nodes and `points` points of surfaces, of all states."""
    preset = PRESETS["fast"]
    tests = nodes * shapes.TRIANGLES_TRIED
    distances = Part("distances to the surface", tests * 9 * FLOAT, tests * PER_TRIANGLE, seconds["distances"])
    # A v: indices, weights, values; Aᵀ: products written and read, indices again, sums read and written.
    visits = points * CORNERS * preset.iterations * 2
    solving = Part(
        f"correction, {preset.iterations} iterations",
        visits * (LONG + 2 * FLOAT + 2 * FLOAT + LONG + 3 * FLOAT)
        + len(field.motion.states) * preset.iterations * field.band.count * VECTORS * FLOAT,
        visits * 4 + len(field.motion.states) * preset.iterations * field.band.count * 30,
        seconds["correction"],
    )
    return [distances, solving]


class Stopwatch:
    """Counts what a function is called with, and its seconds."""

    def __init__(self, work: Callable[..., Any], size: Callable[..., int], on: str) -> None:
        self.work, self.size, self.on = work, size, on
        self.seconds, self.total = 0.0, 0

    def __call__(self, *arguments: Any) -> Any:
        self.total += self.size(*arguments)
        started = time.perf_counter()
        result = self.work(*arguments)
        if self.on == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - started
        return result


def measured(series: Sequence[Surface], on: str) -> tuple[FastField, int, int, dict[str, float]]:
    """A fit of one state after another, its nodes and points, and the seconds of its parts."""
    distance = Stopwatch(TriangleMesh.signed_distance, lambda mesh, x, *_: len(x), on)
    correction = Stopwatch(shapes.solve, lambda observed, *_: len(observed.target), on)
    with (
        mock.patch.object(job, "MAX_PARALLEL_STATES", 1),
        mock.patch.object(TriangleMesh, "signed_distance", lambda *arguments: distance(*arguments)),
        mock.patch.object(shapes, "solve", correction),
    ):
        field = run.fit_trajectory(series, FitOptions(device=on))
    assert isinstance(field, FastField)
    seconds = {"distances": distance.seconds, "correction": correction.seconds}
    return field, distance.total, correction.total, seconds


def limits(on: torch.device) -> tuple[float, float]:
    """Return what this machine copies (bytes a second, read and written) and multiplies (operations a second)."""
    large, square = torch.ones(2**26, device=on), torch.ones(2048, 2048, device=on)
    return 2.0 * large.nbytes / _best(large.clone, on), 2.0 * 2048**3 / _best(lambda: square @ square, on)


def _best(work: Callable[[], Any], on: torch.device) -> float:
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        work()
        if on.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def lines(costs: list[Part], machine: tuple[str, float, float], reference: tuple[str, float, float]) -> list[str]:
    """The table: each part's counts, and the least seconds that either machine needs for them."""
    body = []
    for cost in costs:
        bounds = [max(cost.bytes / speed, cost.operations / rate) for _, speed, rate in (machine, reference)]
        body.append(
            [
                cost.name,
                f"{cost.bytes / 1e9:.1f}",
                f"{cost.operations / 1e9:.1f}",
                f"{cost.operations / cost.bytes:.2f}",
                f"{cost.seconds:.1f}",
                f"{bounds[0]:.1f}",
                f"{100 * bounds[0] / cost.seconds:.0f} %",
                f"{1e3 * bounds[1]:.0f}",
            ]
        )
    header = [
        "part",
        "GB moved",
        "10⁹ operations",
        "operations per byte",
        "s",
        "least s",
        "reached",
        "least on H200, ms",
    ]
    lead = []
    if all(cost.operations / cost.bytes < machine[2] / machine[1] for cost in costs):
        lead = [
            "Every part does fewer operations per byte than this machine can: fewer bytes would save time, more "
            "arithmetic would cost nothing.",
            "",
        ]
    return [
        f"#### Roofline on {machine[0]}",
        "",
        *lead,
        *markdown.table(header, body),
        "",
        f"*least s* is the time at the limits of this machine, measured here: {machine[1] / 1e9:.1f} GB/s (copies of "
        f"256 MB) or {machine[2] / 1e9:.0f} · 10⁹ operations/s (products of matrices), whichever takes longer. "
        "*reached* can exceed 100 % thanks to caches.",
        "",
        f"{reference[0]}: {reference[1] / 1e12:.1f} TB/s and {reference[2] / 1e12:.0f} · 10¹² operations/s, not "
        "measured. The time of the distances is mostly the search for candidates in a k-d tree, which the counts leave "
        "out.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--surfaces", type=Path, default=tables.ROOT / "build" / "tables" / "dims")
    parser.add_argument("--write", type=Path, default=tables.ROOT / "docs" / "performance.md")
    options = parser.parse_args()
    if not rows.surfaces_path(options.surfaces, "truth").exists():
        raise SystemExit(f"{options.surfaces} holds no surfaces; run benchmarks/fast.py --parts fit first")
    hardware, on = device.describe(options.device), device.choose_device(options.device)
    truth, _ = tables.read_surfaces(rows.surfaces_path(options.surfaces, "truth"))
    field, nodes, points, seconds = measured([truth[state] for state in ROWS["dims"].training], on.type)
    machine = (f"{hardware.name} ({hardware.device}, {hardware.threads} threads)", *limits(on))
    costs = counted(field, nodes, points, seconds)
    markdown.put(options.write, f"roofline {on.type}", lines(costs, machine, H200))
    print(f"written: {options.write}")


if __name__ == "__main__":
    main()
