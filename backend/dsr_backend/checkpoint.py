"""A fitted field or family as one `.dsr` file: safetensors, with what is not a tensor as JSON in its metadata.

No pickle. A file is checked (sizes, names, shapes, digest) before a field is made of it, and written beside
its name and moved there, so that the name always holds a whole file; the one before it stays as
`NAME.dsr.previous`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from . import __version__, coding, storage
from .clock import Clock
from .device import choose
from .field import Family, Field
from .fields.fast import FIXED, MOST_NODES, Band, Decoder, FastField, Modes
from .fields.paper import SPACE, Network, PaperField
from .lattice import Lattice
from .metrics import Frame
from .motion import Forecast, Motion
from .names import is_name

__all__ = ["CheckpointError", "from_bytes", "load", "save", "to_bytes"]

FORMAT = "dsr 2"
# 1 knows single trajectories of kind `fast` only, and codes nothing.
READ = ("dsr 1", FORMAT)
MAX_HEADER = 8 * 2**20
# Å, states and the like: nothing that a field says of itself is larger.
FAR = 1e7
# The tensors that are large and whose neighbours are alike.
CODED = ("coarse_modes", "fine_modes", "static", "motion.atoms")
# What the trajectories of a family share, by the kind of their fields; as attribute and as prefix of the tensors.
SHARED = {FastField.kind: "decoder", PaperField.kind: "network"}


class CheckpointError(ValueError):
    """A `.dsr` file that cannot be used; the message says what is wrong with it."""


# To bytes ---------------------------------------------------------------------------------------------------


def to_bytes(fitted: Field | Family) -> bytes:
    """The `.dsr` file of a field or a family. Raises TypeError for a kind of field that has none."""
    tensors: dict[str, torch.Tensor] = {}
    if isinstance(fitted, Family):
        about: dict[str, Any] = {
            "kind": "family",
            "report": {key: value for key, value in fitted.report.items() if key != "trajectories"},
            "members": {name: _parts(member, tensors, f"{name}/") for name, member in fitted.members.items()},
        }
        first = next(iter(fitted.members.values()))
        if any(_shared(member) is not _shared(first) for member in fitted.members.values()):
            raise TypeError("the trajectories of this family do not share one network")
    else:
        first, about = fitted, _parts(fitted, tensors, "")
    tensors |= {f"{SHARED[first.kind]}.{name}": value for name, value in _shared(first).state_dict().items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": FORMAT, "version": __version__, "field": json.dumps(about)}
    metadata["digest"] = digest(tensors, metadata)
    return bytes(safetensors.torch.save(tensors, metadata))


def _shared(field: Field) -> torch.nn.Module:
    network: torch.nn.Module = getattr(field, SHARED[field.kind])
    return network


def _parts(field: Field, tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, Any]:
    """What JSON holds of a field. Its own tensors, but not those it shares, are put into `tensors` under the prefix."""
    if not isinstance(field, FastField | PaperField):
        raise TypeError(f"fields of kind {field.kind!r} have no file format")
    motion = field.motion
    own = {name: value for name, value in field.tensors().items() if not name.startswith(f"{SHARED[field.kind]}.")}
    own["motion.states"] = torch.tensor(motion.states)
    own["motion.rotations"] = torch.tensor(motion.rotations)
    own["motion.translations"] = torch.tensor(motion.translations)
    if motion.atoms is not None and motion.reference is not None:
        # Copies: the reference is one of the states, and safetensors refuses tensors that share memory.
        own["motion.atoms"] = torch.tensor(motion.atoms)
        own["motion.reference"] = torch.tensor(motion.reference)
    coded = {}
    for name in CODED:
        if name in own:
            data, coded[name] = coding.encode(own[name].detach().float().cpu().numpy())
            own[name] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    tensors |= {prefix + name: value for name, value in own.items()}
    about = {
        "kind": field.kind,
        "coded": coded,
        "smooth_atoms": motion.smooth,
        "smooth_pose": motion.smooth_pose,
        "period": motion.period,
        "times": None if field.clock is None else field.clock.times,
        "sigma": motion.sigma,
        "forecasts": [asdict(forecast) for forecast in motion.forecasts],
        "frame": {"centre": [float(c) for c in field.frame.centre], "scale": field.frame.scale},
        "extent": np.asarray(field.extent, np.float64).tolist(),
        "clearance": field.clearance,
        "reach": field.reach if np.isfinite(field.reach) else None,
        "report": field.report,
    }
    if isinstance(field, FastField):
        return about | {
            "lattice": asdict(field.band.lattice),
            "factor": field.factor,
            "smooth": field.smooth,
            "smooth_beyond": field.smooth_beyond,
            "lift": field.lift,
        }
    return about | {"scale": field.scale}


# From bytes -------------------------------------------------------------------------------------------------


def from_bytes(data: bytes, device: str = "auto") -> Field | Family:
    """The field or family in a `.dsr` file.

    Raises CheckpointError when it is not one, is damaged or of another version, and ValueError when there is
    no such device.
    """
    chosen = choose(device)
    metadata = metadata_of(data)
    if metadata.get("format") not in READ:
        raise CheckpointError(
            f"this file is of format {metadata.get('format')!r}, "
            f"written by version {metadata.get('version')!r}; version {__version__} reads {' and '.join(READ)}"
        )
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the file is damaged: {error}") from error
    found = digest(tensors, metadata)
    if metadata.get("digest") != found:
        raise CheckpointError(f"the file is damaged: its digest is {found}, it says {metadata.get('digest')}")
    try:
        about = json.loads(metadata["field"])
        if about["kind"] == "family":
            return _family(tensors, about, chosen)
        parts = _Parts(tensors, about)
        return _field(parts, _network(parts), chosen)
    except (CheckpointError, torch.OutOfMemoryError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"the file lacks a part of a field, or has a wrong one: {error!r}") from error


@dataclass(frozen=True)
class _Parts:
    """The tensors and texts of one field; in a family its tensors' names begin with `prefix`."""

    tensors: Mapping[str, torch.Tensor]
    about: dict[str, Any]
    prefix: str = ""

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[self.prefix + name].shape)

    def tensor(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
        """A tensor, which must be of this type and shape."""
        return _expect(self.tensors, self.prefix + name, dtype, shape)

    def values(self, name: str, shape: tuple[int, ...], bare: torch.dtype = torch.float32) -> torch.Tensor:
        """Values f4 of a tensor of this shape that may be coded; `bare`: its type where it is not."""
        how = self.about.get("coded", {}).get(name)
        if how is None:
            return self.tensor(name, bare, shape).float()
        data = self.tensor(name, torch.uint8, (math.prod(self.shape(name)),))
        try:
            values = torch.from_numpy(coding.decode(data.numpy().data, how, shape))
        except ValueError as error:
            raise CheckpointError(f"{self.prefix}{name}: {error}") from error
        _check_finite(self.prefix + name, values)
        return values


def _family(tensors: Mapping[str, torch.Tensor], about: dict[str, Any], device: torch.device) -> Family:
    told = about["members"]
    kinds = {member["kind"] for member in told.values()}
    if len(kinds) != 1 or not all(map(is_name, told)):
        raise CheckpointError(f"{len(told)} trajectories, {str(list(told))[:200]}, of {sorted(kinds)} are no family")
    network = None
    members = {}
    for name, one in told.items():
        parts = _Parts(tensors, one, f"{name}/")
        # One object for all: fields with a network of their own are not of one family.
        network = network or _network(parts)
        members[name] = _field(parts, network, device)
    return Family(members, {**about["report"], "trajectories": {name: field.report for name, field in members.items()}})


def _network(parts: _Parts) -> Decoder | Network:
    """What a field shares with its family, on the CPU; shapes are checked before there is one."""
    kind, tensors = parts.about["kind"], parts.tensors
    network: Decoder | Network
    if kind == FastField.kind:
        hidden, channels = tensors["decoder.layers.0.weight"].shape
        _check_layers(tensors, "decoder.layers.{}", (0, 2, 4), [channels, hidden, hidden], [hidden, hidden, 1])
        network = Decoder(channels, hidden)
    elif kind == PaperField.kind:
        layers = sum(name.startswith("network.layers.") and name.endswith(".weight") for name in tensors) - 1
        width = tensors[f"network.layers.{layers}.weight"].shape[1]
        [latent] = parts.shape("z")
        inputs, outputs = SPACE + 1 + latent, [width] * layers + [1]
        # The input joins the middle layer.
        outputs[layers // 2 - 1] -= inputs
        _check_layers(tensors, "network.layers.{}", range(layers + 1), [inputs] + [width] * layers, outputs)
        network = Network(width, layers, latent)
    else:
        known = ", ".join((*SHARED, "family"))
        raise CheckpointError(f"a field of kind {kind!r} is not known; this version reads {known}")
    prefix = f"{SHARED[kind]}."
    network.load_state_dict({n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)})
    return network.requires_grad_(False)


def _check_layers(
    tensors: Mapping[str, torch.Tensor], name: str, numbers: Iterable[int], ins: Sequence[int], outs: Sequence[int]
) -> None:
    for number, count, out in zip(numbers, ins, outs, strict=True):
        _expect(tensors, f"{name.format(number)}.weight", torch.float32, (out, count))
        _expect(tensors, f"{name.format(number)}.bias", torch.float32, (out,))


def _field(parts: _Parts, network: Decoder | Network, device: torch.device) -> Field:
    """The field; every shape is held against the others before anything is made of it."""
    field = _made(parts, network, device)
    if parts.about.get("times") is not None:
        field.clock = Clock([float(time) for time in parts.about["times"]])
    # Files of before know none.
    if parts.about.get("reach") is not None:
        field.reach = float(parts.about["reach"])
    return field


def _made(parts: _Parts, network: Decoder | Network, device: torch.device) -> Field:
    about = parts.about
    motion = _motion(parts)
    x, y, z = (_number(c) for c in about["frame"]["centre"])
    frame = Frame(np.array([x, y, z]), _number(about["frame"]["scale"], 1e-9))
    extent = np.array([_number(c) for row in about["extent"] for c in row], np.float32).reshape(2, 3)
    clearance, report = _number(about["clearance"], 0.0), dict(about["report"])
    _number(report.get("area", 0.0), 0.0, 1e12)
    network = network.to(device)
    if isinstance(network, Network):
        scale = float(about["scale"])
        if not 0.0 < scale < np.inf:
            raise CheckpointError(f"{scale} normalised units per Å are no scale")
        code = parts.tensor("z", torch.float32, (network.latent,)).to(device)
        return PaperField(network, code, scale, motion, frame, extent, clearance, report)

    lattice, inside = _lattice(parts)
    factor = int(about["factor"])
    if factor < 1 or any((n - 1) % factor for n in lattice.shape):
        raise CheckpointError(f"a lattice {factor} times coarser than {lattice.shape} nodes shares no corners")
    latent = torch.zeros(0)
    if "latent" in parts:
        latent = parts.tensor("latent", torch.float32, (math.prod(parts.shape("latent")),))
    inputs = parts.tensors["decoder.layers.0.weight"].shape[1]
    channels = inputs - (FIXED - 1) - len(latent)
    if channels < 0:
        raise CheckpointError(f"the decoder takes {inputs} numbers, fewer than there are")
    own = int(np.count_nonzero(inside))
    coarse = _modes(parts, "coarse", lattice.coarser(factor).size, len(motion.states), device)
    fine = _modes(parts, "fine", own, len(motion.states), device)
    static = parts.values("static", (own, channels)).to(device)
    band = Band(lattice, torch.as_tensor(inside, device=device))
    field = FastField(
        motion, band, factor, coarse, fine, static, network, latent.to(device), frame, extent, clearance, report
    )
    field.smooth, field.smooth_beyond = _number(about["smooth"], 0.0), _number(about["smooth_beyond"], 0.0)
    # Files of format 1 know none.
    field.lift = _number(about.get("lift", 0.0))
    return field


def _motion(parts: _Parts) -> Motion:
    about = parts.about
    count = math.prod(parts.shape("motion.states"))
    states = parts.tensor("motion.states", torch.float64, (count,)).numpy()
    rotations = parts.tensor("motion.rotations", torch.float64, (count, 3, 3)).numpy()
    translations = parts.tensor("motion.translations", torch.float64, (count, 3)).numpy()
    if not count or not np.isfinite(states).all() or (np.diff(states) <= 0.0).any():
        raise CheckpointError(f"its {count} states do not rise")
    atoms = reference = None
    if "motion.atoms" in parts:
        atom_count = parts.shape("motion.reference")[0]
        reference = parts.tensor("motion.reference", torch.float32, (atom_count, 3)).numpy()
        atoms = parts.values("motion.atoms", (count, atom_count, 3)).numpy()
    period = about.get("period")
    if period is not None and not states[-1] - states[0] < float(period) < np.inf:
        raise CheckpointError(f"a loop of {period} states does not go with states {states[0]:g} to {states[-1]:g}")
    before, after = (
        Forecast(int(f["rank"]), int(f["window"]), float(f["damping"]), tuple(f["leads"]), tuple(f["errors"]))
        for f in about["forecasts"]
    )
    for one in (before, after):
        if one.rank < 0 or (one.rank and not (one.window > 0 and 0.0 < one.damping < FAR)):
            raise CheckpointError(f"a forecast of rank {one.rank}, window {one.window}, damping {one.damping} is none")
        if len(one.leads) != len(one.errors):
            raise CheckpointError(f"a forecast has {len(one.leads)} leads and {len(one.errors)} errors")
    return Motion(
        states,
        atoms,
        rotations,
        translations,
        reference,
        _number(about["sigma"], 0.0),
        _number(about["smooth_atoms"], 0.0),
        (before, after),
        _number(about.get("smooth_pose", 0.0), 0.0),
        None if period is None else float(period),
    )


def _lattice(parts: _Parts) -> tuple[Lattice, NDArray[np.bool_]]:
    """The fine lattice and bool[nodes], which of its nodes are in the band."""
    told = parts.about["lattice"]
    ox, oy, oz = (_number(c) for c in told["origin"])
    x, y, z = (int(n) for n in told["shape"])
    lattice = Lattice((ox, oy, oz), float(told["spacing"]), (x, y, z))
    if not (np.isfinite([ox, oy, oz]).all() and 0.0 < lattice.spacing < np.inf):
        raise CheckpointError(f"a lattice at {lattice.origin} Å with {lattice.spacing} Å spacing is none")
    if min(x, y, z) < 2 or lattice.size > MOST_NODES:
        raise CheckpointError(f"a lattice of {x}×{y}×{z} nodes is not between 2×2×2 and {MOST_NODES} nodes")
    band = parts.tensor("band", torch.uint8, ((lattice.size + 7) // 8,))
    return lattice, np.unpackbits(band.numpy(), count=lattice.size).astype(bool)


def _modes(parts: _Parts, name: str, nodes: int, states: int, device: torch.device) -> Modes:
    """Modes f4[count,nodes] and coefficients f4[states,count]."""
    count = parts.shape(f"{name}_coefficients")[1]
    coefficients = parts.tensor(f"{name}_coefficients", torch.float32, (states, count))
    modes = parts.values(f"{name}_modes", (count, nodes), torch.float16)
    return Modes(modes.to(device), coefficients.to(device))


def _expect(tensors: Mapping[str, torch.Tensor], name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    tensor = tensors[name]
    if tensor.dtype != dtype or tuple(tensor.shape) != shape:
        raise CheckpointError(
            f"{name} is {tensor.dtype} {list(tensor.shape)}, the rest of the file wants {dtype} {list(shape)}"
        )
    if tensor.is_floating_point():
        _check_finite(name, tensor)
    return tensor


def _check_finite(name: str, tensor: torch.Tensor) -> None:
    # A NaN is the least and the largest of its tensor; no copy is made.
    if tensor.numel() and not all(abs(float(end)) < FAR for end in tensor.aminmax()):
        raise CheckpointError(f"{name} has values past {FAR:g}, or that are not numbers")


def _number(value: Any, least: float = -FAR, most: float = FAR) -> float:
    number = float(value)
    if not least <= number <= most:
        raise CheckpointError(f"{number:g} is not within {least:g} and {most:g}")
    return number


def metadata_of(data: bytes, key: str = "field") -> dict[str, str]:
    """The text part of a safetensors file, which must have `key`, read before any tensor is."""
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
    if not isinstance(metadata, dict) or not isinstance(metadata.get(key), str):
        raise CheckpointError(f"this safetensors file holds no {key}: it was not written by pymol-dsr")
    return metadata


def digest(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 over all tensors and texts but the digest itself."""
    found = hashlib.sha256()
    texts = {name: text for name, text in metadata.items() if name != "digest"}
    found.update(json.dumps(texts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def save(fitted: Field | Family, path: str | os.PathLike[str]) -> None:
    """Write the `.dsr` file; a file already there is kept as `NAME.dsr.previous`.

    Raises OSError, and leaves the file that was there, when it cannot be written.
    """
    storage.write(Path(path), to_bytes(fitted))


def load(path: str | os.PathLike[str], device: str = "auto") -> Field | Family:
    """The field or family in the file, or in its `.previous` where the file is damaged (the report says so).

    Raises CheckpointError, naming the path, when neither is whole, and OSError when the file cannot be read.
    """
    path, previous = Path(path), storage.previous_of(Path(path))
    try:
        return from_bytes(path.read_bytes(), device)
    except (CheckpointError, FileNotFoundError) as error:
        if not previous.is_file():
            if isinstance(error, FileNotFoundError):
                raise
            raise CheckpointError(f"{path}: {error}") from error
        try:
            fitted = from_bytes(previous.read_bytes(), device)
        except CheckpointError as other:
            raise CheckpointError(f"{path}: {error}; {previous}: {other}") from error
        fitted.report["loaded_from"] = (
            f"{previous}, since {path} {'is missing' if isinstance(error, OSError) else f'is damaged: {error}'}"
        )
        return fitted
