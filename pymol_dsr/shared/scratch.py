"""Folders for temporary files that do not outlive the process for long, even where it is killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from types import TracebackType

from .atomic_write import ABANDONED_SECONDS, is_unlocked, lock

PREFIX = "dsr-"
# Held open and locked by the process that has the folder.
LOCK = "owner.lock"


class ScratchFolder:
    """A new temporary folder, `path`; those of processes that were killed are removed before. Raises OSError."""

    def __init__(self) -> None:
        remove_abandoned_folders(Path(tempfile.gettempdir()))
        # An open file in it, as of a mapped tensor, keeps Windows from removing it; the next process does.
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
        self.path = Path(self._folder.name)
        self._lock = open(self.path / LOCK, "wb")  # noqa: SIM115 - open for as long as the folder is in use
        lock(self._lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder."""
        self._lock.close()
        self._folder.cleanup()


def remove_abandoned_folders(parent: Path) -> None:
    """Remove this user's scratch folders whose processes were killed."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status, locked = folder.lstat(), folder / LOCK
            if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
                continue
            # To either side of now: clocks are set back.
            if abs(time.time() - locked.lstat().st_mtime) > ABANDONED_SECONDS and is_unlocked(locked):
                # Windows removes no file that is open, so a folder in use stays whole there, too.
                locked.unlink()
                shutil.rmtree(folder, ignore_errors=True)
