"""Makes the commands known to PyMOL, with completion."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pymol.shortcut import Shortcut

from ..runtime import settings
from ..scene import color_sources
from ..session import Session
from . import (  # noqa: F401 (each makes its commands)
    color,
    evaluate,
    example,
    files,
    film,
    fit,
    generate,
    install,
    landscape,
    learn,
    levels,
    manage,
    measure,
    morph,
    movie,
    occupancy,
    restore,
    simulate,
    still,
)
from .command import COMMANDS, FOLLOWERS
from .manage import interrupted_fits


def register_commands(_self: Any, session: Session) -> None:
    """Make the commands known to PyMOL, with completion of selections and of names of fits."""
    for name, function in COMMANDS.items():
        _self.extend(name, function)

    restore.connect(session)

    def complete(
        position: int, commands: Iterable[str], words: Callable[[], Iterable[str]], kind: str, end: str
    ) -> None:
        for command in commands:
            _self.auto_arg[position][command] = [lambda: Shortcut(list(words())), kind, end]

    of_a_selection = ("fit", "surfaces", "continue", "fill", "sample", "morph", "simulate", "ensemble")
    for verb in of_a_selection:
        _self.auto_arg[0][f"dsr_{verb}"] = _self.auto_arg[0]["zoom"]
    # That of dsr_occupancy may be a fit or a selection.
    complete(0, FOLLOWERS - {"dsr_occupancy"}, lambda: session.jobs.fits, "fit", ", ")
    complete(0, ["dsr_occupancy"], lambda: [*session.jobs.fits, *_self.get_names("objects")], "fit or object", ", ")
    complete(0, ["dsr_restore"], lambda: session.light.coarse, "coarse movie", "")
    complete(0, ["dsr_delete"], lambda: session.jobs.fits, "fit", "")
    complete(
        0, ("dsr_status", "dsr_cancel"), lambda: [*session.jobs.fits, *session.sources.running], "fit or source", ""
    )
    complete(0, ["dsr_resume"], lambda: [left.name for left in interrupted_fits(session.jobs)], "interrupted fit", "")
    complete(0, ["dsr_example"], lambda: ("trajectory", "morph"), "example", "")
    complete(0, ["dsr_set"], lambda: settings.KEYS, "setting", ", ")
    _self.auto_arg[1]["dsr_morph"] = _self.auto_arg[0]["zoom"]
    complete(1, ["dsr_color"], lambda: color_sources.KINDS, "by", "")
