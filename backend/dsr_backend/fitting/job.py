"""One running fit: options, preset, device, progress and cancellation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from pymol_dsr.shared.messages import FitStatus
from pymol_dsr.shared.options import FitOptions

from ..runtime.device import choose_device, limit_threads
from ..runtime.errors import Cancelled
from ..runtime.parallel import MAX_PARALLEL_STATES
from .config import PaperPreset, Preset

P = TypeVar("P", Preset, PaperPreset)

Progress = Callable[[FitStatus], None]
"""Function that is told how far a fit is."""

# The remaining time is estimated from this fraction on.
MIN_FRACTION = 0.02


class FitJob(Generic[P]):
    """One running fit.

    parallel_states: number of states worked on at once; started: `time.perf_counter` at the start; span: offset and
    factor that map the fractions of the running stage to those of the whole fit.
    """

    def __init__(self, options: FitOptions, preset: P, progress: Progress, cancelled: Callable[[], bool]) -> None:
        """Raise ValueError for a device that torch does not find."""
        self.options = options
        self.preset: P = preset
        self.device = choose_device(options.device)
        self.threads = limit_threads()
        self.parallel_states = min(self.threads, MAX_PARALLEL_STATES) if self.device.type == "cpu" else 1
        self.started = time.perf_counter()
        self.span = (0.0, 1.0)
        self._progress, self.cancelled = progress, cancelled

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled once the fit was cancelled."""
        if self.cancelled():
            raise Cancelled("the fit was cancelled")

    def report_progress(
        self,
        phase: str,
        fraction: float,
        *,
        step: int | None = None,
        steps: int | None = None,
        loss: float | None = None,
        checkpoint: int | None = None,
    ) -> None:
        """Report that `fraction` (0 to 1) of the running stage is done; the rest as in FitStatus. Raises Cancelled."""
        self.raise_if_cancelled()
        offset, factor = self.span
        fraction = offset + factor * fraction
        seconds = time.perf_counter() - self.started
        remaining = seconds * (1.0 - fraction) / fraction if fraction > MIN_FRACTION else None
        self._progress(FitStatus(phase, fraction, step, steps, loss, remaining, str(self.device), checkpoint))
