"""A backend that misbehaves on request: `python problem_backend.py MODE`.

Most modes write their own frames, so that they can break them. `worker SECONDS` is the real server with methods of its
own in the worker lane; SECONDS replaces those that a stuck process is left.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pymol_dsr.shared import frames, messages
from pymol_dsr.shared.frames import read_frame, write_frame

out, requests = sys.stdout.buffer, sys.stdin.buffer


def say(header: dict[str, Any]) -> None:
    write_frame(out, header)


def greet(speaks: int = frames.PROTOCOL) -> None:
    frame = read_frame(requests)  # type: ignore[arg-type]
    assert frame is not None
    say({"kind": "reply", "id": frame[0]["id"], "result": {"protocol": speaks, "version": "9.9"}})


def next_id() -> int:
    frame = read_frame(requests)  # type: ignore[arg-type]
    if frame is None:
        sys.exit(0)
    return int(frame[0]["id"])


def linger() -> None:
    time.sleep(600)


def banner() -> None:
    out.write(b"Welcome to gpu01\n")
    out.flush()
    linger()


def missing() -> None:
    sys.exit("ModuleNotFoundError: No module named 'torch'")


def junk() -> None:
    greet()
    next_id()
    out.write(b"Segmentation fault (core dumped)\n")
    out.flush()
    linger()


def half() -> None:
    greet()
    frame = b"".join(bytes(chunk) for chunk in frames.encode({"kind": "reply", "id": next_id(), "result": {}}))
    out.write(frame[:30])
    out.flush()
    sys.exit(4)


def huge() -> None:
    greet()
    next_id()
    out.write(struct.pack("<4sIQ", b"DSR1", 2, 2**62))
    out.flush()
    linger()


def newer() -> None:
    greet(frames.PROTOCOL + 1)
    linger()


def older() -> None:
    greet(frames.PROTOCOL - 1)
    # Over ssh nobody can kill it: like a real one, it ends with its line.
    sys.stdin.buffer.read()


def refuses() -> None:
    say({"kind": "error", "id": next_id(), "code": "version", "message": "upgrade the plugin"})
    linger()


def killed() -> None:
    greet()
    next_id()
    print("step 120 of 1400", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def fails() -> None:
    greet()
    next_id()
    sys.exit("CUDA error: device lost")


def orphans() -> None:
    """Ends while a child of its own holds its output open."""
    greet()
    next_id()
    subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
    sys.stderr.write("gone\n")
    os._exit(5)


def shut() -> None:
    """Takes no more requests, and goes on."""
    greet()
    os.close(requests.fileno())
    say({"kind": "event", "event": "log", "params": {"text": "shut"}})
    linger()


def stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "600"], preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    greet()
    say({"kind": "event", "event": "log", "params": {"text": str(child.pid)}})
    linger()


def mute() -> None:
    greet()
    while True:
        next_id()


def deaf() -> None:
    """Greets and reads nothing more."""
    greet()
    linger()


def twice() -> None:
    greet()
    number = next_id()
    for _ in range(2):
        say({"kind": "reply", "id": number, "result": {}})
    linger()


def worker(seconds: str = "120", entering: str = "prints") -> None:
    from dsr_backend.server.stdio import claim_streams

    streams = claim_streams()
    from dsr_backend.runtime.errors import Cancelled, RequestError
    from dsr_backend.server import server
    from dsr_backend.server.job import Answer, Job, Method

    server.EXIT_SECONDS = float(seconds)

    class Bench:
        """Methods that take time, make noise and fail as asked; `share` is the work that several may do at once."""

        together = frozenset({"share"})
        at_once = 2

        def __init__(self) -> None:
            names = ("echo", "work", "share", "obstinate", "spin", "noise", "report", "fail", "grow")
            self.methods: dict[str, Method] = {name: getattr(self, name) for name in names}
            self.released = 0

        def prepare(self) -> messages.Device:
            return messages.Device(device="bench", torch="imported" if "torch" in sys.modules else "")

        def enter(self) -> None:
            if entering == "fails":
                raise ImportError("no torch")
            print("a thread for sharing begins", file=sys.stderr, flush=True)

        def status(self) -> dict[str, messages.FitStatus]:
            return {"bench": messages.FitStatus("ready", 1.0, step=self.released, loss=float("nan"))}

        def detached(self) -> dict[str, messages.DetachedStatus]:
            return {}

        def stop(self, name: str) -> bool:
            return False

        def interrupted(self) -> dict[str, messages.InterruptedFit]:
            return {}

        def release(self) -> None:
            self.released += 1

        def echo(self, job: Job) -> Answer:
            return dict(job.params), job.arrays

        def work(self, job: Job) -> Answer:
            """Works until the file `until` exists, or until it is cancelled, and then leaves a checkpoint."""
            job.log(f"working on {job.params.get('name')}")
            last = job.params.get("until", "")
            while not (last and Path(last).exists()):
                if job.cancelled():
                    if "checkpoint" in job.params:
                        print("a library that speaks while the plugin is gone", file=sys.stderr, flush=True)
                        Path(job.params["checkpoint"]).write_text("kept")
                    raise Cancelled
                time.sleep(0.01)
            return {"name": job.params.get("name")}, {}

        def share(self, job: Job) -> Answer:
            return self.work(job)

        def obstinate(self, job: Job) -> Answer:
            """Finishes in spite of being cancelled."""
            job.log("working")
            while not job.cancelled():
                time.sleep(0.01)
            return {"finished": True}, {}

        def spin(self, job: Job) -> Answer:
            job.log("working")
            while True:
                pass

        def noise(self, job: Job) -> Answer:
            print("a print")
            sys.stdout.flush()
            os.write(1, b"a write from C\n")
            ctypes.CDLL(None).puts(b"a puts from C")
            ctypes.CDLL(None).fflush(None)
            subprocess.run(["echo", "a child's echo"], check=True)
            return {"stdin": sys.stdin.read()}, {}

        def report(self, job: Job) -> Answer:
            half = messages.FitStatus("fit", np.float32(0.5), loss=float("inf"))  # type: ignore[arg-type]
            job.progress(messages.Progress(fit="bench", status=half))
            job.progress(messages.Progress(fit="bench", status=messages.FitStatus("saving", 1.0)))
            return {}, {}

        def fail(self, job: Job) -> Answer:
            kind = job.params["kind"]
            if kind == "request":
                raise RequestError("diverged", "the loss became NaN at step 12")
            if kind == "memory":
                np.empty(1 << 60, np.uint8)
            if kind == "cpu memory":
                raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
            if kind == "exit":
                sys.exit("a library gave up")
            raise KeyError("a bug\nwith details")

        def grow(self, job: Job) -> Answer:
            frames.MAX_PAYLOAD = 1000
            return {}, {"values": np.zeros(1001, np.uint8)}

    server.serve(*streams, Bench())


def play(fault: str, release: str = "") -> None:
    """Fits of the states 1 and 2 of one object, with surfaces of before and a mesh of a tetrahedron; `fault` breaks it.

    dies: at step 7. deaf: ignores that a fit is cancelled. stubborn: that, shutdown, the end of stdin and SIGTERM.
    held: no fit is ready before the file `release` is there. Others are what is wrong with a mesh.
    """
    if fault == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    greet()
    points = np.array([[0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3]], "<f4")
    mesh = {"points": points, "normals": np.tile(np.array([[0, 0, 1]], "<f4"), (4, 1))}
    mesh["faces"] = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], "<i4")
    if fault == "nan points":
        mesh["points"] = np.where(points == 3, np.nan, points).astype("<f4")
    elif fault == "infinite normals":
        mesh["normals"] = mesh["normals"] * np.float32("inf")
    elif fault == "faces past the end":
        mesh["faces"] = mesh["faces"] + 1
    elif fault == "negative faces":
        mesh["faces"] = mesh["faces"] - 1
    elif fault == "normals of another size":
        mesh["normals"] = mesh["normals"][:3]
    elif fault == "large":
        mesh["faces"] = np.tile(mesh["faces"], (5000, 1))
    elif fault == "no faces":
        del mesh["faces"]
    mesh_report = {"area": 1.0, "volume": 1.0, "islands_dropped": 0, "expected_error": None}
    mesh_report |= {"extrapolated": False, "seconds": 0.1}
    while (frame := read_frame(requests)) is not None:  # type: ignore[arg-type]
        number, method, params = frame[0]["id"], frame[0]["method"], frame[0]["params"]
        result: dict[str, Any] = {}
        arrays = {}
        if method == "open":
            source = params["source"]
            result = {"states": [1, 2]}
        elif method == "fit" and fault in ("dies", "deaf", "stubborn"):
            progress = {"fit": params["fit"], "phase": "fit", "fraction": 0.5, "step": 7, "checkpoint": 5, "loss": 0.1}
            say({"kind": "event", "event": "progress", "params": progress})
            if fault == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            continue
        elif method == "fit":
            while fault == "held" and not Path(release).exists():
                time.sleep(0.01)
            result = {"report": {"states": [1, 2], "device": "cpu", "source": source, "seconds": 0.1}}
        elif method == "mesh":
            result, arrays = {**mesh_report, "time": params["time"]}, mesh
        elif method == "shutdown" and fault != "stubborn":
            sys.exit(0)
        elif method == "shutdown":
            continue
        write_frame(out, {"kind": "reply", "id": number, "result": result}, arrays)
    if fault == "stubborn":
        linger()


def small(seconds: str = "0.05", steps: str = "400") -> None:
    """The real backend with small numbers behind the presets, and checkpoints of the training every so many seconds."""
    from dsr_backend.server.stdio import claim_streams

    streams = claim_streams()
    from dsr_backend.fitting.config import PRESETS, PaperPreset, Preset
    from dsr_backend.fitting.paper import checkpoint
    from dsr_backend.server import server

    checkpoint.INTERVAL_SECONDS = float(seconds)
    PRESETS["preview"] = Preset(spacing=1.4, density=4.0, iterations=10)
    PRESETS["paper"] = PaperPreset(width=32, layers=4, latent=8, points=64, cpu_points=32, steps=int(steps), halvings=2)
    server.serve(*streams)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
