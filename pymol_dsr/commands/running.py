"""Runs the long work of a command, now or in the background, and reports its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pymol import gui

from ..fits import background
from ..fits.fit import Fit, Say
from ..shared.text import counted
from .expected import EXPECTED

T = TypeVar("T")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Runner:
    """Runs the work of a command. say: prints the lines that a quiet command leaves out; progress: those that pass.

    note: prints the lines that a quiet command prints, too. watch: the surface of the state in view is shown during a
    fit.
    """

    title: str
    background: bool = False
    say: Say = print
    progress: Say | None = None
    note: Say = print
    watch: bool = False

    @classmethod
    def of(cls, title: str, async_: Any, quiet: Any, _self: Any, *, watch: Any = 0) -> Runner:
        """Return the runner that these arguments ask for; a command that is typed runs in the background."""
        in_background = is_switched_on(async_, quiet, _self)
        return cls(title, in_background, reporter(quiet), watch=is_switched_on(watch, quiet, _self))

    def run(self, work: Callable[[], T]) -> T | None:
        """Run the work and return its result; None where it is begun in the background."""
        if not self.background:
            return work()

        def discard_result() -> None:
            work()

        background.in_background(self.title, discard_result, EXPECTED)
        return None


def is_switched_on(switch: Any, quiet: Any, _self: Any) -> bool:
    """Whether an argument of 0, 1 or -1 is on; -1 is on where the command was typed."""
    return int(switch) > 0 or (int(switch) < 0 and is_typed(quiet, _self))


def is_typed(quiet: Any, _self: Any) -> bool:
    """Whether a command was typed into PyMOL's window."""
    # In a script each command waits for the one before; the parser is a level deeper there.
    return not int(quiet) and has_window() and _self._parser.nest <= 1


def has_window() -> bool:
    """Whether this PyMOL has a window."""
    return gui.get_qtwindow() is not None


def count_of_states(count: int) -> str:
    """Return a number of states in words."""
    return counted(count, "state")


def reporter(quiet: Any) -> Say:
    """Return the function that prints a line, or nothing where the command is quiet."""

    def silent(text: str) -> None:
        pass

    return silent if int(quiet) else print


def report_states(
    fit: Fit, answers: Iterable[Answer], count: int, say: Say, verb: str, end: float = 1.0
) -> Iterator[Answer]:
    """Pass the answers on, and report how many there were. end: the fraction of the work that they are."""
    for number, answer in enumerate(answers, 1):
        yield answer
        fit.stage, fit.fraction = "meshes", end * number / count
        if number % 20 == 0 and number < count:
            say(f" {fit.name}: {number} of {count} states {verb}")
