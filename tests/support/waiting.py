"""Waiting for events, with a limit that only a fault reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# Seconds. A busy machine may take a hundred times as long as a quiet one, and its tests still pass.
PATIENCE = 120.0


def wait_for(condition: Callable[[], Any], message: Callable[[], Any] = lambda: "") -> None:
    """Wait until the condition is true. Raises AssertionError with the message after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s {message()}"
        time.sleep(0.01)
