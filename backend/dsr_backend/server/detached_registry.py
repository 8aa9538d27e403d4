"""Fits in a process of their own, which goes on when PyMOL and the backend that it talked to are gone.

The folder `NAME.detached` beside `NAME.surfaces` says all of one: what was asked of it, how far it is, its log. A file
`stop` in it asks for its end, so that a backend on another node of the same disk can do so, too.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..runtime.errors import RequestError

SUFFIX = ".detached"
ASKED, STATUS, STOP, LOG = "asked.json", "status.json", "stop", "log.txt"
ENDED = ("ready", "failed", "cancelled")
BEAT = 1.0
"""Seconds from one status to the next; a process writes it as long as it lives."""
LATE = 5.0
"""Seconds without a status after which a process is looked for."""
SILENT = 60.0
"""Seconds without a status after which one that can't be looked for, on another machine, counts as gone."""
MOST_LOG = 1 << 20
MOST_STATUS = 1 << 16

# To be waited for when they end, or they would still look like processes.
_children: list[subprocess.Popen[bytes]] = []


def start_detached(fits: Path, name: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Start the process of a fit whose surfaces are set aside; its first status. Raises OSError.

    asked: the params of `open`.
    """
    folder = fits / (name + SUFFIX)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / ASKED, asked)
    with open(folder / LOG, "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "dsr_backend", "fit-detached", name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Out of reach of what ends the backend's group of processes.
            start_new_session=True,
        )
    _children.append(child)
    status = first(child.pid)
    # The process may have written its own by now.
    if not (folder / STATUS).exists():
        write_json(folder / STATUS, status)
    return status


def statuses(fits: Path) -> dict[str, dict[str, Any]]:
    """How far each is: phase (also `starting`, and `ready`, `failed` or `cancelled` at the end), fraction, step, steps,
    loss, seconds_left, device, pid, host, started and updated (seconds since 1970), message (why it failed).
    """
    for child in list(_children):
        if child.poll() is not None:
            _children.remove(child)
    found = {}
    for folder in sorted(fits.glob(f"*{SUFFIX}")):
        status = read_status(folder)
        if status is not None:
            found[folder.name[: -len(SUFFIX)]] = status
    return found


def ensure_not_running(fits: Path, name: str) -> None:
    """Raises RequestError where that fit is under way."""
    status = read_status(fits / (name + SUFFIX))
    if status is not None and status["phase"] not in ENDED:
        raise RequestError(
            "bad-request",
            f"fit {name!r} is being fitted, detached (process {status['pid']} on {status['host']}): "
            f"dsr_status {name} shows how far it is, dsr_cancel {name} stops it; or give another name",
        )


def stop_detached(fits: Path, name: str) -> bool:
    """Ask a fit to end; whether it is under way. Raises OSError."""
    status = read_status(fits / (name + SUFFIX))
    if status is None or status["phase"] in ENDED:
        return False
    (fits / (name + SUFFIX) / STOP).touch()
    return True


def remove_record(fits: Path, name: str) -> None:
    """Remove the folder of a fit that has ended, or is about to begin anew."""
    shutil.rmtree(fits / (name + SUFFIX), ignore_errors=True)


def first(pid: int) -> dict[str, Any]:
    now = time.time()
    empty = dict.fromkeys(("step", "steps", "loss", "seconds_left", "device"))
    where = {"pid": pid, "host": socket.gethostname(), "started": now, "updated": now}
    return {**empty, **where, "phase": "starting", "fraction": 0.0, "message": ""}


def write_json(path: Path, value: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    draft.write_text(json.dumps(value), encoding="utf-8")
    os.replace(draft, path)


def read_status(folder: Path) -> dict[str, Any] | None:
    """The status of a fit, `failed` where its process is gone; None where there is none that can be read."""
    try:
        with open(folder / STATUS, encoding="utf-8") as file:
            found = json.loads(file.read(MOST_STATUS))
        status = {**first(0), **found}
        age = time.time() - float(status["updated"])
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    if status["phase"] not in ENDED and _gone(status, age):
        said = _last_words(folder / LOG)
        status["phase"] = "failed"
        status["message"] = (
            f"its process ({status['pid']} on {status['host']}) is gone without a word, {age:.0f} s ago"
            f"{f'; its last words: {said!r}' if said else ''}; dsr_resume goes on from its surfaces"
        )
    return status


def _gone(status: dict[str, Any], age: float) -> bool:
    if age < LATE:
        return any(child.pid == status["pid"] and child.poll() is not None for child in _children)
    if os.name != "posix" or status["host"] != socket.gethostname() or age > 10 * SILENT:
        return age > SILENT
    try:
        os.kill(int(status["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return False


def _last_words(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 2000))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
