"""The folder of fits."""

from __future__ import annotations

import os
from pathlib import Path


def fits_folder() -> Path:
    """Return the folder of finished fits: `$DSR_HOME/fits`, by default `~/.pymol_dsr/fits`."""
    return Path(os.environ.get("DSR_HOME") or "~/.pymol_dsr").expanduser() / "fits"
