"""All tables of the DSR paper on open data, with baselines: writes docs/results.md and docs/noise.png.

    python benchmarks/tables.py [--rows dims froda …] [--device auto] [--data FOLDER] [--quick]

What is found stays in --folder: PyMOL's surfaces, and the scores of each row and method as JSON, so a run that was
interrupted goes on where it was, and one row or method (--again fast) can be redone. The tables are put together from
all that is there. An hour on two cores; --quick takes minutes and shows only that everything works.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import dsr_backend
import numpy as np
import report
import rows
import torch
from dsr_backend.fitting import run
from dsr_backend.geometry.metrics import GroundTruth
from dsr_backend.geometry.triangle_mesh import TriangleMesh
from dsr_backend.geometry.unit_cube import UnitCube
from dsr_backend.results.mesh import extract_mesh
from dsr_backend.runtime import device
from dsr_backend.surfaces import surfaces_file
from dsr_backend.surfaces.surface import Surface
from report import BASELINES, METHODS, PAPER, Values
from rows import BETWEEN, FITTED, HOLD, HOLD_LAST, MADE, ROWS, Row
from trajectories import NotHadError

from pymol_dsr.shared.options import FitOptions

ROOT = Path(__file__).resolve().parent.parent
QUICK = ("dims", "froda", "trpcage", "dims26")

# The preset `paper` wants a GPU. Without one it is shown on a few rows only, cut short, meshed coarsely and scored at
# few states: seconds of training, Å, states of each group.
ON_CPU = ("dims", "froda", "trpcage450")
CPU_SECONDS, CPU_RESOLUTION, CPU_MOST = 120.0, 1.0, 4


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    chosen_rows = [rows.quick(ROWS[name]) if options.quick else ROWS[name] for name in options.rows]
    failed = {}
    for row in chosen_rows if options.only != "tables" else []:
        folder = options.folder / row.name
        try:
            with timed(f"{row.name}: PyMOL's surfaces"):
                rows.prepare(row, folder, options.data, options.cache)
        except NotHadError as error:
            failed[row.name] = str(error)
            print(error, flush=True)
            continue
        if options.only == "surfaces":
            continue
        for method in options.methods:
            if method != PAPER or device.choose_device(options.device).type == "cuda" or row.name in ON_CPU:
                score(row, method, folder, options)
    if options.only != "surfaces":
        report.write(options.folder, options.write, failed)
        print(f"written: {options.write}", flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), help="all unless given", metavar="ROW")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="all unless given")
    parser.add_argument("--again", nargs="+", choices=METHODS, default=[], help="redo these, whatever is there")
    parser.add_argument("--device", default="auto", help="of the fits: auto, cpu or cuda")
    parser.add_argument("--data", type=Path, help="a folder with trajectories, instead of fetching them")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "tables", help="what is found stays there")
    parser.add_argument("--write", type=Path, help="docs/results.md unless given; with --quick it is in the folder")
    parser.add_argument("--quick", action="store_true", help="few rows and states, to see that all works")
    parser.add_argument(
        "--only", choices=("surfaces", "tables"), help="stop before the fits; or only put the tables together"
    )
    options = parser.parse_args(arguments)
    options.cache = options.folder / "trajectories"
    if options.quick:
        options.folder = options.folder / "quick"
    options.rows = options.rows or list(QUICK if options.quick else ROWS)
    options.write = options.write or (options.folder if options.quick else ROOT / "docs") / "results.md"
    return options


@contextmanager
def timed(title: str) -> Iterator[None]:
    """Print how many seconds a part took."""
    started = time.perf_counter()
    yield
    print(f"{title}: {time.perf_counter() - started:.0f} s", flush=True)


# Scores ------------------------------------------------------------------------------------------------------


def score(row: Row, method: str, folder: Path, options: argparse.Namespace) -> None:
    """Find the scores of one method at one row and keep them, unless those that are there answer the same question."""
    request: Values = {"training": row.training, "groups": row.groups}
    if method != BASELINES:
        chosen = device.choose_device(options.device)
        request |= {"device": chosen.type, "seconds": None, "resolution": 0.5, "most": 1000}
        if method == PAPER and chosen.type == "cpu":
            seconds = 3.0 if options.quick else CPU_SECONDS
            request |= {"seconds": seconds, "resolution": CPU_RESOLUTION, "most": CPU_MOST}
    request = json.loads(json.dumps(request))
    path = folder / f"{method}.json"
    if path.exists() and method not in options.again and json.loads(path.read_text())["asked"] == request:
        print(f"{row.name}, {method}: from {path}", flush=True)
        return

    with timed(f"{row.name}, {method}"):
        scores = baselines(row, folder) if method == BASELINES else fit(row, method, folder, request, options.device)
    draft = path.with_name(path.name + ".part")
    draft.write_text(json.dumps({"row": row.name, "method": method, "asked": request, **scores}))
    os.replace(draft, path)


def code() -> str:
    """Which backend this is: the start of a digest of its sources."""
    digest = hashlib.sha256()
    for path in sorted(Path(dsr_backend.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def read_surfaces(path: Path) -> tuple[dict[int, Surface], Values]:
    """Surfaces by state, and the file's meta."""
    series, meta = surfaces_file.read_surfaces_file(path)
    return {int(surface.state): surface for surface in series}, meta


def baselines(row: Row, folder: Path) -> Values:
    """Scores by group, method and state of all that needs no field, and what there is to say about the trajectory."""
    truth, facts = read_surfaces(rows.surfaces_path(folder, "truth"))
    recorded = json.loads((folder / "made.json").read_text())
    by_pymol = {
        label: read_surfaces(rows.surfaces_path(folder, name))[0] for label, name in MADE.items() if name in recorded
    }
    frame = UnitCube.of([truth[state].points for state in row.training])
    meshes: dict[int, TriangleMesh] = {}

    def mesh_of(state: int) -> TriangleMesh:
        if state not in meshes:
            meshes[state] = TriangleMesh(truth[state].points, truth[state].faces, torch.device("cpu"))
        return meshes[state]

    scores: dict[str, dict[str, dict[int, Values]]] = {}
    for group, states in row.groups.items():
        if group == FITTED:
            continue
        for state in states:
            reference = _reference(truth[state], frame)
            held = truth[rows.nearest(state, row.training)]
            label = HOLD if group == BETWEEN else HOLD_LAST
            predicted: dict[str, rows.Points] = {label: (held.points, held.normals, held.faces)}
            for label, by_state in by_pymol.items():
                if state in by_state:
                    predicted[label] = (
                        by_state[state].points,
                        by_state[state].normals,
                        by_state[state].faces,
                    )
            if group == BETWEEN:
                before, after, fraction = rows.neighbours(state, row.training)
                predicted[rows.BLENDED] = rows.blended(mesh_of(before), mesh_of(after), fraction, frame)
            for label, mesh in predicted.items():
                scores.setdefault(group, {}).setdefault(label, {})[state] = asdict(reference.score(*mesh))
    facts["fitted"] = f"{len(row.training)}: {row.about}"
    return {"about": facts, "scores": scores, "hardware": asdict(device.describe("cpu"))}


def fit(row: Row, preset: str, folder: Path, request: Values, on: str) -> Values:
    """Fit the row's states with a preset, and score the field's meshes: by group, method and state."""
    sources = code()
    truth, _ = read_surfaces(rows.surfaces_path(folder, "truth"))
    config = FitOptions(preset=preset, device=on, budget=request["seconds"])
    started = time.perf_counter()
    field = run.fit_trajectory([truth[state] for state in row.training], config)
    fit_seconds = time.perf_counter() - started
    scores: dict[str, dict[str, dict[int, Values]]] = {}
    mesh_seconds = []
    for group, states in row.groups.items():
        for state in states[:: math.ceil(len(states) / request["most"])]:
            mesh = extract_mesh(field, float(state), resolution=request["resolution"])
            mesh_seconds.append(mesh.seconds)
            score = _reference(truth[state], field.frame).score(mesh.points, mesh.normals, mesh.faces)
            scores.setdefault(group, {}).setdefault(f"`{preset}`", {})[state] = asdict(score)
    return {
        "scores": scores,
        "code": sources,
        "fit_seconds": fit_seconds,
        "mesh_seconds": float(np.median(mesh_seconds)),
        "hardware": asdict(device.describe(on)),
        "report": {key: value for key, value in field.report.items() if key != "states"},
    }


def _reference(surface: Surface, frame: UnitCube) -> GroundTruth:
    return GroundTruth(surface.points, surface.normals, surface.faces, frame)


if __name__ == "__main__":
    main()
