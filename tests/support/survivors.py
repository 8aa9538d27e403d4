"""Processes that outlive the tests that started them, however they were started."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

# In the environment of all that this process starts, and of what these processes start, in whatever session they run.
MARK = "DSR_STARTED_BY_TESTS"
# A process that has been asked to end may take so long on a busy machine.
GRACE_SECONDS = 30.0


def mark_children() -> None:
    """Let the processes that are started from now on be known by their environment."""
    os.environ[MARK] = str(os.getpid())


def survivors() -> dict[int, str]:
    """Processes with this process's mark that run: by number, the test that started it and its command."""
    running = {}
    mark = f"{MARK}={os.getpid()}"
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_text(errors="replace").split("\0")
            command = (folder / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
        except OSError:  # it has ended, or is another user's
            continue
        if mark in environment and command:
            tests = [word for word in environment if word.startswith("PYTEST_CURRENT_TEST=")]
            running[int(folder.name)] = f"{' '.join(tests)}: {command}"
    return running


def end_survivors() -> dict[int, str]:
    """Give processes that are about to end their time, and kill the others; returns these."""
    end = time.monotonic() + GRACE_SECONDS
    while (running := survivors()) and time.monotonic() < end:
        time.sleep(0.1)
    for pid in running:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return running
