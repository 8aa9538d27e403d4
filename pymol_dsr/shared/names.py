"""Names that fits and trajectories may have: those that are file names, words of a command and keys everywhere."""

from __future__ import annotations

import re
from typing import Any

RULE = "use 1 to 80 letters, digits and _ . + -, with no dot in front"
# Windows writes to a device in place of a file of these names, with any ending and in any case.
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,79}")


def is_name(value: Any) -> bool:
    """Whether a value is a text that RULE allows."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None and _DEVICE.fullmatch(value) is None


def rule_against(value: Any) -> str:
    """Return the rule that a wrong name breaks, in words."""
    if isinstance(value, str) and _DEVICE.fullmatch(value):
        return "Windows has a device of that name, and no files; choose another name"
    return RULE
