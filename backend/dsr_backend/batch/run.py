"""Fits many trajectories, one fit each, in several processes or on a cluster, by Dask.

Fits are independent: each is one task of one process. Their results are rows of one table, summary.csv.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pymol_dsr.shared.cores import usable_cores
from pymol_dsr.shared.options import BatchOptions
from pymol_dsr.shared.surfaces_format import is_surfaces_path
from pymol_dsr.shared.text import counted

from ..surfaces import from_pymol
from .cluster import cluster_client
from .manifest import BatchTask
from .summary import SUMMARY, TaskResult, read_summary, write_summary
from .task import run_task

SUMMARY_SECONDS = 2.0
"""Between two writings of the summary."""


def run(
    tasks: Sequence[BatchTask],
    folder: Path,
    options: BatchOptions,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, TaskResult]:
    """Fit all tasks into `folder`, NAME.dsr each; return their rows by name, failed ones too.

    say: gets lines. Tasks that an earlier run has finished are left as they are. Raises ValueError where packages lack.
    """
    for package in ("distributed", "cryptography", *(["dask_jobqueue"] if options.cluster else [])):
        if importlib.util.find_spec(package) is None:
            requirement = "dask-jobqueue" if package == "dask_jobqueue" else "'pymol-dsr[batch]'"
            raise ValueError(f"a batch needs {package}: {sys.executable} -m pip install {requirement}")
    if not all(is_surfaces_path(task.input) for task in tasks):
        from_pymol.pymol_python()
    summary = folder / SUMMARY
    before = read_summary(summary)
    rows = {task.name: row for task in tasks if (row := before.get(task.name)) and row.belongs_to(task)}
    cores = usable_cores()
    workers = min(options.workers or (len(tasks) if options.cluster else cores), len(tasks))
    threads = options.cores if options.cluster else max(1, cores // workers)
    started = written = time.monotonic()
    trajectories = counted(len(tasks), "trajectory", "trajectories")
    say(f"{trajectories}, {workers} at once, {counted(threads, 'thread')} each")
    with cluster_client(workers, threads, options, folder, say) as client:
        from distributed import as_completed

        waiting = {
            _submitted(client, task, folder, threads, options.device, rows.get(task.name)): task for task in tasks
        }
        try:
            fits = 0
            for finished, future in enumerate(as_completed(waiting), 1):
                task = waiting[future]
                row, computed = _outcome(future, task)
                rows[task.name] = row
                fits += computed
                text = f"failed: {row.failed}" if row.failed else f"fitted in {row.seconds} s"
                left = (time.monotonic() - started) / fits * (len(tasks) - finished) if fits else 0.0
                say(
                    f"{finished} of {len(tasks)}: {task.name} {text if computed else 'is there already'}, "
                    f"{left:.0f} s left"
                )
                # Results stay with the scheduler as long as their futures do.
                del waiting[future]
                if time.monotonic() - written > SUMMARY_SECONDS:
                    write_summary(summary, rows, tasks)
                    written = time.monotonic()
        finally:
            write_summary(summary, rows, tasks)
    return rows


def _submitted(client: Any, task: BatchTask, folder: Path, threads: int, device: str, before: TaskResult | None) -> Any:
    """Return the future of a task; each worker takes one at a time, whatever threads it has."""
    return client.submit(
        run_task, task, str(folder.absolute()), threads, device, before, pure=False, resources={"fit": 1}
    )


def _outcome(future: Any, task: BatchTask) -> tuple[TaskResult, bool]:
    if future.status == "finished":
        result: tuple[TaskResult, bool] = future.result()
        return result
    error = future.exception()
    text = f"its process ended: {error}" if type(error).__name__ == "KilledWorker" else f"{error!r}"
    return TaskResult(**asdict(task), failed=" ".join(text.split())), True
