"""The format of `.dsr` files: names, limits, the range of each number, the digest, and their checks."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Mapping
from typing import Any

import torch

from pymol_dsr.shared.frames import parse_json
from pymol_dsr.shared.safetensors_header import MAX_HEADER

from ..fields.fast import MAX_NODES, FastField
from ..fields.paper import PaperField

FORMAT = "dsr 3"
# Fields of kind `fast` have a learned correction in formats 1 and 2. Format 1 holds single trajectories of kind `fast`
# only, and no coded tensors.
READ_FORMATS = ("dsr 1", "dsr 2", FORMAT)
# Levels of lists and objects in the JSON; a report has six.
MAX_DEPTH = 64
# Largest value of tensors that are not among RANGES.
MAX_VALUE = 1e7
# Smallest and largest value of each number of the format, in Å unless another unit is given. Every fit is well inside.
RANGES: dict[str, tuple[float, float]] = {
    "sigma": (0.1, 100.0),
    # States.
    "smooth": (0.0, MAX_VALUE),
    "smooth_beyond": (0.0, MAX_VALUE),
    "smooth_atoms": (0.0, MAX_VALUE),
    "smooth_pose": (0.0, MAX_VALUE),
    "period": (1e-9, MAX_VALUE),
    # Numbers of states from 0.
    "breaks": (1, MAX_VALUE),
    # Any unit of time.
    "times": (-1e15, 1e15),
    "forecasts.rank": (0, 1000),
    "forecasts.window": (0, MAX_VALUE),
    "forecasts.damping": (0.0, MAX_VALUE),
    "forecasts.leads": (1e-9, MAX_VALUE),
    "forecasts.errors": (0.0, MAX_VALUE),
    # Numbers of 4 bytes have steps of 0.06 Å there.
    "frame.centre": (-1e6, 1e6),
    "extent": (-1e6, 1e6),
    "lattice.origin": (-1e6, 1e6),
    # Normalised units per Å.
    "frame.scale": (1e-9, MAX_VALUE),
    "scale": (1e-9, MAX_VALUE),
    "lattice.spacing": (1e-3, 1e3),
    # Nodes.
    "lattice.shape": (2, MAX_NODES // 4),
    "factor": (1, 1024),
    "clearance": (0.0, 1e5),
    "reach": (0.0, 1e6),
    "lift": (-100.0, 100.0),
    "spatial_width": (0.0, 10.0),
    # Å².
    "report.area": (0.0, 1e12),
    # States, Å and, for rotations, no unit.
    "motion.states": (-MAX_VALUE, MAX_VALUE),
    "motion.rotations": (-1.001, 1.001),
    "motion.translations": (-2e6, 2e6),
    "motion.reference": (-1e6, 1e6),
    "motion.atoms": (-1e6, 1e6),
}
# Large tensors whose neighbouring values are similar.
CODED_TENSORS = ("coarse_modes", "fine_modes", "static", "motion.atoms")
# Prefixes of the tensors of the network that the trajectories of a family share, by the kind of their fields.
SHARED_NETWORKS = {FastField.kind: "decoder.", PaperField.kind: "network."}


class CheckpointError(ValueError):
    """A `.dsr` file that cannot be used; the message names its fault."""


def read_metadata(data: bytes, key: str = "field") -> dict[str, str]:
    """Return the texts of a safetensors file, which must include `key`, before any tensor is read.

    Raises CheckpointError.
    """
    if len(data) < 8:
        raise CheckpointError(f"{len(data)} bytes are no .dsr file")
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER:
        raise CheckpointError("this is no .dsr file: it does not begin like one")
    if length > len(data) - 8:
        raise CheckpointError(f"this .dsr file is cut: its header takes {length} bytes, and the file {len(data)}")
    header = read_json(data[8 : 8 + length])
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get(key), str):
        raise CheckpointError(f"this safetensors file holds no {key}: it was not written by pymol-dsr")
    return metadata


def read_json(text: str | bytes) -> Any:
    """Parse JSON with the limits of frames and MAX_DEPTH. Raises CheckpointError."""
    try:
        # Reports of fits that had no time to train say NaN for their loss; numbers of RANGES are never NaN.
        value = parse_json(text.decode("utf-8") if isinstance(text, bytes) else text, nan=True)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"this is no .dsr file: {error}") from error
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
    if level:
        raise CheckpointError(f"this is no .dsr file: its JSON is nested more than {MAX_DEPTH} deep")
    return value


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def digest(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of all tensors and all texts but the digest itself."""
    sha = hashlib.sha256()
    texts = {name: text for name, text in metadata.items() if name != "digest"}
    sha.update(json.dumps(texts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def check_tensor(
    tensors: Mapping[str, torch.Tensor], name: str, dtype: torch.dtype, shape: tuple[int, ...], range_name: str = ""
) -> torch.Tensor:
    """Return a tensor. Raises CheckpointError for another type or shape, and for values outside their range."""
    tensor = tensors[name]
    if tensor.dtype != dtype or tuple(tensor.shape) != shape:
        raise CheckpointError(
            f"{name} is {tensor.dtype} {list(tensor.shape)}, the rest of the file wants {dtype} {list(shape)}"
        )
    if tensor.is_floating_point():
        check_values(name, tensor, range_name)
    return tensor


def check_values(name: str, tensor: torch.Tensor, range_name: str) -> None:
    """Raise CheckpointError where a value is outside the range of that name, or is not a number."""
    least, greatest = RANGES.get(range_name, (-MAX_VALUE, MAX_VALUE))
    # A NaN is both the least and the largest value of its tensor; aminmax makes no copy.
    if tensor.numel() and not all(least <= float(end) <= greatest for end in tensor.aminmax()):
        raise CheckpointError(
            f"{name} has values that are not within {least:g} and {greatest:g}, or that are not numbers"
        )


def check_entries(entries: Any, path: str = "") -> None:
    """Raise CheckpointError where a number of a field's JSON entries is outside of its range.

    path: of `entries` in the table, whose lists have no numbers of their own there.
    """
    if isinstance(entries, list | tuple):
        for entry in entries:
            check_entries(entry, path)
    elif isinstance(entries, Mapping):
        for key, entry in entries.items():
            check_entries(entry, f"{path}.{key}" if path else str(key))
    elif entries is not None and path in RANGES:
        check_number(path, entries)


def check_number(name: str, value: Any) -> float:
    """Return a number of the JSON. Raises CheckpointError outside of its range."""
    least, greatest = RANGES[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= greatest:
        raise CheckpointError(f"{name} is {reprlib.repr(value)}, not within {least:g} and {greatest:g}")
    return float(value)


def check_whole(name: str, value: Any) -> int:
    """Return a whole number of the JSON. Raises CheckpointError outside of its range."""
    if not isinstance(value, int):
        raise CheckpointError(f"{name} is {reprlib.repr(value)}, not a whole number")
    check_number(name, value)
    return value
