"""Dask workers here or on a cluster."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pymol_dsr.shared.options import BatchOptions
from pymol_dsr.shared.scratch import ScratchFolder

from ..runtime.errors import RequestError

CLUSTERS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster"}

# Files that the jobs of a cluster have in common, and their logs.
COMMON_FOLDER = ".dask"
JOB_SETTINGS = "--workers, --cores, --memory and ~/.config/dask/jobqueue.yaml (queue, account)"
# Between two counts of the jobs of a cluster.
POLL_SECONDS = 5.0
# Until a job that the queue refused is submitted again.
RETRY_SECONDS = 60.0


@contextmanager
def cluster_client(
    workers: int, threads: int, options: BatchOptions, folder: Path, say: Callable[[str], None]
) -> Iterator[Any]:
    """Return a Dask client with `workers` processes, each of which has one of the resource `fit`."""
    import dask
    from distributed import Client, LocalCluster, Security

    # Its processes take orders from whoever reaches their ports: from those alone that have this run's certificate.
    security = Security.temporary()
    # Whatever a user has set for other work: no process is ended for its memory.
    with dask.config.set({"distributed.worker.memory.terminate": False}), ExitStack() as stack:
        cluster = options.cluster
        if not cluster:
            with _not_for_children(signal.SIGINT):
                jobs: Any = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=0,
                    resources={"fit": 1},
                    dashboard_address=None,
                    security=security,
                    env={"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
                    silence_logs="CRITICAL",
                    local_directory=str(stack.enter_context(ScratchFolder())),
                )
        else:
            refused: list[tuple[str, str]] = []
            jobs = _on_cluster(cluster, threads, options.memory, folder, security, refused)
        stack.callback(jobs.close, timeout=10)
        if cluster:
            jobs.scale(jobs=workers)
            # Until all are handed in, or refused.
            jobs.sync(lambda: jobs)
            if len(refused) == workers:
                raise RequestError("bad-request", f"{cluster} takes no such jobs: {refused[0][1]}; see {JOB_SETTINGS}")
            stack.enter_context(_watched(jobs, cluster, workers, folder / COMMON_FOLDER, refused, say))
        yield stack.enter_context(Client(jobs, security=security))


@contextmanager
def _not_for_children(number: signal.Signals) -> Iterator[None]:
    """Let processes that are started within ignore a signal.

    A terminal sends it to them, too, and this one ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def _on_cluster(
    cluster: str, cores: int, memory: str, folder: Path, security: Any, refused: list[tuple[str, str]]
) -> Any:
    """Return the cluster; queue and account are those of the user's Dask configuration."""
    before = signal.getsignal(signal.SIGINT)
    import dask_jobqueue

    # Since its import, Ctrl-C ends a process as if it had done its work.
    signal.signal(signal.SIGINT, before)
    common = folder / COMMON_FOLDER
    common.mkdir(exist_ok=True)
    kind = getattr(dask_jobqueue, CLUSTERS[cluster])
    try:
        return kind(
            job_cls=_with_refusals(kind.job_cls, refused),
            cores=cores,
            processes=1,
            memory=memory,
            security=security,
            shared_temp_directory=str(common.absolute()),
            log_directory=str(common.absolute()),
            worker_extra_args=["--resources", "fit=1"],
            job_script_prologue=[f"export OMP_NUM_THREADS={cores}", "export OMP_WAIT_POLICY=PASSIVE"],
        )
    except (OSError, RuntimeError) as error:
        raise RequestError("internal", f"{cluster}: no jobs can be started: {error}") from error


def _with_refusals(kind: type[Any], refused: list[tuple[str, str]]) -> type[Any]:
    """Return the class of jobs of a cluster, which puts jobs that the queue refuses, and its words, into `refused`.

    Dask would print a traceback for each, and wait for them.
    """
    from distributed.deploy.spec import ProcessInterface

    class Job(kind):
        async def start(self) -> None:
            try:
                await super().start()
            except (OSError, RuntimeError) as error:
                _, _, errors = str(error).partition("stderr:")
                refused.append((self.name, "; ".join((errors.strip() or str(error)).splitlines())))
                await ProcessInterface.start(self)

    return Job


@contextmanager
def _watched(
    jobs: Any,
    cluster: str,
    workers: int,
    logs: Path,
    refused: list[tuple[str, str]],
    say: Callable[[str], None],
) -> Iterator[None]:
    """Submit jobs again meanwhile that were ended while they ran, or refused, and say how many run."""
    over = threading.Event()

    def watch() -> None:
        reported, causes, submitted = -1, set[str](), time.monotonic()
        while not over.wait(POLL_SECONDS):
            for _, cause in refused:
                if cause not in causes:
                    causes.add(cause)
                    say(f"{cluster} takes no further job for now: {cause}")
            if time.monotonic() - submitted >= RETRY_SECONDS:
                submitted = time.monotonic()
                while refused:
                    # Dask takes it for one that runs.
                    jobs.loop.add_callback(jobs.workers.pop, refused.pop()[0], None)
            jobs.scale(jobs=workers)
            running = len(jobs.scheduler_info["workers"])
            if running != reported:
                reported = running
                waiting = f"; the others wait in the queue (squeue or qstat), or ended: see the logs in {logs}"
                say(f"{running} of {workers} jobs of {cluster} run{waiting if running < workers else ''}")

    thread = threading.Thread(target=watch, name="dsr-jobs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
