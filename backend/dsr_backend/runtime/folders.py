"""The folder of fits, and folders that begin anew."""

from __future__ import annotations

import shutil
from pathlib import Path

from pymol_dsr.shared import paths


def fits_folder() -> Path:
    """Return the folder of finished fits."""
    return Path(paths.fits_folder())


def clear_folder(folder: Path, lock: str) -> None:
    """Remove everything from a folder but its lock, without which others would not see that it is held.

    Raises OSError for what can't be removed.
    """
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != lock:
            path.unlink()
