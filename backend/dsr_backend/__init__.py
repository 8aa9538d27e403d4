"""Dynamical surface representations: the numerics, as a library, a command line and a server for PyMOL.

Importing this package imports no torch.
"""

from __future__ import annotations

__version__ = "0.2.0"
