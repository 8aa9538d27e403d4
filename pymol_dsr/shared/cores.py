"""The processors that this process may use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the number of processors; fewer than the machine has where the process is bound, as by a scheduler."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
