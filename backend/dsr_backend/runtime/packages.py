"""Optional packages, found without being imported."""

from __future__ import annotations

import importlib.util

OPTIONAL = ("openmm", "pdbfixer", "deeptime", "MDAnalysis")
"""Packages that simulations (the first two) and landscapes (the last two) need."""


def installed_packages() -> tuple[str, ...]:
    """Return the optional packages that are installed here."""
    return tuple(name for name in OPTIONAL if importlib.util.find_spec(name) is not None)
