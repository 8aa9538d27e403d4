"""Checks of an installation, each of which becomes one line: `ok`, `FAIL` with a remedy, or `--` for one not made."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable

FREE_GB = 0.5
"""GB on the disk of fits below which it counts as full; a fit of a large protein takes about 0.1."""


class CheckFailed(Exception):
    """A check that found a fault. remedy: what to do about it."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


class CheckSkipped(Exception):
    """A check that could not be made, since one before it failed."""


def check_line(name: str, check: Callable[[], str], separator: str = "; ", usual_remedy: str = "") -> str:
    """Return the line of one check.

    separator: between a fault and its remedy. usual_remedy: for faults that name none.
    """
    try:
        return f"ok   {name}: {check()}"
    except CheckSkipped as reason:
        return f"--   {name}: not tried, {reason}"
    except Exception as error:  # any fault at all is what the check looks for
        text = " ".join(str(error).split()) or type(error).__name__
        remedy = getattr(error, "remedy", usual_remedy)
        return f"FAIL {name}: {text}" + (f"{separator}{remedy}" if remedy else "")


def free_gigabytes(folder: str, written: str, remedy: str, other_disk: str) -> float:
    """GB free where a folder is or would be made. Raises CheckFailed where it can't be written to, or is full.

    written: how the message says that, as `written to`. remedy: for the first fault; other_disk: for the second.
    """
    existing = os.path.abspath(folder)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    try:
        # Tried, since permissions say nothing of read-only disks.
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise CheckFailed(f"{folder} can't be {written}: {error.strerror}", remedy) from error
    free = shutil.disk_usage(existing).free / 1e9
    if free < FREE_GB:
        raise CheckFailed(f"{folder} has {free:.2f} GB free", f"make room, or {other_disk}")
    return free
