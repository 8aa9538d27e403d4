"""Calls a function in PyMOL's window thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ..fits.background import Background

T = TypeVar("T")


def in_gui(_self: Any, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call `function` where the scene may be changed, and return what it returns."""
    marshal = getattr(_self, "_call_in_gui_thread", None)
    if marshal is None or not isinstance(threading.current_thread(), Background):
        return function(*args, **kwargs)
    box: list[T] = []
    raised: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            box.append(function(*args, **kwargs))
        except BaseException as error:
            raised.append(error)
        finally:
            done.set()

    # PyMOL's caller can miss the moment its function is done when that was quick, and then waits until its
    # next call; it waits in a thread of its own here.
    threading.Thread(target=marshal, args=(run,), daemon=True).start()
    done.wait()
    if raised:
        raise raised[0]
    return box[0]
