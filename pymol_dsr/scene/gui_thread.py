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

    # PyMOL's caller can miss the moment its function is done when that was quick, and then waits until its
    # next call; it waits in a thread of its own here.
    threading.Thread(target=marshal, args=(run,), daemon=True).start()
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
