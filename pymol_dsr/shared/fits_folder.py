"""Names in the folder of fits and beside it, which the plugin and a backend on its machine both read."""

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

MODELS, SIMULATIONS = "models", "simulations"
"""Folders of learned models and of kept simulations, beside that of fits."""
MODEL = ".dsrm"
"""Ending of a learned model."""


def model_format(kind: str) -> str:
    """Return the format that a file names with a model of that kind: potential or generator."""
    return f"dsr {kind} 1"
