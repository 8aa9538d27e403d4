# Name: Dynamical Surface
# Version: 0.3.0
# Author: the pymol-dsr authors
# License: MIT
# Citation-Required: no
"""
Dynamical molecular surfaces: one continuous function of space and time for the surfaces of all states of a
trajectory.

Commands: dsr_example, dsr_fit, dsr_movie, dsr_color, dsr_film, dsr_still, dsr_levels, dsr_measure, dsr_eval,
dsr_occupancy, dsr_ensemble, dsr_continue, dsr_fill, dsr_sample, dsr_morph, dsr_simulate, dsr_learn, dsr_surfaces,
dsr_export, dsr_save, dsr_load, dsr_restore, dsr_resume, dsr_status, dsr_cancel, dsr_delete, dsr_set, dsr_install,
dsr_doctor; "help dsr_fit" is the place to start. The menu entry Plugin > Dynamical Surface… opens a small window for
them.

Fitting runs in a process of its own, the backend, here or on another machine; see dsr_set.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from .shared.version import VERSION

__version__ = VERSION

MENU = "Dynamical Surface…"


def register(_self: Any = None) -> None:
    """Make the dsr_* commands known to a PyMOL, with completion.

    `import pymol_dsr` does this for the running PyMOL. Call it yourself where PyMOL is imported after pymol_dsr, and
    for each `pymol2.PyMOL()`:

        with pymol2.PyMOL() as session:
            pymol_dsr.register(session.cmd)
            session.cmd.do("dsr_status")

    _self: the `cmd` of that PyMOL {default: pymol.cmd}
    """
    # The backend imports `shared` where PyMOL is not installed.
    from pymol import cmd

    from .commands.register import register_commands
    from .panel.windows import Windows
    from .session import session_of

    session = session_of(cmd if _self is None else _self)
    session.windows = session.windows or Windows(session)
    register_commands(cmd if _self is None else _self, session)


def open_panel() -> None:
    """Show the window of the menu entry."""
    from pymol import cmd

    from .session import session_of

    windows = session_of(cmd).windows
    if windows is not None:
        windows.show_panel()


def __init_plugin__(app: Any = None) -> None:
    """Add the plugin to PyMOL's menu; the plugin manager calls it."""
    from pymol import plugins

    # No window, no menu; the commands are there.
    with contextlib.suppress(plugins.QtNotAvailableError):
        plugins.addmenuitemqt(MENU, open_panel)


# Where PyMOL runs; the backend, which imports `shared`, needs no commands.
if "pymol" in sys.modules:
    register()
    # The plugin manager imports the package under a name of its own, and calls that itself.
    if not __name__.startswith("pmg_tk."):
        __init_plugin__()
