"""One trajectory from files to a scored fit."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pymol_dsr.shared.options import FitOptions
from pymol_dsr.shared.scratch import ScratchFolder
from pymol_dsr.shared.spacing import evenly_spaced
from pymol_dsr.shared.surfaces_format import is_surfaces_path

from ..surfaces import from_pymol
from .manifest import BatchTask
from .summary import TaskResult

if TYPE_CHECKING:
    from ..fields.base import Field
    from ..surfaces.surface import Surface
    from ..surfaces.surfaces_file import SurfaceFile

# Fitted states that are scored, evenly chosen: a score takes as long as the fit of some ten states.
SCORED = 5


def run_task(
    task: BatchTask, folder: str, threads: int, device: str, before: TaskResult | None
) -> tuple[TaskResult, bool]:
    """Fit one trajectory, with `threads` threads, and score it; its row, and whether anything had to be done.

    before: its row of an earlier run. The row of a trajectory that fails says why.
    """
    # The limit of torch's threads here, and of PyMOL's workers.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from ..results import dsr_file
    from ..results.dsr_file import CheckpointError

    target = Path(folder) / f"{task.name}.dsr"
    try:
        if before is not None and before.belongs_to(task) and _is_newer(target, task):
            try:
                dsr_file.from_bytes(target.read_bytes(), "cpu")
            except CheckpointError:
                # Damaged since: it is made again.
                pass
            else:
                return before, False
        with ScratchFolder() as scratch:
            return _fitted(task, target, threads, _device(device), scratch), True
    except (ValueError, OSError, MemoryError, RuntimeError, CheckpointError) as error:
        return TaskResult(**asdict(task), failed=" ".join(str(error).split()) or type(error).__name__), True


def _is_newer(target: Path, task: BatchTask) -> bool:
    """Whether there is a fit that was written after the files of its trajectory."""
    inputs = [Path(name) for name in (task.input, task.trajectory) if name]
    return target.is_file() and all(target.stat().st_mtime >= path.stat().st_mtime for path in inputs)


def _device(name: str) -> str:
    """Return the device of this worker: one GPU each where there are several and `auto` is asked for."""
    import torch

    if name != "auto" or torch.cuda.device_count() < 2:
        return name
    from distributed import get_worker

    number = get_worker().name
    # A cluster gives its jobs their GPUs, and names them otherwise.
    return f"cuda:{number % torch.cuda.device_count()}" if isinstance(number, int) else name


def _fitted(task: BatchTask, target: Path, threads: int, device: str, scratch: Path) -> TaskResult:
    """Fit a trajectory, write the fit to `target` and score it; return its row."""
    started, spent = time.perf_counter(), sum(os.times()[:4])
    path, warnings = _surfaces_of(task, threads, scratch)
    chosen, held_out = _opened(path, task)
    with_surfaces = time.perf_counter()
    fitted = _fit(chosen, task.preset, device, target)
    fit_end = time.perf_counter()
    scored = evenly_spaced(range(len(chosen)), SCORED)
    iou_fitted, nc_fitted = _score(fitted, [chosen[k] for k in scored])
    iou_held_out, nc_held_out = _score(fitted, held_out)
    return TaskResult(
        **asdict(task),
        fitted=len(chosen),
        scored=len(scored) + len(held_out),
        atoms=fitted.report["atoms"],
        area=round(float(fitted.report.get("area", np.nan)), 1),
        surfaces_seconds=round(with_surfaces - started, 2) if task.input != str(path) else "",
        seconds=round(fit_end - with_surfaces, 2),
        score_seconds=round(time.perf_counter() - fit_end, 2),
        cpu_seconds=round(sum(os.times()[:4]) - spent, 2),
        iou_fitted=iou_fitted,
        nc_fitted=nc_fitted,
        iou_held_out=iou_held_out,
        nc_held_out=nc_held_out,
        mb=round(target.stat().st_size / 1e6, 3),
        threads=fitted.report["threads"],
        device=fitted.report["device"],
        warnings="; ".join(warnings),
    )


def _surfaces_of(task: BatchTask, threads: int, scratch: Path) -> tuple[Path, list[str]]:
    """Return the task's surfaces file, made in `scratch` from a topology, and the warnings of its making."""
    if is_surfaces_path(task.input):
        return Path(task.input), []
    path = scratch / "surfaces.safetensors"
    warnings: list[str] = []
    states_text = f"{task.states}+{task.evaluate}" if task.evaluate else task.states
    from_pymol.make_surfaces(
        from_pymol.pymol_python(),
        [Path(name) for name in (task.input, task.trajectory) if name],
        path,
        from_pymol.SurfaceRequest(
            states_text, task.selection, threads, unwrap=bool(int(task.unwrap)), remedies="manifest"
        ),
        lambda text, stays: warnings.append(text.removeprefix("dsr-backend: warning: ")) if stays else None,
    )
    return path, warnings


def _opened(path: Path, task: BatchTask) -> tuple[SurfaceFile, SurfaceFile]:
    """Return the surfaces to fit, and the held-out ones. Raises ValueError."""
    from ..surfaces.surface import SurfacesError
    from ..surfaces.surfaces_file import SurfaceFile, chosen_states

    try:
        known = SurfaceFile(path).states
        chosen = chosen_states(known, task.states, task.input)
        held_out = chosen_states(known, task.evaluate, task.input) if task.evaluate else []
        return SurfaceFile(path, chosen), SurfaceFile(path, held_out)
    except SurfacesError as error:
        raise ValueError(str(error)) from error


def _fit(chosen: SurfaceFile, preset: str, device: str, target: Path) -> Field:
    """Fit surfaces, and write the fit, which names the molecule that they are of."""
    from ..fitting import run
    from ..results import dsr_file

    fitted = run.fit_trajectory(chosen, FitOptions(preset=preset, device=device))
    source = chosen.meta.get("source")
    fitted.report["source"] = source if isinstance(source, dict) else {}
    dsr_file.save(fitted, target)
    return fitted


def _score(fitted: Field, truth: Sequence[Surface]) -> tuple[float | str, float | str]:
    """Return mean IoU and NC of the field's meshes at the states of `truth`; empty without states."""
    from ..geometry.metrics import GroundTruth
    from ..results import mesh

    scores = []
    for true in truth:
        extracted = mesh.extract_mesh(fitted, true.state)
        reference = GroundTruth(true.points, true.normals, true.faces, fitted.frame)
        scores.append(reference.score(extracted.points, extracted.normals, extracted.faces))
    if not scores:
        return "", ""
    return round(float(np.mean([s.iou for s in scores])), 4), round(float(np.mean([s.nc for s in scores])), 4)
