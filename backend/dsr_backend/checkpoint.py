"""A fitted field as one `.dsr` file: safetensors, with everything that is not a tensor as JSON in its metadata.

No pickle. A file is checked (sizes, names, shapes, digest) before a field is made of it, and written beside its name
and moved there, so that the name always holds a whole file; the file before it stays as `NAME.dsr.previous`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from . import __version__
from .device import choose
from .field import Field
from .fields.fast import FIXED, Band, Decoder, FastField, Modes
from .lattice import Lattice
from .metrics import Frame
from .motion import Forecast, Motion

__all__ = ["CheckpointError", "from_bytes", "load", "save", "to_bytes"]

FORMAT = "dsr 1"
MAX_HEADER = 8 * 2**20
# A lattice larger than this was made by no fit; the band's bits would be unpacked to it.
MAX_NODES = 2**31


class CheckpointError(ValueError):
    """A `.dsr` file that cannot be used; the message says what is wrong with it."""


def to_bytes(field: Field) -> bytes:
    """The `.dsr` file of a field."""
    if not isinstance(field, FastField):
        raise TypeError(f"fields of kind {field.kind!r} have no file format")
    motion = field.motion
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in field.tensors().items()}
    tensors["motion.states"] = torch.as_tensor(motion.states)
    tensors["motion.rotations"] = torch.as_tensor(motion.rotations)
    tensors["motion.translations"] = torch.as_tensor(motion.translations)
    if motion.atoms is not None and motion.reference is not None:
        tensors["motion.atoms"] = torch.as_tensor(motion.atoms)
        tensors["motion.reference"] = torch.as_tensor(motion.reference)
    about = {
        "kind": field.kind,
        "lattice": asdict(field.band.lattice),
        "factor": field.factor,
        "smooth": field.smooth,
        "smooth_atoms": motion.smooth,
        "forecasts": [asdict(forecast) for forecast in motion.forecasts],
        "frame": {"centre": [float(c) for c in field.frame.centre], "scale": field.frame.scale},
        "extent": np.asarray(field.extent, np.float64).tolist(),
        "report": field.report,
    }
    metadata = {"format": FORMAT, "version": __version__, "digest": _digest(tensors), "field": json.dumps(about)}
    return bytes(safetensors.torch.save(tensors, metadata))


def from_bytes(data: bytes, device: str = "auto") -> Field:
    """The field in a `.dsr` file. Raises CheckpointError when it is not one, is damaged or of another version."""
    metadata = _metadata(data)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"this file is of format {metadata.get('format')!r} (written by version {metadata.get('version')!r}); "
            f"version {__version__} reads {FORMAT!r}"
        )
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise CheckpointError(f"the file is damaged: {error}") from error
    found = _digest(tensors)
    if metadata.get("digest") != found:
        raise CheckpointError(f"the file is damaged: its digest is {found}, it says {metadata.get('digest')}")
    try:
        return _field(tensors, json.loads(metadata["field"]), choose(device))
    except (KeyError, TypeError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"the file lacks a part of a field: {error!r}") from error


def _field(tensors: dict[str, torch.Tensor], about: dict[str, Any], device: torch.device) -> Field:
    if about["kind"] != FastField.kind:
        raise CheckpointError(f"a field of kind {about['kind']!r} is not known; this version reads {FastField.kind!r}")
    told = about["lattice"]
    x, y, z = (int(n) for n in told["shape"])
    lattice = Lattice(tuple(told["origin"]), float(told["spacing"]), (x, y, z))
    bits = tensors["band"].numpy()
    if min(x, y, z) < 2 or not lattice.size <= MAX_NODES or len(bits) != (lattice.size + 7) // 8:
        raise CheckpointError(f"a lattice of {x}×{y}×{z} nodes does not go with {len(bits)} bytes of band")
    inside = np.unpackbits(bits, count=lattice.size).astype(bool)
    band = Band(lattice, torch.as_tensor(inside, device=device))
    factor = int(about["factor"])
    states = tensors["motion.states"].numpy()
    atoms, reference = tensors.get("motion.atoms"), tensors.get("motion.reference")
    coarse_size = lattice.coarser(factor).size
    _expect("motion.rotations", tensors["motion.rotations"], (len(states), 3, 3))
    _expect("motion.translations", tensors["motion.translations"], (len(states), 3))
    for name, nodes in (("coarse", coarse_size), ("fine", band.count)):
        count = tensors[f"{name}_modes"].shape[0]
        _expect(f"{name}_modes", tensors[f"{name}_modes"], (count, nodes))
        _expect(f"{name}_coefficients", tensors[f"{name}_coefficients"], (len(states), count))
    if atoms is not None and reference is not None:
        _expect("motion.atoms", atoms, (len(states), len(reference), 3))
    motion = Motion(
        states,
        None if atoms is None else atoms.numpy(),
        tensors["motion.rotations"].numpy(),
        tensors["motion.translations"].numpy(),
        None if reference is None else reference.numpy(),
        float(about["smooth_atoms"]),
        _forecasts(about["forecasts"]),
    )
    static = tensors["static"].to(device)
    _expect("static", static, (band.count, static.shape[1]))
    weights = {name.removeprefix("decoder."): value for name, value in tensors.items() if name.startswith("decoder.")}
    decoder = Decoder(FIXED - 1 + static.shape[1], weights["layers.0.weight"].shape[0])
    decoder.load_state_dict(weights)
    field = FastField(
        motion,
        band,
        factor,
        _modes(tensors, "coarse", device),
        _modes(tensors, "fine", device),
        static,
        decoder.to(device).requires_grad_(False),
        Frame(np.array(about["frame"]["centre"]), float(about["frame"]["scale"])),
        np.array(about["extent"], np.float32),
        dict(about["report"]),
    )
    field.smooth = float(about["smooth"])
    return field


def _modes(tensors: dict[str, torch.Tensor], name: str, device: torch.device) -> Modes:
    return Modes(tensors[f"{name}_modes"].to(device).float(), tensors[f"{name}_coefficients"].to(device))


def _forecasts(told: list[dict[str, Any]]) -> tuple[Forecast, Forecast]:
    before, after = (
        Forecast(int(f["rank"]), int(f["window"]), float(f["damping"]), tuple(f["leads"]), tuple(f["errors"])) for f in told
    )
    return before, after


def _expect(name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise CheckpointError(f"{name} has shape {list(tensor.shape)}, the rest of the file wants {list(shape)}")


def _metadata(data: bytes) -> dict[str, str]:
    """The text part of a safetensors file, read before any tensor is."""
    if len(data) < 8:
        raise CheckpointError(f"{len(data)} bytes are no .dsr file")
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER, len(data) - 8):
        raise CheckpointError(f"this is no .dsr file, or a cut one: its header would take {length} of {len(data)} bytes")
    try:
        header = json.loads(data[8 : 8 + length])
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(f"this is no .dsr file: {error}") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or "field" not in metadata:
        raise CheckpointError("this safetensors file holds no field: it was not written by pymol-dsr")
    return metadata


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save(field: Field, path: str | os.PathLike[str]) -> None:
    """Write the `.dsr` file; a file already there is kept as `NAME.previous`. Raises OSError and leaves both then."""
    path = Path(path)
    data = to_bytes(field)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if hashlib.sha256(temporary.read_bytes()).digest() != hashlib.sha256(data).digest():
            raise OSError(f"{temporary} reads back other bytes than were written")
        if path.exists():
            os.replace(path, path.with_name(path.name + ".previous"))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load(path: str | os.PathLike[str], device: str = "auto") -> Field:
    """The field in the file, or in its `.previous` where the file is damaged and that one is whole (the report says so).

    Raises CheckpointError naming the path, and OSError when it cannot be read.
    """
    path = Path(path)
    try:
        return from_bytes(path.read_bytes(), device)
    except CheckpointError as error:
        previous = path.with_name(path.name + ".previous")
        if previous.is_file():
            field = from_bytes(previous.read_bytes(), device)
            field.report["loaded_from"] = f"{previous}, since {path} is damaged: {error}"
            return field
        raise CheckpointError(f"{path}: {error}") from error
