"""Surfaces that are computed while the backend starts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from ..surfaces.source import Source, Surface
from ..surfaces.workers import compute_surfaces
from .background import Background


class SurfacesAhead:
    """PyMOL's surfaces of a source, under way before they are asked for: a few of them, which wait.

    source, workers, cancelled: as in `compute_surfaces`. show: is given the first one, as soon as it is there.
    """

    def __init__(
        self,
        source: Source,
        workers: int,
        cancelled: Callable[[], bool],
        show: Callable[[Surface], None] = lambda surface: None,
    ) -> None:
        self.source, self._stop, self._show = source, threading.Event(), show
        self._surfaces = compute_surfaces(source, workers, lambda: self._stop.is_set() or cancelled())
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
            if surface is not None:
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
