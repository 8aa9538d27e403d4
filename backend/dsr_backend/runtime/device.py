"""Which device computes, said by name."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from . import distributed

T = TypeVar("T")


def choose_device(device: str = "auto") -> torch.device:
    """The device to compute on: `auto` takes the GPU where torch finds one.

    Raises ValueError when a device is asked for that torch does not find; a CPU never stands in silently.
    """
    if device in ("auto", "cuda") and torch.cuda.is_available() and distributed.count() > 1:
        return torch.device("cuda", distributed.local_gpu())
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r} is not known to torch; use auto, cpu or cuda") from error
    if chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is not supported; use auto, cpu or cuda")
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (chosen.index or 0) >= count:
            raise ValueError(
                f"device {device!r} was asked for and torch {torch.__version__} finds {count} GPUs; use device=cpu"
            )
    return chosen


def limit_threads() -> int:
    """Use the processors this process may use, not all that the machine has; returns their number.

    Oversubscribed threads made a fit on a shared machine twelve times slower.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    # OpenMP takes a list, for nested parts: the first number is ours.
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    threads = max(1, min(allowed, int(wanted) if wanted.isdigit() else allowed, 16))
    torch.set_num_threads(threads)
    return threads


def retry_with_smaller_chunk(work: Callable[[int], T], chunk: int) -> T:
    """work(chunk); once more with an eighth of the chunk where the GPU's memory does not last for it.

    Raises torch.OutOfMemoryError where it does not last for that either.
    """
    try:
        return work(chunk)
    except torch.OutOfMemoryError:
        # Tried again outside of the handler, which holds the tensors of the first try.
        pass
    torch.cuda.empty_cache()
    return work(max(1, chunk // 8))


@functools.lru_cache(maxsize=256)
def constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The values as a tensor of their shape, the same one each time: not to be written to.

    Each copy from the host to a GPU waits for what the GPU is doing.
    """
    return torch.tensor(values, dtype=dtype, device=device)


def describe(device: str = "auto") -> dict[str, Any]:
    """The device in words: {device, name, memory_gb, threads, torch}."""
    chosen = choose_device(device)
    if chosen.type == "cuda":
        properties = torch.cuda.get_device_properties(chosen)
        name, memory = properties.name, properties.total_memory
    else:
        name = _processor()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "device": str(chosen),
        "name": name,
        "memory_gb": round(memory / 2**30, 1),
        "threads": limit_threads(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
