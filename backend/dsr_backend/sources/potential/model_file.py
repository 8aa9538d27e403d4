"""Files of potentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pymol_dsr.shared.values import JsonObject, JsonValue, ValueFault

from .. import model_file
from ..model_file import POTENTIAL, ModelError
from .beads import MOST_BEADS, Protein
from .network import GraphNetwork
from .potential import OptimizerState, Potential, Trained, features, fold_feature_count
from .priors import Priors

MOST_PROTEINS = 100
MOST_CENTRES = 1000
MOST_LAYERS, MOST_WIDTH = 8, 512
TEMPERATURES = (1.0, 1000.0)
MOST_STEPS = 10**9
ARRAYS = ("offsets", "means", "deviations")
MOMENTS = ("weights", "first", "second")


def save(path: Path, potential: Potential, report: JsonObject) -> None:
    """Write a potential. report: for people, of its training. Raises WriteError."""
    model_file.write(path, to_bytes(potential, report))


def to_bytes(potential: Potential, report: JsonObject) -> bytes:
    """Return the content of a file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in potential.module().state_dict().items()}
    proteins: list[JsonValue] = []
    for number, protein in enumerate(potential.proteins):
        for key in ARRAYS:
            tensors[f"proteins.{number}.{key}"] = torch.as_tensor(getattr(protein, key), dtype=torch.float64)
        tensors[f"proteins.{number}.centres"] = torch.as_tensor(protein.centres, dtype=torch.float32)
        proteins.append(
            {
                "name": protein.name,
                "residues": list(protein.protein.residues),
                "chains": list(protein.protein.chains),
                "spacing": protein.spacing,
                "centres": len(protein.centres),
            }
        )
    optimizer = potential.optimizer
    if optimizer is not None:
        for key in MOMENTS:
            for name, tensor in getattr(optimizer, key).items():
                tensors[f"optimizer.{key}.{name}"] = tensor.detach().cpu().clone()
    description: JsonObject = {
        "layers": potential.network.layers,
        "width": potential.network.width,
        "temperature": potential.temperature,
        "proteins": proteins,
        "report": report,
        **({"optimizer": {"epochs": optimizer.epochs, "steps": optimizer.steps}} if optimizer else {}),
    }
    return model_file.to_bytes(POTENTIAL, tensors, description)


def load(name: str) -> tuple[Potential, JsonObject]:
    """Return the potential of that name and the report of its training. Raises ModelError."""
    data = model_file.read(name, POTENTIAL)
    try:
        return from_bytes(data)
    except ModelError as error:
        raise ModelError(f"{model_file.model_path(name)}: {error}") from error


def from_bytes(data: bytes) -> tuple[Potential, JsonObject]:
    """Return the potential that a file holds, and its report. Raises ModelError."""
    description, tensors = model_file.parse(data, POTENTIAL)
    layers = model_file.whole_number(description, "layers", 1, MOST_LAYERS)
    width = model_file.whole_number(description, "width", 1, MOST_WIDTH)
    potential = Potential(
        Priors(), GraphNetwork(layers, width), model_file.number(description, "temperature", *TEMPERATURES)
    )
    expected = model_file.shapes_of(potential.module().state_dict())
    described = description.get("proteins")
    if not isinstance(described, list) or not 1 <= len(described) <= MOST_PROTEINS:
        raise ModelError(f"proteins are no list of 1 to {MOST_PROTEINS}")
    proteins = [_protein(entry) for entry in described]
    for number, (_, protein) in enumerate(proteins):
        count = _feature_count(protein, tensors.get(f"proteins.{number}.offsets"))
        for key in ARRAYS:
            expected[f"proteins.{number}.{key}"] = (torch.float64, (count,))
        frames = model_file.whole_number(described[number], "centres", 1, MOST_CENTRES)
        expected[f"proteins.{number}.centres"] = (torch.float32, (frames, len(protein), 3))
    optimizer = description.get("optimizer")
    parameters = model_file.shapes_of(dict(potential.network.named_parameters()))
    if optimizer is not None:
        expected |= {f"optimizer.{key}.{name}": shape for key in MOMENTS for name, shape in parameters.items()}
    model_file.check_tensors(tensors, expected)
    potential.module().load_state_dict({name: tensors[name] for name in potential.module().state_dict()})
    for number, (name, protein) in enumerate(proteins):
        offsets, means, deviations = (
            _with_fold_features(tensors[f"proteins.{number}.{key}"].numpy(), protein) for key in ARRAYS
        )
        centres = tensors[f"proteins.{number}.centres"].numpy()
        spacing = model_file.number(described[number], "spacing", 0.0, 1e3)
        potential.proteins.append(Trained(name, protein, offsets, means, deviations, centres, spacing))
    if optimizer is not None:
        potential.optimizer = _optimizer(optimizer, tensors, list(parameters))
    report = description.get("report")
    return potential, report if isinstance(report, dict) else {}


def _feature_count(protein: Protein, offsets: torch.Tensor | None) -> int:
    """Return the number of features in a file: those of a fold came later."""
    count = features(torch.zeros(1, len(protein), 3), protein).shape[1]
    before = count - fold_feature_count(protein)
    return before if offsets is not None and offsets.shape == (before,) else count


def _with_fold_features(values: NDArray[np.float64], protein: Protein) -> NDArray[np.float64]:
    """Return values f8[K] of all features, with zeros for those of a fold where a file has none."""
    count = features(torch.zeros(1, len(protein), 3), protein).shape[1]
    return np.concatenate([values, np.zeros(count - len(values))])


def _optimizer(described: Any, tensors: dict[str, torch.Tensor], names: list[str]) -> OptimizerState:
    """Return the state of the training, of tensors whose shapes are checked."""
    if not isinstance(described, dict):
        raise ModelError("its optimizer is no JSON object")
    epochs, steps = (model_file.whole_number(described, key, 0, MOST_STEPS) for key in ("epochs", "steps"))
    weights, first, second = ({name: tensors[f"optimizer.{key}.{name}"] for name in names} for key in MOMENTS)
    if any(bool((tensor < 0).any()) for tensor in second.values()):
        raise ModelError("a second moment of its optimizer is below 0")
    return OptimizerState(epochs, steps, weights, first, second)


def _protein(described: Any) -> tuple[str, Protein]:
    if not isinstance(described, dict):
        raise ModelError("a protein is no JSON object")
    name, residues, chains = (described.get(key) for key in ("name", "residues", "chains"))
    if not isinstance(residues, list) or not all(
        isinstance(text, str) and len(text) <= 100 for text in [name, *residues]
    ):
        raise ModelError("names of a protein or its residues are no short texts")
    if not isinstance(chains, list) or not all(type(chain) is int and 0 <= chain < MOST_BEADS for chain in chains):
        raise ModelError(f"chains of {name} are no numbers from 0")
    try:
        return str(name), Protein(tuple(residues), tuple(chains))
    except ValueFault as error:
        raise ModelError(str(error)) from error
