"""Deletes fits: from the session, from the backend's memory and from the folder of fits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..runtime.folders import fits_folder
from ..runtime.settings import Settings
from ..shared import atomic_write, messages
from ..shared.fits_folder import DETACHED, FIT, LOCK, SURFACES
from .fit import JobError
from .jobs import Jobs

# Endings of a finished fit in the folder, with the one of its name before, and of the surfaces of an interrupted one.
FINISHED, INTERRUPTED = (FIT, f"{FIT}.previous"), (SURFACES,)


def files_of(settings: Settings, name: str, endings: Sequence[str] = (*FINISHED, *INTERRUPTED)) -> list[Path]:
    """Return the files and folders of a fit in the folder of fits on this machine, with these endings."""
    folder = Path(fits_folder(settings))
    return [path for path in (folder / f"{name}{ending}" for ending in endings) if path.exists()]


def remove_fit(jobs: Jobs, name: str, endings: Sequence[str] = (*FINISHED, *INTERRUPTED)) -> list[Path]:
    """Delete a fit and its files in the folder of fits on this machine, and return the paths of these.

    endings: of its files; with those of an interrupted fit alone, the finished one of this name stays. A file that the
    user has named with dsr_save stays. Raises JobError for a fit that is under way, here or elsewhere, and where there
    is none; OSError where a file can't be deleted.
    """
    fit, paths = jobs.fits.get(name), files_of(jobs.settings, name, endings)
    if fit is None and not paths:
        raise JobError(f"there is no fit {name} (there: {', '.join(sorted(jobs.fits)) or 'none'})")
    if fit is not None and fit.activity:
        raise JobError(f"{name} is busy with {fit.activity}; wait for it, or dsr_cancel {name}")
    if (Path(fits_folder(jobs.settings)) / f"{name}{DETACHED}").exists():
        raise JobError(
            f"{name} is detached; dsr_cancel {name} stops it, and dsr_movie {name} takes it when it is ready"
        )
    for lock in [path / LOCK for path in paths if (path / LOCK).exists()]:
        if not atomic_write.is_unlocked(lock):
            raise JobError(f"{name} is under way in another process; wait for it, or end that")
        # Before all else: on Windows this fails while a process has it open, and the fit stays whole.
        lock.unlink()
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else os.remove(path)
    backend = jobs.connection.running
    if fit is not None and endings != INTERRUPTED:
        jobs.leave(fit)
        if backend is not None and fit.holder is backend:
            backend.submit(messages.Drop(fit=name))
    return paths
