"""dsr-backend mesh and export."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from pymol_dsr.shared import atomic_write, states
from pymol_dsr.shared.options import FORMATS, MeshOptions

from .io import CommandError, angstrom_text, live_progress, load_field, output_path, outside_text

if TYPE_CHECKING:
    from ..fields.base import Field
    from ..results.mesh import Mesh

NODES = (32, 512)
"""Nodes along the longest side of a mesh's lattice that `--nodes` takes."""


def run_mesh(options: argparse.Namespace) -> int:
    """Run `dsr-backend mesh` and return the exit code."""
    target = output_path(options.output, FORMATS)
    with live_progress() as progress:
        fitted = load_field(options, progress)
        made = _write_mesh(fitted, options.time, options, target)
    line = (
        f"{options.output}: time {made.time:g}, {len(made.faces)} triangles, "
        f"area {made.area:.0f} Å², volume {made.volume:.0f} Å³"
    )
    if made.extrapolated:
        line += f", {outside_text(fitted)}, expected error {angstrom_text(made.expected_error)}"
    print(line)
    return 0


def run_export(options: argparse.Namespace) -> int:
    """Run `dsr-backend export` and return the exit code."""
    from ..results.export import gltf
    from ..results.export.gltf import AnimationFrame

    target = output_path(options.output, FORMATS)
    if not 0.0 < options.fps < math.inf:
        raise ValueError(f"--fps {options.fps:g}: it must be above 0")
    if options.times.strip().lower() != "all":
        states.parse(options.times, fractional=True)
    from ..runtime import distributed

    with distributed.process_group(options.device), live_progress() as progress:
        fitted = load_field(options, progress)
        last = int(fitted.time_range[1]) if options.times.strip().lower() == "all" else None
        times = states.parse(options.times, last=last, fractional=True)
        # As many digits as tell the times apart.
        digits = max(2, *(len(repr(float(at)).split(".")[1]) for at in times))
        together = len(times) > 1 and target.suffix.lower() == ".glb"
        errors = []
        frames = []
        path = target
        for done, at in enumerate(times):
            if len(times) > 1 and not together:
                path = target.with_name(f"{target.stem}_{at:0{5 + digits}.{digits}f}{target.suffix}")
            # One file that plays is for one process, of many each takes its own.
            if distributed.rank() != (0 if together else distributed.state_owner(done)):
                continue
            progress.step(f"mesh {done + 1} of {len(times)}, {100 * done / len(times):.0f} %")
            if together:
                made = mesh_at(fitted, at, options)
                frames.append(AnimationFrame(at, made.points, made.normals, made.faces))
            else:
                made = _write_mesh(fitted, at, options, path)
            if made.extrapolated:
                errors.append(made.expected_error)
        if together and distributed.rank() == 0:
            atomic_write.replace(target, gltf.animated_glb(frames, options.fps))
        outside = int(distributed.all_reduce([len(errors)], fitted.device)[0])
        [worst] = distributed.all_reduce([max(errors, default=0.0)], fitted.device, "max")
        if distributed.rank():
            return 0
    if outside:
        progress.line(
            f"dsr-backend: {outside} times are {outside_text(fitted)}, expected error up to {angstrom_text(worst)}"
        )
    if together:
        print(f"{path}: {len(times)} times in 1 file")
    else:
        print(f"{path}: the last of {len(times)} files" if len(times) > 1 else f"{path}: 1 file")
    return 0


def _write_mesh(fitted: Field, at: float, options: argparse.Namespace, path: Path) -> Mesh:
    from ..results.export import write

    made = mesh_at(fitted, at, options)
    format = path.suffix.lower().removeprefix(".")
    atomic_write.replace(path, write.to_bytes(made.points, made.normals, made.faces, format))
    return made


def mesh_at(fitted: Field, at: float, options: argparse.Namespace) -> Mesh:
    """Return the mesh at one time. Raises CommandError where there is no surface."""
    from ..results import mesh

    made = mesh.extract_mesh(
        fitted, at, level=options.level, resolution=_resolution(fitted, at, options), triangles=options.triangles
    )
    if not len(made.faces):
        found = mesh.distance_grid(fitted, at, 2.0).values
        raise CommandError(
            f"there is no surface at time {at:g} and level {options.level:g} Å, where the distances are "
            f"{found.min():.1f} to {found.max():.1f} Å; {options.output} is not written"
        )
    return made


def _resolution(fitted: Field, at: float, options: argparse.Namespace) -> float:
    """Å between nodes, as given or by their number along the longest side of the surface's box."""
    if options.nodes is None:
        return MeshOptions.resolution if options.resolution is None else float(options.resolution)
    if not NODES[0] <= options.nodes <= NODES[1]:
        raise ValueError(f"--nodes {options.nodes}: it must lie between {NODES[0]} and {NODES[1]}")
    if not math.isfinite(at):
        raise ValueError(f"time {at} must be a finite number")
    low, high = fitted.at(at).box
    return float((high - low).max() + 2.0 * max(0.0, options.level)) / float(options.nodes - 1)
