"""Several processes on one fit, as `torchrun --nproc-per-node=N -m dsr_backend fit …` starts them.

Each is a rank, with a GPU of its own where there are as many. All go through the same steps; what is of one state is
done by its owner and given to the others. Where there is one process, nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

# A rank may wait long for the first one, which alone writes.
PATIENCE = timedelta(hours=12)
_DTYPES = (torch.float32, torch.float64, torch.int64, torch.bool)


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if _on() else 0


def count() -> int:
    return dist.get_world_size() if _on() else 1


def _on() -> bool:
    return dist.is_available() and dist.is_initialized()


def started_together() -> bool:
    """Whether torchrun, or what sets the same variables, has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def local_gpu() -> int:
    """The number of this process's GPU on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) % max(1, torch.cuda.device_count())


@contextmanager
def group(device: str) -> Iterator[None]:
    """Within, the processes that were started together know of each other, and leave it together.

    device: as the user asked for it.
    """
    if not started_together():
        yield
        return
    if _on():
        yield
        # What the first one has written is there for the others.
        dist.barrier()
        return
    here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    # NCCL wants a GPU for each.
    nccl = device in ("auto", "cuda") and torch.cuda.is_available() and torch.cuda.device_count() >= here
    if nccl:
        torch.cuda.set_device(local_gpu())
    dist.init_process_group("nccl" if nccl else "gloo", timeout=PATIENCE)
    try:
        yield
        dist.barrier()
    finally:
        dist.destroy_process_group()


# Sharing out ----------------------------------------------------------------------------------------------------


def owner(number: int) -> int:
    """The rank that works on state `number`."""
    return number % count()


def mine(total: int) -> range:
    """Those of the states 0 … total − 1 that are this rank's."""
    return range(rank(), total, count())


def in_turn(own: Generator[torch.Tensor, None, None], total: int, device: torch.device) -> Iterator[torch.Tensor]:
    """The tensors of all `total` states in their order, from each rank's `own`, those of `mine`."""
    for number in range(total):
        yield shared(next(own) if owner(number) == rank() else None, owner(number), device)


def shared(tensor: torch.Tensor | None, source: int, device: torch.device) -> torch.Tensor:
    """The tensor of rank `source`, on `device`; the others give None. At most 4 dimensions."""
    if count() == 1:
        assert tensor is not None
        return tensor
    head = torch.zeros(6, dtype=torch.int64, device=device)
    if tensor is not None and rank() == source:
        about = [_DTYPES.index(tensor.dtype), tensor.ndim, *tensor.shape]
        head[: len(about)] = torch.tensor(about)
    dist.broadcast(head, source)
    dtype, ndim, *shape = head.tolist()
    if tensor is None or rank() != source:
        tensor = torch.empty(shape[:ndim], dtype=_DTYPES[dtype], device=device)
    tensor = tensor.to(device).contiguous()
    dist.broadcast(tensor, source)
    return tensor


# Adding up ------------------------------------------------------------------------------------------------------


def total(values: Sequence[float], device: torch.device, how: str = "sum") -> list[float]:
    """Each of the values over all ranks, f8; how: sum, min or max."""
    if count() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(tensor, {"sum": dist.ReduceOp.SUM, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}[how])
    return [float(value) for value in tensor]


def any_of(mask: torch.Tensor) -> torch.Tensor:
    """Where a mask bool[N] is true in any rank."""
    if count() > 1:
        counts = mask.to(torch.uint8)
        dist.all_reduce(counts, dist.ReduceOp.MAX)
        mask = counts.bool()
    return mask


def agreed(decision: bool, device: torch.device) -> bool:
    """What rank 0 has decided, as clocks differ."""
    return bool(shared(torch.tensor([decision]), 0, device)[0]) if count() > 1 else decision


def share(batch: int) -> slice:
    """This rank's part of a batch: every count()-th, so that parts differ by one at most."""
    return slice(rank(), batch, count())


def sum_gradients(trained: Iterable[torch.Tensor], *others: torch.Tensor) -> None:
    """Add the gradients of `trained`, and `others`, up over all ranks, in place."""
    if count() == 1:
        return
    parts = [tensor.grad for tensor in trained if tensor.grad is not None] + list(others)
    flat = torch.cat([part.detach().reshape(-1) for part in parts])
    dist.all_reduce(flat)
    for part, values in zip(parts, flat.split([part.numel() for part in parts]), strict=True):
        part.detach().copy_(values.view_as(part))
