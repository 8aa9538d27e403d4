"""Reports a backend that is slow to start."""

from __future__ import annotations

import time
from collections.abc import Callable

# A backend that starts sooner is not reported.
QUIET_SECONDS = 3.0


def report_waiting(say: Callable[[str], None], longest: float) -> Callable[[str], None]:
    """Return a function to call with the last line on the backend's stderr while it starts.

    It says each new line after QUIET_SECONDS. longest: seconds after which waiting ends, for the message.
    """
    started_at = time.monotonic()
    reported: list[str] = []

    def report(line: str) -> None:
        if time.monotonic() - started_at >= QUIET_SECONDS and reported[-1:] != [line]:
            reported.append(line)
            limit = f"{longest:g} s at most (dsr_set wait)"
            say(f" dsr: waits for the backend to start, {limit}; it says {repr(line) if line else 'nothing yet'}")

    return report
