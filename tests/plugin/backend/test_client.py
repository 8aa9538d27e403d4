"""The connection to a backend: what the user reads when it misbehaves, and that nothing survives it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pymol_dsr.backend import process
from pymol_dsr.backend.client import Backend
from pymol_dsr.backend.process import BackendError, LaunchError, find_command
from pymol_dsr.shared.frames import PROTOCOL, read_frame, write_frame
from pymol_dsr.shared.version import VERSION
from support.paths import ROOT
from support.processes import PROBLEM, QUEUED, Log, give_up_at_first_words, group_is_gone, raw, runs, sent_ball
from support.waiting import PATIENCE, wait_for

REAL = [sys.executable, "-m", "dsr_backend", "serve"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the misbehaving backends use POSIX signals")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'backend'}")
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "home"))


@pytest.fixture
def connect() -> Iterator[Callable[..., Backend]]:
    """Makes backends; afterwards none of their processes may run."""
    backends: list[Backend] = []

    def make(*mode: str, command: list[str] | None = None) -> Backend:
        backend = Backend(command or [*PROBLEM, *mode], Log())
        backends.append(backend)
        return backend

    yield make
    for backend in backends:
        backend.close(grace=0.5)
        process = backend.process
        assert process is not None
        assert not runs(process.pid)
        wait_for(partial(group_is_gone, process.pid))


def log_of(backend: Backend) -> Log:
    assert isinstance(backend.on_event, Log)
    return backend.on_event


def pid_of(backend: Backend) -> int:
    assert backend.process is not None
    return backend.process.pid


def failure(call: Callable[[], Any]) -> BackendError:
    with pytest.raises(BackendError) as caught:
        call()
    assert str(caught.value) == caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


# Backends that do not start


@pytest.mark.system
def test_a_slow_backend_is_given_up_with_its_last_words(
    connect: Callable[..., Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up_at_first_words(monkeypatch)
    backend = connect(command=QUEUED)
    error = failure(lambda: backend.start(timeout=PATIENCE))
    assert error.code == "timeout"
    assert f"did not greet within {PATIENCE:g} s" in error.message
    assert "its last words: 'srun: job 17 queued and waiting for resources'" in error.message
    assert "run the command in a terminal" in error.message
    assert not runs(pid_of(backend))


@pytest.mark.system
def test_a_login_banner_is_shown(connect: Callable[..., Backend]) -> None:
    backend = connect("banner")
    error = failure(backend.start)
    assert error.code == "protocol"
    assert "got 'Welcome to gpu01'" in error.message
    assert "silence the shell profile, or use `ssh -T`" in error.message


def test_a_backend_that_dies_at_once_says_why(connect: Callable[..., Backend]) -> None:
    error = failure(connect("missing").start)
    assert error.code == "launch"
    assert "ended with exit code 1" in error.message
    assert "its last words: \"ModuleNotFoundError: No module named 'torch'\"" in error.message


@pytest.mark.system
@pytest.mark.parametrize(("mode", "protocol", "side"), [("newer", 2, "plugin"), ("older", 0, "backend")])
def test_versions_must_match(connect: Callable[..., Backend], mode: str, protocol: int, side: str) -> None:
    error = failure(connect(mode).start)
    assert error.code == "version"
    assert error.message == (
        f"the backend speaks protocol {protocol} (version 9.9) and this plugin protocol {PROTOCOL} "
        f"(version {VERSION}): upgrade the {side}"
    )


@pytest.mark.system
def test_a_backend_may_refuse_the_version_itself(connect: Callable[..., Backend]) -> None:
    error = failure(connect("refuses").start)
    assert (error.code, error.message) == ("version", "upgrade the plugin")


def test_a_command_that_is_not_there(connect: Callable[..., Backend]) -> None:
    error = failure(Backend(["/nowhere/dsr-backend", "serve"]).start)
    assert isinstance(error, LaunchError)
    assert "`/nowhere/dsr-backend serve` can't be started" in error.message
    assert "dsr_set backend" in error.message


# Faults during work


def test_junk_after_hello(connect: Callable[..., Backend]) -> None:
    backend = connect("junk")
    backend.start()
    error = failure(lambda: backend.call(raw("ping"), timeout=PATIENCE))
    assert error.code == "protocol"
    assert "got 'Segmentation fault (core dumped)'; something else writes into the stream" in error.message
    assert not backend.alive
    assert failure(lambda: backend.submit(raw("ping"))).message == error.message


def test_half_a_frame(connect: Callable[..., Backend]) -> None:
    backend = connect("half")
    backend.start()
    error = failure(lambda: backend.call(raw("ping"), timeout=PATIENCE))
    assert error.code == "lost"
    assert "ended with exit code 4; it wrote nothing to stderr" in error.message
    assert "14 of 47 bytes of its JSON header" in error.message


@pytest.mark.system
def test_a_pipe_breaks_with_the_process_or_by_itself(connect: Callable[..., Backend]) -> None:
    """It is named where the process goes on; where it ended, its end says why."""
    dead = connect("orphans")
    dead.start()
    dead.submit(raw("ping"))
    process = dead.process
    assert process is not None
    wait_for(lambda: not process.running)
    error = failure(lambda: dead.call(raw("ping"), timeout=PATIENCE))
    assert error.message.endswith("ended with exit code 5; its last words: 'gone'; the next command starts it again")
    shut = connect("shut")
    shut.start()
    wait_for(lambda: log_of(shut).named("log"))
    error = failure(lambda: shut.call(raw("ping"), timeout=PATIENCE))
    assert "still runs; it wrote nothing to stderr (writing to it failed: Broken pipe)" in error.message


def test_a_huge_length(connect: Callable[..., Backend]) -> None:
    backend = connect("huge")
    backend.start()
    error = failure(lambda: backend.call(raw("ping"), timeout=PATIENCE))
    assert error.code == "protocol"
    assert f"a frame announces {2**62} bytes of arrays, more than {2**30}" in error.message


@pytest.mark.system
def test_two_replies_to_one_request(connect: Callable[..., Backend]) -> None:
    backend = connect("twice")
    backend.start()
    backend.call(raw("ping"), timeout=PATIENCE)
    wait_for(lambda: not backend.alive)
    error = failure(lambda: backend.submit(raw("ping")))
    assert error.code == "protocol"
    assert "it answered request 2, which waits for no answer" in error.message


@pytest.mark.system
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (
            "killed",
            "was killed by signal 9 (SIGKILL, often sent when memory runs out); its last words: 'step 120 of",
        ),
        (
            "fails",
            "ended with exit code 1; its last words: 'CUDA error: device lost'; the next command starts it again",
        ),
        ("orphans", "ended with exit code 5; its last words: 'gone'"),
    ],
)
def test_all_calls_fail_when_the_backend_dies(connect: Callable[..., Backend], mode: str, words: str) -> None:
    backend = connect(mode)
    backend.start()
    calls = [backend.submit(raw("mesh", {"time": float(time_)})) for time_ in range(3)]
    for call in calls:
        error = failure(lambda call=call: call.result(timeout=PATIENCE))  # type: ignore[misc]
        assert error.code == "lost"
        assert words in error.message
    assert not backend.alive


@pytest.mark.system
def test_a_stubborn_backend_is_killed_with_its_children(connect: Callable[..., Backend]) -> None:
    backend = connect("stubborn")
    backend.start()
    waiting = backend.submit(raw("mesh"))
    wait_for(lambda: log_of(backend).named("log"))
    child = int(log_of(backend).named("log")[0]["text"])
    assert runs(child)
    backend.close(grace=0.5)
    wait_for(lambda: not runs(child))
    assert not runs(pid_of(backend))
    error = failure(lambda: waiting.result(timeout=PATIENCE))
    assert (error.code, error.message) == ("lost", "the backend was closed")


@pytest.mark.system
def test_no_reply(connect: Callable[..., Backend]) -> None:
    backend = connect("mute")
    backend.start()
    call = backend.submit(raw("mesh"))
    error = failure(lambda: call.result(timeout=0.3))
    assert error.code == "timeout"
    assert error.message == "no answer to 'mesh' within 0.3 s: it still runs; wait again or cancel"
    assert backend.alive and not call.done


INTERRUPTED = """
import functools, os, sys
from pymol_dsr.backend.client import Backend
from pymol_dsr.shared import messages
backend = Backend(sys.argv[2:])
begin = functools.cache(lambda: print("begins", flush=True))
try:
    if sys.argv[1] == "waiting":
        backend.start()
        begin()
        backend.submit(messages.Ping()).result()
    else:
        # It is called once the process is there and has not greeted.
        backend.start(waiting=lambda last_words: begin())
except KeyboardInterrupt:
    print("interrupted", "alive" if backend.alive else "ended", flush=True)
# Not close(): this backend does not end when it is asked to, and is waited for.
os._exit(0)
"""


@pytest.mark.system
@pytest.mark.parametrize(
    ("activity", "backend", "report"),
    [("waiting", [*PROBLEM, "mute"], "alive"), ("starting", QUEUED, "ended")],
    ids=["waiting", "starting"],
)
def test_ctrl_c_interrupts(activity: str, backend: list[str], report: str) -> None:
    # In a process of its own: this one may be pytest's, which has its own mind about Ctrl-C.
    command = [sys.executable, "-c", INTERRUPTED, activity, *backend]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None and process.stdout.readline() == "begins\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == f"interrupted {report}\n"
    assert process.wait(PATIENCE) == 0


@pytest.mark.system
def test_sending_to_a_backend_that_does_not_read_returns(connect: Callable[..., Backend]) -> None:
    backend = connect("deaf")
    backend.start()
    for _ in range(3):
        backend.submit(raw("surface", arrays={"points": np.zeros((1_000_000, 3), "<f4")}))
    backend.close(grace=0.2)


def test_a_fault_in_the_event_handler_costs_nothing(
    connect: Callable[..., Backend], capsys: pytest.CaptureFixture[str]
) -> None:
    backend = connect("worker")
    backend.on_event = lambda event: 1 / 0  # type: ignore[assignment]
    backend.start()
    backend.call(raw("report"), timeout=PATIENCE)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_what_cannot_be_sent_is_the_callers_error(connect: Callable[..., Backend]) -> None:
    backend = connect("worker")
    backend.start()
    error = failure(lambda: backend.submit(raw("echo", arrays={"a": np.zeros(3, bool)})))
    assert error.code == "bad-request"
    assert "dtype '|b1', not one of" in error.message
    assert backend.call(raw("ping"), timeout=PATIENCE) == ({}, {})


# The server, with methods of its own in the worker lane


@pytest.fixture
def bench(connect: Callable[..., Backend]) -> Backend:
    backend = connect("worker")
    backend.start()
    return backend


def working(backend: Backend) -> bool:
    return bool(log_of(backend).named("log"))


@pytest.mark.system
def test_arrays_go_both_ways(bench: Backend) -> None:
    sent = {
        "points": np.random.default_rng(0).random((2_000_000, 3)).astype("<f4"),
        "none": np.zeros((0, 3), "<i4"),
    }
    calls = [bench.submit(raw("echo", {"number": number}, sent)) for number in range(4)]
    for number, call in enumerate(calls):
        result, arrays = call.result(timeout=PATIENCE)
        assert result == {"number": number}
        for name, array in sent.items():
            np.testing.assert_array_equal(arrays[name], array, strict=True)


def test_control_is_answered_while_work_goes_on(bench: Backend) -> None:
    work = bench.submit(raw("work"))
    queued = bench.submit(raw("echo", {"queued": True}))
    wait_for(lambda: working(bench))
    for _ in range(5):
        assert bench.call(raw("ping"), timeout=PATIENCE) == ({}, {})
    status, _ = bench.call(raw("status"), timeout=PATIENCE)
    assert status["busy"] == "work"
    assert status["fits"]["bench"]["loss"] is None
    assert not work.done and not queued.done
    work.cancel()
    assert queued.result(timeout=PATIENCE)[0] == {"queued": True}
    assert work.done
    assert bench.call(raw("status"), timeout=PATIENCE)[0]["busy"] is None


def test_cancel_running_and_queued(bench: Backend) -> None:
    running, queued, third = (bench.submit(raw("work", {"name": name})) for name in "abc")
    wait_for(lambda: working(bench))
    queued.cancel()
    assert failure(lambda: queued.result(timeout=PATIENCE)).message == "work was cancelled before it began"
    assert not running.done
    assert bench.cancel(running.id).result(timeout=PATIENCE).cancelled
    error = failure(lambda: running.result(timeout=PATIENCE))
    assert (error.code, error.message) == ("cancelled", "work was cancelled")
    wait_for(lambda: len(log_of(bench).named("log")) == 2)
    assert log_of(bench).named("log")[1]["text"] == "working on c"
    assert bench.call(raw("status"))[0]["fits"]["bench"]["step"] == 1
    third.cancel()
    assert failure(lambda: third.result(timeout=PATIENCE)).code == "cancelled"
    assert not bench.cancel(running.id).result(timeout=PATIENCE).cancelled
    assert not bench.cancel(12345).result(timeout=PATIENCE).cancelled


def test_jobs_that_change_nothing_run_two_at_a_time(bench: Backend, tmp_path: Path) -> None:
    first, second, third = (bench.submit(raw("share", {"name": name, "until": str(tmp_path / name)})) for name in "abc")
    wait_for(lambda: len(log_of(bench).named("log")) == 2)
    assert not first.done and not second.done
    assert bench.call(raw("status"), timeout=PATIENCE)[0]["busy"] == "share"
    (tmp_path / "b").touch()
    second.result(timeout=PATIENCE)
    wait_for(lambda: len(log_of(bench).named("log")) == 3)
    assert not first.done and not third.done
    (tmp_path / "a").touch()
    (tmp_path / "c").touch()
    assert [call.result(timeout=PATIENCE)[0]["name"] for call in (first, second, third)] == ["a", "b", "c"]


def test_a_thread_that_can_not_be_prepared_answers_all_the_same(
    connect: Callable[..., Backend], tmp_path: Path
) -> None:
    backend = connect("worker", f"{PATIENCE}", "fails")
    backend.start()
    for name in ("first", "second"):
        (tmp_path / name).touch()
        call = backend.submit(raw("share", {"name": name, "until": str(tmp_path / name)}))
        assert call.result(timeout=PATIENCE)[0] == {"name": name}


def test_a_job_that_changes_something_is_alone(bench: Backend) -> None:
    before, lone_work, after = bench.submit(raw("share")), bench.submit(raw("work")), bench.submit(raw("share"))
    wait_for(lambda: working(bench))
    time.sleep(0.2)
    assert len(log_of(bench).named("log")) == 1
    before.cancel()
    wait_for(lambda: len(log_of(bench).named("log")) == 2)
    time.sleep(0.2)
    assert len(log_of(bench).named("log")) == 2
    assert bench.call(raw("status"), timeout=PATIENCE)[0]["busy"] == "work"
    lone_work.cancel()
    wait_for(lambda: len(log_of(bench).named("log")) == 3)
    after.cancel()
    for call in (before, lone_work, after):
        assert failure(partial(call.result, timeout=PATIENCE)).code == "cancelled"


def test_one_of_two_at_a_time_is_cancelled_alone(bench: Backend, tmp_path: Path) -> None:
    end = tmp_path / "end"
    stays, goes = bench.submit(raw("share", {"name": "stays", "until": str(end)})), bench.submit(raw("share"))
    wait_for(lambda: len(log_of(bench).named("log")) == 2)
    assert bench.cancel(goes.id).result(timeout=PATIENCE).cancelled
    assert failure(lambda: goes.result(timeout=PATIENCE)).code == "cancelled"
    assert not stays.done
    end.touch()
    assert stays.result(timeout=PATIENCE)[0] == {"name": "stays"}


def test_close_cancels_those_that_run_at_once(bench: Backend) -> None:
    calls = [bench.submit(raw("share")) for _ in range(3)]
    wait_for(lambda: len(log_of(bench).named("log")) == 2)
    bench.close(grace=PATIENCE)
    assert {failure(partial(call.result, timeout=PATIENCE)).code for call in calls} == {"cancelled"}


def test_a_job_that_finishes_in_spite_of_cancel_is_still_cancelled(bench: Backend) -> None:
    call = bench.submit(raw("obstinate"))
    wait_for(lambda: working(bench))
    assert bench.cancel(call.id).result(timeout=PATIENCE).cancelled
    assert failure(lambda: call.result(timeout=PATIENCE)).code == "cancelled"


def test_prints_cannot_corrupt_the_stream(bench: Backend) -> None:
    assert bench.call(raw("noise"), timeout=PATIENCE) == ({"stdin": ""}, {})
    assert bench.call(raw("ping"), timeout=PATIENCE) == ({}, {})
    assert bench.process is not None
    process = bench.process
    expected = {"a print", "a write from C", "a puts from C", "a child's echo"}
    wait_for(lambda: expected <= set(process.stderr_tail()))


def test_progress_arrives_as_events(bench: Backend) -> None:
    bench.call(raw("report"), timeout=PATIENCE)
    events = log_of(bench).named("progress")
    assert [(event["phase"], event["fraction"], event["loss"]) for event in events] == [
        ("fit", 0.5, None),
        ("saving", 1.0, None),
    ]


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("request", "diverged", "the loss became NaN at step 12"),
        ("memory", "out-of-memory", "the backend's machine ran out of memory"),
        ("cpu memory", "out-of-memory", "use a coarser resolution, a smaller budget, or device=cpu"),
        ("exit", "internal", "the backend failed: SystemExit: a library gave up"),
        ("bug", "internal", "the backend failed: KeyError: 'a bug"),
    ],
)
def test_faults_of_methods_are_answered(bench: Backend, kind: str, code: str, words: str) -> None:
    error = failure(lambda: bench.call(raw("fail", {"kind": kind}), timeout=PATIENCE))
    assert error.code == code
    assert words in error.message
    assert bench.call(raw("status"), timeout=PATIENCE)[0]["fits"]["bench"]["step"] == 1
    assert bench.process is not None
    process = bench.process
    if code == "internal":
        wait_for(lambda: any("a library gave up" in line or "a bug" in line for line in process.stderr_tail()))


def test_an_answer_that_is_too_large_is_an_error(bench: Backend) -> None:
    error = failure(lambda: bench.call(raw("grow"), timeout=PATIENCE))
    assert error.code == "bad-request"
    assert "the answer can't be sent" in error.message
    assert bench.call(raw("ping"), timeout=PATIENCE) == ({}, {})


def test_an_unknown_method_names_the_known_ones(bench: Backend) -> None:
    error = failure(lambda: bench.call(raw("mash"), timeout=PATIENCE))
    assert error.code == "bad-request"
    known = "hello, ping, status, detached, stop, interrupted, cancel, shutdown, echo"
    assert f"unknown method 'mash'; known: {known}" in error.message


def test_close_cancels_and_ends(bench: Backend, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    call = bench.submit(raw("work", {"checkpoint": str(checkpoint)}))
    wait_for(lambda: working(bench))
    bench.close(grace=PATIENCE)
    assert failure(lambda: call.result(timeout=PATIENCE)).code == "cancelled"
    assert checkpoint.read_text() == "kept"
    assert bench.process is not None
    assert bench.process.describe_end().startswith("ended with exit code 0")
    assert failure(lambda: bench.submit(raw("ping"))).message == "the backend was closed"


# The server without this client: its pipes, as the plugin's end leaves them


class Pipes:
    """A server process whose frames are written and read by hand."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def send(self, number: int, method: str, **params: Any) -> None:
        assert self.process.stdin is not None
        write_frame(
            self.process.stdin,  # type: ignore[arg-type]
            {"kind": "request", "id": number, "method": method, "params": params},
        )

    def receive(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        frame = read_frame(self.process.stdout)  # type: ignore[arg-type]
        return None if frame is None else frame[0]

    def hello(self) -> None:
        self.send(1, "hello", protocol=PROTOCOL, version=VERSION)

    def read_until(self, event: str) -> dict[str, Any]:
        while True:
            header = self.receive()
            assert header is not None
            if header.get("event") == event:
                return dict(header["params"])


@pytest.fixture
def pipes() -> Iterator[Callable[..., Pipes]]:
    all_pipes: list[Pipes] = []

    def make(*command: str) -> Pipes:
        all_pipes.append(Pipes(*command))
        return all_pipes[-1]

    yield make
    for opened in all_pipes:
        opened.process.kill()
        opened.process.wait()
        for stream in (opened.process.stdin, opened.process.stdout, opened.process.stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def test_every_request_has_exactly_one_reply(pipes: Callable[..., Pipes]) -> None:
    server = pipes(*PROBLEM, "worker")
    server.hello()
    server.send(2, "work")
    server.send(3, "work")
    server.send(4, "fail", kind="bug")
    server.read_until("log")
    server.send(5, "cancel", target=3)
    server.send(6, "cancel", target=2)
    server.send(7, "cancel", target=3)
    server.send(8, "nonsense")
    server.send(9, "work")
    server.send(10, "work")
    server.send(11, "shutdown")
    server.send(12, "work")
    replies: dict[int, list[str]] = {}
    while (header := server.receive()) is not None:
        if "id" in header:
            replies.setdefault(header["id"], []).append(header.get("code", "ok"))
    del replies[4]  # runs or not, as the threads will have it; one reply all the same
    cancelled = ["cancelled"]
    assert replies == {
        2: cancelled, 3: cancelled, 5: ["ok"], 6: ["ok"], 7: ["ok"], 8: ["bad-request"],
        9: cancelled, 10: cancelled, 11: ["ok"], 12: cancelled,
    }  # fmt: skip
    assert server.process.wait(PATIENCE) == 0


@pytest.mark.system
@pytest.mark.parametrize("method", ["work", "spin"])
def test_the_end_of_stdin_ends_the_server(pipes: Callable[..., Pipes], tmp_path: Path, method: str) -> None:
    server = pipes(*PROBLEM, "worker", *(["1.5"] if method == "spin" else []))
    server.hello()
    checkpoint = tmp_path / "checkpoint"
    server.send(2, method, checkpoint=str(checkpoint))
    server.read_until("log")
    assert server.process.stdin is not None and server.process.stderr is not None
    server.process.stderr.close()
    server.process.stdin.close()
    # A busy thread is not waited for; one that polls leaves its checkpoint first, though it prints.
    assert server.process.wait(PATIENCE) == (0 if method == "work" else 1)
    assert checkpoint.exists() == (method == "work")


def test_a_stuck_server_is_left_less_than_ten_seconds() -> None:
    from dsr_backend.server import server

    assert 5 < server.EXIT_SECONDS < 10


def test_a_broken_stdout_ends_the_server(pipes: Callable[..., Pipes]) -> None:
    server = pipes(*PROBLEM, "worker")
    server.hello()
    server.read_until("device")
    assert server.process.stdout is not None
    server.process.stdout.close()
    server.send(2, "work")
    assert server.process.wait(PATIENCE) == 0


def test_sigterm_ends_the_server_after_its_checkpoint(pipes: Callable[..., Pipes], tmp_path: Path) -> None:
    server = pipes(*PROBLEM, "worker")
    server.hello()
    checkpoint = tmp_path / "checkpoint"
    server.send(2, "work", checkpoint=str(checkpoint))
    server.read_until("log")
    server.process.terminate()
    assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM
    assert checkpoint.exists()


def test_the_server_closes_on_a_malformed_frame(pipes: Callable[..., Pipes]) -> None:
    server = pipes(*PROBLEM, "worker")
    server.hello()
    server.read_until("device")
    assert server.process.stdin is not None
    server.process.stdin.write(b"GET / HTTP/1.1\r\n\r\n")
    server.process.stdin.flush()
    assert server.process.wait(PATIENCE) == 2
    assert server.process.stderr is not None
    assert b"closing the connection: JunkError: expected a frame beginning with 'DSR1'" in server.process.stderr.read()


@pytest.mark.system
def test_nothing_is_prepared_before_hello(pipes: Callable[..., Pipes]) -> None:
    server = pipes(*PROBLEM, "worker")
    time.sleep(1)
    server.hello()
    answers = [server.receive(), server.receive()]
    assert [header and header["kind"] for header in answers] == ["reply", "event"]


def test_the_server_refuses_another_protocol(pipes: Callable[..., Pipes]) -> None:
    server = pipes(*PROBLEM, "worker")
    server.send(1, "hello", protocol=PROTOCOL + 1, version="9.9")
    header = server.receive()
    assert header is not None
    assert header["code"] == "version"
    assert header["message"] == (
        f"the plugin speaks protocol {PROTOCOL + 1} (version 9.9) and this backend protocol {PROTOCOL} "
        f"(version {VERSION}): upgrade the backend"
    )


# The real backend


# A module `torch` that waits for a file, and then gives its place to the real one.
HELD_TORCH = """
import os, sys, time
while not os.path.exists(os.path.join(os.path.dirname(__file__), "go")):
    time.sleep(0.01)
sys.path.remove(os.path.dirname(__file__))
del sys.modules["torch"]
import torch
"""


@pytest.mark.system
def test_hello_comes_before_torch(
    connect: Callable[..., Backend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text(HELD_TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    backend = connect(command=REAL)
    info = backend.start()
    assert info.protocol == PROTOCOL and info.version == VERSION and info.pid == pid_of(backend)
    assert backend.call(raw("status"), timeout=PATIENCE) == ({"busy": None, "fits": {}}, {})
    assert backend.device is None
    (tmp_path / "go").touch()
    wait_for(lambda: backend.device)
    assert backend.device is not None and backend.device.name and backend.device.threads and backend.device.torch


@pytest.mark.system
@pytest.mark.parametrize(
    ("method", "params", "code", "words"),
    [
        ("mesh", {"fit": "../x"}, "bad-request", "a fit can't be named '../x': use 1 to 80 letters"),
        ("mesh", {"fit": ".x"}, "bad-request", "with no dot in front"),
        ("mesh", {"fit": "x\n"}, "bad-request", "can't be named"),
        ("mesh", {"fit": "x" * 81}, "bad-request", "can't be named"),
        ("mesh", {}, "bad-request", "can't be named 'None'"),
        ("save", {"fit": "adk"}, "no-fit", "there is no fit 'adk', neither in memory (there: none) nor as"),
        ("fit", {"fit": "adk"}, "bad-request", "fit 'adk' is not open: send `open` and its surfaces first"),
        ("surface", {"fit": "adk", "state": 1}, "bad-request", "surface needs the array 'points', got no arrays"),
        ("load", {"fit": "adk"}, "no-fit", "there is no fit 'adk'"),
        ("open", {"fit": "adk", "config": {"sed": 1}}, "bad-request", "sed"),
    ],
)
def test_bad_requests_say_what_to_do(real: Backend, method: str, params: dict[str, Any], code: str, words: str) -> None:
    error = failure(lambda: real.call(raw(method, params), timeout=PATIENCE))
    assert words in error.message
    assert error.code == code


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'backend'}")
        patch.setenv("DSR_HOME", str(tmp_path_factory.mktemp("home")))
        backend = Backend(REAL, Log())
        backend.start()
    yield backend
    backend.close()


@pytest.mark.system
def test_a_small_fit_from_surfaces_to_files(connect: Callable[..., Backend], tmp_path: Path) -> None:
    backend = connect(command=REAL)
    backend.start()
    source = {"object": "adk", "atoms": "1-6"}
    opened = {"fit": "small", "config": {"preset": "preview", "budget": 0.1}, "source": source}
    backend.call(raw("open", opened), timeout=PATIENCE)
    for state in (3, 1, 2):
        assert backend.call(raw("surface", {"fit": "small", "state": state}, sent_ball(state)))[0] == {"points": 482}
    assert backend.call(raw("status"))[0]["fits"]["small"]["phase"] == "surfaces"
    result, _ = backend.call(raw("fit", {"fit": "small"}), timeout=PATIENCE)
    report = result["report"]
    assert report["states"] == [1, 2, 3] and report["source"] == source
    fit_file = tmp_path / "home/fits/small.dsr"
    assert report["path"] == str(fit_file) and fit_file.is_file()
    phases = [params["phase"] for params in log_of(backend).named("progress")]
    assert phases[0] == "fit" and phases[-1] == "saving"
    assert backend.call(raw("status"))[0]["fits"]["small"]["phase"] == "ready"

    mesh, arrays = backend.call(raw("mesh", {"fit": "small", "time": 2.5, "resolution": 0.8}), timeout=PATIENCE)
    assert mesh["extrapolated"] is False
    assert mesh["volume"] == pytest.approx(4 / 3 * np.pi * 125, rel=0.05)
    np.testing.assert_allclose(arrays["points"].mean(0), [2.5, 0, 0], atol=0.3)
    assert arrays["nearest"].shape == (len(arrays["points"]),) and arrays["atoms"].shape == (6, 3)
    grid, values = backend.call(raw("grid", {"fit": "small", "time": 2, "resolution": 1.0}), timeout=PATIENCE)
    assert list(values["values"].shape) == grid["shape"]
    truth = {f"truth_{name}": array for name, array in sent_ball(2).items() if name != "atoms"}
    scores, _ = backend.call(raw("compare", {"fit": "small", "time": 2}, truth), timeout=PATIENCE)
    assert scores["iou"] > 0.9 and scores["nc"] > 0.9
    rescored, _ = backend.call(raw("compare", {"fit": "small"}, {**truth, **sent_ball(2)}), timeout=PATIENCE)
    assert rescored["iou"] == 1
    matrix = np.eye(4, dtype="<f4")
    matrix[2, 3] = 100
    export = {"fit": "small", "time": 2, "resolution": 0.8, "format": "ply"}
    painted = {"colors": np.ones((6, 3), "<f4"), "matrix": matrix}
    _, files = backend.call(raw("export", export, painted), timeout=PATIENCE)
    assert files["file"].tobytes().startswith(b"ply")
    error = failure(lambda: backend.call(raw("export", export, {"colors": np.ones((5, 3), "<f4")}), timeout=PATIENCE))
    assert "colors have shape [5, 3], but the fit has 6 atoms" in error.message
    error = failure(lambda: backend.call(raw("export", {**export, "format": "stp"}), timeout=PATIENCE))
    assert "export needs format as one of ply, obj, stl, glb, npz, got 'stp'" in error.message
    _, binary = backend.call(raw("export", {**export, "binary": True}), timeout=PATIENCE)
    assert b"binary_little_endian" in binary["file"].tobytes()[:40]
    movie = {"fit": "small", "times": [1, 1.5, 4], "fps": 10, "resolution": 0.8, "format": "glb"}
    _, files = backend.call(raw("export", movie, painted), timeout=PATIENCE)
    assert files["file"].tobytes().startswith(b"glTF")
    assert all(b'"time":%s}' % time in files["file"].tobytes() for time in (b"1.0", b"1.5", b"4.0"))
    faults: list[tuple[dict[str, Any], str]] = [
        ({"format": "ply"}, "only a glb holds several times, not a ply: ask for one at a time"),
        ({"times": []}, "export needs times as a list of numbers, got []"),
        ({"times": [1, "2"]}, "export needs times as a list of numbers, got [1, '2']"),
        ({"fps": 0}, "fps 0: it must be above 0"),
        ({"binary": 1}, "export needs binary as true or false, got 1"),
    ]
    for wrong, text in faults:
        error = failure(partial(backend.call, raw("export", {**movie, **wrong}), timeout=PATIENCE))
        assert (error.code, text in error.message) == ("bad-request", True), error.message
    error = failure(lambda: backend.call(raw("mesh", {"fit": "small", "time": 2, "resolution": 0}), timeout=PATIENCE))
    assert (error.code, "resolution" in error.message) == ("bad-request", True)
    _, files = backend.call(raw("save", {"fit": "small"}), timeout=PATIENCE)
    backend.close()

    # A new process finds the fit in the folder, and takes the saved file under another name.
    backend = connect(command=REAL)
    backend.start()
    reloaded, _ = backend.call(raw("mesh", {"fit": "small", "time": 2.5, "resolution": 0.8}), timeout=PATIENCE)
    assert reloaded["volume"] == pytest.approx(mesh["volume"], rel=1e-5)
    loaded, _ = backend.call(raw("load", {"fit": "other"}, files), timeout=PATIENCE)
    assert loaded["report"]["source"] == source
    reloaded, _ = backend.call(raw("mesh", {"fit": "other", "time": 2.5, "resolution": 0.8}), timeout=PATIENCE)
    assert reloaded["volume"] == pytest.approx(mesh["volume"], rel=1e-5)
    backend.call(raw("drop", {"fit": "other"}))
    assert failure(lambda: backend.call(raw("save", {"fit": "other"}), timeout=PATIENCE)).code == "no-fit"
    damaged = {"file": files["file"][:-100].copy()}
    assert failure(lambda: backend.call(raw("load", {"fit": "x"}, damaged), timeout=PATIENCE)).code == "bad-request"


@pytest.mark.system
def test_a_fit_is_kept_in_memory_where_the_folder_cannot_be_written(
    connect: Callable[..., Backend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DSR_HOME", str(tmp_path / "file"))
    backend = connect(command=REAL)
    backend.start()
    backend.call(raw("open", {"fit": "small", "config": {"preset": "preview", "budget": 0.1}}), timeout=PATIENCE)
    messages = log_of(backend).named("log")
    assert f"can't be kept in {tmp_path / 'file/fits'}" in messages[0]["text"] and "set DSR_HOME" in messages[0]["text"]
    for state in (1, 2):
        backend.call(raw("surface", {"fit": "small", "state": state}, sent_ball(state)))
    result, _ = backend.call(raw("fit", {"fit": "small"}), timeout=PATIENCE)
    assert result["report"]["path"] is None
    last = log_of(backend).named("log")[-1]["text"]
    assert f"'small' could not be kept: {tmp_path / 'file/fits/small.dsr'} (" in last
    assert "bytes) can't be written: " in last
    assert backend.call(raw("mesh", {"fit": "small", "time": 1, "resolution": 1.0}), timeout=PATIENCE)[0]["volume"] > 0


@pytest.mark.system
@pytest.mark.parametrize("checkpoint_folder", ["Small.dsr", "SMALL.surfaces", "sMall.detached"])
def test_a_name_that_differs_in_case_only_from_a_kept_one_is_refused(
    connect: Callable[..., Backend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint_folder: str
) -> None:
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    (tmp_path / "fits" / checkpoint_folder).mkdir(parents=True)
    backend = connect(command=REAL)
    backend.start()
    error = failure(lambda: backend.call(raw("open", {"fit": "small"}), timeout=PATIENCE))
    name = checkpoint_folder.partition(".")[0]
    assert (error.code, str(error)) == (
        "bad-request",
        f"fit 'small': {tmp_path / 'fits'} has {name!r}, which differs in case only; give another name",
    )
    # One that is there by that very name may be fitted again, whatever is beside it.
    (tmp_path / "fits" / "small.dsr.previous").touch()
    (tmp_path / "fits" / "small.dsr").touch()
    backend.call(raw("open", {"fit": "small"}), timeout=PATIENCE)


@pytest.mark.system
def test_a_finished_fit_that_can_not_be_kept_is_ready_and_not_interrupted(
    connect: Callable[..., Backend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place of its file is taken, as no disk is full at will; its surfaces can be written beside it."""
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    for name in ("small.dsr", "small.dsr.previous"):
        (tmp_path / "fits" / name / "taken").mkdir(parents=True)
    backend = connect(command=REAL)
    backend.start()
    backend.call(raw("open", {"fit": "small", "config": {"preset": "preview", "budget": 0.1}}), timeout=PATIENCE)
    for state in (1, 2):
        backend.call(raw("surface", {"fit": "small", "state": state}, sent_ball(state)))
    result, _ = backend.call(raw("fit", {"fit": "small"}), timeout=PATIENCE)
    assert result["report"]["path"] is None and (tmp_path / "fits" / "small.surfaces").is_dir()
    assert backend.call(raw("status"))[0]["fits"]["small"]["phase"] == "ready"
    assert backend.call(raw("interrupted"))[0] == {"fits": {}}
    # Once there is room, saving it keeps it there, too, and its surfaces go.
    for name in ("small.dsr", "small.dsr.previous"):
        shutil.rmtree(tmp_path / "fits" / name)
    _, files = backend.call(raw("save", {"fit": "small"}), timeout=PATIENCE)
    # The texts in it have no fixed order.
    assert (tmp_path / "fits" / "small.dsr").stat().st_size == len(files["file"])
    assert not (tmp_path / "fits" / "small.surfaces").exists()


@pytest.mark.system
def test_a_fit_that_can_not_be_kept_is_interrupted_when_it_is_dropped(
    connect: Callable[..., Backend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSR_HOME", str(tmp_path))
    for name in ("small.dsr", "small.dsr.previous"):
        (tmp_path / "fits" / name / "taken").mkdir(parents=True)
    backend = connect(command=REAL)
    backend.start()
    backend.call(raw("open", {"fit": "small", "config": {"preset": "preview", "budget": 0.1}}), timeout=PATIENCE)
    for state in (1, 2):
        backend.call(raw("surface", {"fit": "small", "state": state}, sent_ball(state)))
    backend.call(raw("fit", {"fit": "small"}), timeout=PATIENCE)
    backend.call(raw("drop", {"fit": "small"}))
    assert list(backend.call(raw("interrupted"))[0]["fits"]) == ["small"]


@pytest.mark.system
def test_a_fit_under_way_is_cancelled(connect: Callable[..., Backend]) -> None:
    backend = connect(command=REAL)
    backend.start()
    backend.call(raw("open", {"fit": "small"}), timeout=PATIENCE)
    for state in range(1, 9):
        backend.call(raw("surface", {"fit": "small", "state": state}, sent_ball(state)))
    call = backend.submit(raw("fit", {"fit": "small"}))
    wait_for(lambda: log_of(backend).named("progress"))
    call.cancel()
    assert failure(lambda: call.result(timeout=PATIENCE)).code == "cancelled"
    assert backend.call(raw("status"))[0] == {"busy": None, "fits": {}}


@pytest.mark.system
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"points": np.full((482, 3), np.nan, "<f4")}, "state 2: points must be finite, row 0"),
        ({"faces": np.array([[0, 1, 482]] * 9, "<i4")}, "state 2: faces must index 482 points"),
        ({"atoms": np.zeros((5, 3), "<f4")}, "state 2 has 5 atoms"),
    ],
)
def test_surfaces_that_cannot_be_fitted(real: Backend, spoil: dict[str, NDArray[Any]], words: str) -> None:
    real.call(raw("open", {"fit": "spoilt"}), timeout=PATIENCE)
    calls = [
        real.submit(raw("surface", {"fit": "spoilt", "state": 1}, sent_ball(1))),
        real.submit(raw("surface", {"fit": "spoilt", "state": 2}, {**sent_ball(2), **spoil})),
        real.submit(raw("fit", {"fit": "spoilt"})),
    ]
    error = failure(lambda: [call.result(timeout=PATIENCE) for call in calls])
    assert error.code == "bad-request"
    assert words in error.message
    for call in calls:
        call.cancel()
    real.call(raw("drop", {"fit": "spoilt"}), timeout=PATIENCE)


# Finding the command


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing installed, whose PyMOL is a window program; returns the folder on PATH."""
    for name in ("bin", "app", "prefix"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / "app/PyMOL")))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    return tmp_path / "bin"


def program(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_setting_comes_first(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bare / "dsr-backend")
    ssh = program(bare / "ssh")
    srun = program(bare / "srun")
    unbuffered = [str(srun), "--unbuffered", "-n", "1", "dsr-backend", "serve"]
    assert find_command("srun -n 1 'dsr-backend' serve") == unbuffered
    assert find_command("srun /opt/dsr-backend") == [str(srun), "--unbuffered", "/opt/dsr-backend", "serve"]
    given_command = "srun -n 1 --unbuffered dsr-backend serve"
    assert find_command(given_command) == [str(srun), *given_command.split()[1:]]
    alive = ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
    assert find_command("ssh -T gpu01 dsr-backend") == [str(ssh), *alive, "-T", "gpu01", "dsr-backend", "serve"]
    beyond = "ssh -T login srun python -u -m dsr_backend serve"
    assert find_command(beyond)[-7:] == ["srun", "--unbuffered", "python", "-u", "-m", "dsr_backend", "serve"]
    given_command = "ssh -o ServerAliveInterval=60 gpu01 dsr-backend serve"
    assert find_command(given_command) == [str(ssh), *given_command.split()[1:]]
    assert find_command("srun 'a b' $HOME;ls") == [str(srun), "--unbuffered", "a b", "$HOME;ls"]
    monkeypatch.setenv("HOME", str(bare))
    assert find_command("~/srun gpu01") == [str(srun), "--unbuffered", "gpu01"]


def test_path_then_beside_pymol(bare: Path) -> None:
    beside = program(bare.parent / "app/dsr-backend")
    assert find_command(None) == [str(beside), "serve"]
    on_path = program(bare / "dsr-backend")
    assert find_command("  ") == [str(on_path), "serve"]


def test_pymols_own_python_and_never_its_window(bare: Path) -> None:
    assert failure(find_command).code == "launch"
    python = program(bare.parent / "app/python3")
    assert find_command() == [str(python), "-m", "dsr_backend", "serve"]


def test_nothing_found(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = failure(find_command)
    assert isinstance(error, LaunchError)
    assert "`dsr-backend` is neither on PATH nor beside" in error.message
    assert "`dsr_set backend, /path/to/dsr-backend serve`" in error.message
    assert "`dsr_install`" in error.message


def test_settings_that_do_not_work(bare: Path) -> None:
    assert (
        "\"ssh 'gpu01\" can't be read as a command (No closing quotation)"
        in failure(lambda: find_command("ssh 'gpu01")).message
    )
    assert "names the program 'ssh', which is not there" in failure(lambda: find_command("ssh -T gpu01")).message


def test_looking_for_torch_does_not_import_it() -> None:
    code = (
        "import sys; from pymol_dsr.backend.process import find_command; "
        "assert find_command()[-1] == 'serve'; assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=PATIENCE)


def test_importing_the_client_needs_no_torch_and_no_backend() -> None:
    code = "import sys; import pymol_dsr.backend.client; assert not {'torch', 'dsr_backend'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def test_rooms_need_no_shell() -> None:
    assert "shell=True" not in Path(process.__file__).read_text(encoding="utf-8")
