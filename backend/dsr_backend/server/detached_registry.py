"""Fits in a process of their own, which goes on when PyMOL and the backend that it talked to are gone.

The folder `NAME.detached` beside `NAME.surfaces` says all of one: what was asked of it, how far it is, its log. A file
`stop` in it asks for its end, so that a backend on another node of the same disk can do so, too. Its process holds a
lock on the file `lock` for as long as it lives, whatever clocks and the status say.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from pymol_dsr.shared import atomic_write
from pymol_dsr.shared.fits_folder import DETACHED, LOCK
from pymol_dsr.shared.messages import DetachedStatus, Open
from pymol_dsr.shared.names import is_name
from pymol_dsr.shared.values import JsonObject

from ..runtime.errors import RequestError
from ..runtime.locks import is_held

ASKED, STATUS, STOP, LOG = "asked.json", "status.json", "stop", "log.txt"
ENDED = ("ready", "failed", "cancelled")
BEAT = 1.0
"""Seconds from one status to the next; a process writes it as long as it lives."""
LATE = 5.0
"""Seconds between a status and now, to either side, after which a process of this machine without its lock is gone."""
SILENT = 60.0
"""The same for one that has yet to take its lock, and one on another machine, whose lock may not be seen here."""
LOCK_WAIT = 0.5
"""Seconds to wait for the lock, which who looks at it holds for a moment."""
MOST_LOG = 1 << 20
MOST_STATUS = 1 << 16

# By number. To be waited for when they end, or they would still look like processes.
_children: dict[int, subprocess.Popen[bytes]] = {}


def start_detached(fits: Path, name: str, opened: Open) -> DetachedStatus:
    """Start the process of a fit whose surfaces are in their folder, and return its first status. Raises OSError.

    opened: the request that opened the fit, which the process repeats.
    """
    folder = fits / (name + DETACHED)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / ASKED, opened.encode()[0])
    with open(folder / LOG, "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "dsr_backend", "fit-detached", name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Out of reach of what ends the backend's group of processes.
            start_new_session=True,
        )
    _children[child.pid] = child
    status = starting_status(child.pid)
    # The process may have written its own by now.
    if not (folder / STATUS).exists():
        write_json(folder / STATUS, status.to_json())
    return status


def statuses(fits: Path) -> dict[str, DetachedStatus]:
    """Return the state of each detached fit in the folder of fits, by name."""
    for child in tuple(_children.values()):
        child.poll()
    by_name = {}
    for folder in sorted(fits.glob(f"*{DETACHED}")):
        status = read_status(folder) if is_name(folder.name[: -len(DETACHED)]) else None
        if status is not None:
            by_name[folder.name[: -len(DETACHED)]] = status
    return by_name


def ensure_not_running(fits: Path, name: str) -> None:
    """Raise RequestError where that fit is under way."""
    folder = fits / (name + DETACHED)
    status = read_status(folder)
    if status is None and not _is_locked(folder):
        return
    if status is None or status.phase not in ENDED:
        owner = "its process has not written its status" if status is None else f"process {status.pid} on {status.host}"
        raise RequestError(
            "bad-request",
            f"fit {name!r} is being fitted, detached ({owner}): "
            f"dsr_status {name} shows how far it is, dsr_cancel {name} stops it; or give another name",
        )


def stop_detached(fits: Path, name: str) -> bool:
    """Ask a fit to end, and return whether it is under way.

    The record of a fit that has failed is removed. Raises OSError.
    """
    folder = fits / (name + DETACHED)
    status = read_status(folder)
    if status is None and not _is_locked(folder):
        return False
    if status is None or status.phase not in ENDED:
        (folder / STOP).touch()
        return True
    if status.phase != "ready":
        remove_record(fits, name)
    return False


def remove_record(fits: Path, name: str) -> None:
    """Remove the folder of a fit that has ended, or is about to begin anew."""
    shutil.rmtree(fits / (name + DETACHED), ignore_errors=True)


def starting_status(pid: int) -> DetachedStatus:
    """Return the status of a process that starts now."""
    started = time.time()
    return DetachedStatus("starting", 0.0, pid=pid, host=socket.gethostname(), started=started, updated=started)


def write_json(path: Path, value: JsonObject) -> None:
    """Write a JSON object, which a reader sees whole or not at all. Raises OSError."""
    atomic_write.replace(path, json.dumps(value).encode())


def read_status(folder: Path) -> DetachedStatus | None:
    """Return the status of a fit, `failed` where its process is gone; None where there is none that can be read."""
    try:
        with open(folder / STATUS, encoding="utf-8") as file:
            status = DetachedStatus.from_json(json.loads(file.read(MOST_STATUS)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    age = time.time() - status.updated
    if status.phase not in ENDED and _is_gone(folder, status, age):
        last_words = _last_words(folder / LOG)
        message = (
            f"its process ({status.pid} on {status.host}) is gone without a word"
            f"{f', {age:.0f} s ago' if age >= 0 else ''}"
            f"{f'; its last words: {last_words!r}' if last_words else ''}; dsr_resume goes on from its surfaces"
        )
        return dataclasses.replace(status, phase="failed", message=message)
    return status


def _is_gone(folder: Path, status: DetachedStatus, age: float) -> bool:
    is_here = status.host == socket.gethostname()
    child = _children.get(status.pid) if is_here else None
    if child is not None:
        return child.poll() is not None
    if _is_locked(folder):
        return False
    is_observed = is_here and status.phase != "starting"
    # A clock that was set back makes it older than nothing.
    return abs(age) > (LATE if is_observed else SILENT)


def _is_locked(folder: Path) -> bool:
    """Whether a process holds the lock of a detached fit; False where nobody can say."""
    # Looking at a lock that is not there would make its file.
    return (folder / LOCK).exists() and is_held(folder / LOCK)


def _last_words(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 2000))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
