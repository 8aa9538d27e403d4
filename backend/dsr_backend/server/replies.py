"""Errors as the wire carries them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..runtime import memory
from ..runtime.errors import Cancelled, RequestError


def error_line(exc: BaseException) -> str:
    """Return type and first line of an error."""
    lines = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {lines[0]}" if lines else type(exc).__name__


def classify(exc: BaseException) -> tuple[str, str]:
    """Return the error code and message for what a method raised."""
    if isinstance(exc, RequestError):
        return exc.code, str(exc)
    if isinstance(exc, Cancelled):
        return "cancelled", "cancelled"
    torch = sys.modules.get("torch")
    on_device = torch is not None and isinstance(exc, torch.OutOfMemoryError)
    # Torch says so on the CPU with a plain RuntimeError.
    on_host = isinstance(exc, MemoryError) or (isinstance(exc, RuntimeError) and "allocate memory" in str(exc))
    if on_device or on_host:
        resource = "the GPU" if on_device else memory.exhausted()
        return "out-of-memory", (
            f"{resource} ran out of memory ({error_line(exc)}): use a coarser resolution, a smaller budget, "
            "or device=cpu"
        )
    return "internal", f"the backend failed: {error_line(exc)}; the traceback is on its stderr"


@contextmanager
def callers_fault() -> Iterator[None]:
    """Turn a ValueError, which is about what the caller sent, into the error `bad-request`."""
    try:
        yield
    except RequestError:
        raise
    except ValueError as exc:
        raise RequestError("bad-request", str(exc)) from exc
