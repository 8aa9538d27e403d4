"""The cost of preset `fast`: seconds and memory against states, atoms and mesh resolution, and that of an export.

    python benchmarks/cost.py [--max-minutes 60] [--device auto] [--data FOLDER] [--quick]
    python benchmarks/cost.py --export FIT.dsr  # prints the cost of `dsr-backend export` for this fit, and ends

It writes docs/cost.png, too.

Every point is measured in a process of its own, so that its peak of memory is its own, and kept as a JSON file in
--folder: a run that was stopped, or whose minutes were over, goes on where it was. The table stands between markers in
docs/performance.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import frames
import markdown
import numpy as np
import rows
import tables
import torch
from dsr_backend.fitting.run import fit_trajectory
from dsr_backend.results import dsr_file
from dsr_backend.results.mesh import extract_mesh
from dsr_backend.runtime import device
from dsr_backend.surfaces import surfaces_file
from dsr_backend.surfaces.surface import Surface
from trajectories import TRAJECTORIES

from pymol_dsr.shared.options import FitOptions

ROOT = tables.ROOT
STATES = (20, 50, 100, 200, 368, 1000)
# Trajectory and copies of it side by side, this far apart in Å.
SIZES = (("trpcage", 1), ("dims", 1), ("rhodopsin", 1), ("dims", 3), ("dims", 15), ("dims", 30))
APART = 4.0
FEW = 5
RESOLUTIONS = (1.0, 0.7, 0.5, 0.35, 0.25)
MESHES = 3
EXPORTED = 40
QUICK: tuple[Any, Any, Any] = ((6, 12), (("trpcage", 1), ("trpcage", 2)), (1.0, 0.7))

Values = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    if options.export:
        print(export_line(export({"fit": str(options.export), "device": options.device})))
        return
    if options.point:
        measured = {"make": make, "fit": fit, "mesh": mesh, "export": export}[options.point["task"]](options.point)
        print(json.dumps(measured))
        return
    end = time.perf_counter() + 60.0 * options.max_minutes
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, point in points(options).items():
        path = options.folder / f"{name}.json"
        if path.exists() and not options.again:
            continue
        remaining = end - time.perf_counter()
        if remaining <= 0.0:
            print(f"{name}: no time left; run again for it", flush=True)
            continue
        measure(name, point, path, remaining)
    write(options.folder, options.write, device.choose_device(options.device).type)
    print(f"written: {options.write}", flush=True)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-minutes", type=float, default=60.0, help="what is not done by then is left out")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--data", type=Path, help="a folder with trajectories, instead of fetching them")
    parser.add_argument(
        "--surfaces", type=Path, default=ROOT / "build" / "cost" / "surfaces", help="PyMOL's stay there"
    )
    parser.add_argument("--folder", type=Path, help="results stay there: build/cost/cpu or /cuda unless given")
    parser.add_argument("--write", type=Path, help="docs/performance.md unless given; with --quick it is in the folder")
    parser.add_argument("--again", action="store_true", help="measure again what is there")
    parser.add_argument("--quick", action="store_true", help="small points only, to see that all works")
    parser.add_argument("--export", type=Path, help="a .dsr whose export is measured, and nothing else")
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    quick = ["quick"] if options.quick else []
    options.folder = options.folder or ROOT.joinpath("build", "cost", *quick, device.choose_device(options.device).type)
    options.write = options.write or (options.folder if options.quick else ROOT / "docs") / "performance.md"
    return options


def points(options: argparse.Namespace) -> dict[str, Values]:
    """All there is to measure, by name, the cheap ones first."""
    data = None if options.data is None else str(options.data)
    states, sizes, resolutions = QUICK if options.quick else (STATES, SIZES, RESOLUTIONS)
    meshed = "trpcage" if options.quick else "dims"
    mesh_fit = str(options.folder / "mesh.dsr")
    results: dict[str, Values] = {}

    def add(name: str, trajectory: str, count: int, **point: Any) -> None:
        path = rows.surfaces_path(options.surfaces, f"{trajectory}-{count}")
        meshes = {"trajectory": trajectory, "count": count, "path": str(path)}
        results[name] = {"task": "fit", "device": options.device, "copies": 1, "data": data, **meshes, **point}

    for count in states:
        add(f"states-{count}", "trpcage", count)
    for trajectory, copies in sizes:
        keep = {"keep": mesh_fit} if (trajectory, copies) == (meshed, 1) else {}
        add(f"atoms-{trajectory}-{copies}", trajectory, FEW, copies=copies, **keep)
    results = dict(sorted(results.items(), key=lambda item: _atoms(item[1])))
    for resolution in resolutions:
        point = {"task": "mesh", "device": options.device, "trajectory": meshed, "fit": mesh_fit}
        results[f"mesh-{resolution}"] = {**point, "resolution": resolution}
    results["export"] = {"task": "export", "device": options.device, "trajectory": meshed, "fit": mesh_fit}
    return results


def _atoms(point: Values) -> float:
    """Atoms × states: what a fit costs, more or less."""
    return float(TRAJECTORIES[point["trajectory"]].atoms * point["copies"] * point["count"])


def measure(name: str, point: Values, path: Path, seconds: float) -> None:
    """Have one point measured by a process of its own, and keep its results; say why where there are none."""
    if point["task"] == "fit" and not Path(point["path"]).exists():
        run(f"{name}, PyMOL's surfaces", {**point, "task": "make"}, None)
    results = run(name, point, seconds)
    if results is None:
        return
    record = {
        "point": point,
        "results": results,
        "hardware": asdict(device.describe(point["device"])),
        "code": tables.code(),
    }
    draft = path.with_name(path.name + ".part")
    draft.write_text(json.dumps(record))
    os.replace(draft, path)


def run(name: str, point: Values, seconds: float | None) -> Values | None:
    """Return what the process of this point prints; None, and why, where it fails or takes longer than `seconds`."""
    started = time.perf_counter()
    command = [sys.executable, __file__, "--point", json.dumps(point)]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        print(f"{name}: stopped, its minutes were over", flush=True)
        return None
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{name}: failed (exit code {process.returncode}): {last}", flush=True)
        return None
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    return dict(json.loads(process.stdout.splitlines()[-1]))


# In the process of a point -----------------------------------------------------------------------------------


def make(point: Values) -> Values:
    """PyMOL's surfaces of `count` states, as a surfaces file. Where the trajectory has fewer, of atoms between them."""
    trajectory, count = TRAJECTORIES[point["trajectory"]], point["count"]
    states = list(range(1, trajectory.states + 1))
    times = states[:count] if count <= len(states) else np.linspace(1, len(states), count).tolist()
    data = None if point["data"] is None else Path(point["data"])
    cache = ROOT / "build" / "tables" / "trajectories"
    results, seconds = frames.pymol_surfaces(point["trajectory"], states, times, data, cache, device.limit_threads())
    numbered = [
        Surface(float(number), s.points, s.normals, s.faces, s.atoms) for number, s in enumerate(results, 1)
    ]  # fmt: skip
    path = Path(point["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    surfaces_file.write_surfaces_file(path, numbered, {"object": point["trajectory"], "between": count > len(states)})
    return {"pymol_seconds": seconds}


def fit(point: Values) -> Values:
    """Fit the point's states, mesh a few times; seconds, and memory in MiB (the process's peak till then)."""
    series, meta = surfaces_file.read_surfaces_file(point["path"])
    series = copied(series, point["copies"])
    results: Values = {"states": len(series), "between": meta["between"], "loaded": _peak(point)}
    started, used = time.perf_counter(), time.process_time()
    field = fit_trajectory(series, FitOptions(device=point["device"]))
    results["fit_seconds"], results["processor_seconds"] = time.perf_counter() - started, time.process_time() - used
    results["fit_memory"] = _peak(point)
    keys = ("atoms", "area", "parameters")
    results |= {key: field.report[key] for key in keys}
    results |= _meshed(field, 0.5)
    results["memory"] = _peak(point)
    file = dsr_file.to_bytes(field)
    results["bytes"] = len(file)
    if "keep" in point:
        Path(point["keep"]).write_bytes(file)
    return results


def mesh(point: Values) -> Values:
    """Mesh a kept fit at one resolution."""
    field = dsr_file.load(point["fit"], point["device"])
    return {"loaded": _peak(point), **_meshed(field, point["resolution"]), "memory": _peak(point)}


def export(point: Values) -> Values:
    """Export meshes of a kept fit by the command line, many and one; seconds and processor seconds of either.

    One takes as long as many would, without the rest of the meshes: their difference is the cost of a mesh.
    """
    first, last = dsr_file.load(point["fit"], point["device"]).time_range
    times = {"movie": "+".join(f"{at:.3f}" for at in np.linspace(first, last, EXPORTED)), "first": f"{first:g}"}
    return {"meshes": EXPORTED} | {name: _exported(point, text) for name, text in times.items()}


def _exported(point: Values, times: str) -> Values:
    """Wall seconds and processor seconds of one export as binary .ply, from the command's start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dsr_backend", "export", point["fit"], "--times", times]
        command += ["--device", point["device"], "-o", str(Path(folder, "mesh.ply"))]
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = time.perf_counter() - started
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "processor_seconds": used}


def export_line(results: Values) -> str:
    """The cost of an export as a sentence."""
    movie, first, count = results["movie"], results["first"], results["meshes"]
    further = {key: (movie[key] - first[key]) / (count - 1) for key in movie}
    return (
        f"`dsr-backend export` writes {count} meshes at 0.5 Å as binary .ply in {movie['seconds']:.1f} s, "
        f"{movie['seconds'] / count:.3f} s a mesh ({movie['processor_seconds'] / count:.3f} s of a processor). Its "
        f"start and the first mesh take {first['seconds']:.1f} s, each further one {further['seconds']:.3f} s "
        f"({further['processor_seconds']:.3f} s of a processor)."
    )


def _meshed(field: Any, resolution: float) -> Values:
    first, last = field.time_range
    times = np.linspace(first, last, MESHES + 3)[1:-1]
    meshes = [extract_mesh(field, float(at), resolution=resolution) for at in times]
    # The first one also lays things out.
    return {
        "mesh_seconds": float(np.median([entry.seconds for entry in meshes[1:]])),
        "triangles": len(meshes[-1].faces),
    }


def copied(series: Sequence[Surface], copies: int) -> list[Surface]:
    """Each state as that many copies of itself, side by side."""
    points = np.concatenate([surface.points for surface in series])
    size = points.max(0) - points.min(0) + APART
    side = math.ceil(copies ** (1 / 3) - 1e-9)
    places = np.array([(k // side**2, k // side % side, k % side) for k in range(copies)]) * size
    return [_side_by_side(surface, places.astype(np.float32)) for surface in series]


def _side_by_side(surface: Surface, places: np.ndarray) -> Surface:
    assert surface.atoms is not None
    points, atoms = (np.concatenate([xyz + shift for shift in places]) for xyz in (surface.points, surface.atoms))
    faces = np.concatenate([surface.faces + k * len(surface.points) for k in range(len(places))])
    return Surface(surface.state, points, np.tile(surface.normals, (len(places), 1)), faces, atoms)


def _peak(point: Values) -> Values:
    """The most memory in MiB that this process has had, and torch on the GPU."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    if device.choose_device(point["device"]).type == "cuda":
        peak["gpu"] = torch.cuda.max_memory_allocated() / 2**20
    return peak


# Table and plot ----------------------------------------------------------------------------------------------


def write(folder: Path, path: Path, kind: str) -> None:
    """Put together all points that are in the folder, as the part of the file that is named after the device."""
    records = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    if not records:
        raise SystemExit(f"{folder} holds no results; give more minutes")
    of_states, of_atoms, of_mesh = series = _sorted(records)
    machines = {"{name} ({device}, {threads} threads, torch {torch})".format(**entry["hardware"]) for entry in records}
    codes = sorted({entry["code"] for entry in records})
    lines = [f"#### Cost on {'; '.join(sorted(machines))}, Python {platform.python_version()}"]
    between = [entry["results"]["states"] for entry in of_states if entry["results"]["between"]]
    note = ""
    if between:
        note = f" The points {', '.join(map(str, between))} have atoms on straight lines between its states."
    header = ["fit, s", "a state, s", "mesh, s", "memory of the fit", "of all", "`.dsr`"]
    if of_states:
        lines += ["", f"**By states.**{_growth(of_states, 'states')} The molecule is Trp-cage, 304 atoms.{note}", ""]
        body = [[str(entry["results"]["states"]), *_cells(entry["results"])] for entry in of_states]
        lines += markdown.table(["states", *header], body)
    if of_atoms:
        growth = _growth(of_atoms, "atoms")
        lines += ["", f"**By atoms.**{growth} Each fit has {FEW} states; × means copies side by side.", ""]
        body = []
        for entry in of_atoms:
            results, copies = entry["results"], entry["point"]["copies"]
            name = entry["point"]["trajectory"] + (f" × {copies}" if copies > 1 else "")
            body.append([name, str(results["atoms"]), f"{results['area']:.0f}", *_cells(results)])
        lines += markdown.table(["", "atoms", "area, Å²", *header], body)
    if of_mesh:
        name = of_mesh[0]["point"]["trajectory"]
        lines += ["", f"**By mesh resolution.** The meshes are of {name}, from its fit in the table above.", ""]
        body = [
            [
                str(entry["point"]["resolution"]),
                str(entry["results"]["triangles"]),
                f"{entry['results']['mesh_seconds']:.2f}",
                _memory(entry["results"]["memory"]),
            ]
            for entry in of_mesh
        ]
        lines += markdown.table(["resolution, Å", "triangles", "mesh, s", "memory"], body)
    for entry in records:
        if entry["point"]["task"] == "export":
            lines += ["", f"**Export.** {export_line(entry['results'])}"]
    lines += [
        "",
        "In the first two tables, meshes are at 0.5 Å. Memory is the peak of the process, with torch itself. Backend "
        f"{', '.join(codes)}.",
    ]
    if importlib.util.find_spec("matplotlib"):
        picture = path.with_name("cost.png" if kind == "cpu" else f"cost_{kind}.png")
        _plot(series, picture)
        lines += ["", f"![Seconds and memory]({picture.name})"]
    markdown.put(path, f"cost {kind}", lines)


def _sorted(records: Sequence[Values]) -> tuple[list[Values], list[Values], list[Values]]:
    """The points by states, by atoms and by resolution, each in rising order of cost."""
    fits = [entry for entry in records if entry["point"]["task"] == "fit"]
    meshes = [entry for entry in records if entry["point"]["task"] == "mesh"]
    of_states = [entry for entry in fits if entry["point"]["count"] != FEW]
    of_atoms = [entry for entry in fits if entry["point"]["count"] == FEW]
    return (
        sorted(of_states, key=lambda entry: entry["results"]["states"]),
        sorted(of_atoms, key=lambda entry: entry["results"]["atoms"]),
        sorted(meshes, key=lambda entry: -entry["point"]["resolution"]),
    )


def _cells(results: Values) -> list[str]:
    return [
        f"{results['fit_seconds']:.0f}",
        f"{results['fit_seconds'] / results['states']:.2f}",
        f"{results['mesh_seconds']:.2f}",
        _memory(results["fit_memory"]),
        _memory(results["memory"]),
        f"{results['bytes'] / 1e6:.1f} MB",
    ]


def _memory(peak: Values) -> str:
    return ", ".join(f"{peak[memory] / 2**10:.1f} GiB{' GPU' * (memory == 'gpu')}" for memory in peak)


def _growth(of: Sequence[Values], key: str) -> str:
    """Return the power by which the seconds of the fit grow over the last three points."""
    last = [entry["results"] for entry in of[-3:]]
    if len(last) < 2:
        return ""
    slope = np.polyfit(*(np.log([entry[name] for entry in last]) for name in (key, "fit_seconds")), 1)[0]
    return f" Over the last {len(last)} points the fit's seconds grow as {key} to the power {slope:.2f}."


def _plot(series: Sequence[Sequence[Values]], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    titles = ("states (Trp-cage)", f"atoms ({FEW} states)", "mesh resolution, Å (AdK)")
    for axis, of, title in zip(axes, series, titles, strict=True):
        if not of:
            # Not measured yet.
            axis.set_axis_off()
            continue
        key = title.partition(" ")[0]
        x = [entry["results"].get(key, entry["point"].get("resolution")) for entry in of]
        if "fit_seconds" in of[0]["results"]:
            axis.plot(x, [entry["results"]["fit_seconds"] for entry in of], "C0o-", label="fit, s")
        axis.plot(x, [entry["results"]["mesh_seconds"] for entry in of], "C2s-", label="mesh, s")
        axis.plot(x, [entry["results"]["memory"]["host"] / 2**10 for entry in of], "C1^--", label="peak memory, GiB")
        axis.set(xscale="log", yscale="log", xlabel=title)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
