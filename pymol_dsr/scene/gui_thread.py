"""Calls a function in the thread of PyMOL's window."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter, sleep
from typing import Any, TypeVar

from ..fits.background import Background

T = TypeVar("T")
# The longest time in seconds that a background job leaves to the window after a step.
LONGEST_REST = 0.1


class _Call:
    """A function on its way to the window's thread.

    PyMOL's caller keeps a result for each function that it was given. All calls are one key of these results, so that
    nothing stays there but the last one.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __hash__(self) -> int:
        return hash(_Call)

    def __eq__(self, key: object) -> bool:
        return isinstance(key, _Call)

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()


def in_gui(_self: Any, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call `function` in the thread that may change the scene, and return its result or raise its error.

    Only background jobs change threads; a blocking command runs in its caller's.
    """
    marshal = getattr(_self, "_call_in_gui_thread", None)
    if marshal is None or not isinstance(threading.current_thread(), Background):
        return function(*args, **kwargs)
    results: list[T] = []
    errors: list[BaseException] = []
    finished = threading.Event()

    def run() -> None:
        try:
            results.append(function(*args, **kwargs))
        except BaseException as error:
            errors.append(error)
        finally:
            finished.set()

    # PyMOL's caller itself would wait here, too: it misses the end of a quick function, and prints a line where two
    # threads wait at once.
    requested = getattr(marshal, "mainthreadrequested", None)
    if requested is None:
        marshal(run)
    else:
        requested.emit(_Call(run))
        finished.wait()
    if errors:
        raise errors[0]
    return results[0]


def step_in_gui(_self: Any, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call one of many steps as `in_gui` does, then leave the window as much time to draw and to answer."""
    if not isinstance(threading.current_thread(), Background):
        return function(*args, **kwargs)
    seconds: list[float] = []

    def timed() -> T:
        started_at = perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds.append(perf_counter() - started_at)

    result = in_gui(_self, timed)
    sleep(min(LONGEST_REST, seconds[0]))
    return result
