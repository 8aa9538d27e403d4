"""Chooses and describes the device that computes."""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from pymol_dsr.shared.cores import usable_cores

from . import distributed, memory

T = TypeVar("T")

# More threads than this gain nothing on the tensors of one fit.
_MAX_THREADS = 16
# A thread whose tensor is ready waits for the one that runs Python: with Python's own 5 ms, meshes take 6 % longer.
SWITCH_SECONDS = 5e-4
# After CUDA ran out of memory the chunk is divided by this.
_SMALLER_CHUNK = 8


@dataclass(frozen=True)
class DeviceDescription:
    """A device in words: torch's name for it, the model, its memory in GB (2³⁰ bytes), CPU threads, torch's version."""

    device: str
    name: str
    memory_gb: float
    threads: int
    torch: str


def choose_device(device: str = "auto") -> torch.device:
    """Return the device to compute on: `auto` takes the GPU where torch has one.

    Raises ValueError for a device that torch does not have; a CPU never replaces a GPU silently.
    """
    if device in ("auto", "cuda") and torch.cuda.is_available() and distributed.world_size() > 1:
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
    """Set torch's threads to the processors that this process may use; return their number.

    More threads than processors made a fit on a shared machine twelve times slower. Python's own threads then take
    turns every SWITCH_SECONDS.
    """
    allowed = usable_cores()
    # OpenMP reads a list, one number per level of nesting: the first number is for torch.
    requested = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    threads = max(1, min(allowed, int(requested) if requested.isdigit() else allowed, _MAX_THREADS))
    torch.set_num_threads(threads)
    sys.setswitchinterval(SWITCH_SECONDS)
    return threads


def retry_with_smaller_chunk(work: Callable[[int], T], chunk: int) -> T:
    """Call work(chunk); retry once with an eighth of the chunk after CUDA ran out of memory.

    Raises torch.OutOfMemoryError when the smaller chunk does not fit either.
    """
    try:
        return work(chunk)
    except torch.OutOfMemoryError:
        # The retry is outside of the handler, which holds the tensors of the first try.
        pass
    torch.cuda.empty_cache()
    return work(max(1, chunk // _SMALLER_CHUNK))


@functools.lru_cache(maxsize=256)
def constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return the values as a tensor, the same one at each call: read it only.

    A copy from the host to a GPU waits for the work that the GPU is doing.
    """
    return torch.tensor(values, dtype=dtype, device=device)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that may still be allocated on a device; None where the system does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return memory.free()


def describe(device: str = "auto") -> DeviceDescription:
    """Describe the device. Raises ValueError as `choose_device` does."""
    chosen = choose_device(device)
    if chosen.type == "cuda":
        properties = torch.cuda.get_device_properties(chosen)
        name, memory = properties.name, properties.total_memory
    else:
        name = _processor_name()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return DeviceDescription(str(chosen), name, round(memory / 2**30, 1), limit_threads(), torch.__version__)


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
