"""Reports a backend that is slow to start."""

from __future__ import annotations

import time
from collections.abc import Callable

from . import settings

# A backend that starts sooner is not talked about.
QUIET_SECONDS = 3.0


def report_waiting(say: Callable[[str], None], quiet: float) -> Callable[[str], None]:
    """Says what a backend that starts waits for: each time its last words change, after `quiet` seconds."""
    began = time.monotonic()
    told: list[str] = []

    def tell(said: str) -> None:
        if time.monotonic() - began >= quiet and told[-1:] != [said]:
            told.append(said)
            most = f"{settings.get('wait')} s at most (dsr_set wait)"
            say(f" dsr: waits for the backend to start, {most}; it says {repr(said) if said else 'nothing yet'}")

    return tell
