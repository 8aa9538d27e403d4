"""Sequences of surfaces that are read on access."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import overload

from .surface import Surface


class LazySurfaces(Sequence[Surface], ABC):
    """Surfaces in the order of their states; each is read when it is accessed."""

    @overload
    def __getitem__(self, index: int) -> Surface: ...

    @overload
    def __getitem__(self, index: slice) -> list[Surface]: ...

    def __getitem__(self, index: int | slice) -> Surface | list[Surface]:
        if isinstance(index, slice):
            return [self._read(k) for k in range(*index.indices(len(self)))]
        return self._read(index)

    @abstractmethod
    def _read(self, index: int) -> Surface:
        """Return the surface at an index. Raises IndexError past the end."""
