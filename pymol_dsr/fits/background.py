"""Background threads that report their errors."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable

from pymol import CmdException

from ..shared.text import error_line, one_line
from .fit import Cancelled


class Background(threading.Thread):
    """The thread of a background job. `scene/gui_thread.py` hands its PyMOL calls to the window's thread."""


def in_background(title: str, work: Callable[[], None], expected: tuple[type[Exception], ...] = ()) -> None:
    """Run `work` in a thread of its own; its errors are printed as PyMOL prints them.

    expected: errors that have no traceback, besides CmdException.
    """

    def guarded() -> None:
        try:
            work()
        except Cancelled as stopped:
            print(f" {title}: {error_line(stopped)}")
        except Exception as error:
            if not isinstance(error, (CmdException, *expected)):
                traceback.print_exc()
            print(f" Error: {title}: {message_of(error)}")

    Background(target=guarded, name=f"dsr-{title}", daemon=True).start()


def message_of(error: BaseException) -> str:
    """Return an error for the user; that of a CmdException without the word Error, which PyMOL puts before it."""
    return one_line(error.args[0]) if isinstance(error, CmdException) and error.args else error_line(error)
