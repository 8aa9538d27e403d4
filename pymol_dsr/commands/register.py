"""Makes the commands known to PyMOL, with completion."""

from __future__ import annotations

from typing import Any

from pymol import cmd

from ..fits import jobs, sessions
from ..runtime import settings
from ..scene import color_sources
from . import color, evaluate, files, fit, levels, manage, measure, movie  # noqa: F401 (each makes its commands)
from .command import COMMANDS
from .manage import interrupted_fits


def register(_self: Any = cmd) -> None:
    """Make the commands known to PyMOL, with completion of selections and of names of fits."""
    for name, function in COMMANDS.items():
        _self.extend(name, function)
    sessions.register(_self)
    for name in ("dsr_fit", "dsr_surfaces"):
        _self.auto_arg[0][name] = _self.auto_arg[0]["zoom"]
    fits = [_fit_names, "fit", ", "]
    for name in ("dsr_movie", "dsr_color", "dsr_levels", "dsr_measure", "dsr_eval", "dsr_export", "dsr_save"):
        _self.auto_arg[0][name] = fits
    _self.auto_arg[0]["dsr_resume"] = [_interrupted_names, "interrupted fit", ""]
    for name in ("dsr_status", "dsr_cancel"):
        _self.auto_arg[0][name] = [_fit_names, "fit", ""]
    _self.auto_arg[0]["dsr_set"] = [_setting_keys, "setting", ", "]
    _self.auto_arg[1]["dsr_color"] = [_color_kinds, "by", ""]


def _fit_names() -> Any:
    return cmd.Shortcut(list(jobs.jobs.fits))


def _color_kinds() -> Any:
    return cmd.Shortcut(list(color_sources.KINDS))


def _setting_keys() -> Any:
    return cmd.Shortcut(list(settings.KEYS))


def _interrupted_names() -> Any:
    return cmd.Shortcut([one.name for one in interrupted_fits()])
