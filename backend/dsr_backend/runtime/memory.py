"""A ceiling for the memory of this process, so that a fit that needs too much fails, and the machine does not swap."""

from __future__ import annotations

import argparse
import math
import sys

OPTION = "--max-memory"
_stated: float | None = None


def gigabytes(text: str) -> float:
    """The value of the option. Raises argparse.ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no number of gigabytes above 0")
    if sys.platform != "linux":
        raise argparse.ArgumentTypeError(f"a ceiling of memory needs Linux, and this is {sys.platform}: leave it out")
    return value


def limit(ceiling: float) -> None:
    """Let every allocation past so many GB (2³⁰ bytes) of private memory fail. Files that are mapped, as libraries and
    samples on the disk, do not count, nor does the memory of a GPU.
    """
    global _stated
    import resource

    most = int(ceiling * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    _stated = ceiling


def owner() -> str:
    """Whose memory there is no more of, as the subject of a sentence."""
    return "the backend's machine" if _stated is None else f"the backend, which may take {_stated:g} GB ({OPTION}),"
