"""The warps of the training states, for the stages of a fit that ask for each of them."""

from __future__ import annotations

import torch

from ...motion.motion import Motion
from ...motion.warp import Warp

# Warps are kept up to this size together; the others are computed anew. AdK's take 0.7 MB each.
KEPT_BYTES = 2**28


class StateWarps:
    """The warp of each training state of a motion. Threads may ask for different states at once."""

    def __init__(self, motion: Motion, device: torch.device) -> None:
        self._motion, self._device = motion, device
        self._kept: dict[int, Warp] = {}
        self._bytes = 0

    def __call__(self, k: int) -> Warp:
        """Return the map from the scene at state number k of the motion to material coordinates."""
        if k in self._kept:
            return self._kept[k]
        warp = self._motion.warp(float(self._motion.states[k]), self._device)
        size = 0 if warp.displacement is None else warp.displacement[1].nbytes
        if self._bytes + size <= KEPT_BYTES:
            self._bytes += size
            self._kept[k] = warp
        return warp
