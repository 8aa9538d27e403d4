"""One trajectory from files to a scored fit."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pymol_dsr.shared import states
from pymol_dsr.shared.options import FitOptions
from pymol_dsr.shared.scratch import ScratchFolder
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
    job: BatchTask, folder: str, threads: int, device: str, before: TaskResult | None, seed: int = FitOptions.seed
) -> tuple[TaskResult, bool]:
    """Fit one trajectory, with `threads` threads, and score it; its row, and whether anything had to be done.

    before: its row of an earlier run. What fails is in the row.
    """
    # What limit_threads looks at; of PyMOL's workers, too.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from ..results import dsr_file
    from ..results.dsr_file import CheckpointError

    target = Path(folder) / f"{job.name}.dsr"
    try:
        if before is not None and before.of(job) and target.is_file():
            try:
                dsr_file.from_bytes(target.read_bytes(), "cpu")
            except CheckpointError:
                # Damaged since: it is made again.
                pass
            else:
                return before, False
        with ScratchFolder() as own:
            return _fitted(job, target, threads, _device(device), seed, own), True
    except (ValueError, OSError, MemoryError, RuntimeError, CheckpointError) as error:
        return TaskResult(**asdict(job), failed=" ".join(str(error).split()) or type(error).__name__), True


def _device(asked: str) -> str:
    """Return the device of this worker: one GPU each where there are several and `auto` is asked for."""
    import torch

    if asked != "auto" or torch.cuda.device_count() < 2:
        return asked
    from distributed import get_worker

    number = get_worker().name
    # A cluster gives its jobs their GPUs, and names them otherwise.
    return f"cuda:{number % torch.cuda.device_count()}" if isinstance(number, int) else asked


def _fitted(job: BatchTask, target: Path, threads: int, device: str, seed: int, own: Path) -> TaskResult:
    from ..fitting import run
    from ..results import dsr_file
    from ..surfaces.surface import SurfacesError
    from ..surfaces.surfaces_file import SurfaceFile

    began, spent = time.perf_counter(), sum(os.times()[:4])
    path: Path = Path(job.input)
    warnings: list[str] = []
    if not is_surfaces_path(path):
        given = [Path(part) for part in (job.input, job.trajectory) if part]
        path = own / "surfaces.safetensors"
        wanted = f"{job.states}+{job.evaluate}" if job.evaluate else job.states
        from_pymol.make_surfaces(
            from_pymol.pymol_python(),
            given,
            path,
            wanted,
            job.selection or None,
            threads,
            say=lambda text, stays: warnings.append(text.removeprefix("dsr-backend: warning: ")) if stays else None,
        )
    try:
        there = SurfaceFile(path)
        chosen = SurfaceFile(path, _pick(there, job.states, job.input))
        held_out = SurfaceFile(path, _pick(there, job.evaluate, job.input) if job.evaluate else [])
    except SurfacesError as error:
        raise ValueError(str(error)) from error
    made = time.perf_counter()
    fitted = run.fit_trajectory(chosen, FitOptions(preset=job.preset, device=device, seed=seed))
    source = there.meta.get("source")
    fitted.report["source"] = source if isinstance(source, dict) else {}
    dsr_file.save(fitted, target)
    done = time.perf_counter()
    some = sorted({round(k) for k in np.linspace(0, len(chosen) - 1, SCORED)})
    known, predicted = _score(fitted, [chosen[k] for k in some]), _score(fitted, held_out)
    return TaskResult(
        **asdict(job),
        fitted=len(chosen),
        scored=len(some) + len(held_out),
        atoms=fitted.report["atoms"],
        area=round(float(fitted.report.get("area", np.nan)), 1),
        surfaces_seconds=round(made - began, 2) if job.input != str(path) else "",
        seconds=round(done - made, 2),
        score_seconds=round(time.perf_counter() - done, 2),
        cpu_seconds=round(sum(os.times()[:4]) - spent, 2),
        iou_fitted=known[0],
        nc_fitted=known[1],
        iou_held_out=predicted[0],
        nc_held_out=predicted[1],
        mb=round(target.stat().st_size / 1e6, 3),
        threads=fitted.report["threads"],
        device=fitted.report["device"],
        warnings="; ".join(warnings),
    )


def _pick(there: SurfaceFile, text: str, path: str) -> list[float]:
    """Parse a states text. Raises ValueError for a state that is not in the file."""
    if text.lower() == "all":
        return there.states
    wanted = sorted(float(state) for state in states.parse(text))
    if missing := sorted(set(wanted) - set(there.states)):
        raise ValueError(f"states {text}: {path} holds the states {states.format(there.states)}, not {missing[0]:g}")
    return wanted


def _score(fitted: Field, truth: Sequence[Surface]) -> tuple[float | str, float | str]:
    """Return mean IoU and NC of the field's meshes at the states of `truth`; empty without states."""
    from ..geometry.metrics import GroundTruth
    from ..results import mesh

    scores = []
    for true in truth:
        made = mesh.extract_mesh(fitted, true.state)
        reference = GroundTruth(true.points, true.normals, true.faces, fitted.frame)
        scores.append(reference.score(made.points, made.normals, made.faces))
    if not scores:
        return "", ""
    return round(float(np.mean([s.iou for s in scores])), 4), round(float(np.mean([s.nc for s in scores])), 4)
