"""Surfaces that are read when they are needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import overload

from .surface import Surface


class LazySurfaces(Sequence[Surface], ABC):
    """Surfaces in the order of their states, each read when it is looked at."""

    @overload
    def __getitem__(self, place: int) -> Surface: ...

    @overload
    def __getitem__(self, place: slice) -> list[Surface]: ...

    def __getitem__(self, place: int | slice) -> Surface | list[Surface]:
        if isinstance(place, slice):
            return [self._read(k) for k in range(*place.indices(len(self)))]
        return self._read(place)

    @abstractmethod
    def _read(self, place: int) -> Surface:
        """The surface at that place. Raises IndexError past the end."""
