"""Runs a command now or in the background, and reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..fits import background
from ..fits.fit import Fit


def run_or_start(title: str, work: Callable[[], None], async_: Any, quiet: Any, _self: Any) -> bool:
    """Do the work now, or in the background when asked to or when typed into the window; whether it is
    done.
    """
    if int(async_) > 0 or (int(async_) < 0 and is_typed(quiet, _self)):
        background.in_background(title, work)
        return False
    work()
    return True


def is_typed(quiet: Any, _self: Any) -> bool:
    # In a script each command waits for the one before; the parser is a level deeper there.
    return not int(quiet) and has_window() and _self._parser.nest <= 1


def has_window() -> bool:
    from pymol import gui

    return gui.get_qtwindow() is not None


def count_of_states(count: int) -> str:
    return "1 state" if count == 1 else f"{count} states"


def reporter(quiet: Any) -> Callable[[str], None]:
    def silent(text: str) -> None:
        pass

    return silent if int(quiet) else print


def report_states(fit: Fit, answers: Any, count: int, say: Callable[[str], None], done_as: str = "loaded") -> Any:
    for done, answer in enumerate(answers, 1):
        yield answer
        fit.stage, fit.fraction = "meshes", done / count
        if done % 20 == 0 and done < count:
            say(f" {fit.name}: {done} of {count} states {done_as}")
