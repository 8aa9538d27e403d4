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
import sys
from typing import Any

__version__ = "0.2.0"
MENU = "Dynamical Surface…"


def open_panel() -> None:
    """Show the window of the menu entry."""
    from .panel import window

    window.show()


def show_measurement(*args: Any) -> None:
    """Show a measurement in a window of its own; see `panel.measures_window.show`."""
    from .panel import measures_window

    measures_window.show(*args)


def __init_plugin__(app: Any = None) -> None:
    """Called by PyMOL's plugin manager."""
    from pymol import plugins

    # No window, no menu; the commands are there.
    with contextlib.suppress(plugins.QtNotAvailableError):
        plugins.addmenuitemqt(MENU, open_panel)


# The backend imports `shared` where there is no PyMOL, and needs no commands.
if "pymol" in sys.modules:
    from .commands.register import register
    from .fits.jobs import jobs

    register()
    jobs.show_measurement = show_measurement
    # The plugin manager imports the package under a name of its own, and calls that itself.
    if not __name__.startswith("pmg_tk."):
        __init_plugin__()
