"""Files of potentials: models/NAME.dsrm, safetensors with a JSON description. Nothing in them is unpickled or run.

A file may come from anybody: type, shape and range of each tensor and number are checked before they are used.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from pymol_dsr.shared import atomic_write
from pymol_dsr.shared.frames import parse_json
from pymol_dsr.shared.values import JsonObject, ValueFault

from ...runtime.folders import fits_folder
from .beads import MOST_BEADS, Protein
from .network import GraphNetwork
from .potential import Potential, Trained, features
from .priors import Priors

FORMAT = "dsr potential 1"
SUFFIX = ".dsrm"
MAX_HEADER = 8 * 2**20
MAX_BYTES = 256 * 2**20
LARGEST = 1e5
"""Of all numbers in the tensors; strengths are below 10⁴ kcal/mol/Å²."""
MOST_PROTEINS = 100
MOST_CENTRES = 1000
MOST_LAYERS, MOST_WIDTH = 8, 512
TEMPERATURES = (1.0, 1000.0)
ARRAYS = ("offsets", "means", "deviations")


class ModelError(ValueFault):
    """A file of a potential that can't be used."""


def models_folder() -> Path:
    """Return the folder of potentials, beside that of fits."""
    return fits_folder().parent / "models"


def model_path(name: str) -> Path:
    """Return the path of the potential of that name."""
    return models_folder() / f"{name}{SUFFIX}"


def save(path: Path, potential: Potential, report: JsonObject) -> None:
    """Write a potential. report: for people, of its training. Raises WriteError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write.write(path, to_bytes(potential, report))


def to_bytes(potential: Potential, report: JsonObject) -> bytes:
    """Return the content of a file."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in potential.module().state_dict().items()}
    proteins = []
    for number, one in enumerate(potential.proteins):
        for key in ARRAYS:
            tensors[f"proteins.{number}.{key}"] = torch.as_tensor(getattr(one, key), dtype=torch.float64)
        tensors[f"proteins.{number}.centres"] = torch.as_tensor(one.centres, dtype=torch.float32)
        proteins.append(
            {
                "name": one.name,
                "residues": list(one.protein.residues),
                "chains": list(one.protein.chains),
                "spacing": one.spacing,
                "centres": len(one.centres),
            }
        )
    about = {
        "layers": potential.network.layers,
        "width": potential.network.width,
        "temperature": potential.temperature,
        "proteins": proteins,
        "report": report,
    }
    return safetensors.torch.save(tensors, {"format": FORMAT, "potential": json.dumps(about)})


def load(name: str) -> tuple[Potential, JsonObject]:
    """Return the potential of that name and the report of its training. Raises ModelError."""
    path = model_path(name)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"{path} has {size} bytes, and {MAX_BYTES} are the most")
        data = path.read_bytes()
    except FileNotFoundError as error:
        known = sorted(file.stem for file in models_folder().glob(f"*{SUFFIX}")) if models_folder().is_dir() else []
        raise ModelError(
            f"there is no potential {name} ({path}); known are {', '.join(known) or 'none'}: dsr_learn makes one"
        ) from error
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error}") from error
    try:
        return from_bytes(data)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def from_bytes(data: bytes) -> tuple[Potential, JsonObject]:
    """Return the potential that a file holds, and its report. Raises ModelError."""
    about = _about(data)
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise ModelError(f"this is no whole file of a potential: {error}") from error
    layers = _whole(about, "layers", 1, MOST_LAYERS)
    width = _whole(about, "width", 1, MOST_WIDTH)
    potential = Potential(Priors(), GraphNetwork(layers, width), _number(about, "temperature", *TEMPERATURES))
    wanted = dict(potential.module().state_dict())
    described = about.get("proteins")
    if not isinstance(described, list) or not 1 <= len(described) <= MOST_PROTEINS:
        raise ModelError(f"proteins are no list of 1 to {MOST_PROTEINS}")
    proteins = [_protein(one) for one in described]
    for number, (_, protein) in enumerate(proteins):
        count = features(torch.zeros(1, len(protein), 3), protein).shape[1]
        for key in ARRAYS:
            wanted[f"proteins.{number}.{key}"] = torch.zeros(count, dtype=torch.float64)
        frames = _whole(described[number], "centres", 1, MOST_CENTRES)
        wanted[f"proteins.{number}.centres"] = torch.zeros(frames, len(protein), 3)
    _check_tensors(tensors, wanted)
    potential.module().load_state_dict({name: tensors[name] for name in potential.module().state_dict()})
    for number, (name, protein) in enumerate(proteins):
        offsets, means, deviations = (tensors[f"proteins.{number}.{key}"].numpy() for key in ARRAYS)
        centres = tensors[f"proteins.{number}.centres"].numpy()
        spacing = _number(described[number], "spacing", 0.0, 1e3)
        potential.proteins.append(Trained(name, protein, offsets, means, deviations, centres, spacing))
    report = about.get("report")
    return potential, report if isinstance(report, dict) else {}


def _about(data: bytes) -> dict[str, Any]:
    """Return the description, before any tensor is read."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MAX_HEADER, len(data) - 8):
        raise ModelError("this is no file of a potential, or a cut one")
    try:
        header = parse_json(data[8 : 8 + length].decode())
        texts = header.get("__metadata__") if isinstance(header, dict) else None
        if not isinstance(texts, dict) or texts.get("format") != FORMAT:
            raise ModelError(f"this is no file of a potential: its format is not {FORMAT!r}")
        about = parse_json(texts.get("potential", ""))
    except (ValueError, RecursionError) as error:
        raise (
            error if isinstance(error, ModelError) else ModelError(f"this is no file of a potential: {error}")
        ) from error
    if not isinstance(about, dict):
        raise ModelError("its description is no JSON object")
    return about


def _check_tensors(tensors: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    if set(tensors) != set(wanted):
        odd = sorted(set(tensors) ^ set(wanted))
        raise ModelError(f"it lacks the tensor {odd[0]}, or has it without need")
    for name, like in wanted.items():
        tensor = tensors[name]
        if tensor.dtype != like.dtype or tensor.shape != like.shape:
            raise ModelError(
                f"{name} is {tensor.dtype} {list(tensor.shape)}, and {like.dtype} {list(like.shape)} is needed"
            )
        if not bool(torch.isfinite(tensor).all()) or float(tensor.abs().max() if tensor.numel() else 0.0) > LARGEST:
            raise ModelError(f"{name} has numbers that are not within ±{LARGEST:g}")


def _protein(described: Any) -> tuple[str, Protein]:
    if not isinstance(described, dict):
        raise ModelError("a protein is no JSON object")
    name, residues, chains = (described.get(key) for key in ("name", "residues", "chains"))
    if not isinstance(residues, list) or not all(isinstance(one, str) and len(one) <= 100 for one in [name, *residues]):
        raise ModelError("names of a protein or its residues are no short texts")
    if not isinstance(chains, list) or not all(type(one) is int and 0 <= one < MOST_BEADS for one in chains):
        raise ModelError(f"chains of {name} are no numbers from 0")
    try:
        return str(name), Protein(tuple(residues), tuple(chains))
    except ValueFault as error:
        raise ModelError(str(error)) from error


def _number(about: dict[str, Any], key: str, least: float, most: float) -> float:
    value = about.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ModelError(f"{key} is {str(value)[:40]}, not within {least:g} and {most:g}")
    return float(value)


def _whole(about: dict[str, Any], key: str, least: int, most: int) -> int:
    value = _number(about, key, least, most)
    if not math.isclose(value, round(value)):
        raise ModelError(f"{key} is {value:g}, not a whole number")
    return int(np.round(value))
