"""Measures the cost of many trajectories with `dsr-backend batch` on pieces of small ones, and extends it to 10 000.

    python benchmarks/scale.py            # writes docs/scale.md
    python benchmarks/scale.py --pieces 16 --states 40 --workers 1 2 4 8

The pieces are consecutive states of benchmarks/data, two proteins by turns, and of each both short and LONGER ones, so
that what grows with area × states can be told from what every trajectory costs.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markdown import put, table

HERE = Path(__file__).resolve().parent
DOC = HERE.parent / "docs" / "scale.md"
SOURCES = (("trpcage_300k", 170), ("villin_300k", 160))
LONGER = 4
COUNT = 10_000
# Square Å of surface of a globular protein of so many atoms grow with this power of them (Miller et al. 1987).
POWER = 0.73


@dataclass(frozen=True)
class Plan:
    """Trajectories of one kind: atoms and states of each, and the workers and cores of a cluster that does them."""

    kind: str
    atoms: int
    states: int
    scored: int = 10


PLANS = (
    Plan("like ATLAS: soluble proteins of 200 residues, every 1 ns of 100 ns", 3_100, 100),
    Plan("like GPCRmd: receptors of 300 residues, every 2 ns of 500 ns", 4_800, 250),
)
CORES = 512


@dataclass(frozen=True)
class Measured:
    """One batch: processes, seconds of the wall from start to end, and its rows."""

    workers: int
    seconds: float
    rows: list[dict[str, str]]


def main() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", type=int, default=4, help="trajectories (default: 4)")
    parser.add_argument("--states", type=int, default=8, help="states of the short ones (default: 8)")
    parser.add_argument("--workers", type=int, nargs="+", default=sorted({1, cores}), help="processes to try")
    parser.add_argument("--shared", action="store_true", help="say that others used the machine meanwhile")
    parser.add_argument("--doc", type=Path, default=DOC, help="file to write the parts of")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dsr-scale-") as folder:
        runs = [batch(Path(folder), workers, options.pieces, options.states) for workers in options.workers]
    put(options.doc, "measured", measured_lines(runs, cores, options.shared))
    put(options.doc, "plan", plan_lines([row for run in runs for row in run.rows]))
    print(options.doc)
    return 0


def batch(folder: Path, workers: int, pieces: int, states: int) -> Measured:
    """Run one batch with so many processes, each with one thread."""
    lines = ["name,input,trajectory,states"]
    for number in range(pieces):
        name, last = SOURCES[number % len(SOURCES)]
        count = states * (LONGER if number // len(SOURCES) % 2 else 1)
        first = 1 + number * states % (last - count)
        files = ",".join(str(HERE / "data" / f"{name}.{kind}") for kind in ("pdb", "xtc"))
        lines.append(f"{name}-{number},{files},{first}-{first + count - 1}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    out = folder / f"fits-{workers}"
    words = ["batch", str(manifest), "--out", str(out), "--workers", str(workers), "--device", "cpu"]
    # One thread each whatever the number of processes: then only their number differs.
    code = (
        "import os, sys; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[1])]);"
        "from dsr_backend.__main__ import main; sys.exit(main(sys.argv[2:]))"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(workers), *words], check=True)
    seconds = time.perf_counter() - started
    with open(out / "summary.csv", newline="", encoding="utf-8") as stream:
        return Measured(workers, seconds, list(csv.DictReader(stream)))


def measured_lines(runs: list[Measured], cores: int, shared: bool) -> list[str]:
    smallest, largest = runs[0], runs[-1]
    lead = ""
    if len(runs) > 1:
        gain = smallest.seconds / largest.seconds
        lead = f"{largest.workers} workers do {gain:.2f} times as many fits in an hour as {smallest.workers}. "
    lines = [
        f"{lead}The test fitted {len(smallest.rows)} pieces of Trp-cage (304 atoms) and villin HP35 (572 atoms) with "
        f"preset `fast`. The times include PyMOL's surfaces and {smallest.rows[0]['scored']} scored states of each. "
        f"The machine was {processor()} with {cores} cores."
    ]
    if shared:
        lines += [
            "",
            "**Others used this machine meanwhile**: the seconds are too long, the gain of a second process too small.",
        ]
    lines += [
        "",
        *table(
            ["trajectory", "states", "area, Å²", "surfaces, s", "fit, s", "scores, s", "CPU, s", "MB"],
            [
                [
                    row["name"],
                    row["fitted"],
                    row["area"],
                    row["surfaces_seconds"],
                    row["seconds"],
                    row["score_seconds"],
                    row["cpu_seconds"],
                    row["mb"],
                ]
                for row in smallest.rows
            ],
        ),
    ]
    rows = []
    for run in runs:
        gain = smallest.seconds / run.seconds
        rows.append(
            [
                str(run.workers),
                f"{run.seconds:.0f}",
                f"{3600.0 * len(run.rows) / run.seconds:.0f}",
                f"{gain:.2f}",
                f"{gain * smallest.workers / run.workers:.0%}",
            ]
        )
    lines += ["", *table(["processes", "seconds", "trajectories an hour", "speed-up", "efficiency"], rows)]
    lines += [
        "",
        "Seconds count from the start of the command to its end. They include the start of PyMOL, Dask and torch.",
    ]
    return lines


@dataclass(frozen=True)
class Costs:
    """Costs of a trajectory: for each, and for each Å² of each state. Processor seconds, the file in MB.

    score: processor seconds of a scored state; largest: the row of the largest molecule.
    """

    surfaces: tuple[float, float]
    fit: tuple[float, float]
    file: tuple[float, float]
    score: float
    largest: dict[str, str]

    @classmethod
    def of(cls, rows: list[dict[str, str]]) -> Costs:
        """Fit straight lines through the measured rows."""

        def spent(row: dict[str, str], key: str) -> float:
            """Seconds of processors for one part, which has the share of its seconds on the clock."""
            total = sum(float(row[phase]) for phase in ("surfaces_seconds", "seconds", "score_seconds"))
            return float(row["cpu_seconds"]) * float(row[key]) / total

        sizes = np.array([float(row["area"]) * float(row["fitted"]) for row in rows])

        def straight(values: list[float]) -> tuple[float, float]:
            """Return the cost of each, and that of each Å² of each state; neither below 0."""
            slope, base = np.polyfit(sizes, values, 1)
            if slope < 0.0:
                return float(np.mean(values)), 0.0
            return (float(base), float(slope)) if base > 0.0 else (0.0, float((sizes @ values) / (sizes @ sizes)))

        return cls(
            straight([spent(row, "surfaces_seconds") for row in rows]),
            straight([spent(row, "seconds") for row in rows]),
            straight([float(row["mb"]) for row in rows]),
            sum(spent(row, "score_seconds") for row in rows) / sum(float(row["scored"]) for row in rows),
            max(rows, key=lambda row: float(row["atoms"])),
        )

    def hours(self, plan: Plan, size: float) -> list[float]:
        """Processor hours of COUNT trajectories for surfaces, fits and scores; size: Å² of all states together."""
        costs = (self.surfaces[0] + self.surfaces[1] * size, self.fit[0] + self.fit[1] * size, self.score * plan.scored)
        return [COUNT * seconds / 3600.0 for seconds in costs]


def plan_lines(rows: list[dict[str, str]]) -> list[str]:
    """The cost of 10 000 trajectories, from the measured costs per Å² and state, or per scored state."""
    costs = Costs.of(rows)
    cells, spans = [], []
    for plan in PLANS:
        area = float(costs.largest["area"]) * (plan.atoms / float(costs.largest["atoms"])) ** POWER
        size = area * plan.states
        hours = costs.hours(plan, size)
        spans.append(sum(hours) / CORES)
        cells.append(
            [
                plan.kind,
                f"{plan.atoms} × {plan.states}",
                f"{area:.0f}",
                *(f"{phase:.0f}" for phase in hours),
                f"{sum(hours):.0f}",
                f"{spans[-1]:.1f}",
                f"{COUNT * (costs.file[0] + costs.file[1] * size) / 1e3:.0f}",
            ]
        )
    columns = ["atoms × states", "area, Å²", "surfaces, h", "fits, h", "scores, h", "all, CPU h"]
    header = [f"{COUNT} trajectories", *columns, f"hours on {CORES} cores", "GB of .dsr"]
    return [
        f"{COUNT} trajectories of the kinds below would take {min(spans):.1f} to {max(spans):.1f} hours on {CORES} "
        "cores. This is an extrapolation, not a measurement: measure one of your own trajectories before you ask for "
        "the time.",
        "",
        *cost_lines(costs),
        *table(header, cells),
    ]


def cost_lines(costs: Costs) -> list[str]:
    """The costs that the plan uses, and what it assumes."""
    largest = costs.largest
    return [
        "It uses these costs, measured above, in seconds of one core:",
        "",
        *table(
            ["part", "for each trajectory", "more for 100 states of 1000 Å²"],
            [
                ["PyMOL's surfaces", f"{costs.surfaces[0]:.1f} s", f"{1e5 * costs.surfaces[1]:.2f} s"],
                ["fit", f"{costs.fit[0]:.1f} s", f"{1e5 * costs.fit[1]:.2f} s"],
                ["file (`.dsr`)", f"{costs.file[0]:.2f} MB", f"{1e5 * costs.file[1]:.2f} MB"],
            ],
        ),
        "",
        f"A scored state takes {costs.score:.2f} s more.",
        "",
        "It assumes that",
        "",
        "- these costs grow in the same way for larger proteins;",
        f"- the area grows with the number of atoms to the power {POWER}, from the {largest['area']} Å² of "
        f"{largest['atoms']} atoms;",
        f"- {PLANS[0].scored} states of each trajectory are scored;",
        "- each fit has one thread.",
        "",
    ]


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
