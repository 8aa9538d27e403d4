"""One connection to a backend process: requests out, replies and events in.

Three threads serve a connection, so that no caller ever reads or writes the pipes itself: an interrupted
caller can't leave half a frame behind, and a busy child can't block the window. Callers only wait, in slices.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Generic

from ..shared import messages, text
from ..shared.frames import PROTOCOL, Arrays, Header, ProtocolError, TruncatedError, encode, read_frame
from ..shared.messages import Event, Request
from ..shared.text import AnswerError
from ..shared.values import JsonValue, ValueFault
from ..shared.version import VERSION
from . import reply_checks
from .process import STARTS_AGAIN, BackendError, Process, is_local
from .reply_checks import AnyResult

OnEvent = Callable[[Event], None]
AtomCount = Callable[[str, str], "int | None"]
Waiting = Callable[[str], None]

_SLICE = 0.2  # seconds between looks at signals while waiting (Windows interrupts no lock)
_QUEUED_FRAMES = 8  # frames waiting to be written before submit() waits


class Call(Generic[AnyResult]):
    """A request that was sent; its one reply arrives later."""

    def __init__(self, backend: Backend, number: int, request: Request[AnyResult]) -> None:
        self.id = number
        self.request = request
        self.backend = backend
        self._event = threading.Event()
        self._result: AnyResult | None = None
        self._failure: tuple[str, str] | None = None

    @property
    def done(self) -> bool:
        """Whether the reply is there, so that result() returns or raises at once."""
        return self._event.is_set()

    def result(self, timeout: float | None = None) -> AnyResult:
        """Wait for the result. Raises BackendError; Ctrl-C interrupts the wait only.

        With code `timeout` the request still runs, and result() may be called again.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._event.wait(_SLICE if deadline is None else min(_SLICE, max(0.0, deadline - time.monotonic()))):
            if deadline is not None and time.monotonic() >= deadline:
                raise BackendError(
                    "timeout",
                    f"no answer to {self.request.METHOD!r} within {timeout:g} s: it still runs; wait again or cancel",
                )
        if self._failure is not None:
            raise BackendError(*self._failure)
        assert self._result is not None, "a call that is done has failed or has a result"
        return self._result

    def cancel(self) -> None:
        """Ask the backend to stop this request; it is then answered with code `cancelled`. Does not wait."""
        if self.done:
            return
        try:
            self.backend.cancel(self.id)
        except BackendError:
            if not self.done:
                raise

    def take_reply(self, values: Mapping[str, JsonValue], arrays: Arrays, atom_count: int | None) -> None:
        """Take the reply, in the reading thread; one that can't be used is the call's failure."""
        try:
            values = text.strip_control_characters(values)
            self._result = reply_checks.check(self.request, values, arrays, atom_count)
        except (AnswerError, ValueFault) as fault:
            answer = f"the backend's answer to {self.request.METHOD!r} can't be used: {fault}; see dsr_doctor"
            self.fail("protocol", text.one_line(answer))
        else:
            self._event.set()

    def fail(self, code: str, message: str) -> None:
        """End the wait with a BackendError."""
        self._failure = (code, message)
        self._event.set()


class Backend:
    """A backend process and the connection to it, from start() to close(); it is not started a second time.

    `on_event(event)` is called for each event, in the reading thread: it must return soon and wait for no call.
    `atom_count(fit, trajectory)` says how many atoms were fitted, or None where that is not known, for results to be
    held against. `home` is the folder that a backend on this machine keeps its files in, if not its usual one.
    """

    def __init__(
        self,
        command: list[str],
        on_event: OnEvent | None = None,
        atom_count: AtomCount = lambda fit, trajectory: None,
        home: str = "",
    ) -> None:
        self.command = list(command)
        self.info: messages.HelloResult | None = None
        """The backend's greeting, once it has come."""
        self.device: messages.Device | None = None
        """Its device, or None until torch is imported there."""
        self.on_event = on_event
        self._atom_count = atom_count
        self._home = home
        self.process: Process | None = None
        """The process, from start() on."""
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._pending: dict[int, Call[Any]] = {}
        self._ended: tuple[str, str] | None = None
        self._closing = False
        self.packs = False
        """Whether large arrays are packed on the way: the line may be slow, and the backend can unpack."""
        self._outbox: queue.Queue[list[memoryview] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="dsr-reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name="dsr-writer", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether requests can be sent."""
        return self.process is not None and self._ended is None and not self._closing

    def start(self, timeout: float = 20.0, waiting: Waiting = lambda line: None) -> messages.HelloResult:
        """Start the process and exchange hello within `timeout` seconds; returns the backend's greeting.

        `waiting(last words on stderr)` is called while there is no answer, several times a second; what it raises ends
        the start.
        """
        if self.process is not None:
            raise BackendError("bad-request", "this backend was started before: make a new Backend")
        self.process = Process(self.command, self._home)
        try:
            self._reader.start()
            self._writer.start()
            packs = not is_local(self.command)
            hello = self.submit(messages.Hello(protocol=PROTOCOL, version=VERSION, packed=packs))
            try:
                info = self._greeting(hello, timeout, waiting)
            except BackendError as exc:
                if exc.code != "timeout":
                    raise
                tail = self.process.stderr_tail()
                last_words = f"its last words: {tail[-1]!r}" if tail else "it wrote nothing to stderr"
                raise BackendError(
                    "timeout",
                    f"the backend `{self.process.shown}` did not greet within {timeout:g} s; {last_words}; "
                    "wait longer (`dsr_set wait, 3600`), or run the command in a terminal to see what it waits for "
                    "(a password, a queue)",
                ) from exc
            if info.protocol != PROTOCOL:
                raise BackendError(
                    "version",
                    f"the backend speaks protocol {info.protocol} (version {info.version[:80]}) and this plugin "
                    f"protocol {PROTOCOL} (version {VERSION}): "
                    f"upgrade the {'backend' if info.protocol < PROTOCOL else 'plugin'}",
                )
            self.info = info
            self.packs = packs and info.packed
        except BaseException:  # Ctrl-C too: no half-started process stays behind
            self.close(grace=0.0)
            raise
        return info

    def _greeting(self, hello: Call[messages.HelloResult], timeout: float, waiting: Waiting) -> messages.HelloResult:
        """Return the answer to hello. Raises BackendError and what `waiting` raises."""
        assert self.process is not None
        end = time.monotonic() + timeout
        while not hello.done and time.monotonic() < end:
            with contextlib.suppress(BackendError):
                hello.result(min(_SLICE, max(0.0, end - time.monotonic())))
            if not hello.done:
                tail = self.process.stderr_tail()
                waiting(tail[-1] if tail else "")
        return hello.result(0.0 if not hello.done else None)

    def submit(self, request: Request[AnyResult]) -> Call[AnyResult]:
        """Send a request without waiting for its reply.

        Its arrays must stay unchanged until it is answered.
        """
        call = Call(self, next(self._numbers), request)
        params, arrays = request.encode()
        try:
            header = {"kind": "request", "id": call.id, "method": request.METHOD, "params": params}
            frame = encode(header, arrays, self.packs)
        except ProtocolError as exc:
            raise BackendError("bad-request", f"{request.METHOD!r} can't be sent: {exc}") from exc
        while arrays and self.alive and self._outbox.qsize() >= _QUEUED_FRAMES:
            time.sleep(0.01)
        with self._lock:
            if self._ended is not None:
                raise BackendError(*self._ended)
            if self.process is None or self._closing:
                raise BackendError("lost", "the backend is not running: start it first")
            self._pending[call.id] = call
            self._outbox.put(frame)
        return call

    def call(self, request: Request[AnyResult], timeout: float | None = None) -> AnyResult:
        """Send a request and wait for its result. Raises BackendError."""
        return self.submit(request).result(timeout)

    def cancel(self, call_id: int) -> Call[messages.CancelResult]:
        """Ask for the end of a request; returns the call of the `cancel` request itself. Does not wait."""
        return self.submit(messages.Cancel(target=call_id))

    def close(self, grace: float = 10.0) -> None:
        """End the backend, waiting up to `grace` seconds for its checkpoint, and a few more to kill it."""
        process = self.process
        if process is None:
            return
        with self._lock:
            self._closing = True
        process.stop(self._ask, self._hang_up, grace)
        self._hang_up()
        # Answers that it wrote before it ended are read first.
        for thread in (self._reader, self._writer):
            if thread.is_alive():
                thread.join(1.0)
        self._end("lost", "the backend was closed")

    def why_ended(self, seconds: float) -> BackendError:
        """Why it ended, after waiting so long for it."""
        end = time.monotonic() + seconds
        while self._ended is None and time.monotonic() < end:
            time.sleep(_SLICE)
        return BackendError(*(self._ended or ("lost", "the backend stopped what was asked of it, but still runs")))

    def _ask(self) -> None:
        with self._lock:
            call = Call(self, next(self._numbers), messages.Shutdown())
            self._pending[call.id] = call
        self._outbox.put(encode({"kind": "request", "id": call.id, "method": call.request.METHOD, "params": {}}))

    def _hang_up(self) -> None:
        # Only the writing thread closes stdin: closing it here would wait for a write that is stuck.
        self._outbox.put(None)

    def _end(self, code: str, message: str) -> None:
        with self._lock:
            if self._ended is not None:
                return
            self._ended = (code, message)
            pending = list(self._pending.values())
            self._pending.clear()
        for call in pending:
            call.fail(code, message)

    def _lost(self, detail: str = "") -> None:
        process = self.process
        assert process is not None
        if self._closing:
            # close() says so when the process is gone.
            return
        process.wait(1.0)
        code, remedy = ("lost", STARTS_AGAIN) if self.info else ("launch", process.remedy())
        self._end(code, f"the backend `{process.shown}` {process.describe_end()}{detail}; {remedy}")
        process.stop(lambda: None, self._hang_up, 0.0)

    def _write(self) -> None:
        assert self.process is not None
        stream = self.process.stdin
        try:
            while True:
                try:
                    frame = self._outbox.get(timeout=0.5)
                except queue.Empty:
                    # The end of its output may never come: children of the backend can hold it open.
                    if not self.process.running:
                        self._reader.join(0.5)
                        self._lost()
                        return
                    continue
                if frame is None:
                    return
                for buffer in frame:
                    stream.write(buffer)
                stream.flush()
        except OSError as exc:
            self.process.wait(1.0)
            # A pipe breaks when the process ends; it is a cause of its own only where the process goes on.
            self._lost(f" (writing to it failed: {exc.strerror})" if self.process.running else "")
        finally:
            with contextlib.suppress(OSError):
                stream.close()

    def _read(self) -> None:
        assert self.process is not None
        stream = self.process.stdout
        assert isinstance(stream, io.BufferedReader)
        try:
            frame = read_frame(stream, first=True)
            while frame is not None:
                self._take(*frame)
                frame = read_frame(stream)
            self._lost()
        except TruncatedError as exc:
            self._lost(f" ({exc})")
        except ProtocolError as exc:
            self._abandon("protocol", f"the backend `{self.process.shown}` broke the protocol: {exc}")
        except MemoryError:
            self._abandon("out-of-memory", "PyMOL has no memory left for the backend's answer: ask for coarser data")
        except Exception as exc:
            # A reader that died in silence would leave every call waiting.
            traceback.print_exc()
            self._abandon("internal", f"reading the backend's answer failed ({type(exc).__name__}: {exc})")
        finally:
            stream.close()

    def _abandon(self, code: str, message: str) -> None:
        assert self.process is not None
        self._end(code, message)
        self.process.stop(lambda: None, self._hang_up, 0.0)

    def _take(self, header: Header, arrays: Arrays) -> None:
        kind = header["kind"]
        if kind == "event":
            self._take_event(header["event"], header["params"], arrays)
            return
        if kind == "request":
            raise ProtocolError(f"it sent the request {header['method'][:80]!r}, but only the plugin asks")
        with self._lock:
            call = self._pending.pop(header["id"], None)
            ended = self._ended is not None
        if call is None:
            if ended:
                return
            raise ProtocolError(f"it answered request {header['id']}, which waits for no answer")
        if kind == "error":
            call.fail(text.one_line(header["code"]), text.one_line(header["message"]))
            return
        request, atom_count = call.request, None
        if isinstance(request, messages.FieldRequest):
            atom_count = self._atom_count(request.fit, request.field.trajectory)
        call.take_reply(header["result"], arrays, atom_count)

    def _take_event(self, name: str, params: Mapping[str, JsonValue], arrays: Arrays) -> None:
        event: Event | None
        try:
            event = messages.parse_event(name, text.strip_control_characters(params), arrays)
        except (AnswerError, ValueFault) as fault:
            line = f"an event {name!r} of the backend can't be used and is left out: {fault}"
            event = messages.Log(text=text.one_line(line))
        if isinstance(event, messages.Device):
            self.device = event
        if event is None or self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception:
            # A fault in showing progress must not cost the fit.
            traceback.print_exc(file=sys.stderr)
