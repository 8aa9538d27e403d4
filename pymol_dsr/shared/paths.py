"""Paths of files that users name, and the folder of fits."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .atomic_write import remove_abandoned


def fits_home(setting: str = "") -> str:
    """Return the folder of a backend's files on this machine: the setting, `$DSR_HOME` or `~/.pymol_dsr`."""
    return os.path.expanduser(setting or os.environ.get("DSR_HOME") or "~/.pymol_dsr")


def fits_folder(setting: str = "") -> str:
    """Return the folder of the fits themselves, inside `fits_home`; it need not exist yet."""
    return os.path.join(fits_home(setting), "fits")


def names_by_time(path: str, times: Sequence[float]) -> list[str]:
    """Return the path of each time's file: `path` itself for a single time, else with the time in its name."""
    if len(times) == 1:
        return [path]
    stem, suffix = os.path.splitext(path)
    # As many digits as tell the times apart.
    digits = max(2, *(len(repr(float(time)).split(".")[1]) for time in times))
    return [f"{stem}_{time:0{5 + digits}.{digits}f}{suffix}" for time in times]


def names_by_number(path: str, count: int) -> list[str]:
    """Return the path of each of several files: `path` itself for a single one, else with a number from 01 in it."""
    stem, suffix = os.path.splitext(path)
    return [path] if count == 1 else [f"{stem}_{number:02d}{suffix}" for number in range(1, count + 1)]


def file_to_write(path: str, suffixes: Sequence[str], argument: str = "") -> str:
    """Expand ~ and variables in the path of a file to write, and check it; the path is absolute then.

    Drafts that killed processes left in its folder are removed.

    suffixes: endings to choose from, each with its dot. argument: name of the argument, for messages. Raises ValueError
    for another ending, a folder of that name, and a folder that is missing or can't be written to.
    """
    label = f"{argument} {path}".strip()
    full = os.path.abspath(os.path.expandvars(os.path.expanduser(path)))
    folder = os.path.dirname(full)
    if os.path.splitext(full)[1].lower() not in suffixes:
        raise ValueError(f"{label}: it must end in {', '.join(suffixes)}")
    if os.path.isdir(full):
        raise ValueError(f"{label}: it is a folder")
    if not os.path.isdir(folder):
        raise ValueError(f"{label}: the folder {folder} does not exist")
    try:
        # Tried, since permissions say nothing of read-only disks.
        tempfile.TemporaryFile(dir=folder).close()
        remove_abandoned(Path(folder))
    except OSError as error:
        raise ValueError(f"{label}: the folder {folder} can't be written to: {error.strerror}") from error
    return full
