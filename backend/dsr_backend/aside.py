"""Surfaces that wait for their fit, each in a file of its own.

They take PyMOL long to make and much memory together, so that each is written down as it comes: an interrupted fit
finds them again, and of a long trajectory only those looked at are in memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

from . import surfaces
from .surfaces import Surface

__all__ = ["Aside", "Series"]

ABOUT = "about.json"


class Series(Sequence[Surface]):
    """Surfaces in the order of their states, read when they are looked at."""

    def __init__(self, parts: dict[float, Surface | Path]) -> None:
        self._parts = [parts[state] for state in sorted(parts)]

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, place: int) -> Surface: ...

    @overload
    def __getitem__(self, place: slice) -> list[Surface]: ...

    def __getitem__(self, place: int | slice) -> Surface | list[Surface]:
        if isinstance(place, slice):
            return [self[k] for k in range(*place.indices(len(self)))]
        return _read(self._parts[place])


def _read(part: Surface | Path) -> Surface:
    return part if isinstance(part, Surface) else surfaces.read(part)[0][0]


class Aside:
    """The surfaces of one fit by trajectory (numbers from 0) and state.

    Where a file can't be written its surface stays in memory, and `say` is told so, once.
    """

    def __init__(
        self, folder: Path, about: dict[str, Any], count: int, resume: bool, say: Callable[[str], None]
    ) -> None:
        """about: what the surfaces are of, in JSON values; those that `resume` finds must be of the same."""
        self.folder, self._say, self._failed = folder, say, False
        self._parts: list[dict[float, Surface | Path]] = [{} for _ in range(count)]
        self._atoms: list[tuple[float, int] | None] = [None] * count
        if resume:
            self._take_up(about)
        if not any(self._parts):
            shutil.rmtree(folder, ignore_errors=True)
            self._write(lambda: self._begin(about))

    def _begin(self, about: dict[str, Any]) -> None:
        for number in range(len(self._parts)):
            (self.folder / str(number)).mkdir(parents=True, exist_ok=True)
        (self.folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")

    def _take_up(self, about: dict[str, Any]) -> None:
        try:
            found = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self._say(f"it begins anew: it left no surfaces to go on from ({error})")
            return
        if found != json.loads(json.dumps(about)):
            self._say(f"it begins anew: the surfaces in {self.folder} are of other atoms or settings")
            return
        for number in range(len(self._parts)):
            for path in sorted((self.folder / str(number)).glob("*.npz")):
                try:
                    [surface] = surfaces.read(path)[0]
                    self._check(number, surface)
                except (OSError, ValueError, surfaces.SurfacesError) as error:
                    self._say(f"a surface of before is made again: {error}")
                else:
                    self._parts[number][surface.state] = path

    def states(self, number: int) -> list[float]:
        return sorted(self._parts[number])

    def put(self, number: int, surface: Surface) -> None:
        """Raises ValueError where it has other atoms than those before."""
        self._check(number, surface)
        path = self.folder / str(number) / f"{surface.state!r}.npz"
        written = self._write(lambda: surfaces.write(path, [surface], {}))
        self._parts[number][surface.state] = path if written else surface

    def get(self, number: int, state: float) -> Surface:
        return _read(self._parts[number][state])

    def series(self, number: int) -> Series:
        return Series(self._parts[number])

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

    def _write(self, write: Callable[[], None]) -> bool:
        if self._failed:
            return False
        try:
            write()
        except OSError as error:
            self._failed = True
            self._say(f"it can't be resumed should it be interrupted: {self.folder} not written: {error}")
        return not self._failed
