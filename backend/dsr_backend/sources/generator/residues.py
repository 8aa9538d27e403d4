"""Residues of one protein, as the parts of a generator know them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Residues:
    """Residues of one protein.

    kinds: i8[R], of the vocabulary of the net. places: i8[R], rising by 1 along a chain. linked: bool[R-1], bonded to
    the next one. local: f[R,3,3] in Å, atoms N, CA and C in the frames of their residues.
    """

    kinds: Tensor
    places: Tensor
    linked: Tensor
    local: Tensor

    def to(self, device: torch.device) -> Residues:
        """Return them on a device."""
        return Residues(*(tensor.to(device) for tensor in (self.kinds, self.places, self.linked, self.local)))
