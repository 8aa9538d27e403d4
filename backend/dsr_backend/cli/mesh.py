"""dsr-backend mesh and export."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pymol_dsr.shared import atomic_write, states
from pymol_dsr.shared.options import FORMATS, ExportOptions, MeshOptions
from pymol_dsr.shared.paths import file_to_write

from .io import CommandError, angstrom_text, live_progress, load_field, outside_text
from .options import parse_options

if TYPE_CHECKING:
    from ..fields.base import Field
    from ..results.mesh import Mesh

NODES = (32, 512)
"""Nodes along the longest side of a mesh's lattice that `--nodes` takes."""


def run_mesh(options: argparse.Namespace) -> int:
    """Run `dsr-backend mesh` and return the exit code."""
    target, asked = _target(options), _asked(options)
    with live_progress() as progress:
        fitted = load_field(options, progress)
        made = _write_mesh(fitted, options.time, asked, target)
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

    target, asked = _target(options), _asked(options)
    rate = parse_options(ExportOptions, options).fps
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
                made = mesh_at(fitted, at, asked, target)
                frames.append(AnimationFrame(at, made.points, made.normals, made.faces))
            else:
                made = _write_mesh(fitted, at, asked, path)
            if made.extrapolated:
                errors.append(made.expected_error)
        if together and distributed.rank() == 0:
            atomic_write.replace(target, gltf.animated_glb(frames, rate))
        outside = int(distributed.all_reduce([len(errors)], fitted.device)[0])
        [worst] = distributed.all_reduce([max(errors, default=0.0)], fitted.device, "max")
        if distributed.rank():
            return 0
    if outside:
        progress.line(
            f"dsr-backend: {outside} times are {outside_text(fitted)}, expected error up to {angstrom_text(worst)}"
        )
    shown = Path(options.output).with_name(path.name)
    if together:
        print(f"{shown}: {len(times)} times in 1 file")
    else:
        print(f"{shown}: the last of {len(times)} files" if len(times) > 1 else f"{shown}: 1 file")
    return 0


@dataclass(frozen=True)
class _Asked:
    """The mesh that the arguments ask for. nodes: along the longest side, for a resolution that fits the surface."""

    mesh: MeshOptions
    nodes: int | None


def _asked(options: argparse.Namespace) -> _Asked:
    mesh = parse_options(MeshOptions, options)
    if options.nodes is not None and not NODES[0] <= options.nodes <= NODES[1]:
        raise ValueError(f"--nodes {options.nodes}: it must lie between {NODES[0]} and {NODES[1]}")
    return _Asked(mesh, options.nodes)


def _target(options: argparse.Namespace) -> Path:
    return Path(file_to_write(options.output, [f".{kind}" for kind in FORMATS]))


def _write_mesh(fitted: Field, at: float, asked: _Asked, path: Path) -> Mesh:
    from ..results.export import write

    made = mesh_at(fitted, at, asked, path)
    format = path.suffix.lower().removeprefix(".")
    atomic_write.replace(path, write.to_bytes(made.points, made.normals, made.faces, format))
    return made


def mesh_at(fitted: Field, at: float, asked: _Asked, path: Path) -> Mesh:
    """Return the mesh at one time, for a file. Raises CommandError where there is no surface."""
    from ..results import mesh

    level, triangles = asked.mesh.level, asked.mesh.triangles
    made = mesh.extract_mesh(fitted, at, level=level, resolution=_resolution(fitted, at, asked), triangles=triangles)
    if not len(made.faces):
        found = mesh.distance_grid(fitted, at, 2.0).values
        raise CommandError(
            f"there is no surface at time {at:g} and level {level:g} Å, where the distances are "
            f"{found.min():.1f} to {found.max():.1f} Å; {path} is not written"
        )
    return made


def _resolution(fitted: Field, at: float, asked: _Asked) -> float:
    """Å between nodes, as given or by their number along the longest side of the surface's box."""
    if asked.nodes is None:
        return asked.mesh.resolution
    if not math.isfinite(at):
        raise ValueError(f"time {at} must be a finite number")
    low, high = fitted.at(at).box
    return float((high - low).max() + 2.0 * max(0.0, asked.mesh.level)) / float(asked.nodes - 1)
