"""Works on several states at a time, one thread each.

On a CPU the tensors of one state are too small to be divided among threads: two threads on one state take 0.7 to 0.8 of
the time of one thread, and on two states half. The results do not depend on the number of threads.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")

# Each state that is worked on takes some hundred MB for a large molecule.
MAX_PARALLEL_STATES = 8


def ordered_parallel_map(work: Callable[[int], T], count: int, threads: int) -> Generator[T, None, None]:
    """Yield work(0), work(1), …, work(count − 1) in this order, with up to `threads` calls at a time.

    At most `threads` results wait for the consumer. An exception of `work` is raised here; calls that have not begun by
    then never begin.
    """
    if threads == 1:
        yield from map(work, range(count))
        return
    with one_thread_each(), ThreadPoolExecutor(threads, "dsr-state") as pool:
        pending: collections.deque[Future[T]] = collections.deque()
        try:
            for index in range(count):
                pending.append(pool.submit(work, index))
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let torch use one thread for the work in each thread inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
