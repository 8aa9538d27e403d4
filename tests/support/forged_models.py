"""Files that are no learned models, among them one that tells when it is unpickled."""

from __future__ import annotations

import pickle

import pytest
import safetensors.torch
import torch


class Bomb:
    """Fails the test that unpickles it."""

    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


NO_MODELS = (
    b"",
    b"\xff" * 64,
    pickle.dumps(Bomb()),
    (2**62).to_bytes(8, "little") + b"{}",
    (100_000).to_bytes(8, "little") + b"[" * 100_000,
    safetensors.torch.save({"weights": torch.zeros(3)}),
)
