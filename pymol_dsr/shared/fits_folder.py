"""Names in the folder of fits, which the plugin and a backend on its machine both read."""

from __future__ import annotations

FIT = ".dsr"
"""Ending of a finished fit."""
SURFACES = ".surfaces"
"""Ending of the folder with the surfaces and the training of a fit that is under way or was interrupted."""
DETACHED = ".detached"
"""Ending of the folder of a fit in a process of its own."""
ABOUT = "about.json"
"""File in the folder SURFACES with the description of these surfaces."""
LOCK = "lock"
"""File in either folder that the process of the fit holds a lock on."""
