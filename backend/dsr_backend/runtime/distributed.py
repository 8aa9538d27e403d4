"""Runs one fit in several processes, as `torchrun --nproc-per-node=N -m dsr_backend fit …` starts them.

Each process is a rank, with a GPU of its own where there are enough GPUs. All ranks go through the same steps. The rank
that owns a state does the work on that state and gives the result to the other ranks. With a single process every
function here returns what it was given.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist

# A rank may wait long for rank 0, which alone writes files.
COLLECTIVE_TIMEOUT = timedelta(hours=12)
_DTYPES = (torch.float32, torch.float64, torch.int64, torch.bool)
_MAX_DIMENSIONS = 4


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if _initialized() else 0


def world_size() -> int:
    """Return the number of ranks; 1 for a process that runs alone."""
    return dist.get_world_size() if _initialized() else 1


def _initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def launched_by_torchrun() -> bool:
    """Whether torchrun, or anything that sets the same variables, started this process as one of several ranks."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def local_gpu() -> int:
    """Return the number of this rank's GPU on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) % max(1, torch.cuda.device_count())


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Connect the ranks inside the block; all ranks leave it together.

    device: the device as the user wrote it (auto, cpu, cuda).
    """
    if not launched_by_torchrun():
        yield
        return
    if _initialized():
        yield
        # Files that rank 0 wrote exist for the other ranks from here on.
        dist.barrier()
        return
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    # NCCL needs a GPU for each rank.
    nccl = device in ("auto", "cuda") and torch.cuda.is_available() and torch.cuda.device_count() >= ranks_here
    if nccl:
        torch.cuda.set_device(local_gpu())
    dist.init_process_group("nccl" if nccl else "gloo", timeout=COLLECTIVE_TIMEOUT)
    try:
        yield
        dist.barrier()
    finally:
        dist.destroy_process_group()


# Distribution of states and batches ----------------------------------------------------------------------------


def state_owner(index: int) -> int:
    """Return the rank that works on the state with this index (from 0)."""
    return index % world_size()


def own_states(count: int) -> range:
    """Return the indices of this rank's states among 0 … count − 1."""
    return range(rank(), count, world_size())


def batch_slice(batch: int) -> slice:
    """Return this rank's rows of a batch: every world_size()-th, so that the ranks differ by one row at most."""
    return slice(rank(), batch, world_size())


# Collective operations -----------------------------------------------------------------------------------------


def broadcast(tensor: torch.Tensor | None, source: int, device: torch.device) -> torch.Tensor:
    """Return the tensor of rank `source`, on `device`; the other ranks pass None. At most 4 dimensions."""
    if world_size() == 1:
        assert tensor is not None
        return tensor
    header = torch.zeros(2 + _MAX_DIMENSIONS, dtype=torch.int64, device=device)
    if tensor is not None and rank() == source:
        entries = [_DTYPES.index(tensor.dtype), tensor.ndim, *tensor.shape]
        header[: len(entries)] = torch.tensor(entries)
    dist.broadcast(header, source)
    dtype, ndim, *shape = header.tolist()
    if tensor is None or rank() != source:
        tensor = torch.empty(shape[:ndim], dtype=_DTYPES[dtype], device=device)
    tensor = tensor.to(device).contiguous()
    dist.broadcast(tensor, source)
    return tensor


def all_reduce(
    values: Sequence[float], device: torch.device, operation: Literal["sum", "min", "max"] = "sum"
) -> list[float]:
    """Reduce each of the values (f8) over all ranks."""
    if world_size() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    operations = {"sum": dist.ReduceOp.SUM, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}
    dist.all_reduce(tensor, operations[operation])
    return [float(value) for value in tensor]


def any_rank(mask: torch.Tensor) -> torch.Tensor:
    """Return bool[N], true where the mask bool[N] is true in any rank."""
    if world_size() > 1:
        counts = mask.to(torch.uint8)
        dist.all_reduce(counts, dist.ReduceOp.MAX)
        mask = counts.bool()
    return mask


def sum_gradients(parameters: Iterable[torch.Tensor], *tensors: torch.Tensor) -> None:
    """Sum the gradients of `parameters`, and `tensors` themselves, over all ranks, in place."""
    if world_size() == 1:
        return
    summands = [parameter.grad for parameter in parameters if parameter.grad is not None] + list(tensors)
    flat = torch.cat([summand.detach().reshape(-1) for summand in summands])
    dist.all_reduce(flat)
    sums = torch.split(flat, [summand.numel() for summand in summands])
    for summand, values in zip(summands, sums, strict=True):
        summand.detach().copy_(values.view_as(summand))
