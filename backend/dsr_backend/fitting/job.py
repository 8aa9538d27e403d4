"""One running fit: settings, device, progress, cancellation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pymol_dsr.shared.options import FitOptions

from ..runtime.device import choose_device, limit_threads
from ..runtime.errors import Cancelled
from .config import PRESETS, Preset

Progress = Callable[[str, float, dict[str, Any]], None]


class FitJob:
    """One running fit: what its parts share."""

    def __init__(self, config: FitOptions, progress: Progress, cancelled: Callable[[], bool]) -> None:
        self.config = config
        self.preset: Preset = PRESETS[config.preset]
        self.device = choose_device(config.device)
        self.threads = limit_threads()
        # States that are worked on together; each takes a hundred MB where the molecule is large.
        self.at_once = min(self.threads, 8) if self.device.type == "cpu" else 1
        self.started = time.perf_counter()
        # Where the running part's fractions lie in the whole: offset and factor.
        self.part = (0.0, 1.0)
        self._progress, self._cancelled = progress, cancelled

    def check(self) -> None:
        """Stop here if asked to."""
        if self._cancelled():
            raise Cancelled("the fit was cancelled")

    def tell(self, phase: str, fraction: float, **extra: Any) -> None:
        """Report progress (`fraction` 0 to 1 of the running part) and stop here if asked to."""
        self.check()
        fraction = self.part[0] + self.part[1] * fraction
        seconds = time.perf_counter() - self.started
        left = seconds * (1.0 - fraction) / fraction if fraction > 0.02 else None
        self._progress(phase, fraction, {"seconds_left": left, "device": str(self.device), **extra})
