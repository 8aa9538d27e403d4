"""The DIMS row: AdK opening (MDAnalysisTests, 102 states, 3341 atoms), fitted to states 1, 3, …, 79.

    python benchmarks/dims.py [--device auto] [--preset fast] [--folder build/dims] [--write docs/results.md]

Prints IoU, Chamfer (both kinds) and NC against PyMOL's own surfaces for the training states, those between
(2, 4, …, 78) and those to come (81–90, 91–100), beside the baselines: hold the nearest training state, and interpolate
the atoms linearly and let PyMOL make the surface. Then the time of the fit and of a mesh beside PyMOL's for a surface.

The surfaces are made by PyMOL once and kept in the folder; with the two files there, no PyMOL is needed.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from dsr_backend import device, mesher, surfaces, trainer
from dsr_backend.config import FitConfig
from dsr_backend.metrics import Reference, Scores
from dsr_backend.surfaces import Surface

TRAINING = list(range(1, 80, 2))
GROUPS = {
    "training 1, 3, …, 79": TRAINING,
    "between 2, 4, …, 78": list(range(2, 79, 2)),
    "future 81–90": list(range(81, 91)),
    "future 91–100": list(range(91, 101)),
}
FIELD, HOLD, LINEAR = "field", "hold nearest", "atoms linear + PyMOL"
PAPER = {
    "training 1, 3, …, 79": (0.9316, 0.9671),
    "future 81–90": (0.8467, 0.8666),
    "future 91–100": (0.6835, 0.6932),
}


def make_surfaces(folder: Path) -> None:
    """PyMOL's surfaces of states 1–100 and of linearly interpolated atoms, as two surfaces files."""
    import pymol2
    from MDAnalysisTests.datafiles import DCD2, PSF

    from pymol_dsr import extract

    folder.mkdir(parents=True, exist_ok=True)
    session = pymol2.PyMOL()
    session.start()
    session.cmd.feedback("disable", "all", "everything")
    session.cmd.load(PSF, "adk")
    session.cmd.load_traj(DCD2, "adk", state=1)
    source = extract.read_source("adk", "1-100", _self=session.cmd)
    session.stop()
    at = source.coordinates
    frames = [(s, (0.5 * (at[s - 1] + at[s + 1])).astype(np.float32)) for s in GROUPS["between 2, 4, …, 78"]]
    started = time.perf_counter()
    made = list(extract.surfaces(source, 1))
    seconds = (time.perf_counter() - started) / len(made)
    mixed = list(extract.surfaces_of_coordinates(source, frames, 0))
    for name, series, meta in (("truth", made, {"pymol_seconds": seconds}), ("linear", mixed, {})):
        ordered = sorted(series, key=lambda surface: surface.state)
        kept = [Surface(s.state, s.points, s.normals, s.faces, s.atoms) for s in ordered]
        surfaces.write(folder / f"{name}.npz", kept, {"object": "adk", **meta})


def nearest(state: int) -> int:
    return min(TRAINING, key=lambda t: (abs(t - state), t))


def row(group: str, method: str, scores: list[Scores]) -> str:
    columns = []
    for name, digits in (("iou", 4), ("chamfer_l1", 5), ("chamfer_sq", 6), ("nc", 4)):
        values = np.array([getattr(score, name) for score in scores])
        columns.append(f"{values.mean():.{digits}f} ± {values.std():.{digits}f}")
    return f"| {group} | {method} | {' | '.join(columns)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="The DIMS row of the paper, with baselines.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--folder", type=Path, default=Path("build/dims"), help="where the surfaces files are or go")
    parser.add_argument("--write", type=Path, help="also write the tables there, as Markdown")
    options = parser.parse_args()
    if not (options.folder / "linear.npz").exists():
        print("PyMOL makes the surfaces, once …", flush=True)
        make_surfaces(options.folder)
    series, meta = surfaces.read(options.folder / "truth.npz")
    truth = {int(surface.state): surface for surface in series}
    linear = {int(surface.state): surface for surface in surfaces.read(options.folder / "linear.npz")[0]}

    config = FitConfig(preset=options.preset, device=options.device)
    started = time.perf_counter()
    field = trainer.fit([truth[state] for state in TRAINING], config)
    fit_seconds = time.perf_counter() - started
    mesher.mesh(field, 1.5)
    mesh_seconds = [mesher.mesh(field, time).seconds for time in (10.0, 20.5, 40.0, 60.5, 79.0)]

    lines = ["| states | method | IoU | Chamfer L1 | Chamfer sq | NC |", "|---|---|---|---|---|---|"]
    for group, states in GROUPS.items():
        found: dict[str, list[Scores]] = {FIELD: []}
        for state in states:
            reference = Reference(truth[state].points, truth[state].normals, truth[state].faces, field.frame)
            mesh = mesher.mesh(field, float(state))
            found[FIELD].append(reference.score(mesh.points, mesh.normals, mesh.faces))
            if state in linear:
                mixed = linear[state]
                found.setdefault(LINEAR, []).append(reference.score(mixed.points, mixed.normals, mixed.faces))
            if state not in TRAINING:
                held = truth[nearest(state)]
                found.setdefault(HOLD, []).append(reference.score(held.points, held.normals, held.faces))
        lines += [row(group, method, scores) for method, scores in found.items()]
        if group in PAPER:
            lines.append(f"| {group} | the paper, as printed | {PAPER[group][0]} | | | {PAPER[group][1]} |")
        print("\n".join(lines[-len(found) - (group in PAPER) :]), flush=True)

    about = device.describe(options.device)
    per_surface = float(meta.get("pymol_seconds", float("nan")))
    report = field.report
    lines += [
        "",
        f"Preset `{options.preset}` on {about['name']} ({about['device']}, {about['threads']} threads, "
        f"torch {about['torch']}, Python {platform.python_version()}): fit {fit_seconds:.1f} s once the surfaces "
        f"are there, {np.median(mesh_seconds):.2f} s for a mesh at 0.5 Å; PyMOL takes {per_surface:.2f} s for the "
        f"surface of one state (one process, same machine). Temporal widths {report['smooth']:.2f} (shape) and "
        f"{report['smooth_atoms']:.2f} (atoms) states, by {report['smooth_chosen_by']}; forecast: "
        f"{report['forecast']}.",
    ]
    print("\n".join(lines[-2:]))
    if options.write:
        title = "# Results\n\nAdK opening (DIMS), fitted to every second state up to 79: `python benchmarks/dims.py`.\n"
        options.write.write_text("\n".join([title, *lines]) + "\n")


if __name__ == "__main__":
    main()
