"""Runs surface workers side by side and yields the surfaces in the order of states."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..shared import frames
from ..shared.frames import ProtocolError
from .extract import ExtractError, Source, Surface


def surfaces(source: Source, workers: int = 0, cancelled: Callable[[], bool] = lambda: False) -> Iterator[Surface]:
    """PyMOL's surfaces of the states of `source`, as they are made, in any order. See
    surfaces_of_coordinates.
    """
    # One after another as workers ask for them: a trajectory is read so, and never held.
    frames = ((float(state), source.coordinates[state]) for state in source.states)
    return _surfaces_in_order(source, frames, len(source.states), workers, cancelled)


def surfaces_of_coordinates(
    source: Source,
    frames: Sequence[tuple[float, np.ndarray]],
    workers: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Surface]:
    """PyMOL's surfaces of the source's atoms at other places: frames are (time, f4[A,3]).

    workers: processes at once; 0 for as many as there are cores, at most 8. Closing the generator or a true
    cancelled() ends the processes; cancelled ends the iteration early, without an error.
    Raises ExtractError when a worker fails, with the state.
    """
    for time, xyz in frames:
        if xyz.shape != (len(source.atoms), 3):
            raise ExtractError(
                f"coordinates at {time} have the shape {xyz.shape}; {(len(source.atoms), 3)} is expected"
            )
    return _surfaces_in_order(source, iter(frames), len(frames), workers, cancelled)


class PendingStates:
    """Frames for several threads, each of which takes the next one."""

    def __init__(self, frames: Iterator[tuple[float, np.ndarray]]) -> None:
        self._frames, self._lock = frames, threading.Lock()

    def take(self) -> tuple[float, np.ndarray] | None:
        with self._lock:
            return next(self._frames, None)


def _surfaces_in_order(
    source: Source,
    frames: Iterator[tuple[float, np.ndarray]],
    total: int,
    workers: int,
    cancelled: Callable[[], bool],
) -> Iterator[Surface]:
    """See surfaces_of_coordinates; total: how many frames there are."""
    count = min(workers or min(_cores(), 8), total)
    todo = PendingStates(frames)
    # Bounded, so that a slow reader holds the workers back instead of filling the memory.
    done: queue.Queue[Surface | ExtractError] = queue.Queue(maxsize=2 * count)
    stop = threading.Event()
    crew: list[SurfaceWorker] = []
    threads: list[threading.Thread] = []
    try:
        for _ in range(count):
            worker = SurfaceWorker(source)
            crew.append(worker)
            threads.append(threading.Thread(target=worker.run, args=(todo, done, stop), daemon=True))
            threads[-1].start()
        for _ in range(total):
            while True:
                if cancelled():
                    return
                try:
                    result = done.get(timeout=0.1)
                    break
                except queue.Empty:
                    continue
            if isinstance(result, ExtractError):
                raise result
            yield result
    finally:
        stop.set()
        for worker in crew:
            worker.process.kill()
        # Their pipes end with the processes, so the threads do too; only then may the pipes be closed.
        for thread in threads:
            thread.join()
        for worker in crew:
            worker.close()


def smoothed(source: Source, frames: np.ndarray) -> np.ndarray:
    """What PyMOL's `smooth` makes of a trajectory f4[S,A,3] of the source's atoms. Raises ExtractError."""
    worker = SurfaceWorker(source)
    try:
        worker.open()
        _, arrays = worker.ask("smooth", {}, {"atoms": np.ascontiguousarray(frames, np.float32)})
    except (OSError, EOFError, ProtocolError) as error:
        raise ExtractError(f"PyMOL's smooth of {len(frames)} states failed: {worker.last_words() or error}") from error
    finally:
        worker.process.kill()
        worker.close()
    return arrays["atoms"]


class SurfaceWorker:
    """One surface_worker.py process and the loop that feeds it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "surface_worker.py")
        # The window's own search path: PyMOL may have been started by a wrapper that set it up.
        env = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p), OMP_NUM_THREADS="1")
        try:
            self.process = subprocess.Popen(
                [python_executable(), script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.stderr,
                env=env,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            self.stderr.close()
            raise ExtractError(f"the surface worker can't be started: {error}") from error

    def run(
        self,
        todo: PendingStates,
        done: queue.Queue[Surface | ExtractError],
        stop: threading.Event,
    ) -> None:
        source = self.source
        time: float | None = None
        try:
            self.open()
            while not stop.is_set():
                frame = todo.take()
                if frame is None:
                    return
                time, xyz = frame
                result, arrays = self.ask("surface", {"key": time}, {"atoms": xyz})
                if not len(arrays["faces"]):
                    raise ExtractError(
                        f"state {time:g}: PyMOL's surface of {source.selection} has no triangles; "
                        "look at it with 'show surface' and check the surface settings"
                    )
                if not (np.isfinite(arrays["points"]).all() and np.isfinite(arrays["normals"]).all()):
                    raise ExtractError(
                        f"state {time:g}: PyMOL's surface of {source.selection} has points that are "
                        "not numbers; a higher solvent_radius or surface_quality may help"
                    )
                made = Surface(time, arrays["points"], arrays["normals"], arrays["faces"], xyz, result["route"])
                _put(done, made, stop)
        except ExtractError as error:
            _put(done, error, stop)
        except (OSError, EOFError, ProtocolError) as error:
            where = "before its first state" if time is None else f"at state {time:g}"
            code = self.process.wait()
            _put(
                done,
                ExtractError(f"PyMOL's surface worker ended {where} (exit code {code}): {self.last_words() or error}"),
                stop,
            )

    def open(self) -> None:
        """Hand the object over."""
        self.ask(
            "session",
            {"object": self.source.object, "settings": self.source.settings, "route": "cache"},
            {"session": np.frombuffer(self.source.session, np.uint8), "atoms": self.source.atoms},
        )

    def ask(
        self, method: str, params: dict[str, Any], arrays: dict[str, np.ndarray]
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        assert isinstance(self.process.stdin, io.BufferedWriter)
        frames.write_frame(self.process.stdin, {"kind": "request", "id": 1, "method": method, "params": params}, arrays)
        assert isinstance(self.process.stdout, io.BufferedReader)
        frame = frames.read_frame(self.process.stdout)
        if frame is None:
            raise EOFError("it closed its output")
        header, out = frame
        if header["kind"] == "error":
            raise ExtractError(f"PyMOL's {method} failed: {header['message']}")
        return header["result"], out

    def last_words(self) -> str:
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def close(self) -> None:
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            # Half a frame may still be in the buffer, and nobody is there to read it.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self.stderr.close()


def python_executable() -> str:
    """The Python that runs this PyMOL; bundled builds may report the window's program instead."""
    if os.path.basename(sys.executable or "").lower().startswith("python"):
        return sys.executable
    for path in (os.path.join(sys.prefix, "bin", "python3"), os.path.join(sys.prefix, "python.exe")):
        if os.path.exists(path):
            return path
    raise ExtractError(f"no Python interpreter was found beside PyMOL in {sys.prefix}")


def _put(done: queue.Queue[Surface | ExtractError], item: Surface | ExtractError, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            done.put(item, timeout=0.1)
            return
        except queue.Full:
            continue


def _cores() -> int:
    # Fewer than the machine has when the process is bound to some, as under a scheduler.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
