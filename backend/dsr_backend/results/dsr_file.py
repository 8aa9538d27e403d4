"""Saves and loads a fitted field or family as one `.dsr` file (docs/file-formats.md).

The file is safetensors; its metadata hold everything that is not a tensor as JSON. It is written to a draft that is
then renamed, so that the name always holds a whole file; the file before it stays as `NAME.dsr.previous`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from pymol_dsr.shared import atomic_write

from .. import __version__
from ..fields.base import Family, Field
from ..fields.fast import FastField
from ..fields.paper import PaperField
from ..geometry.lattice import Lattice
from ..motion.forecast import Forecast
from . import coding
from .dsr_format import (
    CODED_TENSORS,
    FORMAT,
    RANGES,
    SHARED_NETWORKS,
    CheckpointError,
    check_entries,
    check_values,
    digest,
)
from .dsr_reader import from_bytes

__all__ = ["CheckpointError", "from_bytes", "load", "save", "to_bytes"]


def save(fitted: Field | Family, path: str | os.PathLike[str]) -> None:
    """Write the `.dsr` file; an existing file is kept as `NAME.dsr.previous`.

    Raises OSError when it cannot be written, and leaves the existing file.
    """
    atomic_write.write(Path(path), to_bytes(fitted))


def load(path: str | os.PathLike[str], device: str = "auto") -> Field | Family:
    """Return the field or family in the file, or in its `.previous` where the file is damaged (the report says so).

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
        except CheckpointError as second_error:
            raise CheckpointError(f"{path}: {error}; {previous}: {second_error}") from error
        fault = "is missing" if isinstance(error, OSError) else f"is damaged: {error}"
        fitted.report["loaded_from"] = f"{previous}, since {path} {fault}"
        return fitted


def to_bytes(fitted: Field | Family) -> bytes:
    """Return the `.dsr` file of a field or a family.

    Raises TypeError for a kind of field that has no file format, and CheckpointError for numbers that no reader takes.
    """
    tensors: dict[str, torch.Tensor] = {}
    if isinstance(fitted, Family):
        entries: dict[str, Any] = {
            "kind": "family",
            "report": {key: value for key, value in fitted.report.items() if key != "trajectories"},
            "members": {name: _add_field(member, tensors, f"{name}/") for name, member in fitted.members.items()},
        }
        first = next(iter(fitted.members.values()))
        if any(_shared_network(member) is not _shared_network(first) for member in fitted.members.values()):
            raise TypeError("the trajectories of this family do not share one network")
    else:
        first, entries = fitted, _add_field(fitted, tensors, "")
    if (network := _shared_network(first)) is not None:
        tensors |= {SHARED_NETWORKS[first.kind] + name: value for name, value in network.state_dict().items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": FORMAT, "version": __version__, "field": json.dumps(entries)}
    metadata["digest"] = digest(tensors, metadata)
    return bytes(safetensors.torch.save(tensors, metadata))


def _shared_network(field: Field) -> torch.nn.Module | None:
    """Return the network of a field of kind `paper`, or of an older field of kind `fast`; None without one."""
    if isinstance(field, PaperField):
        return field.network
    return field.correction.decoder if isinstance(field, FastField) and field.correction is not None else None


def _add_field(field: Field, tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, Any]:
    """Add a field's own tensors to `tensors`, without those of its shared network; return its JSON entries."""
    if not isinstance(field, FastField | PaperField):
        raise TypeError(f"fields of kind {field.kind!r} have no file format")
    field_tensors, coded = _own_tensors(field)
    tensors |= {prefix + name: value for name, value in field_tensors.items()}
    motion = field.motion
    entries = {
        "kind": field.kind,
        "coded": coded,
        "smooth_atoms": motion.smooth,
        "smooth_pose": motion.poses.width,
        "period": motion.kernel.period,
        "times": None if field.time_axis is None else field.time_axis.times,
        "sigma": motion.sigma,
        "forecasts": [_forecast_entries(forecast) for forecast in motion.forecasts],
        "frame": {"centre": [float(c) for c in field.frame.centre], "scale": field.frame.scale},
        "extent": np.asarray(field.extent, np.float64).tolist(),
        "clearance": field.clearance,
        "reach": field.reach if np.isfinite(field.reach) else None,
        "report": field.report,
    }
    if motion.kernel.breaks:
        # Files without cuts are as before, and versions that know no cuts read them.
        entries["breaks"] = motion.kernel.breaks
    if isinstance(field, FastField):
        entries |= {
            "lattice": _lattice_entries(field.band.lattice),
            "factor": field.factor,
            "smooth": field.smooth,
            "smooth_beyond": field.smooth_beyond,
            "lift": field.level_offset,
            "spatial_width": field.spatial_width,
        }
    else:
        entries |= {"scale": field.scale}
    check_entries(entries)
    for name in field_tensors.keys() & RANGES.keys() - coded.keys():
        check_values(name, field_tensors[name], name)
    return entries


def _own_tensors(field: FastField | PaperField) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors that a field does not share, and the entries of those that are coded, by name."""
    motion, shared = field.motion, SHARED_NETWORKS[field.kind]
    field_tensors = {name: value for name, value in field.tensors().items() if not name.startswith(shared)}
    field_tensors["motion.states"] = torch.tensor(motion.states)
    field_tensors["motion.rotations"] = torch.tensor(motion.poses.rotations)
    field_tensors["motion.translations"] = torch.tensor(motion.poses.translations)
    if motion.atoms is not None and motion.references is not None:
        # Copies: a reference is one of the states, and safetensors refuses tensors that share memory.
        field_tensors["motion.atoms"] = torch.tensor(motion.atoms)
        field_tensors["motion.reference"] = torch.tensor(
            motion.references if motion.kernel.breaks else motion.references[0]
        )
    coded = {}
    for name in CODED_TENSORS:
        if name in field_tensors:
            data, coded[name] = coding.encode(field_tensors[name].detach().float().cpu().numpy())
            field_tensors[name] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return field_tensors, coded


def _forecast_entries(forecast: Forecast) -> dict[str, Any]:
    return {
        "rank": forecast.rank,
        "window": forecast.window,
        "damping": forecast.damping,
        "leads": forecast.leads,
        "errors": forecast.errors,
    }


def _lattice_entries(lattice: Lattice) -> dict[str, Any]:
    return {"origin": lattice.origin, "spacing": lattice.spacing, "shape": lattice.shape}
