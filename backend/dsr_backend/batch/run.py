"""Fits many trajectories, one fit each, in several processes or on a cluster, by Dask.

Fits are independent: each is one task of one process. Their results are rows of one table, summary.csv.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pymol_dsr.shared.options import BatchOptions
from pymol_dsr.shared.surfaces_format import is_surfaces_path

from ..surfaces import from_pymol
from .cluster import SECONDS, cluster_client
from .manifest import BatchTask
from .summary import SUMMARY, TaskResult, read_summary, write_summary
from .task import run_task


def run(
    jobs: Sequence[BatchTask],
    folder: Path,
    options: BatchOptions,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, TaskResult]:
    """Fit all tasks into `folder`, NAME.dsr each; return their rows by name, failed ones too.

    say: gets lines. What an earlier run has finished is not done again. Raises ValueError where packages lack.
    """
    for package in ("distributed", "cryptography", *(["dask_jobqueue"] if options.cluster else [])):
        if importlib.util.find_spec(package) is None:
            named = "dask-jobqueue" if package == "dask_jobqueue" else "'pymol-dsr[batch]'"
            raise ValueError(f"a batch needs {package}: {sys.executable} -m pip install {named}")
    if not all(is_surfaces_path(job.input) for job in jobs):
        from_pymol.pymol_python()
    summary = folder / SUMMARY
    before = read_summary(summary)
    rows = {job.name: before[job.name] for job in jobs if job.name in before and before[job.name].of(job)}
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(options.workers or (len(jobs) if options.cluster else allowed), len(jobs))
    threads = options.cores if options.cluster else max(1, allowed // workers)
    began = written = time.monotonic()
    say(f"{len(jobs)} trajectories, {workers} at once, {threads} threads each")
    with cluster_client(workers, threads, options, folder, say) as client:
        from distributed import as_completed

        waiting = {
            # One at a time, whatever threads a worker has.
            client.submit(
                run_task,
                job,
                str(folder.absolute()),
                threads,
                options.device,
                rows.get(job.name),
                pure=False,
                resources={"fit": 1},
            ): job
            for job in jobs
        }
        try:
            anew = 0
            for done, future in enumerate(as_completed(waiting), 1):
                job = waiting[future]
                row, made = _outcome(future, job)
                rows[job.name] = row
                anew += made
                text = f"failed: {row.failed}" if row.failed else f"fitted in {row.seconds} s"
                left = (time.monotonic() - began) / anew * (len(jobs) - done) if anew else 0.0
                say(f"{done} of {len(jobs)}: {job.name} {text if made else 'is there already'}, {left:.0f} s left")
                # Results stay with the scheduler as long as their futures do.
                del waiting[future]
                if time.monotonic() - written > SECONDS:
                    write_summary(summary, rows, jobs)
                    written = time.monotonic()
        finally:
            write_summary(summary, rows, jobs)
    return rows


def _outcome(future: Any, job: BatchTask) -> tuple[TaskResult, bool]:
    if future.status == "finished":
        found: tuple[TaskResult, bool] = future.result()
        return found
    error = future.exception()
    text = f"its process ended: {error}" if type(error).__name__ == "KilledWorker" else f"{error!r}"
    return TaskResult(**asdict(job), failed=" ".join(text.split())), True
