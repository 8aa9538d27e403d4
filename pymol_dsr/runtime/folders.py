"""Folder of fits, and the files that the plugin and a local backend keep."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile

from . import settings


def fits_home() -> str:
    """The folder where a backend on this machine keeps its fits."""
    return os.path.expanduser(settings.get("folder") or os.environ.get("DSR_HOME") or "~/.pymol_dsr")


def written_files() -> list[tuple[str, int, str]]:
    """All that this plugin and a backend on this machine have written and keep: path, bytes, what it is."""
    found = []
    preferences = os.path.expanduser("~/.pymolpluginsrc.py")
    if os.path.isfile(preferences):
        found.append(
            (preferences, os.path.getsize(preferences), "PyMOL's preferences, of which those named dsr_ are ours")
        )
    kinds = {
        ".dsr": "a fit",
        ".dsr.previous": "the fit of that name before",
        ".surfaces": "of an interrupted fit: surfaces and training; dsr_resume goes on",
        ".detached": "of a fit in a process of its own: what was asked, how far it is, its log",
    }
    folder = os.path.join(fits_home(), "fits")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name)
        what = next((kinds[end] for end in kinds if name.endswith(end)), "not ours, or left by a write that failed")
        found.append((path, _size(path), what))
    for path in sorted(glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), "dsr-*"))):
        found.append((path, _size(path), "of a fit under way, or of one that was killed and then of no use"))
    return found


def _size(path: str) -> int:
    size = 0
    for file in [path, *(os.path.join(at, name) for at, _, names in os.walk(path) for name in names)]:
        # A fit under way takes its own away.
        with contextlib.suppress(OSError):
            size += os.path.getsize(file) if os.path.isfile(file) else 0
    return size
