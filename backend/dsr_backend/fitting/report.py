"""Entries of a fit's report that all presets share."""

from __future__ import annotations

from typing import Any

from ..fields.base import Field


def runs_entries(field: Field) -> dict[str, Any]:
    """Return the last state before each cut as `breaks` and a closed run as `loop`; no entry without them."""
    kernel = field.motion.kernel
    if kernel.period is not None:
        return {"loop": True}
    return {"breaks": [field.states[first - 1] for first in kernel.breaks]} if kernel.breaks else {}
