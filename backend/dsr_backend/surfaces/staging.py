"""Surfaces that wait for their fit, each in a file of its own.

They take PyMOL long to make and much memory together, so that each is written down as it comes: an interrupted fit
finds them again, and of a long trajectory only those looked at are in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymol_dsr.shared import atomic_write

from ..runtime.errors import RequestError
from . import surfaces_file
from .sequence import LazySurfaces
from .surface import Surface, SurfacesError

ABOUT = "about.json"
# Where preset `paper` keeps its training, beside the surfaces.
TRAINING = "training.safetensors"
# Which process has the fit open.
OWNER = "owner.json"


class StagedSeries(LazySurfaces):
    """Those set aside of one trajectory."""

    def __init__(self, parts: dict[float, Surface | Path]) -> None:
        self._parts = [parts[state] for state in sorted(parts)]

    def __len__(self) -> int:
        return len(self._parts)

    def _read(self, place: int) -> Surface:
        return _read(self._parts[place])


def _read(part: Surface | Path) -> Surface:
    return part if isinstance(part, Surface) else surfaces_file.read_surfaces_file(part)[0][0]


class SurfaceStaging:
    """The surfaces of one fit by trajectory (numbers from 0) and state.

    Where a file can't be written its surface stays in memory, and `say` is told so, once.
    """

    def __init__(
        self,
        folder: Path,
        about: dict[str, Any],
        count: int,
        resume: bool,
        say: Callable[[str], None],
        asked: dict[str, Any] | None = None,
    ) -> None:
        """about: what the surfaces are of, in JSON values; those that `resume` finds must be of the same. asked:
        what else was asked of the fit, kept for `interrupted`. Raises RequestError where another process has it open.
        """
        if owner := _owner(folder):
            raise RequestError(
                "bad-request",
                f"fit {folder.name.removesuffix('.surfaces')!r} is under way in another backend on this folder "
                f"({owner}): wait for it, or give another name",
            )
        self.folder, self._say, self._failed = folder, say, False
        self._parts: list[dict[float, Surface | Path]] = [{} for _ in range(count)]
        self._atoms: list[tuple[float, int] | None] = [None] * count
        if resume:
            self._take_up(about)
        if not any(self._parts):
            shutil.rmtree(folder, ignore_errors=True)
        self._write(self.folder / ABOUT, 0, lambda: self._begin({**about, "asked": asked or {}}))

    def _begin(self, about: dict[str, Any]) -> None:
        for number in range(len(self._parts)):
            (self.folder / str(number)).mkdir(parents=True, exist_ok=True)
        (self.folder / OWNER).write_text(json.dumps(_process(os.getpid())), encoding="utf-8")
        atomic_write.write(self.folder / ABOUT, json.dumps(about).encode())

    def _take_up(self, about: dict[str, Any]) -> None:
        try:
            found = _about(self.folder)
        except (OSError, ValueError) as error:
            self._say(f"it begins anew: it left no surfaces to go on from ({error})")
            return
        if {key: found.get(key) for key in about} != json.loads(json.dumps(about)):
            self._say(f"it begins anew: the surfaces in {self.folder} are of other atoms or settings")
            return
        for number in range(len(self._parts)):
            for path in sorted((self.folder / str(number)).glob("*.npz")):
                try:
                    [surface] = surfaces_file.read_surfaces_file(path)[0]
                    self._check(number, surface)
                except (OSError, ValueError, SurfacesError) as error:
                    self._say(f"a surface of before is made again: {error}")
                else:
                    self._parts[number][surface.state] = path

    def states(self, number: int) -> list[float]:
        return sorted(self._parts[number])

    def put(self, number: int, surface: Surface) -> None:
        """Raises ValueError where it has other atoms than those before."""
        self._check(number, surface)
        path = self.folder / str(number) / f"{surface.state!r}.npz"
        size = sum(array.nbytes for array in (surface.points, surface.normals, surface.faces))
        written = self._write(path, size, lambda: surfaces_file.write_surfaces_file(path, [surface], {}))
        self._parts[number][surface.state] = path if written else surface

    def get(self, number: int, state: float) -> Surface:
        return _read(self._parts[number][state])

    def series(self, number: int) -> StagedSeries:
        return StagedSeries(self._parts[number])

    @property
    def whole(self) -> bool:
        """Whether all of them are in files."""
        return not self._failed

    def close(self) -> None:
        """Leave them to whoever resumes the fit."""
        # What stays says so until this process ends.
        with contextlib.suppress(OSError):
            (self.folder / OWNER).unlink()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check(self, number: int, surface: Surface) -> None:
        count = 0 if surface.atoms is None else len(surface.atoms)
        first = self._atoms[number] = self._atoms[number] or (surface.state, count)
        if first[1] != count:
            raise ValueError(
                f"state {surface.state:g} has {count} atoms, state {first[0]:g} has {first[1]}: "
                "give each molecule a trajectory of its own"
            )

    def _write(self, path: Path, size: int, write: Callable[[], None]) -> bool:
        if self._failed:
            return False
        try:
            write()
        except OSError as error:
            self._failed = True
            told = f"{path} ({size} bytes)" if size else str(path)
            self._say(f"it can't be resumed should it be interrupted: {told} not written: {error}")
        return not self._failed


def interrupted_fits(folder: Path) -> dict[str, dict[str, Any]]:
    """The fits of which surfaces wait in `folder` and that no other process has open: what they are of and what was
    asked (source, trajectories, asked), how many surfaces there are, and the step of the checkpoint of their training
    (None where there is none).
    """
    found = {}
    for waiting in sorted(folder.glob("*.surfaces")):
        if _owner(waiting):
            continue
        try:
            about = _about(waiting)
        except (OSError, ValueError):
            # Ended before it began, or not ours.
            continue
        count = sum(1 for _ in waiting.glob("*/*.npz"))
        path = waiting / TRAINING
        step = _step(path)
        step = _step(atomic_write.previous_of(path)) if step is None else step
        found[waiting.name.removesuffix(".surfaces")] = {**about, "surfaces": count, "step": step}
    return found


def _about(folder: Path) -> dict[str, Any]:
    """Raises OSError or ValueError."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{folder / ABOUT} is nested too deep") from error
    if not isinstance(about, dict):
        raise ValueError(f"{folder / ABOUT} is no JSON object")
    return about


def _step(path: Path) -> int | None:
    """The step of a training's checkpoint, from the head of the file alone: torch may not be there yet."""
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), 2**20)))
        step = json.loads(header["__metadata__"]["state"])["step"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return step if isinstance(step, int) else None


def _process(number: int) -> dict[str, Any]:
    """What tells a process from another that has its number later."""
    began = ""
    # Not every system says it.
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        # One that has ended keeps its number until its parent asks for it, which over ssh may take a while.
        began = "ended" if fields[0] in "ZX" else fields[19]
    return {"pid": number, "host": socket.gethostname(), "began": began}


def _owner(folder: Path) -> str:
    """The other process of this machine that has the fit open, in words; empty where there is none that lives."""
    try:
        told = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        number = told["pid"]
        if number == os.getpid() or not isinstance(number, int) or number < 1:
            return ""
        os.kill(number, 0)
    except PermissionError:
        # It lives, and is somebody else's.
        pass
    except (OSError, ValueError, LookupError, TypeError, RecursionError, OverflowError):
        return ""
    return f"process {number} on {told['host']}" if told == _process(number) else ""
