"""Files of learned models: models/NAME.dsrm, safetensors with a JSON description. Nothing in them is unpickled or run.

A file may come from anybody: type, shape and range of each tensor and number are checked before they are used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from pymol_dsr.shared import atomic_write
from pymol_dsr.shared.fits_folder import MODEL, MODELS, model_format
from pymol_dsr.shared.frames import parse_json
from pymol_dsr.shared.values import JsonObject, ValueFault

from ..runtime.folders import fits_folder

MAX_HEADER = 8 * 2**20
MAX_BYTES = 256 * 2**20
LARGEST = 1e5
"""Largest magnitude of the numbers in the tensors."""
LONGEST_NAME = 100

Shapes = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
"""Type and shape of each tensor that a file must have."""


class ModelError(ValueFault):
    """A file of a model that can't be used."""


@dataclass(frozen=True)
class ModelKind:
    """A kind of models. key: that of its description in the file; use: the command that uses such a model."""

    key: str
    use: str

    @property
    def format(self) -> str:
        """Name of its format."""
        return model_format(self.key)


POTENTIAL = ModelKind("potential", "dsr_simulate SELECTION, model={name}")
GENERATOR = ModelKind("generator", "dsr_continue SELECTION, method=net, model={name}")
KINDS = (POTENTIAL, GENERATOR)


def models_folder() -> Path:
    """Return the folder of models, beside that of fits."""
    return fits_folder().parent / MODELS


def model_path(name: str) -> Path:
    """Return the path of the model of that name."""
    return models_folder() / f"{name}{MODEL}"


def write(path: Path, data: bytes) -> None:
    """Write a model. Raises WriteError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write.write(path, data)


class ModelWriter:
    """Writes one model again and again while it learns; the model that was there before stays as `NAME.previous`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = False

    def write(self, data: bytes) -> None:
        """Write the model as it is by now. Raises WriteError."""
        if self._written:
            atomic_write.replace(self.path, data)
        else:
            write(self.path, data)
        self._written = True


def to_bytes(kind: ModelKind, tensors: dict[str, torch.Tensor], description: JsonObject) -> bytes:
    """Return the content of a file."""
    content: bytes = safetensors.torch.save(tensors, {"format": kind.format, kind.key: json.dumps(description)})
    return content


def read(name: str, kind: ModelKind) -> bytes:
    """Return the content of the file of that name. Raises ModelError."""
    path = model_path(name)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"{path} has {size} bytes, and {MAX_BYTES} are the most")
        return path.read_bytes()
    except FileNotFoundError as error:
        files = models_folder().glob(f"*{MODEL}") if models_folder().is_dir() else ()
        known = sorted(file.stem for file in files if _has_format(file, kind))
        raise ModelError(
            f"there is no {kind.key} {name} ({path}); known are {', '.join(known) or 'none'}: dsr_learn makes one"
        ) from error
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error}") from error


def ensure_free(path: Path, kind: ModelKind) -> None:
    """Raise ModelError where a path has a model of another kind, which would be lost."""
    if not path.is_file():
        return
    for another in KINDS:
        if another != kind and _has_format(path, another):
            raise ModelError(f"{path} holds a {another.key}: give the {kind.key} another name")


def _has_format(path: Path, kind: ModelKind) -> bool:
    """Whether the start of a file names the format of a kind."""
    with path.open("rb") as file:
        return kind.format.encode() in file.read(8 + MAX_HEADER)


def parse(data: bytes, kind: ModelKind) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the description and the tensors of a file, not checked yet. Raises ModelError."""
    description = _parse_description(data, kind)
    try:
        return description, safetensors.torch.load(data)
    except SafetensorError as error:
        raise ModelError(f"this is no whole file of a {kind.key}: {error}") from error


def _parse_description(data: bytes, kind: ModelKind) -> dict[str, Any]:
    """Return the description, before any tensor is read."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MAX_HEADER, len(data) - 8):
        raise ModelError(f"this is no file of a {kind.key}, or a cut one")
    try:
        header = parse_json(data[8 : 8 + length].decode())
        texts = header.get("__metadata__") if isinstance(header, dict) else None
        if not isinstance(texts, dict) or texts.get("format") != kind.format:
            raise ModelError(_other_format(texts, kind))
        description = parse_json(texts.get(kind.key, ""))
    except ModelError:
        raise
    except (ValueError, RecursionError) as error:
        raise ModelError(f"this is no file of a {kind.key}: {error}") from error
    if not isinstance(description, dict):
        raise ModelError("its description is no JSON object")
    return description


def _other_format(texts: Any, kind: ModelKind) -> str:
    format_name = texts.get("format") if isinstance(texts, dict) else None
    for another in KINDS:
        if format_name == another.format:
            return f"this is a {another.key}, not a {kind.key}; {another.use.format(name='NAME')} uses it"
    return f"this is no file of a {kind.key}: its format is not {kind.format!r}"


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Return the types and shapes of tensors."""
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


def check_tensors(tensors: Mapping[str, torch.Tensor], expected: Shapes) -> None:
    """Check that tensors are those that are expected, with numbers of a sane size. Raises ModelError."""
    if set(tensors) != set(expected):
        odd = sorted(set(tensors) ^ set(expected))
        raise ModelError(f"it lacks the tensor {odd[0][:LONGEST_NAME]}, or has it without need")
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        if tensor.dtype != dtype or tuple(tensor.shape) != shape:
            raise ModelError(f"{name} is {tensor.dtype} {list(tensor.shape)}, and {dtype} {list(shape)} is needed")
        if not bool(torch.isfinite(tensor).all()) or float(tensor.abs().max() if tensor.numel() else 0.0) > LARGEST:
            raise ModelError(f"{name} has numbers that are not within ±{LARGEST:g}")


def number(description: Mapping[str, Any], key: str, least: float, greatest: float) -> float:
    """Return a number of a description. Raises ModelError outside of its range."""
    value = description.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= greatest:
        raise ModelError(f"{key} is {str(value)[:40]}, not within {least:g} and {greatest:g}")
    return float(value)


def whole_number(description: Mapping[str, Any], key: str, least: int, greatest: int) -> int:
    """Return a whole number of a description. Raises ModelError."""
    value = number(description, key, least, greatest)
    if not math.isclose(value, round(value)):
        raise ModelError(f"{key} is {value:g}, not a whole number")
    return round(value)


def texts(description: Mapping[str, Any], key: str, limit: int) -> tuple[str, ...]:
    """Return a list of 1 to `limit` short texts of a description. Raises ModelError."""
    value = description.get(key)
    if not isinstance(value, list) or not 1 <= len(value) <= limit:
        raise ModelError(f"{key} are no list of 1 to {limit}")
    if not all(isinstance(text, str) and len(text) <= LONGEST_NAME for text in value):
        raise ModelError(f"{key} are no short texts")
    return tuple(value)
