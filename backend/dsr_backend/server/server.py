"""The server on stdin and stdout: a control lane that always answers, a worker lane that takes jobs in turn.

The reading thread answers control requests itself. A job has the worker lane and the main thread for itself, but those
that change nothing (meshes of a movie) run a few at a time, in threads of their own. Every request gets exactly one
reply, those that are cancelled while they wait or run too.
"""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NoReturn

from pymol_dsr.shared import messages
from pymol_dsr.shared.frames import PROTOCOL, Arrays, Header, ProtocolError, encode, read_frame
from pymol_dsr.shared.values import JsonObject
from pymol_dsr.shared.version import VERSION

from ..runtime.errors import RequestError
from ..runtime.packages import installed_packages
from .job import Job, Lane
from .replies import callers_fault, classify, error_line
from .worker import Worker

EXIT_SECONDS = 9.0  # after the plugin is gone; then the process ends whatever it does


class Server:
    """The two lanes of one connection: control requests are answered at once, work goes to the worker lane."""

    def __init__(self, requests: io.BufferedReader, replies: io.BufferedWriter, lane: Lane) -> None:
        self._requests = requests
        self._replies = replies
        self._lane = lane
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._stopping = False
        self._exit_code = 0
        self._greeted = threading.Event()
        self._writing = threading.Lock()
        self._broken = False
        self._packed = False

    def run(self) -> int:
        """Serve until shutdown or the end of stdin; returns the exit code."""
        threading.Thread(target=self._read, name="dsr-reader", daemon=True).start()
        # Loading torch's libraries holds the interpreter lock for a second: hello is answered before that.
        self._greeted.wait()
        if not self._stopping:
            self._prepare()
        at_once = self._lane.at_once
        with ThreadPoolExecutor(at_once, "dsr-job", self._enter) as threads:
            while (job := self._next(at_once)) is not None:
                if job.method in self._lane.together:
                    threads.submit(self._work, job)
                else:
                    self._work(job)
        return self._exit_code

    def stop(self, exit_code: int = 0) -> None:
        """Cancel everything.

        The process ends when the running job has, or after `EXIT_SECONDS` in any case.
        """
        with self._changed:
            if self._stopping:
                return
            self._stopping = True
            self._exit_code = exit_code
            waiting = list(self._waiting)
            self._waiting.clear()
            for job in self._running:
                job.cancel()
            # A thread in C, which needs no interpreter lock to end a process that is stuck in native code.
            faulthandler.dump_traceback_later(EXIT_SECONDS, exit=True)
            self._changed.notify_all()
        self._greeted.set()
        for job in waiting:
            self._send_error(job.id, "cancelled", "the backend is stopping")

    def _stop_without_plugin(self, exit_code: int) -> None:
        try:
            # Nobody reads stderr any more: a print would raise BrokenPipeError in the middle of a checkpoint.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            os.close(null)
        finally:
            self.stop(exit_code)

    # The worker lane

    def _prepare(self) -> None:
        try:
            self.send_event(self._lane.prepare())
        except Exception as exc:
            _print_where_read(traceback.print_exc)
            self.send_event(messages.Log(text=f"the backend can't compute: {error_line(exc)}; see dsr_doctor"))

    def _enter(self) -> None:
        try:
            self._lane.enter()
        except Exception:
            # A pool whose thread can't begin drops its jobs without a word; here their methods fail, and say so.
            _print_where_read(traceback.print_exc)

    def _next(self, at_once: int) -> Job | None:
        with self._changed:
            while not self._stopping and not self._may_begin(at_once):
                self._changed.wait()
            if self._stopping:
                return None
            job = self._waiting.popleft()
            self._running.append(job)
            return job

    def _may_begin(self, at_once: int) -> bool:
        """Whether the first of those that wait may."""
        if not self._waiting or not self._running:
            return bool(self._waiting)
        methods = [job.method for job in (self._waiting[0], *self._running)]
        return len(self._running) < at_once and all(method in self._lane.together for method in methods)

    def _work(self, job: Job) -> None:
        result: JsonObject = {}
        arrays: Arrays = {}
        failure: tuple[str, str] | None = None
        try:
            result, arrays = self._lane.methods[job.method](job)
        except (Exception, SystemExit) as exc:
            failure = classify(exc)
            if failure[0] in ("internal", "out-of-memory") or exc.__cause__ is not None:
                _print_where_read(traceback.print_exc)
        if failure is not None:
            # Only now: within the handler above, the exception held the frames and their tensors.
            self._lane.release()
        with self._changed:
            self._running.remove(job)
            self._changed.notify_all()
        if job.cancelled():
            # The plugin was told so; one answer holds.
            self._send_error(job.id, "cancelled", f"{job.method} was cancelled")
        elif failure is not None:
            self._send_error(job.id, *failure)
        else:
            self._send_reply(job.id, result, arrays)

    # The control lane, in the reading thread

    def _read(self) -> None:
        exit_code = 3
        try:
            while (frame := read_frame(self._requests)) is not None:
                header, arrays = frame
                self._dispatch(header, arrays)
            exit_code = 0
        except (ProtocolError, MemoryError, OSError) as exc:
            exit_code = 2
            line = f"dsr-backend: closing the connection: {error_line(exc)}"
            _print_where_read(lambda: print(line, file=sys.stderr, flush=True))
        except Exception:
            _print_where_read(traceback.print_exc)
        finally:
            # Whatever ended the reader: a process that reads no requests would stay for ever and lock its fits.
            self._stop_without_plugin(exit_code)

    def _dispatch(self, header: Header, arrays: Arrays) -> None:
        if header["kind"] != "request":
            raise ProtocolError(f"the plugin sent a frame of kind {header['kind']!r}, but it only asks")
        number, method, params = header["id"], header["method"], header["params"]
        kind = messages.REQUESTS.get(method)
        if method in self._lane.methods:
            self._queue(Job(number, method, params, arrays, self))
        elif kind is not None and kind.LANE is messages.Lane.CONTROL:
            try:
                with callers_fault():
                    request = messages.parse_request(method, params, arrays)
                result = self._control(request)
            except RequestError as exc:
                self._send_error(number, exc.code, str(exc))
            else:
                self._send_reply(number, *result.encode())
            if method == messages.Hello.METHOD:
                self._greeted.set()
            elif method == messages.Shutdown.METHOD:
                self.stop()
        else:
            control = [method for method, kind in messages.REQUESTS.items() if kind.LANE is messages.Lane.CONTROL]
            methods = [*control, *self._lane.methods]
            self._send_error(number, "bad-request", f"unknown method {method[:80]!r}; known: {', '.join(methods)}")

    def _queue(self, job: Job) -> None:
        with self._changed:
            if any(queued.id == job.id for queued in (*self._running, *self._waiting)):
                raise ProtocolError(f"request {job.id} ({job.method!r}) has the id of a request not answered yet")
            stopping = self._stopping
            if not stopping:
                self._waiting.append(job)
                self._changed.notify_all()
        self._greeted.set()
        if stopping:
            self._send_error(job.id, "cancelled", "the backend is stopping")

    def _control(self, request: messages.Request[Any]) -> messages.Result:
        """Answer a request of the control lane. Raises RequestError."""
        if isinstance(request, messages.Hello):
            return self._hello(request)
        if isinstance(request, messages.Status):
            busy = next((job.method for job in tuple(self._running)), None)
            return messages.StatusResult(busy=busy, fits=self._lane.status())
        if isinstance(request, messages.Detached):
            return messages.DetachedResult(fits=self._lane.detached())
        if isinstance(request, messages.Stop):
            return messages.StopResult(stopped=self._lane.stop(request.fit))
        if isinstance(request, messages.Interrupted):
            return messages.InterruptedResult(fits=self._lane.interrupted())
        if isinstance(request, messages.Cancel):
            return messages.CancelResult(cancelled=self._cancel(request.target))
        return messages.Done()

    def _hello(self, request: messages.Hello) -> messages.HelloResult:
        if request.protocol != PROTOCOL:
            raise RequestError(
                "version",
                f"the plugin speaks protocol {request.protocol} (version {request.version}) and "
                f"this backend protocol {PROTOCOL} (version {VERSION}): "
                f"upgrade the {'plugin' if request.protocol < PROTOCOL else 'backend'}",
            )
        self._packed = request.packed
        python = ".".join(map(str, sys.version_info[:3]))
        return messages.HelloResult(
            protocol=PROTOCOL,
            version=VERSION,
            python=python,
            pid=os.getpid(),
            packed=True,
            packages=installed_packages(),
        )

    def _cancel(self, target: int | None) -> bool:
        with self._changed:
            running = next((job for job in self._running if job.id == target), None)
            if running is not None:
                # Its own reply comes from its own thread, when it has stopped.
                return running.cancel()
            job = next((job for job in self._waiting if job.id == target), None)
            if job is None:
                return False
            self._waiting.remove(job)
        self._send_error(job.id, "cancelled", f"{job.method} was cancelled before it began")
        return True

    # Writing, from all threads

    def send_event(self, event: messages.Event) -> None:
        """Send an event to the plugin."""
        params, arrays = event.encode()
        self._send({"kind": "event", "event": event.EVENT, "params": params}, arrays)

    def _send_reply(self, number: int, result: JsonObject, arrays: Arrays) -> None:
        header = {"kind": "reply", "id": number, "result": result}
        try:
            self._send(header, arrays)
        except ProtocolError as exc:
            self._send_error(number, "bad-request", f"the answer can't be sent: {exc}")

    def _send_error(self, number: int, code: str, message: str) -> None:
        self._send({"kind": "error", "id": number, "code": code, "message": message[:4000]})

    def _send(self, header: Header, arrays: Arrays | None = None) -> None:
        frame = encode(header, arrays, self._packed)
        with self._writing:
            if self._broken:
                return
            try:
                for buffer in frame:
                    self._replies.write(buffer)
                self._replies.flush()
            except OSError:
                self._broken = True
        if self._broken:
            self._stop_without_plugin(0)


def _print_where_read(write: Callable[[], object]) -> None:
    """Call `write`, which prints to stderr; nobody may read that any more, and then it is left out."""
    with suppress(OSError):
        write()


def serve(requests: io.BufferedReader, replies: io.BufferedWriter, lane: Lane | None = None) -> NoReturn:
    """Serve on the streams of `stdio.claim_streams()` and end the process.

    `lane` replaces the worker, for tests.
    """
    server = Server(requests, replies, Worker() if lane is None else lane)

    def on_signal(number: int, frame: object) -> None:
        # A new thread, since the interrupted one may hold the locks that stop() takes.
        threading.Thread(target=server.stop, args=(128 + number,), daemon=True).start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    code = server.run()
    _print_where_read(sys.stderr.flush)
    # Not sys.exit(): the reading thread sits in a read, and joining native threads can hang.
    os._exit(code)
