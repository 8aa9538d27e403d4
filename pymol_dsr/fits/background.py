"""Background threads that report their errors."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..shared.text import error_line
from .fit import Cancelled


class Background(threading.Thread):
    """The thread of a background job. scene.py hands its PyMOL calls to the window's thread."""


def in_background(title: str, work: Callable[[], None]) -> None:
    """Run `work` in a thread of its own; what it raises is printed as PyMOL prints errors."""

    def guarded() -> None:
        try:
            work()
        except Cancelled as stopped:
            print(f" {title}: {error_line(stopped)}")
        except Exception as error:
            print(f" Error: {title}: {error_line(error)}")

    Background(target=guarded, name=f"dsr-{title}", daemon=True).start()
