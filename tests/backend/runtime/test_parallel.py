"""Parallel map over states: ordered, bounded, independent of the number of threads."""

import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
from dsr_backend.fitting import job
from dsr_backend.runtime.parallel import ordered_parallel_map

from support.shapes import ball, cloud, fit
from support.waiting import PATIENCE


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order(threads):
    def work(number):
        # Later ones are done sooner.
        time.sleep(0.002 * (9 - number))
        return number

    assert list(ordered_parallel_map(work, 10, threads)) == list(range(10))
    assert list(ordered_parallel_map(work, 0, threads)) == []


def test_calls_run_at_a_time_with_one_torch_thread_each():
    meeting = threading.Barrier(3)
    before = torch.get_num_threads()

    def work(number):
        meeting.wait(PATIENCE)
        return torch.get_num_threads()

    assert list(ordered_parallel_map(work, 6, 3)) == [1] * 6
    assert torch.get_num_threads() == before


def test_at_most_a_few_results_wait_for_the_consumer():
    started: list[Any] = []
    results = ordered_parallel_map(started.append, 100, 2)
    next(results)
    time.sleep(0.05)
    assert len(started) <= 4
    results.close()
    assert len(started) <= 5


def test_an_error_of_the_work_ends_the_map():
    started = []

    def work(number):
        started.append(number)
        if number == 2:
            raise ValueError("state 2")
        return number

    results = ordered_parallel_map(work, 100, 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="state 2"):
        next(results)
    assert len(started) < 8


@pytest.mark.system
def test_a_fit_is_the_same_with_any_number_of_threads(monkeypatch):
    states = [ball(k, 5.0 + 0.2 * k, atoms=cloud(seed=1)) for k in range(1, 7)]
    fields = []
    for threads in (1, 3):
        monkeypatch.setattr(job, "limit_threads", lambda threads=threads: torch.set_num_threads(threads) or threads)
        fields.append(fit(states))
    first, second = (field.tensors() for field in fields)
    for name in ("coarse_modes", "fine_modes"):
        np.testing.assert_allclose(first[name], second[name], atol=1e-5)
