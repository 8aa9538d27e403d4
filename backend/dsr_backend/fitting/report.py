"""Entries of a fit's report that all presets share."""

from __future__ import annotations

from typing import Any

from ..fields.base import Field


def breaks_entry(field: Field) -> dict[str, Any]:
    """Return the last state before each cut as `breaks`; no entry without cuts."""
    breaks = field.motion.kernel.breaks
    return {"breaks": [field.states[first - 1] for first in breaks]} if breaks else {}
