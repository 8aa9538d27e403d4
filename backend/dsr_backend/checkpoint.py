"""A fitted field as one `.dsr` file: safetensors, with what is not a tensor as JSON in its metadata.

No pickle. A file is checked (sizes, names, shapes, digest) before a field is made of it, and written beside
its name and moved there, so that the name always holds a whole file; the one before it stays as
`NAME.dsr.previous`.
"""

from __future__ import annotations

import hashlib
import json
import os
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
from .fields.fast import FIXED, MOST_NODES, Band, Decoder, FastField, Modes
from .lattice import Lattice
from .metrics import Frame
from .motion import Forecast, Motion

__all__ = ["CheckpointError", "from_bytes", "load", "save", "to_bytes"]

FORMAT = "dsr 1"
MAX_HEADER = 8 * 2**20


class CheckpointError(ValueError):
    """A `.dsr` file that cannot be used; the message says what is wrong with it."""


def to_bytes(field: Field) -> bytes:
    """The `.dsr` file of a field. Raises TypeError for a kind of field that has none."""
    if not isinstance(field, FastField):
        raise TypeError(f"fields of kind {field.kind!r} have no file format")
    motion = field.motion
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in field.tensors().items()}
    tensors["motion.states"] = torch.tensor(motion.states)
    tensors["motion.rotations"] = torch.tensor(motion.rotations)
    tensors["motion.translations"] = torch.tensor(motion.translations)
    if motion.atoms is not None and motion.reference is not None:
        # Copies: the reference is one of the states, and safetensors refuses tensors that share memory.
        tensors["motion.atoms"] = torch.tensor(motion.atoms)
        tensors["motion.reference"] = torch.tensor(motion.reference)
    about = {
        "kind": field.kind,
        "lattice": asdict(field.band.lattice),
        "factor": field.factor,
        "smooth": field.smooth,
        "smooth_beyond": field.smooth_beyond,
        "smooth_atoms": motion.smooth,
        "sigma": motion.sigma,
        "forecasts": [asdict(forecast) for forecast in motion.forecasts],
        "frame": {"centre": [float(c) for c in field.frame.centre], "scale": field.frame.scale},
        "extent": np.asarray(field.extent, np.float64).tolist(),
        "clearance": field.clearance,
        "report": field.report,
    }
    metadata = {"format": FORMAT, "version": __version__, "field": json.dumps(about)}
    metadata["digest"] = _digest(tensors, metadata)
    return bytes(safetensors.torch.save(tensors, metadata))


def from_bytes(data: bytes, device: str = "auto") -> Field:
    """The field in a `.dsr` file.

    Raises CheckpointError when it is not one, is damaged or of another version, and ValueError when there is
    no such device.
    """
    chosen = choose(device)
    metadata = _metadata(data)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"this file is of format {metadata.get('format')!r}, "
            f"written by version {metadata.get('version')!r}; version {__version__} reads {FORMAT!r}"
        )
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the file is damaged: {error}") from error
    found = _digest(tensors, metadata)
    if metadata.get("digest") != found:
        raise CheckpointError(f"the file is damaged: its digest is {found}, it says {metadata.get('digest')}")
    try:
        return _field(tensors, json.loads(metadata["field"]), chosen)
    except (CheckpointError, torch.OutOfMemoryError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"the file lacks a part of a field, or has a wrong one: {error!r}") from error


def _field(tensors: dict[str, torch.Tensor], about: dict[str, Any], device: torch.device) -> Field:
    """The field; every shape is held against the others before anything is made of it."""
    if about["kind"] != FastField.kind:
        raise CheckpointError(f"a field of kind {about['kind']!r} is not known; this version reads {FastField.kind!r}")
    motion = _motion(tensors, about)
    lattice, inside = _lattice(tensors["band"], about)
    factor = int(about["factor"])
    if factor < 1 or any((n - 1) % factor for n in lattice.shape):
        raise CheckpointError(f"a lattice {factor} times coarser than {lattice.shape} nodes shares no corners")

    own = int(np.count_nonzero(inside))
    for name, nodes in (("coarse", lattice.coarser(factor).size), ("fine", own)):
        count = tensors[f"{name}_modes"].shape[0]
        _expect(tensors, f"{name}_modes", torch.float16, (count, nodes))
        _expect(tensors, f"{name}_coefficients", torch.float32, (len(motion.states), count))
    channels = tensors["static"].shape[1]
    hidden = tensors["decoder.layers.0.weight"].shape[0]
    _expect(tensors, "static", torch.float32, (own, channels))
    _expect(tensors, "decoder.layers.0.weight", torch.float32, (hidden, FIXED - 1 + channels))
    _expect(tensors, "decoder.layers.2.weight", torch.float32, (hidden, hidden))
    decoder = Decoder(FIXED - 1 + channels, hidden)
    prefix = "decoder."
    decoder.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})

    field = FastField(
        motion,
        Band(lattice, torch.as_tensor(inside, device=device)),
        factor,
        _modes(tensors, "coarse", device),
        _modes(tensors, "fine", device),
        tensors["static"].to(device),
        decoder.to(device).requires_grad_(False),
        Frame(np.array(about["frame"]["centre"]), float(about["frame"]["scale"])),
        np.array(about["extent"], np.float32).reshape(2, 3),
        float(about["clearance"]),
        dict(about["report"]),
    )
    field.smooth, field.smooth_beyond = float(about["smooth"]), float(about["smooth_beyond"])
    return field


def _motion(tensors: dict[str, torch.Tensor], about: dict[str, Any]) -> Motion:
    states = tensors["motion.states"].numpy()
    count = len(states)
    _expect(tensors, "motion.states", torch.float64, (count,))
    _expect(tensors, "motion.rotations", torch.float64, (count, 3, 3))
    _expect(tensors, "motion.translations", torch.float64, (count, 3))
    if not count or not np.isfinite(states).all() or (np.diff(states) <= 0.0).any():
        raise CheckpointError(f"its {count} states do not rise")
    atoms = reference = None
    if "motion.atoms" in tensors:
        atom_count = tensors["motion.atoms"].shape[1]
        atoms = _expect(tensors, "motion.atoms", torch.float32, (count, atom_count, 3)).numpy()
        reference = _expect(tensors, "motion.reference", torch.float32, (atom_count, 3)).numpy()
    before, after = (
        Forecast(int(f["rank"]), int(f["window"]), float(f["damping"]), tuple(f["leads"]), tuple(f["errors"]))
        for f in about["forecasts"]
    )
    return Motion(
        states,
        atoms,
        tensors["motion.rotations"].numpy(),
        tensors["motion.translations"].numpy(),
        reference,
        float(about["sigma"]),
        float(about["smooth_atoms"]),
        (before, after),
    )


def _lattice(band: torch.Tensor, about: dict[str, Any]) -> tuple[Lattice, np.ndarray]:
    """The fine lattice and bool[nodes], which of its nodes are in the band."""
    told = about["lattice"]
    ox, oy, oz = (float(c) for c in told["origin"])
    x, y, z = (int(n) for n in told["shape"])
    lattice = Lattice((ox, oy, oz), float(told["spacing"]), (x, y, z))
    if not (np.isfinite([ox, oy, oz]).all() and 0.0 < lattice.spacing < np.inf):
        raise CheckpointError(f"a lattice at {lattice.origin} Å with {lattice.spacing} Å spacing is none")
    if min(x, y, z) < 2 or lattice.size > MOST_NODES or len(band) != (lattice.size + 7) // 8:
        raise CheckpointError(f"a lattice of {x}×{y}×{z} nodes does not go with {len(band)} bytes of band")
    return lattice, np.unpackbits(band.numpy(), count=lattice.size).astype(bool)


def _modes(tensors: dict[str, torch.Tensor], name: str, device: torch.device) -> Modes:
    return Modes(tensors[f"{name}_modes"].to(device).float(), tensors[f"{name}_coefficients"].to(device))


def _expect(tensors: dict[str, torch.Tensor], name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    tensor = tensors[name]
    if tensor.dtype != dtype or tuple(tensor.shape) != shape:
        raise CheckpointError(
            f"{name} is {tensor.dtype} {list(tensor.shape)}, the rest of the file wants {dtype} {list(shape)}"
        )
    return tensor


def _metadata(data: bytes) -> dict[str, str]:
    """The text part of a safetensors file, read before any tensor is."""
    if len(data) < 8:
        raise CheckpointError(f"{len(data)} bytes are no .dsr file")
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER, len(data) - 8):
        raise CheckpointError(
            f"this is no .dsr file, or a cut one: its header would take {length} of {len(data)} bytes"
        )
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"this is no .dsr file: {error}") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("field"), str):
        raise CheckpointError("this safetensors file holds no field: it was not written by pymol-dsr")
    return metadata


def _digest(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 over all tensors and texts but the digest itself."""
    digest = hashlib.sha256()
    texts = {name: text for name, text in metadata.items() if name != "digest"}
    digest.update(json.dumps(texts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save(field: Field, path: str | os.PathLike[str]) -> None:
    """Write the `.dsr` file; a file already there is kept as `NAME.dsr.previous`.

    Raises OSError, and leaves the file that was there, when it cannot be written.
    """
    path = Path(path)
    data = to_bytes(field)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if draft.read_bytes() != data:
            raise OSError(f"{draft} reads back other bytes than were written")
        if path.exists():
            _keep(path, _previous(path))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _keep(path: Path, previous: Path) -> None:
    previous.unlink(missing_ok=True)
    try:
        # A second name for the same file, so that there is no moment without a file of the first name.
        os.link(path, previous)
    except OSError:
        # Some file systems have no links.
        os.replace(path, previous)


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def load(path: str | os.PathLike[str], device: str = "auto") -> Field:
    """The field in the file, or in its `.previous` where the file is damaged (the report says so).

    Raises CheckpointError, naming the path, when neither is whole, and OSError when the file cannot be read.
    """
    path, previous = Path(path), _previous(Path(path))
    try:
        return from_bytes(path.read_bytes(), device)
    except CheckpointError as error:
        if not previous.is_file():
            raise CheckpointError(f"{path}: {error}") from error
        try:
            field = from_bytes(previous.read_bytes(), device)
        except CheckpointError as other:
            raise CheckpointError(f"{path}: {error}; {previous}: {other}") from error
        field.report["loaded_from"] = f"{previous}, since {path} is damaged: {error}"
        return field
