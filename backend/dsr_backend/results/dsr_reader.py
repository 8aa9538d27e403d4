"""Reads `.dsr` files. Sizes, names, shapes, ranges and the digest are checked before a field is made."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from pymol_dsr.shared.names import is_name

from .. import __version__
from ..fields.base import Family, Field
from ..fields.fast import MAX_NODES, TABLE_COLUMNS, Correction, Decoder, FastField, LowRankBasis, NarrowBand
from ..fields.paper import SPACE, Network, PaperField
from ..geometry.lattice import Lattice
from ..geometry.unit_cube import UnitCube
from ..motion.forecast import Forecast
from ..motion.kernels import TemporalKernel
from ..motion.motion import Motion
from ..motion.poses import Poses
from ..motion.time_axis import TimeAxis
from ..motion.warp import WARP_LIMIT, warp_lattice
from ..runtime.device import choose_device
from . import coding
from .dsr_format import (
    READ_FORMATS,
    SHARED_NETWORKS,
    CheckpointError,
    check_number,
    check_tensor,
    check_values,
    check_whole,
    digest,
    read_json,
    read_metadata,
)

# States between two neighbours, at least.
MIN_GAP = 1e-9
# Largest deviation of a rotation times its transpose from the identity; that of fits is 1e-14.
ROTATION_TOLERANCE = 1e-6
# Damping of a forecast in gaps between states; fits have two.
MAX_DAMPING = 20.0
# Wider smoothing in space would take a mesh minutes.
MAX_SPATIAL_SPACINGS = 8


def from_bytes(data: bytes, device: str = "auto") -> Field | Family:
    """Return the field or family in a `.dsr` file.

    Raises CheckpointError for another kind of file, a damaged one or one of another version, and ValueError for a
    device that does not exist.
    """
    chosen = choose_device(device)
    metadata = read_metadata(data)
    if metadata.get("format") not in READ_FORMATS:
        raise CheckpointError(
            f"this file is of format {reprlib.repr(metadata.get('format'))}, "
            f"written by version {reprlib.repr(metadata.get('version'))}; "
            f"version {__version__} reads {' and '.join(READ_FORMATS)}"
        )
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the file is damaged: {error}") from error
    actual = digest(tensors, metadata)
    if metadata.get("digest") != actual:
        raise CheckpointError(
            f"the file is damaged: its digest is {actual}, it says {str(metadata.get('digest'))[:80]}"
        )
    try:
        entries = read_json(metadata["field"])
        if entries["kind"] == "family":
            return _read_family(tensors, entries, chosen)
        record = _FieldRecord(tensors, entries)
        return _read_field(record, _read_network(record), chosen)
    except (CheckpointError, torch.OutOfMemoryError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"the file lacks a part of a field, or has a wrong one: {repr(error)[:300]}") from error


@dataclass(frozen=True)
class _FieldRecord:
    """The tensors and JSON entries of one field; in a family the names of its tensors begin with `prefix`."""

    tensors: Mapping[str, torch.Tensor]
    entries: dict[str, Any]
    prefix: str = ""

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[self.prefix + name].shape)

    def number(self, name: str) -> float:
        """Return a number of the entries, checked against its range."""
        return check_number(name, self.entries[name])

    def tensor(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
        """Return a tensor, checked against this type and shape."""
        return check_tensor(self.tensors, self.prefix + name, dtype, shape, name)

    def values(self, name: str, shape: tuple[int, ...], plain_dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return the values f4 of a tensor of this shape, coded or of type `plain_dtype`."""
        coded = self.entries.get("coded", {}).get(name)
        if coded is None:
            return self.tensor(name, plain_dtype, shape).float()
        data = self.tensor(name, torch.uint8, (math.prod(self.shape(name)),))
        try:
            values = torch.from_numpy(coding.decode(data.numpy().data, coded, shape))
        except ValueError as error:
            raise CheckpointError(f"{self.prefix}{name}: {error}") from error
        check_values(self.prefix + name, values, name)
        return values


def _read_family(tensors: Mapping[str, torch.Tensor], entries: dict[str, Any], device: torch.device) -> Family:
    member_entries = entries["members"]
    kinds = {member["kind"] for member in member_entries.values()}
    if len(kinds) != 1 or not all(map(is_name, member_entries)):
        names = str(list(member_entries))[:200]
        raise CheckpointError(f"{len(member_entries)} trajectories, {names}, of {sorted(kinds)} are no family")
    network: Decoder | Network | None = None
    members = {}
    for name, member in member_entries.items():
        record = _FieldRecord(tensors, member, f"{name}/")
        # One object for all: fields with networks of their own are no family.
        network = network or _read_network(record)
        members[name] = _read_field(record, network, device)
    reports = {name: field.report for name, field in members.items()}
    return Family(members, {**entries["report"], "trajectories": reports})


def _read_network(record: _FieldRecord) -> Decoder | Network | None:
    """Return the network that a field shares with its family, on the CPU; its shapes are checked first.

    None for a field without one.
    """
    kind, tensors = record.entries["kind"], record.tensors
    network: Decoder | Network
    if kind == FastField.kind:
        if not any(name.startswith(SHARED_NETWORKS[kind]) for name in tensors):
            return None
        hidden, channels = tensors["decoder.layers.0.weight"].shape
        _check_layers(tensors, "decoder.layers.{}", (0, 2, 4), [channels, hidden, hidden], [hidden, hidden, 1])
        network = Decoder(channels, hidden)
    elif kind == PaperField.kind:
        layers = sum(name.startswith("network.layers.") and name.endswith(".weight") for name in tensors) - 1
        width = tensors[f"network.layers.{layers}.weight"].shape[1]
        [latent] = record.shape("z")
        inputs, outputs = SPACE + 1 + latent, [width] * layers + [1]
        # The input joins the middle layer.
        outputs[layers // 2 - 1] -= inputs
        _check_layers(tensors, "network.layers.{}", range(layers + 1), [inputs] + [width] * layers, outputs)
        network = Network(width, layers, latent)
    else:
        known = ", ".join((*SHARED_NETWORKS, "family"))
        raise CheckpointError(f"a field of kind {kind!r} is not known; this version reads {known}")
    prefix = SHARED_NETWORKS[kind]
    network.load_state_dict({n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)})
    return network.requires_grad_(False)


def _check_layers(
    tensors: Mapping[str, torch.Tensor],
    name: str,
    numbers: Iterable[int],
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> None:
    for number, input_count, output_count in zip(numbers, inputs, outputs, strict=True):
        check_tensor(tensors, f"{name.format(number)}.weight", torch.float32, (output_count, input_count))
        check_tensor(tensors, f"{name.format(number)}.bias", torch.float32, (output_count,))


def _read_field(record: _FieldRecord, network: Decoder | Network | None, device: torch.device) -> Field:
    """Return the field; all shapes are checked against one another first."""
    entries = record.entries
    geometry = _read_geometry(record)
    field: Field
    if isinstance(network, Network):
        code = record.tensor("z", torch.float32, (network.latent,)).to(device)
        field = PaperField(network.to(device), code, record.number("scale"), *geometry)
    else:
        field = _read_fast_field(record, network, geometry, device)
    if entries.get("times") is not None:
        field.time_axis = TimeAxis([check_number("times", time) for time in entries["times"]])
    # Early files have no reach.
    if entries.get("reach") is not None:
        field.reach = record.number("reach")
    return field


_Geometry = tuple[Motion, UnitCube, NDArray[np.float32], float, dict[str, Any]]


def _read_geometry(record: _FieldRecord) -> _Geometry:
    """Return motion, frame, extent, clearance and report: the last parameters of every field."""
    entries = record.entries
    motion = _read_motion(record)
    x, y, z = (check_number("frame.centre", c) for c in entries["frame"]["centre"])
    frame = UnitCube(np.array([x, y, z]), check_number("frame.scale", entries["frame"]["scale"]))
    extent = np.array([check_number("extent", c) for row in entries["extent"] for c in row], np.float32).reshape(2, 3)
    if not (extent[0] <= extent[1]).all():
        raise CheckpointError(f"a box from {extent[0].tolist()} to {extent[1].tolist()} Å is none")
    report = dict(entries["report"])
    if motion.kernel.period is not None:
        # Early reports do not say it.
        report["loop"] = True
    check_number("report.area", report.get("area", 0.0))
    return motion, frame, extent, record.number("clearance"), report


def _read_fast_field(
    record: _FieldRecord, decoder: Decoder | None, geometry: _Geometry, device: torch.device
) -> FastField:
    motion, frame, extent, clearance, report = geometry
    lattice, inside = _read_band(record)
    factor = check_whole("factor", record.entries["factor"])
    if any((n - 1) % factor for n in lattice.shape):
        raise CheckpointError(f"a lattice {factor} times coarser than {lattice.shape} nodes shares no corners")
    nodes = int(np.count_nonzero(inside))
    if not nodes:
        raise CheckpointError(f"none of the {lattice.size} nodes of its lattice is in the band")
    states = len(motion.states)
    field = FastField(
        motion,
        NarrowBand(lattice, torch.as_tensor(inside, device=device)),
        factor,
        _read_basis(record, "coarse", lattice.coarser(factor).size, states, device),
        _read_basis(record, "fine", nodes, states, device),
        frame,
        extent,
        clearance,
        report,
        None if decoder is None else _read_correction(record, decoder, nodes, device),
    )
    field.smooth, field.smooth_beyond = record.number("smooth"), record.number("smooth_beyond")
    # Format 1 has no level offset, and files of earlier versions no spatial width.
    field.level_offset = check_number("lift", record.entries.get("lift", 0.0))
    field.spatial_width = check_number("spatial_width", record.entries.get("spatial_width", 0.0))
    if field.spatial_width > MAX_SPATIAL_SPACINGS * lattice.spacing:
        raise CheckpointError(
            f"spatial_width is {field.spatial_width:g} Å, more than {MAX_SPATIAL_SPACINGS} spacings of "
            f"{lattice.spacing:g} Å"
        )
    return field


def _read_correction(record: _FieldRecord, decoder: Decoder, nodes: int, device: torch.device) -> Correction:
    """Return the correction of a field of format 1 or 2."""
    latent = torch.zeros(0)
    if "latent" in record:
        latent = record.tensor("latent", torch.float32, (math.prod(record.shape("latent")),))
    inputs = record.tensors["decoder.layers.0.weight"].shape[1]
    channels = inputs - (TABLE_COLUMNS - 1) - len(latent)
    if channels < 0:
        raise CheckpointError(f"the decoder takes {inputs} numbers, fewer than there are")
    return Correction(decoder.to(device), record.values("static", (nodes, channels)).to(device), latent.to(device))


def _read_motion(record: _FieldRecord) -> Motion:
    entries = record.entries
    count = math.prod(record.shape("motion.states"))
    states = record.tensor("motion.states", torch.float64, (count,)).numpy()
    rotations = record.tensor("motion.rotations", torch.float64, (count, 3, 3)).numpy()
    translations = record.tensor("motion.translations", torch.float64, (count, 3)).numpy()
    if not count or (np.diff(states) < MIN_GAP).any():
        raise CheckpointError(f"its {count} states do not rise")
    deviation = rotations @ rotations.transpose(0, 2, 1) - np.eye(3)
    if np.abs(deviation).max() > ROTATION_TOLERANCE or (np.linalg.det(rotations) < 0.0).any():
        raise CheckpointError("motion.rotations has matrices that do not turn only: they stretch, skew or mirror")
    period = entries.get("period")
    if period is not None and not states[-1] - states[0] < check_number("period", period):
        raise CheckpointError(f"a loop of {period} states does not go with states {states[0]:g} to {states[-1]:g}")
    breaks = tuple(check_whole("breaks", first) for first in entries.get("breaks", ()))
    if list(breaks) != sorted(set(breaks)) or (breaks and (breaks[-1] >= count or period is not None)):
        loop = "" if period is None else " in a loop"
        raise CheckpointError(f"cuts at {reprlib.repr(breaks)}{loop} do not go with {count} states")
    kernel = TemporalKernel(states, None if period is None else float(period), breaks=breaks)
    before, after = (
        _read_forecast(forecast, kernel.stretch(float(states[end])).kernel)
        for forecast, end in zip(entries["forecasts"], (0, -1), strict=True)
    )
    atoms, references = _read_atoms(record, count, len(breaks) + 1)
    return Motion(
        kernel,
        Poses(rotations, translations, check_number("smooth_pose", entries.get("smooth_pose", 0.0))),
        atoms,
        references,
        record.number("sigma"),
        record.number("smooth_atoms"),
        (before, after),
    )


def _read_atoms(
    record: _FieldRecord, count: int, stretches: int
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Return atoms f4[count,A,3] and references f4[stretches,A,3]; None for a field without atoms."""
    if "motion.atoms" not in record:
        return None, None
    atom_count = record.shape("motion.reference")[-2]
    # Without cuts the file has the one reference alone.
    shape = (atom_count, 3) if stretches == 1 else (stretches, atom_count, 3)
    references = record.tensor("motion.reference", torch.float32, shape).numpy().reshape(stretches, atom_count, 3)
    atoms = record.values("motion.atoms", (count, atom_count, 3)).numpy()
    # Later the warp to material coordinates would be refused; here it is known what is wrong.
    for state_atoms in atoms:
        if not (lattice := warp_lattice(state_atoms)).is_within(WARP_LIMIT):
            raise CheckpointError(f"its atoms take a box of {lattice.sides} Å")
    return atoms, references


def _read_forecast(entries: dict[str, Any], kernel: TemporalKernel) -> Forecast:
    """Return a forecast from the states of one stretch."""
    count = len(kernel.states)
    rank, window = (check_whole(f"forecasts.{name}", entries[name]) for name in ("rank", "window"))
    damping = check_number("forecasts.damping", entries["damping"])
    leads, errors = (
        tuple(check_number(f"forecasts.{name}", value) for value in entries[name]) for name in ("leads", "errors")
    )
    # A velocity takes two states.
    if rank and not (rank <= count and min(window, count) >= 2 and 0.0 < damping <= MAX_DAMPING * kernel.gap):
        raise CheckpointError(f"a forecast of rank {rank}, window {window}, damping {damping} is none")
    if len(leads) != len(errors) or list(leads) != sorted(set(leads)):
        raise CheckpointError(f"a forecast has {len(leads)} leads, not all rising, and {len(errors)} errors")
    return Forecast(rank, window, damping, leads, errors)


def _read_band(record: _FieldRecord) -> tuple[Lattice, NDArray[np.bool_]]:
    """Return the fine lattice and bool[nodes], true for the nodes in the band."""
    entries = record.entries["lattice"]
    origin_x, origin_y, origin_z = (check_number("lattice.origin", c) for c in entries["origin"])
    x, y, z = (check_whole("lattice.shape", n) for n in entries["shape"])
    lattice = Lattice((origin_x, origin_y, origin_z), check_number("lattice.spacing", entries["spacing"]), (x, y, z))
    if lattice.size > MAX_NODES:
        raise CheckpointError(f"a lattice of {x}×{y}×{z} nodes has more than {MAX_NODES} nodes")
    band = record.tensor("band", torch.uint8, ((lattice.size + 7) // 8,))
    return lattice, np.unpackbits(band.numpy(), count=lattice.size).astype(bool)


def _read_basis(record: _FieldRecord, name: str, nodes: int, states: int, device: torch.device) -> LowRankBasis:
    """Return modes f4[K,nodes] and coefficients f4[states,K]."""
    count = record.shape(f"{name}_coefficients")[1]
    coefficients = record.tensor(f"{name}_coefficients", torch.float32, (states, count))
    modes = record.values(f"{name}_modes", (count, nodes), torch.float16)
    return LowRankBasis(modes.to(device), coefficients.to(device))
