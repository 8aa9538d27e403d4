"""Checkpoints of a long training, from which an interrupted training continues.

A checkpoint is a safetensors file with all further values as JSON in its metadata; there is no pickle. It replaces the
one before by the rule of `atomic_write`, so that one of the file and its `.previous` is always whole.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from pymol_dsr.shared import atomic_write

from ... import __version__
from ...results.dsr_format import CheckpointError, digest, read_metadata

FORMAT = "dsr-training 1"
# Least seconds between two checkpoints.
INTERVAL_SECONDS = 30.0


@dataclass(frozen=True, eq=False)
class Resumed:
    """The content of a checkpoint: tensors by name, and JSON values; `step` is the number of steps done."""

    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]


class TrainingCheckpoint:
    """The checkpoint file of one fit. step: that of the last checkpoint, None without one."""

    def __init__(self, path: Path, resume: bool, warn: Callable[[str], None] = lambda text: None) -> None:
        """resume: continue from the file if there is one; warn: gets messages for the user."""
        self.path, self._resume, self._warn = path, resume, warn
        self.step: int | None = None
        self._failed = False
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is older than INTERVAL_SECONDS."""
        return time.monotonic() - self._last >= INTERVAL_SECONDS

    def save(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        """Write a checkpoint. If that fails, the one before stays, and the training continues.

        values: JSON values; `step` is the number of steps done, `about` describes the training.
        """
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"format": FORMAT, "version": __version__, "state": json.dumps(values)}
        metadata["digest"] = digest(on_cpu, metadata)
        self._last = time.monotonic()
        try:
            atomic_write.write(self.path, safetensors.torch.save(on_cpu, metadata))
        except OSError as error:
            if not self._failed:
                previous = "there is none" if self.step is None else f"the one at step {self.step} stays"
                self._warn(f"no checkpoint at step {values['step']}, {previous}: {error.strerror or error}")
            self._failed = True
        else:
            self.step, self._failed = int(values["step"]), False

    def load(self, subject: Mapping[str, Any]) -> Resumed | None:
        """Return the checkpoint to continue from; None, with a message to the user, where none fits.

        subject: describes the training; the checkpoint's own description must be the same.
        """
        if not self._resume:
            return None
        for path in (self.path, atomic_write.previous_of(self.path)):
            try:
                content = read(path)
            except FileNotFoundError:
                continue
            except (OSError, CheckpointError) as error:
                self._warn(f"{path} can't be used: {error}")
                continue
            if content.values["about"] != json.loads(json.dumps(subject)):
                self._warn("the training begins anew: the checkpoint is of other surfaces or settings")
                return None
            if path != self.path:
                self._warn(f"{path} is used in its place")
            self._warn(f"the training goes on from the checkpoint at step {content.values['step']}")
            self.step = int(content.values["step"])
            return content
        return None

    def remove(self) -> None:
        """Remove the file and its predecessor, once the fit is done."""
        for path in (self.path, atomic_write.previous_of(self.path)):
            path.unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> Resumed:
    """Read a checkpoint. Raises OSError, or CheckpointError for a damaged file or one of another kind."""
    data = Path(path).read_bytes()
    metadata = read_metadata(data, "state")
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"it is of format {metadata.get('format')!r}, written by version {metadata.get('version')!r}; "
            f"version {__version__} reads {FORMAT}"
        )
    try:
        tensors = safetensors.torch.load(data)
        values = json.loads(metadata["state"])
    except (SafetensorError, KeyError, ValueError, RuntimeError, RecursionError) as error:
        raise CheckpointError(f"the file is damaged: {error}") from error
    actual = digest(tensors, metadata)
    if metadata.get("digest") != actual:
        raise CheckpointError(f"the file is damaged: its digest is {actual}, it says {metadata.get('digest')}")
    if not isinstance(values, dict) or not isinstance(values.get("step"), int) or "about" not in values:
        raise CheckpointError("it does not say of what and which step it is")
    return Resumed(tensors, values)
