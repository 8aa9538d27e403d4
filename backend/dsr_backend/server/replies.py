"""Results and errors as the wire carries them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..runtime import memory
from ..runtime.errors import Cancelled, RequestError


def plain(value: Any) -> Any:
    """The value in JSON's types.

    Numpy scalars and arrays as Python's, tuples as lists, NaN and infinities as None.
    """
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def error_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {lines[0]}" if lines else type(exc).__name__


def classify(exc: BaseException) -> tuple[str, str]:
    """The error code and message for what a method raised."""
    if isinstance(exc, RequestError):
        return exc.code, str(exc)
    if isinstance(exc, Cancelled):
        return "cancelled", "cancelled"
    torch = sys.modules.get("torch")
    on_device = torch is not None and isinstance(exc, torch.OutOfMemoryError)
    # Torch says so on the CPU with a plain RuntimeError.
    on_host = isinstance(exc, MemoryError) or (isinstance(exc, RuntimeError) and "allocate memory" in str(exc))
    if on_device or on_host:
        where = "the GPU" if on_device else memory.exhausted()
        return "out-of-memory", (
            f"{where} ran out of memory ({error_line(exc)}): use a coarser resolution, a smaller budget, or device=cpu"
        )
    return "internal", f"the backend failed: {error_line(exc)}; the traceback is on its stderr"
