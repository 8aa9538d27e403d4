"""Dynamical surface representations: the numerics, as a library, a command line and a server for PyMOL.

Importing this package imports no torch.
"""

from __future__ import annotations

from pymol_dsr.shared.version import VERSION as __version__

__all__ = ["__version__"]
