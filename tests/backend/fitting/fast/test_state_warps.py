"""Warps of the training states: computed once where there is room for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dsr_backend.fitting.fast import state_warps
from dsr_backend.fitting.fast.state_warps import StateWarps
from dsr_backend.motion.motion import Motion
from dsr_backend.motion.warp import CPU, least_folding

from support.shapes import cloud


def moving(count: int = 5) -> np.ndarray:
    return np.stack([cloud(60, 6.0) * (1.0 + 0.02 * k) for k in range(count)]).astype(np.float32)


@pytest.mark.parametrize("room, is_kept", [(2**28, True), (0, False)])
def test_a_warp_is_computed_once_where_there_is_room(monkeypatch, room, is_kept):
    monkeypatch.setattr(state_warps, "KEPT_BYTES", room)
    motion = Motion.from_states(np.arange(1.0, 6.0), moving())
    warps = StateWarps(motion, CPU)
    first, second = warps(0), warps(0)
    assert (first is second) == is_kept
    x = torch.as_tensor(moving()[0])
    assert torch.equal(second(x), motion.warp(1.0, CPU)(x))


def test_the_reference_does_not_depend_on_the_number_of_threads():
    assert least_folding(moving(), CPU, threads=3) == least_folding(moving(), CPU)
