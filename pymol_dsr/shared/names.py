"""What fits and trajectories may be called: names that are file names, words of a command and keys everywhere."""

from __future__ import annotations

import re
from typing import Any

RULE = "use 1 to 80 letters, digits and _ . + -, with no dot in front"
_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,79}")


def is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
