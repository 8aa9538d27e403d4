"""The folder of fits."""

from __future__ import annotations

from pathlib import Path

from pymol_dsr.shared import paths


def fits_folder() -> Path:
    """Return the folder of finished fits."""
    return Path(paths.fits_folder())
