"""Surfaces that are computed while the backend starts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from ..surfaces import workers
from ..surfaces.source import Source, Surface
from .background import Background


class SurfacesAhead:
    """PyMOL's surfaces of a source, under way before they are asked for: a few of them, which wait.

    source, count, cancelled: as in `compute_surfaces`, with so many workers. show: is given the first one at once.
    """

    def __init__(
        self,
        source: Source,
        count: int,
        cancelled: Callable[[], bool],
        show: Callable[[Surface], None] | None = None,
    ) -> None:
        self.source, self._stop, self._show = source, threading.Event(), show
        self._surfaces = workers.compute_surfaces(source, count, lambda: self._stop.is_set() or cancelled())
        self._first: Future[Surface | None] = Future()
        self._thread = Background(target=self._begin, name="dsr-first-surface", daemon=True)
        self._thread.start()

    def _begin(self) -> None:
        try:
            surface = next(self._surfaces, None)
            self._first.set_result(surface)
        except Exception as error:
            self._first.set_exception(error)
        else:
            if surface is not None and self._show is not None:
                self._show(surface)

    def __iter__(self) -> Iterator[Surface]:
        """Yield all of them, once. Raises the errors of `compute_surfaces`."""
        first = self._first.result()
        if first is not None:
            yield first
            # Before the next one, the thread has to have left the generator.
            self._thread.join()
            yield from self._surfaces

    def close(self) -> None:
        """End the processes."""
        self._stop.set()
        self._thread.join()
        self._surfaces.close()
