"""Cost of each part of a comparison: the surface of one state against that of the next in a surfaces file.

    python benchmarks/metrics_cost.py surfaces.safetensors [--repeats 5]

Seconds are the fastest of the repeats and depend on the machine; the last column, relative to the whole of
`GroundTruth.score`, is what to compare.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from dsr_backend.geometry import metrics
from dsr_backend.geometry.metrics import GroundTruth
from dsr_backend.geometry.unit_cube import UnitCube
from dsr_backend.surfaces import surfaces_file


def fastest(step: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of each part of a comparison.")
    parser.add_argument("file", help="surfaces file with at least two states")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    series, _ = surfaces_file.read_surfaces_file(arguments.file)
    if len(series) < 2:
        parser.error(f"{arguments.file} has one state, a comparison needs two")
    truth, prediction = series[0], series[1]
    frame = UnitCube.of([surface.points for surface in series])
    for role, mesh in (("truth", truth), ("prediction", prediction)):
        print(f"{role}: state {mesh.state:g}, {len(mesh.points)} points, {len(mesh.faces)} faces")

    reference = GroundTruth(truth.points, truth.normals, truth.faces, frame)
    unit = frame.to_unit(prediction.points)
    occupied = metrics.occupancy(unit, prediction.faces)
    samples = metrics.sample(unit, prediction.faces, np.random.default_rng(0))
    sample_tree = metrics.build_tree(samples)
    steps: dict[str, Callable[[], object]] = {
        "GroundTruth(truth), once": lambda: GroundTruth(truth.points, truth.normals, truth.faces, frame),
        "score, whole": lambda: reference.score(prediction.points, prediction.normals, prediction.faces),
        "  occupancy": lambda: metrics.occupancy(unit, prediction.faces),
        "  iou": lambda: metrics.iou(reference.occupancy, occupied),
        "  samples": lambda: metrics.sample(unit, prediction.faces, np.random.default_rng(0)),
        "  tree of samples": lambda: metrics.build_tree(samples),
        "  chamfer queries": lambda: metrics.chamfer(reference.samples, sample_tree),
        "  normal consistency": lambda: metrics.normal_consistency(
            reference.points, reference.normals, unit, prediction.normals
        ),
    }
    seconds = {name: fastest(step, arguments.repeats) for name, step in steps.items()}
    for name, value in seconds.items():
        print(f"{name:<24}{value:9.4f} s{value / seconds['score, whole']:8.1%}")
    print(reference.score(prediction.points, prediction.normals, prediction.faces))


if __name__ == "__main__":
    main()
