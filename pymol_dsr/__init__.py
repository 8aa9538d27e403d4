# Name: Dynamical Surface
# Version: 0.2.0
# Author: the pymol-dsr authors
# License: MIT
# Citation-Required: no
"""
Dynamical molecular surfaces: one continuous function of space and time for the surfaces of all states of a
trajectory.

Commands: dsr_fit, dsr_movie, dsr_color, dsr_film, dsr_levels, dsr_eval, dsr_surfaces, dsr_export, dsr_save, dsr_load,
dsr_resume, dsr_status, dsr_cancel, dsr_set, dsr_doctor; "help dsr_fit" is the place to start. The menu entry
Plugin > Dynamical Surface… opens a small window for them.

Fitting runs in a process of its own, the backend, here or on another machine; see dsr_set.
"""

from __future__ import annotations

import contextlib
from typing import Any

from . import commands

__version__ = "0.2.0"
MENU = "Dynamical Surface…"

commands.register()


def open_panel() -> None:
    """Show the window of the menu entry."""
    from . import panel

    panel.show()


def __init_plugin__(app: Any = None) -> None:
    """Called by PyMOL's plugin manager."""
    from pymol import plugins

    # No window, no menu; the commands are there.
    with contextlib.suppress(plugins.QtNotAvailableError):
        plugins.addmenuitemqt(MENU, open_panel)


# The plugin manager imports the package under a name of its own, and calls that itself.
if not __name__.startswith("pmg_tk."):
    __init_plugin__()
