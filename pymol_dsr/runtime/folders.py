"""Folder of fits, and the files that the plugin and a local backend keep."""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import tempfile
from dataclasses import dataclass

from ..shared import paths
from ..shared.fits_folder import DETACHED, FIT, MODEL, MODELS, SIMULATIONS, SURFACES, model_format
from ..shared.safetensors_header import read_texts
from .install import FOLDER, LOG
from .settings import Settings


@dataclass(frozen=True)
class WrittenFile:
    """A file or folder that is kept on this machine; size in bytes, with all that lies in it."""

    path: str
    size: int
    description: str


KINDS = {
    FIT: "a fit",
    f"{FIT}.previous": "the fit of that name before",
    SURFACES: "of an interrupted fit: surfaces and training; dsr_resume goes on",
    DETACHED: "of a fit in a process of its own: what was asked, how far it is, its log",
}


def fits_home(settings: Settings) -> str:
    """Return the folder that a backend on this machine keeps its files in."""
    return paths.fits_home(settings.get("folder"))


def fits_folder(settings: Settings) -> str:
    """Return the folder of the fits themselves, inside `fits_home`; it need not exist yet."""
    return paths.fits_folder(settings.get("folder"))


def learned_models(settings: Settings, kind: str) -> list[str]:
    """Return the names of the learned models of a kind (potential or generator) on this machine, newest first."""
    dates = {}
    for path in glob.glob(os.path.join(glob.escape(fits_home(settings)), MODELS, f"*{MODEL}")):
        # One may be deleted meanwhile.
        with contextlib.suppress(OSError):
            written = os.path.getmtime(path)
            if _model_format(path, written) == model_format(kind):
                dates[os.path.basename(path).removesuffix(MODEL)] = written
    return sorted(dates, key=lambda name: (-dates[name], name))


@functools.lru_cache(maxsize=200)
def _model_format(path: str, written: float) -> str:
    """Return the format that the header of a file of tensors names, written at that time; empty for no such file."""
    try:
        with open(path, "rb") as stream:
            return read_texts(stream).get("format", "")
    except ValueError:
        return ""


def written_files(settings: Settings) -> list[WrittenFile]:
    """All that this plugin and a backend on this machine have written and keep."""
    files = []
    preferences = os.path.expanduser("~/.pymolpluginsrc.py")
    if os.path.isfile(preferences):
        description = "PyMOL's preferences, of which those named dsr_ are ours"
        files.append(WrittenFile(preferences, os.path.getsize(preferences), description))
    unknown = "not ours, or left by a write that failed"
    for path in _entries(fits_folder(settings)):
        files.append(WrittenFile(path, _size(path), next((KINDS[end] for end in KINDS if path.endswith(end)), unknown)))
    home = fits_home(settings)
    for path in _entries(os.path.join(home, MODELS)):
        files.append(WrittenFile(path, _size(path), "a learned model" if path.endswith(MODEL) else unknown))
    for path in _entries(os.path.join(home, SIMULATIONS)):
        files.append(WrittenFile(path, _size(path), "a simulation: states, forces and its last checkpoint"))
    for name, description in ((FOLDER, "the compute program of dsr_install"), (LOG, "the log of its installation")):
        path = os.path.join(home, name)
        if os.path.exists(path):
            files.append(WrittenFile(path, _size(path), description))
    for path in sorted(glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), "dsr-*"))):
        files.append(WrittenFile(path, _size(path), "of a fit under way, or of one that was killed and then of no use"))
    return files


def _entries(folder: str) -> list[str]:
    """Return the whole paths of all that lies in a folder; none where it does not exist."""
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))] if os.path.isdir(folder) else []


def _size(path: str) -> int:
    size = 0
    for file in [path, *(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)]:
        # A fit under way deletes its own files.
        with contextlib.suppress(OSError):
            size += os.path.getsize(file) if os.path.isfile(file) else 0
    return size
