"""dsr-backend mesh and export."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pymol_dsr.shared import atomic_write, states
from pymol_dsr.shared.options import FORMATS, ExportOptions, MeshOptions
from pymol_dsr.shared.paths import file_to_write, names_by_time
from pymol_dsr.shared.values import JsonObject

from ..server.worker import MESHES_AT_ONCE
from .io import CommandError, Progress, angstrom_text, live_progress, load_field_and_provenance, outside_text
from .options import parse_options

if TYPE_CHECKING:
    from ..fields.base import Field
    from ..results.mesh import Mesh

NODES = (32, 512)
"""Nodes along the longest side of a mesh's lattice that `--nodes` takes."""


def run_mesh(options: argparse.Namespace) -> int:
    """Run `dsr-backend mesh` and return the exit code."""
    target, request = _target(options), _mesh_request(options)
    if options.time < 1.0:
        # As states texts do, so that mesh and export take the same times.
        raise ValueError(f"--time {options.time:g}: states count from 1; give a time of 1 or more")
    with live_progress() as progress:
        fitted, provenance = load_field_and_provenance(options, progress)
        extracted = _write_mesh(fitted, options.time, request, target, provenance)
    line = (
        f"{options.output}: time {extracted.time:g}, {len(extracted.faces)} triangles, "
        f"area {extracted.area:.0f} Å², volume {extracted.volume:.0f} Å³"
    )
    if extracted.extrapolated:
        line += f", {outside_text(fitted)}, expected error {angstrom_text(extracted.expected_error)}"
    print(line)
    return 0


def run_export(options: argparse.Namespace) -> int:
    """Run `dsr-backend export` and return the exit code."""
    target, request = _target(options), _mesh_request(options)
    rate = parse_options(ExportOptions, options).fps
    is_all = options.times.strip().lower() == "all"
    if not is_all:
        states.parse(options.times, fractional=True)
    from ..runtime import distributed

    with distributed.process_group(options.device), live_progress() as progress:
        fitted, provenance = load_field_and_provenance(options, progress)
        times = states.parse(options.times, last=int(fitted.time_range[1]) if is_all else None, fractional=True)
        export = _Export(fitted, provenance, times, request, progress)
        if len(times) > 1 and target.suffix.lower() == ".glb":
            errors = export.animation(target, rate)
            last_path, count = target, f"{len(times)} times in 1 file"
        else:
            paths = [Path(name) for name in names_by_time(str(target), times)]
            errors = export.files(paths)
            last_path, count = paths[-1], f"the last of {len(paths)} files" if len(paths) > 1 else "1 file"
        outside = int(distributed.all_reduce([len(errors)], fitted.device)[0])
        [worst] = distributed.all_reduce([max(errors, default=0.0)], fitted.device, "max")
        if distributed.rank():
            return 0
    if outside:
        progress.line(
            f"dsr-backend: {outside} times are {outside_text(fitted)}, expected error up to {angstrom_text(worst)}"
        )
    print(f"{Path(options.output).with_name(last_path.name)}: {count}")
    return 0


@dataclass(frozen=True, eq=False)
class _Export:
    """Surfaces of a field at many times.

    `animation` and `files` return the expected errors (Å) of this process's times outside the training range.
    """

    fitted: Field
    provenance: JsonObject | None
    times: Sequence[float]
    request: _MeshRequest
    progress: Progress

    def animation(self, target: Path, rate: float) -> list[float]:
        """Write one .glb that plays all times, `rate` of them a second."""
        from ..results.export import gltf
        from ..results.export.gltf import AnimationFrame
        from ..runtime import distributed

        # One file that plays is for one process.
        numbers = range(0 if distributed.rank() else len(self.times))
        frames: list[AnimationFrame] = []
        errors: list[float] = []
        meshes = self._meshes(numbers, lambda number: mesh_at(self.fitted, self.times[number], self.request, target))
        for number, extracted in zip(numbers, meshes, strict=True):
            frames.append(AnimationFrame(self.times[number], extracted.points, extracted.normals, extracted.faces))
            errors += _error_outside(extracted)
        if numbers:
            atomic_write.replace(target, gltf.animated_glb(frames, rate, provenance=self.provenance))
        return errors

    def files(self, paths: Sequence[Path]) -> list[float]:
        """Write the surface at each time to the file of the same number; each process takes its own."""
        from ..runtime import distributed

        def write(number: int) -> Mesh:
            return _write_mesh(self.fitted, self.times[number], self.request, paths[number], self.provenance)

        numbers = distributed.own_states(len(self.times))
        return [error for extracted in self._meshes(numbers, write) for error in _error_outside(extracted)]

    def _meshes(self, numbers: Sequence[int], mesh_of: Callable[[int], Mesh]) -> Iterator[Mesh]:
        """Yield the mesh of each number, several made at once, and show how far that is."""
        from ..runtime.device import limit_threads
        from ..runtime.parallel import ordered_parallel_map

        count = len(self.times)
        on_cpu = self.fitted.device.type == "cpu"
        at_once = min(MESHES_AT_ONCE, limit_threads()) if on_cpu and len(numbers) > 1 else 1
        with closing(ordered_parallel_map(lambda index: mesh_of(numbers[index]), len(numbers), at_once)) as meshes:
            self.progress.step(f"mesh 1 of {count}, 0 %")
            for number, extracted in zip(numbers, meshes, strict=True):
                self.progress.step(f"mesh {number + 1} of {count}, {100 * (number + 1) / count:.0f} %")
                yield extracted


def _error_outside(extracted: Mesh) -> list[float]:
    return [extracted.expected_error] if extracted.extrapolated else []


@dataclass(frozen=True)
class _MeshRequest:
    """A mesh as the arguments describe it.

    nodes: along the longest side, for a resolution that fits the surface; text: the kind of .ply that PyMOL loads.
    """

    mesh: MeshOptions
    nodes: int | None
    text: bool


def _mesh_request(options: argparse.Namespace) -> _MeshRequest:
    mesh = parse_options(MeshOptions, options)
    if options.nodes is not None and not NODES[0] <= options.nodes <= NODES[1]:
        raise ValueError(f"--nodes {options.nodes}: it must lie between {NODES[0]} and {NODES[1]}")
    kind = Path(options.output).suffix
    if options.text and kind.lower() != ".ply":
        raise ValueError(f"--text: only .ply comes in two kinds, {kind} in one; leave --text out")
    return _MeshRequest(mesh, options.nodes, options.text)


def _target(options: argparse.Namespace) -> Path:
    return Path(file_to_write(options.output, [f".{kind}" for kind in FORMATS]))


def _write_mesh(fitted: Field, at: float, request: _MeshRequest, path: Path, provenance: JsonObject | None) -> Mesh:
    from ..results.export import write

    extracted = mesh_at(fitted, at, request, path)
    format = path.suffix.lower().removeprefix(".")
    binary = format == "ply" and not request.text
    atomic_write.replace(
        path,
        write.to_bytes(
            extracted.points, extracted.normals, extracted.faces, format, binary=binary, provenance=provenance
        ),
    )
    return extracted


def mesh_at(fitted: Field, at: float, request: _MeshRequest, path: Path) -> Mesh:
    """Return the mesh at one time, for a file. Raises CommandError where there is no surface."""
    from ..results import mesh

    level, triangles = request.mesh.level, request.mesh.triangles
    extracted = mesh.extract_mesh(
        fitted, at, level=level, resolution=_resolution(fitted, at, request), triangles=triangles
    )
    if not len(extracted.faces):
        distances = mesh.distance_grid(fitted, at, 2.0).values
        raise CommandError(
            f"there is no surface at time {at:g} and level {level:g} Å, where the distances are "
            f"{distances.min():.1f} to {distances.max():.1f} Å; {path} is not written"
        )
    return extracted


def _resolution(fitted: Field, at: float, request: _MeshRequest) -> float | None:
    """Å between nodes, as given or by their number along the longest side of the surface's box; None for the fit's."""
    if request.nodes is None:
        return request.mesh.resolution
    if not math.isfinite(at):
        raise ValueError(f"time {at} must be a finite number")
    low, high = fitted.at(at).box
    return float((high - low).max() + 2.0 * max(0.0, request.mesh.level)) / float(request.nodes - 1)
