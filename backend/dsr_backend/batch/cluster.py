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


# What the jobs of a cluster share, and their logs.
SHARED = ".dask"
HOW_JOBS_ARE = "--workers, --cores, --memory and ~/.config/dask/jobqueue.yaml (queue, account)"


# Between two tables that are written.
SECONDS = 2.0
# Between two looks at the jobs of a cluster.
LOOK_SECONDS = 5.0
# Until a job that the queue refused is asked for again.
AGAIN_SECONDS = 60.0


@contextmanager
def cluster_client(
    workers: int, threads: int, options: BatchOptions, folder: Path, say: Callable[[str], None]
) -> Iterator[Any]:
    """Return a Dask client with `workers` processes, each of which has one of the resource `fit`."""
    import dask
    from distributed import Client, LocalCluster, Security

    # Its processes take orders from whoever reaches their ports: from those alone that have this run's certificate.
    security = Security.temporary()
    # Not what a user has set for other work: nothing is written aside, no process ended for its memory.
    with dask.config.set({"distributed.worker.memory.terminate": False}), ExitStack() as stack:
        cluster = options.cluster
        if not cluster:
            with _not_for_children(signal.SIGINT):
                made: Any = LocalCluster(
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
            made = _on_cluster(cluster, threads, options.memory, folder, security, refused)
        stack.callback(made.close, timeout=10)
        if cluster:
            made.scale(jobs=workers)
            # Until all are handed in, or refused.
            made.sync(lambda: made)
            if len(refused) == workers:
                raise RequestError("bad-request", f"{cluster} takes no such jobs: {refused[0][1]}; see {HOW_JOBS_ARE}")
            stack.enter_context(_watched(made, cluster, workers, folder / SHARED, refused, say))
        yield stack.enter_context(Client(made, security=security))


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
    """Queue, account and the like are of the user's Dask configuration, ~/.config/dask/jobqueue.yaml."""
    before = signal.getsignal(signal.SIGINT)
    import dask_jobqueue

    # Since its import, Ctrl-C ends a process as if it had done its work.
    signal.signal(signal.SIGINT, before)
    shared = folder / SHARED
    shared.mkdir(exist_ok=True)
    made = getattr(dask_jobqueue, CLUSTERS[cluster])
    try:
        return made(
            job_cls=_telling(made.job_cls, refused),
            cores=cores,
            processes=1,
            memory=memory,
            security=security,
            shared_temp_directory=str(shared.absolute()),
            log_directory=str(shared.absolute()),
            worker_extra_args=["--resources", "fit=1"],
            job_script_prologue=[f"export OMP_NUM_THREADS={cores}", "export OMP_WAIT_POLICY=PASSIVE"],
        )
    except (OSError, RuntimeError) as error:
        raise RequestError("internal", f"{cluster}: no jobs can be started: {error}") from error


def _telling(of: type[Any], refused: list[tuple[str, str]]) -> type[Any]:
    """Return the class of jobs of a cluster, which puts jobs that the queue refuses, and its words, into `refused`.

    Dask would print a traceback for each, and wait for them.
    """
    from distributed.deploy.spec import ProcessInterface

    class Job(of):
        async def start(self) -> None:
            try:
                await super().start()
            except (OSError, RuntimeError) as error:
                _, _, said = str(error).partition("stderr:")
                refused.append((self.name, "; ".join((said.strip() or str(error)).splitlines())))
                await ProcessInterface.start(self)

    return Job


@contextmanager
def _watched(
    made: Any,
    cluster: str,
    workers: int,
    shared: Path,
    refused: list[tuple[str, str]],
    say: Callable[[str], None],
) -> Iterator[None]:
    """Meanwhile jobs that were ended while they ran, or refused, are asked for again, and it is said how many run."""
    over = threading.Event()

    def watch() -> None:
        told, causes, asked = -1, set[str](), time.monotonic()
        while not over.wait(LOOK_SECONDS):
            for _, cause in refused:
                if cause not in causes:
                    causes.add(cause)
                    say(f"{cluster} takes no further job for now: {cause}")
            if time.monotonic() - asked >= AGAIN_SECONDS:
                asked = time.monotonic()
                while refused:
                    # Dask takes it for one that runs.
                    made.loop.add_callback(made.workers.pop, refused.pop()[0], None)
            made.scale(jobs=workers)
            running = len(made.scheduler_info["workers"])
            if running != told:
                told = running
                others = f"; the others wait in the queue (squeue or qstat), or ended: see the logs in {shared}"
                say(f"{running} of {workers} jobs of {cluster} run{others if running < workers else ''}")

    thread = threading.Thread(target=watch, name="dsr-jobs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
