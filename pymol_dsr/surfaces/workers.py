"""Computes surfaces in worker processes, several states at once."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np

from ..shared import frames
from ..shared.cores import usable_cores
from ..shared.frames import Arrays, ProtocolError
from ..shared.mesh import Mesh
from .source import Coordinates, ExtractError, Source, Surface
from .sphere_volume import sphere_volume

MOST_WORKERS = 8
# Surfaces that wait for the reader, per worker.
QUEUED_SURFACES = 2
# Fraction of open edges from which on a surface has no certain inside. PyMOL's usual ones have none.
MOST_OPEN_EDGES = 0.01
# Fraction of the volume of its atoms' spheres below which a surface does not enclose them. PyMOL's usual surfaces have
# 0.85 (single atoms) to 1.5.
LEAST_FILLING = 0.75
# Å; around larger spheres alone, as coarse-grained beads are, PyMOL makes no triangles with a small solvent_radius.
LARGE_RADIUS = 2.5
# Seconds for a worker that has closed its pipe to end by itself.
ENDING_SECONDS = 5.0
# Seconds between two looks at whether the user has cancelled.
POLL_SECONDS = 0.1

# Time (states from 1, fractions allowed) and atoms f4[A,3] in Å.
TimedCoordinates = tuple[float, Coordinates]
Result = Surface | Exception


class WorkerLost(ExtractError):
    """A worker process that has ended. timed: the coordinates that it had taken, if any."""

    def __init__(self, message: str, timed: TimedCoordinates | None) -> None:
        super().__init__(message)
        self.timed = timed


def compute_surfaces(
    source: Source, workers: int = 0, cancelled: Callable[[], bool] = lambda: False
) -> Generator[Surface, None, None]:
    """Yield PyMOL's surface of each state of `source`, in any order. See compute_surfaces_at."""
    # One after another as workers ask for them: a trajectory is read so, and never held.
    coordinates = ((float(state), source.coordinates[state]) for state in source.states)
    return _run_workers(source, coordinates, len(source.states), workers, cancelled)


def compute_surfaces_at(
    source: Source,
    coordinates: Sequence[TimedCoordinates],
    workers: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
) -> Generator[Surface, None, None]:
    """Yield PyMOL's surface of the source's atoms at each of the (time, f4[A,3]), in any order.

    workers: processes at once; 0 for as many as there are cores, at most 8. Closing the generator or a true
    cancelled() ends the processes; cancelled ends the iteration early, without an error. The first surface with many
    open edges adds a line to source.warnings, and so does a worker that ends, in whose place another one starts, once.
    A worker that is stopped is named in a line that is printed.
    Raises ExtractError when a worker fails, with the state, and for a surface whose volume is not positive.
    """
    shape = (len(source.atoms), 3)
    for time, xyz in coordinates:
        if xyz.shape != shape:
            raise ExtractError(f"coordinates at {time} have the shape {xyz.shape}; {shape} is expected")
    return _run_workers(source, iter(coordinates), len(coordinates), workers, cancelled)


def smooth_coordinates(source: Source, coordinates: Coordinates) -> Coordinates:
    """Apply PyMOL's `smooth` to a trajectory f4[S,A,3] of the source's atoms. Raises ExtractError."""
    worker = SurfaceWorker(source)
    try:
        worker.open()
        _, arrays = worker.ask("smooth", {}, {"atoms": np.ascontiguousarray(coordinates, np.float32)})
    except (OSError, EOFError, ProtocolError) as error:
        reason = worker.last_error_line() or error
        raise ExtractError(f"PyMOL's smooth of {len(coordinates)} states failed: {reason}") from error
    finally:
        worker.process.kill()
        worker.close()
    return arrays["atoms"]


def python_executable() -> str:
    """Find the Python that runs this PyMOL; bundled builds may report the window's program instead."""
    if os.path.basename(sys.executable or "").lower().startswith("python"):
        return sys.executable
    for path in (os.path.join(sys.prefix, "bin", "python3"), os.path.join(sys.prefix, "python.exe")):
        if os.path.exists(path):
            return path
    raise ExtractError(f"no Python interpreter was found beside PyMOL in {sys.prefix}")


class CoordinateQueue:
    """Coordinates for several threads, each of which takes the next ones."""

    def __init__(self, coordinates: Iterator[TimedCoordinates]) -> None:
        self._coordinates, self._lock = coordinates, threading.Lock()

    def take(self) -> TimedCoordinates | None:
        """Return the next coordinates; None at the end."""
        with self._lock:
            return next(self._coordinates, None)

    def put_back(self, timed: TimedCoordinates) -> None:
        """Let the next worker take these again."""
        with self._lock:
            self._coordinates = itertools.chain([timed], self._coordinates)


class SurfaceWorker:
    """A worker process (see surface_worker.py) and the line to it."""

    def __init__(self, source: Source) -> None:
        self.source, self.stop_reported = source, False
        python = python_executable()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "start_worker.py")
        # The window's own search path: PyMOL may have been started by a wrapper that set it up.
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)), OMP_NUM_THREADS="1")
        try:
            self.process = subprocess.Popen(
                [python, script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=environment,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            self._stderr.close()
            raise ExtractError(f"the surface worker can't be started: {error}") from error

    def open(self) -> None:
        """Hand the object over."""
        self.ask(
            "session",
            {"object": self.source.object, "settings": self.source.settings, "route": "cache"},
            {"session": np.frombuffer(self.source.session, np.uint8), "atoms": self.source.atoms},
        )

    def run(self, coordinates: CoordinateQueue, results: queue.Queue[Result], stop: threading.Event) -> None:
        """Compute a surface of each of the coordinates that this worker takes; an error is the last result."""
        timed: TimedCoordinates | None = None
        try:
            self.open()
            while not stop.is_set():
                timed = coordinates.take()
                if timed is None:
                    return
                _put(results, self._surface(*timed), stop)
        except (OSError, EOFError, ProtocolError) as error:
            when = "before its first state" if timed is None else f"at state {timed[0]:g}"
            code = self._exit_code()
            reason = self.last_error_line() or error
            _put(results, WorkerLost(f"PyMOL's surface worker ended {when} (exit code {code}): {reason}", timed), stop)
        except Exception as error:
            # Not ExtractError alone: for a thread that has died in silence, the reader would wait without end.
            _put(results, error, stop)

    def _exit_code(self) -> int:
        """Return the exit code of a process whose pipe is closed; one that lives on is killed."""
        try:
            return self.process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def is_stopped(self) -> bool:
        """Whether a signal or a debugger has stopped the process; False where the system does not say."""
        if not hasattr(os, "waitid"):
            return False
        # Looked at only: the process itself still waits for its end to be asked for.
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
        return False

    def _surface(self, time: float, xyz: Coordinates) -> Surface:
        result, arrays = self.ask("surface", {}, {"atoms": xyz})
        mesh = Mesh.from_arrays(arrays)
        if not len(mesh.faces):
            radius = self.source.mean_radius()
            remedy = "surface_quality 0 and solvent_radius 1.4 may help"
            if radius > LARGE_RADIUS:
                remedy = f"solvent_radius {radius:.1f} may help, which is the mean van der Waals radius of its atoms"
            raise ExtractError(f"state {time:g}: PyMOL's surface of {self.source.selection} has no triangles; {remedy}")
        if not (np.isfinite(mesh.points).all() and np.isfinite(mesh.normals).all()):
            raise ExtractError(
                f"state {time:g}: PyMOL's surface of {self.source.selection} has points that are "
                "not numbers; a higher solvent_radius or surface_quality may help"
            )
        volume = mesh.signed_volume()
        if volume <= 0.0:
            raise ExtractError(
                f"state {time:g}: PyMOL's surface of {self.source.selection} encloses {volume:.0f} A^3 and has no "
                f"inside ({self.source.closing})"
            )
        return Surface(mesh.points, mesh.normals, mesh.faces, time, xyz, result["route"])

    def ask(self, method: str, params: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        """Send a request and wait for its result and arrays.

        Raises ExtractError where PyMOL fails, OSError, EOFError or ProtocolError where the process has ended.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        assert isinstance(stdin, io.BufferedWriter) and isinstance(stdout, io.BufferedReader)
        frames.write_frame(stdin, {"kind": "request", "id": 1, "method": method, "params": params}, arrays)
        frame = frames.read_frame(stdout)
        if frame is None:
            raise EOFError("it closed its output")
        header, out = frame
        if header["kind"] == "error":
            raise ExtractError(f"PyMOL's {method} failed: {header['message']}")
        return header["result"], out

    def last_error_line(self) -> str:
        """Return the last line that the process has written to stderr, or nothing."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def close(self) -> None:
        """Wait for the end of the process and close the pipes."""
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            # Half a frame may still be in the buffer, and its reader has ended.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._stderr.close()


def _run_workers(
    source: Source,
    coordinates: Iterator[TimedCoordinates],
    total: int,
    worker_count: int,
    cancelled: Callable[[], bool],
) -> Generator[Surface, None, None]:
    """Compute `total` surfaces; see compute_surfaces_at."""
    worker_count = min(worker_count or min(usable_cores(), MOST_WORKERS), total)
    pending = CoordinateQueue(coordinates)
    # Bounded, so that a slow reader holds the workers back instead of filling the memory.
    results: queue.Queue[Result] = queue.Queue(maxsize=QUEUED_SURFACES * worker_count)
    stop = threading.Event()
    workers: list[SurfaceWorker] = []
    threads: list[threading.Thread] = []
    opening_named = replaced = False

    def start_worker() -> None:
        workers.append(SurfaceWorker(source))
        threads.append(threading.Thread(target=workers[-1].run, args=(pending, results, stop), daemon=True))
        threads[-1].start()

    try:
        for _ in range(worker_count):
            start_worker()
        for number in range(total):
            result = _next_result(results, workers, cancelled)
            if isinstance(result, WorkerLost) and not replaced:
                replaced = True
                source.warnings.append(f"{result}; another one goes on")
                if result.timed is not None:
                    pending.put_back(result.timed)
                start_worker()
                result = _next_result(results, workers, cancelled)
            if result is None:
                return
            if isinstance(result, Exception):
                raise result
            if not opening_named and (fault := _opening(source, result, is_first=number == 0)):
                opening_named = True
                source.warnings.append(
                    f"state {result.state:g}: {fault}, so that its inside is uncertain ({source.closing})"
                )
            yield result
    finally:
        stop.set()
        for worker in workers:
            worker.process.kill()
        # Their pipes end with the processes, so the threads do too; only then may the pipes be closed.
        for thread in threads:
            thread.join()
        for worker in workers:
            worker.close()


def _opening(source: Source, surface: Surface, *, is_first: bool) -> str:
    """Say that a surface is open or does not enclose its atoms; empty for one that does.

    The volume of the atoms' spheres takes up to a second, and is that of the first surface alone.
    """
    fraction = surface.open_edges()
    if fraction > MOST_OPEN_EDGES:
        return f"{100 * fraction:.0f} % of the edges of PyMOL's surface of {source.selection} are open"
    if is_first:
        volume, spheres = surface.signed_volume(), sphere_volume(surface.atoms, source.radii)
        if volume < LEAST_FILLING * spheres:
            percentage = 100.0 * volume / spheres
            return (
                f"PyMOL's surface of {source.selection} encloses {percentage:.0f} % of the volume of its atoms' spheres"
            )
    return ""


def _next_result(
    results: queue.Queue[Result], workers: Sequence[SurfaceWorker], cancelled: Callable[[], bool]
) -> Result | None:
    """Wait for the next result, and name workers that are stopped meanwhile; None when cancelled."""
    while not cancelled():
        with contextlib.suppress(queue.Empty):
            return results.get(timeout=POLL_SECONDS)
        for worker in workers:
            if not worker.stop_reported and worker.is_stopped():
                worker.stop_reported = True
                pid = worker.process.pid
                print(
                    f" dsr: PyMOL's surface worker {pid} is stopped by a signal or a debugger, and is waited for: "
                    f"'kill -CONT {pid}' lets it go on, dsr_cancel ends the fit"
                )
    return None


def _put(results: queue.Queue[Result], result: Result, stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(queue.Full):
            results.put(result, timeout=POLL_SECONDS)
            return
