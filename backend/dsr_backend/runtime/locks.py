"""Locks on files, which processes hold as long as they live."""

from __future__ import annotations

from pathlib import Path

import filelock


def is_held(path: Path) -> bool:
    """Whether a process, or this one, holds the lock on a file; False where nobody can say."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except OSError:
        # A folder that can't be written can't be locked either.
        return False
    lock.release()
    return False
