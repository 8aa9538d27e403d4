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
from .command import COMMANDS
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

    for name in ("dsr_fit", "dsr_surfaces", "dsr_continue", "dsr_fill", "dsr_sample", "dsr_morph", "dsr_simulate"):
        _self.auto_arg[0][name] = _self.auto_arg[0]["zoom"]
    of_a_fit = (
        "dsr_movie",
        "dsr_color",
        "dsr_levels",
        "dsr_measure",
        "dsr_eval",
        "dsr_export",
        "dsr_save",
        "dsr_still",
    )
    complete(0, of_a_fit, lambda: session.jobs.fits, "fit", ", ")
    _self.auto_arg[0]["dsr_ensemble"] = _self.auto_arg[0]["zoom"]
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
