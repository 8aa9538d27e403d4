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
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from pymol_dsr.shared import atomic_write
from pymol_dsr.shared.frames import parse_json
from pymol_dsr.shared.names import is_name

from .. import __version__
from ..fields.base import Family, Field
from ..fields.fast import MAX_NODES, TABLE_COLUMNS, Decoder, FastField, LowRankBasis, NarrowBand
from ..fields.paper import SPACE, Network, PaperField
from ..geometry.lattice import Lattice
from ..geometry.unit_cube import UnitCube
from ..motion.forecast import Forecast
from ..motion.kernels import TemporalKernel
from ..motion.motion import Motion
from ..motion.poses import Poses
from ..motion.time_axis import TimeAxis
from ..motion.warp import WARP_SPACING
from ..runtime.device import choose_device
from . import coding

FORMAT = "dsr 2"
# 1 knows single trajectories of kind `fast` only, and codes nothing.
READ = ("dsr 1", FORMAT)
MAX_HEADER = 8 * 2**20
# Lists and objects within each other in the JSON: a report has six.
MOST_DEPTH = 64
# Values of tensors of which RANGES has nothing.
FAR = 1e7
# Least and most of each number of the format, in Å where no other unit is named. Every fit is well within them.
RANGES: dict[str, tuple[float, float]] = {
    "sigma": (0.1, 100.0),
    # States.
    "smooth": (0.0, FAR),
    "smooth_beyond": (0.0, FAR),
    "smooth_atoms": (0.0, FAR),
    "smooth_pose": (0.0, FAR),
    "period": (1e-9, FAR),
    # Of any unit.
    "times": (-1e15, 1e15),
    "forecasts.rank": (0, 1000),
    "forecasts.window": (0, FAR),
    "forecasts.damping": (0.0, FAR),
    "forecasts.leads": (1e-9, FAR),
    "forecasts.errors": (0.0, FAR),
    # A number of 4 bytes has steps of 0.06 Å there.
    "frame.centre": (-1e6, 1e6),
    "extent": (-1e6, 1e6),
    "lattice.origin": (-1e6, 1e6),
    # Normalised units per Å.
    "frame.scale": (1e-9, FAR),
    "scale": (1e-9, FAR),
    "lattice.spacing": (1e-3, 1e3),
    # Nodes.
    "lattice.shape": (2, MAX_NODES // 4),
    "factor": (1, 1024),
    "clearance": (0.0, 1e5),
    "reach": (0.0, 1e6),
    "lift": (-100.0, 100.0),
    # Å².
    "report.area": (0.0, 1e12),
    # States, Å and, of rotations, no unit.
    "motion.states": (-FAR, FAR),
    "motion.rotations": (-1.001, 1.001),
    "motion.translations": (-2e6, 2e6),
    "motion.reference": (-1e6, 1e6),
    "motion.atoms": (-1e6, 1e6),
}
# States between two neighbours, at least.
LEAST_GAP = 1e-9
# A rotation times its transpose is the identity to this; those of fits are to 1e-14.
ORTHONORMAL = 1e-6
# A forecast goes on for two gaps; a tenfold of that is none.
MOST_DAMPING = 20.0
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
    own["motion.rotations"] = torch.tensor(motion.poses.rotations)
    own["motion.translations"] = torch.tensor(motion.poses.translations)
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
        "smooth_pose": motion.poses.width,
        "period": motion.kernel.period,
        "times": None if field.time_axis is None else field.time_axis.times,
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
            "lift": field.level_offset,
        }
    return about | {"scale": field.scale}


# From bytes -------------------------------------------------------------------------------------------------


def from_bytes(data: bytes, device: str = "auto") -> Field | Family:
    """The field or family in a `.dsr` file.

    Raises CheckpointError when it is not one, is damaged or of another version, and ValueError when there is
    no such device.
    """
    chosen = choose_device(device)
    metadata = metadata_of(data)
    if metadata.get("format") not in READ:
        raise CheckpointError(
            f"this file is of format {reprlib.repr(metadata.get('format'))}, "
            f"written by version {reprlib.repr(metadata.get('version'))}; "
            f"version {__version__} reads {' and '.join(READ)}"
        )
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the file is damaged: {error}") from error
    found = digest(tensors, metadata)
    if metadata.get("digest") != found:
        raise CheckpointError(f"the file is damaged: its digest is {found}, it says {str(metadata.get('digest'))[:80]}")
    try:
        about = _json(metadata["field"])
        if about["kind"] == "family":
            return _family(tensors, about, chosen)
        parts = _Parts(tensors, about)
        return _field(parts, _network(parts), chosen)
    except (CheckpointError, torch.OutOfMemoryError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"the file lacks a part of a field, or has a wrong one: {repr(error)[:300]}") from error


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
        return _expect(self.tensors, self.prefix + name, dtype, shape, name)

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
        _check_values(self.prefix + name, values, name)
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
        field.time_axis = TimeAxis([_number("times", time) for time in parts.about["times"]])
    # Files of before know none.
    if parts.about.get("reach") is not None:
        field.reach = _number("reach", parts.about["reach"])
    return field


def _made(parts: _Parts, network: Decoder | Network, device: torch.device) -> Field:
    about = parts.about
    motion = _motion(parts)
    x, y, z = (_number("frame.centre", c) for c in about["frame"]["centre"])
    frame = UnitCube(np.array([x, y, z]), _number("frame.scale", about["frame"]["scale"]))
    extent = np.array([_number("extent", c) for row in about["extent"] for c in row], np.float32).reshape(2, 3)
    if not (extent[0] <= extent[1]).all():
        raise CheckpointError(f"a box from {extent[0].tolist()} to {extent[1].tolist()} Å is none")
    clearance, report = _number("clearance", about["clearance"]), dict(about["report"])
    _number("report.area", report.get("area", 0.0))
    network = network.to(device)
    if isinstance(network, Network):
        scale = _number("scale", about["scale"])
        code = parts.tensor("z", torch.float32, (network.latent,)).to(device)
        return PaperField(network, code, scale, motion, frame, extent, clearance, report)

    lattice, inside = _lattice(parts)
    factor = _whole("factor", about["factor"])
    if any((n - 1) % factor for n in lattice.shape):
        raise CheckpointError(f"a lattice {factor} times coarser than {lattice.shape} nodes shares no corners")
    latent = torch.zeros(0)
    if "latent" in parts:
        latent = parts.tensor("latent", torch.float32, (math.prod(parts.shape("latent")),))
    inputs = parts.tensors["decoder.layers.0.weight"].shape[1]
    channels = inputs - (TABLE_COLUMNS - 1) - len(latent)
    if channels < 0:
        raise CheckpointError(f"the decoder takes {inputs} numbers, fewer than there are")
    own = int(np.count_nonzero(inside))
    if not own:
        raise CheckpointError(f"none of the {lattice.size} nodes of its lattice is in the band")
    coarse = _modes(parts, "coarse", lattice.coarser(factor).size, len(motion.states), device)
    fine = _modes(parts, "fine", own, len(motion.states), device)
    static = parts.values("static", (own, channels)).to(device)
    band = NarrowBand(lattice, torch.as_tensor(inside, device=device))
    field = FastField(
        motion, band, factor, coarse, fine, static, network, latent.to(device), frame, extent, clearance, report
    )
    field.smooth, field.smooth_beyond = (_number(name, about[name]) for name in ("smooth", "smooth_beyond"))
    # Files of format 1 know none.
    field.level_offset = _number("lift", about.get("lift", 0.0))
    return field


def _motion(parts: _Parts) -> Motion:
    about = parts.about
    count = math.prod(parts.shape("motion.states"))
    states = parts.tensor("motion.states", torch.float64, (count,)).numpy()
    rotations = parts.tensor("motion.rotations", torch.float64, (count, 3, 3)).numpy()
    translations = parts.tensor("motion.translations", torch.float64, (count, 3)).numpy()
    if not count or (np.diff(states) < LEAST_GAP).any():
        raise CheckpointError(f"its {count} states do not rise")
    turned = rotations @ rotations.transpose(0, 2, 1) - np.eye(3)
    if np.abs(turned).max() > ORTHONORMAL or (np.linalg.det(rotations) < 0.0).any():
        raise CheckpointError("motion.rotations has matrices that do not turn only: they stretch, skew or mirror")
    atoms = reference = None
    if "motion.atoms" in parts:
        atom_count = parts.shape("motion.reference")[0]
        reference = parts.tensor("motion.reference", torch.float32, (atom_count, 3)).numpy()
        atoms = parts.values("motion.atoms", (count, atom_count, 3)).numpy()
        # The map to material coordinates has a lattice as large as the atoms' box.
        nodes = (atoms.max((0, 1)) - atoms.min((0, 1))) / WARP_SPACING + 1.0
        if nodes.max() > MAX_NODES**0.5 or math.prod(nodes.tolist()) > MAX_NODES:
            raise CheckpointError(f"its atoms take a box of {' × '.join(f'{n * WARP_SPACING:.0f}' for n in nodes)} Å")
    period = about.get("period")
    if period is not None and not states[-1] - states[0] < _number("period", period):
        raise CheckpointError(f"a loop of {period} states does not go with states {states[0]:g} to {states[-1]:g}")
    gap = float(np.median(np.diff(states))) if count > 1 else 1.0
    before, after = (_forecast(one, count, gap) for one in about["forecasts"])
    return Motion(
        TemporalKernel(states, None if period is None else float(period)),
        Poses(rotations, translations, _number("smooth_pose", about.get("smooth_pose", 0.0))),
        atoms,
        reference,
        _number("sigma", about["sigma"]),
        _number("smooth_atoms", about["smooth_atoms"]),
        (before, after),
    )


def _forecast(about: dict[str, Any], count: int, gap: float) -> Forecast:
    """A forecast from `count` states that are `gap` apart."""
    rank, window = (_whole(f"forecasts.{name}", about[name]) for name in ("rank", "window"))
    damping = _number("forecasts.damping", about["damping"])
    leads, errors = (tuple(_number(f"forecasts.{name}", v) for v in about[name]) for name in ("leads", "errors"))
    # A speed takes two states.
    if rank and not (rank <= count and min(window, count) >= 2 and 0.0 < damping <= MOST_DAMPING * gap):
        raise CheckpointError(f"a forecast of rank {rank}, window {window}, damping {damping} is none")
    if len(leads) != len(errors) or list(leads) != sorted(set(leads)):
        raise CheckpointError(f"a forecast has {len(leads)} leads, not all rising, and {len(errors)} errors")
    return Forecast(rank, window, damping, leads, errors)


def _lattice(parts: _Parts) -> tuple[Lattice, NDArray[np.bool_]]:
    """The fine lattice and bool[nodes], which of its nodes are in the band."""
    told = parts.about["lattice"]
    ox, oy, oz = (_number("lattice.origin", c) for c in told["origin"])
    x, y, z = (_whole("lattice.shape", n) for n in told["shape"])
    lattice = Lattice((ox, oy, oz), _number("lattice.spacing", told["spacing"]), (x, y, z))
    if lattice.size > MAX_NODES:
        raise CheckpointError(f"a lattice of {x}×{y}×{z} nodes has more than {MAX_NODES} nodes")
    band = parts.tensor("band", torch.uint8, ((lattice.size + 7) // 8,))
    return lattice, np.unpackbits(band.numpy(), count=lattice.size).astype(bool)


def _modes(parts: _Parts, name: str, nodes: int, states: int, device: torch.device) -> LowRankBasis:
    """Modes f4[count,nodes] and coefficients f4[states,count]."""
    count = parts.shape(f"{name}_coefficients")[1]
    coefficients = parts.tensor(f"{name}_coefficients", torch.float32, (states, count))
    modes = parts.values(f"{name}_modes", (count, nodes), torch.float16)
    return LowRankBasis(modes.to(device), coefficients.to(device))


def _expect(
    tensors: Mapping[str, torch.Tensor], name: str, dtype: torch.dtype, shape: tuple[int, ...], kind: str = ""
) -> torch.Tensor:
    tensor = tensors[name]
    if tensor.dtype != dtype or tuple(tensor.shape) != shape:
        raise CheckpointError(
            f"{name} is {tensor.dtype} {list(tensor.shape)}, the rest of the file wants {dtype} {list(shape)}"
        )
    if tensor.is_floating_point():
        _check_values(name, tensor, kind)
    return tensor


def _check_values(name: str, tensor: torch.Tensor, kind: str) -> None:
    """Raises CheckpointError where a value is outside the range of `kind`."""
    least, most = RANGES.get(kind, (-FAR, FAR))
    # A NaN is the least and the largest of its tensor; no copy is made.
    if tensor.numel() and not all(least <= float(end) <= most for end in tensor.aminmax()):
        raise CheckpointError(f"{name} has values that are not within {least:g} and {most:g}, or that are not numbers")


def _number(name: str, value: Any) -> float:
    """A number of the JSON within its range."""
    least, most = RANGES[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise CheckpointError(f"{name} is {reprlib.repr(value)}, not within {least:g} and {most:g}")
    return float(value)


def _whole(name: str, value: Any) -> int:
    """A whole number of the JSON within its range."""
    if not isinstance(value, int):
        raise CheckpointError(f"{name} is {reprlib.repr(value)}, not a whole number")
    _number(name, value)
    return value


def _json(text: str | bytes) -> Any:
    """The JSON value of a text, with the limits that frames have. Raises CheckpointError."""
    try:
        # Reports of fits that had no time to train say NaN for their loss; RANGES has no NaN.
        value = parse_json(text.decode("utf-8") if isinstance(text, bytes) else text, nan=True)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"this is no .dsr file: {error}") from error
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
        ]
    if level:
        raise CheckpointError(f"this is no .dsr file: its JSON is nested more than {MOST_DEPTH} deep")
    return value


def metadata_of(data: bytes, key: str = "field") -> dict[str, str]:
    """The text part of a safetensors file, which must have `key`, read before any tensor is."""
    if len(data) < 8:
        raise CheckpointError(f"{len(data)} bytes are no .dsr file")
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER, len(data) - 8):
        raise CheckpointError(
            f"this is no .dsr file, or a cut one: its header would take {length} of {len(data)} bytes"
        )
    header = _json(data[8 : 8 + length])
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
    atomic_write.write(Path(path), to_bytes(fitted))


def load(path: str | os.PathLike[str], device: str = "auto") -> Field | Family:
    """The field or family in the file, or in its `.previous` where the file is damaged (the report says so).

    Raises CheckpointError, naming the path, when neither is whole, and OSError when the file cannot be read.
    """
    path, previous = Path(path), atomic_write.previous_of(Path(path))
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
