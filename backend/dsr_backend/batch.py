"""Many trajectories, one fit each, in several processes or on a cluster, by Dask.

A fit needs no other, so each is one task of one process; what has to be known of them all is one table, summary.csv.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import extraction, states, storage
from .config import PRESETS, FitConfig
from .errors import RequestError
from .names import RULE, is_name

if TYPE_CHECKING:
    from .field import Field
    from .surfaces import Stored, Surface

__all__ = ["CLUSTERS", "Job", "Row", "read_manifest", "run"]

CLUSTERS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster"}
SUMMARY = "summary.csv"
# What the jobs of a cluster share, and their logs.
SHARED = ".dask"
HOW_JOBS_ARE = "--workers, --cores, --memory and ~/.config/dask/jobqueue.yaml (queue, account)"
# Fitted states that are scored, evenly chosen: a score takes as long as the fit of some ten states.
SCORED = 5
# Between two tables that are written.
SECONDS = 2.0
# Between two looks at the jobs of a cluster.
LOOK_SECONDS = 5.0
# Until a job that the queue refused is asked for again.
AGAIN_SECONDS = 60.0
# Å, of the meshes that are scored.
RESOLUTION = 0.5


@dataclass(frozen=True)
class Job:
    """A line of the manifest: what to fit under which name.

    input: a surfaces file, or a topology; trajectory, selection: with a topology; states: to fit; preset; evaluate:
    states held out, to score.
    """

    name: str
    input: str
    trajectory: str = ""
    selection: str = ""
    states: str = "all"
    preset: str = "fast"
    evaluate: str = ""


@dataclass(frozen=True)
class Row(Job):
    """A line of the table: the job, and what came of it; IoU and NC are means over states, empty where there are none.

    surfaces_seconds, seconds, score_seconds: for PyMOL's surfaces, the fit and the scores; cpu_seconds: of processors,
    for all of it; fitted, scored, atoms: how many; area: mean of the surfaces', Å²; mb: of the .dsr; threads and
    device: of the fit; failed: why, in a line.
    """

    fitted: int | str = ""
    scored: int | str = ""
    atoms: int | str = ""
    area: float | str = ""
    surfaces_seconds: float | str = ""
    seconds: float | str = ""
    score_seconds: float | str = ""
    cpu_seconds: float | str = ""
    iou_fitted: float | str = ""
    nc_fitted: float | str = ""
    iou_held_out: float | str = ""
    nc_held_out: float | str = ""
    mb: float | str = ""
    threads: int | str = ""
    device: str = ""
    failed: str = ""

    def of(self, job: Job) -> bool:
        """Whether it is what came of exactly this job, and it is done."""
        return not self.failed and all(str(getattr(self, f.name)) == getattr(job, f.name) for f in fields(Job))


# What is to do ------------------------------------------------------------------------------------------------


def read_manifest(path: Path) -> list[Job]:
    """The jobs of a .csv file with the columns of Job; paths in it are relative to its folder.

    Raises ValueError, naming the line, for what can't be fitted as written.
    """
    with open(path, newline="", encoding="utf-8-sig") as stream:
        table = csv.DictReader(stream)
        known = [field.name for field in fields(Job)]
        columns = table.fieldnames or []
        if not {"name", "input"} <= set(columns) or not set(columns) <= set(known):
            raise ValueError(
                f"{path}: its first line must name columns of {', '.join(known)}; it is {','.join(columns)}"
            )
        jobs: dict[str, Job] = {}
        for line, cells in enumerate(table, 2):
            where = f"{path}, line {line}"
            if None in cells or None in cells.values():
                raise ValueError(f"{where}: it has not {len(columns)} cells, as the first line")
            given = {key: cell.strip() for key, cell in cells.items() if cell.strip()}
            try:
                job = _checked(given, path.parent)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            if job.name in jobs:
                raise ValueError(f"{where}: there is a {job.name} before it")
            jobs[job.name] = job
    if not jobs:
        raise ValueError(f"{path}: there are no trajectories in it")
    return list(jobs.values())


def _checked(given: dict[str, str], folder: Path) -> Job:
    name = given.get("name", "")
    if not is_name(name):
        raise ValueError(f"a fit can't be named {name!r}: {RULE}")
    if "input" not in given:
        raise ValueError(f"{name} has no input")
    for key in ("input", "trajectory"):
        if key in given:
            path = folder / Path(given[key]).expanduser()
            if not path.is_file():
                raise ValueError(f"{given[key]}: there is no such file")
            given[key] = str(path.absolute())
    job = Job(**given)
    if job.input.lower().endswith(".npz") and (job.trajectory or job.selection):
        raise ValueError(f"{job.input} is a surfaces file: a trajectory or selection goes with a topology only")
    if job.preset not in PRESETS:
        raise ValueError(f"preset {job.preset!r} is not known; choose one of {', '.join(PRESETS)}")
    if job.states.lower() != "all":
        states.parse(job.states)
    elif job.evaluate:
        raise ValueError("states to evaluate are held out: name the states to fit, too")
    if job.evaluate and (both := set(states.parse(job.states)) & set(states.parse(job.evaluate))):
        raise ValueError(f"states {states.format(sorted(both))} are to be fitted and held out")
    return job


def _read_summary(path: Path) -> dict[str, Row]:
    """The rows of an earlier run, by name; what can't be understood is not there."""
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as stream:
        known = {field.name for field in fields(Row)}
        table = csv.DictReader(stream)
        if set(table.fieldnames or []) != known:
            return {}
        return {cells["name"]: Row(**cells) for cells in table if None not in cells and None not in cells.values()}


def _write_summary(path: Path, rows: Mapping[str, Row], jobs: Sequence[Job]) -> None:
    text = io.StringIO(newline="")
    out = csv.DictWriter(text, [field.name for field in fields(Row)])
    out.writeheader()
    out.writerows(asdict(rows[job.name]) for job in jobs if job.name in rows)
    storage.write(path, text.getvalue().encode())


# One of them, in a worker -------------------------------------------------------------------------------------


def work(job: Job, folder: str, threads: int, device: str, before: Row | None, seed: int = 0) -> tuple[Row, bool]:
    """Fit one trajectory, with `threads` threads, and score it; its row, and whether anything had to be done.

    before: its row of an earlier run. What fails is in the row.
    """
    # What limit_threads looks at; of PyMOL's workers, too.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from . import checkpoint

    target = Path(folder) / f"{job.name}.dsr"
    try:
        if before is not None and before.of(job) and target.is_file():
            try:
                checkpoint.from_bytes(target.read_bytes(), "cpu")
            except checkpoint.CheckpointError:
                # Damaged since: it is made again.
                pass
            else:
                return before, False
        with tempfile.TemporaryDirectory(prefix="dsr-", ignore_cleanup_errors=True) as own:
            return _fitted(job, target, threads, _device(device), seed, own), True
    except (ValueError, OSError, MemoryError, RuntimeError, checkpoint.CheckpointError) as error:
        return Row(**asdict(job), failed=" ".join(str(error).split()) or type(error).__name__), True


def _device(asked: str) -> str:
    """The GPU of this worker where there are several and any will do."""
    import torch

    if asked != "auto" or torch.cuda.device_count() < 2:
        return asked
    from distributed import get_worker

    number = get_worker().name
    # A cluster gives its jobs their GPUs, and names them otherwise.
    return f"cuda:{number % torch.cuda.device_count()}" if isinstance(number, int) else asked


def _fitted(job: Job, target: Path, threads: int, device: str, seed: int, own: str) -> Row:
    from . import checkpoint, surfaces, trainer

    began, spent = time.perf_counter(), sum(os.times()[:4])
    path: Path = Path(job.input)
    if path.suffix.lower() != ".npz":
        given = [Path(part) for part in (job.input, job.trajectory) if part]
        path = Path(own) / "surfaces.npz"
        wanted = f"{job.states}+{job.evaluate}" if job.evaluate else job.states
        extraction.make(extraction.pymol_python(), given, path, wanted, job.selection or None, threads)
    try:
        there = surfaces.Stored(path)
        chosen = surfaces.Stored(path, _pick(there, job.states, job.input))
        held_out = surfaces.Stored(path, _pick(there, job.evaluate, job.input) if job.evaluate else [])
    except surfaces.SurfacesError as error:
        raise ValueError(str(error)) from error
    made = time.perf_counter()
    fitted = trainer.fit(chosen, FitConfig(preset=job.preset, device=device, seed=seed))
    source = there.meta.get("source")
    fitted.report["source"] = source if isinstance(source, dict) else {}
    checkpoint.save(fitted, target)
    done = time.perf_counter()
    some = sorted({round(k) for k in np.linspace(0, len(chosen) - 1, SCORED)})
    known, predicted = _score(fitted, [chosen[k] for k in some]), _score(fitted, held_out)
    return Row(
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
    )


def _pick(there: Stored, text: str, path: str) -> list[float]:
    """The states of a states text; ValueError where one of them is not in the file."""
    if text.lower() == "all":
        return there.states
    wanted = sorted(float(state) for state in states.parse(text))
    if missing := sorted(set(wanted) - set(there.states)):
        raise ValueError(f"states {text}: {path} holds the states {states.format(there.states)}, not {missing[0]:g}")
    return wanted


def _score(fitted: Field, truth: Sequence[Surface]) -> tuple[float | str, float | str]:
    """Mean IoU and NC of the field's meshes at the states of `truth`; empty where there are none."""
    from . import mesher, metrics

    scores = []
    for true in truth:
        made = mesher.mesh(fitted, true.state, resolution=RESOLUTION)
        reference = metrics.Reference(true.points, true.normals, true.faces, fitted.frame)
        scores.append(reference.score(made.points, made.normals, made.faces))
    if not scores:
        return "", ""
    return round(float(np.mean([s.iou for s in scores])), 4), round(float(np.mean([s.nc for s in scores])), 4)


# All of them --------------------------------------------------------------------------------------------------


def run(
    jobs: Sequence[Job],
    folder: Path,
    workers: int = 0,
    cluster: str | None = None,
    cores: int = 1,
    memory: str = "8 GB",
    device: str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Row]:
    """Fit all jobs into `folder`, NAME.dsr each; the rows by name, those that failed too.

    workers: processes at once (0: as many as there are cores or jobs); cluster: None for this machine, where they share
    its cores, else of CLUSTERS, where each is a job with `cores` and `memory`; say: gets lines. What an earlier run has
    finished is not done again. Raises ValueError where packages lack.
    """
    for package in ("distributed", "cryptography", *(["dask_jobqueue"] if cluster else [])):
        if importlib.util.find_spec(package) is None:
            named = "dask-jobqueue" if package == "dask_jobqueue" else "'pymol-dsr[batch]'"
            raise ValueError(f"a batch needs {package}: {sys.executable} -m pip install {named}")
    if any(not job.input.lower().endswith(".npz") for job in jobs):
        extraction.pymol_python()
    summary = folder / SUMMARY
    before = _read_summary(summary)
    rows = {job.name: before[job.name] for job in jobs if job.name in before and before[job.name].of(job)}
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(workers or (allowed if cluster is None else len(jobs)), len(jobs))
    threads = max(1, allowed // workers) if cluster is None else cores
    began = written = time.monotonic()
    say(f"{len(jobs)} trajectories, {workers} at once, {threads} threads each")
    with _client(workers, threads, cluster, memory, folder, say) as client:
        from distributed import as_completed

        waiting = {
            # One at a time, whatever threads a worker has.
            client.submit(
                work, job, str(folder.absolute()), threads, device, rows.get(job.name), pure=False, resources={"fit": 1}
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
                    _write_summary(summary, rows, jobs)
                    written = time.monotonic()
        finally:
            _write_summary(summary, rows, jobs)
    return rows


def _outcome(future: Any, job: Job) -> tuple[Row, bool]:
    if future.status == "finished":
        found: tuple[Row, bool] = future.result()
        return found
    error = future.exception()
    text = f"its process ended: {error}" if type(error).__name__ == "KilledWorker" else f"{error!r}"
    return Row(**asdict(job), failed=" ".join(text.split())), True


@contextmanager
def _client(
    workers: int, threads: int, cluster: str | None, memory: str, folder: Path, say: Callable[[str], None]
) -> Iterator[Any]:
    """A Dask client with `workers` processes, each of which has one of the resource `fit`."""
    import dask
    from distributed import Client, LocalCluster, Security

    # Its processes take orders from whoever reaches their ports: from those alone that have this run's certificate.
    security = Security.temporary()
    # Not what a user has set for other work: nothing is written aside, no process ended for its memory.
    with dask.config.set({"distributed.worker.memory.terminate": False}), ExitStack() as stack:
        if cluster is None:
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
                    local_directory=stack.enter_context(tempfile.TemporaryDirectory(prefix="dsr-dask-")),
                )
        else:
            refused: list[tuple[str, str]] = []
            made = _on_cluster(cluster, threads, memory, folder, security, refused)
        stack.callback(made.close, timeout=10)
        if cluster is not None:
            made.scale(jobs=workers)
            # Until all are handed in, or refused.
            made.sync(lambda: made)
            if len(refused) == workers:
                raise RequestError("bad-request", f"{cluster} takes no such jobs: {refused[0][1]}; see {HOW_JOBS_ARE}")
            stack.enter_context(_watched(made, cluster, workers, folder / SHARED, refused, say))
        yield stack.enter_context(Client(made, security=security))


@contextmanager
def _not_for_children(number: signal.Signals) -> Iterator[None]:
    """Processes that are started within ignore that signal: a terminal sends it to them, too, and this one ends
    them."""
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
    """The class of jobs of a cluster, with the names of those that its queue refuses, and what it says, put into
    `refused`: Dask would print a traceback for each, and wait for them."""
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
