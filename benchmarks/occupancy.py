"""The occupancy of an ensemble against the surface of its mean atoms, and its time from a fit.

    python benchmarks/occupancy.py [--row froda] [--every 3] [--data FOLDER] [--fit adk.dsr] [--write]

The states of a trajectory are superposed on its first one (Cα), PyMOL makes their surfaces, and the surface of 50 % is
compared with that of the mean atoms: volume, and mean IoU with the states. --data: a folder that may hold the
trajectory's files. --fit: also time an occupancy of 100 times of this fit at 0.8 Å. --write: put the result into
docs/results.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import markdown
import numpy as np
import torch
import trajectories
from dsr_backend.geometry import metrics
from dsr_backend.geometry.unit_cube import UnitCube
from dsr_backend.results import dsr_file
from dsr_backend.results.occupancy import field_shapes, occupancy, surface_shapes
from dsr_backend.runtime.device import limit_threads
from dsr_backend.surfaces.surface import Surface
from frames import volume_and_area

from pymol_dsr.shared.ensemble_options import OccupancyOptions

TIMES = 100
RESULTS = Path(__file__).parents[1] / "docs" / "results.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", default="froda", choices=sorted(trajectories.TRAJECTORIES))
    parser.add_argument("--every", type=int, default=3, help="take every so many states")
    parser.add_argument("--data", type=Path, help="folder that may hold the trajectory's files")
    parser.add_argument("--kept", type=Path, default=Path("bench"), help="folder for what is fetched")
    parser.add_argument("--fit", type=Path, help="a .dsr to time an occupancy of")
    parser.add_argument("--write", action="store_true", help="put the result into docs/results.md")
    arguments = parser.parse_args()
    threads = limit_threads()
    surfaces, mean_atoms = superposed_surfaces(arguments.row, arguments.every, arguments.data, arguments.kept)
    lines = [
        "## Ensembles",
        "",
        f"The occupancy of {len(surfaces)} states ({trajectories.TRAJECTORIES[arguments.row].about}; superposed on the",
        "Cα): the surface of 50 % is a better mean surface than that of the mean atoms, which shrinks. The IoU is the",
        "mean over the states.",
        "",
        *compare(surfaces, mean_atoms, threads),
    ]
    if arguments.fit:
        lines += ["", time_of_fit(arguments.fit, threads)]
    print("\n".join(lines))
    if arguments.write:
        markdown.put(RESULTS, "occupancy", lines)


def superposed_surfaces(name: str, stride: int, data: Path | None, cache: Path) -> tuple[list[Surface], Surface]:
    """PyMOL's surfaces of every so many states, superposed, and that of their mean atoms."""
    import pymol2

    from pymol_dsr.surfaces import extract
    from pymol_dsr.surfaces.workers import compute_surfaces_at

    with pymol2.PyMOL() as session:
        session.cmd.feedback("disable", "all", "everything")
        trajectories.load(session.cmd, name, data, cache)
        session.cmd.intra_fit(f"{name} and name CA")
        source = extract.read_source(name, f"1-{session.cmd.count_states(name)}:{stride}", _self=session.cmd)
    states = sorted(source.coordinates)
    mean = np.mean([source.coordinates[state] for state in states], 0, dtype=np.float64).astype(np.float32)
    timed = [*((float(state), source.coordinates[state]) for state in states), (0.0, mean)]
    ordered = sorted(compute_surfaces_at(source, timed), key=lambda surface: surface.state)
    surfaces = [
        Surface(surface.state, surface.points, surface.normals, surface.faces, surface.atoms) for surface in ordered
    ]
    return surfaces[1:], surfaces[0]


def compare(surfaces: list[Surface], mean_atoms: Surface, threads: int) -> list[str]:
    """A table of volumes and of the mean IoU with the states."""
    frame = UnitCube.of([surface.points for surface in surfaces])
    filled = [metrics.occupancy(frame.to_unit(surface.points), surface.faces) for surface in surfaces]
    volumes = [volume_and_area(surface.points, surface.faces)[0] for surface in surfaces]
    started = time.perf_counter()
    result = occupancy(surface_shapes(surfaces), OccupancyOptions(levels=(50,)), threads=threads)
    seconds = time.perf_counter() - started
    [half] = result.surfaces

    def row(title: str, points: Any, faces: Any) -> tuple[str, ...]:
        mean_occupied = metrics.occupancy(frame.to_unit(points), faces)
        mean_iou = float(np.mean([metrics.iou(mean_occupied, occupied) for occupied in filled]))
        return title, f"{volume_and_area(points, faces)[0]:.0f}", f"{mean_iou:.3f}"

    rows = [
        (f"a state, mean of {len(surfaces)}", f"{np.mean(volumes):.0f}", "–"),
        row("surface of 50 %", half.points, half.faces),
        row("surface of the mean atoms", mean_atoms.points, mean_atoms.faces),
    ]
    lines = markdown.table(("", "volume, Å³", "IoU with the states"), rows)
    return [*lines, "", f"The occupancy of these surfaces took {seconds:.1f} s ({threads} threads)."]


def time_of_fit(path: Path, threads: int) -> str:
    """Seconds of an occupancy of TIMES times of a fit at the usual resolution."""
    field = dsr_file.load(path, "cpu")
    first, last = field.time_range
    wall, cpu = time.perf_counter(), time.process_time()
    result = occupancy(
        field_shapes(field, np.linspace(first, last, TIMES).tolist()), OccupancyOptions(), threads=threads
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return (
        f"The occupancy of {result.states} times of the fit {path.name} at {result.spacing:g} Å took {wall:.1f} s, "
        f"{cpu:.1f} s of CPU ({threads} threads, torch {torch.__version__})."
    )


if __name__ == "__main__":
    main()
