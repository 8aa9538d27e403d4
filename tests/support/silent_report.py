"""A report of a source's run that nobody reads."""

from __future__ import annotations

from typing import Any


class Silent:
    """Takes all that a run reports."""

    def __call__(self, fraction: float, phase: str, text: str = "", seconds_left: float | None = None) -> None:
        pass

    def frames(self, coordinates: Any) -> None:
        pass

    def errors(self, training: float, held_out: float, baseline: float | None = None) -> None:
        pass

    def gap(self, deviations: float) -> None:
        pass
