"""Stages the surfaces of a fit in files of their own.

PyMOL takes long to make surfaces, and many take much memory. Each is therefore written when it arrives: an interrupted
fit resumes from these files, and of a long trajectory only the surfaces in use are in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import filelock

from pymol_dsr.shared import atomic_write
from pymol_dsr.shared.fits_folder import ABOUT, LOCK, SURFACES
from pymol_dsr.shared.names import is_name
from pymol_dsr.shared.safetensors_header import read_texts
from pymol_dsr.shared.surfaces_format import NPZ, SAFETENSORS

from ..runtime.errors import RequestError
from ..runtime.folders import clear_folder
from ..runtime.locks import is_held
from . import surfaces_file
from .sequence import LazySurfaces
from .surface import Surface, check_atom_count

# Preset `paper` keeps its training beside the surfaces.
TRAINING = "training.safetensors"
# The process that has the fit open describes itself in it.
OWNER = "owner.json"
# Seconds to wait for the lock: `interrupted_fits` of another process holds it for a moment.
_LOCK_WAIT = 0.5
# Version 0.2 staged surfaces as .npz.
_ENDINGS = (SAFETENSORS, NPZ)


class StagedSeries(LazySurfaces):
    """The staged surfaces of one trajectory, in the order of their states."""

    def __init__(self, surfaces: Mapping[float, Surface | Path]) -> None:
        self._surfaces = [surfaces[state] for state in sorted(surfaces)]

    def __len__(self) -> int:
        return len(self._surfaces)

    def _read(self, index: int) -> Surface:
        return _load(self._surfaces[index])


def _load(surface: Surface | Path) -> Surface:
    return surface if isinstance(surface, Surface) else surfaces_file.read_surfaces_file(surface)[0][0]


class SurfaceStaging:
    """The surfaces of one fit, by trajectory (index from 0) and state.

    A surface whose file can't be written stays in memory; `log` gets one message about it.
    """

    def __init__(
        self,
        folder: Path,
        description: dict[str, Any],
        count: int,
        resume: bool,
        log: Callable[[str], None],
        parameters: dict[str, Any] | None = None,
    ) -> None:
        """Open the folder for `count` trajectories; with `resume`, take up the surfaces in it.

        description: JSON object of the surfaces, which are taken up only where it is the same. parameters: JSON
        object with the other parameters of the fit, kept for `interrupted_fits`. Raises RequestError where another
        process has the fit open.
        """
        self.folder, self._log, self._failed = folder, log, False
        self._surfaces: list[dict[float, Surface | Path]] = [{} for _ in range(count)]
        self._first_atoms: list[tuple[float, int] | None] = [None] * count
        self._lock = filelock.FileLock(folder / LOCK, thread_local=False)
        self._write(folder / ABOUT, None, self._acquire)
        if resume:
            self._take_up(description)
        if not any(self._surfaces):
            with contextlib.suppress(OSError):
                clear_folder(folder, LOCK)
        self._write(folder / ABOUT, None, lambda: self._begin({**description, "asked": parameters or {}}))

    def _acquire(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=_LOCK_WAIT)
        except filelock.Timeout:
            raise RequestError(
                "bad-request",
                f"fit {self.folder.name.removesuffix(SURFACES)!r} is under way in another backend on this folder "
                f"({_owner(self.folder)}): wait for it, or give another name",
            ) from None

    def _begin(self, description: dict[str, Any]) -> None:
        for index in range(len(self._surfaces)):
            (self.folder / str(index)).mkdir(parents=True, exist_ok=True)
            atomic_write.remove_abandoned(self.folder / str(index))
        for folder in (self.folder, self.folder.parent):
            atomic_write.remove_abandoned(folder)
        owner = {"pid": os.getpid(), "host": socket.gethostname()}
        atomic_write.replace(self.folder / OWNER, json.dumps(owner).encode())
        atomic_write.write(self.folder / ABOUT, json.dumps(description).encode())

    def _take_up(self, description: dict[str, Any]) -> None:
        try:
            previous = _read_about(self.folder)
        except (OSError, ValueError) as error:
            self._log(f"it begins anew: it left no surfaces to go on from ({error})")
            return
        if {key: previous.get(key) for key in description} != json.loads(json.dumps(description)):
            self._log(f"it begins anew: the surfaces in {self.folder} are of other atoms or settings")
            return
        for index in range(len(self._surfaces)):
            for path in _staged_files(self.folder / str(index)):
                try:
                    [surface] = surfaces_file.read_surfaces_file(path)[0]
                    self._check_atoms(index, surface)
                except (OSError, ValueError) as error:
                    self._log(f"a surface of before is made again: {error}")
                else:
                    self._surfaces[index][surface.state] = path

    def states(self, index: int) -> list[float]:
        """Return the states of a trajectory that are staged, rising."""
        return sorted(self._surfaces[index])

    def put(self, index: int, surface: Surface) -> None:
        """Stage a surface.

        Raises ValueError for another number of atoms than the first surface has, and for parts too far apart.
        """
        self._check_atoms(index, surface)
        surface.check_together()
        path = self.folder / str(index) / f"{surface.state!r}{SAFETENSORS}"
        size = sum(array.nbytes for array in (surface.points, surface.normals, surface.faces))
        written = self._write(path, size, lambda: surfaces_file.write_surfaces_file(path, [surface], {}))
        self._surfaces[index][surface.state] = path if written else surface

    def get(self, index: int, state: float) -> Surface:
        """Return a staged surface. Raises KeyError for a state that is not staged."""
        return _load(self._surfaces[index][state])

    def series(self, index: int) -> StagedSeries:
        """Return the staged surfaces of a trajectory."""
        return StagedSeries(self._surfaces[index])

    @property
    def whole(self) -> bool:
        """Whether all surfaces are in files."""
        return not self._failed

    def close(self) -> None:
        """Leave the files to the process that resumes the fit."""
        with contextlib.suppress(OSError):
            (self.folder / OWNER).unlink()
        self._lock.release()

    def remove(self) -> None:
        """Remove the folder."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check_atoms(self, index: int, surface: Surface) -> None:
        first = self._first_atoms[index] = self._first_atoms[index] or (surface.state, surface.atom_count)
        check_atom_count(surface, *first)

    def _write(self, path: Path, size: int | None, write: Callable[[], None]) -> bool:
        """Call `write`; return False, and log the first time, after an OSError."""
        if self._failed:
            return False
        try:
            with atomic_write.naming_errors(path, size):
                write()
        except OSError as error:
            self._failed = True
            self._log(f"it can't be resumed should it be interrupted: {error}")
        return not self._failed


def interrupted_fits(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the interrupted fits of a folder by name, without those that a process has open.

    Each is the JSON object of its staging (source, trajectories, asked) with `surfaces`, the number of its surfaces,
    and `step`, the step of the checkpoint of its training, or None.
    """
    fits = {}
    for staged in sorted(folder.glob(f"*{SURFACES}")):
        try:
            description = _read_about(staged)
        except (OSError, ValueError):
            # It ended before its first surface, or is not a staging folder.
            continue
        if not is_name(staged.name.removesuffix(SURFACES)) or is_held(staged / LOCK):
            continue
        count = sum(len(_staged_files(path)) for path in staged.iterdir() if path.is_dir())
        path = staged / TRAINING
        step = _training_step(path)
        step = _training_step(atomic_write.previous_of(path)) if step is None else step
        fits[staged.name.removesuffix(SURFACES)] = {**description, "surfaces": count, "step": step}
    return fits


def _staged_files(folder: Path) -> list[Path]:
    return sorted(path for ending in _ENDINGS for path in folder.glob(f"*{ending}"))


def _read_about(folder: Path) -> dict[str, Any]:
    """Raise OSError or ValueError where the folder has no description of its surfaces."""
    try:
        description = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{folder / ABOUT} is nested too deep") from error
    if not isinstance(description, dict):
        raise ValueError(f"{folder / ABOUT} is no JSON object")
    return description


def _training_step(path: Path) -> int | None:
    """Return the step of a training's checkpoint from the header of the file: torch may not be loaded yet."""
    try:
        with open(path, "rb") as file:
            step = json.loads(read_texts(file)["state"])["step"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return step if isinstance(step, int) else None


def _owner(folder: Path) -> str:
    """Describe the process that has the fit open."""
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return f"process {int(owner['pid'])} on {str(owner['host'])[:100]}"
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "its process is not known"
