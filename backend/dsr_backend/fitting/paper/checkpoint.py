"""The state of a training that takes hours, written every half a minute, so that an interrupted one goes on from it.

Safetensors, with what is not a tensor as JSON in its metadata; no pickle. Written by the rule of `storage`, so that one
of the file and its `.previous` is always whole.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from pymol_dsr.shared import atomic_write

from ... import __version__
from ...results.dsr_format import CheckpointError, digest, read_metadata

FORMAT = "dsr-training 1"
# Between two checkpoints.
SECONDS = 30.0


class Training:
    """Where the training of one fit is kept. step: that of the last checkpoint, or None."""

    def __init__(self, path: Path, resume: bool, say: Callable[[str], None] = lambda text: None) -> None:
        """resume: take up what is there; say: told what the user should know."""
        self.path, self._resume, self._say = path, resume, say
        self.step: int | None = None
        self._failed = False
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is half a minute old."""
        return time.monotonic() - self._last >= SECONDS

    def save(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        """Write a checkpoint; where it can't be written the one before stays, and the training goes on.

        state: JSON values; `step` is the number of steps done, `about` says what is trained.
        """
        held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"format": FORMAT, "version": __version__, "state": json.dumps(state)}
        metadata["digest"] = digest(held, metadata)
        self._last = time.monotonic()
        try:
            atomic_write.write(self.path, safetensors.torch.save(held, metadata))
        except OSError as error:
            if not self._failed:
                there = "there is none" if self.step is None else f"the one at step {self.step} stays"
                self._say(f"no checkpoint at step {state['step']}, {there}: {error.strerror or error}")
            self._failed = True
        else:
            self.step, self._failed = int(state["step"]), False

    def load(self, about: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Tensors and state of the checkpoint to go on from; None, and why is said, where there is none of `about`."""
        if not self._resume:
            return None
        for path in (self.path, atomic_write.previous_of(self.path)):
            try:
                tensors, state = read(path)
            except FileNotFoundError:
                continue
            except (OSError, CheckpointError) as error:
                self._say(f"{path} can't be used: {error}")
                continue
            if state["about"] != json.loads(json.dumps(about)):
                self._say("the training begins anew: the checkpoint is of other surfaces or settings")
                return None
            if path != self.path:
                self._say(f"{path} is used in its place")
            self._say(f"the training goes on from the checkpoint at step {state['step']}")
            self.step = int(state["step"])
            return tensors, state
        return None

    def remove(self) -> None:
        """Once the fit is done."""
        for path in (self.path, atomic_write.previous_of(self.path)):
            path.unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint. Raises OSError, or CheckpointError where it is damaged or none."""
    data = Path(path).read_bytes()
    metadata = read_metadata(data, "state")
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"it is of format {metadata.get('format')!r}, written by version {metadata.get('version')!r}; "
            f"version {__version__} reads {FORMAT}"
        )
    try:
        tensors = safetensors.torch.load(data)
        state = json.loads(metadata["state"])
    except (SafetensorError, KeyError, ValueError, RuntimeError, RecursionError) as error:
        raise CheckpointError(f"the file is damaged: {error}") from error
    found = digest(tensors, metadata)
    if metadata.get("digest") != found:
        raise CheckpointError(f"the file is damaged: its digest is {found}, it says {metadata.get('digest')}")
    if not isinstance(state, dict) or not isinstance(state.get("step"), int) or "about" not in state:
        raise CheckpointError("it does not say of what and which step it is")
    return tensors, state
