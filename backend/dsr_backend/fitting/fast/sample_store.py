"""Storage of training samples: in memory, and beyond a limit in files."""

from __future__ import annotations

import os

import torch

from pymol_dsr.shared.scratch import ScratchFolder

# Bytes of samples that stay in memory, for all states together.
MAX_BYTES = 2 * 2**30


class SampleStore:
    """Stores tensors in memory up to MAX_BYTES, and in files of a temporary folder from there on.

    So the memory of a fit does not grow with the number of states. Tensors in files are on the host, also with a GPU.
    """

    def __init__(self) -> None:
        self._folder: ScratchFolder | None = None
        self._bytes, self._files = 0, 0

    def store(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor with the same values that is valid until `close`. Raises OSError for a full disk."""
        self._bytes += tensor.nbytes
        if self._bytes <= MAX_BYTES or not tensor.numel():
            return tensor
        if self._folder is None:
            self._folder = ScratchFolder()
        self._files += 1
        path = os.fspath(self._folder.path / f"samples-{self._files}")
        # The file is written before it is mapped: a full disk is then an error here, and not a bus error later.
        tensor.cpu().numpy().tofile(path)
        return torch.from_file(path, shared=True, size=tensor.numel(), dtype=tensor.dtype).reshape(tensor.shape)

    def close(self) -> None:
        """Remove the files."""
        if self._folder is not None:
            self._folder.close()
