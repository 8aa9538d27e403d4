"""Limits the memory of this process: a fit that needs too much fails, and the machine does not swap."""

from __future__ import annotations

OPTION = "--max-memory"
_limit_gb: float | None = None


def set_limit(gigabytes: float) -> None:
    """Make every allocation fail that takes this process past so many GB (2³⁰ bytes) of private memory (Linux only).

    Mapped files, such as libraries, do not count, nor does the memory of a GPU.
    """
    global _limit_gb
    # Only Unix has this module.
    import resource

    limit = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    _limit_gb = gigabytes


def free() -> int | None:
    """Return the bytes that this process may still allocate; None where the system does not say (Linux only)."""
    try:
        available = 1024 * _kilobytes("/proc/meminfo", "MemAvailable")
        used = 1024 * _kilobytes("/proc/self/status", "VmData")
    except (OSError, ValueError):
        return None
    return available if _limit_gb is None else min(available, max(0, int(_limit_gb * 2**30) - used))


def _kilobytes(path: str, key: str) -> int:
    """Raise ValueError where the file has no such line."""
    with open(path, encoding="ascii") as stream:
        for line in stream:
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
    raise ValueError(f"{path} has no {key}")


def exhausted() -> str:
    """Name the memory that ran out, as the subject of a sentence."""
    if _limit_gb is None:
        return "the backend's machine"
    return f"the backend, which may take {_limit_gb:g} GB ({OPTION}),"
