"""Backends as processes: commands that start them, the events they send, and whether they have ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pymol_dsr.backend import client
from pymol_dsr.backend.process import Process
from pymol_dsr.shared import messages
from support.paths import SUPPORT
from support.waiting import PATIENCE

PROBLEM = [sys.executable, str(SUPPORT / "problem_backend.py")]
# Never greets.
QUEUED = ["sh", "-c", "echo 'srun: job 17 queued and waiting for resources' >&2; exec sleep 600"]


class Log(list[tuple[str, dict[str, Any]]]):
    """Events as they come; `arrays` holds those of the last one."""

    def __call__(self, event: messages.Event) -> None:
        params, self.arrays = event.encode()
        self.append((event.EVENT, params))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [params for event_name, params in self if event_name == name]


class Reply(messages.Result, tuple[dict[str, Any], dict[str, NDArray[Any]]]):
    """A reply as its frame holds it: values and arrays, with no check."""

    @classmethod
    def decode(cls, values: Mapping[str, Any], arrays: Any, letters: Mapping[str, int] | None = None) -> Reply:
        return cls((dict(values), dict(arrays)))


def raw(method: str, params: dict[str, Any] | None = None, arrays: dict[str, Any] | None = None) -> Any:
    """A request of any method, with parameters and arrays as they are, right or wrong; its result is a Reply."""

    class Raw(messages.Request[Reply]):
        METHOD = method
        LANE = messages.Lane.WORKER
        RESULT = Reply

        def encode(self) -> tuple[dict[str, Any], dict[str, Any]]:
            return dict(params or {}), dict(arrays or {})

    return Raw()


def give_up_at_first_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time to greet run out when a backend has said its first words, however long they take."""
    ahead = 0.0
    read = Process.stderr_tail

    def tail(self: Process) -> list[str]:
        nonlocal ahead
        lines = read(self)
        ahead = 2 * PATIENCE if lines else ahead
        return lines

    monkeypatch.setattr(Process, "stderr_tail", tail)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead, sleep=time.sleep)
    monkeypatch.setattr(client, "time", clock)


def runs(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def group_is_gone(leader: int) -> bool:
    """Whether no process of a process group runs."""
    lines = subprocess.run(["ps", "-eo", "pid=,pgid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in lines.splitlines()]
    return not any(group == leader and runs(pid) for pid, group in pairs)


def sent_ball(centre: float, radius: float = 5.0) -> dict[str, NDArray[Any]]:
    """A sphere around (centre, 0, 0) with six atoms in it, as the arrays of `surface`."""
    latitude, longitude = 16, 32
    theta = np.pi * (np.arange(1, latitude) / latitude)
    phi = 2 * np.pi * np.arange(longitude) / longitude
    ring = np.stack(
        [
            np.outer(np.sin(theta), np.cos(phi)),
            np.outer(np.sin(theta), np.sin(phi)),
            np.outer(np.cos(theta), phi * 0 + 1),
        ],
        -1,
    ).reshape(-1, 3)
    normals = np.concatenate([ring, [[0, 0, 1], [0, 0, -1]]])
    at = np.arange((latitude - 1) * longitude).reshape(latitude - 1, longitude)
    right = np.roll(at, -1, axis=1)
    sides = [np.stack([at[:-1], at[1:], right[1:]], -1), np.stack([at[:-1], right[1:], right[:-1]], -1)]
    north, south = at.size, at.size + 1
    caps = [
        np.stack([np.full(longitude, north), at[0], right[0]], -1),
        np.stack([np.full(longitude, south), right[-1], at[-1]], -1),
    ]
    faces = np.concatenate([faces_of_part.reshape(-1, 3) for faces_of_part in sides + caps])
    shift = np.array([centre, 0, 0])
    atoms = np.concatenate([np.eye(3), -np.eye(3)]) * 2 + shift
    return {
        "points": (radius * normals + shift).astype("<f4"),
        "normals": normals.astype("<f4"),
        "faces": faces.astype("<i4"),
        "atoms": atoms.astype("<f4"),
    }
